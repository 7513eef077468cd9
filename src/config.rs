//! `lifeboat.toml` → an [`Inventory`] in which every name is known, every path is absolute and every value is in its range.
//!
//! Pure apart from reading the one file: nothing is opened, asked or made here. What a store or a system *is* belongs to those rooms; this
//! one only fills in their settings. What was written is never seen outside.

mod environment;
mod job;
mod proof;
mod pull;
mod read;
mod retention;
mod store;
mod system;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use environment::{Environment, Fingerprint, Key, days};
pub use job::{Ensure, Globals, Job, Naming};
pub use proof::Proving;
pub use pull::Pull;
pub use store::{Promise, Rights, Store};
pub use system::System;

use crate::port::{self, Context};
use crate::report::diagnostic::{Diagnostic, Severity, Source, suggest};
use crate::report::{Report, Result};
use crate::store::local::Local;
use crate::store::post::Post;
use crate::store::s3::S3;
use crate::store::ticket::Ticket;
use crate::system::notify::{self, Channel};
use crate::system::secret::Secret;

/// Everything the configuration knows, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where we are.
    pub environment: Environment,
    /// `vars` of the runbooks. Never secrets.
    pub vars: BTreeMap<String, String>,
    /// What is backed up, asked and restored.
    pub systems: BTreeMap<String, System>,
    /// Where dumps are kept.
    pub stores: BTreeMap<String, Store>,
    /// What is said of each of them beyond how it is opened.
    pub promises: BTreeMap<String, Promise>,
    /// Who can open them.
    pub keys: BTreeMap<String, Key>,
    /// What is to be backed up, how and to where. Jobs that are `absent` are among them; [`Inventory::job`] refuses them.
    pub jobs: BTreeMap<String, Job>,
    /// Which clean copies are made of them.
    pub pulls: BTreeMap<String, Pull>,
    /// Where people are told.
    pub channels: BTreeMap<String, notify::Settings>,
    /// Where and by what dumps are restored to be looked at.
    pub proving: Proving,
    /// The directory where runs are kept, where one is named.
    pub runs: Option<PathBuf>,
    /// The directory of the user's own runbooks.
    pub runbooks: Option<PathBuf>,
}

/// Reads and checks a configuration. All of its problems are told at once.
pub fn load(path: &Path) -> Result<Inventory, Vec<Diagnostic>> {
    let source = Source::read(path).map_err(|problem| vec![problem])?;
    let (inventory, problems) = read::inventory(&source);
    match inventory {
        Some(inventory) if problems.iter().all(|problem| problem.severity == Severity::Warning) => Ok(inventory),
        _ => Err(problems),
    }
}

/// Every problem of a configuration, warnings too.
pub fn check(source: &Source) -> Vec<Diagnostic> {
    read::inventory(source).1
}

/// The configuration to use: `explicit` (`--config`), `$LIFEBOAT_CONFIG`, `./lifeboat.toml`, the user's, the machine's; the first that is there.
/// One that was named must be there.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf> {
    let named = explicit.map(Path::to_owned).or_else(|| std::env::var_os("LIFEBOAT_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        let missing = || {
            let report = Report::usage(format!("there is no configuration at {}", path.display()));
            report.hint("give another with --config FILE or $LIFEBOAT_CONFIG").hint("lifeboat demo   (needs none)")
        };
        if path.is_dir() {
            return Err(Report::usage(format!("{} is a directory, not a configuration", path.display()))
                .hint(format!("--config {}", shell_words::quote(&path.join("lifeboat.toml").to_string_lossy()))));
        }
        return if path.is_file() { Ok(path) } else { Err(missing()) };
    }
    let places = places();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let looked = places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let report = Report::usage("there is no configuration").cause(format!("looked at {looked}"));
        report.hint("lifeboat --config FILE …").hint("lifeboat demo   (needs none)")
    })
}

