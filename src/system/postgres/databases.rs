//! Which databases of a server a job means: names and patterns against what is there.

use serde::Deserialize;
use tokio_postgres::Client;
use wildmatch::WildMatch;

use super::explain_sql;
use super::session::Session;
use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// The comment of every database that lifeboat restored, keeps or is restoring begins with this, until a swap makes it the live one.
pub const MARK: &str = "lifeboat: ";

/// Names of databases have so many bytes at most (`NAMEDATALEN`).
pub const LONGEST: usize = 63;

/// A name that PostgreSQL takes as it is; `Kind::Usage` where it would be refused, or cut.
pub fn check_name(name: &str) -> Result<()> {
    if (1..=LONGEST).contains(&name.len()) && !name.contains(char::is_control) {
        return Ok(());
    }
    Err(Report::usage(format!("{name:?} cannot be the name of a database")).hint(format!("1 to {LONGEST} bytes, no control characters")))
}

/// The comment of a database, empty where it has none; nothing where there is no such database.
pub(super) async fn comment(client: &Client, database: &str) -> Result<Option<String>> {
    let query = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1";
    let row = client.query_opt(query, &[&database]).await.map_err(|error| explain_sql(&error, database))?;
    Ok(row.map(|row| row.get(0)))
}

/// Names, or patterns in which `*` is any text and `?` any character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those that are meant.
    pub wanted: Vec<String>,
    /// Those that are left out; patterns too.
    pub exclude: Vec<String>,
}

/// A database that can be connected to, and is no template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its comment, or nothing.
    pub comment: String,
}

/// What a selection comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// By name, each once.
    pub databases: Vec<String>,
    /// Those that a pattern meant and that were left out, each with the reason.
    pub excluded: Vec<(String, String)>,
}

/// It has a `*` or a `?`.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The text, a name or a pattern, means the database `name`.
pub fn means(text: &str, name: &str) -> bool {
    if is_pattern(text) { WildMatch::new(text).matches(name) } else { text == name }
}

/// What a server holds.
pub fn list(session: &mut Session, cx: &Context) -> Result<Vec<Listed>> {
    // -2: a database whose removal was interrupted; nobody can connect to it.
    let query = "SELECT coalesce(jsonb_agg(jsonb_build_object('name', datname, 'comment', \
                 coalesce(shobj_description(oid, 'pg_database'), '')) ORDER BY datname), '[]') \
                 FROM pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2";
    let answer = session.ask(query, cx).map_err(|error| error.under("listing the databases"))?;
    serde_json::from_value(answer).explain(|| "listing the databases".into())
}

impl Selection {
    /// The databases that are meant, among those that are there. A name that is not there, or a pattern that means none, is an error:
    /// both are more likely a mistake than a wish.
    pub fn choose(&self, listed: &[Listed]) -> Result<Chosen> {
        let mut chosen = Chosen { databases: Vec::new(), excluded: Vec::new() };
        let mut missing = Vec::new();
        for text in &self.wanted {
            let mut meant = listed.iter().filter(|database| means(text, &database.name)).peekable();
            if meant.peek().is_none() {
                let kind = if is_pattern(text) { "no database is called like" } else { "there is no database" };
                missing.push(format!("{kind} {text:?}"));
            }
            for database in meant {
                match self.reason_against(text, database)? {
                    Some(reason) => chosen.excluded.push((database.name.clone(), reason)),
                    None => chosen.databases.push(database.name.clone()),
                }
            }
        }
        if !missing.is_empty() {
            let names = listed.iter().map(|database| database.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Report::refused(missing.join("; ")).hint(format!("there are: {names}")));
        }
        chosen.databases.sort();
        chosen.databases.dedup();
        chosen.excluded.retain(|(name, _)| !chosen.databases.contains(name));
        chosen.excluded.sort();
        chosen.excluded.dedup();
        if chosen.databases.is_empty() && !self.wanted.is_empty() {
            let report = Report::refused("every database that is meant is left out");
            return Err(chosen.excluded.iter().fold(report, |report, (name, why)| report.cause(format!("{name}: {why}"))));
        }
        Ok(chosen)
    }

    /// Why a database that `text` means is not taken. One that is named is taken unless it is only half there.
    fn reason_against(&self, text: &str, database: &Listed) -> Result<Option<String>> {
        let half = database.comment.starts_with(super::restore::UNFINISHED) || database.name.starts_with(super::restore::UNMARKED);
        if !is_pattern(text) {
            let report = || Report::refused(format!("database {:?} is being restored: it is not whole", database.name));
            return if half { Err(report()) } else { Ok(None) };
        }
        if half || database.comment.starts_with(MARK) {
            return Ok(Some("lifeboat's own, restored or kept beside a live one".into()));
        }
        let excluding = self.exclude.iter().find(|pattern| means(pattern, &database.name));
        Ok(excluding.map(|pattern| format!("excluded by {pattern:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(wanted: &[&str], exclude: &[&str]) -> Selection {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Selection { wanted: own(wanted), exclude: own(exclude) }
    }

    fn listed() -> Vec<Listed> {
        let one = |name: &str, comment: &str| Listed { name: name.into(), comment: comment.into() };
        vec![
            one("a*b", ""),
            one("billing", "the bills"),
            one("billing_test", ""),
            one("half", "lifeboat: being restored from x since y"),
            one("orders", ""),
            one("orders_old", "lifeboat: was orders until 2026-11-21; kept"),
            one("staged", "lifeboat: restored from x at y"),
        ]
    }

    // R1, U1
    #[test]
    fn a_pattern_takes_all_it_means_but_the_excluded_and_our_own() {
        let chosen = selection(&["*"], &["*_test"]).choose(&listed()).unwrap();
        assert_eq!(chosen.databases, ["a*b", "billing", "orders"]);
        let names: Vec<&str> = chosen.excluded.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["billing_test", "half", "orders_old", "staged"]);
        assert_eq!(chosen.excluded[0].1, r#"excluded by "*_test""#);
        assert_eq!(selection(&["orders", "ord?rs", "b*"], &[]).choose(&listed()).unwrap().databases, ["billing", "billing_test", "orders"]);
    }

    #[test]
    fn a_name_is_taken_even_if_kept_but_never_when_half_restored() {
        assert_eq!(selection(&["orders_old"], &[]).choose(&listed()).unwrap().databases, ["orders_old"]);
        assert!(selection(&["half"], &[]).choose(&listed()).unwrap_err().message.contains("not whole"));
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_what_is() {
        let error = selection(&["oders", "x*", "orders"], &[]).choose(&listed()).unwrap_err();
        assert_eq!(error.message, r#"there is no database "oders"; no database is called like "x*""#);
        assert!(error.hints[0].contains("billing, billing_test"), "{error:?}");
        let error = selection(&["billing*"], &["billing*"]).choose(&listed()).unwrap_err();
        assert!(error.message.contains("left out") && error.causes.len() == 2, "{error:?}");
    }
}
