//! Reads actions and checks. Each action is one key of its step; what the key is called is what is done.

use std::collections::BTreeMap;

use super::file::{Notes, ReferenceKind, Sees, is_name, literal, name, name_rule};
use super::plan::{Action, Check, Expect, Field, FieldKind, Poll, Probe, Request, Template, Work, day};
use crate::report::written::{Fields, FromToml, Problem, Value};

/// The keys that say what a step does; `include` is the step's own affair.
pub(super) fn action_keys(with_include: bool) -> Vec<&'static str> {
    let keys = ["manual", "command", "sql", "http", "backup", "pick", "prove", "restore", "swap", "unswap", "pull", "wait", "notify"];
    keys.into_iter().chain(with_include.then_some("include")).collect()
}

/// Reads the value of one of [`action_keys`].
pub(super) fn action(key: &str, value: &Value<'_>, notes: &mut Notes) -> Option<Action> {
    match key {
        "command" => argv(value, notes).map(|argv| Action::Command { argv }),
        "wait" => wait(value, notes),
        "manual" => value.table(|fields| manual(fields, notes)),
        "sql" => value.table(|fields| {
            let system = reference(fields, ReferenceKind::System, "system", notes);
            let database = template(fields, "database", notes);
            let statements = fields.must("statements").and_then(|value| notes.sql(&value));
            Some(Action::Sql { system: system?, database, statements: statements? })
        }),
        "http" => value.table(|fields| http(fields, notes)),
        "notify" => value.table(|fields| {
            let channel = reference(fields, ReferenceKind::Channel, "channel", notes);
            let message = must(fields, "message", notes);
            Some(Action::Notify { channel: channel?, message: message? })
        }),
        _ => value.table(|fields| work(key, fields, notes)).map(Action::Job),
    }
}

