//! THE DOOR: start, resume, follow. Whoever wants something done comes in here: the screen, the command line, the schedule.
//!
//! A run is a directory: the plan as it was, the journal, the lock. [`fact`] says what can happen, [`state`] folds it, [`walk`] makes it
//! happen with the [`hands`] that carry steps out and the [`person`] who answers.

pub mod engine;
pub mod fact;
pub mod hands;
pub mod journal;
pub mod live;
pub mod online;
pub mod overview;
pub mod person;
pub mod replica;
pub mod report;
pub mod state;
pub mod ticket;
pub mod walk;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};

pub use fact::{Answer, Entry, Fact, Question, Verdict};
pub use live::{Desk, Live};
pub use state::{State, Status};

pub use crate::port::who;

use crate::port::{Context, nonce};
use crate::report::{Explain, Report, Result};
use crate::runbook::plan::Plan;
use hands::Hands;
use journal::Journal;
use overview::RunCard;
use person::Person;
use walk::{Walk, Witness};

/// The plan's file in a run's directory.
const PLAN: &str = "plan.json";

/// How many runs are told of where several are meant.
const TOLD: usize = 10;

/// What this program calls itself in journals and manifests.
pub use crate::pipeline::TOOL;

/// Who takes part in a run, besides the plan.
pub struct Crew {
    /// Carries steps out.
    pub hands: Arc<dyn Hands>,
    /// Answers.
    pub person: Box<dyn Person>,
    /// Sees each fact.
    pub witness: Box<dyn Witness>,
}

/// Starts a run in a new directory below `runs` and walks it on a thread of its own.
pub fn start(runs: &Path, plan: Plan, drill: bool, incident_at: Timestamp, crew: Crew, cx: &Context) -> Result<Live> {
    let around = &plan.surroundings;
    if drill && around.production {
        return Err(Report::refused(format!("a drill refuses the production environment {:?}", around.environment))
            .hint("lifeboat demo, or --config with an environment that is not production"));
    }
    let id = around.run.clone();
    let directory = runs.join(&id);
    let cannot = || format!("making the run's directory {}", directory.display());
    fs::create_dir_all(runs).explain(cannot)?;
    fs::create_dir(&directory).explain(cannot)?;
    let text = serde_json::to_vec_pretty(&plan).explain(|| "writing the plan".into())?;
    journal::write_whole(&directory.join(PLAN), &text)?;
    let (journal, _) = Journal::open(&directory)?;
    let first = Fact::RunStarted {
        run: id,
        runbook: plan.runbook.clone(),
        title: plan.title.clone(),
        environment: around.environment.clone(),
        production: around.production,
        plan: journal::hash(&text),
        drill,
        incident_at,
        by: who(),
        tool: TOOL.into(),
    };
    let state = State::new(&plan);
    set_off(directory, plan, journal, state, first, crew, cx)
}

/// Takes up a run where its journal ends. The plan is the one it was started with; the runbook file is not looked at.
///
/// `latest` is the newest run that is not over; where the newest one is, the only one that waits.
pub fn resume(runs: &Path, id: &str, environment: &str, crew: Crew, cx: &Context) -> Result<Live> {
    let directory = if id == "latest" { waiting(runs)? } else { find(runs, id)? };
    let id = &directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (journal, entries) = Journal::open(&directory)?;
    let (plan, digest) = read_plan(&directory)?;
    let Some(Fact::RunStarted { plan: expected, environment: started_in, .. }) = entries.first().map(|entry| &entry.fact) else {
        return Err(Report::refused(format!("run {id} ended before it began: its journal is empty")).hint("start it again"));
    };
    if *expected != digest {
        return Err(Report::refused(format!("the plan of run {id} was changed after the run began")).hint("start the runbook again"));
    }
    if started_in != environment {
        return Err(Report::refused(format!("run {id} belongs to the environment {started_in:?}, not to {environment:?}"))
            .hint("give the configuration it was started with: --config FILE"));
    }
    let state = State::fold(&plan, &entries);
    if state.verdict.is_some() {
        return Err(Report::refused(format!("run {id} is over")).hint(format!("lifeboat report {id}")));
    }
    set_off(directory, plan, journal, state, Fact::Resumed { by: who(), tool: TOOL.into() }, crew, cx)
}

fn set_off(directory: PathBuf, plan: Plan, journal: Journal, state: State, first: Fact, crew: Crew, cx: &Context) -> Result<Live> {
    let live = Live::new(directory, plan.clone(), state.clone(), journal.head().to_owned());
    let drill = matches!(first, Fact::RunStarted { drill: true, .. }) || state.drill;
    let Crew { hands, person, witness } = crew;
    let walk = Walk { plan: Arc::new(plan), journal, state, drill, hands, person, witness, live: live.clone(), cx: cx.clone() };
    let handle = live.clone();
    let walking = std::thread::Builder::new().name("run".into()).spawn(move || {
        // A panic ends the run as an error that is told, not as a screen that waits for ever.
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.go(first)));
        handle.end(walked.unwrap_or_else(|_| Err(Report::failed("the run stopped: a defect in lifeboat").hint("lifeboat resume"))));
    });
    walking.explain(|| "starting the run's thread".into())?;
    Ok(live)
}

