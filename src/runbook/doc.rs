//! A runbook on paper: every step with its reason, exact commands, checks and undo. For a wiki, and for the day lifeboat itself is gone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::describe;
use super::plan::{Action, Check, DrillMode, Plan, Probe, Step, Verify};
use super::template::{self, Scope};
use crate::report::Result;

/// The whole runbook as Markdown. What has a value is filled in, the rest stays as it is written.
pub fn markdown(plan: &Plan) -> String {
    let mut page = Page::new(plan, &BTreeMap::new());
    page.head(plan);
    page.steps(plan, 0);
    page.text
}

/// What is left of a run (B14): the steps from that index on, with everything filled in that is known by now.
/// `outputs` is what the steps so far gave, by step id.
pub fn paper(plan: &Plan, from_step: usize, outputs: &BTreeMap<String, BTreeMap<String, String>>) -> String {
    let mut page = Page::new(plan, outputs);
    page.line(&format!("# {}: the rest, on paper", plan.title));
    page.line(&format!(
        "Run {} in {}, from step {} of {}.",
        plan.surroundings.run,
        plan.surroundings.environment,
        from_step + 1,
        plan.steps.len()
    ));
    page.people(plan);
    page.steps(plan, from_step);
    page.text
}

struct Page {
    text: String,
    /// `None` for a runbook that nobody has started: then everything stays as it is written.
    scope: Option<Scope>,
}

impl Page {
    fn new(plan: &Plan, outputs: &BTreeMap<String, BTreeMap<String, String>>) -> Self {
        let is_started = !plan.surroundings.run.is_empty();
        Page { text: String::new(), scope: is_started.then(|| Scope::new(plan, outputs).on_paper()) }
    }

    /// A paragraph, where there is anything to say.
    fn line(&mut self, line: &str) {
        if !line.is_empty() {
            // Writing to a String cannot fail.
            writeln!(self.text, "{line}\n").ok();
        }
    }

    fn head(&mut self, plan: &Plan) {
        self.line(&format!("# {}", plan.title));
        self.line(&plan.summary);
        let mut facts = vec![format!("- Runbook `{}`, kept by {}, to be read again by {}", plan.runbook, plan.owner, plan.review_by)];
        let goals = [("Recovery time", plan.objectives.rto), ("Data loss", plan.objectives.rpo)];
        facts.extend(goals.iter().filter_map(|(name, goal)| Some(format!("- {name}: at most {}", describe::duration((*goal)?)))));
        if let Some(step) = &plan.objectives.recovered_by {
            facts.push(format!("- Users are served again when `{step}` is proven"));
        }
        self.line(&facts.join("\n"));
        self.people(plan);
        if !plan.parameters.is_empty() {
            self.line("## Parameters");
            let line = |parameter: &super::plan::Parameter| {
                let value = plan.values.get(&parameter.name).or(parameter.default.as_ref());
                let value = value.map_or_else(|| "must be set".to_owned(), |value| format!("`{value}`"));
                format!("- `{}` ({}): {}. {value}", parameter.name, parameter.kind.rule(), parameter.help)
            };
            self.line(&plan.parameters.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
    }

    fn people(&mut self, plan: &Plan) {
        if !plan.contacts.is_empty() {
            let lines: Vec<String> = plan.contacts.iter().map(|contact| format!("- {contact}")).collect();
            self.line(&format!("Who is called:\n\n{}", lines.join("\n")));
        }
    }

    fn steps(&mut self, plan: &Plan, from: usize) {
        let mut section = None;
        for (index, step) in plan.steps.iter().enumerate().skip(from) {
            if step.section != section {
                section.clone_from(&step.section);
                if let Some(section) = &section {
                    self.line(&format!("## {section}"));
                }
            }
            self.step(index, step);
        }
    }

    fn step(&mut self, index: usize, step: &Step) {
        let scope = self.scope.as_ref().map(|scope| scope.of(step));
        let say = |words: &str| filled(words, scope.as_ref(), |scope| template::render(words, scope));
        let act = |action: &Action| filled(action, scope.as_ref(), |scope| template::action(action, scope));
        self.line(&format!("### {}. {} (`{}`)", index + 1, say(&step.title), step.id));
        self.line(&step.why);
        let mut facts = vec![format!("Expected: {}", describe::duration(step.expect))];
        facts.extend(step.timeout.map(|timeout| format!("given up after {}", describe::duration(timeout))));
        facts.extend(step.danger.as_ref().map(|name| format!("**danger**, confirmed by typing `{}`", say(name))));
        facts.extend(in_a_drill(step.drill).map(str::to_owned));
        self.line(&format!("{}.", facts.join("; ")));
        let action = act(&step.action);
        self.commands(&describe::action(&action));
        let stock = describe::by_hand(&action);
        if !stock.is_empty() {
            self.line("With stock tools alone:");
            self.commands(&stock);
        }
        match &step.verify {
            Verify::Checks(checks) => self.checks("Done when", checks, scope.as_ref()),
            Verify::None(reason) => self.line(&format!("No check of its own: {reason}.")),
        }
        if let Some(undo) = &step.undo {
            self.line("To take it back:");
            self.commands(&describe::action(&act(&undo.action)));
            if !undo.verify.is_empty() {
                self.checks("Taken back when", &undo.verify, scope.as_ref());
            }
        }
    }

    fn commands(&mut self, lines: &[String]) {
        let is_prose = lines.iter().all(|line| line.starts_with("# "));
        if is_prose {
            let items: Vec<String> = lines.iter().map(|line| format!("- {}", line.trim_start_matches("# "))).collect();
            return self.line(&items.join("\n"));
        }
        self.line(&format!("```sh\n{}\n```", lines.join("\n")));
    }

    fn checks(&mut self, head: &str, checks: &[Check], scope: Option<&Scope>) {
        let lines = checks.iter().map(|check| {
            let check = filled(check, scope, |scope| template::check(check, scope));
            let expected = describe::expected(&check.probe).map(|expected| format!(" gives {expected}")).unwrap_or_default();
            let within = check.within.map(|within| format!(", within {}", describe::duration(within))).unwrap_or_default();
            let has_own_title = check.title != describe::probe(&check.probe);
            let title = if has_own_title { format!("{}: ", check.title) } else { String::new() };
            match &check.probe {
                Probe::Restored { .. } | Probe::Pulled { .. } => format!("- {title}{}{within}", describe::question(&check.probe)),
                probe => format!("- {title}`{}`{expected}{within}", describe::question(probe)),
            }
        });
        let lines: Vec<String> = lines.collect();
        self.line(&format!("{head}:\n\n{}", lines.join("\n")));
    }
}

/// With values where there are all of them, as it is written otherwise.
fn filled<T: ToOwned + ?Sized>(written: &T, scope: Option<&Scope>, fill: impl FnOnce(&Scope) -> Result<T::Owned>) -> T::Owned {
    scope.and_then(|scope| fill(scope).ok()).unwrap_or_else(|| written.to_owned())
}

fn in_a_drill(mode: DrillMode) -> Option<&'static str> {
    match mode {
        DrillMode::Run => None,
        DrillMode::Simulate => Some("only shown in a drill"),
        DrillMode::Skip => Some("left out in a drill"),
    }
}
