//! Databases that swaps put aside: which there are, and dropping one by decision. Nothing drops them by itself.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::world::World;
use super::{Common, plain, print, swap};
use crate::report::{Report, Result};
use crate::runbook::plan::{Check, Probe, Verify, Work};
use crate::system::postgres::kept;

/// Databases that a swap put aside, their size, and until when they are to be kept.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Kept {
    /// Only those on this system
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Drop one whose day has come; its name is typed to confirm
    Drop(Drop),
}

/// Drop a database that was put aside.
#[derive(Debug, Args)]
struct Drop {
    /// The database, as `lifeboat kept` lists it
    database: String,
    /// The system it is on, where several have one of that name
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Also before its day
    #[arg(long)]
    early: bool,
}

/// One line of the list.
#[derive(Serialize)]
struct Row<'a> {
    system: &'a str,
    #[serde(flatten)]
    kept: kept::Kept,
}

impl Kept {
    pub fn run(self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        match self.act {
            Some(Act::Drop(drop)) => drop.run(&world, common),
            None => show(&world, self.system.as_deref(), common),
        }
    }
}

/// What is kept on one system, or on all that can be asked from here; and which of them did not answer.
fn rows<'a>(world: &'a World, system: Option<&str>) -> Result<(Vec<Row<'a>>, Vec<Report>)> {
    if let Some(system) = system {
        world.inventory.system(system)?;
    }
    let (mut rows, mut silent): (Vec<Row<'a>>, Vec<Report>) = (Vec::new(), Vec::new());
    for name in world.inventory.systems.keys().filter(|name| system.is_none_or(|system| system == name.as_str())) {
        if world.inventory.system(name)?.postgres().through.is_some() {
            continue;
        }
        match world.engine.kept(name, &world.cx) {
            Ok(kept) => rows.extend(kept.into_iter().map(|kept| Row { system: name, kept })),
            Err(report) => silent.push(report),
        }
    }
    Ok((rows, silent))
}

fn show(world: &World, system: Option<&str>, common: &Common) -> Result<ExitCode> {
    let (rows, silent) = rows(world, system)?;
    if common.json {
        print::json(&rows)?;
    } else if rows.is_empty() && silent.is_empty() {
        plain::say("no database was put aside");
    } else if !rows.is_empty() {
        let row = |row: &Row<'_>| {
            let mark = row.kept.mark.as_ref();
            let said = row.kept.comment.trim_start_matches("lifeboat: ").to_owned();
            let [was, since, by] = mark.map_or(["?".to_owned(), "?".to_owned(), said], |mark| {
                let by = match &mark.pull {
                    Some(pull) => format!("pull {}", pull.name),
                    None if mark.taken_back => format!("{}, taken back", mark.replaced_by),
                    None => mark.replaced_by.clone(),
                };
                [mark.was.clone(), mark.since.strftime("%Y-%m-%dT%H:%MZ").to_string(), by]
            });
            let until = row.kept.until.map_or_else(|| "nobody said".to_owned(), |until| until.to_string());
            vec![
                row.kept.name.clone(),
                row.system.to_owned(),
                row.kept.size.map_or_else(|| "?".to_owned(), print::size),
                was,
                since,
                until,
                by,
            ]
        };
        let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
        print::table(&["DATABASE", "SYSTEM", "SIZE", "WAS", "SINCE", "KEPT UNTIL", "REPLACED BY"], &rows)?;
    }
    // What was not asked is not known to keep nothing.
    silent.into_iter().next().map_or(Ok(ExitCode::SUCCESS), Err)
}

impl Drop {
    fn run(self, world: &World, common: &Common) -> Result<ExitCode> {
        let Drop { database, system, early } = self;
        let (found, silent) = rows(world, system.as_deref())?;
        if let (None, Some(report)) = (&system, silent.into_iter().next()) {
            return Err(report.hint("--system NAME asks only one"));
        }
        let systems: Vec<&str> = found.iter().filter(|row| row.kept.name == database).map(|row| row.system).collect();
        let system = match (systems.as_slice(), system) {
            ([one], _) => (*one).to_owned(),
            ([], Some(system)) => system,
            ([], None) => {
                let names = found.iter().map(|row| row.kept.name.as_str()).collect::<Vec<_>>().join(", ");
                let words = if names.is_empty() { "there is none".to_owned() } else { format!("there are: {names}") };
                return Err(Report::refused(format!("no database {database:?} was put aside by a swap")).hint(words));
            }
            (several, _) => {
                return Err(Report::usage("several systems have one of that name").hint(format!("--system {}", several.join(" | "))));
            }
        };
        // Refused before anybody is asked to type a name; and again when it is done.
        world.engine.may_drop_kept(&system, &database, early, Timestamp::now(), &world.cx)?;
        let check = Check {
            title: format!("{database} is gone"),
            probe: Probe::Sql {
                system: system.clone(),
                database: Some(world.inventory.system(&system)?.postgres().maintenance.clone()),
                query: format!("SELECT count(*) FROM pg_database WHERE datname = {}", postgres_protocol::escape::escape_literal(&database)),
                equals: "0".into(),
            },
            within: None,
        };
        let title = format!("Drop {database}, which a swap put aside on {system}");
        let danger = database.clone();
        swap::walk(world, "kept-drop", &title, Work::DropKept { system, database, early }, Verify::Checks(vec![check]), danger, common)
    }
}
