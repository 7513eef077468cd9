//! `[job.NAME]`: what is backed up, how, to where, and what its dumps are called.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use toml::Spanned;

use crate::pipeline::manifest::{Compression, Format};
use crate::report::written::{Fields, FromToml, Value};

/// What is backed up, how and to where (G3).
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The name in the configuration; dumps belong to it by this name.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// Whether it is there.
    pub ensure: Ensure,
    /// The system that is dumped.
    pub system: String,
    /// The store the dump goes to.
    pub store: String,
    /// Whose keys open it: names in the configuration, at least one.
    pub keys: Vec<String>,
    /// How the bytes are laid out.
    pub format: Format,
    /// How they are compressed.
    pub compression: Compression,
    /// 1 (fast) to 9 (small).
    pub level: u32,
    /// What a dump is called.
    pub naming: Naming,
    /// A newest good dump older than this is an alarm.
    pub max_age: Option<SignedDuration>,
}

/// Whether a job is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ensure {
    /// By schedule and by hand.
    #[default]
    Present,
    /// By hand only.
    Disabled,
    /// As if it were not written; the name stays taken.
    Absent,
}

/// What a dump is called: made once in a run, from the moment the run began (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Stage,
    Job,
    /// For `strftime`.
    Time(String),
}

impl Naming {
    /// The object's name. `stage` is the environment's, `job` the job's name.
    pub fn name(&self, stage: &str, job: &str, at: Timestamp) -> String {
        let at = at.to_zoned(TimeZone::UTC);
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Stage => stage.to_owned(),
            Piece::Job => job.to_owned(),
            Piece::Time(format) => at.strftime(format).to_string(),
        };
        self.0.iter().map(piece).collect()
    }

    /// The rule for dumps of this format: `{stage}-{yyyyMMddHHmm}.sql.gz.gpg`.
    pub fn standard(format: Format) -> Self {
        let end = Piece::Text(suffix(format).to_owned());
        Naming(vec![Piece::Stage, Piece::Text("-".into()), Piece::Time("%Y%m%d%H%M".into()), end])
    }

    /// Reads `{stage}-{yyyyMMddHHmm}.sql.gz.gpg`, or says what is wrong with it.
    fn parse(text: &str, format: Format) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').ok_or("a `{` without its `}`")?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(match word {
                "stage" => Piece::Stage,
                "job" => Piece::Job,
                time => {
                    Piece::Time(strftime(time).ok_or_else(|| format!("`{{{time}}}` is neither stage, job nor a time like yyyyMMddHHmm"))?)
                }
            });
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        let is_minute =
            |piece: &Piece| matches!(piece, Piece::Time(format) if ["%Y", "%m", "%d", "%H", "%M"].iter().all(|part| format.contains(part)));
        if !pieces.iter().any(is_minute) {
            return Err("two dumps would have the same name: a time to the minute is missing".into());
        }
        if !text.ends_with(suffix(format)) {
            return Err(format!("people open a dump by its name: this one must end in `{}`", suffix(format)));
        }
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_./{}".contains(c));
        if text.contains(odd) || text.starts_with('/') || text.split('/').any(|part| part.is_empty() || part == "..") {
            return Err("letters, digits, `-`, `_`, `.` and `/` inside, so that every store and shell takes it".into());
        }
        Ok(Naming(pieces))
    }
}

/// `.sql.gz.gpg`: what has to be undone, from right to left.
fn suffix(format: Format) -> &'static str {
    match format {
        Format::Plain => ".sql.gz.gpg",
        Format::Custom => ".dump.gz.gpg",
    }
}

/// `yyyyMMddHHmm` in the words of strftime.
fn strftime(pattern: &str) -> Option<String> {
    let known = [
        ("yyyy", "%Y"),
        ("MM", "%m"),
        ("dd", "%d"),
        ("HH", "%H"),
        ("mm", "%M"),
        ("ss", "%S"),
        ("-", "-"),
        ("_", "_"),
        ("T", "T"),
        ("Z", "Z"),
    ];
    let mut format = String::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let (word, meaning) = known.iter().find(|(word, _)| rest.starts_with(word))?;
        format.push_str(meaning);
        rest = &rest[word.len()..];
    }
    format.contains('%').then_some(format)
}

