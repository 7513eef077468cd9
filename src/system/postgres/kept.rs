//! Databases that a swap put aside: what they are, since when, until when they are to be kept; and dropping one, which nothing does by itself.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::databases::MARK;
use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// The comment of a database that was put aside begins with this; what follows is a [`Mark`] in JSON, so that no name can be taken for a date,
/// or `until`, a day and whatever a runbook writes after it.
const KEPT: &str = "lifeboat: kept ";

/// Names of databases have so many bytes (`NAMEDATALEN`).
pub const LONGEST: usize = 63;

/// What was written before there were dates.
const WITHOUT_DATE: &str = "lifeboat: was ";

/// What is written on a database that is put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The name it had.
    pub was: String,
    /// When another one took it.
    pub since: Timestamp,
    /// It is not dropped before that day (UTC).
    pub until: Date,
    /// The database that took its name, as that was called before.
    pub replaced_by: String,
    /// It had the name only between a swap and its undoing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_back: bool,
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
fn read(comment: &str) -> Option<(Option<Date>, Option<Mark>)> {
    let Some(rest) = comment.strip_prefix(KEPT) else {
        return comment.starts_with(WITHOUT_DATE).then(|| (kept_by_a_pull(comment), None));
    };
    if let Ok(mark) = serde_json::from_str::<Mark>(rest) {
        return Some((Some(mark.until), Some(mark)));
    }
    let day = rest.strip_prefix("until ").and_then(|rest| rest.get(..10)).and_then(|day| day.parse().ok());
    Some((day, None))
}

/// The day after that until which a pull keeps it, where it says one ([`super::pulled::kept`]).
fn kept_by_a_pull(comment: &str) -> Option<Date> {
    let (_, until) = comment.rsplit_once("; kept by pull ")?.1.rsplit_once(" until ")?;
    until.parse::<Timestamp>().ok()?.to_zoned(TimeZone::UTC).date().tomorrow().ok()
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
            let query = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1";
            let row = client.query_opt(query, &[&name]).await.map_err(|error| explain_sql(&error, name))?;
            Ok(row.map_or_else(String::new, |row| row.get::<_, String>(0)))
        })?;
        match read(&comment) {
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
        let query = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1";
        let row = client.query_opt(query, &[&name]).await.map_err(|error| explain_sql(&error, name))?;
        let missing = || Report::refused(format!("there is no database {name:?} on {}", self.describe())).hint("lifeboat kept");
        let row = row.ok_or_else(missing)?;
        let live = name == self.settings.database || name == self.settings.maintenance;
        let Some((until, _)) = read(row.get(0)).filter(|_| !live) else {
            let words = if live { "is in use" } else { "was not put aside by a swap" };
            return Err(Report::refused(format!("database {name:?} {words}: it is not dropped here")).hint("lifeboat kept"));
        };
        let today = now.to_zoned(TimeZone::UTC).date();
        let words = match until {
            _ if early => return Ok(()),
            Some(until) if today >= until => return Ok(()),
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
            until: "2026-11-28".parse().unwrap(),
            replaced_by: odd.into(),
            taken_back: false,
        };
        let comment = mark.comment().unwrap();
        assert!(comment.starts_with(super::super::databases::MARK));
        assert_eq!(read(&comment), Some((Some(mark.until), Some(mark.clone()))));
        assert_eq!(read("lifeboat: was orders until 2026-11-21; kept"), Some((None, None)));
        assert_eq!(read("lifeboat: kept {"), Some((None, None)), "ours, and no date");
        let by_a_pull = super::super::pulled::kept("orders", "nightly", mark.since, Some("2026-11-27T03:00:00Z".parse().unwrap()));
        assert_eq!(read(&by_a_pull), Some((Some(mark.until), None)));
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
}
