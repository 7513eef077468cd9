//! What changed from one dump to the next.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::world::World;
use super::{Common, dumps, plain, print};
use crate::pipeline::compare::{self, Difference, TableChange};
use crate::pipeline::inspect::outline::{Outline, Wish, harmless};
use crate::pipeline::manifest::{Manifest, TableCount};
use crate::pipeline::peek;
use crate::report::Result;

/// The dumps differ. `diff` says 1, which here is something that failed.
const DIFFERENT: u8 = 10;

/// What changed from one dump to another: tables, rows, bytes, columns, and the statements that make the schema.
///
/// Both dumps are read to their ends. --quick compares the manifests alone: tables, rows and bytes, without a key. A table with as many rows
/// and other values is told by the hashes of its rows; which rows those are is not. Dumps of earlier versions have no hashes: of them only
/// numbers are compared.
///
/// Exit 0 when nothing differs, 10 when something does.
#[derive(Debug, Args)]
pub struct Diff {
    /// The older dump: its name, or an instant
    old: String,
    /// The newer one: its name, `latest`, or an instant
    new: String,
    /// From the manifests alone
    #[arg(long)]
    quick: bool,
    /// The job that made them, where more than one could have
    #[arg(long)]
    job: Option<String>,
    /// The database, where the job dumps several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

impl Diff {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        world.stop_on_signals();
        let (old, new) = (self.find(&world, &self.old)?, self.find(&world, &self.new)?);
        let read = if self.quick { None } else { Some((read(&world, &old)?, read(&world, &new)?)) };
        let difference = compare::compare(&old.1, &new.1, read.as_ref().map(|(old, new)| (old, new)));
        let (old, new) = (&old.1, &new.1);
        if common.json {
            print::json(
                &json!({ "old": old.object, "new": new.object, "same": difference.is_none(), "read": !self.quick, "difference": difference }),
            )?;
        } else {
            tell(&difference)?;
            let ages = new.snapshot_at.duration_since(old.snapshot_at);
            let apart = if ages.is_negative() { ", the first is the newer one" } else { "" };
            let same = if difference.is_none() { "nothing that is counted or hashed differs; " } else { "" };
            plain::say(&format!("{same}{} apart{apart}", dumps::age(ages.abs())));
        }
        Ok(if difference.is_none() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
    }

    fn find(&self, world: &World, wanted: &str) -> Result<(String, Manifest)> {
        let (job, dump) =
            dumps::locate(world, self.job.as_deref(), self.database.as_deref(), wanted, |name| format!("lifeboat diff {name} …"))?;
        let manifest = world.engine.dump(&job, &dump, &world.cx)?.manifest;
        Ok((job, manifest))
    }
}

fn read(world: &World, (job, manifest): &(String, Manifest)) -> Result<Outline> {
    let stream = world.engine.read(job, manifest, &world.cx)?;
    let look = peek::look(stream, manifest.format, Wish { rows: None, statements: true }, &world.cx);
    look.map(|look| look.outline).map_err(|report| report.under(format!("{} could not be read", manifest.object)))
}

fn tell(difference: &Difference) -> Result<()> {
    if !difference.tables.is_empty() {
        print::table(&["TABLE", "ROWS", "CHANGE", "BYTES", "CHANGE"], &difference.tables.iter().map(row).collect::<Vec<_>>())?;
    }
    for change in &difference.tables {
        for column in &change.columns {
            let words = match (&column.old, &column.new) {
                (None, new) => format!("came: {}", new.as_deref().unwrap_or_default()),
                (Some(old), None) => format!("is gone: {old}"),
                (Some(old), Some(new)) => format!("was {old}, is {new}"),
            };
            print::line(&harmless(&format!("{}.{} {words}", change.table, column.column)))?;
        }
    }
    for (what, old, new) in &difference.schema {
        print::line(&format!("{what}: {old} → {new}"))?;
    }
    if let Some(statements) = &difference.statements {
        for line in statements.lines() {
            print::line(&harmless(line))?;
        }
    }
    Ok(())
}

fn row(change: &TableChange) -> Vec<String> {
    let TableChange { table, old, new, .. } = change;
    let name = harmless(table);
    let count = |count: &Option<TableCount>| count.unwrap_or_default();
    let (before, after) = (count(old), count(new));
    let rows = match (old, new) {
        (None, _) => "new".to_owned(),
        (_, None) => "gone".to_owned(),
        _ if change.has_other_rows() => "same count, other rows".to_owned(),
        _ => signed(before.rows, after.rows),
    };
    let bytes = if after.bytes >= before.bytes { ("+", after.bytes - before.bytes) } else { ("-", before.bytes - after.bytes) };
    vec![name, after.rows.to_string(), rows, print::size(after.bytes), format!("{}{}", bytes.0, print::size(bytes.1))]
}

fn signed(old: u64, new: u64) -> String {
    if new >= old { format!("+{}", new - old) } else { format!("-{}", old - new) }
}
