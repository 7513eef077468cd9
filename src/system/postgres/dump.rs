//! `pg_dump` as a source of bytes.

use std::io::{self, Read};

use super::clients::{Access, Clients};
use super::{Identity, Postgres};
use crate::port::{Context, Source, Stream};
use crate::report::Result;

/// How the dump is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// SQL text.
    Plain,
    /// `-Fc -Z0`: ours to compress.
    Custom,
}

/// One `pg_dump` about to be started.
pub struct Dump {
    postgres: Postgres,
    layout: Layout,
    clients: Clients,
    /// Who was asked before the start; the dump's snapshot is no older than its clock.
    pub identity: Identity,
}

impl Dump {
    /// Asks the server who it is and finds the client that fits, before anything is started.
    pub fn prepare(postgres: &Postgres, layout: Layout, cx: &Context) -> Result<Dump> {
        let identity = postgres.identity(&postgres.settings.database, cx)?;
        let clients = Clients::for_server(postgres, identity.major, cx)?;
        Ok(Dump { postgres: postgres.clone(), layout, clients, identity })
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
        let access = Access::to(&self.postgres, cx)?;
        let program = access.aim(self.clients.program("pg_dump"), &self.postgres, &self.identity.database);
        let program = program.args(["--no-owner", "--no-acl", "--encoding=UTF8"]);
        let program = match self.layout {
            Layout::Plain => program.arg("--format=plain"),
            Layout::Custom => program.args(["--format=custom", "--compress=0"]),
        };
        Ok(Box::new(Guarded { stream: program.stream(cx)?, _access: access }))
    }
}

/// The password file lives as long as the stream.
struct Guarded {
    stream: Stream,
    _access: Access,
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}
