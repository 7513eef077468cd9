//! Loading a staged database: the programs that do it, how their sessions are set, and in which order an archive goes in.
//!
//! A staged database is dropped when anything fails, so its sessions may do what nobody should with data that is not elsewhere: a commit
//! does not wait for the disk. That ends before the mark of a whole database is written, see `finish_staged`.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{MemfdFlags, memfd_create};
use tokio_postgres::Client;

use super::clients::{Access, Clients};
use super::dump::Layout;
use super::majors::{needs_trimming, without_timeout};
use super::restore::{Contents, Target};
use super::{Postgres, explain_sql};
use crate::port::{Context, Stream};
use crate::process::Program;
use crate::report::{Explain, Result};

/// Most processes that make indexes and constraints at the same time.
const MOST: usize = 8;

/// Memory for sorting that these share, in kB; never less than what the server gives anyway.
const SORTING: i64 = 512 << 10;

/// As many as there are processors here, which are the server's own where it runs on this machine.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST)
}

/// Connections that the server, and the role we are, have left.
const LEFT: &str = "SELECT least(current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
        - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    CASE WHEN rolconnlimit >= 0 THEN rolconnlimit - (SELECT count(*) FROM pg_stat_activity WHERE usename = rolname) END)
    FROM pg_roles WHERE rolname = current_user";

/// A target, and what loads it.
struct Loader<'a> {
    postgres: &'a Postgres,
    target: Target<'a>,
    clients: Clients,
    access: Access,
    /// Who makes everything, where the dump does not say to whom it belongs.
    owner: Option<&'a str>,
    /// What the server gives to sorting, or more.
    sorting: i64,
    /// What the clients write has a line that the server does not know.
    trims: bool,
    cx: &'a Context,
}

impl Postgres {
    /// How many things are done at a time: a connection for each processor, and never more than half of those that are left, so that nobody is
    /// locked out and hours of loading do not end for the want of one.
    pub(super) fn hands(&self, cx: &Context) -> Result<usize> {
        let left: i64 = cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            Ok(client.query_one(LEFT, &[]).await.map_err(|error| explain_sql(&error, ""))?.get(0))
        })?;
        Ok(processors().min(usize::try_from(left / 2).unwrap_or_default()).max(1))
    }

    /// Reads `stream` into the staged database.
    pub(super) fn load(&self, target: Target<'_>, guard: &Client, server_major: u32, stream: Stream, cx: &Context) -> Result<()> {
        let clients = self.clients_for(target, server_major, cx)?;
        let written_by = if target.layout == Layout::Plain { target.client_major } else { clients.major };
        let trims = needs_trimming(written_by, server_major);
        let access = Access::to(self, cx)?;
        let owner = target.access.is_none().then(|| self.owner_of(target));
        let sorting = cx.wait(sorting(guard))?;
        let loader = Loader { postgres: self, target, clients, access, owner, sorting, trims, cx };
        match (target.layout, target.contents) {
            (Layout::Plain, _) => loader.plain(stream),
            (Layout::Custom, None) => loader.archive(&[], stream, "the archive"),
            (Layout::Custom, Some(contents)) => loader.sections(contents, stream),
        }
    }
}

/// Memory that one index may be sorted in, kB.
async fn sorting(client: &Client) -> Result<i64> {
    let query = "SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'";
    let own: i64 = client.query_one(query, &[]).await.map_err(|error| explain_sql(&error, ""))?.get(0);
    Ok(own.max(SORTING / i64::try_from(processors()).unwrap_or(1)))
}

