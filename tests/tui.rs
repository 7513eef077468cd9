//! The screen in a real terminal: this test binary runs itself again inside a PTY, where one ignored test shows the screen over a
//! scripted world.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat::port::Reading;
use lifeboat::report::{Report, Result};
use lifeboat::run::fact::{Entry, Fact, Proven};
use lifeboat::run::overview::{Overview, RunbookCard};
use lifeboat::run::{Answer, Question, State, Verdict};
use lifeboat::runbook::Plan;
use lifeboat::tui::{Bridge, Follow, Options, Start};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

const PLAN: &str = r#"
runbook = "swap"
title = "Swap the databases"
owner = "data platform"
review_by = "2099-01-01"
steps = [
  { id = "look", title = "Look around", why = "Once.", action = { kind = "wait", for = "1s" }, verify = { none = "the wait" }, expect = "1s", repeatable = true },
  { id = "swap", title = "Swap", why = "Twice.", action = { kind = "wait", for = "1s" }, verify = { none = "the wait" }, expect = "1s", repeatable = true, danger = "orders" },
]
"#;

/// A run that asks twice and writes what it is told to standard error, which the outer test reads from a file.
struct Scripted {
    plan: Arc<Plan>,
    entries: Mutex<Vec<Entry>>,
}

impl Scripted {
    fn new() -> Self {
        let run = Scripted { plan: Arc::new(toml::from_str(PLAN).unwrap()), entries: Mutex::default() };
        run.tell(Fact::RunStarted {
            run: "r1".into(),
            runbook: "swap".into(),
            title: "Swap the databases".into(),
            environment: "shop-prod".into(),
            production: true,
            plan: String::new(),
            drill: false,
            incident_at: Timestamp::now(),
            by: "ada@bastion".into(),
            tool: "lifeboat".into(),
        });
        run.ask("look", Question::Ready);
        run
    }

    fn tell(&self, fact: Fact) {
        let mut entries = self.entries.lock().unwrap();
        let seq = entries.len() as u64 + 1;
        entries.push(Entry { seq, at: Timestamp::now(), prev: String::new(), fact });
    }

    fn ask(&self, step: &str, question: Question) {
        self.tell(Fact::StepStarted { step: step.into(), title: String::new(), attempt: 1 });
        self.tell(Fact::Asked { step: step.into(), question });
    }
}

/// Says something the outer test can find: the screen itself only ever shows frames.
fn note(words: &str) {
    let path = std::env::var("LIFEBOAT_TEST_NOTES").unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{words}").unwrap();
}

impl Follow for Scripted {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }
    fn state(&self) -> Arc<State> {
        Arc::new(State::fold(&self.plan, self.entries.lock().unwrap().iter()))
    }
    fn head(&self) -> String {
        "c0ffee00".repeat(8)
    }
    fn readings(&self) -> Vec<Reading> {
        Vec::new()
    }
    fn log(&self, _: usize) -> Vec<(String, String)> {
        Vec::new()
    }
    fn version(&self) -> u64 {
        self.entries.lock().unwrap().len() as u64
    }
    fn answer(&self, answer: Answer) -> Result<()> {
        // Whatever speaks on standard error while the screen is up must not tear it.
        thread::spawn(|| eprintln!("\n\n\nsomebody else speaks\n\n")).join().unwrap();
        note(&format!("answer {answer:?}"));
        let step = if answer == Answer::Go { "look" } else { "swap" };
        self.tell(Fact::Answered { step: step.into(), answer: answer.clone(), by: "ada@bastion".into() });
        self.tell(Fact::StepProven { step: step.into(), how: Proven::Action });
        match answer {
            Answer::Go => self.ask("swap", Question::Danger { target: "orders".into(), consequence: "orders is replaced".into() }),
            Answer::Record => panic!("a panic below the screen"),
            _ => self.tell(Fact::RunEnded { verdict: Verdict::Proven, reason: None }),
        }
        Ok(())
    }
    fn interrupt(&self) {}
    fn detach(&self) {
        note("detached");
    }
    fn wait(&self) -> Result<Verdict> {
        Err(Report::failed("nobody waits here"))
    }
    fn ended(&self) -> Option<Result<Verdict>> {
        self.state().verdict.as_ref().map(|(verdict, _)| Ok(*verdict))
    }
}

/// A world of one runbook, gathered so many times.
struct World(i64);

