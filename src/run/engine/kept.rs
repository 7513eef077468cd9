//! Swaps, and what they put aside.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Engine, Outputs};
use crate::config::days;
use crate::port::Context;
use crate::report::{Report, Result};
use crate::system::postgres::kept::{Kept, Mark};
use crate::system::postgres::swap::Swap;

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
        Ok(Mark { was: swap.live.into(), since, until, replaced_by: swap.staged.into(), taken_back })
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
