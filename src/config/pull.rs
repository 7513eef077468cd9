//! `[pull.NAME]`: which job's dumps become a clean copy, where, and what makes it clean (D11, G5).

use std::path::PathBuf;

use jiff::SignedDuration;
use toml::Spanned;

use super::proof::assertions;
use super::read::Reading;
use crate::report::written::{Fields, FromToml, Problem, Value};
use crate::system::postgres::assertion::Assertion;
use crate::system::postgres::sanitise::pattern::{Allow, BUILT_IN, Pattern, STANDARD};
use crate::system::postgres::sanitise::{Rewrite, Scan};

/// A clean copy for a lower environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    /// The name in the configuration.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// The job whose dumps are taken.
    pub from: String,
    /// Which database's, where the job dumps several.
    pub database: Option<String>,
    /// The system it goes to.
    pub system: String,
    /// The live database there; the system's own where none is given.
    pub into: Option<String>,
    /// A dump older than this is refused; the job's own rule where none is given.
    pub max_age: Option<SignedDuration>,
    /// How long a backup of the job that is under way is waited for (G11); not at all where none.
    pub wait: Option<SignedDuration>,
    /// Files run on the copy, in this order.
    pub transform: Vec<PathBuf>,
    /// What would act as production is switched off first.
    pub neutralise: bool,
    /// Files run after that, before `transform`.
    pub neutralise_sql: Vec<PathBuf>,
    /// Texts that become others.
    pub rewrite: Vec<Rewrite>,
    /// What must hold of the result.
    pub assert: Vec<Assertion>,
    /// What must not be found in it.
    pub scan: Option<Scan>,
    /// How long the database that was replaced stays: a later pull drops it then. Where none is said, nothing but a person does.
    pub keep_for: Option<SignedDuration>,
    /// It may go to the server the dump was made of.
    pub same_server: bool,
}

/// The names a pull uses, to be resolved when all tables are read.
pub(super) struct PullUses {
    pub(super) from: Spanned<String>,
    pub(super) system: Spanned<String>,
    /// Said or not, with the place of the table where not: a production environment wants it said.
    pub(super) production: bool,
    pub(super) span: std::ops::Range<usize>,
}

pub(super) fn pull(name: String, fields: &mut Fields<'_>, reading: &Reading) -> Option<(Pull, PullUses)> {
    let title = fields.or("title", name.clone());
    let from: Option<Spanned<String>> = fields.required("from");
    let database = fields.take("database").and_then(|value| identifier(&value));
    let system: Option<Spanned<String>> = fields.required("system");
    let into = fields.take("into").and_then(|value| identifier(&value));
    let max_age = fields.optional("max_age");
    let wait = fields.optional("wait");
    let transform = fields.take("transform").and_then(|value| files(&value, reading)).unwrap_or_default();
    let neutralise: Option<bool> = fields.optional("neutralise");
    let neutralise_sql = fields.take("neutralise_sql").and_then(|value| files(&value, reading)).unwrap_or_default();
    let rewrite = fields.take("rewrite").and_then(|value| tables(&value, rewrite)).unwrap_or_default();
    let assert = fields.take("assert").and_then(|value| assertions(&value)).unwrap_or_default();
    let written_scan = fields.take("scan");
    let scan = written_scan.as_ref().and_then(scan);
    let keep_for = fields.take("keep_for").filter(|value| value.as_str() != Some("forever"));
    let keep_for = keep_for.and_then(|value| super::retention::days(&value));
    let same_server = fields.or("same_server", false);
    let production = fields.or("production", false);
    let span = fields.span().unwrap_or_default();
    if assert.is_empty() && written_scan.is_none() {
        let problem = Problem::warning(fields.span(), format!("nothing proves that nothing personal is left by the pull `{name}`"));
        fields.add(
            problem
                .label("neither `assert` nor `scan`")
                .hint("scan = true looks for mail addresses, telephone numbers and tokens".to_owned()),
        );
    }
    let uses = PullUses { from: from?, system: system?, production, span };
    let pull = Pull {
        name,
        title,
        from: uses.from.get_ref().clone(),
        database,
        system: uses.system.get_ref().clone(),
        into,
        max_age,
        wait,
        transform,
        // A copy that stands in for production is said to be one.
        neutralise: neutralise.unwrap_or(!production),
        neutralise_sql,
        rewrite,
        assert,
        scan,
        keep_for,
        same_server,
    };
    Some((pull, uses))
}

