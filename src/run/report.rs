//! The report of a run: what was reached, step by step, measured against the runbook's targets. A fold like everything else: made from the
//! journal, so that the same journal always gives the same report.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::fact::{Proven, Verdict};
use super::state::{State, Status, StepState};
use crate::runbook::plan::{Action, Plan, Step, Work};

/// An output of this name says when the data that came back was current; the restore gives it.
const SNAPSHOT: &str = "snapshot_at";

/// An output of this name says how many rows are known to be lost.
const LOST_ROWS: &str = "lost_rows";

/// What a run reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// The run's id.
    pub run: String,
    /// The runbook's id.
    pub runbook: String,
    /// Its title.
    pub title: String,
    /// Where.
    pub environment: String,
    /// It was a drill.
    pub drill: bool,
    /// Who started it.
    pub by: String,
    /// `proven`, `unproven`, `aborted`, or `open`.
    pub verdict: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Something is brought back in it; else there is no recovery and no loss to measure.
    pub restores: bool,
    /// How long until users were served again.
    pub recovery: Recovery,
    /// How much was lost.
    pub loss: Loss,
    /// Seconds spent waiting for people, all steps together.
    pub waited_seconds: f64,
    /// Every objective that has a target was met, and every step proven.
    pub objectives_proven: bool,
    /// Step by step.
    pub steps: Vec<StepReport>,
    /// SHA-256 of the journal's last line.
    pub journal_head: String,
}

/// The recovery time, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovery {
    /// When the incident began.
    pub from: Option<Timestamp>,
    /// When the step that means recovery was proven.
    pub until: Option<Timestamp>,
    /// Seconds between them.
    pub seconds: Option<f64>,
    /// Of those, seconds spent waiting for people.
    pub waited_seconds: f64,
    /// The runbook's target.
    pub target_seconds: Option<f64>,
    /// Within the target; `None` where there is no target or no measurement.
    pub met: Option<bool>,
}

/// The data loss, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Loss {
    /// The data that came back is as of this moment.
    pub snapshot_at: Option<Timestamp>,
    /// Seconds from there to the incident.
    pub seconds: Option<f64>,
    /// Rows known to be lost, where the runbook counts them.
    pub rows: Option<u64>,
    /// The runbook's target.
    pub target_seconds: Option<f64>,
    /// Within the target; `None` where there is no target or no measurement.
    pub met: Option<bool>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Its id.
    pub id: String,
    /// What it does.
    pub title: String,
    /// Where it stands, in a word or two.
    pub status: String,
    /// How often it was begun.
    pub attempts: u32,
    /// Seconds the machine worked.
    pub worked_seconds: f64,
    /// Seconds spent waiting for a person.
    pub waited_seconds: f64,
    /// What it was expected to take.
    pub expected_seconds: f64,
    /// What was checked, whether it held, what was seen.
    pub checks: Vec<(String, bool, String)>,
    /// Why it failed, was skipped or overridden.
    pub note: Option<String>,
}

