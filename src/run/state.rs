//! Where a run is: a fold over its facts, and nothing else. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::fact::{Answer, Entry, Fact, Proven, Question, Verdict};
use crate::report::{Kind, Report};
use crate::runbook::plan::{Action, Plan, Step};

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The run's id.
    pub run: String,
    /// The runbook's title.
    pub title: String,
    /// The environment's name.
    pub environment: String,
    /// That environment is production.
    pub production: bool,
    /// It is a drill.
    pub drill: bool,
    /// Who started it.
    pub by: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When the incident began.
    pub incident_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The steps of the plan, in order.
    pub steps: Vec<StepState>,
    /// Index of the current step.
    pub current: Option<usize>,
    /// What a person is being asked, since when.
    pub question: Option<(Question, Timestamp)>,
    /// Index of the step that the open question is about; while a run is taken back not the current one.
    pub asked: Option<usize>,
    /// Nobody is there; the run waits for `resume`.
    pub parked: bool,
    /// How it ended, and the reason where one was given.
    pub verdict: Option<(Verdict, Option<String>)>,
    /// Entries folded so far.
    pub seq: u64,
    /// When the last of them was written.
    pub last_at: Option<Timestamp>,
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of what was done")]
pub struct StepState {
    /// The step's id.
    pub id: String,
    /// What it does: as planned until it begins, then with everything filled in.
    pub title: String,
    /// Where it stands.
    pub status: Status,
    /// How often it was begun.
    pub attempts: u32,
    /// First begun.
    pub started_at: Option<Timestamp>,
    /// Proven, skipped or overridden.
    pub ended_at: Option<Timestamp>,
    /// Time spent waiting for a person, of that.
    pub waited: SignedDuration,
    /// The latest answer of each check, in order.
    pub checks: Vec<CheckState>,
    /// What the action gave.
    pub outputs: BTreeMap<String, String>,
    /// The action of this attempt ended well, or the person said so: only the checks are left.
    pub acted: bool,
    /// The action of some attempt was seen to end well; what it made may still be there.
    pub ended_well: bool,
    /// What exactly was done.
    pub action: Option<String>,
    /// Its action may have changed something: it began, and it did not end by saying that nothing was touched.
    pub touched: bool,
    /// The same, before the latest attempt.
    touched_before: bool,
    /// How it can be taken back, once registered.
    pub undo: Option<String>,
    /// Why it could not be taken back, when that was tried last.
    pub undo_error: Option<Report>,
    /// What its action will take, as far as that was looked up.
    pub foreseen: Option<String>,
    /// Why it failed, was skipped or overridden.
    pub note: Option<String>,
    /// The failure in full.
    pub error: Option<Report>,
}

/// One check of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckState {
    /// What was checked.
    pub title: String,
    /// It held when last asked.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not reached.
    Pending,
    /// Current: before or after its action.
    Active,
    /// Its action is being done, or it is not known whether it was.
    Running,
    /// Done, and why that is known.
    Proven(Proven),
    /// Left out by a person.
    Skipped,
    /// Gone past without proof.
    Overridden,
    /// Not done.
    Failed,
    /// Taken back.
    Undone,
}

impl Status {
    /// The run goes past a step of this status.
    pub fn is_over(self) -> bool {
        matches!(self, Status::Proven(_) | Status::Skipped | Status::Overridden)
    }
}

impl StepState {
    fn new(step: &Step) -> Self {
        StepState {
            id: step.id.clone(),
            title: step.title.clone(),
            status: Status::Pending,
            attempts: 0,
            started_at: None,
            ended_at: None,
            waited: SignedDuration::ZERO,
            checks: Vec::new(),
            outputs: BTreeMap::new(),
            acted: false,
            ended_well: false,
            action: None,
            touched: false,
            touched_before: false,
            undo: None,
            undo_error: None,
            foreseen: None,
            note: None,
            error: None,
        }
    }

    /// From first begun to over, waiting for people included.
    pub fn elapsed(&self, now: Timestamp) -> SignedDuration {
        self.started_at.map_or(SignedDuration::ZERO, |start| self.ended_at.unwrap_or(now).duration_since(start))
    }

