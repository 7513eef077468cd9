//! Restoring a dump into a new database that nobody else can see yet.
//!
//! A database being restored carries a mark in its comment. Only a database with that mark is ever dropped here, and only while nobody
//! holds its advisory lock: a restore that was killed leaves a marked database without a holder, which the next one clears away.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::access::{self, Missing, create_roles, drop_roles, lacking};
use super::clients::Clients;
use super::databases::{MARK, comment};
use super::{Postgres, explain_sql, identity, is_superuser};
use crate::port::access::Access;
use crate::port::{Context, Rows, Stream};
use crate::report::{Report, Result};

/// The comment of a database that is not whole yet begins with this.
pub const UNFINISHED: &str = "lifeboat: being restored";

/// The comment of a database that was restored to the end begins with this.
pub const RESTORED: &str = "lifeboat: restored";

/// The comment of one that has the rows of some tables only begins with this.
pub const RESTORED_IN_PART: &str = "lifeboat: restored in part";

/// First key of the advisory lock a restore holds on the database it makes; the second is the name's hash.
const LOCK_SPACE: i32 = 0x11FE;

/// A database has a name beginning with this until it bears its mark. It belongs to whoever holds its lock.
pub const UNMARKED: &str = "lifeboat_unmarked_";

/// How long a database's lock is waited for. The server lets go of a killed restore's lock only when it has done what it was doing.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often the lock is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What is restored, and where to.
#[derive(Clone, Copy, Default)]
pub struct Target<'a> {
    /// The new database.
    pub into: &'a str,
    /// The dump's name, for the database's comment.
    pub dump: &'a str,
    /// The major version of the pg_dump that wrote it; its archive wants a client no older.
    pub client_major: u32,
    /// The major version of the server it was made of.
    pub server_major: u32,
    /// What an archive holds; a plain dump has none.
    pub contents: Option<Contents<'a>>,
    /// Who may do what with the dump's database and what is in it, where the dump has owners and rights; where it has none, everything
    /// belongs to the system's `owner`.
    pub access: Option<&'a Access>,
    /// What becomes of roles that are not there.
    pub missing: Missing,
    /// The rows of some tables only.
    pub part: Option<Part<'a>>,
    /// Asked when everything is loaded and before the database bears its mark: an error leaves no database.
    pub examine: Option<Examine<'a>>,
}

/// How much of a dump is restored, where that is not all of it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// So many tables have their rows.
    pub tables: usize,
    /// Of so many.
    pub of: usize,
    /// So many foreign keys were left out; known when the dump has been read.
    pub left_out: &'a AtomicUsize,
}

/// The table of contents of an archive.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The archive as far as its first block of data.
    pub file: &'a File,
    /// The numbers of the entries that are restored, in their order; all of them where nothing is said.
    pub wanted: Option<&'a [i64]>,
    /// Those that need neither rows of tables nor come last: what pg_restore does while the rows go in.
    pub others: &'a [i64],
    /// Those that come after everything else, in their order.
    pub last: &'a [i64],
}

/// Looks whether what was loaded is what should be there.
pub type Examine<'a> = &'a dyn Fn(&Context) -> Result<()>;

/// What must be done with a restored database before anybody may see it.
pub type Prepare<'a> = &'a mut dyn FnMut(&Context) -> Result<()>;

impl Postgres {
    /// A new database could not be made; a role that may make none is told which right it lacks.
    fn cannot_create(&self, error: &tokio_postgres::Error, name: &str) -> Report {
        let report = explain_sql(error, name).under(format!("creating database {name:?}"));
        let is_right = error.code().is_some_and(|code| code.code() == "42501") && report.to_string().contains("create database");
        if !is_right {
            return report;
        }
        let grant = format!("ALTER ROLE {} CREATEDB", escape_identifier(&self.settings.user));
        report.hint(format!("as a superuser of that server: psql -c {}", shell_words::quote(&grant)))
    }

    /// Makes the database, restores a dump into it, analyses it. Whatever fails, the half-made database is gone when this returns.
    ///
    /// `dump` gives the dump's bytes without the rows of tables, which it gives to what it is given ([`Rows`]). A plain dump holds SQL and nothing else.
    ///
    /// With `prepare` it happens behind closed doors: nobody but us can enter the database, while it is restored and after, and it bears the mark of
    /// a whole one only once `prepare` has done with it what must be done before anybody may see it (trap 31). A swap opens it.
    pub fn restore(
        &self,
        target: Target<'_>,
        dump: impl FnOnce(Box<dyn Rows>) -> Stream,
        prepare: Option<Prepare<'_>>,
        cx: &Context,
    ) -> Result<()> {
        let clients = self.clients_to_restore(target, cx)?;
        let made = self.make_roles(target, cx)?;
        let restored = self.restore_staged(target, clients, dump, prepare, cx);
        if restored.is_err() && !made.is_empty() {
            let own = Context::new(cx.runtime.clone());
            let dropped = own.wait(async { drop_roles(&self.connect(&self.settings.maintenance, &own).await?, &made).await });
            return restored.map_err(|error| dropped.err().map_or(error.clone(), |left| error.cause(format!("and {left}"))));
        }
        restored
    }

