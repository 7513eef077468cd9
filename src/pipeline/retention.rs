//! Which dumps may go: by age, by count, by grandfather, father and son; never below what was proven, and nothing at all on doubt.
//!
//! [`decide`] is pure: it looks at a complete listing of one job and says of each dump why it stays, or that it may go. [`apply`] removes.
//! Age is counted from the newest good dump, not from now: a job that failed for months still has its last good dumps, however old they are.
//! Dumps that were disproven count for nothing. Each database of a job is judged by itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::catalogue::{CLOCK_TOLERANCE, Listing, Problem};
use super::history::shrunk;
use super::manifest::{Dump, Level, MANIFEST_SUFFIX, PROOF_INFIX};
use super::show;
use crate::port::{Context, Store};
use crate::report::{Report, Result};

/// What stays. A dump stays if any rule wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is younger than this, counted from the newest good dump.
    pub age: Option<SignedDuration>,
    /// The newest so many.
    pub last: usize,
    /// The newest of each of the last so many days (UTC) that have one: the son.
    pub daily: usize,
    /// The same for ISO weeks: the father.
    pub weekly: usize,
    /// The same for months: the grandfather.
    pub monthly: usize,
    /// The same for years.
    pub yearly: usize,
    /// Never fewer proven dumps than this; with fewer, nothing goes.
    pub verified: usize,
    /// What counts as proven: this level or a higher one.
    pub proof: Level,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { age: None, last: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, verified: 3, proof: Level::L2 }
    }
}

impl Policy {
    /// Whether any rule says how long something stays. Without one, nothing would be wanted.
    pub fn is_bounded(&self) -> bool {
        self.age.is_some() || self.last + self.daily + self.weekly + self.monthly + self.yearly > 0
    }
}

/// Why a dump stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The newest good one, whatever the rules say.
    Newest,
    /// Younger than the age.
    Young,
    /// Among the last so many.
    Last,
    /// The newest of its day.
    Daily,
    /// The newest of its week.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
    /// One of the proven dumps there must be.
    Verified,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Newest => "newest",
            Reason::Young => "young",
            Reason::Last => "last",
            Reason::Daily => "daily",
            Reason::Weekly => "weekly",
            Reason::Monthly => "monthly",
            Reason::Yearly => "yearly",
            Reason::Verified => "verified",
        })
    }
}

/// One dump, judged.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// The dump.
    pub dump: &'a Dump,
    /// Why it stays; empty where it may go.
    pub reasons: BTreeSet<Reason>,
}

impl Verdict<'_> {
    /// No rule wants it.
    pub fn may_go(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Judges every dump of `job` in `listing`, newest data first. Whatever leaves a doubt is `Kind::Refused`, and then nothing may go: a listing
/// with something in it that cannot be read, a clock that cannot be right, a newest dump that has shrunk, fewer proven dumps than wanted.
pub fn decide<'a>(listing: &'a Listing, job: &str, policy: &Policy, now: Timestamp) -> Result<Vec<Verdict<'a>>> {
    no_problems(listing, job)?;
    let own = || listing.dumps.iter().filter(|dump| dump.manifest.job == job);
    clocks(own(), now)?;
    let mut databases: BTreeMap<Option<&str>, Vec<&Dump>> = BTreeMap::new();
    for dump in own() {
        databases.entry(dump.manifest.database()).or_default().push(dump);
    }
    let mut verdicts = Vec::new();
    for (database, mut dumps) in databases {
        dumps.sort_by_key(|dump| std::cmp::Reverse((dump.manifest.snapshot_at, dump.manifest.ended_at)));
        verdicts.extend(of_a_database(database.unwrap_or("the globals"), &dumps, policy)?);
    }
    verdicts.sort_by_key(|verdict| std::cmp::Reverse((verdict.dump.manifest.snapshot_at, verdict.dump.manifest.ended_at)));
    Ok(verdicts)
}

/// `dumps` newest first.
fn of_a_database<'a>(database: &str, dumps: &[&'a Dump], policy: &Policy) -> Result<Vec<Verdict<'a>>> {
    let good: Vec<&Dump> = dumps.iter().copied().filter(|dump| dump.disproven().is_none()).collect();
    let Some(newest) = good.first() else {
        return Err(frozen(format!("no dump of {} is good", show(database))).hint("lifeboat dumps"));
    };
    not_shrunk(&good)?;
    let is_verified = |dump: &Dump| dump.proven().is_some_and(|proof| proof.level >= policy.proof);
    let verified = good.iter().filter(|dump| is_verified(dump)).count();
    if verified < policy.verified {
        let words =
            format!("{verified} dumps of {} are proven at {} or higher, of at least {}", show(database), policy.proof, policy.verified);
        return Err(frozen(words).hint(format!("lifeboat verify {} --level {}", newest.manifest.object, policy.proof)));
    }
    let mut rules = [
        Newest::new(Reason::Last, policy.last, |dump| Period::Itself(dump.manifest.id.clone())),
        Newest::new(Reason::Daily, policy.daily, |dump| Period::Day(day(dump))),
        Newest::new(Reason::Weekly, policy.weekly, |dump| {
            let week = day(dump).iso_week_date();
            Period::Week(week.year(), week.week())
        }),
        Newest::new(Reason::Monthly, policy.monthly, |dump| Period::Month(day(dump).year(), day(dump).month())),
        Newest::new(Reason::Yearly, policy.yearly, |dump| Period::Year(day(dump).year())),
    ];
    let mut wanted = policy.verified;
    let mut judge = |dump: &'a Dump| {
        let mut reasons = BTreeSet::new();
        let age = newest.manifest.snapshot_at.duration_since(dump.manifest.snapshot_at);
        if policy.age.is_some_and(|limit| age <= limit) {
            reasons.insert(Reason::Young);
        }
        // One that was disproven takes no good one's place.
        if dump.disproven().is_some() {
            return Verdict { dump, reasons };
        }
        if dump.manifest.id == newest.manifest.id {
            reasons.insert(Reason::Newest);
        }
        reasons.extend(rules.iter_mut().filter_map(|rule| rule.wants(dump)));
        if wanted > 0 && is_verified(dump) {
            wanted -= 1;
            reasons.insert(Reason::Verified);
        }
        Verdict { dump, reasons }
    };
    Ok(dumps.iter().map(|dump| judge(dump)).collect())
}

