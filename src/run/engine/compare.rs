//! Holding the rows of a restored database against the hashes that its dump's manifest has of them.

use std::collections::BTreeMap;

use super::restore::major;
use crate::pipeline::inspect::Seen;
use crate::pipeline::manifest::Manifest;
use crate::port::Context;
use crate::report::{Report, Result};
use crate::system::postgres::Postgres;
use crate::system::postgres::contents::{Held, Wanted};
use crate::system::postgres::count::{TableName, parse_list, parse_name};

/// `Kind::Refused` unless the wanted tables of a database hold the rows of the dump, to the byte.
pub(super) fn same_rows(
    postgres: &Postgres,
    manifest: &Manifest,
    seen: &Seen,
    wanted: &dyn Fn(&str) -> bool,
    database: &str,
    cx: &Context,
) -> Result<()> {
    let found = other_rows(postgres, manifest, seen, wanted, database, cx)?;
    if found.is_empty() {
        return Ok(());
    }
    let report = Report::refused(format!("what was restored is not what is in {}", manifest.object));
    let report = found.into_iter().fold(report, Report::cause);
    let (from, to) = (major(&manifest.origin.server_version), postgres.identity(database, cx)?.major);
    if from == to {
        return Err(report.hint("what changes rows as they come in? triggers that are enabled always, a type's own input function"));
    }
    Err(report
        .hint(format!("it was made of PostgreSQL {from} and this is {to}, which may write the same value otherwise"))
        .hint("without --compare rows are counted only"))
}

/// The wanted tables whose rows are not those of the dump, in words. A dump of an earlier version has no hashes, and nothing is said of it.
/// `seen` knows in which order a dump has the columns.
pub(super) fn other_rows(
    postgres: &Postgres,
    manifest: &Manifest,
    seen: &Seen,
    wanted: &dyn Fn(&str) -> bool,
    database: &str,
    cx: &Context,
) -> Result<Vec<String>> {
    let order = |table: &str| parse_list(seen.contents()?.columns.get(table)?);
    let hashed = manifest.tables.iter().filter(|(table, count)| count.xxh3.is_some() && wanted(table));
    let asked: Wanted = hashed.filter_map(|(table, _)| Some((parse_name(table)?, order(table)))).collect();
    if asked.is_empty() {
        if manifest.tables.keys().any(|table| wanted(table)) {
            cx.log.say("compare", &format!("{} has no hashes of its rows: they are counted, not compared", manifest.object));
        }
        return Ok(Vec::new());
    }
    let held = postgres.contents(database, &asked, cx)?;
    let uncertain: Vec<String> =
        held.iter().filter(|(_, held)| held.hash.is_none()).map(|((schema, table), _)| format!("{schema}.{table}")).collect();
    if !uncertain.is_empty() {
        let names = uncertain.join(", ");
        cx.log.say("compare", &format!("counted, not compared, because how money is written depends on the server's locale: {names}"));
    }
    Ok(unlike(manifest, wanted, &held))
}

/// In words. What is not held was not asked for, or is an extension's, which brings rows of its own.
fn unlike(manifest: &Manifest, wanted: &dyn Fn(&str) -> bool, held: &BTreeMap<TableName, Held>) -> Vec<String> {
    let difference = |(name, expected): (&String, &crate::pipeline::manifest::TableCount)| {
        let held = held.get(&parse_name(name)?)?;
        if held.rows != expected.rows {
            return Some(format!("{name} has {} rows, the dump {}", held.rows, expected.rows));
        }
        let differ = held.hash.zip(expected.xxh3).is_some_and(|(held, expected)| held != expected);
        differ.then(|| format!("{name} has {} rows as the dump has, and not the same: their hash is another", held.rows))
    };
    manifest.tables.iter().filter(|(name, _)| wanted(name)).filter_map(difference).collect()
}
