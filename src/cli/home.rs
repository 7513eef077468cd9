//! The screen's way to the world below: gathering what home shows, starting, resuming and following runs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::Common;
use super::plain::{self, verdict_word};
use super::walk::incident_at;
use super::world::World;
use crate::port::Reading;
use crate::report::{Kind, Result};
use crate::run::overview::{Overview, RunbookCard, Shelf};
use crate::run::{self, Answer, Crew, Desk, Live, State, Verdict};
use crate::runbook::plan::Plan;
use crate::tui::bridge::{Bridge, Exit, Follow, Options, Start};

/// Opens the screen at home.
pub fn open(common: &Common) -> Result<ExitCode> {
    let mut world = World::open(common)?;
    world.hush();
    show(world, Start::Home)
}

/// Starts a plan and opens the screen on it.
pub fn walk(mut world: World, plan: Plan, drill: bool, incident_at: Timestamp) -> Result<ExitCode> {
    world.hush();
    let followed = start(&world, plan, drill, incident_at)?;
    show(world, Start::Run(Box::new(followed)))
}

/// Resumes a run and opens the screen on it.
pub fn resume(mut world: World, id: &str) -> Result<ExitCode> {
    world.hush();
    let followed = take_up(&world, id)?;
    show(world, Start::Run(Box::new(followed)))
}

/// A run whose questions come to the screen.
pub fn start(world: &World, plan: Plan, drill: bool, incident_at: Timestamp) -> Result<Followed> {
    let desk = Desk::default();
    let live = run::start(&world.runs(), plan, drill, incident_at, silent(world, &desk), &world.cx)?;
    Ok(Followed { live, desk })
}

fn take_up(world: &World, id: &str) -> Result<Followed> {
    let desk = Desk::default();
    let live = run::resume(&world.runs(), id, &world.inventory.environment.name, silent(world, &desk), &world.cx)?;
    Ok(Followed { live, desk })
}

/// The screen shows facts; nothing is printed beside it.
fn silent(world: &World, desk: &Desk) -> Crew {
    world.crew_with(desk.clone(), ())
}

fn show(world: World, start: Start) -> Result<ExitCode> {
    let world = Arc::new(world);
    let exit = screen(&world, start)?;
    conclude(exit)
}

/// The screen on this world, until the person leaves it or the terminal goes away.
pub fn screen(world: &Arc<World>, start: Start) -> Result<Exit> {
    let bridge = Below { world: Arc::clone(world), gathered: Arc::default() };
    let themes = directories::ProjectDirs::from("", "", "lifeboat").map(|dirs| dirs.config_dir().join("themes"));
    crate::tui::run(Box::new(bridge), Options { theme: None, themes, start })
}

/// A run that was left goes on until its next question; then the process ends with its exit code.
pub fn conclude(exit: Exit) -> Result<ExitCode> {
    let Some(follow) = exit.follow else { return Ok(ExitCode::SUCCESS) };
    follow.detach();
    let run = follow.state().run.clone();
    if follow.ended().is_none() && !exit.gone {
        plain::say(&format!("run {run} goes on until its next question …"));
    }
    match follow.wait() {
        Ok(verdict) => {
            plain::say(&format!("{}: lifeboat report {run}", verdict_word(verdict)));
            Ok(match verdict {
                Verdict::Proven => ExitCode::SUCCESS,
                Verdict::Unproven => ExitCode::from(Kind::Refused.exit_code()),
                Verdict::Aborted => ExitCode::from(Kind::Cancelled.exit_code()),
            })
        }
        Err(report) => Err(report),
    }
}

/// A run walked by this process, as the screen follows it.
pub struct Followed {
    live: Live,
    desk: Desk,
}

impl Followed {
    /// The run itself.
    pub fn live(&self) -> &Live {
        &self.live
    }
}

impl Follow for Followed {
    fn plan(&self) -> Arc<Plan> {
        self.live.plan()
    }

    fn state(&self) -> Arc<State> {
        self.live.state()
    }

    fn head(&self) -> String {
        self.live.head()
    }

