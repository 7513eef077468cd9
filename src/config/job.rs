//! `[job.NAME]`: what is backed up, how, to where, and what its dumps are called.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::proof::demands;
use super::retention::{replica_retention, retention};
use crate::pipeline::lease::record::{LENGTH, LONGEST};
use crate::pipeline::manifest::{Compression, Format, Level, ending};
use crate::pipeline::retention::Policy;
use crate::report::written::{Fields, FromToml, Value};
use crate::system::postgres::assertion::Assertion;
use crate::system::postgres::databases::{Selection, is_pattern, means};

/// A lease shorter than this would be lost by a store that is slow for a moment.
const SHORTEST: Duration = Duration::from_secs(5);

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
    /// From fast to small, one of [`Compression::levels`].
    pub level: u32,
    /// Which databases of the system are dumped; the system's own where none is given.
    pub databases: Option<Selection>,
    /// Whether the server's roles and tablespaces are dumped too, and how.
    pub globals: Option<Globals>,
    /// The dumps carry owners and rights, and their manifests those of the database itself.
    pub access: bool,
    /// What a dump is called.
    pub naming: Naming,
    /// A newest good dump older than this is an alarm.
    pub max_age: Option<SignedDuration>,
    /// How far each dump is proven in the run that makes it; not at all where nothing is said.
    pub prove: Option<Level>,
    /// What must hold of the data for L6.
    pub asserts: Vec<Assertion>,
    /// How long its dumps stay; for ever where none is given.
    pub retention: Option<Policy>,
    /// How long they stay in the replica of its store, likewise.
    pub replica_retention: Option<Policy>,
    /// How long the lease on its database holds when nobody renews it.
    pub lease: Duration,
}

impl Job {
    /// It may give more than one dump in a run: they are a group, and each has its database in its name.
    pub fn is_grouped(&self) -> bool {
        self.databases.is_some() || self.globals.is_some()
    }

    /// What its dump of `database` (none: the globals) is called, from the moment the run began.
    pub fn object(&self, stage: &str, database: Option<&str>, at: Timestamp) -> String {
        let word = database.map_or_else(|| GLOBALS.to_owned(), word_for);
        let name = self.naming.name(stage, &self.name, &word, at);
        match (database, name.strip_suffix(ending(self.format, self.compression))) {
            (None, Some(start)) => format!("{start}{}", ending(Format::Globals, self.compression)),
            _ => name,
        }
    }
}

/// How the roles and tablespaces of a server are dumped (R1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Globals {
    /// With the hashes of passwords, which only a superuser can read.
    pub role_passwords: bool,
}

/// What `{database}` is for the globals of a server. No database has this word.
const GLOBALS: &str = "globals";

/// Longest word for a database in a key.
const WORD: usize = 96;

/// The word for a database in a key: letters, digits, `-` and `_` are themselves, every other byte is `.` and its two hex digits. No two
/// databases have the same word: one too long for a key ends in `.x` and a hash, and one called `globals` is spelled `global.73`.
fn word_for(database: &str) -> String {
    if database == GLOBALS {
        return "global.73".into();
    }
    let mut word = String::new();
    for byte in database.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            word.push(char::from(byte));
        } else {
            word.push('.');
            word.push_str(&hex::encode([byte]));
        }
    }
    if word.len() > WORD {
        let hash = &hex::encode(Sha256::digest(database))[..32];
        word.truncate(WORD - hash.len() - 2);
        // A cut within `.c3` leaves something that no other word has either: what follows decides.
        word = format!("{word}.x{hash}");
    }
    word
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
    Database,
    /// For `strftime`.
    Time(String),
}