impl Bridge for World {
    fn overview(&mut self) -> Overview {
        let card = RunbookCard {
            id: "swap".into(),
            title: "Swap the databases".into(),
            summary: String::new(),
            owner: "data platform".into(),
            review_by: "2099-01-01".parse().unwrap(),
            steps: 2,
            rto: None,
            last_proven: None,
        };
        Overview {
            environment: "shop-prod".into(),
            production: true,
            gathered_at: Some(Timestamp::from_second(self.0).unwrap()),
            runbooks: vec![card],
            ..Overview::default()
        }
    }
    fn refresh(&mut self) {
        self.0 += 1;
    }
    fn plan(&mut self, runbook: &str) -> Result<Plan> {
        assert_ne!(std::env::var("LIFEBOAT_TEST_PANIC").as_deref(), Ok("1"), "a panic on purpose");
        if runbook == "swap" { Ok(toml::from_str(PLAN).unwrap()) } else { Err(Report::usage("no such runbook")) }
    }
    fn start(&mut self, _: &str, _: BTreeMap<String, String>) -> Result<Box<dyn Follow>> {
        Ok(Box::new(Scripted::new()))
    }
    fn resume(&mut self, _: &str) -> Result<Box<dyn Follow>> {
        Ok(Box::new(Scripted::new()))
    }
}

#[test]
#[ignore = "the other side: run by the tests below inside a PTY"]
fn inside_a_terminal() {
    if std::env::var("LIFEBOAT_TEST_NOTES").is_err() {
        return;
    }
    let exit = lifeboat::tui::run(Box::new(World(0)), Options { theme: None, themes: None, start: Start::Home }).unwrap();
    note(&format!("left, gone {}, run {}", exit.gone, exit.follow.is_some()));
}

/// A terminal with a program in it.
pub struct Pty {
    child: Box<dyn Child + Send + Sync>,
    master: Option<Box<dyn MasterPty + Send>>,
    keyboard: Option<Box<dyn Write + Send>>,
    screen: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    notes: tempfile::NamedTempFile,
}

impl Pty {
    fn open(variables: &[(&str, &str)]) -> Pty {
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tui::inside_a_terminal", "--ignored", "--nocapture"]);
        for (name, value) in variables {
            command.env(name, value);
        }
        Pty::run(command)
    }

