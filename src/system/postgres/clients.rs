//! The server's own programs: which ones fit a server, and how they are told where to go without a secret in their arguments.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Postgres, Settings, Through, Tls};
use crate::port::Context;
use crate::process::Program;
use crate::report::{Explain, Report, Result};

/// Where Debian and its descendants keep the programs of each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// One installation of the client programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// The directory, or `None` for the path.
    directory: Option<PathBuf>,
    /// They are at the far end of this.
    through: Option<Through>,
    /// `15.18`.
    pub version: String,
    /// 15.
    pub major: u32,
}

/// How a client program gets in. The password file is memory of ours that a child finds below our process id: it is gone when this is
/// dropped, and when we are killed.
#[derive(Debug)]
pub struct Access {
    passfile: Option<File>,
}

impl Clients {
    /// Those that can serve a server of `major`: at least as new as it, and no newer than they must be (trap 32).
    pub fn for_server(postgres: &Postgres, major: u32, cx: &Context) -> Result<Clients> {
        let settings = &postgres.settings;
        let mut found = match (settings.bin.as_slice(), &settings.through) {
            ([], None) => Clients::installed(major, cx),
            ([], Some(_)) => vec![Clients::far(postgres).versioned(cx)?],
            (directories, through) => {
                let one = |directory: &PathBuf| {
                    Clients { directory: Some(directory.clone()), through: through.clone(), ..Clients::default() }.versioned(cx)
                };
                directories.iter().map(one).collect::<Result<_>>()?
            }
        };
        found.sort_by_key(|clients| clients.major);
        let newest = found.last().cloned();
        let place = if settings.through.is_some() { "there" } else { "here" };
        found.into_iter().find(|clients| clients.major >= major).ok_or_else(|| match newest {
            Some(newest) => Report::refused(format!(
                "the server {} is PostgreSQL {major}, newer than the newest client {place}, {}",
                postgres.describe(),
                newest.version
            ))
            .hint(format!("apt install postgresql-client-{major}, or set `bin` in [system.{}]", settings.name)),
            None => Report::failed("no PostgreSQL client programs are installed").hint(format!("apt install postgresql-client-{major}")),
        })
    }

    /// Those at the far end of a system's prefix, of a version that was not asked for.
    pub(super) fn far(postgres: &Postgres) -> Clients {
        let Settings { bin, through, .. } = &postgres.settings;
        Clients { directory: bin.first().cloned(), through: through.clone(), ..Clients::default() }
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> Program {
        match &self.directory {
            Some(directory) => Program::new(directory.join(name)),
            None => Program::new(name),
        }
    }

    /// Debian's, each major in a directory of its own; and whatever is in `PATH`, where none of those serves `major`.
    fn installed(major: u32, cx: &Context) -> Vec<Clients> {
        // An installation that cannot tell its version is not one.
        let look = |directory| Clients { directory, ..Clients::default() }.versioned(cx).ok();
        let directories = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        let mut found: Vec<Clients> = directories.filter(|bin| bin.join("pg_dump").is_file()).filter_map(|bin| look(Some(bin))).collect();
        if found.iter().all(|clients| clients.major < major) {
            found.extend(look(None));
        }
        found
    }

    /// Asks `pg_dump` for its version. Whatever else is said on the way, at log-in say, would end up in a dump: it is refused.
    fn versioned(self, cx: &Context) -> Result<Clients> {
        let output = self.behind(self.program("pg_dump").arg("--version")).run(cx)?;
        let words = String::from_utf8_lossy(&output).into_owned();
        let version = words.strip_prefix("pg_dump (PostgreSQL) ").filter(|rest| rest.lines().count() == 1);
        let version = version.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned();
        let major = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
        let major = major.ok_or_else(|| {
            let report = Report::failed(format!("pg_dump --version said {words:?}"));
            if self.through.is_some() { report.hint("let nothing be printed at log-in") } else { report }
        })?;
        Ok(Clients { version, major, ..self })
    }

    /// A program of theirs with all its arguments, to be started from here.
    pub fn behind(&self, program: Program) -> Program {
        match &self.through {
            Some(through) => program.through(&through.command, through.shell),
            None => program,
        }
    }
}

impl Access {
    /// Makes a password file (mode 0600), where the system has a password.
    pub fn to(postgres: &Postgres, cx: &Context) -> Result<Access> {
        let Some(secret) = &postgres.settings.password else { return Ok(Access { passfile: None }) };
        let password = secret.read_text(&format!("password of system {}", postgres.settings.name), cx)?;
        let cannot = || "writing a password file".to_owned();
        let mut file = File::from(memfd_create("lifeboat-pgpass", MemfdFlags::CLOEXEC).explain(cannot)?);
        file.set_permissions(fs::Permissions::from_mode(0o600)).explain(cannot)?;
        let escaped = zeroize::Zeroizing::new(password.replace('\\', "\\\\").replace(':', "\\:"));
        writeln!(file, "*:*:*:*:{}", *escaped).explain(cannot)?;
        Ok(Access { passfile: Some(file) })
    }

    /// Tells a program where to go: everything by environment and one `--dbname` that can only mean a database's name.
    pub fn aim(&self, program: Program, postgres: &Postgres, database: &str) -> Program {
        let settings = &postgres.settings;
        let sslmode = match settings.tls {
            Tls::Disable => "disable",
            Tls::VerifyFull => "verify-full",
        };
        let program = program
            .env("PGHOST", &settings.host)
            .env("PGPORT", settings.port.to_string())
            .env("PGUSER", &settings.user)
            .env("PGSSLMODE", sslmode)
            .env("PGAPPNAME", "lifeboat")
            .env("PGCONNECT_TIMEOUT", "10")
            .arg("--no-password")
            .arg("--dbname")
            .arg(only_a_name(database));
        if settings.through.is_some() {
            // The far end has its own ways: its password file, peer authentication.
            return program;
        }
        let ours = |file: &File| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let passfile = self.passfile.as_ref().map_or_else(|| "/dev/null".into(), ours);
        program.env("PGPASSFILE", passfile)
    }
}

/// libpq takes a database name that looks like a connection string for one, and then it wins over everything else said. This is one,
/// and it says nothing but the name.
pub(super) fn only_a_name(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_cannot_redirect_a_client() {
        assert_eq!(only_a_name("host=prod dbname=orders"), "dbname='host=prod dbname=orders'");
        assert_eq!(only_a_name(r"it's \ odd"), r"dbname='it\'s \\ odd'");
    }
}