impl Naming {
    /// The object's name. `stage` is the environment's, `job` the job's name, `database` the word for a database.
    fn name(&self, stage: &str, job: &str, database: &str, at: Timestamp) -> String {
        let at = at.to_zoned(TimeZone::UTC);
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Stage => stage.to_owned(),
            Piece::Job => job.to_owned(),
            Piece::Database => database.to_owned(),
            Piece::Time(format) => at.strftime(format).to_string(),
        };
        self.0.iter().map(piece).collect()
    }

    /// The rule for dumps laid out and compressed so: `{stage}-{yyyyMMddHHmm}.sql.gz.gpg`, with `{database}-` after the stage where there may
    /// be several.
    fn standard(ending: &str, grouped: bool) -> Self {
        let dash = || Piece::Text("-".into());
        let which = if grouped { vec![Piece::Database, dash()] } else { Vec::new() };
        let end = [Piece::Time("%Y%m%d%H%M".into()), Piece::Text(ending.to_owned())];
        Naming([Piece::Stage, dash()].into_iter().chain(which).chain(end).collect())
    }

    /// Reads `{stage}-{yyyyMMddHHmm}.sql.gz.gpg`, or says what is wrong with it.
    fn parse(text: &str, ending: &str, grouped: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').ok_or("a `{` without its `}`")?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(match word {
                "stage" => Piece::Stage,
                "job" => Piece::Job,
                "database" => Piece::Database,
                time => Piece::Time(
                    strftime(time).ok_or_else(|| format!("`{{{time}}}` is neither stage, job, database nor a time like yyyyMMddHHmm"))?,
                ),
            });
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        let is_minute =
            |piece: &Piece| matches!(piece, Piece::Time(format) if ["%Y", "%m", "%d", "%H", "%M"].iter().all(|part| format.contains(part)));
        if !pieces.iter().any(is_minute) {
            return Err("two dumps would have the same name: a time to the minute is missing".into());
        }
        if grouped && !pieces.contains(&Piece::Database) {
            return Err("the dumps of one run would have the same name: `{database}` is missing".into());
        }
        if !text.ends_with(ending) {
            return Err(format!("people open a dump by its name: this one must end in `{ending}`"));
        }
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_./{}".contains(c));
        if text.contains(odd) || text.starts_with('/') || text.split('/').any(|part| part.is_empty() || part == "..") {
            return Err("letters, digits, `-`, `_`, `.` and `/` inside, so that every store and shell takes it".into());
        }
        Ok(Naming(pieces))
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
    let level = fields.take("level").and_then(|value| level(&value, compression)).unwrap_or(compression.default_level());
    let databases = databases(fields);
    let globals = globals(fields);
    if let (Some((value, Some(selection))), None) = (&databases, &globals)
        && selection.wanted.is_empty()
    {
        value.add(value.problem("a job that dumps nothing").hint("databases = [\"*\"], or globals = true".to_owned()));
    }
    let grouped = databases.is_some() || globals.is_some();
    let ending = ending(format, compression);
    let naming = fields.take("name").and_then(|value| naming(&value, ending, grouped)).unwrap_or_else(|| Naming::standard(ending, grouped));
    let databases = databases.map(|(_, selection)| selection.unwrap_or_default());
    let access = fields.take("access").and_then(|value| value.word(&ACCESS)).unwrap_or_default();
    let max_age = fields.optional("max_age");
    let replica_retention = fields.take("replica_retention").and_then(|value| replica_retention(&value));
    let (prove, asserts) = demands(fields);
    let retention = fields.take("retention").and_then(|value| retention(&value));
    let lease = fields.take("lease").and_then(|value| lease(&value)).unwrap_or(LENGTH);
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
        databases,
        globals,
        access,
        naming,
        max_age,
        prove,
        asserts,
        retention,
        replica_retention,
        lease,
    };
    Some((job, uses))
}

const ENSURE: [(&str, Ensure); 3] = [("present", Ensure::Present), ("disabled", Ensure::Disabled), ("absent", Ensure::Absent)];
const COMPRESSIONS: [(&str, Compression); 2] =
    [(Compression::Gzip.word(), Compression::Gzip), (Compression::Zstd.word(), Compression::Zstd)];
/// Nothing unless it is wanted, in both formats: what a restore needs must not change with how bytes are laid out.
const ACCESS: [(&str, bool); 2] = [("none", false), ("recorded", true)];
const FORMATS: [(&str, Format); 2] = [("plain", Format::Plain), ("custom", Format::Custom)];

fn keys(value: &Value<'_>) -> Option<Vec<Spanned<String>>> {
    let keys: Vec<Spanned<String>> = FromToml::read(value.clone())?;
    if keys.is_empty() {
        return value.reject(value.problem("a dump that nobody's key opens, or that needs none, is no backup").label("needs a key"));
    }
    Some(keys)
}

fn level(value: &Value<'_>, compression: Compression) -> Option<u32> {
    let level = u64::read(value.clone())?;
    let levels = compression.levels();
    let fits = u32::try_from(level).ok().filter(|level| levels.contains(level));
    let words = || format!("{} has levels {} to {}", compression.word(), levels.start(), levels.end());
    fits.or_else(|| value.reject(value.problem(words())))
}

/// Long enough to be renewed in, short enough to be waited for.
fn lease(value: &Value<'_>) -> Option<Duration> {
    let length = Duration::try_from(SignedDuration::read(value.clone())?).ok();
    let fits = length.filter(|length| (SHORTEST..=LONGEST).contains(length));
    fits.or_else(|| value.reject(value.problem("a lease holds for 5 seconds to 24 hours").hint("lease = \"10m\"".to_owned())))
}

