//! `[proof]`, and what a job says of the proof of its dumps: `prove` and `[[job.NAME.assert]]`.

use std::path::PathBuf;

use super::read::Reading;
use crate::pipeline::manifest::Level;
use crate::report::written::{Fields, FromToml, Value};
use crate::system::postgres::assertion::Assertion;

/// Where dumps are restored to be looked at, and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proving {
    /// Throwaway servers are made in this directory; in the system's one for temporary files where none is named.
    pub path: Option<PathBuf>,
    /// Where the programs of further major versions are: servers and clients.
    pub bin: Vec<PathBuf>,
    /// Settings of these servers, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl Proving {
    /// The directory that throwaway servers are made in.
    pub fn directory(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(std::env::temp_dir)
    }
}

pub(super) fn proving(fields: &mut Fields<'_>, reading: &Reading) -> Proving {
    let path = fields.take("path").and_then(|value| reading.path(&value));
    let bin = fields.take("bin").and_then(|value| directories(&value, reading)).unwrap_or_default();
    let settings = fields.take("settings").and_then(|value| settings(&value)).unwrap_or_default();
    Proving { path, bin, settings }
}

/// One directory or several.
fn directories(value: &Value<'_>, reading: &Reading) -> Option<Vec<PathBuf>> {
    let items = if value.is_array() { value.items()? } else { vec![value.clone()] };
    let paths: Vec<Option<PathBuf>> = items.iter().map(|item| reading.path(item)).collect();
    paths.into_iter().collect()
}

fn settings(value: &Value<'_>) -> Option<Vec<(String, String)>> {
    value.table(|fields| {
        let one = |(name, value): (toml::Spanned<String>, Value<'_>)| {
            let text = value.scalar()?;
            let fits = !text.contains(char::is_control) && name.get_ref().chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
            if !fits {
                return value.reject(value.problem("no setting of postgresql.conf"));
            }
            Some((name.into_inner(), text))
        };
        let settings: Vec<Option<(String, String)>> = fields.all().into_iter().map(one).collect();
        settings.into_iter().collect()
    })
}

/// What a job says: how far each dump is proven in the run that makes it, and what must hold of the data at L6.
pub(super) fn demands(fields: &mut Fields<'_>) -> (Option<Level>, Vec<Assertion>) {
    let asserts = fields.take("assert").map(|value| assertions(&value));
    let written = fields.take("prove");
    let prove = written.as_ref().and_then(|value| value.word(&Level::ALL));
    // Where the assertions are wrong, that is what is told.
    let has_none = asserts.as_ref().is_none_or(|asserts| asserts.as_ref().is_some_and(Vec::is_empty));
    if let (Some(Level::L6), Some(value), true) = (prove, &written, has_none) {
        let problem = value.problem("L6 proves the job's own assertions, and it has none");
        value.add(problem.hint("[[job.NAME.assert]]\n    title = \"…\"\n    query = \"SELECT …\"".to_owned()));
    }
    (prove, asserts.flatten().unwrap_or_default())
}

/// What must hold of data, of a job and of a pull alike.
pub(super) fn assertions(value: &Value<'_>) -> Option<Vec<Assertion>> {
    let read: Vec<Option<Assertion>> = value.items()?.iter().map(|item| item.table(assertion)).collect();
    read.into_iter().collect()
}

fn assertion(fields: &mut Fields<'_>) -> Option<Assertion> {
    let title = fields.must("title").and_then(|value| line(&value));
    let query = fields.must("query").and_then(|value| query(&value));
    let equals = fields.take("equals").and_then(|value| value.scalar());
    Some(Assertion { title: title?, query: query?, equals })
}

fn line(value: &Value<'_>) -> Option<String> {
    let text = String::read(value.clone())?;
    let fits = !text.trim().is_empty() && text.chars().count() <= 200 && !text.contains(char::is_control);
    if fits { Some(text) } else { value.reject(value.problem("a title is one line of up to 200 characters")) }
}

fn query(value: &Value<'_>) -> Option<String> {
    let text = String::read(value.clone())?;
    let first = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let is_query = |word: &&str| first == **word || first.starts_with(&format!("{word}("));
    if first.starts_with('(') || ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(is_query) {
        return Some(text.trim().to_owned());
    }
    let problem = value.problem("an assertion is one query; without `equals`, each row it gives is one that offends");
    value.reject(problem.hint("query = \"SELECT id FROM customers WHERE email !~ '@example.org$'\"".to_owned()))
}
