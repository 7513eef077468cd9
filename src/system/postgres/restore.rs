//! Restoring a dump into a new database that nobody else can see yet.
//!
//! A database being restored carries a mark in its comment. Only a database with that mark is ever dropped here, and only while nobody
//! holds its advisory lock: a restore that was killed leaves a marked database without a holder, which the next one clears away.

use std::time::Duration;

use jiff::Timestamp;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::clients::Access;
use super::dump::Layout;
use super::majors::{needs_trimming, without_timeout};
use super::{Postgres, explain_sql, identity};
use crate::port::{Context, Stream};
use crate::report::{Report, Result};

/// The comment of a database that is not whole yet begins with this.
pub const UNFINISHED: &str = "lifeboat: being restored";

/// The comment of a database that was restored to the end begins with this.
pub const RESTORED: &str = "lifeboat: restored";

/// First key of the advisory lock a restore holds on the database it makes; the second is the name's hash.
const LOCK_SPACE: i32 = 0x11FE;

/// A database has a name beginning with this until it bears its mark. It belongs to whoever holds its lock.
pub const UNMARKED: &str = "lifeboat_unmarked_";

/// How long a database's lock is waited for. The server lets go of a killed restore's lock only when it has done what it was doing.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often the lock is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What is restored, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The new database.
    pub into: &'a str,
    /// The dump's name, for the database's comment.
    pub dump: &'a str,
    /// How the dump is laid out.
    pub layout: Layout,
    /// The major version of the pg_dump that wrote it; its archive wants a client no older.
    pub client_major: u32,
    /// The major version of the server it was made of.
    pub server_major: u32,
}

/// What must be done with a restored database before anybody may see it.
pub type Prepare<'a> = &'a mut dyn FnMut(&Context) -> Result<()>;

impl Postgres {
    /// Makes the database, restores `stream` into it, analyses it. Whatever fails, the half-made database is gone when this returns.
    pub fn restore(&self, target: Target<'_>, stream: Stream, cx: &Context) -> Result<()> {
        self.restore_and(target, stream, None, cx)
    }

    /// The same behind closed doors: nobody but us can enter the database, while it is restored and after, and it bears the mark of a whole
    /// one only once `prepare` has done with it what must be done before anybody may see it (trap 31). A swap opens it.
    pub fn restore_closed(&self, target: Target<'_>, stream: Stream, prepare: Prepare<'_>, cx: &Context) -> Result<()> {
        self.restore_and(target, stream, Some(prepare), cx)
    }

    fn restore_and(&self, target: Target<'_>, stream: Stream, prepare: Option<Prepare<'_>>, cx: &Context) -> Result<()> {
        self.can_restore(target, cx)?;
        let (guard, server_major) = cx.wait(self.create_staged(target, prepare.is_some(), cx))?;
        let opened = if prepare.is_some() { cx.wait(self.let_owner_work(target.into, cx)) } else { Ok(()) };
        let restored =
            opened.and_then(|()| self.load(target, server_major, stream, cx)).and_then(|()| prepare.map_or(Ok(()), |prepare| prepare(cx)));
        let restored = restored.and_then(|()| {
            cx.check()?;
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
            let query = "SELECT starts_with(shobj_description(oid, 'pg_database'), $2) FROM pg_database WHERE datname = $1";
            let row = client.query_opt(query, &[&database, &restored_from(dump)]).await.map_err(|error| explain_sql(&error, database))?;
            Ok(row.and_then(|row| row.get(0)).unwrap_or(false))
        })
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
        let owner = self.settings.owner.as_deref().unwrap_or(&self.settings.user);
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
        client
            .batch_execute(&create)
            .await
            .map_err(|error| explain_sql(&error, target.into).under(format!("creating database {:?}", target.into)))?;
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
        Ok((client, server.major))
    }

    /// An unfinished database of that name, left by a killed restore, makes room; anything else is refused.
    async fn make_room(&self, client: &Client, name: &str) -> Result<()> {
        if unfinished(client).await?.iter().any(|left| left == name) {
            return drop_database(client, name).await;
        }
        let taken =
            client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await.map_err(|error| explain_sql(&error, name))?;
        match taken {
            None => Ok(()),
            Some(_) => Err(Report::refused(format!("database {name:?} exists already on {}", self.describe()))
                .hint("restore into a name that is not taken; a restore never writes into an existing database")),
        }
    }