/// Where a configuration is looked for when none is named, in this order.
pub fn places() -> Vec<PathBuf> {
    let own = directories::ProjectDirs::from("", "", "lifeboat").map(|directories| directories.config_dir().join("lifeboat.toml"));
    [Some("lifeboat.toml".into()), own, Some("/etc/lifeboat/lifeboat.toml".into())].into_iter().flatten().collect()
}

impl Inventory {
    /// The job of that name, unless it is absent.
    pub fn job(&self, name: &str) -> Result<&Job> {
        match self.jobs.get(name) {
            Some(job) if job.ensure == Ensure::Absent => Err(Report::usage(format!("the job `{name}` is absent: its `ensure` says so"))
                .hint(format!("set `ensure` in [job.{name}] to \"present\" or \"disabled\""))),
            found => found.ok_or_else(|| self.unknown("job", name, self.jobs.keys())),
        }
    }

    /// Every job that is not absent, by name.
    pub fn present(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.ensure != Ensure::Absent)
    }

    /// The pull of that name.
    pub fn pull(&self, name: &str) -> Result<&Pull> {
        self.pulls.get(name).ok_or_else(|| self.unknown("pull", name, self.pulls.keys()))
    }

    /// The system of that name.
    pub fn system(&self, name: &str) -> Result<&System> {
        self.systems.get(name).ok_or_else(|| self.unknown("system", name, self.systems.keys()))
    }

    /// The store of that name.
    pub fn store(&self, name: &str) -> Result<&Store> {
        self.stores.get(name).ok_or_else(|| self.unknown("store", name, self.stores.keys()))
    }

    /// The key of that name.
    pub fn key(&self, name: &str) -> Result<&Key> {
        self.keys.get(name).ok_or_else(|| self.unknown("key", name, self.keys.keys()))
    }

    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Result<&notify::Settings> {
        self.channels.get(name).ok_or_else(|| self.unknown("channel", name, self.channels.keys()))
    }

    /// Where runs are kept: where the configuration says, else with the user's state, one directory for each environment.
    pub fn runs(&self) -> PathBuf {
        let state = || {
            let own = directories::ProjectDirs::from("", "", "lifeboat");
            own.map_or_else(|| PathBuf::from(".lifeboat"), |own| own.state_dir().unwrap_or(own.data_local_dir()).to_owned())
        };
        self.runs.clone().unwrap_or_else(|| state().join("runs").join(&self.environment.name))
    }

    /// Opens a store.
    pub fn open_store(&self, name: &str, cx: &Context) -> Result<Arc<dyn port::Store>> {
        Ok(match self.store(name)? {
            Store::S3(settings) => Arc::new(S3::new(settings.clone(), cx)?),
            Store::Local(settings) => Arc::new(Local::new(settings.clone())),
            Store::Post(settings) => {
                let ticket = match &settings.ticket {
                    Secret::File(path) => Ticket::read(path)?,
                    secret => Ticket::parse(&secret.read_text(&format!("ticket of store {name}"), cx)?)?,
                };
                Arc::new(Post::new(ticket, settings.spool.clone().unwrap_or_else(std::env::temp_dir), cx)?)
            }
        })
    }

    /// The files with the public keys of a job.
    pub fn public_keys(&self, job: &Job) -> Result<Vec<PathBuf>> {
        let files: Result<Vec<_>> = job.keys.iter().map(|name| self.key(name).map(|key| key.public.clone())).collect();
        Ok(files?.concat())
    }

    /// A channel that people read.
    pub fn open_channel(&self, name: &str) -> Result<Channel> {
        Ok(Channel::new(name, self.channel(name)?.clone()))
    }

    fn unknown<'a>(&self, what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Report {
        let report = Report::usage(format!("{} has no {what} `{name}`", self.path.display()));
        match suggest(name, known.map(String::as_str)) {
            Some(hint) => report.hint(hint),
            None => report,
        }
    }
}
