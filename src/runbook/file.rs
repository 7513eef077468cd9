//! What is written in a runbook file, with the place of everything the lint asks about. Nobody outside this room sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::civil::Date;
use toml::Spanned;

use super::action::{action, action_keys, checks};
use super::plan::{Action, Check, DrillMode, Objectives, Parameter, ParameterKind, Template, Undo, Verify};
use crate::report::diagnostic::{Diagnostic, Source};
use crate::report::written::{self, Fields, Problem, Span, Value};

/// A runbook as written.
pub(super) struct Written {
    pub(super) source: Arc<Source>,
    pub(super) problems: Vec<Diagnostic>,
    /// `None` where the text is no TOML or the head is missing too much.
    pub(super) book: Option<Book>,
}

/// What could be made out of it.
pub(super) struct Book {
    pub(super) id: Spanned<String>,
    pub(super) title: String,
    pub(super) summary: String,
    pub(super) owner: String,
    pub(super) review_by: Spanned<Date>,
    pub(super) contacts: Vec<String>,
    pub(super) objectives: Objectives,
    pub(super) recovered_by: Option<Spanned<String>>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) steps: Vec<Entry>,
    pub(super) notes: Notes,
}

/// One `[[step]]`.
pub(super) struct Entry {
    pub(super) id: Spanned<String>,
    /// `None` where it could not be made out; that has been reported.
    pub(super) body: Option<Body>,
}

/// What a `[[step]]` does.
pub(super) enum Body {
    Step(Box<Work>),
    Include(Include),
}

/// A step of its own. [`super::plan::Step`] without what only the flat plan knows.
pub(super) struct Work {
    pub(super) title: Template,
    pub(super) why: String,
    pub(super) action: Action,
    pub(super) verify: Verify,
    pub(super) undo: Option<Undo>,
    pub(super) expect: Option<SignedDuration>,
    pub(super) timeout: Option<SignedDuration>,
    pub(super) danger: Option<Template>,
    pub(super) repeatable: Option<bool>,
    pub(super) drill: DrillMode,
}

/// Another runbook in the place of a step.
pub(super) struct Include {
    pub(super) runbook: Spanned<String>,
    pub(super) title: Option<String>,
    pub(super) with: BTreeMap<String, Spanned<Template>>,
}

/// What the lint looks at, gathered on the way.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) templates: Vec<Use>,
    pub(super) references: Vec<Reference>,
    /// Where the reader is.
    pub(super) sees: Sees,
}

/// A template where it is written.
pub(super) struct Use {
    pub(super) text: Template,
    pub(super) span: Span,
    pub(super) sees: Sees,
    /// It is sent to a server as SQL.
    pub(super) is_sql: bool,
}

/// Which steps' outputs a template may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sees {
    /// Neither steps nor parameters: the default of a parameter.
    #[default]
    Surroundings,
    /// Steps before this index.
    Before(usize),
    /// That step too.
    Through(usize),
}

/// A name that somebody else must know.
pub(super) struct Reference {
    pub(super) kind: ReferenceKind,
    pub(super) name: String,
    pub(super) span: Span,
}

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReferenceKind {
    System,
    Job,
    Channel,
    Pull,
}

impl Notes {
    /// A template that may be there.
    pub(super) fn template(&mut self, value: &Value<'_>) -> Option<Template> {
        self.note(value, false)
    }

    /// A template that is sent to a server as SQL.
    pub(super) fn sql(&mut self, value: &Value<'_>) -> Option<Template> {
        self.note(value, true)
    }

    fn note(&mut self, value: &Value<'_>, is_sql: bool) -> Option<Template> {
        let text = value.as_str().or_else(|| value.wrong("text"))?;
        self.templates.push(Use { text: text.to_owned(), span: value.span(), sees: self.sees, is_sql });
        Some(text.to_owned())
    }

    /// The name of a system, job, channel or pull.
    pub(super) fn reference(&mut self, kind: ReferenceKind, value: &Value<'_>) -> Option<String> {
        let name = literal(value)?;
        self.references.push(Reference { kind, name: name.clone(), span: value.span() });
        Some(name)
    }
}

/// A literal: what an action is must be readable before anything runs.
pub(super) fn literal(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if text.contains("{{") || text.contains("{%") {
        let problem = value.problem("what an action is may not be a template").label("must be written out");
        return value.reject(problem.hint("only what it is given may change from run to run".to_owned()));
    }
    Some(text.to_owned())
}

/// Words for people, which nobody fills in.
fn prose(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if text.contains("{{") {
        let problem = value.problem("a reason is not filled in: it is the same in every run");
        return value.reject(problem.hint("title, checklist, label and message may hold {{ … }}".to_owned()));
    }
    Some(text.trim().to_owned())
}

/// Reads a runbook file.
pub(super) fn read(source: &Source) -> Written {
    let outcome = written::read(source, book);
    Written { source: outcome.source, problems: outcome.problems, book: outcome.value }
}

