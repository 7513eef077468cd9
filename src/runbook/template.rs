//! Values in runbooks: `{{ params.x }}`, `{{ vars.x }}`, `{{ env.name }}`, `{{ run.id }}`, `{{ steps.pick_dump.dump }}`.
//!
//! Jinja, by minijinja, with a name that is not there as an error and nothing of the outside world: no files, no environment, no clock.
//! What an action *is* never gets here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::plan::{Action, Binding, Check, Expect, Field, Plan, Poll, Probe, Request, Step, Surroundings, Template, Work};
use crate::report::{Report, Result};

/// What a template may use, at one moment of a run.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `params.x`.
    pub params: BTreeMap<String, String>,
    /// `vars.x`, `env.name`, `env.production`, `run.id`, `run.started_at`, `run.stamp`.
    pub surroundings: Surroundings,
    /// Step id → output name → value: what the steps so far gave.
    pub steps: BTreeMap<String, BTreeMap<String, String>>,
    /// Parameters of an include that have no value yet, and why.
    unbound: BTreeMap<String, Report>,
    missing: Missing,
}

/// What becomes of a name that has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Missing {
    /// An error: whatever is done must be known.
    #[default]
    Refused,
    /// Stays as it is written: for paper.
    Kept,
    /// `…`: for the screen.
    Dots,
}

impl Scope {
    /// The scope of a plan's own steps. `outputs` is what the steps so far gave, by their full id.
    pub fn new(plan: &Plan, outputs: &BTreeMap<String, BTreeMap<String, String>>) -> Self {
        Scope { params: plan.values.clone(), surroundings: plan.surroundings.clone(), steps: outputs.clone(), ..Scope::default() }
    }

    /// The same for paper: what has no value stays as it is written, and nothing fails.
    #[must_use]
    pub fn on_paper(self) -> Self {
        Scope { missing: Missing::Kept, ..self }
    }

    /// The same for lists on the screen: what has no value yet is `…`, and nothing fails.
    #[must_use]
    pub fn on_screen(self) -> Self {
        Scope { missing: Missing::Dots, ..self }
    }

    /// The scope of one step: inside an include, `params` are the include's and `steps` are its own.
    #[must_use]
    pub fn of(&self, step: &Step) -> Self {
        let prefixes = step.id.split('.');
        step.bindings.iter().zip(prefixes).fold(self.clone(), |scope, (bindings, prefix)| scope.inside(prefix, bindings))
    }

    fn inside(&self, include: &str, bindings: &BTreeMap<String, Binding>) -> Self {
        let mut params = BTreeMap::new();
        let mut unbound = BTreeMap::new();
        for (name, binding) in bindings {
            let value = render(&binding.value, self).and_then(|text| match self.missing {
                Missing::Refused => binding.kind.resolve(name, &text, &self.surroundings),
                Missing::Kept | Missing::Dots => Ok(text),
            });
            match value {
                Ok(value) => drop(params.insert(name.clone(), value)),
                Err(why) => drop(unbound.insert(name.clone(), why)),
            }
        }
        let own = |(id, outputs): (&String, &BTreeMap<String, String>)| {
            let id = id.strip_prefix(include)?.strip_prefix('.')?;
            Some((id.to_owned(), outputs.clone()))
        };
        let steps = self.steps.iter().filter_map(own).collect();
        Scope { params, unbound, surroundings: self.surroundings.clone(), steps, missing: self.missing }
    }

    fn value(&self) -> Value {
        let around = &self.surroundings;
        let steps = tree(self.steps.iter().map(|(id, outputs)| (id.split('.').map(spelled).collect(), outputs)).collect());
        branch([
            ("params", texts(&self.params)),
            ("vars", texts(&around.vars)),
            ("env", branch([("name", around.environment.as_str().into()), ("production", around.production.into())])),
            (
                "run",
                branch([
                    ("id", around.run.as_str().into()),
                    ("started_at", around.started_at.to_string().into()),
                    ("stamp", stamp(around).into()),
                ]),
            ),
            ("steps", steps),
        ])
    }
}

/// How the id of a step is written in a template: a dash would be a minus.
pub(super) fn spelled(id: &str) -> String {
    id.replace('-', "_")
}

fn branch(values: impl IntoIterator<Item = (impl Into<String>, Value)>) -> Value {
    Value::from(values.into_iter().map(|(name, value)| (name.into(), value)).collect::<BTreeMap<String, Value>>())
}

