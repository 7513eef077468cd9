//! What people hold to be true of a database, asked of it: of a restored dump (L6), and of a pulled copy before anybody sees it.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::report::Result;

/// Rows looked at; more are only "more".
const ROWS: usize = 1000;

/// Something that must hold of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// What it says, in a line.
    pub title: String,
    /// One query.
    pub query: String,
    /// What the first column of its only row must be, as text; `true` and `false` mean PostgreSQL's `t` and `f`. Without it, the query must give no row at all.
    pub equals: Option<String>,
}

impl Postgres {
    /// Asks one assertion, in a transaction that can only read. `None` where it holds, else why not. A query that the server refuses is an
    /// error: nothing was learnt of the data.
    ///
    /// The words hold no text out of the database, only numbers and truth values: they are kept where anybody may read them.
    pub fn assert(&self, database: &str, assertion: &Assertion, cx: &Context) -> Result<Option<String>> {
        let asked = cx.wait(async {
            let client = self.connect(database, cx).await?;
            client.batch_execute("BEGIN READ ONLY").await.map_err(|error| explain_sql(&error, database))?;
            ask(&client, assertion).await
        });
        asked.map_err(|report| report.under(format!("the assertion \"{}\" could not be asked", assertion.title)))
    }
}

/// The same on a connection that is within a transaction.
pub(super) async fn ask(client: &Client, assertion: &Assertion) -> Result<Option<String>> {
    let query = assertion.query.trim().trim_end_matches(';');
    let explain = |error| explain_sql(&error, "");
    client.batch_execute(&format!("DECLARE assertion NO SCROLL CURSOR FOR {query}")).await.map_err(explain)?;
    let messages = client.simple_query(&format!("FETCH {ROWS} FROM assertion")).await.map_err(explain)?;
    client.batch_execute("CLOSE assertion").await.map_err(explain)?;
    let first = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.try_get(0).ok().flatten().map(str::to_owned)),
        _ => None,
    };
    let rows: Vec<Option<String>> = messages.iter().filter_map(first).collect();
    Ok(judge(&rows, assertion.equals.as_deref()))
}

fn judge(rows: &[Option<String>], equals: Option<&str>) -> Option<String> {
    let count = |rows: &[_]| if rows.len() < ROWS { rows.len().to_string() } else { format!("{ROWS} or more") };
    match (equals, rows) {
        (None, []) => None,
        (None, rows) => Some(format!("{} rows where there must be none", count(rows))),
        (Some(wanted), [Some(seen)]) if is(seen, wanted) => None,
        (Some(wanted), [seen]) => Some(format!("{}, expected {wanted}", impersonal(seen.as_deref()))),
        (Some(wanted), rows) => Some(format!("{} rows, expected one with {wanted}", count(rows))),
    }
}

/// PostgreSQL writes truth as `t`, and TOML as `true`.
fn is(seen: &str, wanted: &str) -> bool {
    seen == wanted || matches!((seen, wanted), ("t", "true") | ("f", "false"))
}

/// A value that says nothing of anybody, or only what kind of value it is.
fn impersonal(value: Option<&str>) -> String {
    match value {
        None => "NULL".into(),
        Some(word @ ("t" | "f" | "true" | "false")) => word.into(),
        Some(number) if number.len() <= 24 && number.parse::<f64>().is_ok() => number.into(),
        Some(text) => format!("another text, of {} characters", text.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_value_no_row_is_wanted_and_with_one_exactly_one() {
        let row = |text: &str| Some(text.to_owned());
        assert_eq!(judge(&[], None), None);
        assert_eq!(judge(&[row("a"), row("b")], None).unwrap(), "2 rows where there must be none");
        assert_eq!(judge(&[row("42")], Some("42")), None);
        assert_eq!(judge(&[row("41")], Some("42")).unwrap(), "41, expected 42");
        assert_eq!(judge(&[], Some("42")).unwrap(), "0 rows, expected one with 42");
        assert_eq!(judge(&[row("42"), row("42")], Some("42")).unwrap(), "2 rows, expected one with 42");
        assert_eq!(judge(&[row("t")], Some("true")), None);
        assert_eq!(judge(&[row("f")], Some("true")).unwrap(), "f, expected true");
        assert_eq!(judge(&[None], Some("42")).unwrap(), "NULL, expected 42");
    }

    #[test]
    fn no_text_of_the_database_is_told() {
        let told = judge(&[Some("ada@example.org".into())], Some("nobody")).unwrap();
        assert_eq!(told, "another text, of 15 characters, expected nobody");
        assert!(!impersonal(Some("+49 170 1234567")).contains("170"));
    }
}
