//! `[store.NAME]`: where dumps are kept.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use toml::Spanned;

use super::read::Reading;
use crate::report::written::{Fields, FromToml, Value};
use crate::store::s3::{Checksum, Conditional, Credentials, Encryption, Lock, LockMode};
use crate::store::{local, s3};
use crate::system::secret::Secret;

const MIB: u64 = 1 << 20;

/// Where dumps are kept. A new store is a new file in `store` and a line here.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// S3, or what speaks like it.
    S3(s3::Settings),
    /// A directory.
    Local(local::Settings),
    /// S3 by a ticket that somebody with rights made.
    Post(Post),
}

/// A store that is only written to, by ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Where the ticket comes from.
    pub ticket: Secret,
    /// The directory where a dump waits, encrypted, until its length is known; the system's own where none is named.
    pub spool: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    S3,
    Local,
    Post,
}

/// What is said of a store beyond how it is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Promise {
    /// What its credentials may do, proven by `check --online`.
    pub rights: Rights,
    /// The store that has a copy of everything, by its name.
    pub replica: Option<String>,
    /// How long a dump may be missing there.
    pub replica_lag: SignedDuration,
}

/// What the credentials of a store may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rights {
    /// Put, get, list, delete.
    #[default]
    Full,
    /// Put, get, list; never delete (D9).
    WriteOnce,
}

/// What is said of any kind of store; where `replica` was written, to be resolved when all tables are read.
pub(super) fn promise(fields: &mut Fields<'_>) -> (Promise, Option<Spanned<String>>) {
    let rights = fields.take("rights").and_then(|value| value.word(&[("full", Rights::Full), ("write-once", Rights::WriteOnce)]));
    let replica: Option<Spanned<String>> = fields.optional("replica");
    let lag = fields.or("replica_lag", SignedDuration::from_hours(1));
    let name = replica.as_ref().map(|name| name.get_ref().clone());
    (Promise { rights: rights.unwrap_or_default(), replica: name, replica_lag: lag }, replica)
}

pub(super) fn store(fields: &mut Fields<'_>, reading: &Reading) -> Option<Store> {
    let kind = fields.must("kind").and_then(|kind| kind.word(&[("s3", Kind::S3), ("local", Kind::Local), ("post", Kind::Post)]));
    match kind {
        Some(Kind::S3) => s3(fields, reading).map(Store::S3),
        Some(Kind::Post) => {
            let ticket = fields.must("ticket").and_then(|value| reading.secret(&value, &["file", "command", "env"]));
            let spool = fields.take("spool").and_then(|value| reading.path(&value));
            Some(Store::Post(Post { ticket: ticket?, spool }))
        }
        Some(Kind::Local) => {
            let path = fields.must("path").and_then(|value| reading.path(&value));
            Some(Store::Local(local::Settings { path: path? }))
        }
        None => {
            // Whatever it was meant to be, its keys are not unknown.
            fields.mention(&KEYS);
            None
        }
    }
}

fn s3(fields: &mut Fields<'_>, reading: &Reading) -> Option<s3::Settings> {
    let bucket = fields.required::<String>("bucket");
    let prefix = fields.take("prefix").and_then(|value| prefix(&value)).unwrap_or_default();
    let endpoint = fields.take("endpoint").and_then(|value| endpoint(&value));
    let region = fields.optional("region");
    let path_style = fields.or("path_style", endpoint.is_some());
    let credentials = fields.take("credentials").and_then(|value| credentials(&value, reading)).unwrap_or(Credentials::Default);
    let checksum = fields.take("checksum").and_then(|value| value.word(&CHECKSUMS)).unwrap_or_default();
    let part_size = fields.take("part_size").and_then(|value| part_size(&value)).unwrap_or(8 * MIB);
    let concurrency = fields.take("concurrency").and_then(|value| concurrency(&value)).unwrap_or(4);
    let storage_class = fields.take("storage_class").and_then(|value| storage_class(&value));
    let encryption = fields.take("encryption").and_then(|value| encryption(&value));
    let lock_value = fields.take("lock");
    let lock = lock_value.as_ref().and_then(lock);
    if let Some(value) = lock_value.filter(|_| lock.is_some() && checksum == Checksum::None) {
        value.add(value.problem("S3 locks no object that comes without a checksum").hint("checksum = \"crc32\"".to_owned()));
    }
    let conditional = fields.take("conditional").and_then(|value| value.word(&CONDITIONALS)).unwrap_or_default();
    let attempts = fields.take("attempts").and_then(|value| attempts(&value));
    let stuck_after = fields.take("stuck_after").and_then(|value| stuck_after(&value));
    let plain = s3::Settings::of(bucket?);
    Some(s3::Settings {
        prefix,
        endpoint,
        region,
        path_style,
        credentials,
        checksum,
        part_size,
        concurrency,
        storage_class,
        encryption,
        lock,
        conditional,
        attempts: attempts.unwrap_or(plain.attempts),
        stuck_after: stuck_after.unwrap_or(plain.stuck_after),
        ..plain
    })
}

/// Of a store of any kind.
const KEYS: [&str; 21] = [
    "ticket",
    "spool",
    "rights",
    "replica",
    "replica_lag",
    "path",
    "bucket",
    "prefix",
    "endpoint",
    "region",
    "path_style",
    "credentials",
    "checksum",
    "part_size",
    "concurrency",
    "storage_class",
    "encryption",
    "lock",
    "conditional",
    "attempts",
    "stuck_after",
];

