//! Child processes done right: own session without a terminal, the tail of stderr kept, killed on cancel and with us, EOF only on exit 0.
//!
//! Only `system`, `pipeline` and `drill` start processes. Nothing secret ever goes into arguments or environment.

mod afterwards;
mod conversation;
mod filter;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::port::{Context, Log, Stream};
use crate::report::{Explain, Report, Result};

pub use afterwards::Afterwards;
pub use conversation::Conversation;

/// How many of the last lines of stderr a failure tells.
const TAIL_LINES: usize = 12;

/// How long a child may take to end after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// Most bytes kept of a child's output where it is collected, not streamed.
const OUTPUT_LIMIT: u64 = 64 << 20;

/// Longest line that is heard in one piece.
const LINE_LIMIT: u64 = 8192;

/// What a pipe can hold at most, unless the administrator says otherwise (pipe(7), `/proc/sys/fs/pipe-max-size`).
const LARGE: usize = 1 << 20;

/// A program to run: what, with what, as whom. Never through a shell.
#[derive(Clone, Debug)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    user: Option<(u32, u32)>,
    death: &'static str,
    in_bulk: bool,
}

impl Program {
    /// A program by name (looked up in `PATH`) or path.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Program { name: name.as_ref().into(), args: Vec::new(), env: Vec::new(), dir: None, user: None, death: "KILL", in_bulk: false }
    }

    /// One more argument. Never a secret.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// It moves a lot of bytes to us. Its output comes in pieces of [`LARGE`] instead of the 4 KiB that C's stdio gives a pipe, by coreutils'
    /// `stdbuf`, and as a batch process (sched(7), `SCHED_BATCH`), by util-linux' `chrt`, it does not push others off their processor for each
    /// piece its own source gives it. Each does without the other, where it is not installed; both exec. What they spare: `benches/README.md`.
    #[must_use]
    pub fn in_bulk(mut self) -> Self {
        self.in_bulk = true;
        self
    }

    /// One environment variable. Never a secret: give the path of a file instead.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// The working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().into());
        self
    }

    /// Runs as this user and group; for programs that refuse root.
    #[must_use]
    pub fn as_user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// The signal the kernel sends it when we die: `KILL` unless said, `QUIT` for a PostgreSQL server.
    #[must_use]
    pub fn on_our_death(mut self, signal: &'static str) -> Self {
        self.death = signal;
        self
    }

    /// The same program at the far end of a prefix such as `ssh host` or `kubectl exec -i pod --`: environment does not cross it, so
    /// that becomes arguments of `env`, and what would redirect a PostgreSQL client over there is unset. Where a `shell` reads the far
    /// end's arguments as one text, as ssh has it, every word is quoted.
    #[must_use]
    pub fn through(self, prefix: &[String], shell: bool) -> Program {
        let words = ["env", "-u", "PGHOSTADDR", "-u", "PGSERVICE", "-u", "PGOPTIONS", "LC_MESSAGES=C"].map(str::to_owned);
        let settings = self.env.iter().map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
        let own = std::iter::once(&self.name).chain(&self.args).map(|word| word.to_string_lossy().into_owned());
        let far: Vec<String> = words.into_iter().chain(settings).chain(own).collect();
        let (program, before) = prefix.split_first().map_or(("env", &[][..]), |(program, before)| (program.as_str(), before));
        let near = Program { user: self.user, dir: self.dir, death: self.death, ..Program::new(program) }.args(before);
        if shell { near.arg(shell_words::join(far)) } else { near.args(far) }
    }

    /// The last part of its name: `pg_dump`.
    pub fn short_name(&self) -> String {
        Path::new(&self.name).file_name().unwrap_or(&self.name).to_string_lossy().into_owned()
    }

    /// The command as one could paste it.
    pub fn describe(&self) -> String {
        let words = std::iter::once(&self.name).chain(&self.args).map(|word| word.to_string_lossy());
        shell_words::join(words)
    }

    /// Runs it to its end without input and gives its standard output. Exit other than 0 is an error with the tail of its stderr.
    pub fn run(&self, cx: &Context) -> Result<Vec<u8>> {
        self.run_with(Box::new(io::empty()), cx)
    }

    /// Runs it with `input` on its standard input and gives its standard output.
    /// When `input` fails, the child is killed before it can take the end of its input for the end of the data, and that failure is reported.
    pub fn run_with(&self, input: Stream, cx: &Context) -> Result<Vec<u8>> {
        self.run_through(input, collect, cx)
    }

    /// The same of one whose output is not kept: `hear` is told each line as it comes, cut where it is longer than anybody wants to know.
    pub fn run_heard(&self, input: Stream, mut hear: impl FnMut(&str) + Send + 'static, cx: &Context) -> Result<()> {
        self.run_through(input, move |stdout| hear_lines(stdout, &mut hear), cx)
    }

    fn run_through<T: Send + 'static>(
        &self,
        mut input: Stream,
        read: impl FnOnce(ChildStdout) -> io::Result<T> + Send + 'static,
        cx: &Context,
    ) -> Result<T> {
        let mut running = self.spawn(Stdio::piped(), Stdio::piped(), cx)?;
        let pipes = running.child.stdin.take().zip(running.child.stdout.take());
        let (mut stdin, stdout) = pipes.ok_or_else(|| Report::failed("no pipe to the child"))?;
        let reader = thread::spawn(move || read(stdout));
        let fed = feed(&mut *input, &mut stdin);
        if let Fed::InputFailed(error) = fed {
            running.kill();
            let ended = running.wait();
            // An input that waits for what the child does fails when the child does. Of one that we killed the own words do not matter.
            if running.status.is_some_and(|status| status.code().is_some()) {
                ended?;
            }
            cx.check()?;
            return Err(Report::from_io(format!("reading the input of {}", self.short_name()), error));
        }
        drop(stdin);
        let output = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader thread panicked")));
        running.wait()?;
        if matches!(fed, Fed::Refused) {
            return Err(Report::failed(format!("{} ended before it had read all of its input", running.name)));
        }
        output.explain(|| format!("reading the output of {}", self.short_name()))
    }

    /// Starts it without input; its standard output as a stream that ends only if it exited 0.
    pub fn stream(&self, cx: &Context) -> Result<Stream> {
        let mut running = self.spawn(Stdio::null(), Stdio::piped(), cx)?;
        let stdout = running.child.stdout.take().ok_or_else(|| Report::failed("no pipe to the child"))?;
        if self.in_bulk {
            // A smaller pipe is slower, and as good.
            rustix::pipe::fcntl_setpipe_size(&stdout, LARGE).ok();
        }
        Ok(Box::new(Output { stdout, running, over: false }))
    }

    /// Starts it and lets it run: a server. It is stopped when the handle is dropped, and dies with us.
    pub fn serve(&self, cx: &Context) -> Result<Running> {
        self.spawn(Stdio::null(), Stdio::null(), cx)
    }

    fn spawn(&self, stdin: Stdio, stdout: Stdio, cx: &Context) -> Result<Running> {
        cx.check()?;
        let name = self.short_name();
        let program = find(&self.name)?;
        let mut words = if self.in_bulk { bulk_prefix() } else { Vec::new() };
        words.push(program.into());
        let mut command = leashed(Path::new(&words[0]), self.death, self.user);
        command.args(&words[1..]);
        command.args(&self.args).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        // What the caller's shell says of PostgreSQL must not redirect a restore; a pager must not wait for a key.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("PG")) {
            command.env_remove(key);
        }
        command.env("PAGER", "cat").env("LC_MESSAGES", "C").envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let mut child = spawn_from_keeper(command).explain(|| format!("starting {name}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| Report::failed("no process id"))?;
        let tail = child.stderr.take().map(|stderr| Tail::follow(name.clone(), stderr, cx.log.clone()));
        let ended = CancellationToken::new();
        cx.runtime.spawn(kill_when_cancelled(pid, cx.cancel.clone(), ended.clone()));
        Ok(Running { name, child, pid, tail, cancel: cx.cancel.clone(), status: None, _ended: ended.drop_guard() })
    }
}

