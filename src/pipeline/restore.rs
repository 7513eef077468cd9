//! Reading a dump back: `store → openpgp → gunzip or unzstd → inspect`, plain bytes at the end.
//!
//! Decrypted bytes come out before anything is proven (trap 7), so they may only go where an error at the end can still undo everything.

use super::ahead::ahead;
use super::inspect::{Seen, inspected};
use super::manifest::{Digest, Manifest};
use super::openpgp::{Decrypt, SecretKey};
use super::seam::{Failures, Gate, Leash, Measured, Tap};
use super::{show, unpacker};
use crate::port::{Context, Filter, Store, Stream};
use crate::report::{Report, Result};

/// The plain bytes of a dump. Their end promises that the stored hash, the integrity check of the message, the checksums of the compression, the plain
/// hash, the trailer and every count are what the manifest says. Dropping the stream stops everything behind it.
pub fn open(manifest: &Manifest, store: &dyn Store, key: &SecretKey, cx: &Context) -> Result<Stream> {
    Ok(open_watched(manifest, store, key, true, cx)?.stream)
}

/// The same, with what is in it: known once the end was seen.
pub fn open_counted(manifest: &Manifest, store: &dyn Store, key: &SecretKey, cx: &Context) -> Result<(Stream, Seen)> {
    let opened = open_watched(manifest, store, key, true, cx)?;
    Ok((opened.stream, opened.seen.unwrap_or_default()))
}

/// A dump being read.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) failures: Failures,
    /// What was counted, where it was to be.
    pub(super) seen: Option<Seen>,
}

/// The same, with the seams to look at, and without counting where only the bytes matter.
pub(super) fn open_watched(manifest: &Manifest, store: &dyn Store, key: &SecretKey, inspect: bool, cx: &Context) -> Result<Opened> {
    let failures = Failures::default();
    let stop = cx.cancel.child_token();
    let building = stop.clone().drop_guard();
    let inside = Context { cancel: stop.clone(), ..cx.clone() };
    let unpacker = unpacker(manifest.compression);
    let unpacking = unpacker.name();
    let [fetched, opened, unpacked] = ["store", "openpgp", unpacking].map(|name| cx.meters.add(name));
    fetched.expect(manifest.stored.bytes);
    unpacked.expect(manifest.plain.bytes);

    let (tap, stored) = Tap::hash(store.get(&manifest.object, None, &inside)?, fetched);
    let object = failures.watch("store", Box::new(tap));

    let (tap, _) = Tap::count(Box::new(Decrypt::with(key)).wrap(object, &inside)?, opened);
    let packed = failures.watch("openpgp", Box::new(tap));

    // Unpacked in a thread of its own: hashing and looking at what comes out takes as long.
    let (tap, plain) = Tap::hash(ahead(unpacker.wrap(packed, &inside)?)?, unpacked);
    let dump = failures.watch(unpacking, Box::new(tap));

    let (dump, seen) = if inspect {
        let (dump, seen) = inspected(dump, manifest.format);
        (failures.watch("inspect", dump), Some(seen))
    } else {
        (dump, None)
    };
    let promise = {
        let (manifest, cancel, seen) = (manifest.clone(), stop.clone(), seen.clone());
        move || {
            if cancel.is_cancelled() {
                return Err(Report::cancelled());
            }
            compare("stored", &stored, &manifest.stored)?;
            compare("plain", &plain, &manifest.plain)?;
            seen.map_or(Ok(()), |seen| compare_contents(&seen, &manifest))
        }
    };
    let gate = failures.watch("proof", Box::new(Gate::new(dump, promise)));
    drop(building.disarm());
    Ok(Opened { stream: Box::new(Leash::new(gate, failures.clone(), stop)), failures, seen })
}

/// Size and hash as the manifest says.
pub(super) fn compare(what: &str, measured: &Measured, expected: &Digest) -> Result<()> {
    let Some(found) = measured.digest() else {
        return Err(Report::refused(format!("the {what} bytes go on after what should be their end")));
    };
    if found.bytes != expected.bytes {
        return Err(Report::refused(format!("{} {what} bytes where the manifest says {}", found.bytes, expected.bytes)));
    }
    if found.sha256 != expected.sha256 {
        return Err(Report::refused(format!("the {what} bytes are not those that were written: their SHA-256 is another"))
            .cause(format!("manifest {}, found {}", expected.sha256, found.sha256)));
    }
    Ok(())
}

/// Every table has its rows, and nothing announced is missing.
fn compare_contents(seen: &Seen, manifest: &Manifest) -> Result<()> {
    let Some(contents) = seen.contents() else { return Err(Report::refused("the dump was not read to its end")) };
    let mut report = Report::refused("the dump does not hold what its manifest says");
    for (table, expected) in &manifest.tables {
        match contents.tables.get(table) {
            None => report = report.cause(format!("{} is missing", show(table))),
            Some(found) if found.only_hash_differs(expected) => {
                report =
                    report.cause(format!("{}: as many rows as the manifest says, and not the same: their hash is another", show(table)));
            }
            Some(found) if !found.agrees(expected) => {
                report = report.cause(format!("{}: {} rows where the manifest says {}", show(table), found.rows, expected.rows));
            }
            Some(_) => {}
        }
    }
    for table in contents.tables.keys().filter(|table| !manifest.tables.contains_key(*table)) {
        report = report.cause(format!("{} is not in the manifest", show(table)));
    }
    if contents.schema != manifest.schema {
        report = report.cause(format!("schema {:?} where the manifest says {:?}", contents.schema, manifest.schema));
    }
    report.causes.truncate(20);
    if report.causes.is_empty() { Ok(()) } else { Err(report) }
}
