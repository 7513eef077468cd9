//! What a pull needs of a server around the restore and the swap: its turn, a watch at the door, the note on what the live database is, the
//! first database of a name, and letting go of the ones that were kept.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::databases::MARK;
use super::{Postgres, explain_sql, kept};
use crate::port::Context;
use crate::report::{Explain, Kind, Report, Result};

/// The setting of a database that says what it is: any session reads it by `SHOW lifeboat.pulled`. It is made in the transaction of the swap.
const SETTING: &str = "lifeboat.pulled";

/// First key of the advisory lock of a pull; the second is the hash of the live database's name.
const LOCK_SPACE: i32 = 0x11FF;

/// How long the server may take to see that a holder is dead.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often the lock is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How often it is looked who is in.
const LOOK: Duration = Duration::from_millis(40);

/// What the live database is: said by itself, from the moment it is live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The pull.
    pub pull: String,
    /// The dump's name.
    pub dump: String,
    /// Its manifest's id.
    pub id: String,
    /// The data is as of this moment.
    pub snapshot_at: Timestamp,
    /// SHA-256 of everything that shaped it: files, rewrites, assertions, scan.
    pub recipe: String,
    /// SHA-256 of each file that was run, by its name, in their order.
    pub files: Vec<(String, String)>,
    /// When it was made, by our clock.
    pub at: Timestamp,
}

/// The right to pull into a database: held by a connection, so that the server lets go of it when we die, whatever host we are.
pub struct Turn {
    _client: Client,
}

/// Somebody stands at the door of a database: whoever gets in and is not us is sent away.
pub struct Watch {
    stop: CancellationToken,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Postgres {
    /// Takes the turn. Held by another pull is `Kind::Busy`, with who it is.
    pub fn take_turn(&self, live: &str, cx: &Context) -> Result<Turn> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let until = Instant::now() + PATIENCE;
            loop {
                let row = client.query_one("SELECT pg_try_advisory_lock($1, hashtext($2))", &[&LOCK_SPACE, &live]).await;
                if row.map_err(|error| explain_sql(&error, ""))?.get(0) {
                    return Ok(Turn { _client: client });
                }
                if Instant::now() >= until {
                    let holder = holder(&client, live).await?;
                    return Err(Report::new(Kind::Busy, format!("another pull into {live:?} on {} is under way", self.describe()))
                        .cause(holder)
                        .hint("wait for it: lifeboat runs, on the host that does it"));
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
        })
    }

    /// Whether we may write the note: superusers may, others by a grant that PostgreSQL knows from 15 on. `Kind::Refused` where not.
    pub fn can_note(&self, major: u32, cx: &Context) -> Result<()> {
        let granted = if major >= 15 { format!("has_parameter_privilege('{SETTING}', 'SET')") } else { "false".to_owned() };
        let query = format!("SELECT (current_setting('is_superuser') = 'on' OR {granted})::text");
        if self.ask(&self.settings.maintenance, &query, cx)? == "true" {
            return Ok(());
        }
        let user = escape_identifier(&self.settings.user);
        let report = Report::refused(format!("{} may not say of a database on {} what it is", self.settings.user, self.describe()));
        Err(if major >= 15 {
            report.hint(format!("once, as a superuser: GRANT SET ON PARAMETER {SETTING} TO {user}"))
        } else {
            report.hint(format!("before PostgreSQL 15 only a superuser may: `user` in [system.{}]", self.settings.name))
        })
    }

