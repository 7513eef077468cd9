//! What every command starts from: the configuration, the runtime, where runs are kept; and how a walked run is followed from here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::plain::Printer;
use super::{Common, plain, print};
use crate::config::{self, Inventory};
use crate::drill;
use crate::port::{Context, Log};
use crate::report::diagnostic::{self, Diagnostic};
use crate::report::{Explain, Report, Result};
use crate::run::engine::Engine;
use crate::run::person::Person;
use crate::run::report::RunReport;
use crate::run::walk::Witness;
use crate::run::{self, Crew, Live, Verdict};
use crate::runbook::library::Library;
use crate::runbook::plan::{Plan, Surroundings};
use crate::runbook::{self, Draft, Names};

/// A loaded configuration and what is needed to act on it.
pub struct World {
    /// What the configuration names.
    pub inventory: Arc<Inventory>,
    /// Carries steps out.
    pub engine: Engine,
    /// The context of everything this process does.
    pub cx: Context,
    // Dropped last: everything above runs on it.
    _runtime: Runtime,
}

impl World {
    /// Loads the configuration that the command line, the environment or the usual places name.
    pub fn open(common: &Common) -> Result<World> {
        let path = config::find(common.config.as_deref())?;
        World::at(&path)
    }

    /// Loads this configuration.
    pub fn at(path: &Path) -> Result<World> {
        let runtime = runtime()?;
        let mut cx = Context::new(runtime.handle().clone());
        cx.log = Log::to(|who, line| {
            // Its own words only: what children say is kept for their failures.
            if ["backup", "restore", "pick", "proof", "compare", "sweep", "pull"].contains(&who) {
                plain::say(&format!("          {line}"));
            }
        });
        World::with(path, runtime, cx)
    }

    /// Loads this configuration for a process that already has a runtime going.
    pub fn with(path: &Path, runtime: Runtime, cx: Context) -> Result<World> {
        let inventory = Arc::new(config::load(path).map_err(|problems| diagnostic::report(&problems))?);
        Ok(World { engine: Engine::new(Arc::clone(&inventory)), inventory, cx, _runtime: runtime })
    }

    /// What the engine says along the way is told line by line; a screen shows it itself.
    pub fn hush(&mut self) {
        self.cx.log = Log::default();
    }

    /// Where runs are kept.
    pub fn runs(&self) -> PathBuf {
        self.inventory.runs()
    }

    /// The store of a job, or those of all jobs, each once.
    pub fn stores(&self, job: Option<&str>) -> Result<BTreeSet<&str>> {
        Ok(match job {
            Some(name) => [self.inventory.job(name)?.store.as_str()].into(),
            None => self.inventory.jobs.values().map(|job| job.store.as_str()).collect(),
        })
    }

    /// Every runbook: the shipped ones and the user's.
    pub fn library(&self) -> Result<Library> {
        let library = Library::shipped();
        match &self.inventory.runbooks {
            Some(directory) => library.with_directory(directory).map_err(|problems| diagnostic::report(&problems)),
            None => Ok(library),
        }
    }

    /// A runbook, checked against this configuration, with the values it is given.
    pub fn plan(&self, runbook: &str, values: &BTreeMap<String, String>) -> Result<Plan> {
        self.draft(runbook)?.plan(values, self.surroundings(runbook)?)
    }

    /// A runbook, checked against this configuration.
    pub fn draft(&self, runbook: &str) -> Result<Draft> {
        let library = self.library()?;
        let loaded = runbook::load(&library, runbook, Some(&names(&self.inventory)));
        loaded.map_err(|problems| match (library.source(runbook), problems.as_slice()) {
            // Nothing of that name is a file that could be checked.
            (None, [problem]) => Report { hints: problem.hint.iter().cloned().collect(), ..Report::usage(problem.message.clone()) },
            (Some(_), _) if library.is_shipped(runbook) => self.lacking(runbook, &problems),
            _ => diagnostic::report(&problems),
        })
    }