    /// Makes the roles that are missing, where that is wanted; which they were.
    fn make_roles(&self, target: Target<'_>, cx: &Context) -> Result<Vec<String>> {
        let missing = self.missing(target, cx)?;
        if !missing.is_empty() {
            cx.wait(async { create_roles(&self.connect(&self.settings.maintenance, cx).await?, &missing).await })?;
            cx.log.say("restore", &format!("made roles without a right to log in: {}", missing.join(", ")));
        }
        Ok(missing)
    }

    /// The roles that the target is given and has not; refused where they are not to be made.
    pub(super) fn missing(&self, target: Target<'_>, cx: &Context) -> Result<Vec<String>> {
        let Some(access) = target.access else { return Ok(Vec::new()) };
        let missing = self.missing_roles(&access.needed(), cx)?;
        if missing.is_empty() || target.missing == Missing::Created {
            return Ok(missing);
        }
        Err(lacking(target.dump, &missing, &self.describe()))
    }

    fn restore_staged(
        &self,
        target: Target<'_>,
        clients: Clients,
        dump: impl FnOnce(Box<dyn Rows>) -> Stream,
        prepare: Option<Prepare<'_>>,
        cx: &Context,
    ) -> Result<()> {
        let (guard, server_major) = cx.wait(self.create_staged(target, prepare.is_some(), cx))?;
        let opened = if prepare.is_some() { cx.wait(self.let_owner_work(target.into, cx)) } else { Ok(()) };
        let loaded = opened.and_then(|()| self.load(target, clients, &guard, server_major, dump, cx));
        let restored = loaded.and_then(|()| {
            target.examine.map_or(Ok(()), |examine| examine(cx))?;
            prepare.map_or(Ok(()), |prepare| prepare(cx))?;
            self.analyse(target.into, cx)?;
            cx.wait(self.finish_staged(target, cx))
        });
        if let Err(error) = restored {
            // Even a cancelled restore cleans up; it has a life of its own for that.
            let own = Context::new(cx.runtime.clone());
            let cleaned = own.wait(drop_database(&guard, target.into));
            return Err(match cleaned {
                Ok(()) => error,
                Err(left) => error.cause(format!("and the half-made database {:?} could not be dropped: {left}", target.into)),
            });
        }
        Ok(())
    }

