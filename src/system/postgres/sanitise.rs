//! Making a restored copy fit to be seen: neutralise → transform → rewrite → assertions → scan, all on a database that nobody else can enter
//! and that bears the mark of an unfinished one. Nothing here knows how to swap: what is sanitised after it is live was seen before (trap 31).
//!
//! # What is covered, and what is not
//!
//! Neutralised is what acts by itself from inside the database: subscriptions are dropped (without touching their slot at the publisher, which is
//! production's), the jobs of pg_cron, pgAgent, pg_timetable and TimescaleDB are switched off, user mappings of foreign servers, which hold
//! passwords to other machines, are dropped. Publications stay: they send nothing until somebody subscribes. Event triggers and triggers stay:
//! they are the schema. What only the application knows (an outbox of mails, a queue, a table of web hooks) is for files of `neutralise_sql`.
//! Settings of the database (`ALTER DATABASE … SET`) do not come with a dump; those of the live database of this environment stay, and what
//! `neutralise_sql` sets on the copy wins over them. What the *server* does is not the database's to say: a server that archives WAL, or has
//! standbys, carries the rows there as they were before they were sanitised, and so a warning says so.
//!
//! The scan sees every value of every column that can hold text, arrays, composites, JSON, XML, `tsvector`, `bytea` and materialised views
//! included, the bodies of functions, comments, and the pages of large objects. It does not see into what is compressed or encrypted, numbers
//! (a telephone number as a `bigint`), names of enum values, tables of foreign servers, nor what has no form of its own: a name is only
//! found by an assertion. Statistics hold samples of values, also of tables that were emptied since: they are thrown away and made anew.
//! The bytes of what was changed stay in free space of the server's files until they are overwritten; whoever hands out *files* of the
//! server must not hand out these.

mod assertion;
mod neutralise;
pub mod pattern;
mod rewrite;
mod scan;
mod script;

use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

pub use rewrite::Rewrite;
pub use scan::{Finding, Scan, Scanned};
pub use script::Script;

use super::assertion::Assertion;
use super::clients::Clients;
use super::{Postgres, explain_sql, is_superuser};
use crate::port::Context;
use crate::report::Result;

/// What makes a copy fit to be seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// What acts as production is switched off.
    pub neutralise: bool,
    /// More of that, by the user's own files.
    pub neutralise_sql: Vec<Script>,
    /// The user's own files, in their order.
    pub transform: Vec<Script>,
    /// Texts that become others.
    pub rewrite: Vec<Rewrite>,
    /// What must hold then.
    pub assert: Vec<Assertion>,
    /// What must not be found then.
    pub scan: Option<Scan>,
}

impl Recipe {
    /// SHA-256 of everything in it, lower-case hex: what was made by another recipe is another copy.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |words: &[&str]| {
            // Each with its length: no two lists run together.
            for word in std::iter::once(&words.len().to_string().as_str()).chain(words) {
                hash.update((word.len() as u64).to_be_bytes());
                hash.update(word.as_bytes());
            }
        };
        add(&[if self.neutralise { "neutralise" } else { "" }]);
        for scripts in [&self.neutralise_sql, &self.transform] {
            add(&scripts.iter().map(|script| script.sha256.as_str()).collect::<Vec<_>>());
        }
        for Rewrite { table, columns, from, to } in &self.rewrite {
            add(&[table, from, to]);
            add(&columns.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for Assertion { title, query, equals } in &self.assert {
            add(&std::iter::once(title).chain([query]).chain(equals).map(String::as_str).collect::<Vec<_>>());
        }
        if let Some(scan) = &self.scan {
            add(&scan.patterns.iter().flat_map(|pattern| [pattern.name.as_str(), pattern.as_str()]).collect::<Vec<_>>());
            add(&scan.allow.texts().iter().chain(&scan.exempt).map(String::as_str).collect::<Vec<_>>());
        }
        hex::encode(hash.finalize())
    }

    /// The files that are run, in their order, each by its name with its SHA-256.
    pub fn files(&self) -> Vec<(String, String)> {
        self.neutralise_sql.iter().chain(&self.transform).map(|script| (script.name(), script.sha256.clone())).collect()
    }

    /// The first file that includes others: what those say is in no digest.
    pub fn including(&self) -> Option<&Script> {
        self.neutralise_sql.iter().chain(&self.transform).find(|script| script.includes_others())
    }
}

/// One phase that ended well.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `transform clean.sql`.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// What it did, in words; empty where there is nothing to say.
    pub words: String,
}

