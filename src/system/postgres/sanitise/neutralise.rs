//! What a copy must not do as if it were production (trap 30): what is in the database and acts by itself, or reaches other machines.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::report::Result;
use crate::system::postgres::explain_sql;

/// Tables of schedulers: a row that is on is run by a worker of the server. Relation, and the column that says so.
const SCHEDULERS: [(&str, &str); 4] =
    [("cron.job", "active"), ("pgagent.pga_job", "jobenabled"), ("timetable.chain", "live"), ("_timescaledb_config.bgw_job", "scheduled")];

/// Does it, on a connection to the staged database; gives what was done, in words, nothing where there was nothing to do.
pub(super) async fn neutralise(client: &Client) -> Result<Vec<String>> {
    let mut done = Vec::new();
    done.extend(subscriptions(client).await?);
    done.extend(schedulers(client).await?);
    done.extend(user_mappings(client).await?);
    Ok(done)
}

/// What the server does with what is in it, whatever is done in the database: to be known before real rows are in it.
pub(super) async fn server_warnings(client: &Client) -> Result<Vec<String>> {
    let query = "SELECT current_setting('archive_mode') <> 'off', (SELECT count(*) FROM pg_catalog.pg_stat_replication)";
    let row = client.query_one(query, &[]).await.map_err(|error| explain_sql(&error, ""))?;
    let (archives, standbys): (bool, i64) = (row.get(0), row.get(1));
    let archive = "the server archives WAL: the rows as they were before they were sanitised go to that archive";
    let standby = format!("the server has {standbys} standbys or WAL receivers: they get the rows as they were before they were sanitised");
    Ok([archives.then(|| archive.to_owned()), (standbys > 0).then_some(standby)].into_iter().flatten().collect())
}

/// Dropped without a word to their publisher: the slot over there is production's, which a `DROP SUBSCRIPTION` alone would take away.
async fn subscriptions(client: &Client) -> Result<Option<String>> {
    let query = "SELECT subname::text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
                 WHERE d.datname = pg_catalog.current_database() ORDER BY 1";
    let names = column(client, query).await?;
    for name in &names {
        let name = escape_identifier(name);
        for what in ["ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)", "DROP SUBSCRIPTION {}"] {
            execute(client, &what.replace("{}", &name)).await?;
        }
    }
    Ok((!names.is_empty()).then(|| format!("dropped {} subscriptions: {}", names.len(), names.join(", "))))
}

async fn schedulers(client: &Client) -> Result<Option<String>> {
    let mut done = Vec::new();
    for (table, column) in SCHEDULERS {
        let query =
            "SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass($1) AND attname = $2 AND NOT attisdropped";
        let there = client.query_opt(query, &[&table, &column]).await.map_err(|error| explain_sql(&error, ""))?;
        if there.is_some() {
            let off = execute(client, &format!("UPDATE {table} SET {column} = false WHERE {column}")).await?;
            done.push(format!("switched off {off} jobs in {table}"));
        }
    }
    Ok((!done.is_empty()).then(|| done.join(", ")))
}

/// How foreign tables get in elsewhere, with passwords: production's own databases for one.
async fn user_mappings(client: &Client) -> Result<Option<String>> {
    let query = "SELECT pg_catalog.format('DROP USER MAPPING FOR %s SERVER %I',
                        CASE umuser WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(usename) END, srvname)
                 FROM pg_catalog.pg_user_mappings ORDER BY 1";
    let statements = column(client, query).await?;
    for statement in &statements {
        execute(client, statement).await?;
    }
    Ok((!statements.is_empty()).then(|| format!("dropped {} user mappings of foreign servers", statements.len())))
}

async fn column(client: &Client, query: &str) -> Result<Vec<String>> {
    let rows = client.query(query, &[]).await.map_err(|error| explain_sql(&error, ""))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn execute(client: &Client, statement: &str) -> Result<u64> {
    client.execute(statement, &[]).await.map_err(|error| explain_sql(&error, "").under(format!("neutralising: {statement}")))
}
