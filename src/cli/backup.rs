//! Making a dump and restoring one: runs of one step, through the same door as every runbook.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::world::{self, World};
use super::{Common, dumps, plain, print, ticket};
use crate::port::{Reading, held_up};
use crate::report::{Report, Result};
use crate::run::engine::Affixes;
use crate::run::person::Commanded;
use crate::run::report::RunReport;
use crate::run::{self, Live};
use crate::runbook::plan::{Action, Check, Plan, Probe, Step, Verify, Work};
use crate::system::postgres::databases::check_name;

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
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(group = clap::ArgGroup::new("affix").args(["prefix", "suffix"]).multiple(true))]
pub struct Restore {
    /// The dump's name or id, its time (2026-11-20T03:00Z), `latest`, or `before:TIME`
    dump: String,
    /// The new database
    #[arg(long, value_name = "DB", required_unless_present_any = ["group", "roles"])]
    into: Option<String>,
    /// The job that made it, where more than one could have
    #[arg(long)]
    job: Option<String>,
    /// The database, where the job dumps several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Only the rows of this table, its name, `schema.table` or a pattern with * and ?; again for more of them. The whole schema comes back, but for
    /// foreign keys to rows that do not
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Make roles that the dump names and the server has not, without a right to log in
    #[arg(long)]
    create_roles: bool,
    /// Read every row back once it is there and hold it against the dump, before the database counts as restored: a value that is another leaves
    /// no database. Takes about as long again as reading the tables once; without it rows are counted
    #[arg(long)]
    compare: bool,
    /// Every database that was dumped together with this one, all or none; DUMP is any of those dumps, or the id of the group
    #[arg(long, conflicts_with_all = ["into", "tables", "roles"], requires = "affix")]
    group: bool,
    /// What comes before the name each database of the group had (with --group)
    #[arg(long, value_name = "TEXT", requires = "group")]
    prefix: Option<String>,
    /// What comes after it (with --group)
    #[arg(long, value_name = "TEXT", requires = "group")]
    suffix: Option<String>,
    /// Make the roles of a dump of globals that the server has not; those it has are left as they are
    #[arg(long, conflicts_with_all = ["into", "tables", "create_roles", "compare", "database"])]
    roles: bool,
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
        let live = match &self.into {
            None if self.roles => self.roles(&world)?,
            None => self.group(&world)?,
            Some(into) => self.one(&world, into)?,
        };
        world.conclude(&live, common)
    }

    fn one(&self, world: &World, into: &str) -> Result<Live> {
        check_name(into)?;
        let (job, dump) = dumps::locate(world, self.job.as_deref(), self.database.as_deref(), &self.dump, |name| {
            format!("lifeboat restore {name} --into {}", shell_words::quote(into))
        })?;
        self.compares_what_it_makes(world, &job, [into])?;
        let checks = vec![holds(&job, &dump, into, &self.tables)];
        let (tables, create_roles, compare) = (self.tables.clone(), self.create_roles, self.compare);
        let work = Work::Restore { job, dump: dump.clone(), into: into.to_owned(), tables, create_roles, compare };
        single(world, "restore", &format!("Restore {dump} into {into}"), work, Verify::Checks(checks))
    }

    fn group(&self, world: &World) -> Result<Live> {
        let command = |name: &str| format!("lifeboat restore {name} --group --suffix _copy");
        let (job, group) = dumps::locate_group(world, self.job.as_deref(), self.database.as_deref(), &self.dump, command)?;
        let [prefix, suffix] = [&self.prefix, &self.suffix].map(|affix| affix.clone().unwrap_or_default());
        let names = Affixes { prefix: prefix.clone(), suffix: suffix.clone() };
        // What the group lacks is told before anything is written down.
        let members = world.engine.group(&job, &group, &world.cx)?;
        let databases: Vec<String> = members.iter().map(|(database, _)| names.name(database)).collect();
        self.compares_what_it_makes(world, &job, databases.iter().map(String::as_str))?;
        let checks = members.iter().map(|(database, manifest)| holds(&job, &manifest.object, &names.name(database), &[])).collect();
        let title = format!("Restore the {} databases of the group {group}", members.len());
        let work = Work::RestoreGroup { job, group, prefix, suffix, create_roles: self.create_roles, compare: self.compare };
        single(world, "restore", &title, work, Verify::Checks(checks))
    }

    /// A database that holds as many rows as the dump would count as restored from it; rows are compared only while they are restored.
    fn compares_what_it_makes<'a>(&self, world: &World, job: &str, databases: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for database in databases {
            if self.compare && world.engine.has_database(job, database, &world.cx)? {
                return Err(Report::refused(format!("database {database:?} exists already, and --compare reads back what it restores"))
                    .hint("restore into a name that is not taken"));
            }
        }
        Ok(())
    }

    fn roles(&self, world: &World) -> Result<Live> {
        let (job, dump) = dumps::locate(world, self.job.as_deref(), None, &self.dump, |name| format!("lifeboat restore {name} --roles"))?;
        let title = format!("Make the roles of {dump} that are missing");
        let verify = Verify::None("the server made all of them in one transaction, or said why not".into());
        single(world, "restore", &title, Work::RestoreRoles { job, dump }, verify)
    }
}

/// Every row of the dump is in the database, or those of the chosen tables.
fn holds(job: &str, dump: &str, database: &str, tables: &[String]) -> Check {
    let probe = Probe::Restored { job: job.into(), dump: dump.into(), database: database.into(), tables: tables.to_vec() };
    let what = if tables.is_empty() { "what the dump holds" } else { "the rows that were chosen of the dump" };
    Check { title: format!("{database} holds {what}"), probe, within: None }
}

/// One piece of work of the engine as a run of one step, with nobody to ask.
pub fn single(world: &World, id: &str, title: &str, work: Work, verify: Verify) -> Result<Live> {
    let plan = plan(world, id, title, work, verify, None)?;
    let crew = world.crew(Commanded);
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
