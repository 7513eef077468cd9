//! Loading a staged database: the programs that do it, how their sessions are set, and in which order an archive goes in.
//!
//! A staged database is dropped when anything fails, so its sessions may do what nobody should with data that is not elsewhere: a commit
//! does not wait for the disk. That ends before the mark of a whole database is written, see `finish_staged`.

use std::fs::{File, Permissions};
use std::io::{Cursor, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{MemfdFlags, memfd_create};
use tokio_postgres::Client;

use super::clients::{Access, Clients};
use super::copies::{Copies, Marks};
use super::majors::{needs_trimming, without_timeout};
use super::restore::{Contents, Target};
use super::{Postgres, explain_sql};
use crate::port::{Context, Rows, Stream, nonce};
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
    /// How many things are done at a time.
    hands: usize,
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

    /// Reads a dump into the staged database.
    pub(super) fn load(
        &self,
        target: Target<'_>,
        clients: Clients,
        guard: &Client,
        server_major: u32,
        dump: impl FnOnce(Box<dyn Rows>) -> Stream,
        cx: &Context,
    ) -> Result<()> {
        let written_by = if target.contents.is_none() { target.client_major } else { clients.major };
        let trims = needs_trimming(written_by, server_major);
        let access = Access::to(self, cx)?;
        let owner = target.access.is_none().then(|| self.owner_of(target));
        let (sorting, hands) = (cx.wait(sorting(guard))?, self.hands(cx)?);
        let loader = Loader { postgres: self, target, clients, access, owner, sorting, hands, trims, cx };
        match target.contents {
            None => loader.plain(dump),
            Some(contents) => loader.sections(contents, dump(Box::new(loader.copies(None)))),
        }
    }
}

/// Whether this psql can be told to obey no commands of its own in what it reads: `\restrict` came with CVE-2025-8714, in these minor versions.
fn restricts(version: &str) -> bool {
    const SINCE: [(u32, u32); 5] = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    major > 17 || SINCE.iter().any(|since| major == since.0 && minor >= since.1)
}

/// A dump that psql reads without obeying it beyond SQL. Such commands are refused when a dump is read; this holds for what its SQL
/// may hide from a reader that does not carry it out.
fn restricted(sql: Stream) -> Result<Stream> {
    let key = nonce(16)?;
    let line = |command: &str| Cursor::new(format!("\\{command} {key}\n"));
    Ok(Box::new(line("restrict").chain(sql).chain(line("unrestrict"))))
}

/// Memory that one index may be sorted in, kB.
async fn sorting(client: &Client) -> Result<i64> {
    let query = "SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'";
    let own: i64 = client.query_one(query, &[]).await.map_err(|error| explain_sql(&error, ""))?.get(0);
    Ok(own.max(SORTING / i64::try_from(processors()).unwrap_or(1)))
}

impl Loader<'_> {
    fn plain(&self, dump: impl FnOnce(Box<dyn Rows>) -> Stream) -> Result<()> {
        let (marks, hear) = Marks::new()?;
        let stream = dump(Box::new(self.copies(Some(marks))));
        let sql = if self.trims { without_timeout(stream) } else { stream };
        let sql = if restricts(&self.clients.version) { restricted(sql)? } else { sql };
        self.timed("the dump", || self.psql().run_heard(sql, hear, self.cx))
    }

    /// What loads rows.
    fn copies(&self, marks: Option<Marks>) -> Copies {
        Copies::new(self.postgres, self.target.into, self.owner, self.hands, marks, self.cx)
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
        // The rows part from the archive on its way to pg_restore, which does what else is data: large objects, where sequences stand.
        let others = numbers(contents.others)?;
        let list = format!("--use-list={}", path(&others).display());
        self.archive(&["--section=data".to_owned(), list], stream, "the rows")?;
        // Several at a time only where pg_restore talks to the server itself.
        let jobs = if self.trims { None } else { Some(format!("--jobs={}", self.hands)) };
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
                return self.psql().run_heard(without_timeout(script.stream(self.cx)?), |_| {}, self.cx);
            }
            self.pg_restore().args(arguments).arg(path(file)).run(self.cx).map(drop)
        })
    }

    /// What pg_restore makes of the whole archive as it comes.
    fn archive(&self, arguments: &[String], stream: Stream, what: &str) -> Result<()> {
        self.timed(what, || {
            if self.trims {
                let script = self.clients.program("pg_restore").args(self.manners()).args(arguments).arg("--file=-");
                return self.psql().run_heard(without_timeout(script.filter(stream, self.cx)?), |_| {}, self.cx);
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
        let program = program.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-align", "--tuples-only", "--file=-"]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_is_restricted_from_the_minor_versions_on_that_can_be() {
        for (version, can) in
            [("15.14", true), ("15.13", false), ("14.19 (Debian 14.19-1)", true), ("18.0", true), ("12.22", false), ("17.10", true)]
        {
            assert_eq!(restricts(version.split(' ').next().unwrap()), can, "{version}");
        }
    }
}
