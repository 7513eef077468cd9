//! Proving a dump, level by level up to L4, and keeping the record beside it. What needs a server, L5 and L6, is proven where systems are
//! known (`run::engine::prove`), and recorded here.

use std::io;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::manifest::{Level, MANIFEST_VERSION, Manifest, PROOF_INFIX, Proof};
use super::openpgp::SecretKey;
use super::restore::{Opened, compare, open_watched};
use super::seam::Tap;
use crate::port::{Context, Store};
use crate::report::{Explain, Kind, Report, Result};

/// Most bytes L2 fetches.
const FIRST_BYTES: u64 = 1 << 20;

/// Proves the dump up to `level`, at most L4, each level including the lower ones, and says whether that held. Only L2 leaves L1 out while all is well:
/// it must not read the whole object. `Ok` with `held: false` means that the
/// dump was disproven: `level` is then the lowest level that did not hold, `reason` says why.
///
/// `Err` means that it could not be told: the store did not answer, the work was cancelled, the key is not one of the dump's recipients or
/// its passphrase is wrong. L2 and above need the key; without one they are `Kind::Usage`.
pub fn verify(dump: &Manifest, store: &dyn Store, key: Option<&SecretKey>, level: Level, cx: &Context) -> Result<Proof> {
    let began = Instant::now();
    let level = level.min(Level::L4);
    let outcome = climb(dump, store, key, level, cx);
    let (level, reason) = match outcome {
        Ok(()) => (level, None),
        Err(Doubt::Disproven(level, report)) => (level, Some(report.to_string())),
        Err(Doubt::Unknown(report)) => return Err(report.under(format!("{} could not be verified", dump.object))),
    };
    Ok(ended(dump, level, reason, began))
}

/// The record of a proof that ended now. Where there is a `reason`, it did not hold at this level.
pub fn ended(dump: &Manifest, level: Level, reason: Option<String>, began: Instant) -> Proof {
    Proof {
        dump: dump.id.clone(),
        level,
        held: reason.is_none(),
        reason,
        by: crate::port::who(),
        at: Timestamp::now(),
        took: SignedDuration::try_from(began.elapsed()).unwrap_or_default(),
        server: None,
        asserted: Vec::new(),
        tool: super::TOOL.into(),
    }
}

/// Proves and keeps the record, whether it held or not; a proof that did not hold is `Kind::Refused`.
pub fn prove(dump: &Manifest, store: &dyn Store, key: Option<&SecretKey>, level: Level, cx: &Context) -> Result<Proof> {
    keep(verify(dump, store, key, level, cx)?, dump, store, cx)
}

/// Keeps the record of a proof, whether it held or not; one that did not hold is `Kind::Refused`.
pub fn keep(proof: Proof, dump: &Manifest, store: &dyn Store, cx: &Context) -> Result<Proof> {
    record(&proof, store, dump, cx)?;
    demand(&proof, dump)?;
    Ok(proof)
}

/// `Kind::Refused` unless it held.
pub fn demand(proof: &Proof, dump: &Manifest) -> Result<()> {
    if proof.held {
        return Ok(());
    }
    let report = Report::refused(format!("{} does not hold at {}", dump.object, proof.level));
    Err(report.cause(proof.reason.clone().unwrap_or_default()).hint("choose another dump: lifeboat dumps"))
}

/// Writes the proof beside the dump, under a key of its own; nothing is overwritten. Gives the key.
pub fn record(proof: &Proof, store: &dyn Store, dump: &Manifest, cx: &Context) -> Result<String> {
    let at = proof.at.strftime("%Y%m%dT%H%M%S%.6fZ");
    let key = format!("{}{PROOF_INFIX}{}-{at}.json", dump.object, proof.level);
    let mut text = serde_json::to_vec_pretty(proof).explain(|| "writing the proof".into())?;
    text.push(b'\n');
    store.put(&key, Box::new(io::Cursor::new(text)), cx).explain(|| format!("keeping the proof of {}", dump.object))?;
    Ok(key)
}

enum Doubt {
    /// This level does not hold.
    Disproven(Level, Report),
    /// It cannot be told.
    Unknown(Report),
}

fn climb(dump: &Manifest, store: &dyn Store, key: Option<&SecretKey>, level: Level, cx: &Context) -> Result<(), Doubt> {
    let key = match key {
        None if level >= Level::L2 => {
            return Err(Doubt::Unknown(
                Report::usage(format!("{level} needs the private key")).hint("without it, L0 and L1 can be proven"),
            ));
        }
        key => key,
    };
    manifest_and_size(dump, store, cx)?;
    let Some(key) = key.filter(|_| level >= Level::L2) else {
        return if level == Level::L1 { stored_hash(dump, store, cx) } else { Ok(()) };
    };
    // The cheap question first, and at L2 the only one: it is asked right after each upload. The rest goes in one pass, with the stored hash.
    opens(dump, store, key, cx).or_else(|doubt| lower_first(doubt, dump, store, cx))?;
    if level == Level::L2 {
        return Ok(());
    }
    let inspect = level >= Level::L4;
    whole(dump, store, key, inspect, cx).or_else(|doubt| lower_first(doubt, dump, store, cx))
}

