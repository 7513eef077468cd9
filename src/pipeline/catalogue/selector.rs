//! Which dump is meant: what people type, and the one dump of a moment.
//!
//! A time means exactly the dump of that time. "The newest that is not later" gives a dump for every time there is, also for one that was
//! mistyped by a month; whoever wants it says so: `before:…`.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit, Zoned};

use super::{Listing, Picked, Problem, show};
use crate::pipeline::manifest::{Dump, ENDINGS, Manifest};
use crate::report::diagnostic::nearest;
use crate::report::{Report, Result};

/// Hex digits of an id.
const ID: usize = 16;

/// What comes before a time when the dump of an earlier one will do.
const BEFORE: &str = "before:";

/// Which dump is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest good one.
    Latest,
    /// Exactly this one: the name of its object, or the id in its manifest.
    Name(String),
    /// Exactly the one whose data is of this moment.
    At(Moment),
    /// The newest good one whose data is from before this.
    Before(Timestamp),
}

/// A moment as exact as it was written: `2026-11-20T03:00Z` is a whole minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its beginning.
    pub since: Timestamp,
    /// How long it is.
    pub length: SignedDuration,
}

impl Selector {
    /// `latest`, a name, an id, a time, or `before:` and a time. One without a zone is `Kind::Usage`: it could mean a whole day of moments.
    pub fn parse(text: &str) -> Result<Selector> {
        let text = text.trim();
        if text == "latest" {
            return Ok(Selector::Latest);
        }
        if let Some(time) = text.strip_prefix(BEFORE) {
            let moment = Moment::parse(time)?;
            let none = || no_time(time).hint(format!("{BEFORE}2026-11-20T03:00Z"));
            return moment.map(|moment| Selector::Before(moment.since)).ok_or_else(none);
        }
        if text.len() == ID && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Selector::Name(text.into()));
        }
        Ok(Moment::parse(text)?.map_or_else(|| Selector::Name(text.into()), Selector::At))
    }
}

/// How a time is written.
const WAYS: &str = "2026-11-20T03:00Z for UTC, 2026-11-20T03:00+01:00 with an offset, 2026-11-20T03:00[Europe/London] with a place";

/// A day in digits, alone or with a time of day after it, and no ending of a dump's: whoever typed it meant no name.
fn looks_like_time(text: &str) -> bool {
    let day = "dddd-dd-dd".chars().zip(text.chars()).filter(|(form, c)| if *form == 'd' { c.is_ascii_digit() } else { c == form }).count();
    let rest = text.get(10..).unwrap_or_default();
    day == 10 && (rest.is_empty() || rest.starts_with(['T', 't', ' ', '_'])) && !ENDINGS.iter().any(|ending| text.ends_with(ending))
}

/// Why it is none, in the words of whoever reads times.
fn no_time(text: &str) -> Report {
    let report = Report::usage(format!("{} is no time", show(text)));
    match text.parse::<Timestamp>() {
        Err(error) => report.cause(show(&error.to_string())),
        Ok(_) => report,
    }
}

/// A place that nobody knows, or an offset that it does not have.
fn wrong_zone(text: &str, zone: &str) -> Report {
    if TimeZone::get(zone).is_ok() {
        let report = no_time(text).hint("leave out the offset or the place");
        let error = text.parse::<Zoned>().err();
        return Report { causes: error.map(|error| show(&error.to_string())).into_iter().collect(), ..report };
    }
    let report = Report::usage(format!("{}: there is no time zone {}", show(text), show(zone)));
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    match nearest(zone, names.iter().map(String::as_str)) {
        Some(near) => report.hint(format!("did you mean [{near}]?")).hint(WAYS),
        None => report.hint(WAYS),
    }
}

