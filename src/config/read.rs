//! The whole file: each table by its own reader, then the names they use of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::environment::{environment, key};
use super::job::{Uses, job};
use super::proof::proving;
use super::pull::{PullUses, pull};
use super::store::{promise, store};
use super::system::{channel, system};
use super::{Environment, Inventory, Job};
use crate::report::diagnostic::{Diagnostic, Source, suggest};
use crate::report::written::{self, Fields, FromToml, Problem, Value};
use crate::system::secret::Secret;

/// What readers of a table need to know of the file around them.
pub(super) struct Reading {
    /// Paths are relative to this.
    directory: PathBuf,
}

pub(super) fn inventory(source: &Source) -> (Option<Inventory>, Vec<Diagnostic>) {
    let path = source.path.clone();
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let reading = Reading { directory: absolute.parent().unwrap_or(Path::new("/")).to_owned() };
    let outcome = written::read(source, |fields| all(fields, &reading, path));
    (outcome.value, outcome.problems)
}

fn all(fields: &mut Fields<'_>, reading: &Reading, path: PathBuf) -> Option<Inventory> {
    let environment: Option<Environment> = fields.must("environment").and_then(|value| value.table(environment));
    let vars = fields.take("vars").and_then(|value| value.table(|fields| Some(vars(fields)))).unwrap_or_default();
    let systems = named(fields, "system", |name, fields| system(name, fields, reading));
    let stores = named(fields, "store", |_, fields| {
        let promise = promise(fields);
        store(fields, reading).map(|store| (store, promise))
    });
    let keys = named(fields, "key", |name, fields| key(name, fields, reading));
    let channels = named(fields, "channel", |_, fields| channel(fields, reading));
    let jobs = named(fields, "job", job);
    let proving = fields.take("proof").and_then(|value| value.table(|fields| Some(proving(fields, reading)))).unwrap_or_default();
    let pulls = named(fields, "pull", |name, fields| pull(name, fields, reading));
    let mut directory =
        |table: &str| fields.take(table).and_then(|value| value.table(|fields| fields.must("path").and_then(|value| reading.path(&value))));
    let (runs, runbooks) = (directory("runs"), directory("runbooks"));
    let uses = jobs.values.values().map(|(_, uses)| uses);
    resolve(fields, uses, [("system", &systems.names), ("store", &stores.names), ("key", &keys.names)]);
    let production = environment.as_ref().is_some_and(|environment| environment.production);
    for (name, (_, uses)) in &pulls.values {
        resolve_pull(fields, name, uses, &jobs.names, &systems.names, production);
    }
    for (name, (_, (_, replica))) in &stores.values {
        let Some(replica) = replica else { continue };
        if replica.get_ref() == name {
            fields.add(Problem::error(replica.span(), "a store is no replica of itself".to_owned()));
        } else if !stores.names.contains(replica.get_ref()) {
            let hint = suggest(replica.get_ref(), stores.names.iter().map(String::as_str));
            let problem = Problem::error(replica.span(), format!("there is no store `{}`", replica.get_ref()));
            fields.add(problem.hint(hint.unwrap_or_else(|| format!("[store.{}]", replica.get_ref()))));
        }
    }
    Some(Inventory {
        path,
        environment: environment?,
        vars,
        systems: systems.values,
        promises: stores.values.iter().map(|(name, (_, (promise, _)))| (name.clone(), promise.clone())).collect(),
        stores: stores.values.into_iter().map(|(name, (store, _))| (name, store)).collect(),
        keys: keys.values,
        channels: channels.values,
        jobs: jobs.values.into_iter().map(|(name, (job, _))| (name, job)).collect::<BTreeMap<String, Job>>(),
        proving,
        pulls: pulls.values.into_iter().map(|(name, (pull, _))| (name, pull)).collect(),
        runs,
        runbooks,
    })
}

/// The tables of a kind: those that could be read, and the names of all.
struct Named<T> {
    values: BTreeMap<String, T>,
    names: BTreeSet<String>,
}

fn named<T>(fields: &mut Fields<'_>, kind: &str, mut read: impl FnMut(String, &mut Fields<'_>) -> Option<T>) -> Named<T> {
    let mut found = Named { values: BTreeMap::new(), names: BTreeSet::new() };
    let Some(table) = fields.take(kind) else { return found };
    table.table(|fields| {
        for (name, value) in fields.all() {
            check_name(fields, &name, '-');
            found.names.insert(name.get_ref().clone());
            if let Some(read) = value.table(|fields| read(name.get_ref().clone(), fields)) {
                found.values.insert(name.into_inner(), read);
            }
        }
        Some(())
    });
    found
}

