//! Looking into a dump without restoring it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::world::World;
use super::{Common, dumps, plain, print};
use crate::pipeline::inspect::outline::{Column, Rows, Wish, harmless, masked};
use crate::pipeline::manifest::Manifest;
use crate::pipeline::peek::{self, Look};
use crate::report::Result;

/// How wide a line is at most.
const WIDTH: usize = 80;

/// Look into a dump without restoring it: its tables with rows, bytes and columns, or some rows of one table.
///
/// Values are masked: every letter becomes `x` or `X`, every digit `9`; blanks, punctuation and NULL stay, so that the shape is seen and nothing
/// else. --show shows them as they are. Control characters are spelled out either way.
///
/// Without TABLE the dump is read to its end, and everything in it is counted against its manifest. With TABLE reading stops as soon as the
/// rows are there, and nothing is proven of the rest. --quick reads nothing but the manifest, and needs no key.
#[derive(Debug, Args)]
pub struct Peek {
    /// The dump's name or id, its time (2026-11-20T03:00Z), `latest`, or `before:TIME`
    dump: String,
    /// The table: `schema.table`, or its name alone where there is one such
    table: Option<String>,
    /// How many of its rows
    #[arg(long, value_name = "N", default_value = "5", requires = "table", value_parser = clap::value_parser!(u16).range(0..=1000))]
    rows: u16,
    /// Values as they are, not masked
    #[arg(long, requires = "table")]
    show: bool,
    /// From the manifest alone: tables, rows and bytes
    #[arg(long, conflicts_with = "table")]
    quick: bool,
    /// The job that made it, where more than one could have
    #[arg(long)]
    job: Option<String>,
    /// The database, where the job dumps several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

impl Peek {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        world.stop_on_signals();
        let (job, dump) =
            dumps::locate(&world, self.job.as_deref(), self.database.as_deref(), &self.dump, |name| format!("lifeboat peek {name}"))?;
        let manifest = world.engine.dump(&job, &dump, &world.cx)?.manifest;
        if self.quick {
            return tell_tables(&manifest, None, common);
        }
        let table = self.table.as_deref().map(|wanted| peek::table(&manifest, wanted)).transpose()?;
        let wish = Wish { rows: table.map(|table| (table.to_owned(), usize::from(self.rows))), statements: false };
        let stream = world.engine.read(&job, &manifest, &world.cx)?;
        let look = peek::look(stream, manifest.format, wish, &world.cx)?;
        match table {
            None => tell_tables(&manifest, Some(&look), common),
            Some(table) => self.tell_rows(&manifest, table, &look, common),
        }
    }

    fn tell_rows(&self, manifest: &Manifest, table: &str, look: &Look, common: &Common) -> Result<ExitCode> {
        let value = |value: &String| if self.show { value.clone() } else { masked(value) };
        let rows: Rows = look.outline.rows.iter().map(|row| row.iter().map(|field| field.as_ref().map(value)).collect()).collect();
        let columns = &look.outline.columns;
        let count = manifest.tables.get(table).copied().unwrap_or_default();
        if common.json {
            print::json(&json!({
                "dump": manifest.object, "table": table, "rows": count.rows, "bytes": count.bytes, "columns": columns,
                "sample": rows, "masked": !self.show, "read_to_the_end": look.contents.is_some(),
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        print::line(&format!("{}: {} rows, {}", harmless(table), count.rows, print::size(count.bytes)))?;
        let widest = columns.iter().map(|column| harmless(&column.name).chars().count()).max().unwrap_or(0).min(WIDTH / 3);
        for column in columns {
            print::line(&clipped(&format!("  {:widest$}  {}", harmless(&column.name), harmless(&column.kind))))?;
        }
        for (at, row) in rows.iter().enumerate() {
            print::line("")?;
            print::line(&format!("row {}", at + 1))?;
            for (column, value) in columns.iter().zip(row) {
                let value = value.as_deref().map_or("NULL".to_owned(), harmless);
                print::line(&clipped(&format!("  {:widest$}  {value}", harmless(&column.name))))?;
            }
        }
        if !self.show && !rows.is_empty() {
            plain::say("masked: letters are x, digits are 9; --show shows them as they are");
        }
        plain::say(end(look));
        Ok(ExitCode::SUCCESS)
    }
}

/// What reading it has proven.
fn end(look: &Look) -> &'static str {
    match look.contents {
        Some(_) => "read to its end: everything counted is as its manifest says",
        None => "not read further: nothing is proven of the rest; lifeboat verify proves it",
    }
}

fn tell_tables(manifest: &Manifest, look: Option<&Look>, common: &Common) -> Result<ExitCode> {
    let columns = |table: &str| look.and_then(|look| look.outline.tables.get(table)).map(Vec::as_slice).unwrap_or_default();
    if common.json {
        let table = |(name, count): (&String, &crate::pipeline::manifest::TableCount)| {
            let mut told = json!({ "table": name, "rows": count.rows, "bytes": count.bytes });
            if look.is_some() {
                told["columns"] = json!(columns(name));
            }
            told
        };
        let tables: Vec<_> = manifest.tables.iter().map(table).collect();
        let read = look.is_some_and(|look| look.contents.is_some());
        print::json(&json!({ "dump": manifest.object, "tables": tables, "schema": manifest.schema, "read_to_the_end": read }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let widest = manifest.tables.keys().map(|name| harmless(name).chars().count()).max().unwrap_or(0).clamp(5, WIDTH - 32);
    print::line(&format!("{:widest$}  {:>14}  {:>10}", "TABLE", "ROWS", "BYTES"))?;
    for (name, count) in &manifest.tables {
        print::line(&format!("{:widest$}  {:>14}  {:>10}", harmless(name), count.rows, print::size(count.bytes)))?;
        for line in wrapped(columns(name)) {
            print::line(&line)?;
        }
    }
    plain::say(look.map_or("from the manifest alone: the dump was not read", end));
    Ok(ExitCode::SUCCESS)
}

/// `    id bigint, name text`, in lines that fit.
fn wrapped(columns: &[Column]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let comma = if at + 1 < columns.len() { "," } else { "" };
        let word = format!("{} {}{comma}", harmless(&column.name), harmless(&column.kind));
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => *line = format!("{line} {word}"),
            _ => lines.push(clipped(&format!("    {word}"))),
        }
    }
    lines
}

/// A line that fits.
fn clipped(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.trim_end().to_owned();
    }
    format!("{}…", line.chars().take(WIDTH - 1).collect::<String>())
}
