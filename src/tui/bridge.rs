//! What the screen needs of the world below; the command line implements it. Nothing here draws or decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::port::Reading;
use crate::report::Result;
use crate::run::overview::Overview;
use crate::run::{Answer, State, Verdict};
use crate::runbook::Plan;

/// What the screen needs of the world below.
pub trait Bridge: Send {
    /// What was last gathered; quick, never blocks on the network.
    fn overview(&mut self) -> Overview;

    /// Gathers again, in the background; a later [`Bridge::overview`] shows it with a new `gathered_at`.
    fn refresh(&mut self);

    /// The plan of a runbook with nothing given, for the start form: parameters, defaults, steps.
    fn plan(&mut self, runbook: &str) -> Result<Plan>;

    /// Starts a runbook. `values` hold what differs from the defaults.
    fn start(&mut self, runbook: &str, values: BTreeMap<String, String>) -> Result<Box<dyn Follow>>;

    /// Takes a run up again, or follows one that another process holds.
    fn resume(&mut self, run: &str) -> Result<Box<dyn Follow>>;
}

/// A run being followed. Every method is quick.
pub trait Follow: Send {
    /// The plan as it was when the run began.
    fn plan(&self) -> Arc<Plan>;

    /// Where the run is.
    fn state(&self) -> Arc<State>;

    /// The journal's head: SHA-256 of its last line, lower-case hex.
    fn head(&self) -> String;

    /// The stages of the action being done now; empty when none is.
    fn readings(&self) -> Vec<Reading>;

    /// The last lines said, oldest first: who, line.
    fn log(&self, last: usize) -> Vec<(String, String)>;

    /// Changes when anything above changed. Meters need not count: a live run is read again four times a second anyway.
    fn version(&self) -> u64;

    /// Answers the open question.
    fn answer(&self, answer: Answer) -> Result<()>;

    /// Asks the action being done now to stop; the run then asks what to do.
    fn interrupt(&self);

    /// Nobody is there any more: the run goes on and parks at its next question.
    fn detach(&self);

    /// Blocks until it has ended, or has parked.
    fn wait(&self) -> Result<Verdict>;

    /// How it ended, or why this process is no longer at it (`Kind::Parked`, a failure of the engine itself).
    fn ended(&self) -> Option<Result<Verdict>>;
}

/// How the screen is opened.
pub struct Options {
    /// A theme's name; where none is named, the terminal and `NO_COLOR` decide.
    pub theme: Option<String>,
    /// Where people keep their own themes, `NAME.toml`.
    pub themes: Option<PathBuf>,
    /// What is shown first.
    pub start: Start,
}

/// What is shown first.
pub enum Start {
    /// What can be restored, what can be run.
    Home,
    /// A run just started or resumed.
    Run(Box<dyn Follow>),
}

/// How the screen was closed.
pub struct Exit {
    /// The terminal went away or the process was told to end; nobody reads standard output.
    pub gone: bool,
    /// The last run followed. Where it has not ended it was detached: the process must live until it has parked or ended.
    pub follow: Option<Box<dyn Follow>>,
}
