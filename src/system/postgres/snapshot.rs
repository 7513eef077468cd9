//! Snapshots that dumps are made of (C4): one of each database, exported within one moment and held until the dumps are made.
//!
//! PostgreSQL has no snapshot over several databases. So a connection to each is opened first, then every one is asked for its snapshot at
//! the same time; the spread between the first and the last is measured by the server's own clock. A transaction over two databases that
//! committed within it may be in one dump and not in the other.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::session::{Session, ask_all, field};
use super::{Identity, Postgres};
use crate::port::Context;
use crate::report::{Explain, Result};

/// In one message: the clock of the statement is read when it comes in, before its snapshot is taken; `clock_timestamp` after.
const EXPORT: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; \
    SELECT jsonb_build_object('snapshot', pg_export_snapshot(), \
    'since', (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, \
    'until', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

/// Who answers; by [`Session::ask`].
const IDENTITY: &str = "SELECT jsonb_build_object('system_identifier', (SELECT system_identifier::text FROM pg_control_system()), \
    'database', current_database()::text, 'version', current_setting('server_version'), \
    'number', current_setting('server_version_num')::int, 'standby', pg_is_in_recovery(), \
    'now', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

/// One database as it was at a moment, held by a transaction that is open until this is dropped.
pub struct Snapshot {
    /// The database, and who answered there.
    pub identity: Identity,
    /// `pg_dump --snapshot` wants it.
    pub id: String,
    /// The snapshot is no older than this, by the server's clock; microseconds before it.
    pub since: Timestamp,
    /// Nor younger than this.
    pub until: Timestamp,
    session: Session,
}

/// Snapshots of several databases, in the order they were asked for.
pub struct Cut {
    /// One of each database.
    pub snapshots: Vec<Snapshot>,
}

impl Cut {
    /// Exports a snapshot of each database. Nothing is left open where one of them fails.
    pub fn take(postgres: &Postgres, databases: &[String], cx: &Context) -> Result<Cut> {
        let mut sessions = postgres.sessions(databases, cx)?;
        let identities = ask_all(&mut sessions, IDENTITY, cx)?;
        let exported = ask_all(&mut sessions, EXPORT, cx).map_err(|error| error.under("exporting a snapshot"))?;
        let snapshots = sessions.into_iter().zip(identities.iter().zip(&exported)).map(|(session, (identity, exported))| {
            Ok(Snapshot {
                identity: identity_of(identity)?,
                id: field(exported, "snapshot")?,
                since: moment(exported, "since")?,
                until: moment(exported, "until")?,
                session,
            })
        });
        Ok(Cut { snapshots: snapshots.collect::<Result<_>>()? })
    }

    /// From before the first snapshot until after the last.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.snapshots.iter().map(|snapshot| snapshot.since).min()?;
        Some((first, self.snapshots.iter().map(|snapshot| snapshot.until).max()?))
    }

    /// How far apart the snapshots may be.
    pub fn spread(&self) -> SignedDuration {
        self.span().map_or(SignedDuration::ZERO, |(first, last)| last.duration_since(first))
    }
}

impl Snapshot {
    /// Asks for one `jsonb` within the transaction that holds it.
    pub(super) fn ask(&mut self, query: &str, cx: &Context) -> Result<Value> {
        self.session.ask(query, cx)
    }

    /// The connection that holds it is gone: the server has forgotten it.
    pub fn is_lost(&mut self) -> bool {
        self.session.is_over()
    }
}

impl Session {
    /// Who answers.
    pub fn identity(&mut self, cx: &Context) -> Result<Identity> {
        identity_of(&self.ask(IDENTITY, cx)?)
    }
}

fn identity_of(answer: &Value) -> Result<Identity> {
    let version: String = field(answer, "version")?;
    let number: u32 = field(answer, "number")?;
    Ok(Identity {
        system_identifier: field(answer, "system_identifier")?,
        database: field(answer, "database")?,
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        major: number / 10_000,
        now: moment(answer, "now")?,
    })
}

fn moment(answer: &Value, name: &str) -> Result<Timestamp> {
    Timestamp::from_microsecond(field(answer, name)?).explain(|| "the server's clock makes no sense".into())
}