impl RunReport {
    /// Made from a plan and the state of its run. `head` is the journal's.
    pub fn of(plan: &Plan, state: &State, head: &str) -> RunReport {
        let now = state.last_at.unwrap_or(Timestamp::UNIX_EPOCH);
        let restores = restores(plan);
        let recovery = if restores { recovery(plan, state, now) } else { Recovery::default() };
        let loss = if restores { loss(plan, state) } else { Loss::default() };
        let proven = matches!(state.verdict, Some((Verdict::Proven, _)));
        RunReport {
            run: state.run.clone(),
            runbook: plan.runbook.clone(),
            title: state.title.clone(),
            environment: state.environment.clone(),
            drill: state.drill,
            by: state.by.clone(),
            verdict: verdict_word(state).into(),
            started_at: state.started_at,
            ended_at: state.ended_at,
            waited_seconds: state.waited(now).as_secs_f64(),
            objectives_proven: proven && reached(recovery.target_seconds, recovery.met) && reached(loss.target_seconds, loss.met),
            restores,
            recovery,
            loss,
            steps: plan.steps.iter().zip(&state.steps).map(|(step, known)| step_report(step.expect, known, now)).collect(),
            journal_head: head.into(),
        }
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        self.write_markdown(&mut text).ok();
        text
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}\n", clean(&self.title))?;
        writeln!(out, "**{}**{} in `{}`, by {}.\n", self.headline(), if self.drill { " (drill)" } else { "" }, self.environment, self.by)?;
        if self.restores {
            self.write_objectives(out)?;
        }
        writeln!(out, "| # | step | status | worked | waited | expected |\n|--:|---|---|--:|--:|--:|")?;
        for (number, step) in self.steps.iter().enumerate() {
            let again = if step.attempts > 1 { format!(", {} attempts", step.attempts) } else { String::new() };
            let [worked, waited, expected] = [step.worked_seconds, step.waited_seconds, step.expected_seconds].map(time);
            writeln!(out, "| {} | {} | {}{again} | {worked} | {waited} | {expected} |", number + 1, clean(&step.title), step.status)?;
        }
        self.write_checks(out)?;
        let ends = [("started", self.started_at), ("ended", self.ended_at)];
        for (word, at) in ends.iter().filter_map(|(word, at)| at.map(|at| (word, at))) {
            writeln!(out, "- {word}: {at}")?;
        }
        writeln!(out, "- run: `{}`\n- journal head: `{}`", self.run, self.journal_head)
    }

    /// The verdict for people. Where nothing was brought back and no check was asked, nothing was proven either: it was done.
    fn headline(&self) -> String {
        let checked = self.steps.iter().any(|step| !step.checks.is_empty());
        if self.verdict == "proven" && !self.restores && !checked { "DONE".into() } else { self.verdict.to_uppercase() }
    }

    fn write_objectives(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "| objective | measured | target | met |\n|---|---|---|---|")?;
        let Recovery { seconds, waited_seconds, target_seconds, met, .. } = &self.recovery;
        let waiting = seconds.map(|_| format!(" (of which {} waiting for people)", time(*waited_seconds))).unwrap_or_default();
        writeln!(out, "| recovery time | {}{waiting} | {} | {} |", time_or_none(*seconds), time_or_none(*target_seconds), met_word(*met))?;
        let Loss { seconds, rows, target_seconds, met, .. } = &self.loss;
        let lost = rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
        writeln!(out, "| data loss | {}{lost} | {} | {} |\n", time_or_none(*seconds), time_or_none(*target_seconds), met_word(*met))?;
        if let Some(at) = self.loss.snapshot_at {
            writeln!(out, "The data that came back is as of {at}.\n")?;
        }
        Ok(())
    }

    fn write_checks(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out)?;
        if self.steps.iter().all(|step| step.checks.is_empty() && step.note.is_none()) {
            return Ok(());
        }
        writeln!(out, "## What was checked\n")?;
        for step in &self.steps {
            for (title, held, seen) in &step.checks {
                writeln!(out, "- {} `{}` {}: {}", if *held { "✓" } else { "✗" }, step.id, clean(title), clean(seen))?;
            }
            if let Some(note) = &step.note {
                writeln!(out, "- ! `{}` {}: {}", step.id, step.status, clean(note))?;
            }
        }
        writeln!(out)
    }
}

/// Something is brought back, or the runbook says that it is.
fn restores(plan: &Plan) -> bool {
    let brings_back = |step: &Step| {
        let Action::Job(work) = &step.action else { return false };
        matches!(work, Work::Restore { .. } | Work::RestoreGroup { .. } | Work::Swap { .. } | Work::Unswap { .. })
    };
    let objectives = &plan.objectives;
    objectives.rto.is_some() || objectives.rpo.is_some() || objectives.recovered_by.is_some() || plan.steps.iter().any(brings_back)
}

fn recovery(plan: &Plan, state: &State, now: Timestamp) -> Recovery {
    let from = state.incident_at;
    let last = match &plan.objectives.recovered_by {
        Some(id) => state.steps.iter().position(|step| step.id == *id),
        None => state.steps.len().checked_sub(1),
    };
    let until = last.and_then(|at| state.steps.get(at)).filter(|step| step.status.is_over()).and_then(|step| step.ended_at);
    let seconds = from.zip(until).map(|(from, until)| until.duration_since(from).as_secs_f64());
    let until_there = &state.steps[..last.map_or(0, |at| at + 1)];
    let waited = until_there.iter().fold(SignedDuration::ZERO, |sum, step| sum + step.waited).min(state.waited(now));
    let target = plan.objectives.rto.map(|target| target.as_secs_f64());
    let met = seconds.zip(target).map(|(seconds, target)| seconds <= target);
    Recovery { from, until, seconds, waited_seconds: waited.as_secs_f64(), target_seconds: target, met }
}