fn texts(values: &BTreeMap<String, String>) -> Value {
    branch(values.iter().map(|(name, value)| (name.as_str(), Value::from(value.as_str()))))
}

/// The parts of a step's id, and what the step gave.
type Leaf<'a> = (Vec<String>, &'a BTreeMap<String, String>);

/// Steps by the parts of their ids: an include is a branch, a step is a leaf with its outputs.
fn tree(steps: Vec<Leaf<'_>>) -> Value {
    let mut branches: BTreeMap<String, Vec<Leaf<'_>>> = BTreeMap::new();
    let mut leaves = BTreeMap::new();
    for (mut path, outputs) in steps {
        let first = path.remove(0);
        if path.is_empty() {
            leaves.insert(first, texts(outputs));
        } else {
            branches.entry(first).or_default().push((path, outputs));
        }
    }
    leaves.extend(branches.into_iter().map(|(name, steps)| (name, tree(steps))));
    branch(leaves)
}

/// Renders a template. A name that is not there, or a text that is no template, is [`Kind::Usage`](crate::report::Kind::Usage).
pub fn render(template: &str, scope: &Scope) -> Result<String> {
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(template.to_owned());
    }
    match jinja().render_str(template, scope.value()) {
        Ok(text) => Ok(text),
        Err(error) if scope.missing == Missing::Refused => Err(explain(template, &error, scope)),
        Err(_) => Ok(piecemeal(template, scope)),
    }
}

/// Each `{{ … }}` by itself; those without a value as the scope says.
fn piecemeal(template: &str, scope: &Scope) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inner, after) = part.split_once("}}").unwrap_or((part, ""));
        let written = format!("{{{{{inner}}}}}");
        let filled = jinja().render_str(&written, scope.value()).ok();
        text.push_str(&filled.unwrap_or_else(|| if scope.missing == Missing::Dots { "…".to_owned() } else { written }));
        text.push_str(after);
    }
    text
}

fn explain(template: &str, error: &minijinja::Error, scope: &Scope) -> Report {
    let report = Report::usage(format!("`{}` cannot be filled in", template.trim()));
    if error.kind() != ErrorKind::UndefinedError {
        return report.cause(words(error));
    }
    let missing: Vec<String> = variables(template).unwrap_or_default().into_iter().filter(|path| !scope.has(path)).collect();
    let mut report = report.cause(format!("{} has no value", missing.join(", ")));
    for why in missing.iter().filter_map(|path| scope.unbound.get(path.strip_prefix("params.")?)) {
        report = report.cause(why.to_string());
    }
    if missing.iter().any(|path| path.starts_with("steps.")) {
        report = report.hint("the step that gives it was skipped or not reached; do it, or abort");
    }
    report
}

impl Scope {
    fn has(&self, path: &str) -> bool {
        let found = path.split('.').try_fold(self.value(), |value, part| value.get_attr(part).ok());
        found.is_some_and(|value| !value.is_undefined())
    }
}