/// `databases` and `exclude`; the first with its place, also where it is wrong.
fn databases<'a>(fields: &mut Fields<'a>) -> Option<(Value<'a>, Option<Selection>)> {
    let wanted = fields.take("databases");
    let exclude = fields.take("exclude");
    let Some(wanted) = wanted else {
        if let Some(exclude) = exclude {
            let problem = exclude.problem("there is nothing to exclude from: the system's one database is what is dumped");
            exclude.add(problem.hint("databases = [\"*\"]".to_owned()));
        }
        return None;
    };
    let names = |value: &Value<'_>| {
        let items: Vec<Option<String>> = value.items()?.iter().map(name_or_pattern).collect();
        items.into_iter().collect::<Option<Vec<String>>>()
    };
    let excluded = exclude.as_ref().map_or(Some(Vec::new()), names);
    let selection = names(&wanted).zip(excluded).map(|(wanted, exclude)| Selection { wanted, exclude });
    if let (Some(selection), Some(place)) = (&selection, &exclude) {
        for name in selection.wanted.iter().filter(|name| !is_pattern(name)) {
            if let Some(pattern) = selection.exclude.iter().find(|pattern| means(pattern, name)) {
                place.add(place.problem(format!("`{name}` is wanted by its name and excluded by `{pattern}`")));
            }
        }
    }
    Some((wanted, selection))
}

/// PostgreSQL's names have 63 bytes at most; patterns need no more.
fn name_or_pattern(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if text.is_empty() || text.len() > 255 || text.contains(char::is_control) {
        return value.reject(value.problem("empty, too long, or with control characters"));
    }
    Some(text.to_owned())
}

fn globals(fields: &mut Fields<'_>) -> Option<Globals> {
    let wanted = fields.or("globals", false);
    let passwords = fields.take("role_passwords");
    let role_passwords = passwords.clone().and_then(bool::read).unwrap_or_default();
    if let (false, true, Some(value)) = (wanted, role_passwords, passwords) {
        value.add(value.problem("roles are not dumped at all").hint("globals = true".to_owned()));
    }
    wanted.then_some(Globals { role_passwords })
}

fn naming(value: &Value<'_>, ending: &str, grouped: bool) -> Option<Naming> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    let which = if grouped { "{database}-" } else { "" };
    let hint = || format!("name = \"{{stage}}-{which}{{yyyyMMddHHmm}}{ending}\"");
    Naming::parse(text, ending, grouped).map_err(|why| value.add(value.problem(why).hint(hint()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_called_by_the_minute_its_run_began_in_utc() {
        let at: Timestamp = "2026-11-21T04:05:59+01:00".parse().unwrap();
        assert_eq!(Naming::standard(".sql.gz.gpg", false).name("prod", "orders", "shop", at), "prod-202611210305.sql.gz.gpg");
        let own = Naming::parse("{job}/{yyyy-MM-dd}/{stage}_{yyyyMMddTHHmmssZ}.dump.gz.gpg", ".dump.gz.gpg", false).unwrap();
        assert_eq!(own.name("prod", "orders", "shop", at), "orders/2026-11-21/prod_20261121T030559Z.dump.gz.gpg");
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
            let error = Naming::parse(text, ".sql.gz.gpg", false).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    // D2, R1
    #[test]
    fn dumps_of_several_databases_have_the_database_in_their_names() {
        let at: Timestamp = "2026-11-21T03:05:59Z".parse().unwrap();
        assert_eq!(Naming::standard(".sql.gz.gpg", true).name("prod", "all", "shop", at), "prod-shop-202611210305.sql.gz.gpg");
        let error = Naming::parse("{stage}-{yyyyMMddHHmm}.sql.gz.gpg", ".sql.gz.gpg", true).unwrap_err();
        assert!(error.contains("`{database}` is missing"), "{error}");
    }

    #[test]
    fn no_two_databases_have_the_same_word_in_a_key() {
        assert_eq!(word_for("Shop_2-a"), "Shop_2-a");
        assert_eq!(word_for("a.b c/d"), "a.2eb.20c.2fd");
        let long = |end: &str| "ä".repeat(30) + end;
        let names = ["globals", "global.73", "Globals", "a.b", "a_b", "a.2eb", "ä", ".c3.a4", "..", &long("a"), &long("b"), &long("")]
            .map(str::to_owned);
        let words: std::collections::BTreeSet<String> = names.iter().map(|name| word_for(name)).chain([GLOBALS.into()]).collect();
        assert_eq!(words.len(), names.len() + 1, "{words:?}");
        for word in words {
            assert!(word.len() <= WORD && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{word}");
        }
    }
}
