//! What the screen says of a step, with everything filled in that is known by now. The words come from `runbook::describe`.

use std::collections::BTreeMap;

use crate::run::State;
use crate::runbook::plan::{Action, Plan, Step};
use crate::runbook::template::{self, Scope};
use crate::runbook::{describe, doc};

/// What is known at one moment of a run.
pub struct Known(Scope);

impl Known {
    /// Of a run.
    pub fn of(plan: &Plan, state: &State) -> Self {
        Known(Scope::new(plan, &outputs(state)).on_screen())
    }

    /// Of one step: inside an include, parameters are the include's.
    #[must_use]
    pub fn at(&self, step: &Step) -> Self {
        Known(self.0.of(step))
    }

    /// A template as far as it is known; `…` stands for what is not.
    pub fn show(&self, text: &str) -> String {
        template::render(text, &self.0).unwrap_or_else(|_| text.to_owned())
    }

    /// The exact commands of an action.
    pub fn commands(&self, action: &Action) -> Vec<String> {
        match template::action(action, &self.0) {
            Ok(action) => describe::action(&action),
            Err(_) => describe::action(action).iter().map(|line| self.show(line)).collect(),
        }
    }
}

/// The rest of a run as Markdown. // B14
pub fn paper(plan: &Plan, state: &State) -> String {
    doc::paper(plan, state.next().unwrap_or(plan.steps.len()), &outputs(state))
}

fn outputs(state: &State) -> BTreeMap<String, BTreeMap<String, String>> {
    state.steps.iter().map(|step| (step.id.clone(), step.outputs.clone())).collect()
}