    /// 80×24, UTF-8, 256 colours; what `command` says besides.
    pub fn run(mut command: CommandBuilder) -> Pty {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let notes = tempfile::NamedTempFile::new().unwrap();
        command.env("LIFEBOAT_TEST_NOTES", notes.path());
        for (name, value) in [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")] {
            if command.get_env(name).is_none_or(|set| std::env::var_os(name).is_some_and(|ours| ours == set)) {
                command.env(name, value);
            }
        }
        for name in ["NO_COLOR", "COLORFGBG"] {
            if std::env::var_os(name).is_some() {
                command.env_remove(name);
            }
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new((vt100::Parser::new(24, 80, 0), Vec::new())));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let seen = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = reader.read(&mut buffer) {
                if count == 0 {
                    break;
                }
                let mut seen = seen.lock().unwrap();
                seen.0.process(&buffer[..count]);
                seen.1.extend_from_slice(&buffer[..count]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Pty { child, master: Some(pair.master), keyboard: Some(keyboard), screen, notes }
    }

    pub fn shown(&self) -> String {
        self.screen.lock().unwrap().0.screen().contents()
    }

    fn written(&self) -> Vec<u8> {
        self.screen.lock().unwrap().1.clone()
    }

    fn noted(&self) -> String {
        std::fs::read_to_string(self.notes.path()).unwrap()
    }

    /// What is on the screen, with its colours.
    pub fn screen(&self) -> vt100::Screen {
        self.screen.lock().unwrap().0.screen().clone()
    }

    pub fn press(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    pub fn wait_for(&self, what: &str, holds: impl Fn(&Pty) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "no {what}\nscreen:\n{}\nnotes:\n{}", self.shown(), self.noted());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |pty| pty.shown().contains(text));
    }

    /// Until the process has ended; its exit code.
    pub fn wait_for_end(&mut self) -> u32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end\nnotes:\n{}", self.noted());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Walks to the danger question.
fn at_danger(variables: &[(&str, &str)]) -> Pty {
    let mut pty = Pty::open(variables);
    pty.wait_for_text("Swap the databases");
    pty.press("\r");
    pty.wait_for_text("Start in PRODUCTION shop-prod");
    pty.press("\r");
    pty.wait_for_text("Enter start");
    pty.press("\r");
    pty.wait_for_text("Enter type the name");
    pty
}

#[test]
fn a_run_is_walked_in_a_real_terminal() {
    // X1
    let mut pty = at_danger(&[]);
    assert!(pty.shown().lines().next().is_some_and(|line| line.contains("PRODUCTION") && line.contains("shop-prod")));
    assert!(pty.shown().contains("journal c0ffee00"), "{}", pty.shown());
    pty.press("\rorders\r\r\r");
    pty.wait_for_text("the name is right");
    assert!(!pty.noted().contains("Typed"), "Enter confirmed danger");
    pty.press("\x19");
    pty.wait_for_text("PROVEN");
    assert!(pty.noted().contains("answer Typed { text: \"orders\" }"), "{}", pty.noted());
    pty.press("q");
    pty.wait_for_text("Runbooks");
    assert!(!pty.shown().contains("somebody else speaks"), "{}", pty.shown());
    pty.press("q");
    assert_eq!(pty.wait_for_end(), 0);
    pty.wait_for_text("somebody else speaks");
    assert!(pty.noted().contains("left, gone false, run true"), "{}", pty.noted());
    assert!(!pty.noted().contains("detached"), "a run that is over is not detached: {}", pty.noted());
}

#[test]
fn a_terminal_that_goes_away_ends_the_screen_and_detaches_the_run() {
    // Trap 44: nothing spins, the run is told.
    let mut pty = at_danger(&[]);
    let before = Instant::now();
    pty.keyboard = None;
    pty.master = None;
    // The reader thread still holds a copy of the master, so the end is told by the signal a closing session sends.
    let pid = i32::try_from(pty.child.process_id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // It may have noticed already.
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).ok();
    pty.wait_for_end();
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    assert!(pty.noted().contains("detached"), "{}", pty.noted());
    assert!(pty.noted().contains("left, gone true, run true"), "{}", pty.noted());
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    // Trap 48.
    let mut pty = Pty::open(&[("LIFEBOAT_TEST_PANIC", "1")]);
    pty.wait_for_text("Swap the databases");
    pty.press("\r");
    assert_ne!(pty.wait_for_end(), 0);
    pty.wait_for("the panic's words", |pty| String::from_utf8_lossy(&pty.written()).contains("a panic on purpose"));
    let written = String::from_utf8_lossy(&pty.written()).into_owned();
    let back = written.find("\x1b[?1049l").unwrap();
    assert!(back < written.find("a panic on purpose").unwrap(), "the screen was still up");
    let shown = written.rfind("\x1b[?25h").unwrap();
    assert!(shown > written.rfind("\x1b[?25l").unwrap(), "the cursor is hidden");
}

#[test]
fn no_color_writes_no_colour_and_keeps_bold_and_reverse() {
    // Trap 45.
    let pty = at_danger(&[("NO_COLOR", "1")]);
    let written = String::from_utf8_lossy(&pty.written()).into_owned();
    let colours: Vec<&str> = written.split("\x1b[").skip(1).filter(|code| is_colour(code)).collect();
    assert!(colours.is_empty(), "{colours:?}");
    let screen = pty.screen.lock().unwrap();
    let cell = screen.0.screen().cell(0, 1).unwrap();
    assert!(cell.contents() == "P" && cell.inverse() && cell.bold(), "PRODUCTION stands out without colour: {cell:?}");
}

/// An SGR sequence that sets a colour (30–37, 38, 40–47, 48, 90–107); 39 and 49 only take one back.
fn is_colour(code: &str) -> bool {
    let Some(end) = code.find(|c: char| c.is_ascii_alphabetic()).filter(|end| code[*end..].starts_with('m')) else { return false };
    let numbers: Vec<u8> = code[..end].split(';').filter_map(|number| number.parse().ok()).collect();
    numbers.iter().any(|number| matches!(number, 30..=38 | 40..=48 | 90..=107))
}

#[test]
fn an_idle_screen_writes_nothing() {
    // X4: a slow link is not kept busy by a screen nobody touches.
    let pty = Pty::open(&[]);
    pty.wait_for_text("Swap the databases");
    pty.wait_for("an end to the first frame", |pty| {
        let before = pty.written().len();
        thread::sleep(Duration::from_millis(600));
        pty.written().len() == before
    });
    let before = pty.written().len();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(pty.written().len(), before);
}

#[test]
fn a_live_run_that_waits_writes_little_more_than_its_clock() {
    // X4
    let pty = at_danger(&[]);
    thread::sleep(Duration::from_millis(500));
    let before = pty.written().len();
    thread::sleep(Duration::from_secs(2));
    let written = pty.written().len() - before;
    assert!(written < 400, "{written} bytes in two seconds");
}

#[test]
fn a_terminal_that_shrinks_and_grows_is_followed() {
    let pty = Pty::open(&[]);
    pty.wait_for_text("Swap the databases");
    let resize = |rows, cols| {
        pty.master.as_ref().unwrap().resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        pty.screen.lock().unwrap().0.screen_mut().set_size(rows, cols);
    };
    resize(5, 30);
    pty.wait_for_text("too small");
    resize(24, 80);
    pty.wait_for_text("Swap the databases");
}
