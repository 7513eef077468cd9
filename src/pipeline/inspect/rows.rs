//! The rows of one COPY: lines, up to the line `\.`. Counted and hashed, each row on its own.

use std::sync::LazyLock;

use memchr::{memchr, memmem};

use crate::pipeline::manifest::TableCount;
use crate::port::table_hash::TableHasher;

/// The end of the data, with the newline before it: of the last row, or of the statement.
const END: &[u8] = b"\n\\.\n";

/// Made once: an archive comes row by row, and making it costs more than searching one.
static FIND_END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(END));

/// Counts rows until the end of the data.
#[derive(Debug)]
pub struct Rows {
    hasher: TableHasher,
    bytes: u64,
    /// How many bytes of [`END`] the bytes so far end with.
    matched: usize,
}

impl Rows {
    /// At the beginning of the data: the newline of the statement was just seen.
    pub fn new() -> Rows {
        Rows { hasher: TableHasher::default(), bytes: 0, matched: 1 }
    }

    /// The next bytes. Gives how many belong to the data when its end is among them, `None` when it is not.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        // One whole row, as an archive brings them, and not the end.
        if let (1, Some((b'\n', row))) = (self.matched, bytes.split_last())
            && !row.starts_with(b"\\.")
            && memchr(b'\n', row).is_none()
        {
            self.hasher.row(row);
            self.bytes += bytes.len() as u64;
            return None;
        }
        if self.matched > 1 || (self.matched == 1 && bytes.first() == Some(&b'\\')) {
            let rest = &END[self.matched..];
            let common = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            if common == rest.len() {
                // What was taken for a row's beginning is the end marker.
                self.bytes -= (self.matched - 1) as u64;
                self.hasher.forget_open();
                return Some(common);
            }
            if common == bytes.len() {
                self.matched += common;
                self.add(bytes);
                return None;
            }
        }
        if let Some(at) = FIND_END.find(bytes) {
            self.add(&bytes[..=at]);
            return Some(at + END.len());
        }
        self.add(bytes);
        self.matched = (1..END.len()).rev().find(|length| bytes.ends_with(&END[..*length])).unwrap_or(0);
        None
    }

    /// What was counted.
    pub fn count(&self) -> TableCount {
        TableCount { rows: self.hasher.rows(), bytes: self.bytes, xxh3: Some(self.hasher.hash()) }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.feed(bytes);
        self.bytes += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed in chunks of every size, the end is found at the same place and the rows are the same.
    fn count(data: &[u8]) -> Option<(TableCount, usize)> {
        let mut results = Vec::new();
        for size in 1..=data.len() {
            let mut rows = Rows::new();
            let mut fed = 0;
            let mut result = None;
            for chunk in data.chunks(size) {
                if let Some(used) = rows.feed(chunk) {
                    result = Some((rows.count(), fed + used));
                    break;
                }
                fed += chunk.len();
            }
            results.push(result);
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
        results[0]
    }

    /// What these lines are counted and hashed to.
    fn counted(rows: &[&str]) -> TableCount {
        let mut hasher = TableHasher::default();
        let text = rows.iter().flat_map(|row| [*row, "\n"]).collect::<String>();
        hasher.feed(text.as_bytes());
        TableCount { rows: rows.len() as u64, bytes: text.len() as u64, xxh3: Some(hasher.hash()) }
    }

    #[test]
    fn rows_are_lines_up_to_the_end_marker() {
        let two = counted(&["1\ta", "2\tb"]);
        assert_eq!(count(b"1\ta\n2\tb\n\\.\nrest"), Some((two, 11)));
        assert_eq!(count(b"\\.\n"), Some((counted(&[]), 3)), "an empty table");
        assert_eq!(count(b"\n\n\n\\.\n\n"), Some((counted(&["", "", ""]), 6)), "a table without columns");
    }

    #[test]
    fn what_only_looks_like_the_end_is_a_row() {
        let data = b"\\\\.\nx\\.\n\\N\n\\.x\n\\\n\n\\.\n";
        assert_eq!(count(data), Some((counted(&["\\\\.", "x\\.", "\\N", "\\.x", "\\", ""]), 21)));
    }

    #[test]
    fn without_the_marker_there_is_no_end() {
        assert_eq!(count(b"1\n2\n\\."), None);
        assert_eq!(count(b"1\n2\n"), None);
    }
}
