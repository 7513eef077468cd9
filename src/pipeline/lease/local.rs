//! The lock of one host: a file that the kernel unlocks when its holder dies, and in it who held it, so that the death of one is proof.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::record::{Place, Record};
use crate::report::{Explain, Kind, Report, Result};

/// How long a lock may still be held by a copy of it: a child in the instant before it is another program.
const MOMENT: Duration = Duration::from_millis(300);

/// How much of the file's end is read: some hundred holders, more than ever died one after the other.
const REMEMBERED: u64 = 1 << 16;

/// The lock, held until it is dropped or the process dies.
pub(super) struct HostLock {
    file: File,
    /// What held it before, newest last: `TOKEN process N of WHO`.
    before: Vec<String>,
}

impl HostLock {
    /// Takes it. Held by another process of this host, or elsewhere in this one, is `Kind::Busy`.
    pub(super) fn take(directory: &Path, place: &Place, what: &str) -> Result<HostLock> {
        let path = directory.join(place.file_name());
        let locking = || format!("locking {}", path.display());
        fs::create_dir_all(directory).explain(locking)?;
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path).explain(locking)?;
        let until = Instant::now() + MOMENT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                Err(Errno::WOULDBLOCK) => {
                    let holder = read_lines(&mut file).ok().and_then(|lines| Some(lines.last()?.split_once(' ')?.1.to_owned()));
                    return Err(Report::new(Kind::Busy, format!("{what} is being backed up on this host already"))
                        .cause(holder.unwrap_or_default())
                        .hint("wait for it: lifeboat runs, lifeboat watch RUN"));
                }
                Err(error) => return Err(error).explain(locking),
            }
        }
        let before = read_lines(&mut file).explain(locking)?;
        Ok(HostLock { file, before })
    }

    /// The process that holds this lease held this very lock before us, on this machine: the kernel took the lock from it, so it is dead.
    /// A directory of locks that two machines share is told by the machine.
    pub(super) fn proves_dead(&self, record: &Record) -> bool {
        record.machine == machine() && self.before.iter().any(|line| line.split(' ').next() == Some(&*record.token))
    }

    /// Remembers the token, on disk, before it is used. Only ever appends: whoever is killed in here leaves those before it provable. The
    /// line begins with its newline, so that a torn one in front of it takes nothing along.
    pub(super) fn remember(&mut self, token: &str) -> Result<()> {
        let remembering = || "remembering who holds the lock of this host".to_owned();
        let line = format!("\n{token} process {} of {}", std::process::id(), crate::port::who());
        self.file.write_all(line.as_bytes()).explain(remembering)?;
        self.file.sync_all().explain(remembering)
    }

    /// The lease was given back: nobody's death needs to be proven any more.
    pub(super) fn forget(&self) {
        // What stays is only more to read.
        self.file.set_len(0).ok();
    }
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // Closing is not enough: a child being started by another thread has a copy of the lock until it is another program.
        // There is nobody to tell; closing follows.
        flock(&self.file, FlockOperation::Unlock).ok();
    }
}

fn read_lines(file: &mut File) -> std::io::Result<Vec<String>> {
    let mut text = Vec::new();
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(REMEMBERED)))?;
    file.take(REMEMBERED).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>());
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

/// The machine, by a hash of its name and of its id, which is not for others to know (machine-id(5)).
pub(super) fn machine() -> String {
    let id = fs::read("/etc/machine-id").unwrap_or_default();
    let name = rustix::system::uname().nodename().to_bytes().to_vec();
    hex::encode(&Sha256::new().chain_update(b"lifeboat lease\0").chain_update(name).chain_update(b"\0").chain_update(id).finalize()[..8])
}

/// This boot of it.
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Found by the soak: one that was killed while it wrote itself down took the proof of its predecessor's death along.
    #[test]
    fn a_dead_holder_is_remembered_whatever_the_next_ones_died_of_and_forgotten_when_the_lease_was_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::of("7", "orders");
        let take = || HostLock::take(directory.path(), &place, "the database orders").unwrap();
        let record = |token: &str| -> Record {
            serde_json::from_value(serde_json::json!({
                "version": 1, "state": "held", "owner": "a@b", "machine": machine(), "boot": "", "process": 1, "job": "j",
                "system_identifier": "7", "database": "orders", "acquired": "2026-11-21T02:00:00Z",
                "written": "2026-11-21T02:00:00Z", "length_seconds": 600, "token": token,
            }))
            .unwrap()
        };
        let mut first = take();
        first.remember("first").unwrap();
        assert!(!first.proves_dead(&record("first")), "it is alive");
        drop(first);
        let path = directory.path().join(place.file_name());
        for torn in ["\n", "\nsec", "\nsecond process 4"] {
            let mut text = fs::read(&path).unwrap();
            text.extend(torn.as_bytes());
            fs::write(&path, text).unwrap();
            assert!(take().proves_dead(&record("first")), "{torn:?}");
        }
        take().remember("third").unwrap();
        let last = take();
        assert!(last.proves_dead(&record("first")) && last.proves_dead(&record("third")) && !last.proves_dead(&record("fourth")));
        last.forget();
        drop(last);
        assert!(!take().proves_dead(&record("first")));
    }
}
