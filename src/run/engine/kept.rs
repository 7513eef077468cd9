//! Swaps, and what they put aside.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Engine, Outputs, differences};
use crate::config::days;
use crate::pipeline::manifest::Manifest;
use crate::port::Context;
use crate::report::{Kind, Report, Result};
use crate::system::postgres::kept::{Kept, Mark};
use crate::system::postgres::swap::{Origin, Swap};

/// What became of counting a staged database, in words that follow its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It holds what its dump holds; which, and how much.
    Whole(String),
    /// That could not be found out, for this reason.
    Unknown(String),
}

impl Engine {
    /// The databases on a system that swaps put aside.
    pub fn kept(&self, system: &str, cx: &Context) -> Result<Vec<Kept>> {
        self.postgres(system)?.kept(cx)
    }

    /// Whether one of them may be dropped now; `Kind::Refused` where not.
    pub fn may_drop_kept(&self, system: &str, database: &str, early: bool, now: Timestamp, cx: &Context) -> Result<()> {
        self.postgres(system)?.may_drop_kept(database, early, now, cx)
    }

    pub(super) fn drop_kept(&self, system: &str, database: &str, early: bool, cx: &Context) -> Result<Outputs> {
        self.guarded(system, cx)?.drop_kept(database, early, Timestamp::now(), cx)?;
        Ok(Outputs::new())
    }

    /// Whether that swap could be made now; what would refuse it is an error, and `Kind::Usage` where it was asked for wrongly.
    pub fn may_swap(&self, system: &str, swap: Swap<'_>, keep_until: Option<&str>, cx: &Context) -> Result<()> {
        let postgres = self.guarded(system, cx)?;
        self.mark(swap, keep_until, false)?;
        postgres.may_swap(swap, cx)
    }

    /// The same of taking one back ([`Swap::back`]): the database that is to be live again must say that it was.
    pub fn may_unswap(&self, system: &str, swap: Swap<'_>, cx: &Context) -> Result<()> {
        let postgres = self.guarded(system, cx)?;
        postgres.may_swap(swap, cx)?;
        postgres.was_kept(swap.staged, swap.live, cx)
    }

    /// Counts a staged database against the dump it says it was restored from; `Kind::Refused` where it is not what the dump holds.
    pub fn count_staged(&self, system: &str, database: &str, cx: &Context) -> Result<Counted> {
        let postgres = self.guarded(system, cx)?;
        let Some(Origin { dump, part }) = postgres.origin(database, cx)? else {
            return Ok(Counted::Unknown("it does not say which dump it was restored from".into()));
        };
        if part {
            return Ok(Counted::Unknown(format!("it has the rows of some tables of {dump}, and does not say of which")));
        }
        let manifest = match self.manifest_of(&dump, cx) {
            Ok(manifest) => manifest,
            Err(error) if error.kind == Kind::Cancelled => return Err(error),
            Err(error) => return Ok(Counted::Unknown(format!("{dump}, of which it was restored, is not to be had: {error}"))),
        };
        let count = match postgres.count(database, cx) {
            Ok(count) => count,
            Err(error) if error.kind == Kind::Cancelled => return Err(error),
            Err(error) => return Ok(Counted::Unknown(error.to_string())),
        };
        let differences = differences(&manifest, &count);
        if differences.is_empty() {
            return Ok(Counted::Whole(format!("{dump} holds: {} tables, {} rows", manifest.tables.len(), manifest.rows())));
        }
        let report = Report::refused(format!("database {database:?} is not what {dump} holds, of which it was restored"));
        Err(differences.into_iter().fold(report, Report::cause))
    }

    /// Of a dump of whichever job.
    fn manifest_of(&self, dump: &str, cx: &Context) -> Result<Manifest> {
        let mut nowhere = Report::refused("there is no job");
        for job in self.inventory.jobs.keys() {
            match self.dump(job, dump, cx) {
                Ok(dump) => return Ok(dump.manifest),
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                Err(error) => nowhere = error,
            }
        }
        Err(nowhere)
    }

    /// Swaps; what is put aside is marked with the day until which it is kept.
    pub(super) fn swap(&self, system: &str, swap: Swap<'_>, keep_until: Option<&str>, cx: &Context) -> Result<Outputs> {
        let comment = self.mark(swap, keep_until, false)?.comment()?;
        self.guarded(system, cx)?.swap(swap, &comment, cx)?;
        Ok([("kept".to_owned(), swap.keep_as.to_owned())].into())
    }

    /// Takes a swap back; the one that was live in between may hold what was written meanwhile, and is kept as long.
    pub(super) fn unswap(&self, system: &str, swap: Swap<'_>, cx: &Context) -> Result<Outputs> {
        let comment = self.mark(swap, None, true)?.comment()?;
        self.guarded(system, cx)?.swap(swap, &comment, cx)?;
        Ok(Outputs::new())
    }

    fn mark(&self, swap: Swap<'_>, keep_until: Option<&str>, taken_back: bool) -> Result<Mark> {
        let since = Timestamp::now();
        let today = since.to_zoned(TimeZone::UTC).date();
        let until = match keep_until {
            Some(text) => day(text, today)?,
            None => after(today, self.inventory.environment.keep_replaced)?,
        };
        if until < today {
            return Err(Report::usage(format!("{until} is over: nothing is kept until then")).hint("--keep-until 7d"));
        }
        Ok(Mark { was: swap.live.into(), since, until: Some(until), replaced_by: swap.staged.into(), pull: None, taken_back })
    }
}

/// `2026-11-28`, or `7d` from today.
fn day(text: &str, today: Date) -> Result<Date> {
    let text = text.trim();
    if let Ok(date) = text.parse::<Date>() {
        return Ok(date);
    }
    let none = || Report::usage(format!("{text:?} is neither a day nor a number of days")).hint("--keep-until 2026-11-28, or 7d, 2w");
    after(today, days(text).ok_or_else(none)?)
}

fn after(today: Date, days: u16) -> Result<Date> {
    today.checked_add(jiff::Span::new().days(days)).map_err(|error| Report::usage("that day is too far away").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_kept_until_a_day_or_for_so_many() {
        let today = "2026-11-21".parse().unwrap();
        for (text, expected) in [("2026-12-24", "2026-12-24"), ("7d", "2026-11-28"), (" 2w ", "2026-12-05"), ("0d", "2026-11-21")] {
            assert_eq!(day(text, today).unwrap().to_string(), expected, "{text}");
        }
        for text in ["soon", "7", "-1d", "99999999d", ""] {
            assert!(day(text, today).is_err(), "{text}");
        }
    }
}
