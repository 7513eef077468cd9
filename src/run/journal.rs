//! The journal: one JSON line a fact, fsynced, each carrying the SHA-256 of the line before. `sha256sum` and a shell loop can check it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::fact::{Entry, Fact};
use crate::report::{Explain, Kind, Report, Result};

/// What the first line carries as the hash of the line before it.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The journal's file in a run's directory.
pub const FILE: &str = "journal.jsonl";

/// The file whose OS lock makes one process the writer.
const LOCK: &str = "lock";

/// A journal open for writing. Holds the run's lock until it is dropped, or until the process dies.
#[derive(Debug)]
pub struct Journal {
    file: File,
    lock: File,
    seq: u64,
    head: String,
}

/// A journal that was read and whose chain holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// In order.
    pub entries: Vec<Entry>,
    /// SHA-256 of the last line; [`GENESIS`] where there is none.
    pub head: String,
    /// Bytes after the last whole line: a write the machine did not finish. They were never a fact.
    pub torn: u64,
}

impl Journal {
    /// Takes the run's lock and opens its journal, new or old. A torn last line is cut off: it was never acknowledged.
    pub fn open(directory: &Path) -> Result<(Journal, Vec<Entry>)> {
        let lock = take_lock(directory)?;
        let path = directory.join(FILE);
        let cannot = || format!("opening the journal {}", path.display());
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).explain(cannot)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).explain(cannot)?;
        let read = parse(&text, &path)?;
        if read.torn > 0 {
            file.set_len(text.len() as u64 - read.torn).explain(cannot)?;
        }
        file.seek(std::io::SeekFrom::End(0)).explain(cannot)?;
        // The directory entry itself must survive a power cut.
        File::open(directory).and_then(|directory| directory.sync_all()).explain(cannot)?;
        let journal = Journal { file, lock, seq: read.entries.len() as u64, head: read.head };
        Ok((journal, read.entries))
    }

    /// Writes one fact and returns once the disk has it.
    pub fn append(&mut self, fact: Fact) -> Result<Entry> {
        let entry = Entry { seq: self.seq + 1, at: Timestamp::now(), prev: self.head.clone(), fact };
        let cannot = || "writing the journal".to_owned();
        let mut line = serde_json::to_vec(&entry).explain(cannot)?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).explain(cannot)?;
        self.seq += 1;
        self.head = hash(&line);
        Ok(entry)
    }

    /// SHA-256 of the last line.
    pub fn head(&self) -> &str {
        &self.head
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing is not enough: a child being started by another thread has a copy of the lock until it is another program.
        // Should this fail, it is let go of then.
        flock(&self.lock, FlockOperation::Unlock).ok();
    }
}

/// Reads a journal and checks its chain. Does not need the lock.
pub fn read(directory: &Path) -> Result<Chain> {
    let path = directory.join(FILE);
    let text = fs::read(&path).explain(|| format!("reading the journal {}", path.display()))?;
    parse(&text, &path)
}

/// Whether a process is at the run now.
pub fn is_held(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join(LOCK)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

fn take_lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let cannot = || format!("opening {}", path.display());
    let mut lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).explain(cannot)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        lock.read_to_string(&mut holder).explain(cannot)?;
        let run = directory.file_name().unwrap_or_default().to_string_lossy();
        return Err(Report::new(Kind::Busy, format!("run {run} is held by {}", holder.trim())).hint(format!("lifeboat watch {run}")));
    }
    lock.set_len(0).explain(cannot)?;
    writeln!(lock, "process {} of {}", std::process::id(), super::who()).explain(cannot)?;
    Ok(lock)
}

fn parse(text: &[u8], path: &Path) -> Result<Chain> {
    let mut read = Chain { entries: Vec::new(), head: GENESIS.into(), torn: 0 };
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let place = Place { path, line: index + 1 };
        if line.last() != Some(&b'\n') {
            read.torn = line.len() as u64;
            break;
        }
        let entry: Entry = serde_json::from_slice(line).map_err(|error| place.broken("is not a fact").because(error))?;
        if entry.prev != read.head {
            return Err(place.broken("does not follow from the line before: it was changed, or a line is missing"));
        }
        if entry.seq != index as u64 + 1 {
            return Err(place.broken("has the wrong number"));
        }
        read.head = hash(line);
        read.entries.push(entry);
    }
    Ok(read)
}

struct Place<'a> {
    path: &'a Path,
    line: usize,
}

impl Place<'_> {
    fn broken(&self, what: &str) -> Report {
        Report::refused(format!("the journal is broken: {}:{} {what}", self.path.display(), self.line))
            .hint("compare with the journal head in the notifications and the report; do not resume this run")
    }
}

/// SHA-256, lower-case hex.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Writes a file in a run's directory so that it is there whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let cannot = || format!("writing {}", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).explain(cannot)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).explain(cannot)?;
    file.persist(path).explain(cannot)?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(step: &str) -> Fact {
        Fact::Parked { step: step.into() }
    }

    fn three_facts() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, old) = Journal::open(directory.path()).unwrap();
        assert!(old.is_empty());
        for step in ["one", "two", "three"] {
            journal.append(parked(step)).unwrap();
        }
        directory
    }

    #[test]
    fn what_was_appended_is_read_back_and_the_chain_holds() {
        let directory = three_facts();
        let read = read(directory.path()).unwrap();
        assert_eq!(read.entries.len(), 3);
        assert_eq!(read.entries[0].prev, GENESIS);
        assert_eq!(read.entries[2].fact, parked("three"));
    }

    #[test]
    fn a_changed_byte_is_found_on_its_line() {
        let directory = three_facts();
        let path = directory.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap().replace("\"two\"", "\"twa\"");
        fs::write(&path, text).unwrap();
        let error = read(directory.path()).unwrap_err();
        assert_eq!(error.kind, Kind::Refused);
        assert!(error.message.contains("journal.jsonl:3 does not follow"), "{error}");
    }

    #[test]
    fn a_missing_line_is_found() {
        let directory = three_facts();
        let path = directory.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let without: String = text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
        fs::write(&path, without).unwrap();
        assert!(read(directory.path()).is_err());
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_chain_goes_on() {
        let directory = three_facts();
        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let (mut journal, entries) = Journal::open(directory.path()).unwrap();
        assert_eq!(entries.len(), 2);
        journal.append(parked("again")).unwrap();
        assert_eq!(read(directory.path()).unwrap().entries.len(), 3);
    }

    #[test]
    fn a_second_writer_is_busy_and_says_who_holds_it() {
        let directory = three_facts();
        let first = Journal::open(directory.path()).unwrap();
        assert!(is_held(directory.path()));
        let error = Journal::open(directory.path()).unwrap_err();
        assert_eq!(error.kind, Kind::Busy);
        assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(!is_held(directory.path()));
        assert!(Journal::open(directory.path()).is_ok());
    }
}
