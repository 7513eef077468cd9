//! What sits between two stages: counting, hashing, remembering the first failure, and the gate before the store.
//!
//! A seam never changes bytes. Its results are read from outside, through a handle, once the end was seen.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::manifest::Digest;
use crate::port::{Meter, Stream};
use crate::report::{Report, Result};

/// Counts the bytes that pass into a meter, and how long they were waited for; where asked, hashes them.
pub struct Tap {
    inner: Stream,
    meter: Arc<Meter>,
    bytes: u64,
    hash: Option<Sha256>,
    /// Whether to time how long the output of `inner` is waited for.
    timed: bool,
    measured: Measured,
}

/// What a [`Tap`] measured: nothing until it saw the end.
#[derive(Clone, Debug, Default)]
pub struct Measured(Arc<OnceLock<Digest>>);

impl Measured {
    /// Size and hash of the stream (the hash is empty for [`Tap::count`]), or `None` while its end was not seen.
    pub fn digest(&self) -> Option<&Digest> {
        self.0.get()
    }
}

impl Tap {
    /// Counts only.
    pub fn count(inner: Stream, meter: Arc<Meter>) -> (Tap, Measured) {
        Self::new(inner, meter, None, true)
    }

    /// Counts what a stage takes, not what it gives: nobody waits for the output of the last.
    pub fn taken(inner: Stream, meter: Arc<Meter>) -> Tap {
        Self::new(inner, meter, None, false).0
    }

    /// Counts and takes the SHA-256.
    pub fn hash(inner: Stream, meter: Arc<Meter>) -> (Tap, Measured) {
        Self::new(inner, meter, Some(Sha256::new()), true)
    }

    fn new(inner: Stream, meter: Arc<Meter>, hash: Option<Sha256>, timed: bool) -> (Tap, Measured) {
        let measured = Measured::default();
        (Tap { inner, meter, bytes: 0, hash, timed, measured: measured.clone() }, measured)
    }
}

impl Read for Tap {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let count = self.inner.read(into)?;
        if self.timed {
            self.meter.wait(began.elapsed());
        }
        if count > 0 {
            if let Some(hash) = &mut self.hash {
                hash.update(&into[..count]);
            }
            self.bytes += count as u64;
            self.meter.add(count as u64);
        } else if !into.is_empty() && self.measured.digest().is_none() {
            let sha256 = self.hash.take().map(|hash| hex::encode(hash.finalize())).unwrap_or_default();
            // Only this tap sets it, and only here.
            self.measured.0.set(Digest { bytes: self.bytes, sha256 }).ok();
            self.meter.finish();
        }
        Ok(count)
    }
}

/// The first failure at any seam of a chain. Behind gpgme, or in a thread that is torn down, only the echo of it would be left.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<Mutex<Cell>>);

#[derive(Debug, Default)]
struct Cell {
    first: Option<Failure>,
    closed: bool,
}

/// Where a chain broke, and what the stage said.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The stage whose output failed: `pg_dump`, `gzip`, `openpgp`, `store`.
    pub stage: &'static str,
    /// In its own words.
    pub report: Report,
}

impl Failures {
    /// Watches the output of `stage`.
    pub fn watch(&self, stage: &'static str, inner: Stream) -> Stream {
        Box::new(Watched { stage, inner, failures: self.clone(), failed: false })
    }

    /// The first failure, where there was one.
    pub fn first(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first.clone()
    }

    /// What fails from now on is not remembered: the chain is being torn down.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    /// What went wrong: the first failure at a seam, or `otherwise` where no seam saw one.
    pub fn or(&self, otherwise: Report) -> Report {
        self.first().map_or(otherwise, |failure| failure.report)
    }

    fn remember(&self, stage: &'static str, report: &Report) {
        let mut cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cell.first.is_none() && !cell.closed {
            cell.first = Some(Failure { stage, report: report.clone() });
        }
    }
}

struct Watched {
    stage: &'static str,
    inner: Stream,
    failures: Failures,
    failed: bool,
}

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other(format!("{} failed before", self.stage)));
        }
        match self.inner.read(into) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let report = Report::from_io(format!("{} failed", self.stage), error);
                self.failures.remember(self.stage, &report);
                self.failed = true;
                Err(report.into())
            }
            result => result,
        }
    }
}

/// What must hold before the end may be told.
type Promise = Box<dyn FnOnce() -> Result<()> + Send>;

/// The last wrapper of a chain: its `Ok(0)` comes only after a promise was kept. Once it failed it never ends well.
pub struct Gate {
    inner: Stream,
    state: GateState,
}

enum GateState {
    Open(Promise),
    Ended,
    Failed,
}

impl Gate {
    /// `promise` is asked once, when `inner` has ended.
    pub fn new(inner: Stream, promise: impl FnOnce() -> Result<()> + Send + 'static) -> Gate {
        Gate { inner, state: GateState::Open(Box::new(promise)) }
    }
}