    fn readings(&self) -> Vec<Reading> {
        self.live.readings()
    }

    fn log(&self, last: usize) -> Vec<(String, String)> {
        self.live.log(last)
    }

    fn version(&self) -> u64 {
        self.live.version()
    }

    fn answer(&self, answer: Answer) -> Result<()> {
        self.desk.answer(answer)
    }

    fn interrupt(&self) {
        self.live.interrupt();
    }

    fn detach(&self) {
        self.desk.leave();
    }

    fn ended(&self) -> Option<Result<Verdict>> {
        self.live.ended()
    }

    fn wait(&self) -> Result<Verdict> {
        self.live.wait()
    }
}

/// What lies below the screen.
struct Below {
    world: Arc<World>,
    gathered: Arc<Mutex<Option<Overview>>>,
}

impl Bridge for Below {
    fn overview(&mut self) -> Overview {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.clone().unwrap_or_else(|| local(&self.world))
    }

    fn refresh(&mut self) {
        let (world, gathered) = (Arc::clone(&self.world), Arc::clone(&self.gathered));
        std::thread::spawn(move || {
            let overview = overview(&world);
            *gathered.lock().unwrap_or_else(PoisonError::into_inner) = Some(overview);
        });
    }

    fn plan(&mut self, runbook: &str) -> Result<Plan> {
        let mut plan = self.world.draft(runbook)?.outline().clone();
        plan.surroundings = self.world.surroundings(runbook)?;
        Ok(plan)
    }

    fn start(&mut self, runbook: &str, values: BTreeMap<String, String>) -> Result<Box<dyn Follow>> {
        let plan = self.world.plan(runbook, &values)?;
        let incident_at = incident_at(&plan);
        Ok(Box::new(start(&self.world, plan, false, incident_at)?))
    }

    fn resume(&mut self, run: &str) -> Result<Box<dyn Follow>> {
        Ok(Box::new(take_up(&self.world, run)?))
    }
}

/// What this machine knows without asking any store.
fn local(world: &World) -> Overview {
    let environment = &world.inventory.environment;
    Overview {
        environment: environment.name.clone(),
        production: environment.production,
        gathered_at: None,
        shelves: Vec::new(),
        runbooks: cards(world),
        runs: run::list(&world.runs()),
    }
}

/// What home shows, the stores asked.
fn overview(world: &World) -> Overview {
    let shelves = world.inventory.present().map(|job| Shelf {
        job: job.name.clone(),
        title: job.title.clone(),
        store: world.engine.store(job, &world.cx).map_or_else(|_| job.store.clone(), |store| store.describe()),
        max_age: job.max_age,
        dumps: world.engine.listing(&job.name, &world.cx).map(|listing| listing.dumps),
    });
    Overview { shelves: shelves.collect(), gathered_at: Some(Timestamp::now()), ..local(world) }
}

fn cards(world: &World) -> Vec<RunbookCard> {
    let Ok(library) = world.library() else { return Vec::new() };
    let proven = last_proven(world);
    let card = |id: &str| {
        let draft = world.draft(id).ok()?;
        let plan = draft.outline();
        Some(RunbookCard {
            id: id.to_owned(),
            title: plan.title.clone(),
            summary: plan.summary.clone(),
            owner: plan.owner.clone(),
            review_by: plan.review_by,
            steps: plan.steps.len(),
            rto: plan.objectives.rto,
            last_proven: proven.get(id).copied(),
        })
    };
    library.ids().filter_map(card).collect()
}

/// When each runbook was last walked to the end with every step proven, and how long that took.
fn last_proven(world: &World) -> BTreeMap<String, (Timestamp, jiff::SignedDuration)> {
    let runs = world.runs();
    let mut proven = BTreeMap::new();
    for card in run::list(&runs).iter().rev().filter(|card| card.verdict == Some(Verdict::Proven)) {
        let Ok(kept) = run::read(&runs, &card.id) else { continue };
        if let Some(ended) = kept.state.ended_at {
            proven.insert(kept.plan.runbook, (ended, ended.duration_since(card.started_at)));
        }
    }
    proven
}
