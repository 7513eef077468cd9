//! A child one talks to: a line in, a line out, until it is dropped. For `psql` at the far end of a command prefix.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use super::{Program, Running};
use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// Longest answer that is taken.
const LINE_LIMIT: u64 = 16 << 20;

/// How long a child may take to end by itself once its input is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A child with its standard input and output in our hands. Dropping it closes the input, and then ends it as any child is ended.
#[derive(Debug)]
pub struct Conversation {
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    running: Running,
}

impl Program {
    /// Starts it to be talked to.
    pub fn converse(&self, cx: &Context) -> Result<Conversation> {
        let mut running = self.spawn(Stdio::piped(), Stdio::piped(), cx)?;
        let stdin = running.child.stdin.take();
        let stdout = running.child.stdout.take().ok_or_else(|| Report::failed("no pipe to the child"))?;
        Ok(Conversation { stdin, stdout: BufReader::new(stdout), running })
    }
}

impl Conversation {
    /// Says `line` and waits for one line. A child that ends instead is an error with the tail of its stderr.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let said = self.stdin.as_mut().map(|stdin| stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush()));
        let mut answer = Vec::new();
        if matches!(said, Some(Ok(()))) {
            let name = self.running.name.clone();
            self.stdout.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut answer).explain(|| format!("reading what {name} says"))?;
        }
        if answer.last() == Some(&b'\n') {
            answer.pop();
            return String::from_utf8(answer).map_err(|_| Report::failed(format!("{} does not speak UTF-8", self.running.name)));
        }
        self.stdin = None;
        self.running.wait()?;
        Err(Report::failed(format!("{} ended without an answer", self.running.name)))
    }

    /// It has ended, and whatever it held is gone.
    pub fn is_over(&mut self) -> bool {
        self.running.has_ended()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.stdin = None;
        let until = Instant::now() + FAREWELL;
        while !self.running.has_ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