/// What minijinja says, without its name for a template that has none.
pub(super) fn words(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The names a template looks up, with their dots: `params.database`, `steps.pick_dump.dump`.
pub(super) fn variables(template: &str) -> Result<BTreeSet<String>, minijinja::Error> {
    let parsed = jinja().template_from_str(template)?;
    Ok(parsed.undeclared_variables(true).into_iter().collect())
}

/// The filters, for messages.
pub(super) const FILTERS: [&str; 11] =
    ["default", "identifier", "in_words", "iso8601", "json", "lower", "replace", "sql_name", "sql_text", "trim", "upper"];

fn jinja() -> &'static Environment<'static> {
    static JINJA: OnceLock<Environment<'static>> = OnceLock::new();
    JINJA.get_or_init(|| {
        let mut jinja = Environment::empty();
        jinja.set_undefined_behavior(UndefinedBehavior::Strict);
        // `true`, as JSON, TOML and SQL write it; minijinja would say `True`.
        jinja.set_formatter(|out, state, value| match bool::try_from(value.clone()) {
            Ok(truth) if value.kind() == ValueKind::Bool => Ok(out.write_str(if truth { "true" } else { "false" })?),
            _ => minijinja::escape_formatter(out, state, value),
        });
        jinja.add_filter("default", minijinja::filters::default);
        jinja.add_filter("lower", minijinja::filters::lower);
        jinja.add_filter("upper", minijinja::filters::upper);
        jinja.add_filter("trim", minijinja::filters::trim);
        jinja.add_filter("replace", minijinja::filters::replace);
        jinja.add_filter("identifier", |text: String| identifier(&text));
        jinja.add_filter("in_words", |text: String| Ok(in_words(duration(&text)?)));
        jinja.add_filter("iso8601", |text: String| Ok(duration(&text)?.to_string()));
        jinja.add_filter("sql_name", |text: String| escape_identifier(&text));
        jinja.add_filter("sql_text", |text: String| escape_literal(&text).trim_start().to_owned());
        jinja.add_filter("json", |text: String| serde_json::Value::String(text).to_string());
        jinja
    })
}

fn duration(text: &str) -> Result<SignedDuration, minijinja::Error> {
    text.trim().parse().map_err(|_| minijinja::Error::new(ErrorKind::InvalidOperation, format!("`{text}` is no duration, like 2h 30m")))
}

/// `2 hours 30 minutes`: for people, however the duration is written.
fn in_words(duration: SignedDuration) -> String {
    let printer = SpanPrinter::new().designator(Designator::Verbose).spacing(Spacing::BetweenUnitsAndDesignators);
    printer.duration_to_string(&duration)
}

/// A part of a name that every PostgreSQL takes unquoted: `2026-11-21T03:00:00Z` → `20261121t030000z`, `Run 7` → `run_7`.
pub fn identifier(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            ' ' | '_' | '.' | '/' if !name.ends_with('_') && !name.is_empty() => name.push('_'),
            _ => {}
        }
    }
    name.truncate(40);
    name.trim_end_matches('_').to_owned()
}

/// When the run began, as a part of a name.
fn stamp(around: &Surroundings) -> String {
    around.started_at.strftime("%Y%m%d_%H%M%S").to_string()
}

/// The action with everything filled in, except its `poll`: what is polled may need what the request gave, see [`poll`].
pub fn action(action: &Action, scope: &Scope) -> Result<Action> {
    let r = |template: &str| render(template, scope);
    Ok(match action {
        Action::Manual { checklist, ask } => Action::Manual { checklist: each(checklist, scope)?, ask: fields(ask, scope)? },
        Action::Command { argv } => Action::Command { argv: each(argv, scope)? },
        Action::Sql { system, database, statements } => {
            Action::Sql { system: system.clone(), database: maybe(database.as_ref(), scope)?, statements: r(statements)? }
        }
        Action::Http { request: asked, poll, outputs } => {
            Action::Http { request: request(asked, scope)?, poll: poll.clone(), outputs: outputs.clone() }
        }
        Action::Job(asked) => Action::Job(work(asked, scope)?),
        Action::Wait { time, until } => Action::Wait { time: *time, until: until.as_ref().map(|until| check(until, scope)).transpose()? },
        Action::Notify { channel, message } => Action::Notify { channel: channel.clone(), message: r(message)? },
    })
}

fn work(work: &Work, scope: &Scope) -> Result<Work> {
    let r = |template: &str| render(template, scope);
    Ok(match work.clone() {
        Work::Backup { job } => Work::Backup { job },
        Work::Pick { job, dump, database } => {
            Work::Pick { job, dump: r(&dump)?, database: database.map(|database| r(&database)).transpose()? }
        }
        Work::Verify { job, dump, level } => Work::Verify { job, dump: r(&dump)?, level },
        Work::Restore { job, dump, into, tables, create_roles, compare } => {
            Work::Restore { job, dump: r(&dump)?, into: r(&into)?, tables: each(&tables, scope)?, create_roles, compare }
        }
        Work::Swap { system, live, staged, keep_as, keep_until, partial } => {
            let keep_until = maybe(keep_until.as_ref(), scope)?;
            Work::Swap { system, live: r(&live)?, staged: r(&staged)?, keep_as: r(&keep_as)?, keep_until, partial }
        }
        Work::RestoreGroup { job, group, prefix, suffix, create_roles, compare } => {
            Work::RestoreGroup { job, group: r(&group)?, prefix: r(&prefix)?, suffix: r(&suffix)?, create_roles, compare }
        }
        Work::RestoreRoles { job, dump } => Work::RestoreRoles { job, dump: r(&dump)? },
        Work::DropKept { system, database, early } => Work::DropKept { system, database: r(&database)?, early },
        Work::Pull { pull, dump, again } => Work::Pull { pull, dump: r(&dump)?, again },
        Work::Unswap { system, live, staged, kept } => Work::Unswap { system, live: r(&live)?, staged: r(&staged)?, kept: r(&kept)? },
    })
}

