//! A process of our own that walks a run until it is killed: this test binary again, with an order in its environment.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat::config::{self, Inventory};
use lifeboat::port::Context;
use lifeboat::run::engine::Engine;
use lifeboat::run::person::Unattended;
use lifeboat::run::walk::Witness;
use lifeboat::run::{self, Crew, Entry, Fact, Kept};
use lifeboat::runbook::plan::Surroundings;
use lifeboat::runbook::{self, Library, Plan};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::stage;

/// The order's file. Everything that a victim starts inherits it: that is how what is left of one is found.
const ORDER: &str = "LIFEBOAT_VICTIM";

/// What a victim is to do, and when it dies of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub config: PathBuf,
    pub run: String,
    /// Started where there is one, resumed otherwise.
    pub plan: Option<Plan>,
    pub incident_at: Timestamp,
    pub end: End,
}

/// When it is to die by its own hand, by SIGKILL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum End {
    Never,
    /// Just before the n-th fact is written, or once it is on disk.
    At {
        n: u64,
        before: bool,
    },
    /// At the first fact of that kind and step.
    On {
        fact: String,
        step: String,
        before: bool,
    },
    /// At the first moment that is not in this file yet.
    Each {
        survived: PathBuf,
    },
}

/// What became of one.
#[derive(Debug)]
pub struct Fate {
    pub status: ExitStatus,
    pub said: String,
}

impl Fate {
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Where victims live: a configuration in a directory of its own, where what they leave is found.
pub struct Ward {
    pub dir: PathBuf,
    pub config: PathBuf,
    pub inventory: Arc<Inventory>,
}

impl Ward {
    pub fn of(config: &Path) -> Ward {
        let inventory = config::load(config).unwrap_or_else(|problems| panic!("{problems:?}"));
        let dir = config.parent().unwrap().to_owned();
        for own in ["keyrings", "tmp"] {
            fs::create_dir_all(dir.join(own)).unwrap();
        }
        Ward { dir, config: config.to_owned(), inventory: Arc::new(inventory) }
    }

    /// A ward without a server: commands only.
    pub fn bare(dir: &Path) -> Ward {
        let config = dir.join("lifeboat.toml");
        fs::write(
            &config,
            "[environment]\nname = \"bare\"\nproduction = false\n\n[runs]\npath = \"runs\"\n\n[runbooks]\npath = \"books\"\n",
        )
        .unwrap();
        fs::create_dir_all(dir.join("books")).unwrap();
        Ward::of(&config)
    }

    pub fn runs(&self) -> PathBuf {
        self.inventory.runs()
    }

    /// A runbook of the shipped ones and `book`, planned for a run of that name.
    pub fn plan(&self, book: Option<&Path>, id: &str, run: &str, started_at: Timestamp, values: &[(&str, &str)]) -> Plan {
        let mut library = Library::shipped();
        if let Some(book) = book {
            library = library.with(lifeboat::report::diagnostic::Source::read(book).unwrap());
        }
        let draft = runbook::load(&library, id, None).unwrap_or_else(|problems| panic!("{problems:?}"));
        let surroundings = Surroundings {
            environment: self.inventory.environment.name.clone(),
            production: self.inventory.environment.production,
            run: run.into(),
            started_at,
            vars: self.inventory.vars.clone(),
        };
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        draft.plan(&values, surroundings).unwrap()
    }

    pub fn start(&self, plan: Plan, incident_at: Timestamp, end: End) -> Fate {
        self.run(&Order { config: self.config.clone(), run: plan.surroundings.run.clone(), plan: Some(plan), incident_at, end })
    }

    pub fn resume(&self, run: &str, end: End) -> Fate {
        self.run(&Order { config: self.config.clone(), run: run.into(), plan: None, incident_at: Timestamp::now(), end })
    }

    pub fn run(&self, order: &Order) -> Fate {
        self.spawn(order).wait()
    }

    pub fn spawn(&self, order: &Order) -> Victim {
        let file = self.dir.join(format!("order-{}.json", order.run));
        fs::write(&file, serde_json::to_vec(order).unwrap()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "victim::the_victim", "--nocapture", "--test-threads=1"]);
        self.send_off(command, &file)
    }

