//! A checked runbook, its includes laid out flat, still without values; with values it becomes a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::Library;
use super::file::{Body, Book, Include, Work};
use super::lint::{Names, Shelf, overdue};
use super::plan::{Binding, Parameter, ParameterKind, Plan, Step, Surroundings};
use super::template::{Scope, render};
use crate::report::diagnostic::{Diagnostic, Severity, Source, suggest};
use crate::report::written::Span;
use crate::report::{Report, Result};

/// How long a step should take where its runbook does not say.
const EXPECTED: SignedDuration = SignedDuration::from_secs(60);

/// A checked runbook without values.
#[derive(Clone, Debug)]
pub struct Draft {
    plan: Plan,
    source: Arc<Source>,
    review_at: Span,
}

/// Reads, checks and flattens a runbook. Every problem of it and of what it includes is reported at once.
/// Without `names` what the configuration must know is not asked.
pub fn load(library: &Library, id: &str, names: Option<&Names>) -> Result<Draft, Vec<Diagnostic>> {
    let mut shelf = Shelf::default();
    shelf.fetch(library, id);
    let problems = shelf.lint(library, names);
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Error);
    match shelf.books.get(id).and_then(|written| Some((written, written.book.as_ref()?))) {
        Some((written, book)) if !fatal => {
            let mut steps = Vec::new();
            flatten(&shelf, book, &Inside::default(), &mut steps);
            let plan = Plan {
                runbook: book.id.get_ref().clone(),
                title: book.title.clone(),
                summary: book.summary.clone(),
                owner: book.owner.clone(),
                review_by: *book.review_by.get_ref(),
                objectives: book.objectives.clone(),
                contacts: book.contacts.clone(),
                parameters: book.parameters.clone(),
                values: BTreeMap::new(),
                surroundings: Surroundings::default(),
                steps,
            };
            Ok(Draft { plan, source: Arc::clone(&written.source), review_at: book.review_by.span() })
        }
        _ => Err(problems),
    }
}

/// Where in a nest of includes we are.
#[derive(Clone, Default)]
struct Inside {
    prefix: String,
    section: Option<String>,
    bindings: Vec<BTreeMap<String, Binding>>,
}

fn flatten(shelf: &Shelf, book: &Book, inside: &Inside, steps: &mut Vec<Step>) {
    for entry in &book.steps {
        let id = format!("{}{}", inside.prefix, entry.id.get_ref());
        match &entry.body {
            Some(Body::Step(work)) => steps.push(step(id, work, inside)),
            Some(Body::Include(include)) => {
                if let Some(inner) = shelf.book(include.runbook.get_ref()) {
                    flatten(shelf, inner, &inside.deeper(&id, include, inner), steps);
                }
            }
            None => {}
        }
    }
}

impl Inside {
    fn deeper(&self, id: &str, include: &Include, inner: &Book) -> Inside {
        let bind = |parameter: &Parameter| {
            let given = include.with.get(&parameter.name).map(|template| template.get_ref().clone());
            let value = given.or_else(|| parameter.default.clone())?;
            Some((parameter.name.clone(), Binding { value, kind: parameter.kind.clone() }))
        };
        let own = inner.parameters.iter().filter_map(bind).collect();
        Inside {
            prefix: format!("{id}."),
            section: Some(include.title.clone().unwrap_or_else(|| inner.title.clone())),
            bindings: self.bindings.iter().cloned().chain([own]).collect(),
        }
    }
}

fn step(id: String, work: &Work, inside: &Inside) -> Step {
    Step {
        id,
        title: work.title.clone(),
        why: work.why.clone(),
        section: inside.section.clone(),
        bindings: inside.bindings.clone(),
        repeatable: work.repeatable.unwrap_or_else(|| work.action.is_repeatable()),
        action: work.action.clone(),
        verify: work.verify.clone(),
        undo: work.undo.clone(),
        expect: work.expect.unwrap_or(EXPECTED),
        timeout: work.timeout,
        danger: work.danger.clone(),
        drill: work.drill,
    }
}

impl Draft {
    /// The plan without values: for documents and listings, never to be run.
    pub fn outline(&self) -> &Plan {
        &self.plan
    }

    /// What is odd about it today and stops nothing: an overdue review (G12).
    pub fn warnings(&self, today: Date) -> Vec<Diagnostic> {
        overdue(&self.source, self.review_at.clone(), &self.plan.runbook, &self.plan.owner, self.plan.review_by, today)
            .into_iter()
            .collect()
    }

