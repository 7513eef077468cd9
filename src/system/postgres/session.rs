//! One connection that stays open and is asked again and again: by the driver, or by `psql` behind a command prefix.
//!
//! Every question is one statement (or `BEGIN …; SELECT …`) that gives one row of one `jsonb`, so that both ways give the same and no
//! name can break a line. Questions never hold text that people chose.

use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::clients::{Access, Clients};
use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::process::Conversation;
use crate::report::{Explain, Report, Result};

/// Timeouts that would end a transaction that waits for a dump; those a server does not know are left alone.
const PATIENT: &str = "SELECT to_jsonb(count(set_config(name, '0', false))) FROM pg_settings \
    WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";

/// See the module.
pub struct Session {
    database: String,
    way: Way,
}

enum Way {
    Driver(Client),
    Psql(Box<Conversation>),
}

impl Postgres {
    /// A connection to `database`, without timeouts of the server's.
    pub fn session(&self, database: &str, cx: &Context) -> Result<Session> {
        let way = match &self.settings.through {
            None => Way::Driver(cx.wait(self.connect(database, cx))?),
            Some(through) => {
                let access = Access::to(self, cx)?;
                let psql = access.aim(Clients::far(self).program("psql"), self, database);
                let psql = psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--file=-"]);
                Way::Psql(Box::new(psql.env("PGCLIENTENCODING", "UTF8").through(&through.command, through.shell).converse(cx)?))
            }
        };
        let mut session = Session { database: database.to_owned(), way };
        session.ask(PATIENT, cx).map_err(|error| match self.settings.through {
            Some(_) => error.under(format!("cannot reach database {database:?} on {}", self.describe())),
            None => error,
        })?;
        Ok(session)
    }

    /// A connection to each of the databases, made side by side; all of them or none.
    pub fn sessions(&self, databases: &[String], cx: &Context) -> Result<Vec<Session>> {
        side_by_side(databases.iter(), |database| self.session(database, cx))
    }
}

impl Session {
    /// Asks for one `jsonb`.
    pub fn ask(&mut self, query: &str, cx: &Context) -> Result<Value> {
        let text = match &mut self.way {
            Way::Driver(client) => {
                let answer = cx.wait(async { client.simple_query(query).await.map_err(|error| explain_sql(&error, &self.database)) })?;
                let row = answer.iter().rev().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                row.ok_or_else(|| Report::failed(format!("the server gave no answer on {:?}", self.database)))?
            }
            Way::Psql(psql) => psql.ask(&format!("{query};"))?,
        };
        serde_json::from_str(&text).map_err(|_| {
            let start: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
            Report::failed("the far end says something else than PostgreSQL's answer").cause(start).hint("let nothing be printed at log-in")
        })
    }

    /// The connection is gone, and its transaction with it.
    pub fn is_over(&mut self) -> bool {
        match &mut self.way {
            Way::Driver(client) => client.is_closed(),
            Way::Psql(psql) => psql.is_over(),
        }
    }
}

/// The same question to all, at the same time.
pub fn ask_all(sessions: &mut [Session], query: &str, cx: &Context) -> Result<Vec<Value>> {
    side_by_side(sessions.iter_mut(), |session| session.ask(query, cx))
}

/// Every item in a thread of its own; the results in the order of the items, or the first error.
fn side_by_side<I: Send, T: Send>(items: impl Iterator<Item = I>, work: impl Fn(I) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Report::failed("a thread that asked panicked")))).collect()
    })
}

/// A field of an answer.
pub(super) fn field<T: serde::de::DeserializeOwned>(answer: &Value, name: &str) -> Result<T> {
    serde_json::from_value(answer[name].clone()).explain(|| format!("the server's answer has no {name}"))
}