/// The check with everything filled in.
pub fn check(check: &Check, scope: &Scope) -> Result<Check> {
    let r = |template: &str| render(template, scope);
    let probe = match &check.probe {
        Probe::Http { request: asked, contains, expect } => {
            Probe::Http { request: request(asked, scope)?, contains: maybe(contains.as_ref(), scope)?, expect: expects(expect, scope)? }
        }
        Probe::Sql { system, database, query, equals } => {
            Probe::Sql { system: system.clone(), database: maybe(database.as_ref(), scope)?, query: r(query)?, equals: r(equals)? }
        }
        Probe::Command { argv, equals } => Probe::Command { argv: each(argv, scope)?, equals: maybe(equals.as_ref(), scope)? },
        Probe::Restored { job, dump, database, tables } => {
            Probe::Restored { job: job.clone(), dump: r(dump)?, database: r(database)?, tables: each(tables, scope)? }
        }
        Probe::Pulled { pull, dump, since } => Probe::Pulled { pull: pull.clone(), dump: r(dump)?, since: maybe(since.as_ref(), scope)? },
        Probe::Proof { job, dump, level } => Probe::Proof { job: job.clone(), dump: r(dump)?, level: *level },
    };
    Ok(Check { title: r(&check.title)?, probe, within: check.within })
}

/// The poll with everything filled in; the outputs of the request are in the scope by then.
pub fn poll(poll: &Poll, scope: &Scope) -> Result<Poll> {
    Ok(Poll { url: render(&poll.url, scope)?, every: poll.every, until: expects(&poll.until, scope)?, fail: expects(&poll.fail, scope)? })
}

fn request(request: &Request, scope: &Scope) -> Result<Request> {
    let rendered = Request {
        method: request.method.clone(),
        url: render(&request.url, scope)?,
        body: maybe(request.body.as_ref(), scope)?,
        status: maybe(request.status.as_ref(), scope)?,
    };
    match &rendered.status {
        // Any 2xx would be the wrong reading of a number that is none.
        Some(status) if rendered.expected_status().is_none() && scope.missing == Missing::Refused => {
            Err(Report::usage(format!("`{status}` is no status of HTTP")))
        }
        _ => Ok(rendered),
    }
}

fn expects(expects: &[Expect], scope: &Scope) -> Result<Vec<Expect>> {
    let expect = |expect: &Expect| Ok(Expect { pointer: expect.pointer.clone(), equals: render(&expect.equals, scope)? });
    expects.iter().map(expect).collect()
}

fn fields(fields: &[Field], scope: &Scope) -> Result<Vec<Field>> {
    fields.iter().map(|field| Ok(Field { label: render(&field.label, scope)?, ..field.clone() })).collect()
}

fn each(templates: &[Template], scope: &Scope) -> Result<Vec<String>> {
    templates.iter().map(|template| render(template, scope)).collect()
}

