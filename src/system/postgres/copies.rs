//! The rows of a dump on their way into tables: several COPYs of one table at a time, by connections of our own.
//!
//! What takes the server longest about a COPY is to make values of text, and one session does that on one processor. COPY's text format has one
//! row in each line, so a stream of rows can be cut at any newline and dealt out to several sessions. Tables still come one after the other, in
//! the order of the dump: no row of one is there before the rows of those ahead of it are.

use std::sync::Arc;
use std::sync::mpsc::{Receiver as Heard, Sender as Told, channel as line};

use bytes::Bytes;
use futures_util::SinkExt;
use memchr::{memchr, memrchr};
use postgres_protocol::escape::escape_identifier;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::{Postgres, explain_sql};
use crate::port::{Context, Rows, nonce};
use crate::report::{Explain, Report, Result};

/// Bytes of rows that are dealt out at a time.
const SHARE: usize = 128 << 10;

/// Shares that wait for a session. While they suffice, no further session is asked.
const WAITING: usize = 2;

/// What ends the rows of a COPY in a dump; newlines follow.
const END: &[u8] = b"\\.";

/// How long it is in an archive, its newlines included. So much is kept back, because it may be the end.
const TAIL: usize = END.len() + 3;

/// How a session is set that loads rows, as those of pg_restore and of a plain dump are; settings that a server does not know are left alone. A
/// commit does not wait for the disk, see [`super::load`].
const SETTINGS: &str = "SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0'), ('synchronous_commit', 'off'),
    ('check_function_bodies', 'off'), ('xmloption', 'content'), ('row_security', 'off'), ('standard_conforming_strings', 'on'),
    ('client_min_messages', 'warning'), ('search_path', '')) AS ours(name, value) USING (name)";

/// Whether something looks at the rows as they come: then one session must bring them all, because it may look at the others.
const WATCHED: &str = "SELECT relhasindex OR relhastriggers OR relhasrules FROM pg_class WHERE oid = to_regclass($1)";

/// Where `psql` says how far it has come.
pub(super) struct Marks {
    nonce: String,
    heard: Heard<u64>,
    put: u64,
}

impl Marks {
    /// Marks, and what has to be given each line that psql says. A dump cannot say them: it does not know our number.
    pub(super) fn new() -> Result<(Marks, impl FnMut(&str) + Send + 'static)> {
        let nonce = nonce(16)?;
        let (tell, heard): (Told<u64>, _) = line();
        let own = nonce.clone();
        let hear = move |said: &str| {
            let number = said.strip_prefix(&own).and_then(|number| number.trim().parse().ok());
            if let Some(number) = number {
                tell.send(number).ok(); // nobody waits any more once all rows are there
            }
        };
        Ok((Marks { nonce, heard, put: 0 }, hear))
    }

    fn put(&mut self) -> String {
        self.put += 1;
        format!("SELECT '{} {}';\n", self.nonce, self.put)
    }

    fn wait(&self) -> Result<()> {
        // Cancelling ends psql, and that ends the waiting.
        while self.heard.recv().explain(|| "psql ended before the rows came".into())? < self.put {}
        Ok(())
    }
}

/// See the module.
pub(super) struct Copies {
    postgres: Postgres,
    database: String,
    /// Who does it, where that is not who connects.
    role: Option<String>,
    /// Sessions at a time.
    most: usize,
    marks: Option<Marks>,
    /// Sessions without work.
    idle: Vec<Client>,
    copying: Option<Copying>,
    cx: Context,
}

/// A COPY that is going on.
struct Copying {
    statement: Arc<str>,
    /// Rows that were not dealt out yet.
    rows: Vec<u8>,
    shares: mpsc::Sender<Share>,
    waiting: Arc<Mutex<mpsc::Receiver<Share>>>,
    /// Where the rest of a row goes that is longer than a share.
    rest: Option<mpsc::Sender<Bytes>>,
    sessions: JoinSet<Result<Client>>,
    /// Sessions at a time, once that was asked.
    most: Option<usize>,
}

/// Whole rows; or the beginning of a long one, and where its rest comes from.
struct Share {
    rows: Bytes,
    rest: Option<mpsc::Receiver<Bytes>>,
}

impl Copies {
    /// Into `database`, by `most` sessions at a time.
    pub(super) fn new(postgres: &Postgres, database: &str, role: Option<&str>, most: usize, marks: Option<Marks>, cx: &Context) -> Copies {
        Copies {
            postgres: postgres.clone(),
            database: database.to_owned(),
            role: role.map(str::to_owned),
            most,
            marks,
            idle: Vec::new(),
            copying: None,
            cx: cx.clone(),
        }
    }

    async fn session(&mut self) -> Result<Client> {
        if let Some(client) = self.idle.pop() {
            return Ok(client);
        }
        let client = self.postgres.connect(&self.database, &self.cx).await?;
        let role = self.role.as_ref().map_or_else(String::new, |role| format!("SET ROLE {};", escape_identifier(role)));
        client.batch_execute(&format!("{role} {SETTINGS}")).await.map_err(|error| explain_sql(&error, &self.database))?;
        Ok(client)
    }

    /// How many sessions may bring rows of this table.
    async fn most(&self, client: &Client, statement: &str) -> Result<usize> {
        let row = client.query_opt(WATCHED, &[&table(statement)]).await.map_err(|error| explain_sql(&error, &self.database))?;
        // What is not found is for COPY to complain about.
        let watched = row.is_none_or(|row| row.get(0));
        Ok(if watched { 1 } else { self.most })
    }