    /// Any program, as a victim: its descendants are known by its environment.
    pub fn send_off(&self, mut command: Command, mark: &Path) -> Victim {
        let said = mark.with_extension("said");
        command.env(ORDER, mark).env("XDG_RUNTIME_DIR", self.dir.join("keyrings")).env("TMPDIR", self.dir.join("tmp"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
        Victim { child, said }
    }

    pub fn kept(&self, run: &str) -> Kept {
        run::read(&self.runs(), run).unwrap()
    }

    /// What victims have left running: process id and command line.
    pub fn left_running(&self) -> Vec<(i32, String)> {
        self.running_since(0)
    }

    /// The same, among the few thousand ids that were given after that one; ids begin again from below. 0: among all.
    pub fn running_since(&self, first: i32) -> Vec<(i32, String)> {
        let mark = format!("{ORDER}={}", self.dir.display());
        let mut found = Vec::new();
        let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let last: i32 = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
        for id in ids.filter(|id| first == 0 || (id - first).rem_euclid(last) < 3000) {
            let entry = PathBuf::from(format!("/proc/{id}"));
            let environment = fs::read(entry.join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes())) {
                let command = fs::read(entry.join("cmdline")).unwrap_or_default();
                found.push((id, String::from_utf8_lossy(&command).replace('\0', " ")));
            }
        }
        found
    }

    /// Keyrings that are there now, locks and all.
    pub fn keyrings(&self) -> Vec<PathBuf> {
        let homes = fs::read_dir(self.dir.join("keyrings")).unwrap().flatten().filter_map(|base| fs::read_dir(base.path()).ok());
        homes.flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Nothing of any victim runs, and neither a keyring nor a temporary file of theirs is left.
    pub fn assert_nothing_left(&self) {
        until("what victims started to end", || self.left_running().is_empty());
        assert_eq!(self.keyrings(), Vec::<PathBuf>::new());
        let files: Vec<PathBuf> = fs::read_dir(self.dir.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files, Vec::<PathBuf>::new());
    }
}

/// One that was sent off.
pub struct Victim {
    pub child: Child,
    said: PathBuf,
}

impl Victim {
    pub fn wait(mut self) -> Fate {
        let status = self.child.wait().unwrap();
        Fate { status, said: fs::read_to_string(&self.said).unwrap_or_default() }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// SIGKILL; one that is gone already is none the worse for it.
pub fn kill(id: i32) -> bool {
    Pid::from_raw(id).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// Dies where its order says.
struct Killer {
    end: End,
    survived: HashSet<String>,
    facts: u64,
}

impl Killer {
    fn new(end: End) -> Killer {
        let survived = match &end {
            End::Each { survived } => fs::read_to_string(survived).unwrap_or_default().lines().map(str::to_owned).collect(),
            _ => HashSet::new(),
        };
        Killer { end, survived, facts: 0 }
    }

    fn look(&mut self, fact: &Fact, before: bool) {
        self.facts += u64::from(before);
        let value = serde_json::to_value(fact).unwrap();
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let dies = match &self.end {
            End::Never => false,
            End::At { n, before: wanted } => *n == self.facts && *wanted == before,
            End::On { fact, step, before: wanted } => *wanted == before && text("fact") == *fact && text("step") == *step,
            // Before a fact that follows from no deed nothing else has happened than after the one in front of it.
            End::Each { .. } if before && !["action-ended", "checked"].contains(&text("fact").as_str()) => false,
            End::Each { survived } => {
                let question = value["question"]["ask"].as_str().unwrap_or_default();
                let moment = format!("{} {} {} {question} {before}", text("fact"), text("step"), text("check"));
                let is_new = !self.survived.contains(&moment);
                if is_new {
                    let mut file = OpenOptions::new().create(true).append(true).open(survived).unwrap();
                    writeln!(file, "{moment}").unwrap();
                }
                is_new
            }
        };
        if dies {
            kill(i32::try_from(std::process::id()).unwrap());
            std::thread::sleep(Duration::from_mins(1));
        }
    }
}

impl Witness for Killer {
    fn before(&mut self, fact: &Fact) {
        self.look(fact, true);
    }

    fn after(&mut self, entry: &Entry, _: &Plan) {
        self.look(&entry.fact, false);
    }
}

/// Not a test: what [`Ward::spawn`] starts. Without an order it has nothing to do.
#[test]
fn the_victim() {
    let Some(file) = std::env::var_os(ORDER) else { return };
    let order: Order = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let runtime = stage::runtime();
    let cx = Context::new(runtime.handle().clone());
    let inventory = config::load(&order.config).unwrap();
    let (runs, environment) = (inventory.runs(), inventory.environment.name.clone());
    let crew = Crew {
        hands: Arc::new(Engine::new(Arc::new(inventory))),
        person: Box::new(Unattended { boxed: true }),
        witness: Box::new(Killer::new(order.end)),
    };
    let live = match order.plan {
        Some(plan) => run::start(&runs, plan, true, order.incident_at, crew, &cx),
        None => run::resume(&runs, &order.run, &environment, crew, &cx),
    };
    let code = match live.and_then(|live| live.wait()) {
        Ok(_) => 0,
        Err(report) => {
            eprintln!("{report:?}");
            report.kind.exit_code()
        }
    };
    std::process::exit(code.into());
}
