//! OpenPGP by the gpg that restores it: to public keys, and back with a private one.
//!
//! Keys live in throwaway homes ([`home`]), never in the user's keyring. gpgme reads, checks and unlocks them. The bulk goes through gpg itself
//! as a child of ours: gpgme takes a gpg that was killed for one that is done, or, when the pipe to it was full, waits for it for ever on a
//! busy processor; and its children belong to nobody. Ours is in its own group, dies with us, and its exit status is a fact.

pub mod home;
mod public;
mod secret;
mod status;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use home::sweep_stale_homes;
pub use public::{Encrypt, PublicKeys};
pub use secret::{Decrypt, SecretKey};

use self::home::Home;
use self::status::{Seen, Words};
use crate::port::{Context, Stream};
use crate::process::Program;
use crate::report::{Report, Result};

/// Says what gpg's words mean.
type Judge = Box<dyn Fn(&Seen) -> Result<()> + Send>;

/// gpg over a stream. What it says decides, together with its exit status, how the stream ends.
struct Bulk {
    inner: Stream,
    words: Words,
    input_failed: Arc<AtomicBool>,
    cancelled: tokio_util::sync::CancellationToken,
    judge: Judge,
}

impl Bulk {
    /// Starts gpg in `home` with `arguments`; `judge` says what its words mean, once it has ended.
    fn start(
        home: &Home,
        arguments: &[&str],
        input: Stream,
        judge: impl Fn(&Seen) -> Result<()> + Send + 'static,
        cx: &Context,
    ) -> Result<Bulk> {
        let words = Words::default();
        let input_failed = Arc::new(AtomicBool::new(false));
        let gpg = Program::new("gpg")
            .arg("--homedir")
            .arg(home.path())
            .args(["--batch", "--no-tty", "--quiet", "--disable-dirmngr", "--pinentry-mode", "error", "--status-fd", "2"])
            .args(arguments);
        let listening = Context { log: words.log(cx.log.clone()), ..cx.clone() };
        let input = Box::new(Input { inner: input, failed: Arc::clone(&input_failed) });
        let inner = gpg.filter(input, &listening)?;
        Ok(Bulk { inner, words, input_failed, cancelled: cx.cancel.clone(), judge: Box::new(judge) })
    }

    /// What gpg's bad end means: its input's words count, then ours for its own.
    fn explain(&self, error: io::Error) -> io::Error {
        if self.input_failed.load(Ordering::Relaxed) || self.cancelled.is_cancelled() {
            return error;
        }
        let seen = self.words.seen_after_the_end();
        let ended = Report::from_io("gpg failed", error);
        let report = match (self.judge)(&seen) {
            Err(report) => report,
            Ok(()) => Report::failed("gpg did not end well"),
        };
        // Its own lines are among them already, without what is meant for machines.
        report.cause(ended.message).into()
    }
}

impl Read for Bulk {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(into) {
            Ok(0) if !into.is_empty() => {
                (self.judge)(&self.words.seen_after_the_end())?;
                Ok(0)
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(self.explain(error)),
            result => result,
        }
    }
}

/// Remembers whether it was the input that failed.
struct Input {
    inner: Stream,
    failed: Arc<AtomicBool>,
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut unwinding = Unwinding { failed: &self.failed, defused: false };
        let result = self.inner.read(into);
        unwinding.defused = true;
        if result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// A panic of the input is a failure of the input.
struct Unwinding<'a> {
    failed: &'a AtomicBool,
    defused: bool,
}

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if !self.defused {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// A key as people know it: `Ops <ops@example.org> (0123…)`.
fn describe(key: &gpgme::Key) -> String {
    let fingerprint = fingerprint(key);
    let name = key.user_ids().next().and_then(|user| user.id().ok().map(str::to_owned)).unwrap_or_default();
    // A user id is whatever somebody wrote into it.
    let name: String = name.chars().filter(|c| !c.is_control()).take(120).collect();
    if name.is_empty() { fingerprint } else { format!("{name} ({fingerprint})") }
}

/// Upper-case hex.
fn fingerprint(key: &gpgme::Key) -> String {
    key.fingerprint().unwrap_or_default().to_ascii_uppercase()
}

fn failed(message: impl Into<String>, error: gpgme::Error) -> Report {
    Report::failed(message).because(error)
}