/// A child that runs. Dropping it ends it: SIGTERM to its group, SIGKILL after a grace time.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid: Pid,
    tail: Option<Tail>,
    cancel: CancellationToken,
    status: Option<ExitStatus>,
    _ended: DropGuard,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. Exit other than 0 is an error with the tail of its stderr.
    pub fn wait(&mut self) -> Result<()> {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().explain(|| format!("waiting for {}", self.name))?,
        };
        self.status = Some(status);
        let tail = self.tail.as_mut().map(Tail::end).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        if self.cancel.is_cancelled() {
            return Err(Report::cancelled().cause(format!("{} was stopped", self.name)));
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("{} exited with {code}", self.name),
            (None, Some(signal)) => format!("{} was killed by signal {signal}", self.name),
            (None, None) => format!("{} ended: {status}", self.name),
        };
        Err(Report::failed(how).cause(tail))
    }

    /// It has ended, well or not.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// What it said last on stderr.
    pub fn tail(&self) -> String {
        self.tail.as_ref().map(Tail::read).unwrap_or_default()
    }

    /// Asks it to end, with the given signal to it alone: `TERM`, `INT` (PostgreSQL: fast shutdown).
    pub fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            // It may have ended between the question and the signal; then there is nothing left to stop.
            kill_process(self.pid, signal).ok();
        }
    }

    /// Kills it and its group at once.
    pub fn kill(&mut self) {
        if !self.has_ended() {
            signal_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        signal_group(self.pid, Signal::TERM);
        let until = std::time::Instant::now() + GRACE;
        while !self.has_ended() && std::time::Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        // Reaps it; after SIGKILL there is nothing else it could say.
        self.child.wait().ok();
    }
}

