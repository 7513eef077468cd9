//! `pg_dump` and `pg_dumpall` as sources of bytes.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::clients::{Access, Clients};
use super::snapshot::{Cut, Snapshot};
use super::{Identity, Postgres, contents};
use crate::port::{Context, Source, Stream};
use crate::report::{Report, Result};

/// How the dump is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// SQL text.
    #[default]
    Plain,
    /// `-Fc -Z0`: ours to compress.
    Custom,
}

/// One `pg_dump` about to be started, and the snapshot it will see.
pub struct Dump {
    postgres: Postgres,
    layout: Layout,
    clients: Clients,
    snapshot: Arc<Mutex<Snapshot>>,
    access: bool,
    /// Who was asked before the start.
    pub identity: Identity,
}

impl Dump {
    /// Asks the server who it is, finds the client that fits and has the system's own database exported, before anything is started.
    pub fn prepare(postgres: &Postgres, layout: Layout, cx: &Context) -> Result<Dump> {
        let database = &postgres.settings.database;
        let identity = postgres.session(database, cx)?.identity(cx)?;
        let clients = Clients::for_server(postgres, identity.major, cx)?;
        let mut cut = Cut::take(postgres, std::slice::from_ref(database), cx)?;
        let snapshot = cut.snapshots.pop().ok_or_else(|| Report::failed("no snapshot was exported"))?;
        Ok(Dump::of(postgres, layout, clients, snapshot))
    }

    /// A dump of what a snapshot shows.
    pub fn of(postgres: &Postgres, layout: Layout, clients: Clients, snapshot: Snapshot) -> Dump {
        let identity = snapshot.identity.clone();
        Dump { postgres: postgres.clone(), layout, clients, snapshot: Arc::new(Mutex::new(snapshot)), access: false, identity }
    }

    /// The same with the owners of everything in it, and who may do what with it.
    #[must_use]
    pub fn with_access(self) -> Dump {
        Dump { access: true, ..self }
    }

    /// `15.18`, of pg_dump.
    pub fn client_version(&self) -> &str {
        &self.clients.version
    }
}

impl Source for Dump {
    fn describe(&self) -> String {
        format!("pg_dump of {} on {}", self.identity.database, self.postgres.describe())
    }

    fn open(&self, cx: &Context) -> Result<Stream> {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if snapshot.is_lost() {
            let lost = format!("the connection that held the snapshot of {:?} is gone", self.identity.database);
            return Err(Report::failed(lost).hint("the server's log says who ended it"));
        }
        let access = Access::to(&self.postgres, cx)?;
        let program = access.aim(self.clients.program("pg_dump"), &self.postgres, &self.identity.database);
        let program = program.env("PGTZ", contents::TIME_ZONE);
        // Only where it is needed: a pooler in between takes a time zone, but may take no options.
        let plain_bytes = snapshot.ask(contents::WRITES_BYTES, cx)?.as_str() == Some(contents::BYTES);
        let program = if plain_bytes { program } else { program.env("PGOPTIONS", format!("-c bytea_output={}", contents::BYTES)) };
        let without: &[&str] = if self.access { &[] } else { &["--no-owner", "--no-acl"] };
        let program = program.args(without).arg("--encoding=UTF8").arg(format!("--snapshot={}", snapshot.id));
        let program = match self.layout {
            Layout::Plain => program.arg("--format=plain"),
            Layout::Custom => program.args(["--format=custom", "--compress=0"]),
        };
        let stream = self.clients.behind(program.in_bulk()).stream(cx)?;
        Ok(Box::new(Guarded { stream, _access: access, _snapshot: Some(Arc::clone(&self.snapshot)) }))
    }
}

/// One `pg_dumpall --globals-only` about to be started: roles and tablespaces (R1).
pub struct Globals {
    postgres: Postgres,
    clients: Clients,
    role_passwords: bool,
    /// Who was asked before the start; what comes is no older than its clock.
    pub identity: Identity,
}

impl Globals {
    /// Of the server that said who it is; with the hashes of passwords only where that is wanted.
    pub fn of(postgres: &Postgres, clients: Clients, identity: Identity, role_passwords: bool) -> Globals {
        Globals { postgres: postgres.clone(), clients, role_passwords, identity }
    }
}

impl Source for Globals {
    fn describe(&self) -> String {
        format!("pg_dumpall of the roles and tablespaces on {}", self.postgres.describe())
    }

    fn open(&self, cx: &Context) -> Result<Stream> {
        let access = Access::to(&self.postgres, cx)?;
        // pg_dumpall takes servers from `--dbname` and the database to begin with from `--database`.
        let database = &self.identity.database;
        let program = access.aim(self.clients.program("pg_dumpall"), &self.postgres, database);
        let program = program.args(["--globals-only", "--encoding=UTF8", "--database"]).arg(super::clients::only_a_name(database));
        let program = if self.role_passwords { program } else { program.arg("--no-role-passwords") };
        Ok(Box::new(Guarded { stream: self.clients.behind(program.in_bulk()).stream(cx)?, _access: access, _snapshot: None }))
    }
}

/// The password file and the snapshot live as long as the stream.
struct Guarded {
    stream: Stream,
    _access: Access,
    _snapshot: Option<Arc<Mutex<Snapshot>>>,
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}