    fn load(&self, target: Target<'_>, server_major: u32, stream: Stream, cx: &Context) -> Result<()> {
        let clients = self.clients_for(target, server_major, cx)?;
        let access = Access::to(self, cx)?;
        let owner = self.settings.owner.as_deref().unwrap_or(&self.settings.user);
        // Not in one transaction: a dump with large objects brings its own COMMIT. What is staged needs none.
        let psql = || {
            access
                .aim(clients.program("psql"), self, target.into)
                .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--file=-"])
                .env("PGOPTIONS", format!("-c role={}", escape_option(owner)))
        };
        let own = ["--exit-on-error", "--no-owner", "--no-acl"];
        let written_by = if target.layout == Layout::Plain { target.client_major } else { clients.major };
        let trims = needs_trimming(written_by, server_major);
        match (target.layout, trims) {
            (Layout::Plain, false) => psql().run_with(stream, cx)?,
            (Layout::Plain, true) => psql().run_with(without_timeout(stream), cx)?,
            (Layout::Custom, false) => {
                let pg_restore = access.aim(clients.program("pg_restore"), self, target.into).args(own);
                pg_restore.arg("--role").arg(owner).run_with(stream, cx)?
            }
            (Layout::Custom, true) => {
                let sql = clients.program("pg_restore").args(own).arg("--file=-").filter(stream, cx)?;
                psql().run_with(without_timeout(sql), cx)?
            }
        };
        Ok(())
    }

    /// Statements that close an empty database to everybody but us, which PUBLIC's lost right to connect does not: its owner, roles granted
    /// to connect and roles of the owner would still get in. A limit of no connections is for everybody but superusers, so a superuser sets it;
    /// whoever is none takes the database for the time being, and leaves its owner the right to make things in it.
    async fn closing(&self, client: &Client, name: &str, owner: &str) -> Result<String> {
        let query = "SELECT current_setting('is_superuser') = 'on'";
        let superuser = client.query_one(query, &[]).await.map_err(|error| explain_sql(&error, ""))?;
        if superuser.get(0) {
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
        let superuser =
            client.query_one("SELECT current_setting('is_superuser') = 'on'", &[]).await.map_err(|error| explain_sql(&error, ""))?;
        if superuser.get(0) {
            return Ok(());
        }
        let grant = format!("GRANT ALL ON SCHEMA public TO {}", escape_identifier(owner));
        client.batch_execute(&grant).await.map_err(|error| explain_sql(&error, database))
    }

    /// Drops a database that bears a mark of a restore, finished or not; any other stays and is refused.
    pub fn discard(&self, name: &str, cx: &Context) -> Result<()> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let query = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1";
            let row = client.query_opt(query, &[&name]).await.map_err(|error| explain_sql(&error, name))?;
            match row.map(|row| row.get::<_, String>(0)) {
                None => Ok(()),
                Some(comment) if comment.starts_with(UNFINISHED) || comment.starts_with(RESTORED) => drop_database(&client, name).await,
                Some(_) => Err(Report::refused(format!("database {name:?} on {} was not made by a restore", self.describe()))
                    .hint("drop or rename it: its name is needed")),
            }
        })
    }

    /// Statistics for the planner, and the mark of a whole database.
    async fn finish_staged(&self, target: Target<'_>, cx: &Context) -> Result<()> {
        let client = self.connect(target.into, cx).await?;
        let done = escape_literal(&format!("{}{}", restored_from(target.dump), Timestamp::now()));
        let name = escape_identifier(target.into);
        let statements = format!("ANALYZE; COMMENT ON DATABASE {name} IS {done}");
        client.batch_execute(&statements).await.map_err(|error| explain_sql(&error, target.into))
    }
}

/// What the comment of a database restored from this dump begins with; when follows.
fn restored_from(dump: &str) -> String {
    format!("{RESTORED} from {dump} at ")
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

/// A value inside `PGOPTIONS`: spaces and backslashes are escaped by backslashes (libpq, "options").
fn escape_option(value: &str) -> String {
    value.chars().flat_map(|c| (c == '\\' || c.is_whitespace()).then_some('\\').into_iter().chain([c])).collect()
}
