//! Rewriting URLs and identities (G6): an exact text becomes another, in the columns that are named, and each says how many rows it changed.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::pattern::discreet;
use crate::report::{Report, Result};
use crate::system::postgres::explain_sql;

/// One text that becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The table, as SQL writes it: `shop.orders`, `"Audit Log".visits`.
    pub table: String,
    /// Its columns, by their names.
    pub columns: Vec<String>,
    /// What is looked for, to the letter; not empty.
    pub from: String,
    /// What comes in its place.
    pub to: String,
}

/// Rows that one column of a rewrite changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// `shop.orders.note`.
    pub place: String,
    /// How many.
    pub rows: u64,
}

/// Types whose values are their text; of the first four there are arrays.
const TEXTS: [&str; 6] = ["text", "varchar", "bpchar", "citext", "xml", "name"];

/// How a column holds its text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    /// Inside strings of JSON, where quotes, backslashes and control characters are escaped.
    Json,
    Array,
}

/// Does it, on a connection to the staged database, in one transaction.
pub(super) async fn rewrite(client: &mut Client, rewrites: &[Rewrite]) -> Result<Vec<Rewritten>> {
    let transaction = client.transaction().await.map_err(|error| explain_sql(&error, ""))?;
    let mut done = Vec::new();
    for rewrite in rewrites {
        for column in &rewrite.columns {
            let place = format!("{}.{column}", rewrite.table);
            let (table, kind, holds) = resolve(&transaction, rewrite, column).await?;
            let statement = statement(&table, column, &kind, holds);
            let (from, to) = if holds == Holds::Json {
                (in_json(&rewrite.from)?, in_json(&rewrite.to)?)
            } else {
                (rewrite.from.clone(), rewrite.to.clone())
            };
            let rows = transaction.execute(&statement, &[&from, &to]).await.map_err(|error| {
                let report = explain_sql(&error, "");
                Report { message: discreet(&report.message), causes: Vec::new(), ..report }.under(format!("rewriting {place}"))
            })?;
            done.push(Rewritten { place, rows });
        }
    }
    transaction.commit().await.map_err(|error| explain_sql(&error, ""))?;
    Ok(done)
}

/// The table as it is to be written, the column's type and how that holds its text; a table or a column that is not there is an error.
async fn resolve(client: &tokio_postgres::Transaction<'_>, rewrite: &Rewrite, column: &str) -> Result<(String, String, Holds)> {
    let table = &rewrite.table;
    let query = "WITH RECURSIVE base(oid) AS (
            SELECT atttypid FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass($1) AND attname = $2 AND attnum > 0 AND NOT attisdropped
            UNION ALL SELECT typbasetype FROM base JOIN pg_catalog.pg_type USING (oid) WHERE typtype = 'd')
        SELECT pg_catalog.format('%I.%I', nspname, relname), pg_catalog.format_type(a.atttypid, a.atttypmod), t.typname::text, e.typname::text
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN (base JOIN pg_catalog.pg_type t USING (oid)) ON t.typtype <> 'd'
        LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        WHERE c.oid = pg_catalog.to_regclass($1)";
    let row =
        client.query_opt(query, &[table, &column]).await.map_err(|error| explain_sql(&error, "").under(format!("rewriting {table}")))?;
    let missing = |what: String| {
        Report::refused(what).hint("look at `rewrite` of this pull: a name that is not there is more likely a mistake than a wish")
    };
    let Some(row) = row else { return Err(missing(format!("there is no table {table} to rewrite"))) };
    let kind: Option<String> = row.get(1);
    let Some(kind) = kind else { return Err(missing(format!("table {table} has no column {column:?} to rewrite"))) };
    let (base, element): (Option<String>, Option<String>) = (row.get(2), row.get(3));
    let holds = match (base.as_deref(), element.as_deref()) {
        (Some("json" | "jsonb"), _) => Holds::Json,
        (Some(base), _) if TEXTS.contains(&base) => Holds::Text,
        (_, Some(element)) if TEXTS[..4].contains(&element) => Holds::Array,
        _ => {
            return Err(Report::refused(format!(
                "{table}.{column} is of type {kind}: texts are rewritten in text, json, xml and arrays of text"
            ))
            .hint("rewrite it in a file of `transform`"));
        }
    };
    Ok((row.get(0), kind, holds))
}

fn statement(table: &str, column: &str, kind: &str, holds: Holds) -> String {
    let column = escape_identifier(column);
    match holds {
        Holds::Text | Holds::Json => format!(
            "UPDATE {table} SET {column} = pg_catalog.replace({column}::text, $1, $2)::{kind} WHERE pg_catalog.strpos({column}::text, $1) > 0"
        ),
        Holds::Array => format!(
            "UPDATE {table} SET {column} = ARRAY(SELECT pg_catalog.replace(item::text, $1, $2) FROM pg_catalog.unnest({column})
             WITH ORDINALITY AS items(item, at) ORDER BY at)::{kind}
             WHERE EXISTS (SELECT FROM pg_catalog.unnest({column}) AS item WHERE pg_catalog.strpos(item::text, $1) > 0)"
        ),
    }
}

/// A text as it stands inside a string of JSON.
fn in_json(text: &str) -> Result<String> {
    let quoted = serde_json::to_string(text).map_err(|error| Report::failed("writing JSON").because(error))?;
    Ok(quoted[1..quoted.len() - 1].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_inside_json_is_looked_for_as_json_writes_it() {
        assert_eq!(in_json(r#"a "b" \c/é"#).unwrap(), r#"a \"b\" \\c/é"#);
    }
}
