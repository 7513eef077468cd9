//! A run on screen: what it last told, which step is looked at, and the open question as far as it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::form::Line;
use super::model::Scroll;
use crate::port::Reading;
use crate::report::Result;
use crate::run::state::StepState;
use crate::run::{Answer, Question, State, Verdict};
use crate::runbook::plan::Field;
use crate::runbook::{Plan, Step};

/// What a run told, in one piece.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The state.
    pub state: Arc<State>,
    /// The journal's head.
    pub head: String,
    /// The stages of the action being done.
    pub readings: Vec<Reading>,
    /// The last lines said.
    pub log: Vec<(String, String)>,
    /// How it ended for this process.
    pub ended: Option<Result<Verdict>>,
}

/// A run on screen.
pub struct Followed {
    /// What it last told.
    pub told: Snapshot,
    /// The step looked at; `None` is the one the run is at, or the verdict.
    pub looking: Option<usize>,
    /// Where in the step's text.
    pub scroll: Scroll,
    /// The log is shown.
    pub log: bool,
    /// The open question, as far as it is answered.
    pub asking: Option<Asking>,
    /// The run is given up, with this reason, at its next question.
    pub abort: Option<String>,
}

/// An open question, as far as it is answered.
pub struct Asking {
    /// When it was asked, which tells it from any other.
    pub since: Timestamp,
    /// When it was first on screen, by the steady clock.
    pub shown: Option<Duration>,
    /// The answer was sent; the run has not moved yet.
    pub sent: bool,
    /// Manual: what is ticked.
    pub ticks: Vec<bool>,
    /// Manual: what is filled in.
    pub fields: Vec<Line>,
    /// Manual: the row the cursor is on, boxes first.
    pub at: usize,
    /// Keys go into the text.
    pub typing: bool,
    /// Danger: the name as typed.
    pub typed: Line,
}

impl Followed {
    /// A run as first told.
    pub fn new(told: Snapshot) -> Self {
        let mut run = Followed { told, looking: None, scroll: Scroll::default(), log: false, asking: None, abort: None };
        run.sync();
        run
    }

    /// Takes what the run told since.
    pub fn tell(&mut self, told: Snapshot) {
        let moved = told.state.current != self.told.state.current;
        self.told = told;
        if moved && self.looking.is_none() {
            self.scroll = Scroll::default();
        }
        self.sync();
    }

    /// A new question gets a new sheet to fill in; the old one is thrown away, typed text and all.
    fn sync(&mut self) {
        let open = self.told.state.question.as_ref().filter(|_| self.is_live());
        match open {
            None => self.asking = None,
            Some((_, since)) if self.asking.as_ref().is_some_and(|asking| asking.since == *since) => {}
            Some((question, since)) => {
                let before = self.told.state.current_step().map(|step| &step.outputs);
                self.asking = Some(Asking::new(question, *since, before));
            }
        }
    }

    /// It can still move.
    pub fn is_live(&self) -> bool {
        self.told.ended.is_none() && self.told.state.verdict.is_none()
    }

    /// The view is on the step the run is at, or on the verdict.
    pub fn is_at_current(&self) -> bool {
        self.looking.is_none_or(|at| self.is_live() && Some(at) == self.told.state.current)
    }

    /// The open question.
    pub fn question(&self) -> Option<(&Question, &Asking)> {
        let (question, _) = self.told.state.question.as_ref()?;
        self.asking.as_ref().map(|asking| (question, asking))
    }

    /// The step in view: its place, what it is, where it stands. `None` when the verdict is in view, or nothing has begun.
    pub fn step(&self) -> Option<(usize, &Step, &StepState)> {
        let at = match self.looking {
            Some(at) => at,
            // While a run is taken back, the one that is asked about.
            None if self.is_live() => self.told.state.asked.or(self.told.state.current).unwrap_or(0),
            None => return None,
        };
        Some((at, self.told.plan.steps.get(at)?, self.told.state.steps.get(at)?))
    }

    /// An action is being done now.
    pub fn is_running(&self) -> bool {
        self.is_live()
            && self.told.state.question.is_none()
            && !self.told.state.parked
            && self.told.state.current_step().is_some_and(|step| step.status == crate::run::Status::Running)
    }
}

impl Asking {
    /// `before` is what was answered the last time, where the step is open again.
    fn new(question: &Question, since: Timestamp, before: Option<&BTreeMap<String, String>>) -> Self {
        let known = |field: &Field| before.and_then(|before| before.get(&field.name)).map(|text| Line::new(text)).unwrap_or_default();
        let (ticks, fields) = match question {
            Question::Manual { checklist, fields } => (vec![false; checklist.len()], fields.iter().map(known).collect()),
            _ => (Vec::new(), Vec::new()),
        };
        Asking { since, shown: None, sent: false, ticks, fields, at: 0, typing: false, typed: Line::default() }
    }

    /// Why what is written in a field cannot be taken; an empty one is only missing.
    pub fn wrong(&self, field: &Field, line: &Line, now: Timestamp) -> Option<String> {
        if line.text().trim().is_empty() { None } else { field.wrong(line.text(), now) }
    }

    /// What is still missing or wrong before a manual step can be called done, as words; `None` when nothing is.
    pub fn missing(&self, question: &Question, now: Timestamp) -> Option<String> {
        let unticked = self.ticks.iter().filter(|tick| !**tick).count();
        let empty = self.fields.iter().filter(|field| field.text().trim().is_empty()).count();
        let mut parts = Vec::new();
        if unticked > 0 {
            parts.push(format!("{} not ticked", super::text::many(unticked, "box", "boxes")));
        }
        if empty > 0 {
            parts.push(format!("{} not filled in", super::text::many(empty, "answer", "answers")));
        }
        if let Question::Manual { fields, .. } = question {
            let wrong = fields.iter().zip(&self.fields).find_map(|(field, line)| self.wrong(field, line, now));
            parts.extend(wrong);
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The answer of a manual step.
    pub fn done(&self, question: &Question) -> Option<Answer> {
        let Question::Manual { fields, .. } = question else { return None };
        let named = fields.iter().zip(&self.fields).map(|(field, line)| (field.name.clone(), line.text().trim().to_owned()));
        Some(Answer::Done { fields: named.collect() })
    }
}
