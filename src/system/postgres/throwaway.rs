//! A server that a dump is restored into only to be looked at: of the major version the dump was made of, on this machine, reached by a socket
//! only, gone with whoever started it.
//!
//! What is restored stands on the disk in clear for as long as the server lives. Where that may be is for the configuration to say.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::cluster::{Cluster, ClusterOptions, find_among};
use super::{Postgres, Settings, Tls};
use crate::port::{Context, nonce};
use crate::report::{Explain, Report, Result};
use crate::system::place::{self, Place};
use crate::system::secret::Secret;

/// A directory of such a server has this name, so that what a killed process left is found.
pub const PREFIX: &str = "lifeboat-proof-";

/// A byte of a plain dump becomes so many on the disk at most: rows with their headers, indexes, and the WAL of both.
const GROWTH: u64 = 3;

/// An empty server, and its first WAL.
const EMPTY: u64 = 128 << 20;

/// The database whose encoding and locale a restored one takes.
const MODEL: &str = "model";

/// Such a server loads once and is looked at.
const SETTINGS: [(&str, &str); 3] = [("max_wal_size", "512MB"), ("maintenance_work_mem", "128MB"), ("max_locks_per_transaction", "1024")];

/// What server is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its major version.
    pub major: u32,
    /// Bytes of the plain dump that is to go into it.
    pub load: u64,
    /// Its directory is made in this one.
    pub parent: &'a Path,
    /// Where programs may be besides those that are installed.
    pub bin: &'a [PathBuf],
    /// On top of our own settings, as in `postgresql.conf`.
    pub settings: &'a [(String, String)],
}

/// A running one. Dropping it ends the server and removes its directory.
pub struct Throwaway {
    // In the order they have to go.
    cluster: Cluster,
    postgres: Postgres,
    _place: Place,
}

impl Throwaway {
    /// Makes and starts one, after clearing away those that killed processes left in the same place. What there is not enough room for, or no
    /// programs, is an error before anything is made.
    pub fn start(wanted: Wanted<'_>, cx: &Context) -> Result<Throwaway> {
        place::sweep(wanted.parent, PREFIX, "pg/data", cx);
        let server = find_among(wanted.bin, wanted.major)
            .map_err(|report| report.hint("where it is elsewhere, say so: [proof] bin = [\"/opt/postgresql/bin\"]"))?;
        check_room(wanted.parent, wanted.load)?;
        let place = Place::new(wanted.parent, PREFIX, false)?;
        let ours = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let password = nonce(16)?;
        let options = ClusterOptions {
            dir: place.path().join("pg"),
            bin: Some(server),
            password: password.clone(),
            database: None,
            settings: ours.chain(wanted.settings.iter().cloned()).collect(),
            remove: true,
        };
        let cluster = Cluster::start(options, cx)?;
        let file = place.path().join("password");
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        written.and_then(|mut written| written.write_all(password.as_bytes())).explain(|| format!("writing {}", file.display()))?;
        let settings = Settings {
            name: "proof".into(),
            host: cluster.host().display().to_string(),
            port: cluster.port(),
            user: cluster.user().into(),
            password: Some(Secret::File(file)),
            database: model(&cluster, cx)?.into(),
            maintenance: "postgres".into(),
            owner: None,
            tls: Tls::Disable,
            bin: clients(cluster.bin(), wanted.bin),
            through: None,
        };
        Ok(Throwaway { cluster, postgres: Postgres::new(settings), _place: place })
    }

    /// How it is asked.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Its version, `15.18`.
    pub fn version(&self) -> &str {
        self.cluster.version()
    }

    /// Whether it still answers. One that does not says nothing about a dump.
    pub fn answers(&self, cx: &Context) -> bool {
        self.cluster.connect("postgres", cx).is_ok()
    }
}

/// Where clients may be, if not only where packages put them: with the server, where the configuration says, and with the packages too.
fn clients(server: &Path, configured: &[PathBuf]) -> Vec<PathBuf> {
    if configured.is_empty() {
        return Vec::new();
    }
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = std::iter::once(server.to_owned()).chain(configured.iter().cloned()).chain(packaged).collect();
    found.retain(|bin| bin.join("pg_dump").is_file());
    found.dedup();
    found
}

/// A database like those that dumps are made of: with characters, not bytes, as far as this machine knows some. In the plain C locale a letter
/// beyond ASCII is none, and a check that asks for letters would fail here and not where the dump came from.
fn model(cluster: &Cluster, cx: &Context) -> Result<&'static str> {
    let client = cluster.connect("postgres", cx)?;
    let create = format!("CREATE DATABASE {MODEL} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'");
    cx.wait(async {
        // A machine without that locale has the server's own.
        Ok(if client.batch_execute(&create).await.is_ok() { MODEL } else { "postgres" })
    })
}

/// Bytes that restoring a plain dump of this size may take.
pub fn room_for(load: u64) -> u64 {
    load.saturating_mul(GROWTH).saturating_add(EMPTY)
}

fn check_room(parent: &Path, load: u64) -> Result<()> {
    let found = statvfs(parent).explain(|| format!("looking at {}", parent.display()))?;
    let (free, needed) = (found.f_bavail.saturating_mul(found.f_frsize), room_for(load));
    if free >= needed {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(Report::failed(format!("restoring it may take {} MiB in {}, where {} are free", mib(needed), parent.display(), mib(free)))
        .hint("say where there is more: [proof] path = \"/somewhere/larger\", or TMPDIR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_says_where_how_much_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_room(dir.path(), 0).is_ok(), "this machine has no 128 MiB free");
        let report = check_room(dir.path(), 1 << 60).unwrap_err();
        assert!(report.message.contains(&dir.path().display().to_string()) && report.message.contains("MiB"), "{report}");
        assert!(report.hints[0].contains("[proof] path"), "{report:?}");
    }
}
