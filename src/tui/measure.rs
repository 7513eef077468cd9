//! What a run is measured against, while it goes on and afterwards. The figures are the report's; only the clocks still run here.

use jiff::{SignedDuration, Timestamp};

use crate::run::State;
use crate::run::report::RunReport;
use crate::runbook::plan::{DrillMode, Plan};

/// How a run does, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// Since the run began, until it ended.
    pub elapsed: SignedDuration,
    /// What its steps should take together.
    pub expected: SignedDuration,
    /// Spent waiting for people.
    pub waited: SignedDuration,
    /// From the incident until users are served again; still growing while `is_recovered` is false.
    pub recovery: SignedDuration,
    /// Users are served again.
    pub is_recovered: bool,
    /// What recovery may take.
    pub rto: Option<SignedDuration>,
    /// From the snapshot restored to the incident, once it is known what is restored.
    pub loss: Option<SignedDuration>,
    /// What may be lost.
    pub rpo: Option<SignedDuration>,
}

impl Measures {
    /// Of a run, now.
    pub fn of(plan: &Plan, state: &State, now: Timestamp) -> Self {
        let now = state.ended_at.unwrap_or(now);
        let started = state.started_at.unwrap_or(now);
        let incident = state.incident_at.unwrap_or(started);
        let report = RunReport::of(plan, state, "");
        Measures {
            elapsed: now.duration_since(started),
            expected: plan.steps.iter().filter(|step| !(state.drill && step.drill == DrillMode::Skip)).map(|step| step.expect).sum(),
            waited: state.waited(now),
            recovery: report.recovery.until.unwrap_or(now).duration_since(incident),
            is_recovered: report.recovery.until.is_some(),
            rto: plan.objectives.rto,
            loss: report.loss.snapshot_at.map(|at| incident.duration_since(at).max(SignedDuration::ZERO)),
            rpo: plan.objectives.rpo,
        }
    }
}
