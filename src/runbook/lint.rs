//! What is wrong with runbooks that can be read: names nobody knows, values nobody gives, includes that go round in circles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;

use super::Library;
use super::file::{self, Body, Book, Include, ReferenceKind, Sees, Use, Written};
use super::plan::{Parameter, ParameterKind};
use super::template::{FILTERS, spelled, variables, words};
use crate::report::diagnostic::{Diagnostic, Source, suggest};
use crate::report::written::{Problem, Span, in_order};

/// The names of the configuration a runbook may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `[system.NAME]`.
    pub systems: BTreeSet<String>,
    /// `[job.NAME]`.
    pub jobs: BTreeSet<String>,
    /// `[channel.NAME]`.
    pub channels: BTreeSet<String>,
    /// `[pull.NAME]`.
    pub pulls: BTreeSet<String>,
    /// Keys of `[vars]`.
    pub vars: BTreeSet<String>,
}

/// Every problem of these runbooks and of those they include, warnings too. Without `names` what the configuration must know is not asked.
pub fn check<'a>(library: &Library, ids: impl IntoIterator<Item = &'a str>, names: Option<&Names>, today: Date) -> Vec<Diagnostic> {
    let mut shelf = Shelf::default();
    for id in ids {
        shelf.fetch(library, id);
    }
    let mut problems = shelf.lint(library, names);
    problems.extend(shelf.books.values().filter_map(|written| {
        let book = written.book.as_ref()?;
        overdue(&written.source, book.review_by.span(), book.id.get_ref(), &book.owner, *book.review_by.get_ref(), today)
    }));
    problems
}

/// G12: a runbook nobody has read for too long says so.
pub(super) fn overdue(source: &Arc<Source>, at: Span, id: &str, owner: &str, review_by: Date, today: Date) -> Option<Diagnostic> {
    (review_by < today).then(|| {
        Diagnostic::warning(source, Some(at), format!("the review of `{id}` is overdue"))
            .label(format!("was due {} days ago", (today - review_by).get_days()))
            .hint(format!("owner: {owner}. Read it again, rehearse it, and set the next date"))
    })
}

/// Runbooks read, with everything they include.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) books: BTreeMap<String, Written>,
    /// What was found while fetching.
    problems: Vec<Diagnostic>,
}

impl Shelf {
    /// Reads a runbook and what it includes.
    pub(super) fn fetch(&mut self, library: &Library, id: &str) {
        if self.books.contains_key(id) {
            return;
        }
        let Some(source) = library.source(id) else {
            let nowhere = Arc::new(Source::new(format!("{id}.toml"), ""));
            let problem = Diagnostic::error(&nowhere, None, format!("there is no runbook `{id}`"));
            self.problems.push(Diagnostic { hint: suggest(id, library.ids()), ..problem });
            return;
        };
        let written = file::read(source);
        let includes: Vec<String> = written.book.iter().flat_map(Book::includes).map(|include| include.runbook.get_ref().clone()).collect();
        self.books.insert(id.to_owned(), written);
        for include in includes {
            if library.source(&include).is_some() {
                self.fetch(library, &include);
            }
        }
    }

    /// Everything that is wrong, file by file.
    pub(super) fn lint(&self, library: &Library, names: Option<&Names>) -> Vec<Diagnostic> {
        let mut problems = self.problems.clone();
        for (id, written) in &self.books {
            let lint = written.book.as_ref().map(|book| Lint { shelf: self, id, book, source: &written.source, names });
            let found = lint.iter().flat_map(|lint| lint.all(library)).map(|problem| problem.of(&written.source));
            problems.extend(in_order(written.problems.iter().cloned().chain(found)));
        }
        problems
    }

    pub(super) fn book(&self, id: &str) -> Option<&Book> {
        self.books.get(id)?.book.as_ref()
    }
}

impl Book {
    fn includes(&self) -> impl Iterator<Item = &Include> {
        self.steps.iter().filter_map(|entry| match &entry.body {
            Some(Body::Include(include)) => Some(include),
            _ => None,
        })
    }
}

