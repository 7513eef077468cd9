//! Walking a plan: what is asked, done and checked, in which order, and what becomes of a step that is not done.
//!
//! Everything that happens is a fact first; [`State`] is the fold over them and the only thing the walk looks at to know where it is.
//! That is why a resumed run needs no code of its own, apart from the step that was under way.

mod instead;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::fact::{Answer, Entry, Fact, Proven, Question, Verdict};
use super::hands::{Hands, Seen};
use super::journal::Journal;
use super::live::Live;
use super::person::{Asking, Known, Person, Said};
use super::state::{State, Status, StepState};
use crate::port::Context;
use crate::report::{Explain, Kind, Report, Result};
use crate::runbook::describe;
use crate::runbook::plan::{Action, Check, DrillMode, Field, Plan, Step, Undo, Verify};
use crate::runbook::template::{self, Scope};

/// How often a check with time left is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Whoever wants to see each fact: the plain terminal, a test that kills the process at one of them.
pub trait Witness: Send {
    /// A fact is about to be written.
    fn before(&mut self, _fact: &Fact) {}
    /// A fact was written and is on disk.
    fn after(&mut self, _entry: &Entry, _plan: &Plan) {}
}

impl Witness for () {}

/// A plan being walked.
pub(super) struct Walk {
    pub plan: Arc<Plan>,
    pub journal: Journal,
    pub state: State,
    pub drill: bool,
    pub hands: Arc<dyn Hands>,
    pub person: Box<dyn Person>,
    pub witness: Box<dyn Witness>,
    pub live: Live,
    pub cx: Context,
}

/// A run given up by a person.
struct Abort(String);

/// Why a step's walk stopped short: a person gave up, or the run cannot go on now.
enum Stop {
    Abort(Abort),
    Leave(Report),
    /// An earlier step is open again.
    Back,
}

impl From<Report> for Stop {
    fn from(report: Report) -> Self {
        Stop::Leave(report)
    }
}

/// What is done about a step that is not done.
enum Remedy {
    Again,
    Over,
}

impl Walk {
    /// Writes `first`, then goes to the end, to the next question nobody answers, or to an error of the run itself.
    pub fn go(mut self, first: Fact) -> Result<Verdict> {
        self.record(first)?;
        while let Some(index) = self.state.next() {
            let step = self.plan.steps[index].clone();
            match self.step(&step) {
                Ok(()) | Err(Stop::Back) => {}
                Err(Stop::Leave(report)) => return Err(report),
                Err(Stop::Abort(Abort(reason))) => {
                    self.take_back()?;
                    self.record(Fact::RunEnded { verdict: Verdict::Aborted, reason: Some(reason) })?;
                    return Ok(Verdict::Aborted);
                }
            }
        }
        let proven = self.state.steps.iter().all(|step| matches!(step.status, Status::Proven(_)));
        let verdict = if proven { Verdict::Proven } else { Verdict::Unproven };
        self.record(Fact::RunEnded { verdict, reason: None })?;
        Ok(verdict)
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let status = self.state.step(&step.id).map(|known| known.status);
        if status == Some(Status::Running) {
            return self.in_doubt(step);
        }
        if self.is_acted(step) {
            return self.prove_acted(step);
        }
        if let (Some(Status::Failed), Some(error)) = (status, self.state.step(&step.id).and_then(|known| known.error.clone())) {
            return match self.remedy(step, error)? {
                Remedy::Over => Ok(()),
                Remedy::Again => self.attempt(step),
            };
        }
        self.begin(step)?;
        if self.drill && step.drill != DrillMode::Run {
            return Ok(self.record(Fact::StepProven { step: step.id.clone(), how: Proven::Simulated })?);
        }
        if let Action::Manual { .. } = step.action {
            return self.manual(step);
        }
        match self.checkpoint(step)? {
            Checkpoint::Go => self.attempt_begun(step),
            Checkpoint::Over => Ok(()),
        }
    }

