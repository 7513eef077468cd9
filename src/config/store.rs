//! `[store.NAME]`: where dumps are kept.

use super::read::Reading;
use crate::report::written::{Fields, FromToml, Value};
use crate::store::s3::{Checksum, Credentials};
use crate::store::{local, s3};

const MIB: u64 = 1 << 20;

/// Where dumps are kept. A new store is a new file in `store` and a line here.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// S3, or what speaks like it.
    S3(s3::Settings),
    /// A directory.
    Local(local::Settings),
}

pub(super) fn store(fields: &mut Fields<'_>, reading: &Reading) -> Option<Store> {
    let is_s3 = fields.must("kind").and_then(|kind| kind.word(&[("s3", true), ("local", false)]));
    match is_s3 {
        Some(true) => s3(fields, reading).map(Store::S3),
        Some(false) => {
            let path = fields.must("path").and_then(|value| reading.path(&value));
            Some(Store::Local(local::Settings { path: path? }))
        }
        None => {
            // Whatever it was meant to be, its keys are not unknown.
            let keys =
                ["path", "bucket", "prefix", "endpoint", "region", "path_style", "credentials", "checksum", "part_size", "concurrency"];
            fields.mention(&keys);
            None
        }
    }
}

fn s3(fields: &mut Fields<'_>, reading: &Reading) -> Option<s3::Settings> {
    let bucket = fields.required("bucket");
    let prefix = fields.take("prefix").and_then(|value| prefix(&value)).unwrap_or_default();
    let endpoint = fields.take("endpoint").and_then(|value| endpoint(&value));
    let region = fields.optional("region");
    let path_style = fields.or("path_style", endpoint.is_some());
    let credentials = fields.take("credentials").and_then(|value| credentials(&value, reading)).unwrap_or(Credentials::Default);
    let checksum = fields.take("checksum").and_then(|value| value.word(&CHECKSUMS)).unwrap_or_default();
    let part_size = fields.take("part_size").and_then(|value| part_size(&value)).unwrap_or(8 * MIB);
    let concurrency = fields.take("concurrency").and_then(|value| concurrency(&value)).unwrap_or(4);
    Some(s3::Settings { bucket: bucket?, prefix, endpoint, region, path_style, credentials, checksum, part_size, concurrency })
}

const CHECKSUMS: [(&str, Checksum); 2] = [("crc32", Checksum::Crc32), ("none", Checksum::None)];

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
