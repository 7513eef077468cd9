//! What earlier dumps lead one to expect: a dump that is whole and nearly empty is what a broken job makes every night (trap 13).

use super::manifest::Manifest;

/// A dump has to be at least this share of the median of those before it.
const SHRUNK: f64 = 0.5;

/// Fewer earlier dumps than this are no history.
const LEAST: usize = 3;

/// More than this are not looked at: data changes.
const MOST: usize = 10;

/// What is suspicious about `dump` in the light of `earlier` dumps, newest first: its size or its rows fell below half of what is usual.
/// Only dumps of the same database in the same format are compared. Once a few dumps agree, the new size is the usual one.
pub fn shrunk<'a>(dump: &Manifest, earlier: impl Iterator<Item = &'a Manifest>) -> Option<String> {
    let alike = |other: &&Manifest| other.origin.database == dump.origin.database && other.format == dump.format;
    let earlier: Vec<&Manifest> = earlier.filter(alike).take(MOST).collect();
    if earlier.len() < LEAST {
        return None;
    }
    let fell = |what: &str, of: fn(&Manifest) -> u64| {
        let (now, usual) = (of(dump), median(earlier.iter().map(|manifest| of(manifest))));
        is_less(now, usual).then(|| format!("it has {now} {what} where those before it had {usual}"))
    };
    fell("rows", Manifest::rows).or_else(|| fell("bytes", |manifest| manifest.plain.bytes))
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a share, compared with a half")]
fn is_less(now: u64, usual: u64) -> bool {
    (now as f64) < usual as f64 * SHRUNK
}