    /// The process died between the end of the action and its proof.
    fn is_acted(&self, step: &Step) -> bool {
        let Some(known) = self.state.step(&step.id).filter(|known| known.status == Status::Active && known.acted) else { return false };
        match &step.action {
            Action::Manual { ask, .. } => ask.iter().all(|field| is_filled(known.outputs.get(&field.name))),
            _ => true,
        }
    }

    /// What was done is not done again; only its proof is missing.
    fn prove_acted(&mut self, step: &Step) -> Result<(), Stop> {
        let Some(error) = self.prove(step)? else { return Ok(()) };
        match self.failed(step, error)? {
            Remedy::Again => self.attempt(step),
            Remedy::Over => Ok(()),
        }
    }

    /// The process died between the start of the action and its end: whether it was done is unknown until the checks say so.
    fn in_doubt(&mut self, step: &Step) -> Result<(), Stop> {
        // What may be done again is done again sooner than a check gets its time; for the rest the check's time is all there is.
        let look = if step.repeatable { Look::Now } else { Look::Patiently };
        if self.checks_hold(step, look)? == Some(true) && self.recall(step)? {
            return Ok(self.record(Fact::StepProven { step: step.id.clone(), how: Proven::Checked })?);
        }
        loop {
            let question = Question::Unknown { repeatable: step.repeatable, undo: step.undo.is_some() };
            let answer = self.ask(step, &question)?;
            match self.settle(step, answer)? {
                Some(Remedy::Again) if step.danger.is_some() => return self.attempt_confirmed(step),
                Some(Remedy::Again) => return self.attempt(step),
                Some(Remedy::Over) => return Ok(()),
                None => {}
            }
        }
    }

    /// Whoever takes a run up again need not be who confirmed its dangers.
    fn attempt_confirmed(&mut self, step: &Step) -> Result<(), Stop> {
        self.begin(step)?;
        match self.permission(step)? {
            Checkpoint::Go => self.attempt_begun(step),
            Checkpoint::Over => Ok(()),
        }
    }

    /// What the action gave, for the steps after it, where nobody saw its end. `false`: they need something that is lost.
    fn recall(&mut self, step: &Step) -> Result<bool> {
        let cx = self.live.context(&self.cx);
        let recalled = template::action(&step.action, &self.scope(step)).and_then(|action| self.hands.recall(&action, &cx));
        // Not to be found out and lost are the same to who needs it.
        let Some(outputs) = recalled.unwrap_or(None) else { return Ok(!self.is_needed(step)?) };
        self.record(Fact::Recalled { step: step.id.clone(), outputs })?;
        Ok(true)
    }

    /// Whether a step may refer to what this one gives: its name is looked for in their text, once too often rather than once too seldom.
    fn is_needed(&self, step: &Step) -> Result<bool> {
        let name = step.id.rsplit('.').next().unwrap_or(&step.id);
        let text = serde_json::to_string(&self.plan.steps).explain(|| "reading the plan".into())?;
        Ok(step.action.outputs().iter().any(|output| text.contains(&format!("{name}.{output}"))))
    }

    fn checkpoint(&mut self, step: &Step) -> Result<Checkpoint, Stop> {
        if step.action.mutates() && self.checks_hold(step, Look::Before)? == Some(true) && self.recall(step)? {
            match self.ask(step, &Question::AlreadyTrue)? {
                Answer::Record => {
                    self.record(Fact::StepProven { step: step.id.clone(), how: Proven::AlreadyTrue })?;
                    return Ok(Checkpoint::Over);
                }
                Answer::Abort { reason } => return Err(Stop::Abort(Abort(reason))),
                _ => {}
            }
        }
        self.permission(step)
    }

