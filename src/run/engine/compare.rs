//! Holding the rows of a restored database against the hashes that its dump's manifest has of them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::restore::major;
use crate::pipeline::inspect::Seen;
use crate::pipeline::manifest::{Manifest, TableCount};
use crate::port::Context;
use crate::report::{Report, Result};
use crate::system::postgres::Postgres;
use crate::system::postgres::contents::{Held, Wanted};
use crate::system::postgres::count::{TableName, parse_list, parse_name};

/// Most tables told of one database.
const MOST: usize = 20;

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
    let more = found.len().saturating_sub(MOST);
    let report = found.into_iter().take(MOST).fold(report, Report::cause);
    let report = if more > 0 { report.cause(format!("and {more} more tables")) } else { report };
    let (from, to) = (major(&manifest.origin.server_version), postgres.identity(database, cx)?.major);
    if from == to {
        let object = shell_words::quote(&manifest.object);
        return Err(report.hint(format!("whether it is the dump or this server: lifeboat verify {object} --level L5")));
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
    let began = Instant::now();
    let held = postgres.contents(database, &asked, cx)?;
    let rows: u64 = held.values().map(|held| held.rows).sum();
    cx.log.say("compare", &format!("{rows} rows of {} tables read back in {:.1} s", held.len(), began.elapsed().as_secs_f64()));
    let uncertain: Vec<String> =
        held.iter().filter(|(_, held)| held.hash.is_none()).map(|((schema, table), _)| format!("{schema}.{table}")).collect();
    if !uncertain.is_empty() {
        let names = uncertain.join(", ");
        cx.log.say("compare", &format!("counted, not compared, because how money is written depends on the server's locale: {names}"));
    }
    Ok(unlike(&manifest.tables, wanted, &held))
}

/// In words. What is not held was not asked for, or is an extension's, which brings rows of its own.
fn unlike(dumped: &BTreeMap<String, TableCount>, wanted: &dyn Fn(&str) -> bool, held: &BTreeMap<TableName, Held>) -> Vec<String> {
    let difference = |(name, expected): (&String, &TableCount)| {
        let held = held.get(&parse_name(name)?)?;
        if held.rows != expected.rows {
            return Some(format!("{} has {} rows, the dump {}", show(name), held.rows, expected.rows));
        }
        let differ = held.hash.zip(expected.xxh3).is_some_and(|(held, expected)| held != expected);
        differ.then(|| format!("{} has {} rows as the dump has, and not the same: their hash is another", show(name), held.rows))
    };
    dumped.iter().filter(|(name, _)| wanted(name)).filter_map(difference).collect()
}

/// Whoever made the dump chose the name.
fn show(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::table_hash::TableHash;

    #[test]
    fn what_is_compared_is_what_both_sides_know() {
        let expected = TableCount { rows: 3, bytes: 9, xxh3: Some(TableHash(7)) };
        let told = |expected: TableCount, held: Option<Held>, wanted: bool| {
            let dumped = [("public.\"a\u{1b}b\"".to_owned(), expected)].into();
            let held = held.map(|held| (("public".to_owned(), "a\u{1b}b".to_owned()), held)).into_iter().collect();
            unlike(&dumped, &|_| wanted, &held).concat()
        };
        let held = Held { rows: 3, hash: Some(TableHash(7)) };
        assert_eq!(told(expected, Some(held), true), "");
        let other = Held { hash: Some(TableHash(8)), ..held };
        assert_eq!(told(expected, Some(other), true), "public.\"ab\" has 3 rows as the dump has, and not the same: their hash is another");
        assert_eq!(told(expected, Some(Held { rows: 2, ..held }), true), "public.\"ab\" has 2 rows, the dump 3");
        assert_eq!(told(expected, Some(other), false), "", "not wanted");
        assert_eq!(told(expected, None, true), "", "an extension's");
        assert_eq!(told(expected, Some(Held { hash: None, ..held }), true), "", "money");
        assert_eq!(told(TableCount { xxh3: None, ..expected }, Some(other), true), "", "an earlier dump");
    }
}