/// Counts what was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sanitised {
    /// Rows that rewrites changed.
    pub rewritten: u64,
    /// Values that were looked at.
    pub scanned: u64,
}

/// A recipe at work on one database.
struct Work<'a> {
    postgres: &'a Postgres,
    database: &'a str,
    pull: &'a str,
    tell: &'a mut dyn FnMut(Phase),
    cx: &'a Context,
}

impl Postgres {
    /// Does all of it in `database`, phase by phase, and tells each one that ended. The first that does not end well is the error.
    pub fn sanitise(&self, database: &str, pull: &str, recipe: &Recipe, tell: &mut dyn FnMut(Phase), cx: &Context) -> Result<Sanitised> {
        let mut work = Work { postgres: self, database, pull, tell, cx };
        let server = self.identity(&self.settings.maintenance, cx)?;
        let clients = Clients::for_server(self, server.major, cx)?;
        let mut done = Sanitised::default();
        if recipe.neutralise {
            work.phase("neutralise", |work| work.ask(async |client| Ok(neutralise::neutralise(client).await?.join("; "))))?;
        }
        for script in &recipe.neutralise_sql {
            work.phase(&format!("neutralise {}", script.name()), |work| work.script(script, &clients))?;
        }
        for script in &recipe.transform {
            work.phase(&format!("transform {}", script.name()), |work| work.script(script, &clients))?;
        }
        if !recipe.rewrite.is_empty() {
            let rewritten = &mut done.rewritten;
            work.phase("rewrite", |work| {
                let rows = work.ask(async |client| rewrite::rewrite(client, &recipe.rewrite).await)?;
                *rewritten = rows.iter().map(|done| done.rows).sum();
                Ok(rows.iter().map(|done| format!("{}: {} rows", done.place, done.rows)).collect::<Vec<_>>().join(", "))
            })?;
        }
        if !recipe.assert.is_empty() {
            work.phase("assert", |work| {
                work.ask(async |client| assertion::hold(client, &recipe.assert).await)?;
                Ok(format!("{} hold", recipe.assert.len()))
            })?;
        }
        if let Some(wanted) = &recipe.scan {
            let scanned = &mut done.scanned;
            work.phase("scan", |work| {
                let meter = work.cx.meters.add("scan");
                let seen = work.ask(async |client| scan::scan(client, wanted, &meter).await)?;
                seen.demand_nothing()?;
                *scanned = seen.values;
                let words = format!("nothing in {} values of {} columns, {} bytes", seen.values, seen.columns, seen.bytes);
                Ok(seen.uncovered.iter().fold(words, |words, uncovered| format!("{words}; not looked at: {uncovered}")))
            })?;
        }
        work.phase("clear away", |work| work.ask(async |client| clear_away(client).await).map(|()| String::new()))?;
        Ok(done)
    }

    /// What the server does with what is in it, whatever is done in the database.
    pub fn warnings_for_a_copy(&self, cx: &Context) -> Result<Vec<String>> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            neutralise::server_warnings(&client).await
        })
    }
}

impl Work<'_> {
    fn phase(&mut self, name: &str, act: impl FnOnce(&mut Self) -> Result<String>) -> Result<()> {
        self.cx.check()?;
        self.cx.log.say("pull", &format!("{name} …"));
        let began = Instant::now();
        let words = act(self)?;
        (self.tell)(Phase { name: name.to_owned(), seconds: began.elapsed().as_secs_f64(), words });
        Ok(())
    }

    fn script(&self, script: &Script, clients: &Clients) -> Result<String> {
        self.postgres.run_script(script, self.database, self.pull, clients, self.cx).map(|()| String::new())
    }

    /// On a connection of its own, without timeouts of the server's.
    fn ask<T>(&self, question: impl AsyncFnOnce(&mut Client) -> Result<T>) -> Result<T> {
        self.cx.wait(async {
            let mut client = self.postgres.connect(self.database, self.cx).await?;
            let patient = "SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
                           ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')";
            client.batch_execute(patient).await.map_err(|error| explain_sql(&error, self.database))?;
            question(&mut client).await
        })
    }
}

/// Rows as they were before are cleared out of their tables, and samples of them out of the statistics; what follows makes new ones. ANALYZE
/// alone keeps those of a table that is empty now.
async fn clear_away(client: &Client) -> Result<()> {
    let explain = |error| explain_sql(&error, "");
    if is_superuser(client).await? {
        client.batch_execute("DELETE FROM pg_catalog.pg_statistic; DELETE FROM pg_catalog.pg_statistic_ext_data").await.map_err(explain)?;
    }
    client.batch_execute("VACUUM").await.map_err(explain)
}