/// A child's standard output. `Ok(0)` only after it exited 0.
struct Output {
    stdout: ChildStdout,
    running: Running,
    over: bool,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.stdout.read(buffer)?;
        if count == 0 {
            self.running.wait()?;
            self.over = true;
        }
        Ok(count)
    }
}

/// The last lines a child said on stderr.
#[derive(Debug)]
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    fn follow(name: String, stderr: ChildStderr, log: Log) -> Tail {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            let read = hear_lines(stderr, &mut |text: &str| {
                log.say(&name, text);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(text.to_owned());
                if kept.len() > TAIL_LINES {
                    kept.pop_front();
                }
            });
            read.ok(); // a child that cannot be heard any more has nothing more to say
        });
        Tail { lines, reader: Some(reader) }
    }

    fn read(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// All it said, once it has ended. A grandchild may hold stderr open; it is not waited for beyond a moment.
    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let until = std::time::Instant::now() + Duration::from_millis(500);
            while !reader.is_finished() && std::time::Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.read()
    }
}

enum Fed {
    All,
    /// The child closed its input early; its exit tells why.
    Refused,
    InputFailed(io::Error),
}

fn feed(input: &mut dyn Read, stdin: &mut impl Write) -> Fed {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Fed::All,
            Ok(count) if stdin.write_all(&buffer[..count]).is_err() => return Fed::Refused,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Fed::InputFailed(error),
        }
    }
}

fn collect(mut stdout: ChildStdout) -> io::Result<Vec<u8>> {
    let mut collected = Vec::new();
    stdout.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut collected)?;
    if io::copy(&mut stdout, &mut io::sink())? > 0 {
        return Err(io::Error::other(format!("more than {} MiB of output", OUTPUT_LIMIT >> 20)));
    }
    Ok(collected)
}