    /// There is something to take back, and a way to do it.
    pub fn can_be_undone(&self) -> bool {
        self.touched && self.undo.is_some()
    }

    /// The machine's part of [`StepState::elapsed`].
    pub fn worked(&self, now: Timestamp) -> SignedDuration {
        self.elapsed(now) - self.waited
    }
}

impl State {
    /// Before the first fact.
    pub fn new(plan: &Plan) -> Self {
        State { steps: plan.steps.iter().map(StepState::new).collect(), ..State::default() }
    }

    /// After all of them.
    pub fn fold<'a>(plan: &Plan, entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut state = State::new(plan);
        for entry in entries {
            state.apply(entry);
        }
        state
    }

    /// The step of that id.
    pub fn step(&self, id: &str) -> Option<&StepState> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The step the run is at.
    pub fn current_step(&self) -> Option<&StepState> {
        self.current.and_then(|index| self.steps.get(index))
    }

    /// The first step that is not over.
    pub fn next(&self) -> Option<usize> {
        self.steps.iter().position(|step| !step.status.is_over())
    }

    /// The manual step whose answers can still be corrected: nothing that was carried out may hang on them. What was carried out under an
    /// answer is checked and taken back under the same answer; that is why nobody gets behind it.
    pub fn correctable(&self, plan: &Plan) -> Option<usize> {
        let current = self.current?;
        if self.verdict.is_some() || self.steps.get(current)?.touched {
            return None;
        }
        for index in (0..current).rev() {
            let step = self.steps.get(index)?;
            match (&plan.steps.get(index)?.action, step.status) {
                (Action::Manual { .. }, status) if status.is_over() => return Some(index),
                (_, Status::Skipped | Status::Proven(Proven::Simulated)) if !step.touched => {}
                _ => return None,
            }
        }
        None
    }

    /// Steps that are over.
    pub fn over(&self) -> usize {
        self.steps.iter().filter(|step| step.status.is_over()).count()
    }

    /// Time spent waiting for people, a question open now included.
    pub fn waited(&self, now: Timestamp) -> SignedDuration {
        let open = match (&self.question, self.ended_at) {
            (Some((_, since)), None) => now.duration_since(*since),
            _ => SignedDuration::ZERO,
        };
        self.steps.iter().fold(open, |sum, step| sum + step.waited)
    }

    /// One more fact.
    pub fn apply(&mut self, entry: &Entry) {
        self.seq = entry.seq;
        self.last_at = Some(entry.at);
        let at = entry.at;
        match &entry.fact {
            Fact::RunStarted { run, title, environment, production, drill, incident_at, by, .. } => {
                self.run.clone_from(run);
                self.title.clone_from(title);
                self.environment.clone_from(environment);
                self.production = *production;
                self.drill = *drill;
                self.by.clone_from(by);
                self.started_at = Some(at);
                self.incident_at = Some(*incident_at);
            }
            Fact::Resumed { .. } => {
                self.settle_question(at);
                self.parked = false;
            }
            Fact::StepStarted { step, title, attempt } => {
                self.current = self.steps.iter().position(|known| known.id == *step);
                self.at(step, |s| {
                    s.status = Status::Active;
                    s.acted = false;
                    s.attempts = *attempt;
                    if !title.is_empty() {
                        s.title.clone_from(title);
                    }
                    s.started_at.get_or_insert(at);
                });
            }
            Fact::Asked { step, question } => {
                self.asked = self.steps.iter().position(|known| known.id == *step);
                self.question = Some((question.clone(), at));
            }
            Fact::Answered { step, answer, .. } => {
                self.settle_question(at);
                if let Answer::Done { fields } = answer {
                    self.at(step, |s| {
                        s.acted = true;
                        s.outputs.extend(fields.clone());
                    });
                }
            }
            Fact::UndoRegistered { step, undo } => self.at(step, |s| s.undo = Some(undo.clone())),
            Fact::ActionStarted { step, action } => self.at(step, |s| {
                s.status = Status::Running;
                s.acted = false;
                s.action = Some(action.clone());
                s.undo_error = None;
                s.touched_before = s.touched;
                s.touched = true;
            }),
            Fact::ActionEnded { step, outputs, error: None } => self.at(step, |s| {
                s.status = Status::Active;
                s.acted = true;
                s.ended_well = true;
                s.outputs.extend(outputs.clone());
            }),
            // That it failed is known from here on, whether or not anybody lived to say so.
            Fact::ActionEnded { step, error: Some(error), .. } => self.at(step, |s| {
                if matches!(error.kind, Kind::Usage | Kind::Busy) {
                    s.touched = s.touched_before;
                }
                s.fail(error);
            }),
            Fact::StepFailed { step, error } => self.at(step, |s| s.fail(error)),
            Fact::Recalled { step, outputs } => self.at(step, |s| s.outputs.extend(outputs.clone())),
            // That a check did not hold yet before the action is no news.
            Fact::Checked { held: false, before: true, .. } => {}
            Fact::Checked { step, check, held, seen, .. } => self.at(step, |s| s.note_check(check, *held, seen)),
            Fact::StepProven { step, how } => self.close(step, at, Status::Proven(*how), None),
            Fact::StepSkipped { step, reason } => self.close(step, at, Status::Skipped, Some(reason)),
            Fact::StepOverridden { step, reason } => self.close(step, at, Status::Overridden, Some(reason)),
            Fact::StepUndone { step, error } => self.at(step, |s| match error {
                None => {
                    s.status = Status::Undone;
                    s.acted = false;
                    s.touched = false;
                    s.ended_well = false;
                    s.undo = None;
                    s.undo_error = None;
                }
                Some(error) => {
                    s.note = Some(error.to_string());
                    s.undo_error = Some(error.clone());
                }
            }),
            Fact::StepReopened { step } => self.reopen(step),
            Fact::Foreseen { step, words } => self.at(step, |s| s.foreseen = Some(words.clone())),
            Fact::Parked { .. } => self.parked = true,
            Fact::RunEnded { verdict, reason } => {
                self.settle_question(at);
                self.ended_at = Some(at);
                self.verdict = Some((*verdict, reason.clone()));
            }
        }
    }

    /// The step and what comes after it are as if they had not begun, but for the time they took.
    fn reopen(&mut self, step: &str) {
        let Some(index) = self.steps.iter().position(|known| known.id == step) else { return };
        let (before, after) = self.steps.split_at_mut(index + 1);
        let Some(reopened) = before.last_mut() else { return };
        for later in after.iter_mut().filter(|later| !later.status.is_over()) {
            reopened.waited += std::mem::take(&mut later.waited);
            later.status = Status::Pending;
            later.attempts = 0;
            later.started_at = None;
            later.checks.clear();
            (later.note, later.error, later.foreseen, later.action, later.undo) = (None, None, None, None, None);
        }
        reopened.status = Status::Pending;
        reopened.acted = false;
        reopened.ended_at = None;
        reopened.note = None;
        self.current = Some(index);
    }

    fn settle_question(&mut self, at: Timestamp) {
        self.asked = None;
        let Some((_, since)) = self.question.take() else { return };
        if let Some(step) = self.current.and_then(|index| self.steps.get_mut(index)) {
            step.waited += at.duration_since(since);
        }
    }

    fn close(&mut self, step: &str, at: Timestamp, status: Status, note: Option<&String>) {
        self.at(step, |s| {
            s.status = status;
            s.ended_at = Some(at);
            s.note = note.cloned();
        });
    }

    fn at(&mut self, step: &str, change: impl FnOnce(&mut StepState)) {
        if let Some(step) = self.steps.iter_mut().find(|known| known.id == step) {
            change(step);
        }
    }
}

impl StepState {
    /// Not done, and why.
    fn fail(&mut self, error: &Report) {
        self.status = Status::Failed;
        self.acted = false;
        self.note = Some(error.to_string());
        self.error = Some(error.clone());
    }

    fn note_check(&mut self, title: &str, held: bool, seen: &str) {
        let new = CheckState { title: title.into(), held, seen: seen.into() };
        match self.checks.iter_mut().find(|check| check.title == title) {
            Some(check) => *check = new,
            None => self.checks.push(new),
        }
    }
}
