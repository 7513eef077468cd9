//! Making a dump: `source → inspect → gzip or zstd → openpgp → store`, then the manifest, then it exists.
//!
//! The store makes the object visible only when the stream ends, and the stream ends only when the source exited well, the dump was whole
//! and every hash is final. Whatever breaks before that leaves nothing; what breaks between object and manifest is taken back.

use std::io::Cursor;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::access::Recorded;
use super::inspect::{Seen, inspected};
use super::manifest::{Compression, Format, Group, MANIFEST_SUFFIX, MANIFEST_VERSION, Manifest, Origin};
use super::openpgp::{Encrypt, PublicKeys};
use super::packer;
use super::seam::{Failures, Gate, Leash, Measured, Tap};
use crate::port::access::Access;
use crate::port::{Context, Filter, Source, Store, Stream, nonce};
use crate::report::{Explain, Kind, Report, Result};

/// How long taking back an unpublished object may last. Its own time: it must also work when the work was cancelled.
const TAKE_BACK: Duration = Duration::from_mins(1);

/// Says whether a dump may still be published.
pub type Guard<'a> = dyn Fn(&Context) -> Result<()> + 'a;

/// What is to be dumped, how, and to where.
pub struct Order<'a> {
    /// The job, who owns the dump.
    pub job: &'a str,
    /// The environment it is made in.
    pub environment: &'a str,
    /// The store key, made once per run.
    pub object: &'a str,
    /// What the source gives.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// One of [`Compression::levels`].
    pub level: u32,
    /// Who can open it.
    pub recipients: &'a PublicKeys,
    /// What is dumped.
    pub origin: Origin,
    /// Taken from the server before the source is opened.
    pub snapshot_at: Timestamp,
    /// The other dumps of the run, where there may be some.
    pub group: Option<Group>,
    /// Who may do what with the database, where the dump carries owners and rights.
    pub access: Option<Access>,
    /// The dump.
    pub source: Box<dyn Source>,
    /// Where it goes.
    pub store: &'a dyn Store,
    /// Asked when the object is stored and before the manifest is: whether the dump may still be published.
    pub guard: Option<&'a Guard<'a>>,
}

/// Makes the dump. It is published when this returns `Ok`, and nothing is otherwise. The first failing stage is the cause, in its own words.
/// An existing object of that name is `Kind::Refused` before anything is read.
pub fn backup(order: Order<'_>, cx: &Context) -> Result<Manifest> {
    let what = order.source.describe();
    try_backup(order, cx).map_err(|Failure { report, sure }| {
        if sure {
            report.under(format!("{what} was not dumped: nothing was published"))
        } else {
            report.under(format!("whether the dump of {what} was published is not known")).hint("lifeboat dumps")
        }
    })
}

/// Why there is no dump, and whether it is sure that there is none: a store that stops answering may have taken the manifest.
struct Failure {
    report: Report,
    sure: bool,
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Failure { report, sure: true }
    }
}

fn try_backup(order: Order<'_>, cx: &Context) -> Result<Manifest, Failure> {
    let manifest_key = format!("{}{MANIFEST_SUFFIX}", order.object);
    for key in [order.object, &manifest_key] {
        if order.store.reserved().is_none() && order.store.head(key, cx)?.is_some() {
            return Err(Report::refused(format!("{key} exists already in {}", order.store.describe()))
                .hint(format!("wait until its name's time is over, or put seconds into `name` in [job.{}]", order.job))
                .into());
        }
    }
    let access = order.access.as_ref().map(|access| Recorded::seal(access.clone(), order.recipients, cx)).transpose()?;
    let started_at = Timestamp::now();
    let earlier_meters = cx.meters.read().len();
    let chain = Chain::build(&order, cx)?;
    let Chain { stream, failures, plain, stored, seen } = chain;
    let object = order.store.put(order.object, stream, cx).map_err(|report| failures.or(report))?;
    let ended_at = Timestamp::now();
    let finish = || -> Result<Manifest> {
        let unfinished = || Report::failed("the store says it is done without having seen the end");
        let plain = plain.digest().cloned().ok_or_else(unfinished)?;
        let stored = stored.digest().cloned().ok_or_else(unfinished)?;
        let contents = seen.contents().cloned().ok_or_else(unfinished)?;
        if object.size != stored.bytes {
            return Err(Report::failed(format!("the store holds {} bytes of the {} it was given", object.size, stored.bytes)));
        }
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            id: new_id()?,
            job: order.job.into(),
            environment: order.environment.into(),
            object: order.object.into(),
            format: order.format,
            compression: order.compression,
            recipients: order.recipients.fingerprints().to_vec(),
            origin: order.origin,
            snapshot_at: order.snapshot_at,
            started_at,
            ended_at,
            plain,
            stored,
            tables: contents.tables,
            schema: contents.schema,
            stages: cx.meters.read().split_off(earlier_meters),
            group: order.group,
            access,
            tool: super::TOOL.into(),
        };
        order.guard.map_or(Ok(()), |guard| guard(cx))?;
        publish(&manifest, &manifest_key, order.store, cx)?;
        Ok(manifest)
    };
    finish().map_err(|report| take_back(report, order.object, &manifest_key, order.store, cx))
}