fn loss(plan: &Plan, state: &State) -> Loss {
    let output = |name: &str| state.steps.iter().rev().find_map(|step| step.outputs.get(name));
    let snapshot_at: Option<Timestamp> = output(SNAPSHOT).and_then(|text| text.parse().ok());
    let seconds = snapshot_at.zip(state.incident_at).map(|(from, until)| until.duration_since(from).as_secs_f64().max(0.0));
    let target = plan.objectives.rpo.map(|target| target.as_secs_f64());
    let met = seconds.zip(target).map(|(seconds, target)| seconds <= target);
    Loss { snapshot_at, seconds, rows: output(LOST_ROWS).and_then(|text| text.parse().ok()), target_seconds: target, met }
}

fn step_report(expect: SignedDuration, step: &StepState, now: Timestamp) -> StepReport {
    StepReport {
        id: step.id.clone(),
        title: step.title.clone(),
        status: status_word(step.status).into(),
        attempts: step.attempts,
        worked_seconds: step.worked(now).as_secs_f64().max(0.0),
        waited_seconds: step.waited.as_secs_f64(),
        expected_seconds: expect.as_secs_f64(),
        checks: step.checks.iter().map(|check| (check.title.clone(), check.held, check.seen.clone())).collect(),
        note: step.note.clone(),
    }
}

/// A target that exists must be measured and met.
fn reached(target: Option<f64>, met: Option<bool>) -> bool {
    target.is_none() || met == Some(true)
}

fn verdict_word(state: &State) -> &'static str {
    match state.verdict {
        Some((Verdict::Proven, _)) => "proven",
        Some((Verdict::Unproven, _)) => "unproven",
        Some((Verdict::Aborted, _)) => "aborted",
        None => "open",
    }
}

/// A status in a word or two.
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Pending => "not reached",
        Status::Active => "under way",
        Status::Running => "running",
        Status::Proven(Proven::Checked) => "proven",
        Status::Proven(Proven::AlreadyTrue) => "already true",
        Status::Proven(Proven::Action) => "done",
        Status::Proven(Proven::Simulated) => "simulated",
        Status::Skipped => "skipped",
        Status::Overridden => "overridden",
        Status::Failed => "failed",
        Status::Undone => "undone",
    }
}

/// What goes into a Markdown table must not break it, and must not move a cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('|', "\\|")
}

fn met_word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    }
}

fn time_or_none(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".into(), time)
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `26 h 0 min`.
pub fn time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a run")]
    let whole = seconds.round() as i64;
    match whole {
        ..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 if whole % 60 == 0 => format!("{} min", whole / 60),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ if whole % 3600 < 60 => format!("{} h", whole / 3600),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fact::{Entry, Fact};

    fn report(action: &str, proven: Proven) -> RunReport {
        let text = format!(
            "runbook = 'x'\ntitle = 'Dump of orders'\nowner = ''\nreview_by = '2099-01-01'\nsteps = [{{ id = 'x', title = 'Dump of orders', \
             action = {{ kind = 'job', {action} }}, verify = {{ none = 'its manifest' }}, expect = '1s', repeatable = true }}]"
        );
        let plan: Plan = toml::from_str(&text).unwrap();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let facts = [
            Fact::StepStarted { step: "x".into(), title: String::new(), attempt: 1 },
            Fact::ActionStarted { step: "x".into(), action: String::new() },
            Fact::ActionEnded { step: "x".into(), outputs: [(SNAPSHOT.to_owned(), at(0).to_string())].into(), error: None },
            Fact::StepProven { step: "x".into(), how: proven },
            Fact::RunEnded { verdict: Verdict::Proven, reason: None },
        ];
        let entries: Vec<Entry> = (1_u64..).zip(facts).map(|(seq, fact)| Entry { seq, at: at(5), prev: String::new(), fact }).collect();
        RunReport::of(&plan, &State::fold(&plan, &entries), "00")
    }

    #[test]
    fn a_run_that_brings_nothing_back_has_no_recovery_and_no_loss_to_tell() {
        let backup = report("do = 'backup', job = 'orders'", Proven::Action);
        let text = backup.markdown();
        for word in ["PROVEN", "recovery", "loss", "came back", "What was checked"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        assert!(text.contains("**DONE**"), "{text}");
        assert_eq!((backup.loss.seconds, backup.recovery.seconds, backup.verdict.as_str()), (None, None, "proven"));
        let restore = report("do = 'restore', job = 'orders', dump = 'd', into = 'copy'", Proven::Checked).markdown();
        assert!(restore.contains("recovery time") && restore.contains("The data that came back is as of"), "{restore}");
    }
}
