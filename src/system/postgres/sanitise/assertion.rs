//! Assertions on the sanitised database. The rows of those that must give none are shown masked.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::pattern::{discreet, mask};
use crate::report::{Report, Result};
use crate::system::postgres::assertion::{Assertion, ask};
use crate::system::postgres::explain_sql;

/// How many offending rows are shown.
const SHOWN: u32 = 3;

/// Longest line for a row that is shown.
const LINE: usize = 200;

/// Asks all of them, on a connection to the staged database, in one transaction that cannot write. Every one that does not hold is told.
pub(super) async fn hold(client: &Client, assertions: &[Assertion]) -> Result<()> {
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    client.batch_execute(begin).await.map_err(|error| explain_sql(&error, ""))?;
    let mut broken: Vec<String> = Vec::new();
    for assertion in assertions {
        let told = match assertion.equals {
            None => offending(client, &assertion.query).await,
            Some(_) => ask(client, assertion).await.map(|why| why.into_iter().collect()),
        };
        let told = told.map_err(|error| {
            let error = Report { message: discreet(&error.message), causes: Vec::new(), ..error };
            error.under(format!("the assertion \"{}\" could not be asked", assertion.title))
        })?;
        if let Some((why, rows)) = told.split_first() {
            broken.push(format!("{}: {why}", assertion.title));
            broken.extend_from_slice(rows);
        }
    }
    client.batch_execute("COMMIT").await.map_err(|error| explain_sql(&error, ""))?;
    if broken.is_empty() {
        return Ok(());
    }
    let titles = broken.iter().filter(|line| !line.starts_with("  ")).count();
    let report = Report::refused(format!("{titles} of {} assertions do not hold on the sanitised database", assertions.len()));
    Err(broken.into_iter().fold(report, Report::cause).hint("put the files of `transform` right, then pull again"))
}

/// How many rows, then the first of them, masked; nothing where there is none.
async fn offending(client: &Client, query: &str) -> Result<Vec<String>> {
    let explain = |error| explain_sql(&error, "");
    let query = query.trim().trim_end_matches(';');
    // On lines of their own: a query may end in a comment.
    let count: i64 = client.query_one(&format!("SELECT count(*) FROM (\n{query}\n) AS offending"), &[]).await.map_err(explain)?.get(0);
    if count == 0 {
        return Ok(Vec::new());
    }
    let columns = client.prepare(&format!("SELECT * FROM (\n{query}\n) AS offending")).await.map_err(explain)?;
    let is_number: Vec<bool> =
        columns.columns().iter().map(|column| [Type::INT2, Type::INT4, Type::INT8].contains(column.type_())).collect();
    let names: Vec<String> = columns.columns().iter().map(|column| column.name().to_owned()).collect();
    let answer = client.simple_query(&format!("SELECT * FROM (\n{query}\n) AS offending LIMIT {SHOWN}")).await.map_err(explain)?;
    let rows = answer.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let line = |row: &tokio_postgres::SimpleQueryRow| {
        let cell = |at: usize| match row.get(at) {
            None => format!("{} null", names[at]),
            Some(number) if is_number[at] => format!("{} {number}", names[at]),
            Some(text) => format!("{} {}", names[at], mask(text)),
        };
        let text = (0..names.len().min(row.len())).map(cell).collect::<Vec<_>>().join(", ");
        format!("  {}", text.chars().filter(|c| !c.is_control()).take(LINE).collect::<String>())
    };
    Ok(std::iter::once(format!("{count} rows")).chain(rows.map(line)).collect())
}
