//! The rows of one COPY: lines, up to the line `\.`. Counted at the speed of memory.

use std::sync::LazyLock;

use memchr::{memchr_iter, memmem};

use crate::pipeline::manifest::TableCount;

/// The end of the data, with the newline before it: of the last row, or of the statement.
const END: &[u8] = b"\n\\.\n";

/// Made once: an archive comes row by row, and making it costs more than searching one.
static FIND_END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(END));

/// Counts rows until the end of the data.
#[derive(Debug)]
pub struct Rows {
    count: TableCount,
    /// How many bytes of [`END`] the bytes so far end with.
    matched: usize,
}

impl Rows {
    /// At the beginning of the data: the newline of the statement was just seen.
    pub fn new() -> Rows {
        Rows { count: TableCount::default(), matched: 1 }
    }

    /// The next bytes. Gives how many belong to the data when its end is among them, `None` when it is not.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.matched > 1 || (self.matched == 1 && bytes.first() == Some(&b'\\')) {
            let rest = &END[self.matched..];
            let common = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            if common == rest.len() {
                // What was taken for a row's beginning is the end marker.
                self.count.bytes -= (self.matched - 1) as u64;
                return Some(common);
            }
            if common == bytes.len() {
                self.matched += common;
                self.count.bytes += bytes.len() as u64;
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
        self.count
    }

    fn add(&mut self, bytes: &[u8]) {
        self.count.rows += memchr_iter(b'\n', bytes).count() as u64;
        self.count.bytes += bytes.len() as u64;
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

    #[test]
    fn rows_are_lines_up_to_the_end_marker() {
        let two = TableCount { rows: 2, bytes: 8 };
        assert_eq!(count(b"1\ta\n2\tb\n\\.\nrest"), Some((two, 11)));
        assert_eq!(count(b"\\.\n"), Some((TableCount::default(), 3)), "an empty table");
        assert_eq!(count(b"\n\n\n\\.\n\n"), Some((TableCount { rows: 3, bytes: 3 }, 6)), "a table without columns");
    }

    #[test]
    fn what_only_looks_like_the_end_is_a_row() {
        let data = b"\\\\.\nx\\.\n\\N\n\\.x\n\\\n\n\\.\n";
        assert_eq!(count(data), Some((TableCount { rows: 6, bytes: 18 }, 21)));
    }

    #[test]
    fn without_the_marker_there_is_no_end() {
        assert_eq!(count(b"1\n2\n\\."), None);
        assert_eq!(count(b"1\n2\n"), None);
    }
}