    fn permission(&mut self, step: &Step) -> Result<Checkpoint, Stop> {
        self.foresee(step)?;
        loop {
            let question = self.checkpoint_question(step)?;
            match (self.ask(step, &question)?, question) {
                (Answer::Go, Question::Ready) => return Ok(Checkpoint::Go),
                (Answer::Typed { text }, Question::Danger { target, .. }) if text == target => return Ok(Checkpoint::Go),
                (Answer::Skip { reason }, _) => {
                    self.record(Fact::StepSkipped { step: step.id.clone(), reason })?;
                    return Ok(Checkpoint::Over);
                }
                (Answer::Abort { reason }, _) => return Err(Stop::Abort(Abort(reason))),
                _ => {} // not an answer to this question: it stands
            }
        }
    }

    /// Whoever says go should know to what. Where it cannot be looked up, the action will say why.
    fn foresee(&mut self, step: &Step) -> Result<()> {
        let cx = self.live.context(&self.cx);
        let words = template::action(&step.action, &self.scope(step)).and_then(|action| self.hands.foresee(&action, &cx));
        match words {
            Ok(Some(words)) => self.record(Fact::Foreseen { step: step.id.clone(), words }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn checkpoint_question(&self, step: &Step) -> Result<Question> {
        let Some(danger) = &step.danger else { return Ok(Question::Ready) };
        let consequence = self.described(step, &step.action)?.join("; ");
        Ok(Question::Danger { target: template::render(danger, &self.scope(step))?, consequence })
    }

    fn manual(&mut self, step: &Step) -> Result<(), Stop> {
        let Action::Manual { checklist, ask } = template::action(&step.action, &self.scope(step))? else {
            return Err(Report::failed("a manual step changed its kind when rendered").into());
        };
        loop {
            let question = Question::Manual { checklist: checklist.clone(), fields: ask.clone() };
            match self.ask(step, &question)? {
                Answer::Done { fields } if ask.iter().all(|field| is_taken(field, fields.get(&field.name))) => break,
                Answer::Skip { reason } => return Ok(self.record(Fact::StepSkipped { step: step.id.clone(), reason })?),
                Answer::Abort { reason } => return Err(Stop::Abort(Abort(reason))),
                _ => {}
            }
        }
        self.prove_acted(step)
    }

    /// One more time, from the start.
    fn attempt(&mut self, step: &Step) -> Result<(), Stop> {
        self.begin(step)?;
        if let Action::Manual { .. } = step.action {
            return self.manual(step);
        }
        self.attempt_begun(step)
    }

    fn attempt_begun(&mut self, step: &Step) -> Result<(), Stop> {
        loop {
            let error = match self.act(step)? {
                Some(error) => Some(error),
                None => self.prove(step)?,
            };
            let Some(error) = error else { return Ok(()) };
            match self.failed(step, error)? {
                Remedy::Over => return Ok(()),
                Remedy::Again => self.begin(step)?,
            }
        }
    }

    /// Does it. The error of an action is a fact like any other.
    fn act(&mut self, step: &Step) -> Result<Option<Report>> {
        let action = match template::action(&step.action, &self.scope(step)) {
            Ok(action) => action,
            Err(error) => return Ok(Some(error)),
        };
        if let Some(undo) = &step.undo {
            let undo = self.described(step, &undo.action)?.join("; ");
            self.record(Fact::UndoRegistered { step: step.id.clone(), undo })?;
        }
        let words = self.words(step, &action).join("\n");
        self.record(Fact::ActionStarted { step: step.id.clone(), action: words })?;
        let ended_well = self.state.step(&step.id).is_some_and(|known| known.ended_well);
        let cx = self.live.context(&self.cx);
        let (outputs, error) = match within(step, &cx, || {
            if ended_well {
                self.hands.clear(&action, &cx)?;
            }
            self.carry_out(step, &action, &cx)
        }) {
            Ok(outputs) => (outputs, None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        self.record(Fact::ActionEnded { step: step.id.clone(), outputs, error: error.clone() })?;
        Ok(error)
    }

    /// The action, and where it started something, the polling until that is over. What is polled may need what the request gave.
    fn carry_out(&self, step: &Step, action: &Action, cx: &Context) -> Result<BTreeMap<String, String>> {
        let given = self.hands.act(action, cx)?;
        let Action::Http { poll: Some(poll), outputs, .. } = action else { return Ok(given) };
        let poll = template::poll(poll, &self.scope_with(step, &given))?;
        self.hands.poll(&poll, given, outputs, cx)
    }

    /// Asks the checks, each with the time it is given. What does not hold is the error; otherwise the step is proven.
    fn prove(&mut self, step: &Step) -> Result<Option<Report>> {
        let how = match &step.verify {
            Verify::Checks(checks) if !checks.is_empty() => {
                for check in checks {
                    if let Some(error) = self.holds(step, check)? {
                        return Ok(Some(error));
                    }
                }
                Proven::Checked
            }
            Verify::Checks(_) | Verify::None(_) => Proven::Action,
        };
        self.record(Fact::StepProven { step: step.id.clone(), how })?;
        Ok(None)
    }

    /// `None` where the check holds, or comes to hold in the time it is given.
    fn holds(&mut self, step: &Step, check: &Check) -> Result<Option<Report>> {
        let check = match template::check(check, &self.scope(step)) {
            Ok(check) => check,
            Err(error) => return Ok(Some(error)),
        };
        let cx = self.live.context(&self.cx);
        let seen = ask_until(&check, &cx, || self.hands.probe(&check.probe, &cx));
        self.record_check(step, &check, &seen, false)?;
        Ok((!seen.held).then(|| Report::refused(format!("not proven: {}", check.title)).cause(seen.words)))
    }

    /// Whether all checks hold; `None` where there is nothing to check.
    fn checks_hold(&mut self, step: &Step, look: Look) -> Result<Option<bool>> {
        let Verify::Checks(checks) = &step.verify else { return Ok(None) };
        let cx = self.live.context(&self.cx);
        for check in checks {
            // Before the action a check may hang on what the action gives; what cannot be asked does not hold.
            let Ok(check) = template::check(check, &self.scope(step)) else { return Ok(Some(false)) };
            let check = Check { within: check.within.filter(|_| look == Look::Patiently), ..check };
            let seen = ask_until(&check, &cx, || self.hands.probe(&check.probe, &cx));
            self.record_check(step, &check, &seen, look == Look::Before)?;
            if !seen.held {
                return Ok(Some(false));
            }
        }
        Ok((!checks.is_empty()).then_some(true))
    }

    fn record_check(&mut self, step: &Step, check: &Check, seen: &Seen, before: bool) -> Result<()> {
        let fact = Fact::Checked { step: step.id.clone(), check: check.title.clone(), held: seen.held, seen: seen.words.clone(), before };
        self.record(fact)
    }

    fn failed(&mut self, step: &Step, error: Report) -> Result<Remedy, Stop> {
        let error = match instead::dump_before(&self.plan, &self.state, step, &self.scope(step)) {
            Some(command) => error.hint(format!("{command}   # once this run is given up: the dump before")),
            None => error,
        };
        self.record(Fact::StepFailed { step: step.id.clone(), error: error.clone() })?;
        self.remedy(step, error)
    }

    fn remedy(&mut self, step: &Step, error: Report) -> Result<Remedy, Stop> {
        loop {
            let undo = self.state.step(&step.id).is_some_and(StepState::can_be_undone);
            let answer = match self.ask(step, &Question::Failed { error: error.clone(), undo }) {
                // Nobody is there: the exit code tells what failed, not only that the run waits.
                Err(Stop::Leave(parked)) if parked.kind == Kind::Parked => {
                    let mut told = error.under(format!("step {} failed", step.id));
                    told.hints.extend(parked.hints);
                    return Err(Stop::Leave(told));
                }
                other => other?,
            };
            if let Some(remedy) = self.settle(step, answer)? {
                return Ok(remedy);
            }
        }
    }

    /// What an answer to a failure means; `None` asks again.
    fn settle(&mut self, step: &Step, answer: Answer) -> Result<Option<Remedy>, Stop> {
        match answer {
            Answer::Retry => Ok(Some(Remedy::Again)),
            Answer::Skip { reason } => {
                self.record(Fact::StepSkipped { step: step.id.clone(), reason })?;
                Ok(Some(Remedy::Over))
            }
            Answer::Override { reason } => {
                self.record(Fact::StepOverridden { step: step.id.clone(), reason })?;
                Ok(Some(Remedy::Over))
            }
            Answer::Undo => {
                if let Some(undo) = &step.undo {
                    self.undo(step, undo)?;
                }
                Ok(None)
            }
            Answer::Abort { reason } => Err(Stop::Abort(Abort(reason))),
            _ => Ok(None),
        }
    }

    fn undo(&mut self, step: &Step, undo: &Undo) -> Result<()> {
        let cx = self.live.context(&self.cx);
        let scope = self.scope(step);
        let undone = template::action(&undo.action, &scope).and_then(|action| {
            self.hands.act(&action, &cx)?;
            for check in &undo.verify {
                let check = template::check(check, &scope)?;
                let seen = ask_until(&check, &cx, || self.hands.probe(&check.probe, &cx));
                if !seen.held {
                    return Err(Report::refused(format!("not proven: {}", check.title)).cause(seen.words));
                }
            }
            Ok(())
        });
        self.record(Fact::StepUndone { step: step.id.clone(), error: undone.err() })
    }

    /// The run is being given up: each undo that is registered is offered, the latest first.
    fn take_back(&mut self) -> Result<()> {
        let registered: Vec<String> =
            self.state.steps.iter().rev().filter(|step| step.can_be_undone()).map(|step| step.id.clone()).collect();
        for id in registered {
            let Some((step, words)) = self.plan.step(&id).cloned().zip(self.state.step(&id).and_then(|known| known.undo.clone())) else {
                continue;
            };
            let Some(undo) = step.undo.clone() else { continue };
            match self.ask(&step, &Question::TakeBack { undo: words }) {
                Ok(Answer::Undo) => self.undo(&step, &undo)?,
                Ok(_) | Err(Stop::Abort(_) | Stop::Back) => {}
                Err(Stop::Leave(report)) => return Err(report),
            }
        }
        Ok(())
    }

    fn begin(&mut self, step: &Step) -> Result<()> {
        let attempt = self.state.step(&step.id).map_or(0, |known| known.attempts) + 1;
        let title = template::render(&step.title, &self.scope(step).on_screen())?;
        self.record(Fact::StepStarted { step: step.id.clone(), title, attempt })
    }

    fn ask(&mut self, step: &Step, question: &Question) -> Result<Answer, Stop> {
        self.cx.check()?;
        let action = self.described(step, &step.action).unwrap_or_default();
        self.record(Fact::Asked { step: step.id.clone(), question: question.clone() })?;
        let earlier = self.earlier_answers(question);
        let number = self.plan.steps.iter().position(|known| known.id == step.id).map_or(0, |at| at + 1);
        let known = self.state.step(&step.id);
        let known =
            Known { number, title: known.map_or("", |known| &known.title), foreseen: known.and_then(|known| known.foreseen.as_deref()) };
        match self.person.ask(Asking { step, known, action: &action, question, back: earlier.is_some() }) {
            Said::Answer(answer, by) => {
                self.record(Fact::Answered { step: step.id.clone(), answer: answer.clone(), by })?;
                match earlier {
                    Some(step) if answer == Answer::Back => {
                        self.record(Fact::StepReopened { step })?;
                        Err(Stop::Back)
                    }
                    _ => Ok(answer),
                }
            }
            Said::Nobody => {
                self.record(Fact::Parked { step: step.id.clone() })?;
                let parked = Report::new(Kind::Parked, format!("parked at step {}: it waits for a person", step.id));
                let command = format!("lifeboat resume {}", self.state.run);
                Err(Stop::Leave(match question {
                    // Without a terminal the same command would only ask the same again.
                    Question::Unknown { repeatable: true, .. } => {
                        parked.hint(format!("{command} --yes   (doing it again does no harm)")).hint(format!("{command}   (at a terminal)"))
                    }
                    _ => parked.hint(command),
                }))
            }
        }
    }

    /// The step one can go back to from this question.
    fn earlier_answers(&self, question: &Question) -> Option<String> {
        let index = self.state.correctable(&self.plan).filter(|_| question.leads_back())?;
        Some(self.plan.steps[index].id.clone())
    }

    fn record(&mut self, fact: Fact) -> Result<()> {
        self.witness.before(&fact);
        let entry = self.journal.append(fact)?;
        self.state.apply(&entry);
        self.live.update(&self.state, self.journal.head());
        self.witness.after(&entry, &self.plan);
        Ok(())
    }

    fn described(&self, step: &Step, action: &Action) -> Result<Vec<String>> {
        Ok(self.words(step, &template::action(action, &self.scope(step))?))
    }

    /// An action's exact commands. What is polled may depend on an answer that is not there yet; it is shown as far as it is known.
    fn words(&self, step: &Step, action: &Action) -> Vec<String> {
        let mut shown = action.clone();
        if let Action::Http { poll: Some(poll), .. } = &mut shown
            && let Ok(known) = template::poll(poll, &self.scope(step).on_screen())
        {
            *poll = known;
        }
        describe::action(&shown)
    }

    /// What the templates of a step may ask about at this moment.
    fn scope(&self, step: &Step) -> Scope {
        self.scope_with(step, &BTreeMap::new())
    }

    /// The same, with outputs the step has just given.
    fn scope_with(&self, step: &Step, given: &BTreeMap<String, String>) -> Scope {
        let mut outputs: BTreeMap<_, _> = self.state.steps.iter().map(|known| (known.id.clone(), known.outputs.clone())).collect();
        outputs.entry(step.id.clone()).or_default().extend(given.clone());
        Scope::new(&self.plan, &outputs).of(step)
    }
}

/// How the checks are asked of a step whose action was not seen to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Before the action, to see whether it is needed.
    Before,
    /// After it, as it is at this moment.
    Now,
    /// After it, with the time each check is given.
    Patiently,
}

/// An answer that would only fail in a later step is not taken.
fn is_taken(field: &Field, answer: Option<&String>) -> bool {
    answer.is_some_and(|text| field.wrong(text, Timestamp::now()).is_none())
}

fn is_filled(answer: Option<&String>) -> bool {
    answer.is_some_and(|text| !text.trim().is_empty())
}

/// What a checkpoint leads to.
enum Checkpoint {
    Go,
    Over,
}

/// Asks a check again until it holds or its time is over.
fn ask_until(check: &Check, cx: &Context, mut probe: impl FnMut() -> Result<Seen>) -> Seen {
    let patience = check.within.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
    let until = std::time::Instant::now() + patience;
    loop {
        let seen = probe().unwrap_or_else(|error| Seen { held: false, words: error.to_string() });
        if seen.held || std::time::Instant::now() >= until || cx.pause(ASK_AGAIN).is_err() {
            return seen;
        }
    }
}

/// Runs an action under its step's timeout, where it has one.
fn within<T>(step: &Step, cx: &Context, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(timeout) = step.timeout else { return act() };
    let limit = Duration::try_from(timeout).explain(|| format!("the timeout of step {}", step.id))?;
    let (cancel, done) = (cx.cancel.clone(), tokio_util::sync::CancellationToken::new());
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (flag, stop) = (Arc::clone(&over), done.clone());
    cx.runtime.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(limit) => {
                flag.store(true, std::sync::atomic::Ordering::Release);
                cancel.cancel();
            }
        }
    });
    let result = act();
    done.cancel();
    match result {
        Err(error) if over.load(std::sync::atomic::Ordering::Acquire) => {
            Err(Report::failed(format!("not done within {timeout:#}")).cause(error.to_string()))
        }
        other => other,
    }
}
