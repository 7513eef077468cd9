//! Making a dump and restoring one: runs of one step, through the same door as every runbook.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::world::{self, World};
use super::{Common, dumps, plain, print, ticket};
use crate::port::{Reading, held_up};
use crate::report::Result;
use crate::run::person::Unattended;
use crate::run::report::RunReport;
use crate::run::{self, Live};
use crate::runbook::plan::{Action, Check, Plan, Probe, Step, Verify, Work};

/// Make a dump now.
#[derive(Debug, Args)]
pub struct Backup {
    /// The job, as the configuration names it
    job: String,
    /// Store it with a ticket of `lifeboat ticket` instead of with rights of one's own; `-` is standard input
    #[arg(long, value_name = "FILE")]
    ticket: Option<PathBuf>,
    /// Where the dump waits, encrypted, until its length is known (with --ticket); else the system's temporary directory
    #[arg(long, value_name = "DIR", requires = "ticket")]
    spool: Option<PathBuf>,
}

/// Restore a dump into a new database.
#[derive(Debug, Args)]
pub struct Restore {
    /// The dump's name, `latest`, or an instant
    dump: String,
    /// The new database
    #[arg(long, value_name = "DB")]
    into: String,
    /// The job that made it, where more than one could have
    #[arg(long)]
    job: Option<String>,
    /// The database, where the job dumps several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

impl Backup {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let mut world = World::open(common)?;
        world.inventory.job(&self.job)?;
        if let Some(path) = &self.ticket {
            world = ticket::spend(world, ticket::read(path)?, &self.job, self.spool.clone())?;
        }
        let live = start(&world, &self.job)?;
        let verdict = world.follow(&live);
        let readings = live.readings();
        if common.json {
            let report = RunReport::of(&live.plan(), &live.state(), &live.head());
            print::json(&Told { report, stages: &readings })?;
        }
        let code = world::judge(verdict, &live)?;
        for line in stages(&readings) {
            plain::say(&line);
        }
        Ok(code)
    }
}

/// What `--json` says: the report of the run, and where its time went.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: RunReport,
    stages: &'a [Reading],
}

/// Where the time of a chain went: a line for each stage, the bottleneck marked.
pub fn stages(readings: &[Reading]) -> Vec<String> {
    let held = held_up(readings);
    let whole: f64 = held.iter().flatten().sum();
    let most = held.iter().flatten().copied().fold(0.0, f64::max);
    let line = |(reading, held): (&Reading, &Option<f64>)| {
        let amount = format!("{:<8} {:>9} {:>7.1} MB/s", reading.name, print::size(reading.bytes), reading.megabytes_per_second());
        match held {
            Some(held) if whole > 0.0 => {
                let mark = if *held >= most { "  the bottleneck" } else { "" };
                format!("{amount} {held:>7.1} s {:>3.0} %{mark}", held / whole * 100.0)
            }
            _ => amount,
        }
    };
    readings.iter().zip(&held).map(line).collect()
}

/// A backup as a run of one step.
pub fn start(world: &World, job: &str) -> Result<Live> {
    let work = Work::Backup { job: job.to_owned() };
    let verify = Verify::None("its manifest is the proof: it is written last".into());
    single(world, "backup", &format!("Dump of {job}"), work, verify)
}

impl Restore {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let (job, dump) = dumps::locate(&world, self.job.as_deref(), self.database.as_deref(), &self.dump)?;
        let probe = Probe::Restored { job: job.clone(), dump: dump.clone(), database: self.into.clone() };
        let check = Check { title: format!("{} holds what the dump holds", self.into), probe, within: None };
        let work = Work::Restore { job, dump: dump.clone(), into: self.into.clone() };
        let live = single(&world, "restore", &format!("Restore {dump} into {}", self.into), work, Verify::Checks(vec![check]))?;
        world.conclude(&live, common)
    }
}

/// One piece of work of the engine as a run of one step, with nobody to ask.
pub fn single(world: &World, id: &str, title: &str, work: Work, verify: Verify) -> Result<Live> {
    let plan = plan(world, id, title, work, verify, None)?;
    let crew = world.crew(Unattended { boxed: false });
    run::start(&world.runs(), plan, false, Timestamp::now(), crew, &world.cx)
}

/// A runbook of one step.
pub fn plan(world: &World, id: &str, title: &str, work: Work, verify: Verify, danger: Option<String>) -> Result<Plan> {
    let action = Action::Job(work);
    let step = Step {
        id: id.into(),
        title: title.into(),
        why: String::new(),
        section: None,
        bindings: Vec::new(),
        repeatable: action.is_repeatable(),
        action,
        verify,
        undo: None,
        expect: SignedDuration::from_mins(10),
        timeout: None,
        danger,
        drill: crate::runbook::plan::DrillMode::Run,
    };
    let surroundings = world.surroundings(id)?;
    let review_by = surroundings.started_at.to_zoned(jiff::tz::TimeZone::UTC).date();
    Ok(Plan {
        runbook: id.into(),
        title: title.into(),
        summary: String::new(),
        owner: String::new(),
        review_by,
        objectives: crate::runbook::plan::Objectives::default(),
        contacts: Vec::new(),
        parameters: Vec::new(),
        values: std::collections::BTreeMap::new(),
        surroundings,
        steps: vec![step],
    })
}