fn maybe(template: Option<&Template>, scope: &Scope) -> Result<Option<String>> {
    template.map(|template| render(template, scope)).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::plan::ParameterKind;
    use super::*;

    fn scope() -> Scope {
        let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        Scope {
            params: text(&[("database", "orders"), ("odd", "a\"; DROP TABLE x; --'")]),
            surroundings: Surroundings {
                environment: "production".into(),
                production: true,
                run: "20261121-0300-abcd".into(),
                started_at: "2026-11-21T03:00:00Z".parse().unwrap(),
                vars: text(&[("site", "https://example.org")]),
            },
            steps: [("pick-dump".to_owned(), text(&[("dump", "d1")])), ("restore.into-new".to_owned(), text(&[("rows", "7")]))].into(),
            ..Scope::default()
        }
    }

    fn bound(value: &str, kind: ParameterKind) -> BTreeMap<String, Binding> {
        [("name".to_owned(), Binding { value: value.to_owned(), kind })].into()
    }

    #[test]
    fn every_kind_of_value_is_filled_in() {
        let template = "{{ params.database }} {{ vars.site }} {{ env.name }} {{ env.production }} {{ run.id | identifier }} \
                        {{ run.started_at }} {{ steps.pick_dump.dump }} {{ steps.restore.into_new.rows }}";
        assert_eq!(
            render(template, &scope()).unwrap(),
            "orders https://example.org production true 202611210300abcd 2026-11-21T03:00:00Z d1 7"
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_an_error_that_names_it() {
        let error = render("x {{ steps.pick_dump.size }}", &scope()).unwrap_err();
        assert_eq!(error.to_string(), "`x {{ steps.pick_dump.size }}` cannot be filled in: steps.pick_dump.size has no value");
        assert_eq!(error.hints.len(), 1);
        let error = render("{{ params.nix }}", &scope()).unwrap_err();
        assert!(error.to_string().contains("params.nix has no value"), "{error}");
    }

    #[test]
    fn names_and_texts_of_sql_are_quoted_by_the_servers_rules() {
        assert_eq!(render("{{ params.odd | sql_name }}", &scope()).unwrap(), "\"a\"\"; DROP TABLE x; --'\"");
        assert_eq!(render("{{ params.odd | sql_text }}", &scope()).unwrap(), "'a\"; DROP TABLE x; --'''");
        assert_eq!(render("{{ params.odd | json }}", &scope()).unwrap(), r#""a\"; DROP TABLE x; --'""#);
        assert_eq!(identifier("2026-11-21T03:00:00Z"), "20261121t030000z");
        assert_eq!(identifier("Run 7"), "run_7");
    }

    #[test]
    fn a_duration_is_words_for_people_and_iso_8601_for_machines_however_it_is_written() {
        for (written, words, iso) in [
            ("PT2H", "2 hours", "PT2H"),
            ("2h", "2 hours", "PT2H"),
            ("90m", "1 hour 30 minutes", "PT1H30M"),
            ("1h 1s", "1 hour 1 second", "PT1H1S"),
        ] {
            let template = format!("{{{{ '{written}' | in_words }}}} {{{{ '{written}' | iso8601 | json }}}}");
            assert_eq!(render(&template, &scope()).unwrap(), format!("{words} \"{iso}\""));
        }
        let error = render("{{ params.database | in_words }}", &scope()).unwrap_err();
        assert!(format!("{error:?}").contains("`orders` is no duration"), "{error:?}");
    }

    #[test]
    fn a_template_reaches_neither_files_nor_the_environment_nor_itself_for_ever() {
        for template in ["{% include '/etc/passwd' %}", "{{ debug() }}", "{{ environ.HOME }}", "{{ range(10) }}"] {
            assert!(render(template, &scope()).is_err(), "{template}");
        }
    }

    #[test]
    fn a_step_of_an_include_sees_the_includes_parameters_and_steps_only() {
        let inner = scope().inside("restore", &bound("{{ steps.pick_dump.dump }}", ParameterKind::Text));
        assert_eq!(render("{{ params.name }} {{ steps.into_new.rows }} {{ vars.site }}", &inner).unwrap(), "d1 7 https://example.org");
        assert!(render("{{ params.database }}", &inner).is_err());
        assert!(render("{{ steps.pick_dump.dump }}", &inner).is_err());
    }

    #[test]
    fn paper_keeps_and_the_screen_dots_what_has_no_value_yet() {
        let template = "{{ params.database }} from {{ steps.later.dump | identifier }} in {{ env.name }}";
        assert!(render(template, &scope()).is_err());
        let paper = render(template, &scope().on_paper()).unwrap();
        assert_eq!(paper, "orders from {{ steps.later.dump | identifier }} in production");
        assert_eq!(render(template, &scope().on_screen()).unwrap(), "orders from … in production");
    }

    #[test]
    fn a_binding_without_value_says_why_where_it_is_used() {
        let inner = scope().inside("restore", &bound("{{ steps.skipped.dump }}", ParameterKind::Text));
        assert_eq!(render("{{ vars.site }}", &inner).unwrap(), "https://example.org");
        let error = render("{{ params.name }}", &inner).unwrap_err();
        assert!(error.to_string().contains("steps.skipped.dump has no value"), "{error}");
    }

    #[test]
    fn a_binding_of_the_wrong_kind_is_refused_when_its_value_is_known() {
        let inner = scope().inside("restore", &bound("{{ steps.pick_dump.dump }}", ParameterKind::Integer));
        let error = render("{{ params.name }}", &inner).unwrap_err();
        assert!(error.to_string().contains("`name` cannot be `d1`: needs a whole number"), "{error}");
        let inner = scope().inside("restore", &bound("now", ParameterKind::Instant));
        assert_eq!(render("{{ params.name }}", &inner).unwrap(), "2026-11-21T03:00:00Z");
    }
}
