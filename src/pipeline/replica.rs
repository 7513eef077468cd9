//! Whether a second store has what the first one has (D7): by manifests, with a stated lag, and complete listings or none.
//!
//! Replication that silently stopped is the oldest trap here: a replica is fresh when it was seen to be, never because nothing was said.

use std::io::{self, Read};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::catalogue::{self, Listing};
use super::manifest::{Dump, MANIFEST_SUFFIX, Manifest};
use crate::port::{Context, Store, Stream};
use crate::report::{Explain, Report, Result};

/// How a replica stands against its primary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Dumps that are there, whole as far as a listing shows: manifest, size, the same hash of record.
    pub present: usize,
    /// The newest of them.
    pub newest: Option<String>,
    /// Dumps that are not there yet and need not be.
    pub waiting: Vec<Lack>,
    /// Dumps that should be there.
    pub stale: Vec<Lack>,
}

/// A dump the replica does not have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lack {
    /// Its name.
    pub dump: String,
    /// The job that made it.
    pub job: String,
    /// When the primary had it.
    pub since: Timestamp,
    /// What is wrong with it there; none where it is simply not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Comparison {
    /// Nothing is missing that should be there.
    pub fn is_fresh(&self) -> bool {
        self.stale.is_empty()
    }
}

/// Compares two stores. A listing that is not complete is an error, never an empty replica and never a fresh one (trap 19).
pub fn compare(primary: &dyn Store, replica: &dyn Store, lag: SignedDuration, now: Timestamp, cx: &Context) -> Result<Comparison> {
    let listing = |store: &dyn Store| catalogue::list(store, None, cx).explain(|| format!("listing {}", store.describe()));
    Ok(judge(&listing(primary)?, &listing(replica)?, lag, now))
}

/// The same of two listings. A dump counts as missing where it is newer than the oldest one of its job that the replica has, or the newest of
/// its job: a replica that keeps dumps for a shorter time is not stale for that. A clock that is ahead never makes a dump young: what ends in
/// the future counts as old.
pub fn judge(primary: &Listing, replica: &Listing, lag: SignedDuration, now: Timestamp) -> Comparison {
    let mut found = Comparison::default();
    for (at, dump) in primary.dumps.iter().enumerate() {
        let manifest = &dump.manifest;
        let why = match replica.dumps.iter().find(|other| other.manifest.object == manifest.object) {
            Some(other) if is_same(&other.manifest, manifest) => {
                found.present += 1;
                found.newest.get_or_insert_with(|| manifest.object.clone());
                continue;
            }
            Some(_) => Some("another dump of that name".to_owned()),
            None => replica.problems.iter().find(|problem| problem.object == manifest.object).map(|problem| problem.report.to_string()),
        };
        if why.is_none() && is_retired(dump, &primary.dumps[..at], replica) {
            continue;
        }
        let lack = Lack { dump: manifest.object.clone(), job: manifest.job.clone(), since: manifest.ended_at, why };
        let age = now.duration_since(manifest.ended_at);
        if age >= SignedDuration::ZERO && age <= lag { found.waiting.push(lack) } else { found.stale.push(lack) }
    }
    found
}

fn is_same(one: &Manifest, other: &Manifest) -> bool {
    one.id == other.id && one.stored == other.stored && one.job == other.job
}

/// Older than all that the replica still has of its job, and not the newest of its job (`newer`: what comes before it in the primary).
fn is_retired(dump: &Dump, newer: &[Dump], replica: &Listing) -> bool {
    let job = &dump.manifest.job;
    let oldest = replica.dumps.iter().filter(|other| other.manifest.job == *job).map(|other| other.manifest.snapshot_at).min();
    newer.iter().any(|other| other.manifest.job == *job) && oldest.is_some_and(|oldest| dump.manifest.snapshot_at < oldest)
}

/// Copies one dump: its bytes against the hash of record on the way, then its manifest. Bytes that are not what was stored are not published.
pub fn copy(name: &str, primary: &dyn Store, replica: &dyn Store, cx: &Context) -> Result<()> {
    let manifest = catalogue::find(primary, name, cx)?.manifest;
    let key = format!("{name}{MANIFEST_SUFFIX}");
    // What an earlier copy left without its manifest is no dump; where it is whole it need not be sent again.
    if replica.head(name, cx)?.is_none() {
        let source = primary.get(name, None, cx)?;
        let checked = Checked { source, hash: Some(Sha256::new()), bytes: 0, manifest: manifest.clone() };
        replica.put(name, Box::new(checked), cx)?;
    } else {
        let mut checked = Checked { source: replica.get(name, None, cx)?, hash: Some(Sha256::new()), bytes: 0, manifest: manifest.clone() };
        let read = io::copy(&mut checked, &mut io::sink());
        read.map_err(|error| Report::from_io(format!("reading {name} in {}", replica.describe()), error))?;
    }
    replica.put(&key, primary.get(&key, None, cx)?, cx).map(drop)
}

/// Bytes that must be those of a manifest: an error where they are not, instead of their end.
struct Checked {
    source: Stream,
    /// None once it was compared.
    hash: Option<Sha256>,
    bytes: u64,
    manifest: Manifest,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += count as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        if count == 0
            && !buffer.is_empty()
            && let Some(hash) = self.hash.take()
            && (hex::encode(hash.finalize()), self.bytes) != (self.manifest.stored.sha256.clone(), self.manifest.stored.bytes)
        {
            let name = &self.manifest.object;
            return Err(Report::refused(format!("the stored bytes of {name} are not those of its manifest"))
                .hint(format!("lifeboat verify {name} --level L1"))
                .into());
        }
        Ok(count)
    }
}
