//! The demonstration: a whole little production in a box, a backup, a disaster, and the way back by the real runbook.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::plain::{self, Teletype, say};
use super::walk::How;
use super::world::{World, runtime};
use super::{Common, backup, home, print};
use crate::drill::{BoxOptions, Scenario, TheBox, Truth};
use crate::port::{Context, Log};
use crate::report::{Explain, Kind, Report, Result};
use crate::run::person::Unattended;
use crate::run::report::RunReport;
use crate::run::{self, Kept, Live};
use crate::tui::bridge::Start;

/// The runbook that gets the box back.
const RUNBOOK: &str = "restore-production";

/// The job the box comes with.
const JOB: &str = "orders";

/// Orders placed between the backup and the disaster: they are what is lost.
const ORDERS_AFTER: u32 = 25;

/// A disaster and its recovery in a throwaway box.
#[derive(Debug, Args)]
pub struct Demo {
    #[command(flatten)]
    how: How,
    /// Keep the box's files here: configuration, dumps, runs
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// What happens: deleted-orders, dropped-table, wrong-update
    #[arg(long, value_name = "NAME", default_value = "deleted-orders")]
    scenario: String,
    /// Rows in the largest table but one
    #[arg(long, default_value_t = 200_000, hide = true)]
    rows: u32,
}

impl Demo {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let scenario = Scenario::named(&self.scenario)?;
        let runtime = runtime()?;
        let mut cx = Context::new(runtime.handle().clone());
        // What servers say of starting and stopping is no news here.
        cx.log = Log::to(|who, line| {
            if ["box", "cluster", "sweep"].contains(&who) {
                say(&format!("       {line}"));
            }
        });
        say("Lifeboat demo: everything below is real, throwaway, and on this machine only.");
        let began = Instant::now();
        let the_box = TheBox::start(
            &BoxOptions { dir: self.keep.clone(), rows: self.rows, keep: self.keep.is_some(), ..BoxOptions::default() },
            &cx,
        )?;
        say(&format!("       the box is up after {:.1} s: {}", began.elapsed().as_secs_f64(), the_box.config_path().display()));
        cx.log = Log::default();
        let world = Arc::new(World::with(the_box.config_path(), runtime, cx)?);
        Self::back_up(&world)?;
        let truth = Self::strike(&world, &the_box, scenario)?;
        let kept = self.recover(&world, &truth)?;
        self.conclude(&world, &the_box, &truth, &kept, common)
    }

    fn back_up(world: &World) -> Result<()> {
        say("");
        say("02:00  The nightly backup, through the engine that restores will use.");
        let live = backup::start(world, JOB)?;
        world.follow(&live)?;
        for line in backup::stages(&live.readings()) {
            say(&format!("     {line}"));
        }
        Ok(())
    }

    fn strike(world: &World, the_box: &TheBox, scenario: Scenario) -> Result<Truth> {
        the_box.trade(ORDERS_AFTER, &world.cx)?;
        let truth = the_box.strike(scenario, &world.cx)?;
        say("");
        say(&format!("03:00  {ORDERS_AFTER} orders later. {}", scenario.story()));
        say("       The runbook: get the database back, from the first message to the last test.");
        Ok(truth)
    }

    /// Walks the runbook as the terminal allows. What is left is on disk, whatever became of it.
    fn recover(&self, world: &Arc<World>, truth: &Truth) -> Result<Kept> {
        let plan = world.plan(RUNBOOK, &BTreeMap::from([("incident_at".to_owned(), truth.at.to_string())]))?;
        let id = plan.surroundings.run.clone();
        let walked = if self.how.screen() {
            say("       Press Enter to open it.");
            if !plain::wait_for_enter() {
                return Err(Report::cancelled());
            }
            let followed = home::start(world, plan, true, truth.at)?;
            let live = followed.live().clone();
            let exit = home::screen(world, Start::Run(Box::new(followed)))?;
            if let Some(follow) = exit.follow {
                follow.detach();
            }
            live.wait()
        } else {
            self.walk_plain(world, plan, truth)?.wait()
        };
        match walked {
            Err(report) if report.kind == Kind::Parked => say(&format!("{}; the box goes, and the run with it", report.message)),
            Err(report) => plain::tell(&report),
            Ok(_) => {}
        }
        run::read(&world.runs(), &id)
    }

    fn walk_plain(&self, world: &World, plan: crate::runbook::Plan, truth: &Truth) -> Result<Live> {
        let attended = self.how.plain && !self.how.yes && super::world::attended();
        let crew = if attended { world.crew(Teletype) } else { world.crew(Unattended { boxed: true }) };
        let live = run::start(&world.runs(), plan, true, truth.at, crew, &world.cx)?;
        // What it came to is read from the journal; here one only waits.
        world.follow(&live).ok();
        Ok(live)
    }

    fn conclude(&self, world: &World, the_box: &TheBox, truth: &Truth, kept: &Kept, common: &Common) -> Result<ExitCode> {
        let mut report = RunReport::of(&kept.plan, &kept.state, &kept.head);
        // Where the database cannot be asked, the loss is not known, and the report says so.
        report.loss.rows = the_box.loss(truth, &world.cx).ok().map(|loss| loss.rows + loss.changed);
        let files = keep_report(&report)?;
        if common.json {
            print::json(&report)?;
        } else {
            print::text(&format!("\n{}", report.markdown()))?;
        }
        say(&format!("The report is kept: {} and .json", files.display()));
        if let Some(dir) = &self.keep {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
            say(&format!("The box's files are kept: {}", dir.display()));
        }
        if report.objectives_proven {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Report::refused("the drill did not prove every objective").hint("read the report above: which step, which check"))
    }
}

/// Drills leave nothing behind but their reports: those are the trend.
fn keep_report(report: &RunReport) -> Result<PathBuf> {
    let own = directories::ProjectDirs::from("", "", "lifeboat");
    let state = own.map_or_else(|| PathBuf::from(".lifeboat"), |own| own.state_dir().unwrap_or(own.data_local_dir()).to_owned());
    let directory = state.join("drills");
    let cannot = || format!("keeping the report in {}", directory.display());
    fs::create_dir_all(&directory).explain(cannot)?;
    let write = |ending: &str, text: &[u8]| fs::write(directory.join(format!("{}.{ending}", report.run)), text).explain(cannot);
    write("md", report.markdown().as_bytes())?;
    write("json", &serde_json::to_vec_pretty(report).explain(cannot)?)?;
    Ok(Path::new(&directory).join(format!("{}.md", report.run)))
}