/// A database's name.
fn identifier(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if text.is_empty() || text.len() > 63 || text.contains(char::is_control) {
        return value.reject(value.problem("a database's name has 1 to 63 bytes and no control characters"));
    }
    Some(text.to_owned())
}

/// Files that are there.
fn files(value: &Value<'_>, reading: &Reading) -> Option<Vec<PathBuf>> {
    let one = |item: &Value<'_>| {
        let path = reading.path(item)?;
        if path.is_file() {
            Some(path)
        } else {
            item.reject(item.problem(format!("there is no file {}", item.as_str().unwrap_or_default())))
        }
    };
    let paths: Vec<Option<PathBuf>> = value.items()?.iter().map(one).collect();
    paths.into_iter().collect()
}

fn tables<T>(value: &Value<'_>, read: impl Fn(&mut Fields<'_>) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = value.items()?.iter().map(|item| item.table(&read)).collect();
    items.into_iter().collect()
}

fn rewrite(fields: &mut Fields<'_>) -> Option<Rewrite> {
    let table: Option<String> = fields.required("table");
    let columns = match fields.one_of("column to rewrite", &["column", "columns"]) {
        None => None,
        Some(("column", value)) => String::read(value).map(|column| vec![column]),
        Some((_, value)) => Vec::<String>::read(value.clone())
            .and_then(|columns| if columns.is_empty() { value.reject(value.problem("no column is named")) } else { Some(columns) }),
    };
    let from = fields.must("from").and_then(|value| match value.as_str() {
        Some("") => value.reject(value.problem("nothing is looked for")),
        _ => String::read(value),
    });
    let to = fields.required("to");
    Some(Rewrite { table: table?, columns: columns?, from: from?, to: to? })
}

/// `true`, or a table; `false` is none.
fn scan(value: &Value<'_>) -> Option<Scan> {
    let standard = || STANDARD.iter().filter_map(|name| Pattern::built_in(name)).collect();
    if !value.is_table() {
        return bool::read(value.clone())?.then(|| Scan { patterns: standard(), ..Scan::default() });
    }
    value.table(|fields| {
        let patterns = fields.take("patterns").map_or_else(|| Some(standard()), |value| built_in(&value));
        let own = fields.take("own").map_or(Some(Vec::new()), |value| value.table(own));
        let allow: Vec<String> = fields.or("allow", Vec::new());
        let exempt = fields.take("exempt").map_or(Some(Vec::new()), |value| exempt(&value));
        let mut patterns: Vec<Pattern> = patterns?;
        patterns.extend(own?);
        if patterns.is_empty() {
            fields.add(Problem::error(fields.span(), "nothing is looked for").hint("scan = true".to_owned()));
            return None;
        }
        Some(Scan { patterns, allow: Allow::new(&allow), exempt: exempt? })
    })
}

fn built_in(value: &Value<'_>) -> Option<Vec<Pattern>> {
    let words = BUILT_IN.map(|(name, _)| (name, name));
    let one = |item: &Value<'_>| item.word(&words).and_then(Pattern::built_in);
    let patterns: Vec<Option<Pattern>> = value.items()?.iter().map(one).collect();
    patterns.into_iter().collect()
}

/// Name → regular expression.
fn own(fields: &mut Fields<'_>) -> Option<Vec<Pattern>> {
    let entries = fields.all().into_iter().map(|(name, value)| {
        if BUILT_IN.iter().any(|(known, _)| known == name.get_ref()) {
            return value.reject(
                Problem::error(name.span(), format!("`{}` is built in", name.get_ref())).hint("give your own another name".to_owned()),
            );
        }
        let text = value.as_str().or_else(|| value.wrong("a regular expression"))?;
        match Pattern::new(name.get_ref(), text) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                // The crate draws a picture of several lines; its last says what is wrong.
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                value.reject(value.problem(format!("`{}` is no regular expression that can be used", name.get_ref())).label(why))
            }
        }
    });
    let entries: Vec<Option<Pattern>> = entries.collect();
    entries.into_iter().collect()
}

fn exempt(value: &Value<'_>) -> Option<Vec<String>> {
    let one = |item: &Value<'_>| {
        let text = item.as_str().or_else(|| item.wrong("text"))?;
        if text.matches('.').count() < 2 {
            let problem = item.problem("an exempt column is named with its schema and its table");
            return item.reject(problem.hint("exempt = [\"shop.orders.note\"]".to_owned()));
        }
        Some(text.to_owned())
    };
    let texts: Vec<Option<String>> = value.items()?.iter().map(one).collect();
    texts.into_iter().collect()
}
