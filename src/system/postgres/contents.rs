//! What the rows of a database hash to: read out of the server the way pg_dump reads them, to be held against the hashes of a dump.
//!
//! What a value looks like as text depends on settings. Those that pg_dump sets are set here too (`setup_connection` in pg_dump.c); those that
//! it leaves to the database are the same here and when our dumps are made ([`TIME_ZONE`], [`BYTES`]). Only `money` depends on a locale that
//! may not be there, so tables that hold any are counted and not hashed.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::TryStreamExt;
use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::count::{TableName, USER_SCHEMA, not_of_extension};
use super::{Postgres, explain_sql};
use crate::port::table_hash::{TableHash, TableHasher};
use crate::port::{Context, Meter};
use crate::report::{Report, Result};

/// In which zone moments are written, in dumps and here: pg_dump takes the database's own, and a server elsewhere has another.
pub(super) const TIME_ZONE: &str = "UTC";

/// How `bytea` is written, likewise.
pub(super) const BYTES: &str = "hex";

/// By `Session::ask`: how a database writes it by itself.
pub(super) const WRITES_BYTES: &str = "SELECT to_jsonb(current_setting('bytea_output'))";

/// Bytes after which a meter is told.
const TELL: u64 = 1 << 20;

/// The columns of a table in the order that its rows are to have them; where none is given, in the order of the database.
pub type Wanted = BTreeMap<TableName, Option<Vec<String>>>;

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Rows.
    pub rows: u64,
    /// What they hash to; none of a table whose text depends on more than its rows.
    pub hash: Option<TableHash>,
}

/// A table as the catalogue knows it.
struct Table {
    name: TableName,
    /// Neither dropped nor generated.
    columns: Vec<String>,
    holds_money: bool,
}

impl Postgres {
    /// Reads the wanted tables, one after the other, in one snapshot. Those that are not there, and those that an extension made, are not in
    /// what comes back. Memory does not depend on how many rows there are, only on the longest.
    pub fn contents(&self, database: &str, wanted: &Wanted, cx: &Context) -> Result<BTreeMap<TableName, Held>> {
        let meter = cx.meters.add("compare");
        let held = cx.wait(async {
            let client = self.connect(database, cx).await?;
            as_pg_dump_reads(&client).await.map_err(|error| explain_sql(&error, database))?;
            let mut held = BTreeMap::new();
            for table in tables(&client).await.map_err(|error| explain_sql(&error, database))? {
                let Some(order) = wanted.get(&table.name) else { continue };
                let found = read(&client, &table, order.as_deref(), &meter).await;
                held.insert(table.name.clone(), found.map_err(|error| error.under(format!("reading {}.{}", table.name.0, table.name.1)))?);
            }
            Ok(held)
        })?;
        meter.finish();
        Ok(held)
    }
}

/// One transaction, with what pg_dump sets before it reads, and without timeouts of the server's.
async fn as_pg_dump_reads(client: &Client) -> std::result::Result<(), tokio_postgres::Error> {
    let settings = format!(
        "SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET synchronize_seqscans = off; SET row_security = off; \
         SET quote_all_identifiers = off; SET bytea_output = {BYTES}; SET TimeZone = '{TIME_ZONE}'; \
         SELECT pg_catalog.set_config('search_path', '', false); \
         SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
         ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')"
    );
    client.batch_execute(&settings).await?;
    client.batch_execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await
}

async fn tables(client: &Client) -> std::result::Result<Vec<Table>, tokio_postgres::Error> {
    let own = not_of_extension("pg_class", "c.oid");
    // Arrays, domains, ranges and rows of money are money too.
    let query = format!(
        "WITH RECURSIVE money (oid) AS (SELECT 'money'::regtype::oid UNION SELECT t.oid FROM money m JOIN pg_type t \
         ON t.typelem = m.oid OR t.typbasetype = m.oid OR EXISTS (SELECT FROM pg_range r WHERE r.rngsubtype = m.oid AND t.oid = r.rngtypid) \
         OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.atttypid = m.oid AND a.attnum > 0)), \
         stored AS (SELECT * FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attgenerated = '') \
         SELECT n.nspname::text, c.relname::text, \
         array(SELECT a.attname::text FROM stored a WHERE a.attrelid = c.oid ORDER BY a.attnum), \
         EXISTS (SELECT FROM stored a JOIN money m ON m.oid = a.atttypid WHERE a.attrelid = c.oid) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {USER_SCHEMA} AND {own} ORDER BY 1, 2"
    );
    let rows = client.query(&query, &[]).await?;
    let table = |row: &tokio_postgres::Row| Table { name: (row.get(0), row.get(1)), columns: row.get(2), holds_money: row.get(3) };
    Ok(rows.iter().map(table).collect())
}

async fn read(client: &Client, table: &Table, order: Option<&[String]>, meter: &Meter) -> Result<Held> {
    let (schema, name) = &table.name;
    // What a dump names is only used where it names the same columns.
    let is_same =
        |order: &&[String]| order.iter().collect::<BTreeSet<_>>() == table.columns.iter().collect() && order.len() == table.columns.len();
    let columns: Vec<String> = order.filter(is_same).unwrap_or(&table.columns).iter().map(|column| escape_identifier(column)).collect();
    let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let copy = format!("COPY {}.{}{list} TO STDOUT", escape_identifier(schema), escape_identifier(name));
    let failed = |error: tokio_postgres::Error| explain_sql(&error, "");
    let mut stream = pin!(client.copy_out(&copy).await.map_err(failed)?);
    let mut hasher = TableHasher::default();
    let mut untold = 0;
    while let Some(bytes) = stream.try_next().await.map_err(failed)? {
        hasher.feed(&bytes);
        untold += bytes.len() as u64;
        if untold >= TELL {
            meter.add(std::mem::take(&mut untold));
        }
    }
    meter.add(untold);
    if hasher.is_open() {
        return Err(Report::failed("the server ended its rows within one"));
    }
    Ok(Held { rows: hasher.rows(), hash: (!table.holds_money).then(|| hasher.hash()) })
}