/// The newest dump of each of the last so many periods that have one.
struct Newest {
    reason: Reason,
    left: usize,
    last: Option<Period>,
    period: fn(&Dump) -> Period,
}

#[derive(PartialEq)]
enum Period {
    Itself(String),
    Day(Date),
    Week(i16, i8),
    Month(i16, i8),
    Year(i16),
}

impl Newest {
    fn new(reason: Reason, left: usize, period: fn(&Dump) -> Period) -> Newest {
        Newest { reason, left, last: None, period }
    }

    /// Dumps are shown to it newest first.
    fn wants(&mut self, dump: &Dump) -> Option<Reason> {
        let period = Some((self.period)(dump));
        if self.left == 0 || self.last == period {
            return None;
        }
        self.last = period;
        self.left -= 1;
        Some(self.reason)
    }
}

/// The day of its data, in UTC.
fn day(dump: &Dump) -> Date {
    dump.manifest.snapshot_at.to_zoned(TimeZone::UTC).date()
}

/// What cannot be understood may be anything, the newest good dump included.
fn no_problems(listing: &Listing, job: &str) -> Result<()> {
    let of_the_job = listing.problems.iter().filter(|problem| problem.manifest.as_ref().is_none_or(|manifest| manifest.job == job));
    let problems: Vec<String> = of_the_job.map(Problem::words).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let report = frozen("the listing holds what cannot be understood".into());
    Err(problems.into_iter().take(5).fold(report, Report::cause).hint("lifeboat dumps"))
}

/// A dump from the future, or one whose end is before its beginning: a clock was wrong, and then no age can be told (trap 20).
fn clocks<'a>(dumps: impl Iterator<Item = &'a Dump>, now: Timestamp) -> Result<()> {
    for dump in dumps {
        let manifest = &dump.manifest;
        let odd = [manifest.snapshot_at, manifest.ended_at].into_iter().find(|at| at.duration_since(now) > CLOCK_TOLERANCE);
        if let Some(at) = odd {
            return Err(frozen(format!("a clock is wrong: {} says {at}, and here it is {now}", manifest.object)).hint("timedatectl"));
        }
        if manifest.started_at.duration_since(manifest.ended_at) > CLOCK_TOLERANCE {
            return Err(frozen(format!("a clock went back while {} was made", manifest.object)).hint("timedatectl"));
        }
    }
    Ok(())
}

/// The newest good dump against those before it.
fn not_shrunk(good: &[&Dump]) -> Result<()> {
    let Some((newest, earlier)) = good.split_first() else { return Ok(()) };
    let Some(words) = shrunk(&newest.manifest, earlier.iter().map(|dump| &dump.manifest)) else { return Ok(()) };
    Err(frozen(format!("the newest good dump, {}, has shrunk: {words}", newest.manifest.object))
        .hint("look at the database: what is missing may be in the older dumps; once a few dumps agree, nothing holds this up"))
}

fn frozen(words: String) -> Report {
    Report::refused("nothing may be removed").cause(words)
}

/// Removes what may go, oldest first, with its older versions, and tells of each once it is gone. Stops at the first that cannot be removed.
///
/// The manifest goes first: from then on there is no such dump, and what a kill leaves behind is the sweeper's. Each dump is looked at again
/// before: only what is still exactly what was judged is removed.
pub fn apply(verdicts: &[Verdict<'_>], store: &dyn Store, mut gone: impl FnMut(&Dump), cx: &Context) -> Result<()> {
    for verdict in verdicts.iter().rev().filter(|verdict| verdict.may_go()) {
        let object = &verdict.dump.manifest.object;
        let found = super::catalogue::find(store, object, cx)?;
        if found.manifest != verdict.dump.manifest {
            return Err(Report::refused(format!("{object} is not what it was a moment ago: nothing more is removed")));
        }
        let remove = |key: &str| store.erase(key, cx).map_err(|report| report.under(format!("{object} could not be removed")));
        remove(&format!("{object}{MANIFEST_SUFFIX}"))?;
        remove(object)?;
        for proof in store.list(&format!("{object}{PROOF_INFIX}"), cx)? {
            remove(&proof.key)?;
        }
        gone(verdict.dump);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
