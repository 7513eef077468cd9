//! Databases that a swap put aside: what they are, since when, until when they are to be kept; and dropping one, which nothing does by itself.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::databases::{LONGEST, MARK, comment};
use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// The comment of a database that was put aside begins with this; what follows is a [`Mark`] in JSON, so that no name can be taken for a date,
/// or `until`, a day and whatever a runbook writes after it.
const KEPT: &str = "lifeboat: kept ";

/// What was written before there were dates, and what pulls wrote: read, no longer written.
const WITHOUT_DATE: &str = "lifeboat: was ";

/// What is written on a database that is put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The name it had.
    pub was: String,
    /// When another one took it.
    pub since: Timestamp,
    /// It is not dropped before that day (UTC); nothing where a pull keeps it for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    /// The database that took its name, as that was called before; empty where an earlier version did not say.
    pub replaced_by: String,
    /// The pull that made that one, and lets this one go by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<ByPull>,
    /// It had the name only between a swap and its undoing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_back: bool,
}

/// Which pull put a database aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByPull {
    /// Its name.
    pub name: String,
    /// The moment from which it may go, on the day the mark says; for good where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A database that was put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// What it is called now.
    pub name: String,
    /// Bytes on disk; nothing where we may not know.
    pub size: Option<u64>,
    /// It is not dropped before that day (UTC); nothing where nobody wrote one down.
    pub until: Option<Date>,
    /// What the swap wrote on it; nothing where somebody else did.
    pub mark: Option<Mark>,
    /// All that is written on it.
    pub comment: String,
}

impl Mark {
    /// Of a database that a pull put aside at `since` and lets go at `end`.
    pub fn by_pull(pull: &str, was: &str, replaced_by: &str, since: Timestamp, end: Option<Timestamp>) -> Mark {
        Mark {
            was: was.to_owned(),
            since,
            until: end.map(|end| end.to_zoned(TimeZone::UTC).date()),
            replaced_by: replaced_by.to_owned(),
            pull: Some(ByPull { name: pull.to_owned(), until: end }),
            taken_back: false,
        }
    }

    /// Whether this pull put it aside, for a time that is over.
    pub fn is_overdue(&self, live: &str, pull: &str, now: Timestamp) -> bool {
        let ours = |by: &ByPull| by.name == pull && by.until.is_some_and(|until| until <= now);
        self.was == live && self.pull.as_ref().is_some_and(ours)
    }

    /// As a comment.
    pub fn comment(&self) -> Result<String> {
        Ok(format!("{KEPT}{}", serde_json::to_string(self).explain(|| "marking a database as kept".into())?))
    }

    /// A query that says `yes` where the database `name` bears the mark of having been `was` until `replaced_by` took that name, else `no`.
    pub fn question(name: &str, was: &str, replaced_by: &str) -> String {
        let said = serde_json::json!({ "was": was, "replaced_by": replaced_by }).to_string();
        let [name, begins, said] = [name, &format!("{KEPT}{{"), &said].map(escape_literal);
        format!(
            "SELECT CASE WHEN count(*) = 1 THEN 'yes' ELSE 'no' END FROM pg_database, shobj_description(oid, 'pg_database') AS mark \
             WHERE datname = {name} AND CASE WHEN starts_with(mark, {begins}) THEN substr(mark, {})::jsonb @> {said} END",
            KEPT.len() + 1
        )
    }
}

/// The name that `live` is kept under where none is said: unlike those of any other second.
pub fn name(live: &str, now: Timestamp) -> String {
    fitting("", live, &format!("_until_{}", now.strftime("%Y%m%d%H%M%S")))
}