impl Loader<'_> {
    fn plain(&self, stream: Stream) -> Result<()> {
        let sql = if self.trims { without_timeout(stream) } else { stream };
        self.timed("the dump", || self.psql().run_with(sql, self.cx).map(drop))
    }

    /// What stands before the rows, the rows, and what stands after them: only the middle part needs the stream.
    fn sections(&self, contents: Contents<'_>, stream: Stream) -> Result<()> {
        let wanted = contents.wanted.map(numbers).transpose()?;
        let list = wanted.as_ref().map(|wanted| format!("--use-list={}", path(wanted).display()));
        let without_rights = (!contents.last.is_empty()).then(|| "--no-acl".to_owned());
        let arguments = |section: &str| -> Vec<String> {
            list.iter().cloned().chain(without_rights.clone()).chain([format!("--section={section}")]).collect()
        };
        self.contents(&arguments("pre-data"), contents.file, "before the rows")?;
        self.archive(&arguments("data"), stream, "the rows")?;
        // Several at a time only where pg_restore talks to the server itself.
        let jobs = if self.trims { None } else { Some(format!("--jobs={}", self.postgres.hands(self.cx)?)) };
        let after: Vec<String> = arguments("post-data").into_iter().chain(jobs).collect();
        self.contents(&after, contents.file, "indexes and constraints")?;
        if contents.last.is_empty() {
            return Ok(());
        }
        let last = numbers(contents.last)?;
        self.contents(&[format!("--use-list={}", path(&last).display())], contents.file, "rights")
    }

    /// What pg_restore makes of the table of contents alone.
    fn contents(&self, arguments: &[String], file: &File, what: &str) -> Result<()> {
        self.timed(what, || {
            if self.trims {
                let script = self.clients.program("pg_restore").args(self.manners()).args(arguments).arg("--file=-").arg(path(file));
                return self.psql().run_with(without_timeout(script.stream(self.cx)?), self.cx).map(drop);
            }
            self.pg_restore().args(arguments).arg(path(file)).run(self.cx).map(drop)
        })
    }

    /// What pg_restore makes of the whole archive as it comes.
    fn archive(&self, arguments: &[String], stream: Stream, what: &str) -> Result<()> {
        self.timed(what, || {
            if self.trims {
                let script = self.clients.program("pg_restore").args(self.manners()).args(arguments).arg("--file=-");
                return self.psql().run_with(without_timeout(script.filter(stream, self.cx)?), self.cx).map(drop);
            }
            self.pg_restore().args(arguments).run_with(stream, self.cx).map(drop)
        })
    }

    fn timed(&self, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        work()?;
        self.cx.log.say("restore", &format!("{what}: {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// How pg_restore is to behave.
    fn manners(&self) -> &'static [&'static str] {
        if self.owner.is_some() { &["--exit-on-error", "--no-owner", "--no-acl"] } else { &["--exit-on-error"] }
    }

    fn pg_restore(&self) -> Program {
        let program = self.access.aim(self.clients.program("pg_restore"), self.postgres, self.target.into).args(self.manners());
        let program = program.env("PGOPTIONS", self.session());
        self.owner.iter().fold(program, |program, owner| program.arg("--role").arg(owner))
    }

    /// Not in one transaction: a dump with large objects brings its own COMMIT (trap 51). What is staged needs none.
    fn psql(&self) -> Program {
        let program = self.access.aim(self.clients.program("psql"), self.postgres, self.target.into);
        let program = program.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--file=-"]);
        let role = self.owner.map_or_else(String::new, |owner| format!(" -c role={}", escape_option(owner)));
        program.env("PGOPTIONS", self.session() + &role)
    }

    /// What holds in the sessions that load, and in no others.
    fn session(&self) -> String {
        format!("-c synchronous_commit=off -c maintenance_work_mem={}kB", self.sorting)
    }
}

/// The numbers of entries as pg_restore reads them, in memory that a child finds below our process id.
fn numbers(entries: &[i64]) -> Result<File> {
    let cannot = || "writing pg_restore's list".to_owned();
    let mut file = File::from(memfd_create("lifeboat-list", MemfdFlags::CLOEXEC).explain(cannot)?);
    file.set_permissions(Permissions::from_mode(0o600)).explain(cannot)?;
    let lines: Vec<String> = entries.iter().map(|id| format!("{id};\n")).collect();
    file.write_all(lines.concat().as_bytes()).explain(cannot)?;
    Ok(file)
}

/// Where a child finds a file of ours.
fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

/// A value inside `PGOPTIONS`: spaces and backslashes are escaped by backslashes (libpq, "options").
fn escape_option(value: &str) -> String {
    value.chars().flat_map(|c| (c == '\\' || c.is_whitespace()).then_some('\\').into_iter().chain([c])).collect()
}