/// One runbook being looked at.
struct Lint<'a> {
    shelf: &'a Shelf,
    /// What the library calls it.
    id: &'a str,
    book: &'a Book,
    source: &'a Source,
    names: Option<&'a Names>,
}

impl Lint<'_> {
    fn all(&self, library: &Library) -> Vec<Problem> {
        let mut found = Vec::from_iter(self.identity());
        found.extend(self.twice());
        found.extend(self.book.includes().flat_map(|include| self.include(include, library)));
        found.extend(self.book.notes.templates.iter().flat_map(|used| self.template(used)));
        found.extend(self.references());
        found.extend(self.recovered_by());
        found
    }

    fn identity(&self) -> Option<Problem> {
        let id = self.book.id.get_ref();
        let problem = || Problem::error(self.book.id.span(), format!("the runbook is called `{id}`, its file `{}.toml`", self.id));
        (id != self.id).then(|| problem().hint(format!("the id of a runbook is the name of its file: id = \"{}\"", self.id)))
    }

    fn twice(&self) -> Vec<Problem> {
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in &self.book.steps {
            if let Some(first) = seen.insert(spelled(entry.id.get_ref()), entry.id.span()) {
                let line = self.source.text[..first.start].matches('\n').count() + 1;
                let problem = Problem::error(entry.id.span(), format!("two steps are called `{}`", entry.id.get_ref()));
                found.push(problem.label(format!("the first one is in line {line}")));
            }
        }
        found
    }

    fn include(&self, include: &Include, library: &Library) -> Vec<Problem> {
        let id = include.runbook.get_ref();
        let at = || include.runbook.span();
        if library.source(id).is_none() {
            return vec![Problem::error(at(), format!("there is no runbook `{id}`")).hint(suggest(id, library.ids()))];
        }
        if let Some(way) = self.way_back(id) {
            let problem = Problem::error(at(), "this runbook includes itself");
            return vec![problem.label(format!("{} → {}", self.id, way.join(" → ")))];
        }
        let Some(inner) = self.shelf.book(id) else { return Vec::new() };
        let known: Vec<&str> = inner.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let mut found = Vec::new();
        for (name, value) in &include.with {
            if !known.contains(&name.as_str()) {
                found.push(Problem::error(value.span(), format!("`{id}` has no parameter `{name}`")).hint(suggest(name, known.clone())));
            }
        }
        for parameter in &inner.parameters {
            let given = include.with.get(&parameter.name);
            if parameter.default.is_none() && given.is_none() {
                let problem = Problem::error(at(), format!("`{id}` needs `{}`: {}", parameter.name, parameter.help));
                found.push(problem.hint(format!("with = {{ {} = \"…\" }}", parameter.name)));
            }
            if let Some(given) = given
                && !given.get_ref().contains("{{")
                && let Err(why) = parameter.kind.accept(given.get_ref())
            {
                found.push(Problem::error(given.span(), format!("`{}` of `{id}` does not take this", parameter.name)).label(why));
            }
        }
        found
    }

    /// How one gets from a runbook back to this one by includes.
    fn way_back(&self, from: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![from.to_owned()]];
        while let Some(way) = ways.pop() {
            let last = way.last().map_or("", String::as_str);
            if last == self.id {
                return Some(way);
            }
            if seen.insert(last.to_owned()) {
                let next = self.shelf.book(last).into_iter().flat_map(Book::includes).map(|include| include.runbook.get_ref().clone());
                ways.extend(next.map(|id| way.iter().cloned().chain([id]).collect()));
            }
        }
        None
    }

    fn template(&self, used: &Use) -> Vec<Problem> {
        match variables(&used.text) {
            Ok(paths) => paths.iter().filter_map(|path| self.path(path, used)).collect(),
            Err(error) => {
                let problem = Problem::error(used.span.clone(), "this is no template").label(words(&error));
                vec![problem.hint("{{ params.x }}, {{ vars.x }}, {{ env.name }}, {{ run.id }}, {{ steps.ID.OUTPUT }}".to_owned())]
            }
        }
        .into_iter()
        .chain(unknown_filters(used))
        .chain(self.unquoted(used))
        .collect()
    }

    /// What comes from people or from other machines goes into SQL quoted, or it ends as SQL of its own.
    fn unquoted(&self, used: &Use) -> Vec<Problem> {
        let is_number = |path: &str| {
            let named = |parameter: &&Parameter| path.strip_prefix("params.") == Some(parameter.name.as_str());
            let parameter = self.book.parameters.iter().find(named);
            parameter.is_some_and(|parameter| matches!(parameter.kind, ParameterKind::Integer | ParameterKind::Flag))
        };
        let mut found = Vec::new();
        for inner in expressions(&used.text).filter(|_| used.is_sql) {
            let is_quoted = inner.rsplit('|').next().is_some_and(|filter| ["sql_name", "sql_text"].contains(&filter.trim()));
            for path in variables(&format!("{{{{{inner}}}}}")).unwrap_or_default() {
                let is_foreign = path.starts_with("params.") || path.starts_with("steps.");
                if is_foreign && !is_quoted && !is_number(&path) {
                    let problem = Problem::error(self.within(used, &path), format!("`{path}` goes into SQL as it comes"));
                    found.push(problem.hint(format!("{{{{ {path} | sql_name }}}} for a name, {{{{ {path} | sql_text }}}} for a value")));
                }
            }
        }
        found
    }

    /// What is wrong with one name a template looks up.
    fn path(&self, path: &str, used: &Use) -> Option<Problem> {
        let at = self.within(used, path);
        let parts: Vec<&str> = path.split('.').collect();
        let wrong = |words: String| Problem::error(at.clone(), words);
        match parts.as_slice() {
            [] | ["env", "name" | "production"] | ["run", "id" | "started_at" | "stamp"] => None,
            ["vars", name] => {
                let vars = &self.names?.vars;
                let hint = || suggest(name, vars.iter().map(String::as_str)).or(Some(format!("[vars]\n{name} = \"…\"")));
                (!vars.contains(*name)).then(|| wrong(format!("the configuration has no variable `{name}`")).hint(hint()))
            }
            ["params", name] if used.sees == Sees::Surroundings => {
                Some(wrong(format!("a default may not use the parameter `{name}`")).hint("vars, env and run can be used".to_owned()))
            }
            ["params", name] => {
                let known = self.book.parameters.iter().map(|parameter| parameter.name.as_str());
                let missing = !known.clone().any(|known| known == *name);
                missing.then(|| wrong(format!("there is no parameter `{name}`")).hint(suggest(name, known)))
            }
            ["steps", rest @ ..] if rest.len() > 1 => {
                let limit = match used.sees {
                    Sees::Surroundings => 0,
                    Sees::Before(index) => index,
                    Sees::Through(index) => index + 1,
                };
                self.output(self.book, rest, limit).err().map(|(words, hint)| wrong(words).hint(hint.or_else(|| dash(&used.text, path))))
            }
            ["params" | "vars" | "env" | "run" | "steps", ..] => {
                let rule =
                    "written out with dots: params.x, vars.x, env.name, env.production, run.id, run.started_at, run.stamp, steps.ID.OUTPUT";
                Some(wrong(format!("`{path}` is no value")).hint(dash(&used.text, path).unwrap_or_else(|| rule.to_owned())))
            }
            // The rest of a step's id after its dash; the first part of it has been reported.
            _ if self.source.text[..at.start].ends_with('-') => None,
            [first, ..] => {
                let hint = suggest(first, ["params", "vars", "env", "run", "steps"]);
                Some(wrong(format!("there is no `{path}` in a template")).hint(hint))
            }
        }
    }

    /// Whether a step before `limit` gives that output; otherwise what to say.
    fn output(&self, book: &Book, parts: &[&str], limit: usize) -> Result<(), (String, Option<String>)> {
        let [step, rest @ ..] = parts else { return Err(("an output is missing".to_owned(), None)) };
        let found = book.steps.iter().position(|entry| spelled(entry.id.get_ref()) == *step);
        let Some(index) = found else {
            let ids: Vec<String> = book.steps.iter().take(limit).map(|entry| spelled(entry.id.get_ref())).collect();
            return Err((format!("there is no step `{step}`"), suggest(step, ids.iter().map(String::as_str))));
        };
        if index >= limit {
            return Err((format!("the step `{step}` has not run by then"), Some("use what earlier steps give".to_owned())));
        }
        let output = rest.join(".");
        match (&book.steps[index].body, rest) {
            (None, _) => Ok(()),
            (Some(Body::Include(include)), rest) => match self.shelf.book(include.runbook.get_ref()) {
                Some(inner) => self.output(inner, rest, inner.steps.len()),
                None => Ok(()),
            },
            (Some(Body::Step(work)), _) => {
                let outputs = work.action.outputs();
                let none = || Some("it gives nothing".to_owned());
                let hint = || suggest(&output, outputs.iter().copied()).or_else(none);
                if outputs.contains(&output.as_str()) { Ok(()) } else { Err((format!("the step `{step}` gives no `{output}`"), hint())) }
            }
        }
    }

    /// The place of a name inside the template it is used in; the whole template where it cannot be found.
    fn within(&self, used: &Use, path: &str) -> Span {
        let text = self.source.text.get(used.span.clone()).unwrap_or_default();
        let goes_on = |at: usize| text[at + path.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || "_.".contains(c));
        let found = text.match_indices(path).map(|(at, _)| at).find(|at| !goes_on(*at));
        found.map_or_else(|| used.span.clone(), |at| used.span.start + at..used.span.start + at + path.len())
    }

    fn references(&self) -> Vec<Problem> {
        let Some(names) = self.names else { return Vec::new() };
        let unknown = self.book.notes.references.iter().filter_map(|reference| {
            let (word, known) = match reference.kind {
                ReferenceKind::System => ("system", &names.systems),
                ReferenceKind::Job => ("job", &names.jobs),
                ReferenceKind::Channel => ("channel", &names.channels),
                ReferenceKind::Pull => ("pull", &names.pulls),
            };
            let name = &reference.name;
            let hint = || suggest(name, known.iter().map(String::as_str)).unwrap_or_else(|| format!("[{word}.{name}]"));
            let problem = || Problem::error(reference.span.clone(), format!("the configuration has no {word} `{name}`"));
            (!known.contains(name)).then(|| problem().hint(hint()))
        });
        unknown.collect()
    }

    fn recovered_by(&self) -> Option<Problem> {
        let id = self.book.recovered_by.as_ref()?;
        let ids = self.step_ids(self.book, "", 0);
        let problem = || Problem::error(id.span(), format!("there is no step `{}`", id.get_ref()));
        (!ids.contains(id.get_ref())).then(|| problem().hint(suggest(id.get_ref(), ids.iter().map(String::as_str))))
    }

    fn step_ids(&self, book: &Book, prefix: &str, depth: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for entry in &book.steps {
            let id = format!("{prefix}{}", entry.id.get_ref());
            match &entry.body {
                // A circle has been reported; do not walk it for ever.
                Some(Body::Include(include)) if depth < 8 => {
                    let inner = self.shelf.book(include.runbook.get_ref());
                    ids.extend(inner.into_iter().flat_map(|inner| self.step_ids(inner, &format!("{id}."), depth + 1)));
                }
                _ => ids.push(id),
            }
        }
        ids
    }
}

/// `steps.mute-tests.x` is read as `steps.mute` minus something; say so.
fn dash(template: &str, path: &str) -> Option<String> {
    let at = template.find(path)?;
    let rest = &template[at..];
    let word = &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(rest.len())];
    word.contains('-').then(|| format!("a dash is a minus here: {}", spelled(word)))
}

/// What stands between `{{` and `}}`.
fn expressions(template: &str) -> impl Iterator<Item = &str> {
    template.split("{{").skip(1).filter_map(|rest| rest.split("}}").next())
}

/// Filters are looked up only when a template is rendered; a runbook must not have to run for that.
fn unknown_filters(used: &Use) -> Vec<Problem> {
    let mut found = Vec::new();
    for inner in expressions(&used.text) {
        for filter in inner.split('|').skip(1) {
            let name: String = filter.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !name.is_empty() && !FILTERS.contains(&name.as_str()) {
                found.push(Problem::error(used.span.clone(), format!("there is no filter `{name}`")).hint(suggest(&name, FILTERS)));
            }
        }
    }
    found
}