/// A run as it is on disk.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where.
    pub directory: PathBuf,
    /// What it follows.
    pub plan: Plan,
    /// Where it is.
    pub state: State,
    /// SHA-256 of the journal's last line.
    pub head: String,
    /// Its facts.
    pub entries: Vec<Entry>,
}

/// Reads a run, checking its journal's chain. `id` may be shortened as long as it is unambiguous; `latest` is the newest.
pub fn read(runs: &Path, id: &str) -> Result<Kept> {
    let directory = find(runs, id)?;
    let chain = journal::read(&directory)?;
    let (plan, _) = read_plan(&directory)?;
    let state = State::fold(&plan, &chain.entries);
    Ok(Kept { directory, plan, state, head: chain.head, entries: chain.entries })
}

/// Every run, newest first. One that cannot be read is left out here; `read` says why.
pub fn list(runs: &Path) -> Vec<RunCard> {
    let mut cards: Vec<RunCard> = ids(runs).iter().filter_map(|id| read(runs, id).ok()).filter_map(|kept| card(&kept)).collect();
    cards.sort_by_key(|card| std::cmp::Reverse(card.started_at));
    cards
}

fn card(kept: &Kept) -> Option<RunCard> {
    Some(RunCard {
        id: kept.state.run.clone(),
        title: kept.state.title.clone(),
        started_at: kept.state.started_at?,
        verdict: kept.state.verdict.as_ref().map(|(verdict, _)| *verdict),
        progress: (kept.state.over(), kept.state.steps.len()),
        held: journal::is_held(&kept.directory),
        drill: kept.state.drill,
    })
}

/// The directory of the run meant by `id`: all of it, or a part that no other has.
pub fn find(runs: &Path, id: &str) -> Result<PathBuf> {
    let all = ids(runs);
    let found: Vec<&String> = match id {
        "latest" => all.last().into_iter().collect(),
        _ if all.iter().any(|known| known == id) => return Ok(runs.join(id)),
        _ => all.iter().rev().filter(|known| known.contains(id)).collect(),
    };
    match found.as_slice() {
        [one] => Ok(runs.join(one)),
        [] => Err(Report::usage(format!("there is no run {id:?} in {}", runs.display())).hint("lifeboat runs")),
        several => Err(several
            .iter()
            .take(TOLD)
            .fold(Report::usage(format!("{id:?} means {} runs", several.len())), |report, id| report.hint(id.as_str()))),
    }
}

/// The directory of the run to go on with where none is named: the newest, if it is not over; else the only one that is parked.
fn waiting(runs: &Path) -> Result<PathBuf> {
    let newest = find(runs, "latest")?;
    let is_newest = |card: &RunCard| newest.file_name().is_some_and(|name| *name == *card.id);
    let cards = list(runs);
    let Some(over) = cards.iter().find(|card| is_newest(card) && card.verdict.is_some()) else { return Ok(newest) };
    let parked: Vec<&RunCard> = cards.iter().filter(|card| card.verdict.is_none() && !card.held).collect();
    match parked.as_slice() {
        [one] => Ok(runs.join(&one.id)),
        [] => Err(Report::refused(format!("run {} is over, and no other one waits", over.id)).hint(format!("lifeboat report {}", over.id))),
        several => {
            let report = Report::usage(format!("run {} is over, and {} others wait", over.id, several.len()));
            Err(several
                .iter()
                .take(TOLD)
                .fold(report, |report, card| report.hint(format!("lifeboat resume {}   ({})", card.id, card.title))))
        }
    }
}

/// Run ids in order of their time, which they begin with.
fn ids(runs: &Path) -> Vec<String> {
    let entries = fs::read_dir(runs).into_iter().flatten().flatten();
    let mut ids: Vec<String> =
        entries.filter(|entry| entry.path().join(PLAN).is_file()).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.sort();
    ids
}

fn read_plan(directory: &Path) -> Result<(Plan, String)> {
    let path = directory.join(PLAN);
    let text = fs::read(&path).explain(|| format!("reading the plan {}", path.display()))?;
    let plan = serde_json::from_slice(&text).explain(|| format!("the plan {} makes no sense", path.display()))?;
    Ok((plan, journal::hash(&text)))
}

/// A run's id: when, what, and four hex digits so that two of one second differ.
pub fn new_id(runbook: &str, now: Timestamp) -> Result<String> {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
    Ok(format!("{time}-{runbook}-{}", nonce(2)?))
}