/// The names a job uses, to be resolved when all tables are read.
pub(super) struct Uses {
    pub(super) system: Spanned<String>,
    pub(super) store: Spanned<String>,
    pub(super) keys: Vec<Spanned<String>>,
}

pub(super) fn job(name: String, fields: &mut Fields<'_>) -> Option<(Job, Uses)> {
    let title = fields.or("title", name.clone());
    let ensure = fields.take("ensure").and_then(|value| value.word(&ENSURE)).unwrap_or_default();
    let system: Option<Spanned<String>> = fields.required("system");
    let store: Option<Spanned<String>> = fields.required("store");
    let keys = fields.must("keys").and_then(|value| keys(&value));
    let format = fields.take("format").and_then(|value| value.word(&FORMATS)).unwrap_or_default();
    let compression = fields.take("compression").and_then(|value| value.word(&COMPRESSIONS)).unwrap_or_default();
    let level = fields.take("level").and_then(|value| level(&value)).unwrap_or(6);
    let naming = fields.take("name").and_then(|value| naming(&value, format)).unwrap_or_else(|| Naming::standard(format));
    let max_age = fields.optional("max_age");
    let uses = Uses { system: system?, store: store?, keys: keys? };
    let job = Job {
        name,
        title,
        ensure,
        system: uses.system.get_ref().clone(),
        store: uses.store.get_ref().clone(),
        keys: uses.keys.iter().map(|key| key.get_ref().clone()).collect(),
        format,
        compression,
        level,
        naming,
        max_age,
    };
    Some((job, uses))
}

const ENSURE: [(&str, Ensure); 3] = [("present", Ensure::Present), ("disabled", Ensure::Disabled), ("absent", Ensure::Absent)];
const COMPRESSIONS: [(&str, Compression); 1] = [("gzip", Compression::Gzip)];
const FORMATS: [(&str, Format); 2] = [("plain", Format::Plain), ("custom", Format::Custom)];

fn keys(value: &Value<'_>) -> Option<Vec<Spanned<String>>> {
    let keys: Vec<Spanned<String>> = FromToml::read(value.clone())?;
    if keys.is_empty() {
        return value.reject(value.problem("a dump that nobody's key opens, or that needs none, is no backup").label("needs a key"));
    }
    Some(keys)
}

fn level(value: &Value<'_>) -> Option<u32> {
    let level = u64::read(value.clone())?;
    let fits = u32::try_from(level).ok().filter(|level| (1..=9).contains(level));
    fits.or_else(|| value.reject(value.problem("gzip has levels 1 to 9")))
}

fn naming(value: &Value<'_>, format: Format) -> Option<Naming> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    let hint = || format!("name = \"{{stage}}-{{yyyyMMddHHmm}}{}\"", suffix(format));
    Naming::parse(text, format).map_err(|why| value.add(value.problem(why).hint(hint()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_called_by_the_minute_its_run_began_in_utc() {
        let at: Timestamp = "2026-11-21T04:05:59+01:00".parse().unwrap();
        assert_eq!(Naming::standard(Format::Plain).name("prod", "orders", at), "prod-202611210305.sql.gz.gpg");
        let own = Naming::parse("{job}/{yyyy-MM-dd}/{stage}_{yyyyMMddTHHmmssZ}.dump.gz.gpg", Format::Custom).unwrap();
        assert_eq!(own.name("prod", "orders", at), "orders/2026-11-21/prod_20261121T030559Z.dump.gz.gpg");
    }

    #[test]
    fn a_name_that_repeats_or_misleads_is_refused() {
        for (text, why) in [
            ("{stage}-{yyyyMMdd}.sql.gz.gpg", "same name"),
            ("{stage}-{yyyyMMddHHmm}.sql", "must end in"),
            ("{stage}-{YYYY}.sql.gz.gpg", "neither stage"),
            ("{stage-{yyyyMMddHHmm.sql.gz.gpg", "without its"),
            ("/{yyyyMMddHHmm}.sql.gz.gpg", "every store"),
            ("../{yyyyMMddHHmm}.sql.gz.gpg", "every store"),
            ("a b{yyyyMMddHHmm}.sql.gz.gpg", "every store"),
        ] {
            let error = Naming::parse(text, Format::Plain).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
