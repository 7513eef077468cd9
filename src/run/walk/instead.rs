//! The way out of a run that cannot be mended: a new one, with one thing changed.

use std::collections::BTreeMap;

use crate::run::State;
use crate::runbook::plan::{Action, Parameter, ParameterKind, Plan, Step, Work};
use crate::runbook::template::{self, Scope};

/// Where a dump turns out to be the wrong one: the command that starts again with the one before it, everything else as it was given.
/// `None` for a step that has nothing to do with a dump, and while it is not known of when that one is.
pub(super) fn dump_before(plan: &Plan, state: &State, step: &Step, scope: &Scope) -> Option<String> {
    let Action::Job(Work::Verify { .. } | Work::Restore { .. }) = &step.action else { return None };
    let dump = plan.parameters.iter().find(|parameter| parameter.kind == ParameterKind::Dump)?;
    let snapshot_at = state.steps.iter().find_map(|known| known.outputs.get("snapshot_at"))?;
    let taken = match template::action(&step.action, scope) {
        Ok(Action::Job(Work::Restore { into, .. })) => Some(into),
        _ => None,
    };
    let outside = Scope::new(plan, &BTreeMap::new());
    let is_given = |parameter: &Parameter, value: &String| {
        let Some(default) = &parameter.default else { return true };
        // The database of this run is there now: the next one gets a name of its own.
        let is_taken = parameter.kind == ParameterKind::Database && taken.as_ref() == Some(value);
        !is_taken && template::render(default, &outside).ok().as_ref() != Some(value)
    };
    let given = plan.parameters.iter().filter(|parameter| parameter.name != dump.name).filter_map(|parameter| {
        let value = plan.values.get(&parameter.name).filter(|value| is_given(parameter, value))?;
        Some((&parameter.name, value.clone()))
    });
    let sets = std::iter::once((&dump.name, format!("before:{snapshot_at}"))).chain(given);
    let sets: Vec<String> = sets.map(|(name, value)| format!("--set {name}={}", shell_words::quote(&value))).collect();
    Some(format!("lifeboat run {} {}", shell_words::quote(&plan.runbook), sets.join(" ")))
}