fn check_name(fields: &Fields<'_>, name: &Spanned<String>, joint: char) {
    let text = name.get_ref();
    let fits = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == joint);
    if !fits {
        let problem = Problem::error(name.span(), format!("`{text}` is no name"));
        fields.add(problem.hint(format!("lower-case letters, digits and `{joint}`, beginning with a letter")));
    }
}

fn vars(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let mut vars = BTreeMap::new();
    for (name, value) in fields.all() {
        // A dash would be a minus in a template.
        check_name(fields, &name, '_');
        if written::is_secretive(name.get_ref()) {
            value.conceal();
            let problem = value.oddity(format!("`{}` looks like a secret, and variables are shown, printed and journaled", name.get_ref()));
            value.add(problem.hint("let the program that needs it read it from where it is kept".to_owned()));
        }
        if let Some(text) = value.scalar() {
            vars.insert(name.into_inner(), text);
        }
    }
    vars
}

fn resolve<'a>(fields: &Fields<'_>, uses: impl Iterator<Item = &'a Uses>, known: [(&str, &BTreeSet<String>); 3]) {
    let [systems, stores, keys] = known;
    for uses in uses {
        missing(fields, &uses.system, systems);
        missing(fields, &uses.store, stores);
        uses.keys.iter().for_each(|key| missing(fields, key, keys));
    }
}

fn missing(fields: &Fields<'_>, name: &Spanned<String>, (kind, known): (&str, &BTreeSet<String>)) {
    if !known.contains(name.get_ref()) {
        let problem = Problem::error(name.span(), format!("there is no {kind} `{}`", name.get_ref()));
        let hint = suggest(name.get_ref(), known.iter().map(String::as_str));
        fields.add(problem.hint(hint.unwrap_or_else(|| format!("[{kind}.{}]", name.get_ref()))));
    }
}

fn resolve_pull(fields: &Fields<'_>, name: &str, uses: &PullUses, jobs: &BTreeSet<String>, systems: &BTreeSet<String>, production: bool) {
    missing(fields, &uses.from, ("job", jobs));
    missing(fields, &uses.system, ("system", systems));
    if production && !uses.production {
        let problem =
            Problem::error(Some(uses.span.clone()), format!("the pull `{name}` replaces a database, and this environment is production"));
        fields.add(
            problem.hint("pulls belong into the configuration of a lower environment; where this is meant: production = true".to_owned()),
        );
    }
}

impl Reading {
    /// A path, relative to the configuration's directory.
    pub(super) fn path(&self, value: &Value<'_>) -> Option<PathBuf> {
        let text = value.as_str().or_else(|| value.wrong("a path"))?;
        if text.is_empty() || text.contains('\0') {
            return value.reject(value.problem("an empty path"));
        }
        if text.starts_with('~') || text.contains('$') {
            let problem = value.problem("no shell reads this path: `~` and `$` stay as they are");
            return value.reject(problem.hint("a path from `/`, or relative to this file".to_owned()));
        }
        Some(self.directory.join(text))
    }

    /// Where a secret comes from. A secret that is written out is refused and not shown.
    pub(super) fn secret(&self, value: &Value<'_>, kinds: &[&'static str]) -> Option<Secret> {
        let ways: Vec<String> = kinds
            .iter()
            .map(|kind| match *kind {
                "file" => "{ file = \"path\" }".to_owned(),
                "command" => "{ command = [\"pass\", \"show\", \"…\"] }".to_owned(),
                kind => format!("{{ {kind} = \"NAME\" }}"),
            })
            .collect();
        if !value.is_table() {
            value.conceal();
            let problem = value.problem("a secret is written out").label("not shown here; whoever can read this file knows it by now");
            return value.reject(problem.hint(format!("say where it comes from: {}", ways.join(" or "))));
        }
        value.table(|fields| match fields.one_of("place of a secret", kinds)? {
            ("file", value) => self.path(&value).map(Secret::File),
            ("command", value) => self.argv(&value).map(Secret::Command),
            (_, value) => String::read(value).map(Secret::Env),
        })
    }

    /// A program and its arguments.
    pub(super) fn argv(&self, value: &Value<'_>) -> Option<Vec<String>> {
        if let Some(text) = value.as_str() {
            return value.not_for_a_shell(text);
        }
        let mut argv: Vec<String> = FromToml::read(value.clone())?;
        let Some(program) = argv.first_mut().filter(|program| !program.is_empty()) else {
            return value.reject(value.problem("an empty command"));
        };
        // A name without a slash is looked up in PATH; a path is relative to this file, like every other.
        if program.contains('/') {
            *program = self.directory.join(&*program).to_string_lossy().into_owned();
        }
        Some(argv)
    }
}