impl Moment {
    /// RFC 3339 or RFC 9557, seconds and fractions left out where they are not known. `None` for what is no time at all.
    fn parse(text: &str) -> Result<Option<Moment>> {
        let at = text.parse::<Timestamp>().ok().or_else(|| text.parse::<Zoned>().ok().map(|zoned| zoned.timestamp()));
        if let Some(since) = at {
            return Ok(Some(Moment { since, length: exactness(text) }));
        }
        if let Some((_, zone)) = text.split_once('[').filter(|_| looks_like_time(text)) {
            return Err(wrong_zone(text, zone.trim_end_matches(']')));
        }
        if text.parse::<DateTime>().is_err() && text.parse::<Date>().is_err() {
            return if looks_like_time(text) { Err(no_time(text).hint(WAYS)) } else { Ok(None) };
        }
        let day = text.get(..10).filter(|day| day.parse::<Date>().is_ok()).unwrap_or("2026-11-20");
        let time = text.get(11..16).filter(|time| time.as_bytes().get(2) == Some(&b':')).unwrap_or("03:00");
        Err(Report::usage(format!("{} has no time zone, and dumps know no other time than that of the whole world", show(text)))
            .hint(format!("{day}T{time}Z for UTC, {day}T{time}+01:00 with an offset, {day}T{time}[Europe/London] with a place"))
            .hint("lifeboat dumps prints the time of each in UTC"))
    }

    /// The data of a dump is of this moment.
    fn holds(&self, at: Timestamp) -> bool {
        at >= self.since && at.duration_since(self.since) < self.length
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length >= SignedDuration::from_mins(1) { write!(f, "{}", minute(self.since)) } else { write!(f, "{}", self.since) }
    }
}

/// As a listing prints it: `2026-11-20T03:00Z`.
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

/// How exact a time is written: the digits of its time of day say.
fn exactness(text: &str) -> SignedDuration {
    let time = text.split(['T', 't', ' ', '_']).nth(1).unwrap_or_default();
    let time = time.split(['Z', 'z', '+', '-', '[']).next().unwrap_or_default();
    let (clock, fraction) = time.split_once(['.', ',']).unwrap_or((time, ""));
    let digits = clock.bytes().filter(u8::is_ascii_digit).count();
    match (digits, u32::try_from(fraction.len()).unwrap_or(9).min(9)) {
        (..3, _) => SignedDuration::from_hours(1),
        (3..5, _) => SignedDuration::from_mins(1),
        (_, places) => SignedDuration::from_nanos(10_i64.pow(9 - places)),
    }
}

impl Listing {
    /// The one dump whose data is of that moment, taken as it is; none and several are `Kind::Refused`.
    pub(super) fn exactly(&self, moment: &Moment, database: Option<&str>) -> Result<Picked<'_>> {
        if database.is_some() {
            self.which(database)?;
        }
        let is_meant =
            |manifest: &Manifest| manifest.database().is_some() && database.is_none_or(|wanted| manifest.database() == Some(wanted));
        let found: Vec<&Dump> =
            self.dumps.iter().filter(|dump| moment.holds(dump.manifest.snapshot_at) && is_meant(&dump.manifest)).collect();
        match found.as_slice() {
            [dump] => return Ok(Picked { dump, passed_over: Vec::new() }),
            [] => {}
            several => {
                let report = Report::refused(format!("there are {} dumps of {moment}", several.len()));
                let report = several.iter().fold(report, |report, dump| report.cause(in_words(dump)));
                return Err(report.hint("name one of them, or say its id"));
            }
        }
        let is_it = |problem: &&Problem| problem.manifest.as_ref().is_some_and(|made| moment.holds(made.snapshot_at) && is_meant(made));
        if let Some(problem) = self.problems.iter().find(is_it) {
            return Err(problem.report.clone().hint("choose another dump: lifeboat dumps"));
        }
        let [before, after] = self.neighbours(moment, database);
        let report = Report::refused(format!("there is no dump of {moment}"));
        let report = before.into_iter().fold(report, |report, dump| report.cause(format!("the one before it: {}", in_words(dump))));
        Err(after.into_iter().fold(report, |report, dump| report.cause(format!("the one after it: {}", in_words(dump)))))
    }

    /// The dumps whose data is from right before and right after a moment.
    pub fn neighbours(&self, moment: &Moment, database: Option<&str>) -> [Option<&Dump>; 2] {
        let is_meant = |dump: &&Dump| dump.manifest.database().is_some_and(|found| database.is_none_or(|wanted| wanted == found));
        let meant: Vec<&Dump> = self.dumps.iter().filter(is_meant).collect();
        // The newest comes first.
        let before = meant.iter().find(|dump| dump.manifest.snapshot_at < moment.since).copied();
        let after = meant.iter().rev().find(|dump| dump.manifest.snapshot_at > moment.since).copied();
        [before, after]
    }
}

