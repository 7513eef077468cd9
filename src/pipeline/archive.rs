//! An archive of `pg_dump -Fc`, apart: its table of contents in a private file, and all of it as the stream it was.
//!
//! `pg_restore` needs the rows only for its data section; what comes before and after them it makes from the table of contents alone, in
//! several processes at a time. So that much of an archive is kept, and never a byte more: no row ever lies in a file.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::{MemfdFlags, memfd_create};

use super::inspect::custom::{Entry, Parser};
use crate::port::Stream;
use crate::report::{Explain, Report, Result};

/// What needs the rights, or is one (`_tocEntryRestorePass` of `pg_backup_archiver.c`).
const LAST: [&str; 5] = ["ACL", "ACL LANGUAGE", "DEFAULT ACL", "EVENT TRIGGER", "MATERIALIZED VIEW DATA"];

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// See the module.
pub struct Archive {
    /// Everything before the first block of data. Memory of ours, mode 0600, that a child finds below our process id: it is gone when this is
    /// dropped, and when we are killed.
    pub contents: File,
    /// What the table of contents holds.
    pub entries: Vec<Entry>,
    /// The whole archive, from its first byte.
    pub stream: Stream,
}

impl Archive {
    /// Reads as far as the first block of data. What is no archive, or is cut before that, is `Kind::Refused`.
    pub fn open(mut stream: Stream) -> Result<Archive> {
        let cannot = || "keeping an archive's table of contents".to_owned();
        let mut contents = File::from(memfd_create("lifeboat-contents", MemfdFlags::CLOEXEC).explain(cannot)?);
        contents.set_permissions(Permissions::from_mode(0o600)).explain(cannot)?;
        let mut parser = Parser::keeping_entries();
        let mut chunk = vec![0; CHUNK];
        let mut kept: u64 = 0;
        let rows = loop {
            let count = match stream.read(&mut chunk) {
                Ok(0) => return Err(cut(parser)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Report::from_io("reading an archive's table of contents", error)),
            };
            parser.feed(&chunk[..count])?;
            let own = parser.contents_end().and_then(|end| usize::try_from(end - kept).ok()).unwrap_or(count);
            contents.write_all(&chunk[..own]).explain(cannot)?;
            kept += own as u64;
            if parser.contents_end().is_some() {
                break chunk[own..count].to_vec();
            }
        };
        let again = Again { contents: contents.try_clone().explain(cannot)?, at: 0, length: kept };
        let stream = Box::new(again.chain(Cursor::new(rows)).chain(stream));
        Ok(Archive { contents, entries: parser.entries(), stream })
    }
}

/// The entries of an archive in two: those that come first, and those that come when all of these are there, because rights that are taken
/// away may be needed until then. That is pg_restore's own order, which it cannot keep when it is called for one section after the other.
pub fn rights_last(entries: &[Entry]) -> (Vec<i64>, Vec<i64>) {
    let kind = |entry: &&Entry| LAST.contains(&entry.kind.as_str());
    let last: BTreeSet<i64> = entries.iter().filter(kind).map(|entry| entry.id).collect();
    // What is said about one of them comes with it.
    let is_last = |entry: &&Entry| last.contains(&entry.id) || (entry.kind == "COMMENT" && entry.needs.iter().any(|id| last.contains(id)));
    let (after, before): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(is_last);
    let ids = |entries: Vec<&Entry>| entries.into_iter().map(|entry| entry.id).collect();
    (ids(before), ids(after))
}

/// An archive that ended too early.
fn cut(parser: Parser) -> Report {
    parser.finish().err().unwrap_or_else(|| Report::refused("the archive is cut within its table of contents"))
}

/// The table of contents once more, wherever others are reading it.
struct Again {
    contents: File,
    at: u64,
    length: u64,
}

impl Read for Again {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.length - self.at).unwrap_or(usize::MAX).min(into.len());
        let count = self.contents.read_at(&mut into[..room], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
