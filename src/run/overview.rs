//! What can be restored, what was proven, how old: the data behind the home screen and `lifeboat status`. Plain data, no client.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::pipeline::manifest::Dump;
use crate::report::Report;
use crate::run::fact::Verdict;

/// Everything the home screen shows.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The environment's name.
    pub environment: String,
    /// It is production.
    pub production: bool,
    /// When this was gathered.
    pub gathered_at: Option<Timestamp>,
    /// Each job's dumps.
    pub shelves: Vec<Shelf>,
    /// What can be run.
    pub runbooks: Vec<RunbookCard>,
    /// Runs known on this machine, newest first.
    pub runs: Vec<RunCard>,
}

/// One job and what it has in its store.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// The job's name.
    pub job: String,
    /// Its title.
    pub title: String,
    /// The store, as messages name it.
    pub store: String,
    /// Dumps older than this are an alarm.
    pub max_age: Option<SignedDuration>,
    /// Newest first, or why that is not known. An error is never an empty shelf.
    pub dumps: Result<Vec<Dump>, Report>,
}

/// One runbook.
#[derive(Clone, Debug)]
pub struct RunbookCard {
    /// Its id.
    pub id: String,
    /// What it does.
    pub title: String,
    /// Why and when to use it.
    pub summary: String,
    /// Who keeps it true.
    pub owner: String,
    /// When it must be read again.
    pub review_by: Date,
    /// How many steps.
    pub steps: usize,
    /// The recovery time it promises.
    pub rto: Option<SignedDuration>,
    /// When it was last walked to the end with every step proven, and how long that took.
    pub last_proven: Option<(Timestamp, SignedDuration)>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunCard {
    /// Its id.
    pub id: String,
    /// The runbook's title.
    pub title: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended, where it did.
    pub verdict: Option<Verdict>,
    /// Steps over, of how many.
    pub progress: (usize, usize),
    /// A process is at it now.
    pub held: bool,
    /// It was a drill.
    pub drill: bool,
}
