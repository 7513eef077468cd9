//! The sockets in the walls: what a source, a filter, a store, a notifier must be, and what each of them is told of the world.
//!
//! Bytes move through a chain of blocking reads, pulled by the sink. Pull gives backpressure and bounded memory without any bookkeeping.
//! A stream keeps one promise: it returns `Ok(0)` only when everything behind it ended well. Whoever cannot promise that returns an error.

pub mod access;
mod nonce;
pub mod table_hash;

use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::report::{Report, Result};

pub use nonce::nonce;

/// Bytes on their way. `Ok(0)` is a promise, see the module.
pub type Stream = Box<dyn Read + Send>;

/// Where bytes come from: `pg_dump`, a file, a generator.
pub trait Source: Send {
    /// For messages: `pg_dump of orders on db1`.
    fn describe(&self) -> String;
    /// Starts it. The stream ends only if everything behind it exited well.
    fn open(&self, cx: &Context) -> Result<Stream>;
}

/// What changes bytes on their way: compression, encryption, and back.
pub trait Filter: Send {
    /// For messages and meters: `gzip`, `openpgp`.
    fn name(&self) -> &'static str;
    /// Puts itself between `input` and whoever reads. Threads it needs end when the returned stream is dropped.
    fn wrap(self: Box<Self>, input: Stream, cx: &Context) -> Result<Stream>;
}

/// Where a dump's rows go when they part from the rest of it: to the server by connections of our own, while one of PostgreSQL's programs does the rest.
/// One COPY after the other, in the order of the dump.
pub trait Rows: Send {
    /// SQL to be put where a COPY stood: when it is carried out, so is all that came before it.
    fn mark(&mut self) -> String;

    /// A COPY begins: its statement, without the semicolon. Waits for the last mark, where one was put.
    fn begin(&mut self, copy: &str) -> Result<()>;

    /// The next bytes of its rows, cut anywhere: COPY's text format, its end marker included, and the two empty lines that follow it in an archive.
    fn rows(&mut self, bytes: &[u8]) -> Result<()>;

    /// It is over. Its rows are there when this returns.
    fn end(&mut self) -> Result<()>;
}

/// One object in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The key below the store's prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When the store says it was made.
    pub modified: Timestamp,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The key it would have become.
    pub key: String,
    /// The store's name for it (S3: the upload id; local: the temporary file).
    pub id: String,
    /// When it was begun.
    pub since: Timestamp,
}

/// Where dumps are kept. Keys are relative to the store's prefix and use `/`.
pub trait Store: Send + Sync {
    /// For messages: `s3://bucket/prefix`, `/var/backups`.
    fn describe(&self) -> String;

    /// Stores `body` under `key`, all of it or nothing, and never replaces an object: an existing key is `Kind::Refused`.
    /// The object becomes visible only after `body` returned `Ok(0)`; on any error what was begun is taken back.
    fn put(&self, key: &str, body: Stream, cx: &Context) -> Result<Object>;

    /// The bytes of an object, or of the half-open `range` of it. A missing object is `Kind::Refused`; an object that ends early is an error.
    fn get(&self, key: &str, range: Option<Range<u64>>, cx: &Context) -> Result<Stream>;

    /// The object's size and time, or `None` where there is none. Not being allowed to look is an error, not `None`.
    fn head(&self, key: &str, cx: &Context) -> Result<Option<Object>>;

    /// Every object whose key starts with `prefix`, by key. Complete, or an error: never a part.
    fn list(&self, prefix: &str, cx: &Context) -> Result<Vec<Object>>;

    /// Removes one object. Removing what is not there is not an error.
    fn delete(&self, key: &str, cx: &Context) -> Result<()>;

    /// Removes one object for good: every older version of it too, where the store keeps versions.
    fn erase(&self, key: &str, cx: &Context) -> Result<()> {
        self.delete(key, cx)
    }

    /// Uploads begun and left, whoever began them.
    fn unfinished(&self, cx: &Context) -> Result<Vec<Unfinished>>;

    /// Takes one of them back.
    fn abort(&self, upload: &Unfinished, cx: &Context) -> Result<()>;

    /// The one dump it takes, for a store that can be written to and not looked into: who gave the ticket made the name and saw that it is
    /// free. `None` for every other store.
    fn reserved(&self) -> Option<&str> {
        None
    }
}

/// Where people are told.
pub trait Notifier: Send + Sync {
    /// For messages: `webhook chat`.
    fn describe(&self) -> String;
    /// Tells them, or says why not.
    fn notify(&self, message: &str, cx: &Context) -> Result<()>;
}

/// What a stage is told of the world. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Where futures run; blocking code waits on it with [`Context::wait`].
    pub runtime: tokio::runtime::Handle,
    /// Fires when this piece of work is to stop.
    pub cancel: CancellationToken,
    /// How far each stage is.
    pub meters: Meters,
    /// What children and stages say along the way.
    pub log: Log,
}

impl Context {
    /// A context with fresh meters, its own cancellation and no listener.
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        Context { runtime, cancel: CancellationToken::new(), meters: Meters::default(), log: Log::default() }
    }

    /// Blocks until the future is done or the work is cancelled. Never call it from inside the runtime.
    pub fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.cancel.cancelled() => Err(Report::cancelled()),
                done = future => done,
            }
        })
    }

    /// Sleeps, unless the work is cancelled first.
    pub fn pause(&self, time: Duration) -> Result<()> {
        self.wait(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    /// `Err(cancelled)` once the work is to stop.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Report::cancelled()) } else { Ok(()) }
    }
}