impl Read for Gate {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.state {
            GateState::Ended => return Ok(0),
            GateState::Failed => return Err(io::Error::other("the stream failed before")),
            GateState::Open(_) if into.is_empty() => return Ok(0),
            GateState::Open(_) => {}
        }
        let result = match self.inner.read(into) {
            Ok(0) => match std::mem::replace(&mut self.state, GateState::Failed) {
                GateState::Open(promise) => promise().map(|()| 0).map_err(io::Error::from),
                GateState::Ended | GateState::Failed => Ok(0),
            },
            result => return result.inspect_err(|error| self.fail_on(error)),
        };
        if result.is_ok() {
            self.state = GateState::Ended;
        }
        result
    }
}

impl Gate {
    fn fail_on(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::Interrupted {
            self.state = GateState::Failed;
        }
    }
}

/// The outermost wrapper of a chain: an error is told as what failed first, and dropping it stops everything behind it, before it waits
/// for the threads there.
pub struct Leash {
    inner: Stream,
    failures: Failures,
    stop: CancellationToken,
}

impl Leash {
    /// `stop` is what the stages behind `inner` were told to look at.
    pub fn new(inner: Stream, failures: Failures, stop: CancellationToken) -> Leash {
        Leash { inner, failures, stop }
    }
}

impl Read for Leash {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into).map_err(|error| match self.failures.first() {
            Some(failure) if error.kind() != io::ErrorKind::Interrupted => failure.report.into(),
            _ => error,
        })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // What breaks from here on breaks because of us.
        self.failures.close();
        self.stop.cancel();
    }
}

/// Knows whether it was the input of a decoder that failed, or the decoder.
pub(super) struct Sticky {
    inner: Stream,
    failed: bool,
}

impl Sticky {
    pub(super) fn new(inner: Stream) -> Sticky {
        Sticky { inner, failed: false }
    }

    pub(super) fn failed(&self) -> bool {
        self.failed
    }
}

impl Read for Sticky {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(into);
        self.failed |= result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        result
    }
}

/// The output of a stage that works in threads of its own: they are waited for when it is dropped, so that nothing outlives the stream.
pub struct Threaded<R> {
    reader: Option<R>,
    threads: Vec<JoinHandle<()>>,
}

impl<R: Read + Send + 'static> Threaded<R> {
    /// `reader` must make the threads end when it is dropped.
    pub fn stream(reader: R, threads: Vec<JoinHandle<()>>) -> Stream {
        Box::new(Threaded { reader: Some(reader), threads })
    }
}

impl<R: Read> Read for Threaded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.as_mut().map_or(Ok(0), |reader| reader.read(into))
    }
}

impl<R> Drop for Threaded<R> {
    fn drop(&mut self) {
        self.reader = None;
        for thread in self.threads.drain(..) {
            // A panic in it was seen by the reader, as an error where the end would be.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Meters;

    struct Broken(Option<io::Error>);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.take().map_or(Ok(0), Err)
        }
    }

    #[test]
    fn a_tap_tells_size_and_hash_only_after_the_end() {
        let meters = Meters::default();
        let (mut tap, measured) = Tap::hash(Box::new(&b"abc"[..]), meters.add("source"));
        tap.read_exact(&mut [0; 3]).unwrap();
        assert_eq!(measured.digest(), None);
        assert_eq!(tap.read(&mut [0; 3]).unwrap(), 0);
        let digest = measured.digest().unwrap();
        assert_eq!(digest.bytes, 3);
        assert_eq!(digest.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(meters.read()[0].done);
    }

    #[test]
    fn the_first_failure_is_the_cause_whatever_comes_after_it() {
        let failures = Failures::default();
        let source = Report::failed("pg_dump exited with 1").cause("no such table").hint("look at the server");
        let mut first = failures.watch("pg_dump", Box::new(Broken(Some(source.clone().into()))));
        let mut second = failures.watch("openpgp", Box::new(Broken(Some(io::Error::other("Input/output error")))));
        assert!(first.read(&mut [0; 1]).is_err());
        assert!(second.read(&mut [0; 1]).is_err());
        let failure = failures.first().unwrap();
        assert_eq!((failure.stage, failure.report), ("pg_dump", source));
    }

    #[test]
    fn a_gate_whose_promise_is_broken_never_ends_well() {
        let mut gate = Gate::new(Box::new(&b"x"[..]), || Err(Report::refused("no trailer")));
        assert_eq!(gate.read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(Report::from_io("gate", gate.read(&mut [0; 8]).unwrap_err()), Report::refused("no trailer"));
        assert!(gate.read(&mut [0; 8]).is_err());
    }

    #[test]
    fn a_gate_is_not_fooled_by_an_end_after_an_error() {
        let mut gate = Gate::new(Box::new(Broken(Some(io::Error::other("cut")))), || Ok(()));
        assert!(gate.read(&mut [0; 8]).is_err());
        assert!(gate.read(&mut [0; 8]).is_err(), "the source would say it has ended");
    }

    #[test]
    fn a_kept_promise_ends_the_stream() {
        let mut gate = Gate::new(Box::new(&b"x"[..]), || Ok(()));
        let mut got = Vec::new();
        gate.read_to_end(&mut got).unwrap();
        assert_eq!((got.as_slice(), gate.read(&mut [0; 1]).unwrap()), (&b"x"[..], 0));
    }
}