/// `prod-202611200300.sql.gz.gpg of 2026-11-20T03:00:04Z`, with the database where there may be several.
pub(super) fn in_words(dump: &Dump) -> String {
    let manifest = &dump.manifest;
    // Cut and not rounded: what is shown, typed back, means this dump.
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
    let at = manifest.snapshot_at.round(whole).unwrap_or(manifest.snapshot_at);
    let of = manifest.group.as_ref().and_then(|_| manifest.database()).map_or_else(String::new, |name| format!(", {}", show(name)));
    format!("{} of {at}{of}, id {}", manifest.object, manifest.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kind;

    fn at(text: &str, seconds: f64) -> Selector {
        let length = SignedDuration::try_from_secs_f64(seconds).unwrap();
        Selector::At(Moment { since: text.parse().unwrap(), length })
    }

    #[test]
    fn a_time_is_as_exact_as_it_is_written() {
        let parse = |text: &str| Selector::parse(text).unwrap();
        assert_eq!(parse("2026-11-20T03:00Z"), at("2026-11-20T03:00:00Z", 60.0));
        assert_eq!(parse(" 2026-11-20 03:00:04Z "), at("2026-11-20T03:00:04Z", 1.0));
        assert_eq!(parse("2026-11-20T03:00:04.25Z"), at("2026-11-20T03:00:04.25Z", 0.01));
        assert_eq!(parse("2026-11-20T03:00:04.123456Z"), at("2026-11-20T03:00:04.123456Z", 0.000_001));
        assert_eq!(parse("2026-11-20T04:00+01:00"), at("2026-11-20T03:00:00Z", 60.0));
        assert_eq!(parse("2026-07-20T04:00[Europe/London]"), at("2026-07-20T03:00:00Z", 60.0));
        assert_eq!(parse("before:2026-11-20T03:00Z"), Selector::Before("2026-11-20T03:00:00Z".parse().unwrap()));
    }

    #[test]
    fn names_and_ids_are_not_taken_for_times() {
        assert_eq!(Selector::parse("latest").unwrap(), Selector::Latest);
        for text in ["prod-202611200300.sql.gz.gpg", "2026112003000000", "00ff00ff00ff00ff", "weekly/2026-11-20.dump.gz.gpg"] {
            assert_eq!(Selector::parse(text).unwrap(), Selector::Name(text.into()));
        }
    }

    #[test]
    fn a_time_without_a_zone_is_refused_with_the_ways_to_write_one() {
        for text in ["2026-11-20T03:00", "2026-11-20 03:00:00", "2026-11-20", "before:2026-11-20T03:00"] {
            let report = Selector::parse(text).unwrap_err();
            assert_eq!(report.kind, Kind::Usage, "{text}");
            assert!(report.hints[0].contains("2026-11-20T03:00Z") && report.hints[0].contains("+01:00"), "{report:?}");
        }
        assert!(Selector::parse("before:yesterday").unwrap_err().message.contains("is no time"));
    }

    #[test]
    fn a_zone_nobody_knows_is_named_and_the_likeliest_one_too() {
        let report = Selector::parse("2026-11-21T16:05[Europe/Lodon]").unwrap_err();
        assert_eq!(report.kind, Kind::Usage);
        assert!(report.message.contains("Europe/Lodon") && !report.message.contains("has no time zone"), "{report}");
        assert!(report.hints.iter().any(|hint| hint.contains("Europe/London")), "{report:?}");
    }

    #[test]
    fn a_malformed_time_is_no_name() {
        for text in ["2026-13-21T16:05Z", "2026-11-21T16:05 BST", "2026-11-21T25:05Z", "before:2026-13-21T16:05Z", "2026-02-30"] {
            let report = Selector::parse(text).unwrap_err();
            assert_eq!(report.kind, Kind::Usage, "{text}");
            assert!(report.message.contains("is no time") && !report.hints.is_empty(), "{report:?}");
        }
        for text in ["2026-11-20T0300.sql.gz.gpg", "2026-13-21_orders.dump.zst.gpg", "2026-11-20-orders"] {
            assert_eq!(Selector::parse(text).unwrap(), Selector::Name(text.into()));
        }
    }
}