/// Before a higher level is blamed, the stored bytes are looked at alone: damage there is L1.
fn lower_first(doubt: Doubt, dump: &Manifest, store: &dyn Store, cx: &Context) -> Result<(), Doubt> {
    if let Doubt::Disproven(..) = doubt {
        stored_hash(dump, store, cx)?;
    }
    Err(doubt)
}

/// L0.
fn manifest_and_size(dump: &Manifest, store: &dyn Store, cx: &Context) -> Result<(), Doubt> {
    let no = |words: String| Err(Doubt::Disproven(Level::L0, Report::refused(words)));
    if dump.version > MANIFEST_VERSION {
        let words = format!("its manifest has version {}, this program reads up to {MANIFEST_VERSION}", dump.version);
        return Err(Doubt::Unknown(Report::usage(words).hint("use the newer lifeboat")));
    }
    match store.head(&dump.object, cx).map_err(Doubt::Unknown)? {
        None => no("the object is gone".into()),
        Some(object) if object.size != dump.stored.bytes => {
            no(format!("the object has {} bytes where the manifest says {}", object.size, dump.stored.bytes))
        }
        Some(_) => Ok(()),
    }
}

/// L1.
fn stored_hash(dump: &Manifest, store: &dyn Store, cx: &Context) -> Result<(), Doubt> {
    let meter = cx.meters.add("store");
    meter.expect(dump.stored.bytes);
    let object = store.get(&dump.object, None, cx).map_err(Doubt::Unknown)?;
    let (mut tap, stored) = Tap::hash(object, meter);
    drain(&mut tap, cx).map_err(|error| Doubt::Unknown(Report::from_io("reading the object", error)))?;
    compare("stored", &stored, &dump.stored).map_err(|report| Doubt::Disproven(Level::L1, report))
}

/// L2: from the first bytes alone. The plaintext must begin like what the manifest says it is.
fn opens(dump: &Manifest, store: &dyn Store, key: &SecretKey, cx: &Context) -> Result<(), Doubt> {
    if !dump.recipients.iter().any(|recipient| key.fingerprints().contains(recipient)) {
        let words =
            format!("the key given, {}, is not one of its recipients, {}", key.fingerprints().join(", "), dump.recipients.join(", "));
        let hint = format!("find who has it: gpg --list-secret-keys {}", dump.recipients.join(" "));
        return Err(Doubt::Unknown(Report::refused(words).hint(hint)));
    }
    let mut first = Vec::new();
    let range = 0..FIRST_BYTES.min(dump.stored.bytes);
    let mut object = store.get(&dump.object, Some(range), cx).map_err(Doubt::Unknown)?;
    io::Read::read_to_end(&mut object, &mut first).map_err(|error| Doubt::Unknown(Report::from_io("reading the object", error)))?;
    let no = |report: Report| match report.kind {
        Kind::Refused => Doubt::Disproven(Level::L2, report),
        // A passphrase that is wrong, a gpg that is not there.
        _ => Doubt::Unknown(report),
    };
    let plain = key.opens(&first, cx).map_err(no)?;
    if !plain.starts_with(dump.compression.magic()) {
        return Err(no(Report::refused(format!("it opens, but what is inside is not {} data", dump.compression.word()))));
    }
    Ok(())
}

/// L3, and L4 where it is inspected.
fn whole(dump: &Manifest, store: &dyn Store, key: &SecretKey, inspect: bool, cx: &Context) -> Result<(), Doubt> {
    let Opened { mut stream, failures, .. } = open_watched(dump, store, key, inspect, cx).map_err(Doubt::Unknown)?;
    let Err(error) = drain(&mut stream, cx) else { return Ok(()) };
    let report = Report::from_io("reading the dump", error);
    let stage = failures.first().map(|failure| failure.stage);
    Err(match (stage, report.kind) {
        (Some("inspect"), Kind::Refused) => Doubt::Disproven(Level::L4, report),
        (Some("proof"), Kind::Refused) if report.message.contains("does not hold what") => Doubt::Disproven(Level::L4, report),
        (Some("openpgp" | "gunzip" | "unzstd" | "proof"), Kind::Refused) => Doubt::Disproven(Level::L3, report),
        _ => Doubt::Unknown(report),
    })
}

fn drain(stream: &mut impl io::Read, cx: &Context) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        cx.check()?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