fn book(fields: &mut Fields<'_>) -> Option<Book> {
    let mut notes = Notes::default();
    let head = fields.must("runbook").and_then(|value| value.table(head));
    let objectives = fields.take("objectives").and_then(|value| value.table(|fields| Some(objectives(fields)))).unwrap_or_default();
    let parameters =
        fields.take("parameters").and_then(|value| value.table(|fields| Some(parameters(fields, &mut notes)))).unwrap_or_default();
    let steps = fields.must("step").and_then(|value| value.items()).unwrap_or_default();
    let steps = steps.iter().enumerate().filter_map(|(index, value)| value.table(|fields| entry(fields, index, &mut notes))).collect();
    let head = head?;
    let (goals, recovered_by) = objectives;
    Some(Book {
        id: head.id,
        title: head.title,
        summary: head.summary,
        owner: head.owner,
        review_by: head.review_by,
        contacts: head.contacts,
        objectives: goals,
        recovered_by,
        parameters,
        steps,
        notes,
    })
}

struct Head {
    id: Spanned<String>,
    title: String,
    summary: String,
    owner: String,
    review_by: Spanned<Date>,
    contacts: Vec<String>,
}

fn head(fields: &mut Fields<'_>) -> Option<Head> {
    let id = fields.must("id").and_then(|value| name(&value, '-'));
    let title = fields.required("title");
    let summary = fields.or("summary", String::new());
    let owner = fields.required("owner");
    let review_by = fields.required("review_by");
    let contacts = fields.or("contacts", Vec::new());
    Some(Head { id: id?, title: title?, summary: summary.trim().to_owned(), owner: owner?, review_by: review_by?, contacts })
}

fn objectives(fields: &mut Fields<'_>) -> (Objectives, Option<Spanned<String>>) {
    let recovered_by: Option<Spanned<String>> = fields.optional("recovered_by");
    let id = recovered_by.as_ref().map(|id| id.get_ref().clone());
    (Objectives { rto: fields.optional("rto"), rpo: fields.optional("rpo"), recovered_by: id }, recovered_by)
}

fn parameters(fields: &mut Fields<'_>, notes: &mut Notes) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for (key, value) in fields.all() {
        if !is_name(key.get_ref(), '_') {
            fields.add(Problem::error(key.span(), format!("`{}` is no name", key.get_ref())).hint(name_rule('_')));
        }
        let name = key.into_inner();
        let read = value.table(|fields| parameter(fields, name.clone(), notes));
        // One that is wrong is still there: whoever uses it does nothing wrong.
        parameters.push(read.unwrap_or_else(|| Parameter {
            name,
            help: String::new(),
            kind: ParameterKind::Text,
            default: Some(String::new()),
        }));
    }
    parameters
}

fn parameter(fields: &mut Fields<'_>, name: String, notes: &mut Notes) -> Option<Parameter> {
    let help = fields.required("help");
    let kind = fields.take("kind");
    let choices: Option<Vec<String>> = fields.optional("choices");
    notes.sees = Sees::Surroundings;
    let default_value = fields.take("default");
    let default = default_value.as_ref().and_then(|value| notes.template(value));
    let kind = match (kind, choices) {
        (None, Some(choices)) => Some(ParameterKind::Choice(choices)),
        (None, None) => Some(ParameterKind::Text),
        (Some(kind), Some(choices)) if kind.as_str() == Some("choice") => Some(ParameterKind::Choice(choices)),
        (Some(kind), Some(_)) => kind.reject(kind.problem("only a choice has `choices`").hint("kind = \"choice\"".to_owned())),
        (Some(kind), None) if kind.as_str() == Some("choice") => {
            kind.reject(kind.problem("a choice needs `choices`").hint("choices = [\"one\", \"other\"]".to_owned()))
        }
        (Some(kind), None) => kind.word(&KINDS),
    };
    if let (Some(kind), Some(value), Some(default)) = (&kind, &default_value, &default)
        && !default.contains("{{")
        && let Err(why) = kind.accept(default)
    {
        value.add(value.problem(format!("the default of `{name}` is not accepted by the parameter itself")).label(why));
    }
    Some(Parameter { name, help: help?, kind: kind?, default })
}

const KINDS: [(&str, ParameterKind); 7] = [
    ("text", ParameterKind::Text),
    ("integer", ParameterKind::Integer),
    ("flag", ParameterKind::Flag),
    ("duration", ParameterKind::Duration),
    ("instant", ParameterKind::Instant),
    ("database", ParameterKind::Database),
    ("dump", ParameterKind::Dump),
];

fn entry(fields: &mut Fields<'_>, index: usize, notes: &mut Notes) -> Option<Entry> {
    let id = fields.must("id").and_then(|value| name(&value, '-'));
    let body = match fields.take("include") {
        Some(value) => include(fields, index, &value, notes).map(Body::Include),
        None => work(fields, index, notes).map(|work| Body::Step(Box::new(work))),
    };
    Some(Entry { id: id?, body })
}

