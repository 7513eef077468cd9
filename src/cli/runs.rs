//! What is known of runs: the list, the report, the journal, and following one that another process walks.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::plain::{self, Printer};
use super::world::World;
use super::{Common, print};
use crate::report::{Report as Told, Result};
use crate::run::report::RunReport;
use crate::run::walk::Witness;
use crate::run::{self, Verdict, journal};

/// How often a run of another process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Follow a run that another process walks.
#[derive(Debug, Args)]
pub struct Watch {
    /// The run; `latest`, or any unambiguous part of its id
    #[arg(default_value = "latest")]
    run: String,
}

/// What a run reached.
#[derive(Debug, Args)]
pub struct Report {
    /// The run; `latest`, or any unambiguous part of its id
    #[arg(default_value = "latest")]
    run: String,
    /// How it is written
    #[arg(long, default_value = "md")]
    format: Format,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Markdown
    Md,
    /// JSON
    Json,
}

/// The journal of a run.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Check that no line was changed, added or taken away
    Verify {
        /// The run
        #[arg(default_value = "latest")]
        run: String,
    },
}

pub fn list(common: &Common) -> Result<ExitCode> {
    let world = World::open(common)?;
    let cards = run::list(&world.runs());
    if common.json {
        let rows: Vec<_> = cards
            .iter()
            .map(|card| {
                serde_json::json!({ "run": card.id, "title": card.title, "started_at": card.started_at, "verdict": card.verdict,
                    "steps_over": card.progress.0, "steps": card.progress.1, "held": card.held, "drill": card.drill })
            })
            .collect();
        print::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = cards
        .iter()
        .map(|card| {
            let state = match (card.verdict, card.held) {
                (Some(Verdict::Proven), _) => "proven",
                (Some(Verdict::Unproven), _) => "not proven",
                (Some(Verdict::Aborted), _) => "aborted",
                (None, true) => "running",
                (None, false) => "parked",
            };
            vec![card.id.clone(), format!("{}/{}", card.progress.0, card.progress.1), state.into(), card.title.clone()]
        })
        .collect();
    print::table(&["RUN", "STEPS", "STATE", "TITLE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

impl Watch {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let directory = run::find(&world.runs(), &self.run)?;
        let mut printer = Printer::default();
        let mut seen = 0;
        loop {
            let held = journal::is_held(&directory);
            let kept = run::read(&world.runs(), &directory.file_name().unwrap_or_default().to_string_lossy())?;
            for entry in &kept.entries[seen..] {
                printer.after(entry, &kept.plan);
            }
            seen = kept.entries.len();
            if kept.state.verdict.is_some() || !held {
                return Ok(ExitCode::SUCCESS);
            }
            world.cx.pause(LOOK_EVERY)?;
        }
    }
}

impl Report {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let kept = run::read(&world.runs(), &self.run)?;
        let report = RunReport::of(&kept.plan, &kept.state, &kept.head);
        match self.format {
            Format::Md if !common.json => print::text(&report.markdown())?,
            _ => print::json(&report)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Journal {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let Journal::Verify { run } = self;
        // A run's directory may be checked wherever it was carried; it needs no configuration.
        let directory = match Path::new(run) {
            path if path.join(journal::FILE).is_file() => path.to_owned(),
            _ => run::find(&World::open(common)?.runs(), run)?,
        };
        let chain = journal::read(&directory)?;
        if chain.torn > 0 {
            plain::say(&format!("{} bytes after the last whole line were never a fact", chain.torn));
        }
        if chain.entries.is_empty() {
            return Err(Told::refused("the journal is empty").hint("lifeboat runs"));
        }
        print::line(&format!("{} facts, the chain holds, head {}", chain.entries.len(), chain.head))?;
        Ok(ExitCode::SUCCESS)
    }
}
