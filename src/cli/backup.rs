//! Making a dump and restoring one: runs of one step, through the same door as every runbook.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::world::World;
use super::{Common, dumps};
use crate::report::Result;
use crate::run::person::Unattended;
use crate::run::{self, Live};
use crate::runbook::plan::{Action, Check, Plan, Probe, Step, Verify, Work};

/// Make a dump now.
#[derive(Debug, Args)]
pub struct Backup {
    /// The job, as the configuration names it
    job: String,
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
}

impl Backup {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        world.inventory.job(&self.job)?;
        let live = start(&world, &self.job)?;
        world.conclude(&live, common)
    }
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
        let (job, dump) = dumps::locate(&world, self.job.as_deref(), &self.dump)?;
        let probe = Probe::Restored { job: job.clone(), dump: dump.clone(), database: self.into.clone() };
        let check = Check { title: format!("{} holds what the dump holds", self.into), probe, within: None };
        let work = Work::Restore { job, dump: dump.clone(), into: self.into.clone() };
        let live = single(&world, "restore", &format!("Restore {dump} into {}", self.into), work, Verify::Checks(vec![check]))?;
        world.conclude(&live, common)
    }
}

/// One piece of work of the engine as a run of one step, with nobody to ask.
fn single(world: &World, id: &str, title: &str, work: Work, verify: Verify) -> Result<Live> {
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