/// A line without an end is cut, not collected for ever.
fn hear_lines(stream: impl Read, hear: &mut impl FnMut(&str)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)? > 0 {
        hear(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

async fn kill_when_cancelled(pid: Pid, cancel: CancellationToken, ended: CancellationToken) {
    tokio::select! {
        () = ended.cancelled() => return,
        () = cancel.cancelled() => signal_group(pid, Signal::TERM),
    }
    tokio::select! {
        () = ended.cancelled() => {}
        () = tokio::time::sleep(GRACE) => signal_group(pid, Signal::KILL),
    }
}

/// To the whole group, or to the child alone in the instant before it has made its own.
fn signal_group(pid: Pid, signal: Signal) {
    if kill_process_group(pid, signal).is_err() {
        // Gone already is what we want.
        kill_process(pid, signal).ok();
    }
}

/// `setsid` takes the terminal away and makes the group; `setpriv` ties the child's life to ours. Both exec, so the process id stays.
fn leashed(program: &Path, death: &str, user: Option<(u32, u32)>) -> Command {
    static LEASH: OnceLock<bool> = OnceLock::new();
    let leash = *LEASH.get_or_init(|| find(OsStr::new("setsid")).is_ok() && find(OsStr::new("setpriv")).is_ok());
    if leash {
        let mut command = Command::new("setsid");
        command.arg("setpriv").arg(format!("--pdeathsig={death}"));
        if let Some((uid, gid)) = user {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command.arg("--").arg(program);
        return command;
    }
    let mut command = Command::new(program);
    command.process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// See [`Program::in_bulk`].
fn bulk_prefix() -> Vec<OsString> {
    let large = format!("--output={LARGE}");
    let prefixes: [&[&str]; 2] = [&["chrt", "--batch", "0"], &["stdbuf", &large]];
    let installed = prefixes.into_iter().filter(|words| find(OsStr::new(words[0])).is_ok());
    installed.flatten().map(OsString::from).collect()
}

/// The program's path, or one clear error.
fn find(name: &OsStr) -> Result<PathBuf> {
    let missing = || Report::failed(format!("{} is not installed", name.to_string_lossy()));
    if name.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return if path.is_file() { Ok(path) } else { Err(missing().hint(format!("{} does not exist", path.display()))) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| missing().hint(format!("install {}, or put it in PATH", name.to_string_lossy())))
}

/// Children are started by one thread that lives as long as we do: the kernel sends the death signal when the *thread* that started a
/// child ends (prctl(2), PR_SET_PDEATHSIG), and our stages come and go.
fn spawn_from_keeper(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static KEEPER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                // Whoever asked may be gone; then the child's handle is dropped with the reply.
                reply.send(command.spawn()).ok();
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    keeper.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_changes_nothing_but_the_size_of_writes() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let numbers = |program: Program| {
            let mut stream = program.stream(&cx).unwrap();
            let (mut text, mut first) = (Vec::new(), vec![0; LARGE]);
            let count = stream.read(&mut first).unwrap();
            text.extend_from_slice(&first[..count]);
            stream.read_to_end(&mut text).unwrap();
            (text, count)
        };
        let program = || Program::new("seq").args(["1", "300000"]);
        let (plain, _) = numbers(program());
        let (large, first) = numbers(program().in_bulk());
        assert!(plain == large && plain.len() > LARGE);
        assert!(first > 4096, "{first} bytes at once");
        let error = Program::new("sh").args(["-c", "echo half; exit 3"]).in_bulk().stream(&cx).unwrap().read_to_end(&mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("sh exited with 3"));
    }

    // TRAPS 42
    #[test]
    fn a_child_has_no_terminal_and_nothing_to_read() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let script = "cat; test -t 0 && echo asks; (: </dev/tty) 2>/dev/null && echo prompts; echo \"$PAGER\"";
        let said = Program::new("sh").args(["-c", script]).run(&cx).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), "cat\n", "it reads nothing, has no terminal to ask, and pages with cat");
    }
}