fn work(key: &str, fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Work> {
    if matches!(key, "swap" | "unswap") {
        return exchange(key, fields, notes);
    }
    if key == "pull" {
        let pull = reference(fields, ReferenceKind::Pull, "pull", notes);
        let dump = template(fields, "dump", notes).unwrap_or_else(|| "latest".to_owned());
        let again = fields.or("again", false);
        return Some(Work::Pull { pull: pull?, dump, again });
    }
    let job = reference(fields, ReferenceKind::Job, "job", notes);
    match key {
        "backup" => Some(Work::Backup { job: job? }),
        "pick" => {
            let dump = template(fields, "dump", notes).unwrap_or_else(|| "latest".to_owned());
            let database = template(fields, "database", notes);
            Some(Work::Pick { job: job?, dump, database })
        }
        "prove" => {
            let dump = must(fields, "dump", notes);
            let level = level(fields);
            Some(Work::Verify { job: job?, dump: dump?, level: level? })
        }
        _ => {
            let dump = must(fields, "dump", notes);
            let into = must(fields, "into", notes);
            let tables = tables(fields, notes);
            let create_roles = fields.or("create_roles", false);
            let compare = fields.or("compare", false);
            Some(Work::Restore { job: job?, dump: dump?, into: into?, tables: tables?, create_roles, compare })
        }
    }
}

fn exchange(key: &str, fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Work> {
    let system = reference(fields, ReferenceKind::System, "system", notes);
    let live = must(fields, "live", notes);
    let staged = must(fields, "staged", notes);
    if key == "swap" {
        let keep_as = must(fields, "keep_as", notes);
        let keep_until = template(fields, "keep_until", notes);
        let partial = fields.or("partial", false);
        return Some(Work::Swap { system: system?, live: live?, staged: staged?, keep_as: keep_as?, keep_until, partial });
    }
    let kept = must(fields, "kept", notes);
    Some(Work::Unswap { system: system?, live: live?, staged: staged?, kept: kept? })
}

fn manual(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Action> {
    let checklist = fields.take("checklist").and_then(|value| templates(&value, notes)).unwrap_or_default();
    let asked = fields.take("ask").and_then(|value| value.items()).unwrap_or_default();
    let ask = all(asked.iter().map(|item| item.table(|fields| field(fields, notes))));
    if checklist.is_empty() && asked.is_empty() {
        let problem = Problem::error(fields.span(), "nothing is asked of the person");
        fields.add(problem.hint("checklist = [\"…\"] or ask = [{ name = \"…\", label = \"…\" }]".to_owned()));
        return None;
    }
    let ask: Vec<Field> = ask?;
    for (index, field) in ask.iter().enumerate() {
        if ask[..index].iter().any(|earlier| earlier.name == field.name) {
            return asked[index].reject(asked[index].problem(format!("`{}` is asked for twice", field.name)));
        }
    }
    Some(Action::Manual { checklist, ask })
}

fn field(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Field> {
    let name = fields.must("name").and_then(|value| name(&value, '_'));
    let label = must(fields, "label", notes);
    let choices: Vec<String> = fields.or("choices", Vec::new());
    let written = fields.take("kind");
    let kind = match &written {
        Some(value) => value.word(&[("text", FieldKind::Text), ("coming-day", FieldKind::ComingDay)])?,
        None => FieldKind::Text,
    };
    if let Some(value) = written.filter(|_| kind != FieldKind::Text && !choices.is_empty()) {
        return value.reject(value.problem("choices say what is accepted, `kind` says it again").hint("leave one of them out".to_owned()));
    }
    let given = fields.take("sample");
    let sample = given.as_ref().and_then(|value| value.as_str().map(str::to_owned).or_else(|| value.wrong("text")));
    if let (Some(value), Some(sample)) = (&given, &sample)
        && !choices.is_empty()
        && !choices.contains(sample)
    {
        return value.reject(value.problem("the sample is none of the choices"));
    }
    if let (Some(value), Some(sample), FieldKind::ComingDay) = (&given, &sample, kind)
        && day(sample).is_none()
    {
        return value.reject(value.problem("the sample is no day").hint("sample = \"2099-12-31\"".to_owned()));
    }
    Some(Field { name: name?.into_inner(), label: label?, kind, choices, sample })
}

fn wait(value: &Value<'_>, notes: &mut Notes) -> Option<Action> {
    if !value.is_table() {
        let time = FromToml::read(value.clone())?;
        return Some(Action::Wait { time: Some(time), until: None });
    }
    value.table(|fields| {
        let until = fields.must("until").and_then(|value| value.table(|fields| check(fields, notes)));
        Some(Action::Wait { time: None, until: Some(until?) })
    })
}

fn http(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Action> {
    let request = request(fields, notes);
    let poll = fields.take("poll").map(|value| value.table(|fields| poll(fields, notes)));
    let outputs = fields.take("outputs").map(|value| value.table(pointers));
    // A part that is there and wrong ends the action; one that is not there does not.
    let poll = if let Some(poll) = poll { Some(poll?) } else { None };
    let outputs = if let Some(outputs) = outputs { outputs? } else { BTreeMap::new() };
    Some(Action::Http { request: request?, poll, outputs })
}

fn request(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Request> {
    let method = match fields.take("method") {
        Some(value) => value.word(&METHODS),
        None => Some("GET"),
    };
    let url = fields.must("url").and_then(|value| url(&value, notes));
    let body = template(fields, "body", notes);
    let status = fields.take("status").map(|value| status(&value, notes));
    let status = if let Some(status) = status { Some(status?) } else { None };
    Some(Request { method: method?.to_owned(), url: url?, body, status })
}

const METHODS: [(&str, &str); 7] =
    [("GET", "GET"), ("HEAD", "HEAD"), ("OPTIONS", "OPTIONS"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

fn url(value: &Value<'_>, notes: &mut Notes) -> Option<Template> {
    let url = notes.template(value)?;
    let known = ["http://", "https://", "{{"].iter().any(|start| url.starts_with(start));
    if !known {
        return value.reject(value.problem("no address of the web").hint("begin with https://, http:// or {{ vars.… }}".to_owned()));
    }
    Some(url)
}

/// A number, or a template that gives one.
fn status(value: &Value<'_>, notes: &mut Notes) -> Option<Template> {
    if value.as_str().is_some_and(|text| text.contains("{{")) {
        return notes.template(value);
    }
    let status: u16 = FromToml::read(value.clone())?;
    if !(100..600).contains(&status) {
        return value.reject(value.problem(format!("{status} is no status of HTTP")));
    }
    Some(status.to_string())
}

fn poll(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Poll> {
    // What is polled may need what the request gave: a ticket.
    let outside = notes.sees;
    if let Sees::Before(index) = outside {
        notes.sees = Sees::Through(index);
    }
    let url = fields.must("url").and_then(|value| url(&value, notes));
    let every = fields.or("every", jiff::SignedDuration::from_secs(2));
    let until = fields.must("until").and_then(|value| expects(&value, notes));
    let fail = fields.take("fail").map(|value| expects(&value, notes));
    notes.sees = outside;
    let fail = if let Some(fail) = fail { fail? } else { Vec::new() };
    Some(Poll { url: url?, every, until: until?, fail })
}

/// `{ "/state" = "done", "/failed" = 0 }`; several values of one pointer as an array.
fn expects(value: &Value<'_>, notes: &mut Notes) -> Option<Vec<Expect>> {
    value.table(|fields| {
        let mut expects = Vec::new();
        for (key, value) in fields.all() {
            let pointer = pointer(&value, key.get_ref())?;
            let values = if value.is_array() { value.items()? } else { vec![value] };
            for value in values {
                let equals = if value.as_str().is_some() { notes.template(&value)? } else { value.scalar()? };
                expects.push(Expect { pointer: pointer.clone(), equals });
            }
        }
        Some(expects)
    })
}

fn pointers(fields: &mut Fields<'_>) -> Option<BTreeMap<String, String>> {
    let entries: Vec<_> = fields.all();
    let entries = entries.into_iter().map(|(key, value)| {
        if !is_name(key.get_ref(), '_') {
            return value.reject(Problem::error(key.span(), format!("`{}` is no name", key.get_ref())).hint(name_rule('_')));
        }
        let text = value.as_str().or_else(|| value.wrong("a JSON pointer"))?;
        Some((key.into_inner(), pointer(&value, text)?))
    });
    all(entries).map(|entries| entries.into_iter().collect())
}

/// RFC 6901: empty, or each part after a `/`.
fn pointer(value: &Value<'_>, text: &str) -> Option<String> {
    if !text.is_empty() && !text.starts_with('/') {
        let problem = value.problem(format!("`{text}` is no JSON pointer"));
        return value.reject(problem.hint(format!("\"/{}\" (RFC 6901)", text.replace('.', "/"))));
    }
    Some(text.to_owned())
}

/// Reads an array of checks.
pub(super) fn checks(value: &Value<'_>, notes: &mut Notes) -> Option<Vec<Check>> {
    let items = value.items()?;
    all(items.iter().map(|item| item.table(|fields| check(fields, notes))))
}

fn check(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Check> {
    let title = template(fields, "title", notes);
    let within = fields.optional("within");
    let (key, value) = fields.one_of("check", &["http", "sql", "command", "restored", "pulled", "proof"])?;
    let probe = match key {
        "command" => {
            let argv = argv(&value, notes);
            let equals = template(fields, "equals", notes);
            Probe::Command { argv: argv?, equals }
        }
        "http" => value.table(|fields| http_probe(fields, notes))?,
        "sql" => value.table(|fields| sql_probe(fields, notes))?,
        "restored" => value.table(|fields| {
            let job = reference(fields, ReferenceKind::Job, "job", notes);
            let dump = must(fields, "dump", notes);
            let database = must(fields, "database", notes);
            let tables = tables(fields, notes);
            Some(Probe::Restored { job: job?, dump: dump?, database: database?, tables: tables? })
        })?,
        "pulled" => value.table(|fields| {
            let pull = reference(fields, ReferenceKind::Pull, "pull", notes);
            let dump = must(fields, "dump", notes);
            let since = template(fields, "since", notes);
            Some(Probe::Pulled { pull: pull?, dump: dump?, since })
        })?,
        _ => value.table(|fields| {
            let job = reference(fields, ReferenceKind::Job, "job", notes);
            let dump = must(fields, "dump", notes);
            let level = level(fields);
            Some(Probe::Proof { job: job?, dump: dump?, level: level? })
        })?,
    };
    let title = title.unwrap_or_else(|| super::describe::probe(&probe));
    Some(Check { title, probe, within })
}

fn http_probe(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Probe> {
    let request = request(fields, notes);
    let contains = template(fields, "contains", notes);
    let expect = fields.take("expect").map(|value| expects(&value, notes));
    let expect = if let Some(expect) = expect { expect? } else { Vec::new() };
    let request = request?;
    if !request.is_read() {
        let problem = Problem::error(fields.span(), "a check must not change anything");
        fields.add(problem.label(format!("this is a {}", request.method)).hint("method = \"GET\"".to_owned()));
        return None;
    }
    Some(Probe::Http { request, contains, expect })
}

fn sql_probe(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Probe> {
    let system = reference(fields, ReferenceKind::System, "system", notes);
    let database = template(fields, "database", notes);
    let query = fields.must("query").and_then(|value| notes.sql(&value));
    let equals = fields.must("equals").and_then(|value| match value.as_str() {
        Some(_) => notes.template(&value),
        None => value.scalar(),
    });
    Some(Probe::Sql { system: system?, database, query: query?, equals: equals? })
}

fn argv(value: &Value<'_>, notes: &mut Notes) -> Option<Vec<Template>> {
    if let Some(text) = value.as_str() {
        return value.not_for_a_shell(text);
    }
    let items = value.items()?;
    let Some((program, arguments)) = items.split_first() else {
        return value.reject(value.problem("an empty command"));
    };
    let program = literal(program);
    let arguments = all(arguments.iter().map(|argument| notes.template(argument)));
    Some([program?].into_iter().chain(arguments?).collect())
}

fn level(fields: &mut Fields<'_>) -> Option<u8> {
    fields.must("level")?.word(&[("L0", 0), ("L1", 1), ("L2", 2), ("L3", 3), ("L4", 4), ("L5", 5), ("L6", 6)])
}

/// Which tables, where not all: none that is written is not "all".
fn tables(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Vec<Template>> {
    let Some(value) = fields.take("tables") else { return Some(Vec::new()) };
    let tables = templates(&value, notes)?;
    if tables.is_empty() {
        return value.reject(
            value.problem("no table at all").hint("tables = [\"shop.orders\", \"shop.item*\"], or leave it out for all".to_owned()),
        );
    }
    Some(tables)
}

fn templates(value: &Value<'_>, notes: &mut Notes) -> Option<Vec<Template>> {
    all(value.items()?.iter().map(|item| notes.template(item)))
}

fn template(fields: &mut Fields<'_>, key: &str, notes: &mut Notes) -> Option<Template> {
    fields.take(key).and_then(|value| notes.template(&value))
}

fn must(fields: &mut Fields<'_>, key: &str, notes: &mut Notes) -> Option<Template> {
    fields.must(key).and_then(|value| notes.template(&value))
}

fn reference(fields: &mut Fields<'_>, kind: ReferenceKind, key: &str, notes: &mut Notes) -> Option<String> {
    fields.must(key).and_then(|value| notes.reference(kind, &value))
}

/// All of them, or `None` after each has had its say.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}