/// The stream the store will pull, and what is known once it ended.
struct Chain {
    stream: Stream,
    failures: Failures,
    plain: Measured,
    stored: Measured,
    seen: Seen,
}

impl Chain {
    fn build(order: &Order<'_>, cx: &Context) -> Result<Chain> {
        let failures = Failures::default();
        let stop = cx.cancel.child_token();
        // Stops what was started already, when building fails half-way.
        let building = stop.clone().drop_guard();
        let inside = Context { cancel: stop.clone(), ..cx.clone() };
        let packer = packer(order.compression, order.level);
        let packing = packer.name();
        let stages = ["pg_dump", "inspect", packing, "openpgp", "store"];
        let [pg_dump, inspect, pack, openpgp, kept] = stages.map(|name| cx.meters.add(name));

        let source = order.source.open(&inside)?;
        let (tap, plain) = Tap::hash(source, pg_dump);
        let (whole, seen) = inspected(Box::new(tap), order.format);
        let (tap, _) = Tap::count(whole, inspect);
        let dump = failures.watch("pg_dump", Box::new(tap));

        let (tap, _) = Tap::count(packer.wrap(dump, &inside)?, pack);
        let packed = failures.watch(packing, Box::new(tap));

        let sealed = Box::new(Encrypt::to(order.recipients)).wrap(packed, &inside)?;
        let (tap, stored) = Tap::hash(sealed, openpgp);
        let sealed = failures.watch("openpgp", Box::new(tap));

        let gate = {
            let (failures, plain, stored, seen, cancel) = (failures.clone(), plain.clone(), stored.clone(), seen.clone(), stop.clone());
            Gate::new(sealed, move || {
                if cancel.is_cancelled() {
                    return Err(Report::cancelled());
                }
                match failures.first() {
                    Some(failure) => Err(failure.report),
                    None if plain.digest().is_some() && stored.digest().is_some() && seen.contents().is_some() => Ok(()),
                    None => Err(Report::failed("a stage ended before the one in front of it")),
                }
            })
        };
        let tap = Tap::taken(Box::new(gate), kept);
        drop(building.disarm());
        Ok(Chain { stream: Box::new(Leash::new(Box::new(tap), failures.clone(), stop)), failures, plain, stored, seen })
    }
}

/// Writes the manifest: the moment a dump begins to exist.
fn publish(manifest: &Manifest, key: &str, store: &dyn Store, cx: &Context) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(manifest).explain(|| "writing the manifest".into())?;
    text.push(b'\n');
    store.put(key, Box::new(Cursor::new(text)), cx).explain(|| "the object was stored, but its manifest could not be".into())?;
    Ok(())
}

/// An object whose manifest could not be written is no dump; it is removed, and `report` says so where that failed.
fn take_back(report: Report, object: &str, manifest: &str, store: &dyn Store, cx: &Context) -> Failure {
    let own = Context { cancel: CancellationToken::new(), ..cx.clone() };
    let deadline = own.cancel.clone();
    let timer = cx.runtime.spawn(async move {
        tokio::time::sleep(TAKE_BACK).await;
        deadline.cancel();
    });
    // The manifest may have arrived although we were told otherwise: it goes first, so that none is ever without its object.
    // One that was refused because it existed is not ours.
    let manifest_gone = if report.kind == Kind::Refused { Ok(()) } else { store.delete(manifest, &own) };
    // Where it could not be removed, it may never have been there.
    let sure = manifest_gone.is_ok() || store.head(manifest, &own).is_ok_and(|manifest| manifest.is_none());
    let removed = manifest_gone.and_then(|()| store.delete(object, &own));
    timer.abort();
    let report = match removed {
        Ok(()) => report,
        Err(error) => report
            .cause(format!("{object} could not be taken back ({error})"))
            .hint(format!("remove {object} from {}, or let the sweeper do it after its grace period", store.describe())),
    };
    Failure { report, sure }
}

/// 16 hex digits that nothing else has.
pub fn new_id() -> Result<String> {
    nonce(8)
}