fn include(fields: &mut Fields<'_>, index: usize, value: &Value<'_>, notes: &mut Notes) -> Option<Include> {
    notes.sees = Sees::Before(index);
    let span = value.span();
    let runbook = literal(value).map(|id| Spanned::new(span, id));
    let title = fields.optional("title");
    let mut with = BTreeMap::new();
    if let Some(table) = fields.take("with") {
        table.table(|fields| {
            for (key, value) in fields.all() {
                if let Some(template) = notes.template(&value) {
                    with.insert(key.get_ref().clone(), Spanned::new(key.span(), template));
                }
            }
            Some(())
        });
    }
    Some(Include { runbook: runbook?, title, with })
}

fn work(fields: &mut Fields<'_>, index: usize, notes: &mut Notes) -> Option<Work> {
    notes.sees = Sees::Before(index);
    let title = fields.must("title").and_then(|value| notes.template(&value));
    let why = fields.take("why").and_then(|value| prose(&value)).unwrap_or_default();
    let danger = fields.take("danger").and_then(|value| notes.template(&value));
    let found = fields.one_of("action", &action_keys(true));
    let action = found.as_ref().and_then(|(key, value)| action(key, value, notes));
    notes.sees = Sees::Through(index);
    let written_verify = fields.take("verify");
    let verify = written_verify.as_ref().and_then(|value| verify(value, notes));
    let undo = fields.take("undo").and_then(|value| value.table(|fields| undo(fields, notes)));
    let expect = fields.optional("expect");
    let timeout = fields.optional("timeout");
    let repeatable = fields.optional("repeatable");
    let drill = fields.take("drill").and_then(|value| value.word(&DRILL)).unwrap_or_default();
    // From here on nothing is read any more: what is missing ends the step.
    let ((_, place), action) = (found?, action?);
    let verify = match (written_verify, verify) {
        (Some(_), verify) => verify?,
        (None, _) if action.mutates() => return place.reject(unverified(&place)),
        (None, _) => Verify::None(own_proof(&action).to_owned()),
    };
    if matches!(action, Action::Job(super::plan::Work::Swap { .. })) && danger.is_none() {
        let problem = place.problem("a swap replaces what users see, and nothing says so").label("needs `danger`");
        return place.reject(problem.hint("danger = \"{{ vars.database }}\": the name to be typed before it is done".to_owned()));
    }
    Some(Work { title: title?, why, action, verify, undo, expect, timeout, danger, repeatable, drill })
}

fn unverified(place: &Value<'_>) -> Problem {
    let problem = place.problem("this changes something, and nothing proves that it did").label("needs `verify`");
    problem.hint("verify = [{ http = … }], or verify = \"none: <the reason why nothing can be checked>\"".to_owned())
}

/// Why an action without checks is its own proof.
fn own_proof(action: &Action) -> &'static str {
    match action {
        Action::Manual { .. } => "a person says so",
        Action::Wait { .. } => "it ends when what it waits for is there",
        Action::Notify { .. } => "the channel took it",
        Action::Job(super::plan::Work::Verify { .. }) => "the proof is recorded beside the dump",
        Action::Job(_) => "it only looks",
        Action::Http { .. } | Action::Command { .. } | Action::Sql { .. } => "its answer is the proof",
    }
}

const DRILL: [(&str, DrillMode); 3] = [("run", DrillMode::Run), ("simulate", DrillMode::Simulate), ("skip", DrillMode::Skip)];

fn verify(value: &Value<'_>, notes: &mut Notes) -> Option<Verify> {
    let Some(text) = value.as_str() else {
        if !value.is_array() {
            return value.wrong("an array of checks, or \"none: <reason>\"");
        }
        let checks = checks(value, notes)?;
        if checks.is_empty() {
            return value.reject(value.problem("no checks prove nothing").hint("verify = \"none: <reason>\"".to_owned()));
        }
        return Some(Verify::Checks(checks));
    };
    match text.strip_prefix("none:").map(str::trim) {
        Some(reason) if !reason.is_empty() => Some(Verify::None(reason.to_owned())),
        _ => value.reject(value.problem("`verify` without checks needs a reason").hint("verify = \"none: <reason>\"".to_owned())),
    }
}

fn undo(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Undo> {
    let found = fields.one_of("action", &action_keys(false));
    let action = found.as_ref().and_then(|(key, value)| action(key, value, notes));
    let written = fields.take("verify");
    let verify: Option<Vec<Check>> = written.as_ref().and_then(|value| checks(value, notes));
    let ((_, place), action) = (found?, action?);
    if action.mutates() && written.is_none() {
        return place.reject(unverified(&place).hint("undo = { …, verify = [{ http = … }] }".to_owned()));
    }
    Some(Undo { action, verify: if written.is_some() { verify? } else { Vec::new() } })
}

/// A name: lower-case letters, digits and `joint`, beginning with a letter.
pub(super) fn name(value: &Value<'_>, joint: char) -> Option<Spanned<String>> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if !is_name(text, joint) {
        return value.reject(value.problem(format!("`{text}` is no name")).hint(name_rule(joint)));
    }
    Some(Spanned::new(value.span(), text.to_owned()))
}

pub(super) fn is_name(text: &str, joint: char) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}

pub(super) fn name_rule(joint: char) -> String {
    format!("lower-case letters, digits and `{joint}`, beginning with a letter")
}
