//! The hash of what a table holds: the same whether its rows come out of a dump or out of a server, in whatever order and in whatever pieces.
//!
//! A row is its line of COPY's text format, without the newline. Each is hashed by XXH3-128 with seed 0, and the hashes are added up modulo
//! 2^128. A sum knows no order, and unlike XOR it sees a row that is there twice. It tells accidents, not forgers: against those stands the
//! SHA-256 of the dump.

use std::fmt;

use memchr::{memchr, memchr_iter};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

/// What the rows of a table add up to; written as 32 lower-case hex digits. Of a table without rows: 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TableHash(pub u128);

impl fmt::Display for TableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for TableHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        number.map(TableHash).ok_or_else(|| D::Error::custom("the hash of a table's rows has 32 hex digits"))
    }
}

/// Counts and hashes rows as they come.
#[derive(Clone, Default)]
pub struct TableHasher {
    rows: u64,
    sum: u128,
    /// A row whose end has not come yet.
    open: Option<Box<XxHash3_128>>,
}

impl TableHasher {
    /// The next bytes, cut anywhere.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if let Some(mut open) = self.open.take() {
            let end = memchr(b'\n', bytes);
            open.write(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else {
                self.open = Some(open);
                return;
            };
            self.add(open.finish_128());
            bytes = &bytes[end + 1..];
        }
        let mut at = 0;
        for end in memchr_iter(b'\n', bytes) {
            self.row(&bytes[at..end]);
            at = end + 1;
        }
        if at < bytes.len() {
            self.open.insert(Box::default()).write(&bytes[at..]);
        }
    }

    /// The next row, without its newline, where nothing came after the last newline.
    pub fn row(&mut self, row: &[u8]) {
        self.add(XxHash3_128::oneshot(row));
    }

    /// What came after the last newline was no row.
    pub fn forget_open(&mut self) {
        self.open = None;
    }

    /// Something came after the last newline.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Rows that have ended.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What they add up to.
    pub fn hash(&self) -> TableHash {
        TableHash(self.sum)
    }

    fn add(&mut self, row: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row);
    }
}

impl fmt::Debug for TableHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableHasher({} rows, {})", self.rows, self.hash())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(rows: &[Vec<u8>]) -> TableHash {
        let mut hasher = TableHasher::default();
        hasher.feed(&lines(rows));
        assert!(!hasher.is_open() && hasher.rows() == rows.len() as u64);
        hasher.hash()
    }

    fn lines(rows: &[Vec<u8>]) -> Vec<u8> {
        rows.iter().flat_map(|row| row.iter().copied().chain([b'\n'])).collect()
    }

    /// Rows of all the lengths that XXH3 treats differently, most of them short.
    fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = any::<u8>().prop_map(|byte| if byte == b'\n' { b' ' } else { byte });
        let row = prop_oneof![4 => prop::collection::vec(byte.clone(), 0..40), 1 => prop::collection::vec(byte, 0..600)];
        prop::collection::vec(row, 1..20)
    }

    proptest! {
        #[test]
        fn pieces_and_order_change_nothing(rows in rows(), cuts in prop::collection::vec(1_usize..300, 1..20), by in any::<u64>()) {
            let (text, whole) = (lines(&rows), hash(&rows));
            let (mut hasher, mut rest) = (TableHasher::default(), text.as_slice());
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                hasher.feed(piece);
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((hasher.hash(), hasher.rows()), (whole, rows.len() as u64));
            let mut shuffled = rows;
            shuffled.sort_by_key(|row| XxHash3_128::oneshot_with_seed(by, row));
            prop_assert_eq!(hash(&shuffled), whole);
        }

        #[test]
        fn a_byte_a_row_more_and_a_row_less_are_seen(rows in rows(), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let (whole, which) = (hash(&rows), which.index(rows.len()));
            let mut changed = rows.clone();
            changed.push(rows[which].clone());
            prop_assert_ne!(hash(&changed), whole, "a row twice");
            // What XOR is blind to.
            changed.push(rows[which].clone());
            prop_assert_ne!(hash(&changed), whole, "a row three times");
            let mut changed = rows.clone();
            changed.remove(which);
            prop_assert_ne!(hash(&changed), whole, "a row less");
            let mut changed = rows.clone();
            if !changed[which].is_empty() {
                let at = at.index(changed[which].len());
                let byte = changed[which][at] ^ (1 << bit);
                changed[which][at] = if byte == b'\n' { b'~' } else { byte };
                prop_assert_ne!(hash(&changed), whole, "a byte");
            }
        }
    }

    #[test]
    fn it_is_the_sum_of_what_the_reference_gives_for_each_row() {
        // xxh128sum of nothing, from xxHash's own test vectors.
        assert_eq!(hash(&[vec![]]).to_string(), "99aa06d3014798d86001c324468d497f");
        let rows: Vec<Vec<u8>> = (0..700).map(|length| vec![b'x'; length]).collect();
        let sum = rows.iter().fold(0_u128, |sum, row| sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(row)));
        assert_eq!(hash(&rows), TableHash(sum));
        assert_eq!(TableHasher::default().hash().to_string(), "0".repeat(32));
    }

    #[test]
    fn what_is_no_row_is_forgotten() {
        let mut hasher = TableHasher::default();
        hasher.feed(b"1\n\\");
        hasher.feed(b".");
        assert!(hasher.is_open());
        hasher.forget_open();
        assert_eq!((hasher.rows(), hasher.hash()), (1, hash(&[b"1".to_vec()])));
    }

    #[test]
    fn it_is_written_as_hex_and_nothing_else_is_read() {
        let hash = TableHash(0xab);
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text, "\"000000000000000000000000000000ab\"");
        assert_eq!(serde_json::from_str::<TableHash>(&text).unwrap(), hash);
        for wrong in ["\"\"", "\"ab\"", "\"+0000000000000000000000000000000\"", "171", "\"g0000000000000000000000000000000\""] {
            assert!(serde_json::from_str::<TableHash>(wrong).is_err(), "{wrong}");
        }
    }
}