const CHECKSUMS: [(&str, Checksum); 2] = [("crc32", Checksum::Crc32), ("none", Checksum::None)];

const CONDITIONALS: [(&str, Conditional); 3] = [("probe", Conditional::Probe), ("yes", Conditional::Yes), ("no", Conditional::No)];

/// Any word: stores of one's own have classes of their own. Those that must be thawed first are of no use: a dump nobody can read is not proven.
fn storage_class(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if ["GLACIER", "DEEP_ARCHIVE"].contains(&text) {
        let problem = value.problem(format!("what is stored as {text} cannot be read for hours: neither proven nor restored"));
        let hint = "\"GLACIER_IR\" can be; a lifecycle rule of the bucket may move old dumps on";
        return value.reject(problem.hint(hint.to_owned()));
    }
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
        let upper = text.to_ascii_uppercase().replace('-', "_");
        return value.reject(value.problem("no storage class").hint(format!("as S3 spells it: \"{}\"", upper.escape_debug())));
    }
    Some(text.to_owned())
}

/// `"AES256"`, `"aws:kms"` or `{ kms = "key" }`.
fn encryption(value: &Value<'_>) -> Option<Encryption> {
    if value.is_table() {
        return value.table(|fields| fields.required("kms")).map(|key| Encryption::Kms(Some(key)));
    }
    value.word(&[("AES256", Encryption::Aes256), ("aws:kms", Encryption::Kms(None))])
}

fn lock(value: &Value<'_>) -> Option<Lock> {
    value.table(|fields| {
        let mode =
            fields.must("mode").and_then(|mode| mode.word(&[("governance", LockMode::Governance), ("compliance", LockMode::Compliance)]));
        let days = fields.must("days").and_then(|days| {
            let number = u64::read(days.clone())?;
            let fits = u32::try_from(number).ok().filter(|number| (1..=36_500).contains(number));
            fits.or_else(|| days.reject(days.problem("a lock lasts 1 to 36500 days")))
        });
        Some(Lock { mode: mode?, days: days? })
    })
}

fn attempts(value: &Value<'_>) -> Option<u32> {
    let number = u64::read(value.clone())?;
    let fits = u32::try_from(number).ok().filter(|number| (1..=20).contains(number));
    fits.or_else(|| value.reject(value.problem("1 to 20 attempts").label("with growing pauses in between")))
}

fn stuck_after(value: &Value<'_>) -> Option<Duration> {
    let time = jiff::SignedDuration::read(value.clone())?;
    let fits = Duration::try_from(time).ok().filter(|time| (Duration::from_secs(5)..=Duration::from_hours(1)).contains(time));
    fits.or_else(|| value.reject(value.problem("from 5 seconds to an hour").hint("stuck_after = \"60s\"".to_owned())))
}

/// Ends in `/`, so that `app` never means `app-staging` too.
fn prefix(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") || text.contains(char::is_control) {
        return value.reject(value.problem("a prefix begins with a name").hint("prefix = \"orders/\"".to_owned()));
    }
    Some(if text.is_empty() || text.ends_with('/') { text.to_owned() } else { format!("{text}/") })
}

fn endpoint(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if host.contains('@') => {
            value.conceal();
            let problem = value.problem("credentials in an address are shown wherever the address is");
            value.reject(problem.hint("credentials = { file = \"…\" }".to_owned()))
        }
        Some(host) if !host.is_empty() => Some(text.trim_end_matches('/').to_owned()),
        _ => value.reject(value.problem("no address of a service").hint("endpoint = \"https://s3.example.org\"".to_owned())),
    }
}

fn credentials(value: &Value<'_>, reading: &Reading) -> Option<Credentials> {
    if value.as_str() == Some("default") {
        return Some(Credentials::Default);
    }
    if !value.is_table() {
        value.conceal();
        let problem = value.problem("`credentials` say where the rights come from, not what they are");
        return value.reject(problem.hint("\"default\", { profile = \"…\" } or { file = \"…\" }".to_owned()));
    }
    value.table(|fields| match fields.one_of("kind of credentials", &["profile", "file"])? {
        ("profile", value) => String::read(value).map(Credentials::Profile),
        (_, value) => reading.path(&value).map(Credentials::File),
    })
}

fn part_size(value: &Value<'_>) -> Option<u64> {
    let size = bytes(value)?;
    if !(5 * MIB..=5120 * MIB).contains(&size) {
        return value.reject(value.problem("S3 takes parts of 5 MiB to 5 GiB").hint("part_size = \"16 MiB\"".to_owned()));
    }
    Some(size)
}

/// `16 MiB`, `1 GB`, or a number of bytes.
fn bytes(value: &Value<'_>) -> Option<u64> {
    let Some(text) = value.as_str() else { return u64::read(value.clone()) };
    let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = text.trim()[digits.len()..].trim();
    let factor = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(MIB),
        "GiB" => Some(1 << 30),
        "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        _ => None,
    };
    let size = factor.and_then(|factor: u64| digits.parse::<u64>().ok()?.checked_mul(factor));
    size.or_else(|| value.reject(value.problem("no size").hint("like \"16 MiB\"".to_owned())))
}

fn concurrency(value: &Value<'_>) -> Option<usize> {
    let number = u64::read(value.clone())?;
    let fits = usize::try_from(number).ok().filter(|number| (1..=64).contains(number));
    fits.or_else(|| value.reject(value.problem("1 to 64 parts in flight").label("each is held in memory")))
}
