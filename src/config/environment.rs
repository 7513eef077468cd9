//! `[environment]` and `[key.NAME]`: where we are, and who can open a dump.

use std::path::PathBuf;

use super::read::Reading;
use crate::report::written::{Fields, Value};
use crate::system::secret::Secret;

/// Long enough for whatever is missing in a restored database to be missed.
const KEEP_REPLACED: u16 = 7;

/// Where we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// What people call it.
    pub name: String,
    /// Real users depend on it; a drill refuses it.
    pub production: bool,
    /// The short word in the names of dumps; the name where none is given.
    pub stage: String,
    /// Who is called, as lines to show.
    pub contacts: Vec<String>,
    /// How many days a database is kept that a swap put aside.
    pub keep_replaced: u16,
    /// What the live server must answer when it is asked who it is.
    pub fingerprint: Option<Fingerprint>,
}

/// Who a PostgreSQL server is, whatever its host is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// `pg_control`'s system identifier, decimal.
    pub system_identifier: String,
    /// The live database, where that matters.
    pub database: Option<String>,
}

/// Who can open a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name in the configuration.
    pub name: String,
    /// Files with public keys, armored or binary; at least one.
    pub public: Vec<PathBuf>,
    /// Where the private half comes from; without it dumps can be made and not opened.
    pub secret: Option<Secret>,
    /// What opens the private half.
    pub passphrase: Option<Secret>,
}

pub(super) fn environment(fields: &mut Fields<'_>) -> Option<Environment> {
    let name: Option<String> = fields.required("name");
    let production = fields.required("production");
    let stage = fields.take("stage").and_then(|value| stage(&value));
    let contacts = fields.or("contacts", Vec::new());
    let keep_replaced = fields.take("keep_replaced").and_then(|value| keep(&value)).unwrap_or(KEEP_REPLACED);
    let fingerprint = fields.take("fingerprint").and_then(|value| value.table(fingerprint));
    let name = name?;
    Some(Environment { production: production?, stage: stage.unwrap_or_else(|| name.clone()), contacts, keep_replaced, fingerprint, name })
}

/// `7d`, `2w`: a number of days.
pub fn days(text: &str) -> Option<u16> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "d" => 1,
        "w" => 7,
        _ => return None,
    };
    number.parse::<u16>().ok()?.checked_mul(factor)
}

fn keep(value: &Value<'_>) -> Option<u16> {
    let text = value.as_str().or_else(|| value.wrong("a number of days, like \"7d\" or \"2w\""))?;
    days(text).or_else(|| value.reject(value.problem("whole days or weeks").hint("keep_replaced = \"7d\"".to_owned())))
}

fn stage(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let problem = || value.problem("a stage is a part of a file's name").hint("letters, digits, `-` and `_`".to_owned());
    if fits { Some(text.to_owned()) } else { value.reject(problem()) }
}

fn fingerprint(fields: &mut Fields<'_>) -> Option<Fingerprint> {
    let identifier = fields.must("system_identifier").and_then(|value| {
        let text = value.scalar()?;
        let hint = "psql -Atc 'SELECT system_identifier FROM pg_control_system()'".to_owned();
        let fits = text.parse::<u64>().is_ok();
        if fits { Some(text) } else { value.reject(value.problem("a system identifier is a number").hint(hint)) }
    });
    let database = fields.optional("database");
    Some(Fingerprint { system_identifier: identifier?, database })
}

pub(super) fn key(name: String, fields: &mut Fields<'_>, reading: &Reading) -> Option<Key> {
    let public = fields.must("public").and_then(|value| {
        let paths: Vec<Option<PathBuf>> = value.items()?.iter().map(|item| reading.path(item)).collect();
        if paths.is_empty() {
            return value.reject(value.problem("a key without a public half encrypts nothing"));
        }
        paths.into_iter().collect::<Option<Vec<_>>>()
    });
    let secret = fields.take("secret").and_then(|value| reading.secret(&value, &["file", "command"]));
    let passphrase = fields.take("passphrase").and_then(|value| reading.secret(&value, &["file", "command", "env"]));
    Some(Key { name, public: public?, secret, passphrase })
}