    /// Deals out what was collected, as far as `upto`. It ends with a row, or is a part of a long one.
    async fn deal(&mut self, copying: &mut Copying, upto: usize) -> Result<()> {
        let ends = copying.rows[..upto].last() == Some(&b'\n');
        let mut left = Vec::with_capacity(2 * SHARE);
        left.extend_from_slice(&copying.rows[upto..]);
        copying.rows.truncate(upto);
        let rows = Bytes::from(std::mem::replace(&mut copying.rows, left));
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(rest) = copying.rest.take() {
            copying.send(&rest, rows).await?;
            copying.rest = (!ends).then_some(rest);
            return Ok(());
        }
        let (rest, more) = if ends { (None, None) } else { Some(mpsc::channel(WAITING)).unzip() };
        copying.rest = rest;
        let share = match copying.shares.try_send(Share { rows, rest: more }) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(share) | mpsc::error::TrySendError::Closed(share)) => Some(share),
        };
        if copying.sessions.is_empty() || (share.is_some() && copying.sessions.len() < copying.most.unwrap_or(self.most)) {
            self.join(copying).await?;
        }
        match share {
            Some(share) => copying.send(&copying.shares.clone(), share).await,
            None => Ok(()),
        }
    }

    /// One more session takes its part, if it may.
    async fn join(&mut self, copying: &mut Copying) -> Result<()> {
        let client = self.session().await?;
        if copying.most.is_none() && !copying.sessions.is_empty() {
            copying.most = Some(self.most(&client, &copying.statement).await?);
        }
        if copying.sessions.len() < copying.most.unwrap_or(self.most).max(1) {
            let (statement, waiting) = (Arc::clone(&copying.statement), Arc::clone(&copying.waiting));
            copying.sessions.spawn(copy(client, statement, waiting));
        } else {
            self.idle.push(client);
        }
        Ok(())
    }
}

impl Rows for Copies {
    fn mark(&mut self) -> String {
        self.marks.as_mut().map(Marks::put).unwrap_or_default()
    }

    fn begin(&mut self, copy: &str) -> Result<()> {
        self.marks.as_ref().map_or(Ok(()), Marks::wait)?;
        let (shares, waiting) = mpsc::channel(WAITING);
        self.copying = Some(Copying {
            statement: copy.into(),
            rows: Vec::with_capacity(2 * SHARE),
            shares,
            waiting: Arc::new(Mutex::new(waiting)),
            rest: None,
            sessions: JoinSet::new(),
            most: None,
        });
        Ok(())
    }

    fn rows(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(copying) = &mut self.copying else { return Ok(()) };
        copying.rows.extend_from_slice(bytes);
        // Out of an archive they come row by row.
        if copying.ready().is_none() {
            return Ok(());
        }
        let Some(mut copying) = self.copying.take() else { return Ok(()) };
        let cx = self.cx.clone();
        while let Some(upto) = copying.ready() {
            cx.wait(self.deal(&mut copying, upto))?;
        }
        self.copying = Some(copying);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut copying) = self.copying.take() else { return Ok(()) };
        let rows = copying.rows.trim_ascii_end().strip_suffix(END).map(<[u8]>::len);
        let rows = rows.ok_or_else(|| Report::refused(format!("the rows of {} have no end", table(&copying.statement))))?;
        copying.rows.truncate(rows);
        let cx = self.cx.clone();
        cx.wait(async {
            self.deal(&mut copying, rows).await?;
            let Copying { shares, mut sessions, .. } = copying;
            drop(shares);
            while let Some(ended) = sessions.join_next().await {
                self.idle.push(ended.explain(|| "loading rows".into())??);
            }
            Ok(())
        })
    }
}

impl Copying {
    /// How much may be dealt out, once that is enough. What may be a part of the end marker is kept.
    fn ready(&self) -> Option<usize> {
        let sure = self.rows.len().checked_sub(TAIL)?;
        if sure < SHARE {
            return None;
        }
        if self.rest.is_some() {
            // The rest of a long row, and not a byte of the next.
            return Some(memchr(b'\n', &self.rows[..sure]).map_or(sure, |at| at + 1));
        }
        Some(memrchr(b'\n', &self.rows[..sure]).map_or(sure, |at| at + 1))
    }

    /// Waits for room. A session that ends meanwhile has failed.
    async fn send<T>(&mut self, queue: &mpsc::Sender<T>, item: T) -> Result<()> {
        let gone = || Report::failed("a session that loads rows is gone");
        tokio::select! {
            sent = queue.send(item) => sent.map_err(|_| gone()),
            ended = self.sessions.join_next() => match ended {
                Some(ended) => Err(ended.explain(|| "loading rows".into())?.err().unwrap_or_else(gone)),
                None => Err(gone()),
            },
        }
    }
}

/// One session's part of a COPY.
async fn copy(client: Client, statement: Arc<str>, waiting: Arc<Mutex<mpsc::Receiver<Share>>>) -> Result<Client> {
    let failed = |error| explain_sql(&error, "").under(format!("loading the rows of {}", table(&statement)));
    let sink = client.copy_in(&*statement).await.map_err(failed)?;
    let mut sink = std::pin::pin!(sink);
    loop {
        let share = waiting.lock().await.recv().await;
        let Some(Share { rows, mut rest }) = share else { break };
        sink.send(rows).await.map_err(failed)?;
        while let Some(more) = &mut rest {
            let Some(rows) = more.recv().await else { break };
            sink.send(rows).await.map_err(failed)?;
        }
    }
    sink.finish().await.map_err(failed)?;
    Ok(client)
}

/// The table of `COPY schema.table (…) FROM stdin`, as it is written.
fn table(statement: &str) -> String {
    let rest = statement.strip_prefix("COPY ").unwrap_or(statement);
    let mut quoted = false;
    let end = rest.find(|c: char| {
        quoted ^= c == '"';
        !quoted && (c.is_whitespace() || c == '(')
    });
    rest[..end.unwrap_or(rest.len())].to_owned()
}