    /// Sends everybody away from `database` but our own connections, until the watch ends. What the server itself keeps out (see
    /// `restore_closed`) never gets here; this is for superusers, whom nothing keeps out.
    pub fn watch(&self, database: &str, cx: &Context) -> Watch {
        let (stop, sent) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let (postgres, database, ours, until, count) = (self.clone(), database.to_owned(), cx.clone(), stop.clone(), Arc::clone(&sent));
        let task = cx.runtime.spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = send_away(&postgres, &database, &count, &ours) => {}
            }
        });
        Watch { stop, sent, task }
    }

    /// What the live database says of itself; nothing where no pull made it, and where it is not there.
    pub fn note_of(&self, database: &str, cx: &Context) -> Result<Option<Note>> {
        let text = cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let query = "SELECT substr(entry, length($2) + 2) FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0,
                         unnest(setconfig) AS entry WHERE datname = $1 AND starts_with(entry, $2 || '=')";
            let row = client.query_opt(query, &[&database, &SETTING]).await.map_err(|error| explain_sql(&error, database))?;
            Ok(row.map(|row| row.get::<_, String>(0)))
        })?;
        // A note of another layout says nothing to us.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// The settings that `database` has now, as statements on it: what a swap would otherwise replace by those of the live one.
    pub fn settings_of(&self, database: &str, cx: &Context) -> Result<String> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let query = "SELECT CASE setrole WHEN 0 THEN format('ALTER DATABASE %I SET %I TO %s', d.datname, name, setting)
                    ELSE format('ALTER ROLE %I IN DATABASE %I SET %I TO %s', pg_get_userbyid(setrole), d.datname, name, setting) END
                FROM pg_database d JOIN pg_db_role_setting ON setdatabase = d.oid, unnest(setconfig) AS entry,
                     LATERAL (SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value) AS parts,
                     LATERAL (SELECT CASE WHEN name IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries')
                                          THEN value ELSE quote_literal(value) END AS setting) AS quoted
                WHERE d.datname = $1";
            let rows = client.query(query, &[&database]).await.map_err(|error| explain_sql(&error, database))?;
            Ok(rows.iter().map(|row| row.get::<_, String>(0) + ";\n").collect())
        })
    }

    /// The staged database takes a name that nobody has: there is nothing to swap. It is open like any new one then; `also` as of a swap.
    pub fn put_first(&self, live: &str, staged: &str, also: &str, cx: &Context) -> Result<()> {
        cx.wait(async {
            let mut client = self.connect(&self.settings.maintenance, cx).await?;
            let transaction = client.transaction().await.map_err(|error| explain_sql(&error, live))?;
            let owner = escape_identifier(self.settings.owner.as_deref().unwrap_or(&self.settings.user));
            let (from, to) = (escape_identifier(staged), escape_identifier(live));
            let statements = format!(
                "ALTER DATABASE {from} OWNER TO {owner}; ALTER DATABASE {from} CONNECTION LIMIT -1; COMMENT ON DATABASE {from} IS NULL;\n\
                 GRANT CONNECT, TEMPORARY ON DATABASE {from} TO PUBLIC;\n{also}ALTER DATABASE {from} RENAME TO {to}"
            );
            transaction.batch_execute(&statements).await.map_err(|error| explain_sql(&error, live))?;
            transaction.commit().await.map_err(|error| explain_sql(&error, live))
        })
        .map_err(|error| error.under(format!("naming {staged:?} {live:?} on {}", self.describe())))
    }

    /// Drops what this pull kept of `live` for no longer than until now, by the server's clock; never `newest`, by which the last swap is taken
    /// back. Gives the names, and in words what stays although its time is over.
    pub fn drop_overdue(&self, live: &str, newest: &str, pull: &str, now: Timestamp, cx: &Context) -> Result<(Vec<String>, Vec<String>)> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let query = "SELECT datname::text, mark FROM pg_database, shobj_description(oid, 'pg_database') AS mark
                         WHERE starts_with(mark, $1) ORDER BY 1";
            let rows = client.query(query, &[&MARK]).await.map_err(|error| explain_sql(&error, ""))?;
            let (mut dropped, mut staying) = (Vec::new(), Vec::new());
            for row in rows {
                let (name, comment): (String, String) = (row.get(0), row.get(1));
                let mark = kept::read(&comment).and_then(|(_, mark)| mark);
                if name == newest || mark.is_none_or(|mark| !mark.is_overdue(live, pull, now)) {
                    continue;
                }
                // Without FORCE: whoever is in it needs it.
                match client.batch_execute(&format!("DROP DATABASE {}", escape_identifier(&name))).await {
                    Ok(()) => dropped.push(name),
                    Err(error) => staying.push(format!("{name} was to go and stays: {}", explain_sql(&error, "").message)),
                }
            }
            Ok((dropped, staying))
        })
    }
}

/// The statement that makes the note, on the staged database.
pub fn noting(staged: &str, note: &Note) -> Result<String> {
    let text = serde_json::to_string(note).explain(|| "writing the note of a pull".into())?;
    Ok(format!("ALTER DATABASE {} SET {SETTING} TO {};\n", escape_identifier(staged), escape_literal(&text)))
}

async fn holder(client: &Client, live: &str) -> Result<String> {
    let query = "SELECT format('process %s of the server, of %s%s, since %s', a.pid, usename, coalesce(' at ' || host(client_addr), ''),
                               to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE locktype = 'advisory' AND granted AND classid = $1::int::oid AND objid = (hashtext($2)::bigint & 4294967295)::oid AND objsubid = 2
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let row = client.query_opt(query, &[&LOCK_SPACE, &live]).await.map_err(|error| explain_sql(&error, ""))?;
    Ok(row.map_or_else(String::new, |row| row.get(0)))
}

/// Never ends. A connection that is lost is made again: a watch that sleeps is none. Each name is said once, however often it comes.
async fn send_away(postgres: &Postgres, database: &str, sent: &AtomicU64, cx: &Context) {
    let query = "SELECT usename::text, coalesce(application_name, ''), pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = $1 AND backend_type IN ('client backend', 'walsender')
                   AND (usename IS DISTINCT FROM current_user OR application_name IS DISTINCT FROM current_setting('application_name'))";
    let mut known = HashSet::new();
    let mut client: Option<Client> = None;
    loop {
        if client.is_none() {
            client = postgres.connect(&postgres.settings.maintenance, cx).await.ok();
        }
        if let Some(connected) = &client {
            match connected.query(query, &[&database]).await {
                Ok(rows) => {
                    for row in rows {
                        sent.fetch_add(1, Ordering::Relaxed);
                        let who: (Option<String>, String) = (row.get(0), row.get(1));
                        if known.insert(who.clone()) {
                            let (name, program) = (who.0.unwrap_or_default(), who.1);
                            cx.log.say("pull", &format!("sent {name} ({program}) away from the database that is not sanitised yet"));
                        }
                    }
                }
                Err(_) => client = None,
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Watch {
    /// Ends it; gives how often somebody was sent away.
    pub fn end(self, cx: &Context) -> u64 {
        self.stop.cancel();
        // A watch that panicked has sent nobody away since.
        cx.runtime.block_on(self.task).ok();
        self.sent.load(Ordering::Relaxed)
    }
}