    /// Whether `database` bears the mark of having been restored to the end from the dump of that name.
    pub fn is_restored_from(&self, dump: &str, database: &str, cx: &Context) -> Result<bool> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            Ok(comment(&client, database).await?.is_some_and(|comment| comment.starts_with(&restored_from(dump))))
        })
    }

    /// Of a database that bears the mark of having the rows of some of that dump's tables: how many foreign keys were left out.
    pub fn restored_in_part(&self, dump: &str, database: &str, cx: &Context) -> Result<Option<u64>> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            Ok(comment(&client, database).await?.and_then(|comment| left_out(&comment, dump)))
        })
    }

    /// Drops a database that bears the mark of having been restored to the end from the dump of that name; any other is `Kind::Refused`.
    pub fn drop_restored(&self, dump: &str, database: &str, cx: &Context) -> Result<()> {
        if !self.is_restored_from(dump, database, cx)? {
            return Err(Report::refused(format!("database {database:?} was not restored from {dump}: it is not dropped here")));
        }
        cx.wait(async { drop_database(&self.connect(&self.settings.maintenance, cx).await?, database).await })
    }

    /// Drops what killed restores left behind; gives the names.
    pub fn sweep_unfinished(&self, cx: &Context) -> Result<Vec<String>> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let mut swept = Vec::new();
            for name in unfinished(&client).await? {
                if try_lock(&client, &name).await? {
                    drop_database(&client, &name).await?;
                    swept.push(name);
                }
            }
            Ok(swept)
        })
    }

    async fn create_staged(&self, target: Target<'_>, closed: bool, cx: &Context) -> Result<(Client, u32)> {
        let client = self.connect(&self.settings.maintenance, cx).await?;
        let server = identity(&client).await?;
        let unmarked = unmarked(target.into);
        if !(lock(&client, target.into).await? && lock(&client, &unmarked).await?) {
            return Err(Report::new(crate::report::Kind::Busy, format!("database {:?} is being restored by another process", target.into)));
        }
        self.make_room(&client, target.into).await?;
        drop_database(&client, &unmarked).await?;
        let owner = self.owner_of(target);
        // A database cannot be made with its comment in one go. Until it is marked it bears a name that says whose it is, so that being
        // killed in between leaves nothing that nobody dares to drop.
        let (name, first) = (escape_identifier(target.into), escape_identifier(&unmarked));
        // template0 takes any encoding; the live database says which one is wanted.
        let like = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = $1";
        let live = client.query_opt(like, &[&self.settings.database]).await.map_err(|error| explain_sql(&error, ""))?;
        let locale = live.map_or_else(String::new, |row| {
            let text = |column: usize| escape_literal(row.get::<_, &str>(column));
            format!(" ENCODING {} LC_COLLATE {} LC_CTYPE {}", text(0), text(1), text(2))
        });
        let doors = if closed { self.closing(&client, &first, owner).await? } else { String::new() };
        let create = format!("CREATE DATABASE {first} OWNER {} TEMPLATE template0{locale}", escape_identifier(owner));
        client.batch_execute(&create).await.map_err(|error| self.cannot_create(&error, target.into))?;
        let mark = escape_literal(&format!("{UNFINISHED} from {} since {}", target.dump, Timestamp::now()));
        let marked = client
            .batch_execute(&format!(
                "COMMENT ON DATABASE {first} IS {mark}; REVOKE CONNECT, TEMPORARY ON DATABASE {first} FROM PUBLIC; {doors}\
                 ALTER DATABASE {first} RENAME TO {name}"
            ))
            .await;
        if let Err(error) = marked {
            drop_database(&client, &unmarked).await.ok(); // the first failure is the one to tell
            return Err(explain_sql(&error, target.into));
        }
        if let Err(error) = try_access(&client, target).await {
            drop_database(&client, target.into).await.ok(); // likewise
            return Err(error);
        }
        Ok((client, server.major))
    }

    /// An unfinished database of that name, left by a killed restore, makes room; anything else is refused.
    async fn make_room(&self, client: &Client, name: &str) -> Result<()> {
        if unfinished(client).await?.iter().any(|left| left == name) {
            return drop_database(client, name).await;
        }
        let Some(comment) = comment(client, name).await? else { return Ok(()) };
        let refused = Report::refused(format!("database {name:?} exists already on {}", self.describe()))
            .hint("restore into a name that is not taken; a restore never writes into an existing database");
        if !comment.starts_with(RESTORED) {
            return Err(refused);
        }
        let mark = comment.trim_start_matches(MARK);
        Err(refused.cause(format!("it was {mark}")).hint(format!("where nobody needs it: dropdb {}", shell_words::quote(name))))
    }

    /// The mark of a whole database. What was loaded need not have reached the disk when its sessions went on ([`super::load`]); the mark must
    /// when this returns, and then all of it has: the server writes its log in order, so nothing that came before a commit that is safe is not.
    async fn finish_staged(&self, target: Target<'_>, cx: &Context) -> Result<()> {
        let client = self.connect(&self.settings.maintenance, cx).await?;
        let mark = match target.part {
            None => format!("{}{}", restored_from(target.dump), Timestamp::now()),
            Some(part) => in_part(target.dump, part),
        };
        let name = escape_identifier(target.into);
        // With the mark in one transaction. The rights come last: some settings, such as a read-only default, would have been in the way.
        let access = target.access.map_or(Ok(String::new()), |access| access::statements(target.into, access))?;
        let statements =
            format!("SET synchronous_commit = on; BEGIN; {access} COMMENT ON DATABASE {name} IS {}; COMMIT", escape_literal(&mark));
        client.batch_execute(&statements).await.map_err(|error| explain_sql(&error, target.into))
    }

    /// Who owns what is restored.
    pub(super) fn owner_of<'a>(&'a self, target: Target<'a>) -> &'a str {
        let own = self.settings.owner.as_deref().unwrap_or(&self.settings.user);
        target.access.map_or(own, |access| &access.owner)
    }

    /// Statements that close an empty database to everybody but us, which PUBLIC's lost right to connect does not: its owner, roles granted
    /// to connect and roles of the owner would still get in. A limit of no connections is for everybody but superusers, so a superuser sets it;
    /// whoever is none takes the database for the time being, and leaves its owner the right to make things in it.
    async fn closing(&self, client: &Client, name: &str, owner: &str) -> Result<String> {
        if is_superuser(client).await? {
            return Ok(format!("ALTER DATABASE {name} CONNECTION LIMIT 0; "));
        }
        let (owner, us) = (escape_identifier(owner), escape_identifier(&self.settings.user));
        Ok(if owner == us {
            String::new()
        } else {
            format!("ALTER DATABASE {name} OWNER TO {us}; GRANT CREATE, TEMPORARY ON DATABASE {name} TO {owner}; ")
        })
    }

    /// Where we own a database for the time being, the schema `public` is ours with it (PostgreSQL 15); who will own it makes things there.
    async fn let_owner_work(&self, database: &str, cx: &Context) -> Result<()> {
        let Some(owner) = self.settings.owner.as_ref().filter(|owner| **owner != self.settings.user) else { return Ok(()) };
        let client = self.connect(database, cx).await?;
        if is_superuser(&client).await? {
            return Ok(());
        }
        let grant = format!("GRANT ALL ON SCHEMA public TO {}", escape_identifier(owner));
        client.batch_execute(&grant).await.map_err(|error| explain_sql(&error, database))
    }

    /// Drops a database that bears a mark of a restore, finished or not; any other stays and is refused.
    pub fn discard(&self, name: &str, cx: &Context) -> Result<()> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            match comment(&client, name).await? {
                None => Ok(()),
                Some(comment) if comment.starts_with(UNFINISHED) || comment.starts_with(RESTORED) => drop_database(&client, name).await,
                Some(_) => Err(Report::refused(format!("database {name:?} on {} was not made by a restore", self.describe()))
                    .hint("drop or rename it: its name is needed")),
            }
        })
    }
}

