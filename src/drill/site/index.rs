//! The search index: which orders have which word. It knows nothing of the database; a catch-up job fills it anew.

use std::collections::{HashMap, HashSet};

/// An inverted index of orders.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The numbers of all orders in it, ascending.
    documents: Vec<i64>,
    words: HashMap<String, Vec<i64>>,
}

impl Index {
    /// How many documents it holds.
    pub(super) fn len(&self) -> u64 {
        self.documents.len() as u64
    }

    /// Adds documents with the same text. Adding one twice changes nothing. Follow with [`Index::settle`].
    pub(super) fn add(&mut self, ids: &[i64], text: &str) {
        self.documents.extend_from_slice(ids);
        for word in words(text).collect::<HashSet<_>>() {
            self.words.entry(word).or_default().extend_from_slice(ids);
        }
    }

    /// Puts in order what was added.
    pub(super) fn settle(&mut self) {
        self.documents.sort_unstable();
        self.documents.dedup();
    }

    /// How many of the documents of `before` are not here any more.
    pub(super) fn vanished(&self, before: &Index) -> u64 {
        before.documents.iter().filter(|id| !self.holds(**id)).count() as u64
    }

    fn holds(&self, id: i64) -> bool {
        self.documents.binary_search(&id).is_ok()
    }

    /// The documents that have every word of the query, or whose number it is; the newest first, at most `limit`.
    pub(super) fn find(&self, query: &str, limit: usize) -> Vec<i64> {
        let mut found: Option<HashSet<i64>> = None;
        for word in words(query) {
            let mut these: HashSet<i64> = self.words.get(&word).into_iter().flatten().copied().collect();
            these.extend(word.parse().ok().filter(|id| self.holds(*id)));
            found = Some(match found {
                Some(found) => found.intersection(&these).copied().collect(),
                None => these,
            });
        }
        let mut found: Vec<i64> = found.unwrap_or_default().into_iter().collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(limit);
        found
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || "@.-_".contains(c))).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        index.add(&[3, 1], "Chloë O'Brien customer.7@example.org");
        index.add(&[2], "Björn Müller");
        index.settle();
        index
    }

    #[test]
    fn every_word_must_match_and_a_number_finds_its_order() {
        let index = index();
        assert_eq!(index.find("chloë", 9), [3, 1]);
        assert_eq!(index.find("CHLOË brien", 9), [3, 1]);
        assert_eq!(index.find("chloë müller", 9), [0; 0]);
        assert_eq!(index.find("2", 9), [2]);
        assert_eq!(index.find("1 chloë", 9), [1]);
        assert_eq!(index.find("4", 9), [0; 0]);
        assert_eq!(index.find(" ", 9), [0; 0]);
        assert_eq!(index.find("chloë", 1), [3]);
    }

    // D15
    #[test]
    fn what_vanished_is_counted_and_adding_twice_is_adding_once() {
        let mut after = Index::default();
        after.add(&[2, 9], "Björn Müller");
        after.add(&[2], "Björn Müller");
        after.settle();
        assert_eq!(after.len(), 2);
        assert_eq!(after.vanished(&index()), 2);
    }
}
