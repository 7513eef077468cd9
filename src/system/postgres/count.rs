//! Counting what a database holds, to be held against what a dump's manifest says.

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::report::{Report, Result};

/// A table's schema and name, unquoted.
pub type TableName = (String, String);

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Rows of each ordinary table and materialised-view-free relation a dump carries data for.
    pub tables: BTreeMap<TableName, u64>,
    /// The same of tables that an extension made and whose rows it wants dumped (pg_extension, `extconfig`), such as PostGIS' `spatial_ref_sys`:
    /// a dump carries those that users added, the others come with the extension.
    pub of_extensions: BTreeMap<TableName, u64>,
    /// Constraints that a dump adds by ALTER TABLE.
    pub constraints: u64,
    /// Indexes that belong to no constraint.
    pub indexes: u64,
    /// Views and materialised views.
    pub views: u64,
    /// Sequences, those of identity columns included.
    pub sequences: u64,
    /// Triggers people made.
    pub triggers: u64,
    /// Large objects.
    pub large_objects: u64,
}

/// Schemas that are the server's own.
pub(super) const USER_SCHEMA: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// Not part of an extension: pg_dump leaves those to CREATE EXTENSION.
pub(super) fn not_of_extension(catalogue: &str, oid: &str) -> String {
    format!("NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{catalogue}'::regclass AND d.objid = {oid} AND d.deptype = 'e')")
}

impl Postgres {
    /// Counts everything in `database`, in one snapshot.
    pub fn count(&self, database: &str, cx: &Context) -> Result<Count> {
        cx.wait(async {
            let client = self.connect(database, cx).await?;
            let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            client.batch_execute(begin).await.map_err(|error| explain_sql(&error, database))?;
            let own = not_of_extension("pg_class", "c.oid");
            let configured = "EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))";
            let (tables, of_extensions) = (tables(&client, &own, database).await?, tables(&client, configured, database).await?);
            Ok(Count { tables, of_extensions, ..objects(&client, database).await? })
        })
    }
}

/// What holds of a restored database beyond numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soundness {
    /// Indexes that are not valid, as PostgreSQL prints them. One of a partitioned table that lacks a partition's is not meant.
    pub invalid_indexes: Vec<String>,
    /// Constraints of tables that were not validated, those inherited apart.
    pub unvalidated: Vec<String>,
}

impl Postgres {
    /// Asks it.
    pub fn soundness(&self, database: &str, cx: &Context) -> Result<Soundness> {
        let indexes = "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                       WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1";
        let constraints = "SELECT format('%s on %s', quote_ident(conname), conrelid::regclass) FROM pg_constraint \
                           WHERE conrelid <> 0 AND NOT convalidated AND conislocal ORDER BY 1";
        cx.wait(async {
            let client = self.connect(database, cx).await?;
            let column = async |query: &str| {
                let rows = client.query(query, &[]).await.map_err(|error| explain_sql(&error, database))?;
                Ok::<Vec<String>, Report>(rows.iter().map(|row| row.get(0)).collect())
            };
            Ok(Soundness { invalid_indexes: column(indexes).await?, unvalidated: column(constraints).await? })
        })
    }
}

/// Rows of the tables of which `which` is true.
async fn tables(client: &Client, which: &str, database: &str) -> Result<BTreeMap<TableName, u64>> {
    let names = format!(
        "SELECT n.nspname::text, c.relname::text, format('SELECT count(*) FROM ONLY %I.%I', n.nspname, c.relname) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {USER_SCHEMA} AND {which}"
    );
    let rows = client.query(&names, &[]).await.map_err(|error| explain_sql(&error, database))?;
    let mut tables = BTreeMap::new();
    for row in rows {
        let count = client.simple_query(row.get::<_, &str>(2)).await.map_err(|error| explain_sql(&error, database))?;
        let count = count.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
            _ => None,
        });
        let count = count.ok_or_else(|| Report::failed("count(*) gave no number"))?;
        tables.insert((row.get(0), row.get(1)), count);
    }
    Ok(tables)
}

async fn objects(client: &Client, database: &str) -> Result<Count> {
    let class = not_of_extension("pg_class", "c.oid");
    let relations = format!("FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {USER_SCHEMA} AND {class}");
    // A foreign key that a partition inherits is not dumped; a check is written inside CREATE TABLE unless it is NOT VALID.
    let constraints = format!(
        "SELECT count(*) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {USER_SCHEMA} AND {class} AND (k.contype IN ('p', 'u', 'x') OR (k.contype = 'f' AND k.conparentid = 0) \
         OR (k.contype = 'c' AND NOT k.convalidated))"
    );
    let indexes = format!(
        "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {USER_SCHEMA} AND {class} AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))"
    );
    let triggers = format!(
        "SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {USER_SCHEMA} AND {class} AND NOT t.tgisinternal AND t.tgparentid = 0"
    );
    let query = format!(
        "SELECT ({constraints}), ({indexes}), (SELECT count(*) {relations} AND c.relkind IN ('v', 'm')), \
         (SELECT count(*) {relations} AND c.relkind = 'S'), ({triggers}), (SELECT count(*) FROM pg_largeobject_metadata)"
    );
    let row = client.query_one(&query, &[]).await.map_err(|error| explain_sql(&error, database))?;
    let number = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or_default();
    Ok(Count {
        tables: BTreeMap::new(),
        of_extensions: BTreeMap::new(),
        constraints: number(0),
        indexes: number(1),
        views: number(2),
        sequences: number(3),
        triggers: number(4),
        large_objects: number(5),
    })
}

/// Schema and name out of `schema.table` as PostgreSQL quotes it. `None` where it is not of that form.
pub fn parse_name(quoted: &str) -> Option<TableName> {
    let (schema, rest) = identifier(quoted)?;
    let (table, rest) = identifier(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some((schema, table))
}

/// Names out of a list with commas between them, as PostgreSQL quotes each. `None` where it is not of that form.
pub fn parse_list(quoted: &str) -> Option<Vec<String>> {
    let (mut names, mut rest) = (Vec::new(), quoted.trim());
    while !rest.is_empty() {
        let (name, after) = identifier(rest)?;
        names.push(name);
        rest = match after.trim_start().strip_prefix(',') {
            // One more has to come.
            Some(more) => Some(more.trim_start()).filter(|more| !more.is_empty())?,
            None => return after.trim().is_empty().then_some(names),
        };
    }
    Some(names)
}

fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', ',', ' ']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((name, &quoted[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_quotes_them() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(parse_name("shop.orders"), pair("shop", "orders"));
        assert_eq!(parse_name(r#""Audit Log"."it ""is"".odd""#), pair("Audit Log", r#"it "is".odd"#));
        assert_eq!(parse_name(r#"shop."open"#), None);
        assert_eq!(parse_name("orders"), None);
        assert_eq!(parse_name("a.b.c"), None);
    }

    #[test]
    fn lists_of_names_are_read_as_copy_has_them() {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse_list(""), list(&[]));
        assert_eq!(parse_list("id"), list(&["id"]));
        assert_eq!(parse_list(r#"id, "a, ""b"" (c)", größe,x"#), list(&["id", r#"a, "b" (c)"#, "größe", "x"]));
        for wrong in ["id,", ",id", "id,,x", "id x", "\"id", "id \"x\""] {
            assert_eq!(parse_list(wrong), None, "{wrong}");
        }
    }
}