/// One line of what a stage or a child says.
type Listener = dyn Fn(&str, &str) + Send + Sync;

/// Where lines go that people may want to read: `who` said `line`. Never a secret.
#[derive(Clone, Default)]
pub struct Log(Option<Arc<Listener>>);

impl Log {
    /// Lines go to `listener(who, line)`.
    pub fn to(listener: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        Log(Some(Arc::new(listener)))
    }

    /// Says one line.
    pub fn say(&self, who: &str, line: &str) {
        if let Some(listener) = &self.0 {
            listener(who, line);
        }
    }
}

/// How many bytes went through one seam; written by the stage, read by whoever draws.
#[derive(Debug)]
pub struct Meter {
    /// `pg_dump`, `gzip`, `openpgp`, `s3`.
    pub name: String,
    bytes: AtomicU64,
    expected: AtomicU64,
    started: Instant,
    /// Nanoseconds from start to the last byte; grows until done.
    elapsed: AtomicU64,
    done: AtomicBool,
    /// Nanoseconds that whoever reads this stage's output spent waiting for it.
    waited: AtomicU64,
}

impl Meter {
    /// Counts bytes that went through.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.elapsed.store(nanos, Ordering::Relaxed);
    }

    /// Whoever reads this stage's output waited so long for it.
    pub fn wait(&self, time: Duration) {
        self.waited.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many there will be, where that is known.
    pub fn expect(&self, bytes: u64) {
        self.expected.store(bytes, Ordering::Relaxed);
    }

    /// The stage ended well.
    pub fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// What it says now.
    pub fn read(&self) -> Reading {
        let done = self.done.load(Ordering::Relaxed);
        let elapsed = if done { Duration::from_nanos(self.elapsed.load(Ordering::Relaxed)) } else { self.started.elapsed() };
        let expected = self.expected.load(Ordering::Relaxed);
        Reading {
            name: self.name.clone(),
            bytes: self.bytes.load(Ordering::Relaxed),
            expected: (expected > 0).then_some(expected),
            seconds: elapsed.as_secs_f64(),
            waited: Some(self.waited.load(Ordering::Relaxed))
                .filter(|nanos| *nanos > 0)
                .map(|nanos| Duration::from_nanos(nanos).as_secs_f64()),
            done,
        }
    }
}

/// A meter at one moment; also what a manifest keeps of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The stage.
    pub name: String,
    /// Bytes that went through it so far.
    pub bytes: u64,
    /// Bytes there will be, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// From its start until now, or until its last byte once done.
    pub seconds: f64,
    /// Seconds of those in which whoever reads this stage's output waited for it; of the last stage nobody reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// It ended well.
    pub done: bool,
}

impl Reading {
    /// Millions of bytes a second; 0 before the first moment.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn megabytes_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / 1e6 / self.seconds } else { 0.0 }
    }
}

/// How many seconds each stage of a chain held up the others, given in the order of the bytes: its output was waited for, and it did not
/// wait for the output of the stage before. They add up to the time of the whole; the greatest is the bottleneck's. `None` where the
/// waiting was not measured.
pub fn held_up(stages: &[Reading]) -> Vec<Option<f64>> {
    let measured = stages.iter().any(|stage| stage.waited.is_some());
    let mut before = 0.0;
    let held = stages.iter().map(|stage| {
        let waited = stage.waited.unwrap_or(stage.seconds);
        let own = waited - before;
        before = waited;
        // What is buffered between two stages can make a few milliseconds less than none.
        measured.then_some(own.max(0.0))
    });
    held.collect()
}

/// The meters of one piece of work, in the order the stages were put together.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Mutex<Vec<Arc<Meter>>>>);

impl Meters {
    /// A new meter at the end of the row.
    pub fn add(&self, name: &str) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            name: name.into(),
            bytes: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            started: Instant::now(),
            elapsed: AtomicU64::new(0),
            done: AtomicBool::new(false),
            waited: AtomicU64::new(0),
        });
        self.lock().push(Arc::clone(&meter));
        meter
    }

    /// What they all say now.
    pub fn read(&self) -> Vec<Reading> {
        self.lock().iter().map(|meter| meter.read()).collect()
    }

    /// Empties the row, before the next piece of work.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Meter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who this process works for: `user@host`. For journals, proofs and locks.
pub fn who() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(seconds: f64, waited: Option<f64>) -> Reading {
        Reading { name: "x".into(), bytes: 1, expected: None, seconds, waited, done: true }
    }

    #[test]
    fn the_stage_that_was_waited_for_while_it_did_not_wait_is_the_bottleneck() {
        // gzip is slow: everything behind it waits for it, and it hardly waits for pg_dump.
        let stages = [stage(10.0, Some(1.0)), stage(10.0, Some(9.0)), stage(10.0, Some(9.5)), stage(10.0, None)];
        assert_eq!(held_up(&stages), [Some(1.0), Some(8.0), Some(0.5), Some(0.5)]);
        // A slow store: nobody waits but pg_dump, for its output to be taken.
        let stages = [stage(10.0, Some(0.25)), stage(10.0, Some(0.125)), stage(10.0, None)];
        assert_eq!(held_up(&stages), [Some(0.25), Some(0.0), Some(9.875)]);
        assert_eq!(held_up(&[stage(3.0, None), stage(4.0, None)]), [None, None], "an older manifest");
    }
}