    /// The plan of a run. `given` is what was said on the command line or typed in; defaults are filled in, every value is checked.
    pub fn plan(&self, given: &BTreeMap<String, String>, surroundings: Surroundings) -> Result<Plan> {
        let known = || self.plan.parameters.iter().map(|parameter| parameter.name.as_str());
        if let Some(name) = given.keys().find(|name| !known().any(|known| known == name.as_str())) {
            let report = Report::usage(format!("the runbook `{}` has no parameter `{name}`", self.plan.runbook));
            return Err(report.hint(suggest(name, known()).unwrap_or_else(|| "it takes none".to_owned())));
        }
        let mut scope = Scope::default();
        scope.surroundings.clone_from(&surroundings);
        let mut values = BTreeMap::new();
        for parameter in &self.plan.parameters {
            let value = self.value(parameter, given.get(&parameter.name), &scope)?;
            values.insert(parameter.name.clone(), value);
        }
        Ok(Plan { values, surroundings, ..self.plan.clone() })
    }

    fn value(&self, parameter: &Parameter, given: Option<&String>, scope: &Scope) -> Result<String> {
        let name = &parameter.name;
        let text = match (given, &parameter.default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => render(default, scope).map_err(|error| error.under(format!("the default of `{name}`")))?,
            (None, None) => {
                let report = Report::usage(format!("`{name}` is not set: {}", parameter.help));
                return Err(report.hint(format!("lifeboat run {} --set {name}=…   ({})", self.plan.runbook, parameter.kind.rule())));
            }
        };
        let value = parameter.kind.resolve(name, &text, &scope.surroundings);
        value.map_err(|wrong| wrong.hint(format!("{name}: {}", parameter.help)))
    }
}

/// A time that could mean a whole day of moments.
fn lacks_a_zone(text: &str) -> bool {
    let time = text.strip_prefix("before:").unwrap_or(text);
    let is_instant = time.parse::<Timestamp>().is_ok() || time.parse::<Zoned>().is_ok();
    !is_instant && (time.parse::<DateTime>().is_ok() || time.parse::<Date>().is_ok())
}

impl ParameterKind {
    /// The value of the parameter `name` as a run uses it: `now` becomes the moment the run began.
    pub(super) fn resolve(&self, name: &str, text: &str, surroundings: &Surroundings) -> Result<String> {
        if *self == ParameterKind::Instant && text.trim() == "now" {
            return Ok(surroundings.started_at.to_string());
        }
        self.accept(text).map_err(|why| Report::usage(format!("`{name}` cannot be `{}`", text.escape_debug())).cause(why))
    }

    /// The value as it is kept, or what is accepted instead. `now` is an instant, resolved when the run starts.
    pub fn accept(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let fits = match self {
            ParameterKind::Text => !text.contains(char::is_control),
            ParameterKind::Integer => text.parse::<i64>().is_ok(),
            ParameterKind::Flag => ["true", "false"].contains(&text),
            ParameterKind::Duration => text.parse::<SignedDuration>().is_ok_and(|duration| duration.is_positive()),
            ParameterKind::Instant => text == "now" || text.parse::<Timestamp>().is_ok(),
            ParameterKind::Database => is_database(text),
            ParameterKind::Dump => !text.is_empty() && !text.contains(char::is_control) && !lacks_a_zone(text),
            ParameterKind::Choice(choices) => choices.iter().any(|choice| choice == text),
        };
        if fits { Ok(text.to_owned()) } else { Err(format!("needs {}", self.rule())) }
    }

    /// What is accepted, in a few words.
    pub fn rule(&self) -> String {
        match self {
            ParameterKind::Text => "one line of text".into(),
            ParameterKind::Integer => "a whole number".into(),
            ParameterKind::Flag => "true or false".into(),
            ParameterKind::Duration => "a duration, like 15m or 2h 30m".into(),
            ParameterKind::Instant => "an instant, like 2026-11-21T03:00:00Z, or now".into(),
            ParameterKind::Database => "the name of a database: 1 to 63 bytes, nothing that looks like a connection string".into(),
            ParameterKind::Dump => "latest, a dump's name or id, its time (2026-11-20T03:00Z), or before:TIME".into(),
            ParameterKind::Choice(choices) => format!("one of {}", choices.join(", ")),
        }
    }
}

/// 1 to 63 bytes, no control characters; and neither `=` nor `://`, which libpq would take for a connection string that wins over the host.
fn is_database(text: &str) -> bool {
    (1..=63).contains(&text.len()) && !text.contains(char::is_control) && !text.contains('=') && !text.contains("://")
}