    /// A shipped runbook is right, and no file of this machine: what is missing is missing in the configuration. Each thing is said once.
    fn lacking(&self, runbook: &str, problems: &[Diagnostic]) -> Report {
        let missing: BTreeSet<&str> =
            problems.iter().filter(|problem| problem.is_error()).map(|problem| problem.message.as_str()).collect();
        let report = Report::usage(format!("the shipped runbook {runbook} needs what this configuration does not have"));
        missing.into_iter().fold(report, Report::cause).hint(format!("add it to {}", self.inventory.path.display()))
    }

    /// What templates may ask about, in a run that begins now.
    pub fn surroundings(&self, runbook: &str) -> Result<Surroundings> {
        let now = Timestamp::now();
        Ok(Surroundings {
            environment: self.inventory.environment.name.clone(),
            production: self.inventory.environment.production,
            run: run::new_id(runbook, now)?,
            started_at: now,
            vars: self.inventory.vars.clone(),
        })
    }

    /// Whether this configuration belongs to a box that is up: only there may `--yes` confirm danger.
    pub fn boxed(&self) -> bool {
        !self.inventory.environment.production && drill::is_box(&self.inventory.path)
    }

    /// Who takes part when `person` answers and facts are printed.
    pub fn crew(&self, person: impl Person + 'static) -> Crew {
        Crew { hands: Arc::new(self.engine.clone()), person: Box::new(person), witness: Box::new(Printer::default()) }
    }

    /// The same, with another witness.
    pub fn crew_with(&self, person: impl Person + 'static, witness: impl Witness + 'static) -> Crew {
        Crew { witness: Box::new(witness), ..self.crew(person) }
    }

    /// Waits for a run walked by this process. Ctrl-C stops the action being done, which asks what now.
    pub fn follow(&self, live: &Live) -> Result<Verdict> {
        self.interrupt_on_signals(live.clone());
        live.wait()
    }

    /// Waits for a run, tells what it reached, gives the exit code.
    pub fn conclude(&self, live: &Live, common: &Common) -> Result<ExitCode> {
        let verdict = self.follow(live);
        if common.json {
            print::json(&RunReport::of(&live.plan(), &live.state(), &live.head()))?;
        }
        judge(verdict, live)
    }

    /// A signal stops what this process does itself, outside of any run: it unwinds, so that whatever it made for the purpose is gone.
    pub fn stop_on_signals(&self) {
        let cancel = self.cx.cancel.clone();
        self.cx.runtime.spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return; // without signal handlers the default holds: the process ends, and the next one clears away
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            cancel.cancel();
        });
    }

    fn interrupt_on_signals(&self, live: Live) {
        self.cx.runtime.spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return; // without signal handlers the default holds: the process ends, and the run resumes from its journal
            };
            loop {
                tokio::select! {
                    // At a prompt it means to leave; in the middle of an action, to stop that and ask.
                    _ = interrupt.recv() => if !plain::leave_prompt() { live.interrupt() },
                    _ = terminate.recv() => if !plain::leave_prompt() { live.interrupt() },
                    // The terminal is gone, the run goes on.
                    _ = hangup.recv() => {}
                }
            }
        });
    }
}

/// The exit code of what a run reached.
pub fn judge(verdict: Result<Verdict>, live: &Live) -> Result<ExitCode> {
    match verdict? {
        Verdict::Proven => Ok(ExitCode::SUCCESS),
        Verdict::Unproven => {
            Err(Report::refused("the run went to its end, but not every step was proven")
                .hint(format!("lifeboat report {}", live.state().run)))
        }
        Verdict::Aborted => Err(Report::new(crate::report::Kind::Cancelled, "the run was aborted")),
    }
}

/// What the runbooks of a configuration may refer to.
pub fn names(inventory: &Inventory) -> Names {
    Names {
        systems: inventory.systems.keys().cloned().collect(),
        jobs: inventory.present().map(|job| job.name.clone()).collect(),
        channels: inventory.channels.keys().cloned().collect(),
        pulls: inventory.pulls.keys().cloned().collect(),
        vars: inventory.vars.keys().cloned().collect(),
    }
}

/// The runtime of this process.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().explain(|| "starting the runtime".into())
}

/// Whether there is a person at a terminal.
pub fn attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
