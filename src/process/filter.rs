//! A child between two streams: what `a | child | b` is in a shell, with every failure told.

use std::io::{self, Read};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal};

use super::{Fed, Program, Running, feed, signal_group};
use crate::port::{Context, Stream};
use crate::report::{Report, Result};

impl Program {
    /// Starts it with `input` on its standard input; its standard output as a stream, which ends only if all of `input` was taken, `input`
    /// ended well and the child exited 0. When `input` fails, the child is killed before it can take the end of its input for the end of the
    /// data, and that failure is what the stream tells. Dropping the stream ends the child and waits for `input` to be let go.
    pub fn filter(&self, input: Stream, cx: &Context) -> Result<Stream> {
        let mut running = self.spawn(Stdio::piped(), Stdio::piped(), cx)?;
        let no_pipe = || Report::failed("no pipe to the child");
        let stdin = running.child.stdin.take().ok_or_else(no_pipe)?;
        let stdout = running.child.stdout.take().ok_or_else(no_pipe)?;
        let victim = Victim::of(&running);
        let feeder = {
            let victim = victim.clone();
            thread::spawn(move || pour(input, stdin, &victim))
        };
        Ok(Box::new(Filtered { stdout: Some(stdout), running, victim, feeder: Some(feeder), over: false }))
    }
}

/// The child as long as it can be killed by its number: once it is waited for, the number may be somebody else's.
#[derive(Clone)]
struct Victim(Arc<Mutex<Life>>);

#[derive(Clone, Copy, PartialEq)]
enum Life {
    Running(Pid),
    Killed,
    Waited,
}

impl Victim {
    fn of(running: &Running) -> Victim {
        Victim(Arc::new(Mutex::new(Life::Running(running.pid))))
    }

    fn kill(&self) {
        let mut life = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Life::Running(pid) = *life {
            signal_group(pid, Signal::KILL);
            *life = Life::Killed;
        }
    }

    /// From now on it is waited for. Gives whether it was killed before.
    fn spare(&self) -> bool {
        let mut life = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *life, Life::Waited) == Life::Killed
    }
}

fn pour(mut input: Stream, mut stdin: ChildStdin, victim: &Victim) -> Fed {
    let fed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feed(&mut *input, &mut stdin)));
    let fed = fed.unwrap_or_else(|_| Fed::InputFailed(io::Error::other("a stage panicked")));
    if let Fed::InputFailed(_) = fed {
        victim.kill();
    }
    fed
}

struct Filtered {
    stdout: Option<ChildStdout>,
    running: Running,
    victim: Victim,
    feeder: Option<JoinHandle<Fed>>,
    over: bool,
}

impl Filtered {
    /// The child closed its output: how did it end, and what became of its input?
    fn end(&mut self) -> io::Result<()> {
        let killed = self.victim.spare();
        let ended = self.running.wait();
        // After a bad end that was not its doing the feeder may still wait for its input, and has nothing to say.
        let feeder = self.feeder.take_if(|_| ended.is_ok() || killed);
        let fed = feeder.map(|feeder| feeder.join().unwrap_or_else(|_| Fed::InputFailed(io::Error::other("a stage panicked"))));
        match (fed, ended) {
            (Some(Fed::InputFailed(error)), _) => Err(error),
            (_, Err(report)) => Err(report.into()),
            (Some(Fed::All), Ok(())) => Ok(()),
            (Some(Fed::Refused) | None, Ok(())) => {
                Err(Report::failed(format!("{} ended before it had read all of its input", self.running.name)).into())
            }
        }
    }
}

impl Read for Filtered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.over || into.is_empty() {
            return Ok(0);
        }
        let Some(stdout) = &mut self.stdout else { return Err(io::Error::other(format!("{} failed before", self.running.name))) };
        let count = stdout.read(into)?;
        if count == 0 {
            self.stdout = None;
            self.end()?;
            self.over = true;
        }
        Ok(count)
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        self.running.kill();
        self.victim.spare();
        if let Some(feeder) = self.feeder.take() {
            // What it would say nobody asks any more.
            feeder.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> (tokio::runtime::Runtime, Context) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        (runtime, cx)
    }

    fn through(program: &Program, input: Stream) -> io::Result<Vec<u8>> {
        let (_runtime, cx) = context();
        let mut output = Vec::new();
        program.filter(input, &cx).unwrap().read_to_end(&mut output)?;
        Ok(output)
    }

    /// Gives some bytes, then fails or panics.
    struct Broken(usize, bool);

    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(self.0 > 0 || !self.1, "on purpose");
            if self.0 == 0 {
                return Err(Report::refused("the source is cut").into());
            }
            let count = into.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn bytes_go_through() {
        let bytes = vec![7; 3_000_000];
        assert!(through(&Program::new("cat"), Box::new(io::Cursor::new(bytes.clone()))).unwrap() == bytes);
        assert_eq!(through(&Program::new("cat"), Box::new(io::empty())).unwrap(), b"");
    }

    #[test]
    fn an_input_that_fails_or_panics_is_the_error_and_never_an_end() {
        let error = through(&Program::new("cat"), Box::new(Broken(500_000, false))).unwrap_err();
        assert_eq!(Report::from_io("x", error), Report::refused("the source is cut"));
        assert!(through(&Program::new("cat"), Box::new(Broken(500_000, true))).unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn a_child_that_fails_or_stops_reading_is_an_error_however_much_it_wrote() {
        for (script, why) in [
            ("cat; echo broken >&2; exit 3", "exited with 3: broken"),
            ("head -c 10; kill -KILL $$", "killed by signal 9"),
            ("head -c 10", "ended before it had read all"),
        ] {
            let error = through(&Program::new("sh").args(["-c", script]), Box::new(io::Cursor::new(vec![0; 2_000_000]))).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    /// Held by whoever counts.
    struct Endless(#[expect(dead_code, reason = "counted from outside")] Arc<()>);

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            Ok(into.len())
        }
    }

    #[test]
    fn dropping_it_ends_the_child_and_lets_the_input_go() {
        let (_runtime, cx) = context();
        let held = Arc::new(());
        let mut stream = Program::new("cat").filter(Box::new(Endless(Arc::clone(&held))), &cx).unwrap();
        stream.read_exact(&mut vec![0; 100_000]).unwrap();
        drop(stream);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