/// `prefix`, as much of the name as fits, `suffix`; a name that is cut has a hash in it, so that no two become the same.
pub fn fitting(prefix: &str, name: &str, suffix: &str) -> String {
    let whole = format!("{prefix}{name}{suffix}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = &hex::encode(Sha256::digest(name))[..8];
    let room = LONGEST - prefix.len() - suffix.len() - hash.len() - 1;
    let cut = name.floor_char_boundary(room);
    format!("{prefix}{}_{hash}{suffix}", &name[..cut])
}

/// What a comment says, where it is one of ours: the day, and the mark.
pub(super) fn read(comment: &str) -> Option<(Option<Date>, Option<Mark>)> {
    let Some(rest) = comment.strip_prefix(KEPT) else {
        let mark = earlier(comment.strip_prefix(WITHOUT_DATE)?);
        return Some((mark.as_ref().and_then(|mark| mark.until), mark));
    };
    if let Ok(mark) = serde_json::from_str::<Mark>(rest) {
        return Some((mark.until, Some(mark)));
    }
    let day = rest.strip_prefix("until ").and_then(|rest| rest.get(..10)).and_then(|day| day.parse().ok());
    Some((day, None))
}

/// `orders until TIME; kept by pull NAME until TIME`, as pulls of earlier versions wrote it; without the last time for good.
fn earlier(words: &str) -> Option<Mark> {
    let (replaced, by) = words.rsplit_once("; kept by pull ")?;
    let (was, since) = replaced.rsplit_once(" until ")?;
    let (pull, end) = match by.rsplit_once(" until ") {
        Some((pull, end)) => (pull, Some(end.parse().ok()?)),
        None => (by, None),
    };
    Some(Mark::by_pull(pull, was, "", since.parse().ok()?, end))
}

impl Postgres {
    /// Every database on the server that was put aside, by name.
    pub fn kept(&self, cx: &Context) -> Result<Vec<Kept>> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            // The size of a database may be known by who may enter it.
            let query = "SELECT datname::text, mark, CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE') \
                                                          THEN pg_database_size(oid) END \
                         FROM pg_database, shobj_description(oid, 'pg_database') AS mark \
                         WHERE NOT datistemplate AND starts_with(mark, $1) ORDER BY datname";
            let rows = client.query(query, &[&MARK]).await.map_err(|error| explain_sql(&error, ""))?;
            let kept = rows.iter().filter_map(|row| {
                let comment: String = row.get(1);
                let (until, mark) = read(&comment)?;
                let size = row.get::<_, Option<i64>>(2).and_then(|size| u64::try_from(size).ok());
                Some(Kept { name: row.get(0), size, until, mark, comment })
            });
            Ok(kept.collect())
        })
    }

    /// Whether `name` was put aside when another database took the name `live`; `Kind::Refused` where nothing on it says so.
    pub fn was_kept(&self, name: &str, live: &str, cx: &Context) -> Result<()> {
        let comment = cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            comment(&client, name).await
        })?;
        match read(&comment.unwrap_or_default()) {
            Some((_, Some(mark))) if mark.was != live => {
                Err(Report::refused(format!("database {name:?} was {:?} before it was put aside, not {live:?}", mark.was))
                    .hint("lifeboat kept"))
            }
            Some(_) => Ok(()),
            None => Err(Report::refused(format!("database {name:?} was not put aside by a swap")).hint("lifeboat kept").hint(format!(
                "to give it that name all the same: lifeboat swap {} {} {}",
                self.settings.name,
                shell_words::quote(live),
                shell_words::quote(name)
            ))),
        }
    }

    /// Whether this database may be dropped now: it bears our mark, it is not the one that users know, and its day has come; `early` does
    /// without the day. `Kind::Refused` where not.
    pub fn may_drop_kept(&self, name: &str, early: bool, now: Timestamp, cx: &Context) -> Result<()> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            self.judge(&client, name, early, now).await
        })
    }

    /// Drops a database that was put aside, if it may be ([`Postgres::may_drop_kept`]) and nobody is connected to it.
    pub fn drop_kept(&self, name: &str, early: bool, now: Timestamp, cx: &Context) -> Result<()> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            self.judge(&client, name, early, now).await?;
            // Without FORCE: who is connected to it still needs it.
            let statement = format!("DROP DATABASE {}", escape_identifier(name));
            client.batch_execute(&statement).await.map_err(|error| explain_sql(&error, name).under(format!("dropping database {name:?}")))
        })
    }

    async fn judge(&self, client: &Client, name: &str, early: bool, now: Timestamp) -> Result<()> {
        let missing = || Report::refused(format!("there is no database {name:?} on {}", self.describe())).hint("lifeboat kept");
        let comment = comment(client, name).await?.ok_or_else(missing)?;
        let live = name == self.settings.database || name == self.settings.maintenance;
        let Some((until, mark)) = read(&comment).filter(|_| !live) else {
            let words = if live { "is in use" } else { "was not put aside by a swap" };
            return Err(Report::refused(format!("database {name:?} {words}: it is not dropped here")).hint("lifeboat kept"));
        };
        let today = now.to_zoned(TimeZone::UTC).date();
        let moment = mark.and_then(|mark| mark.pull?.until);
        let words = match until {
            _ if early => return Ok(()),
            Some(until) if today >= until && moment.is_none_or(|moment| now >= moment) => return Ok(()),
            Some(until) => format!("database {name:?} is to be kept until {until}"),
            None => format!("nobody wrote down until when database {name:?} is to be kept"),
        };
        Err(Report::refused(words).hint(format!("lifeboat kept drop {} --early", shell_words::quote(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_it_said_whatever_the_names_are() {
        let odd = r#"x until 2020-01-01"; kept {"was":"y"}"#;
        let mark = Mark {
            was: odd.into(),
            since: "2026-11-21T03:00:00Z".parse().unwrap(),
            until: Some("2026-11-28".parse().unwrap()),
            replaced_by: odd.into(),
            pull: None,
            taken_back: false,
        };
        let comment = mark.comment().unwrap();
        assert!(comment.starts_with(super::super::databases::MARK));
        assert_eq!(read(&comment), Some((mark.until, Some(mark.clone()))));
        assert_eq!(read("lifeboat: was orders until 2026-11-21; kept"), Some((None, None)));
        assert_eq!(read("lifeboat: kept {"), Some((None, None)), "ours, and no date");
        // What the shipped runbook wrote, before the swap did it.
        let day = "2026-11-28".parse().unwrap();
        assert_eq!(read("lifeboat: kept until 2026-11-28, replaced in service-rename-20261121"), Some((Some(day), None)));
        for other in ["", "The shop", "lifeboat: restored from x at y", "lifeboat: being restored"] {
            assert_eq!(read(other), None);
        }
    }

    #[test]
    fn a_name_that_is_cut_to_fit_is_still_like_no_other() {
        assert_eq!(fitting("lifeboat_pull_", "orders", ""), "lifeboat_pull_orders");
        let long = "ä".repeat(31);
        let (one, other) = (fitting("lifeboat_pull_", &long, ""), fitting("lifeboat_pull_", &format!("{long}x"), ""));
        assert!(one != other && one.len() <= LONGEST && other.len() <= LONGEST, "{one} {other}");
        let kept = name(&"x".repeat(63), "2026-11-21T03:00:00Z".parse().unwrap());
        assert!(kept.len() <= LONGEST && kept.ends_with("_until_20261121030000"), "{kept}");
    }

    #[test]
    fn a_pull_writes_the_same_mark_and_what_earlier_ones_wrote_is_read() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let (since, end) = (at("2026-11-21T03:00:00Z"), at("2026-11-28T03:00:00Z"));
        let mark = Mark::by_pull("shop", "a until b", "staged", since, Some(end));
        assert_eq!(read(&mark.comment().unwrap()), Some((Some("2026-11-28".parse().unwrap()), Some(mark.clone()))));
        assert!(mark.is_overdue("a until b", "shop", end) && !mark.is_overdue("a until b", "shop", since));
        assert!(!mark.is_overdue("a", "shop", end) && !mark.is_overdue("a until b", "sho", end));
        let for_good = Mark::by_pull("shop", "orders", "staged", since, None);
        assert_eq!(read(&for_good.comment().unwrap()), Some((None, Some(for_good.clone()))));
        assert!(!for_good.is_overdue("orders", "shop", end));

        let earlier = "lifeboat: was a until b until 2026-11-21T03:00:00Z; kept by pull shop until 2026-11-28T03:00:00Z";
        assert_eq!(read(earlier), Some((mark.until, Some(Mark { replaced_by: String::new(), ..mark }))));
        let earlier = "lifeboat: was orders until 2026-11-21T03:00:00Z; kept by pull shop";
        assert_eq!(read(earlier), Some((None, Some(Mark { replaced_by: String::new(), ..for_good }))));
    }
}