/// What the comment of a database restored from this dump begins with; when follows.
fn restored_from(dump: &str) -> String {
    format!("{RESTORED} from {dump} at ")
}

/// The mark of a database that has the rows of some tables only. No database with it is ever taken for a whole one.
fn in_part(dump: &str, part: Part<'_>) -> String {
    let Part { tables, of, left_out } = part;
    let left_out = left_out.load(Ordering::Relaxed);
    format!("{RESTORED_IN_PART} from {dump} at {}: the rows of {tables} of {of} tables, without {left_out} foreign keys", Timestamp::now())
}

/// What such a mark says was left out, where it is of this dump.
fn left_out(comment: &str, dump: &str) -> Option<u64> {
    let rest = comment.strip_prefix(RESTORED_IN_PART)?.strip_prefix(" from ")?.strip_prefix(dump)?.strip_prefix(" at ")?;
    rest.split_once(", without ")?.1.split(' ').next()?.parse().ok()
}

/// Gives the empty database what it is to have, and takes it back: what cannot be given is known before hours of loading.
async fn try_access(client: &Client, target: Target<'_>) -> Result<()> {
    let Some(access) = target.access else { return Ok(()) };
    let statements = access::statements(target.into, access)?;
    let tried = client.batch_execute(&format!("BEGIN; {statements} ROLLBACK")).await;
    tried.map_err(|error| {
        explain_sql(&error, target.into).under(format!("the rights and settings that {} recorded cannot be given here", target.dump))
    })
}

async fn unfinished(client: &Client) -> Result<Vec<String>> {
    let query = "SELECT datname::text FROM pg_database
                 WHERE starts_with(shobj_description(oid, 'pg_database'), $1) OR starts_with(datname, $2)";
    let rows = client.query(query, &[&UNFINISHED, &UNMARKED]).await.map_err(|error| explain_sql(&error, ""))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The first name of a database, as long as names may be at most.
fn unmarked(name: &str) -> String {
    format!("{UNMARKED}{}", &hex::encode(Sha256::digest(name))[..16])
}

/// [`try_lock`], for as long as a server may take to let go of a dead client's.
async fn lock(client: &Client, database: &str) -> Result<bool> {
    let until = Instant::now() + LOCK_PATIENCE;
    while !try_lock(client, database).await? {
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    Ok(true)
}

/// Held by this connection until it ends.
async fn try_lock(client: &Client, database: &str) -> Result<bool> {
    let row = client.query_one("SELECT pg_try_advisory_lock($1, hashtext($2))", &[&LOCK_SPACE, &database]).await;
    Ok(row.map_err(|error| explain_sql(&error, ""))?.get(0))
}

async fn drop_database(client: &Client, name: &str) -> Result<()> {
    let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", escape_identifier(name));
    client.batch_execute(&statement).await.map_err(|error| explain_sql(&error, name).under(format!("dropping database {name:?}")))
}
