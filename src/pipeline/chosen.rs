//! The rows of some tables only: what has to be left out of a dump for that, and what cannot hold without the rest.
//!
//! The whole schema stays. A foreign key from a table with rows to one that lacks some would refuse them, so it is left out, with whatever is
//! said about it; all others stay. Partitions count for the table they belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::inspect::custom::Entry;
use super::inspect::words::{Name, Words, name};
use super::manifest::TableCount;

/// Foreign keys that were left out, in words. Known when the stream has been read.
#[derive(Clone, Debug, Default)]
pub struct LeftOut(Arc<(AtomicUsize, Mutex<Vec<String>>)>);

impl LeftOut {
    /// How many.
    pub fn count(&self) -> &AtomicUsize {
        &self.0.0
    }

    /// `items_order_id_fkey of shop.items, which refers to shop.orders`.
    pub fn words(&self) -> Vec<String> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, words: String) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }
}

/// Which tables are wanted, and how they hang together as far as the dump has said so.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Those whose rows are wanted.
    wanted: BTreeSet<Name>,
    /// Those that have rows in the dump.
    filled: BTreeSet<Name>,
    /// Partition → the table it is a part of.
    part_of: BTreeMap<Name, Name>,
    /// Foreign keys that were left out: table and constraint.
    gone: BTreeSet<(Name, String)>,
    left_out: LeftOut,
}

/// What of an archive is restored, where that is not all of it.
pub struct Picked {
    /// The numbers of the entries that stay, in their order.
    pub entries: Vec<i64>,
    /// Those of the blocks of data that do not.
    pub unwanted: BTreeSet<i64>,
}

impl Chosen {
    /// `wanted` of the tables in a manifest, as that writes them.
    pub fn new<'a>(wanted: impl IntoIterator<Item = &'a str>, tables: &BTreeMap<String, TableCount>) -> Chosen {
        let filled = tables.iter().filter(|(_, count)| count.rows > 0).filter_map(|(table, _)| name(table)).collect();
        Chosen {
            wanted: wanted.into_iter().filter_map(name).collect(),
            filled,
            part_of: BTreeMap::new(),
            gone: BTreeSet::new(),
            left_out: LeftOut::default(),
        }
    }

    /// What is left out, known when the stream was read to its end.
    pub fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }

    /// What stays of an archive.
    pub fn archive(mut self, entries: &[Entry]) -> Picked {
        for entry in entries.iter().filter(|entry| entry.kind == "TABLE ATTACH") {
            self.learn(&entry.definition);
        }
        let mut gone = BTreeSet::new();
        let mut unwanted = BTreeSet::new();
        for entry in entries {
            let left = entry.table.as_ref().is_some_and(|table| !self.takes(table));
            if left {
                unwanted.insert(entry.id);
            }
            if left || (entry.kind == "FK CONSTRAINT" && self.drops(&entry.definition)) {
                gone.insert(entry.id);
            }
        }
        // What is said about something that is gone has nothing to be said about.
        let stays = |entry: &&Entry| {
            let hangs = entry.kind == "COMMENT" && entry.needs.iter().any(|id| gone.contains(id));
            !gone.contains(&entry.id) && !hangs
        };
        let entries = entries.iter().filter(stays).map(|entry| entry.id).collect();
        Picked { entries, unwanted }
    }

    /// The rows of this table are wanted; it is written as COPY has it.
    pub(super) fn takes(&self, table: &str) -> bool {
        name(table).is_some_and(|name| self.wanted.contains(&name))
    }

    /// `ALTER TABLE … ATTACH PARTITION …` says what belongs together.
    pub(super) fn learn(&mut self, sql: &[u8]) {
        if let Some((whole, part)) = attached(sql) {
            self.part_of.insert(part, whole);
        }
    }

    /// A statement that cannot hold, or that speaks of one that was left out.
    pub(super) fn drops(&mut self, sql: &[u8]) -> bool {
        if let Some((table, constraint)) = commented(sql) {
            return self.gone.contains(&(table, constraint));
        }
        let Some(ForeignKey { table, constraint, refers_to }) = foreign_key(sql) else { return false };
        if !self.has_rows(&table) || self.is_whole(&refers_to) {
            return false;
        }
        let words = format!("{constraint} of {}, which refers to {}", dotted(&table), dotted(&refers_to));
        self.left_out.add(words);
        self.gone.insert((table, constraint));
        true
    }

    /// The table or a partition of it has rows that are wanted.
    fn has_rows(&self, table: &Name) -> bool {
        self.filled.iter().any(|filled| self.wanted.contains(filled) && self.is_part(filled, table))
    }

    /// All its rows are wanted, those of its partitions too.
    fn is_whole(&self, table: &Name) -> bool {
        self.filled.iter().all(|filled| self.wanted.contains(filled) || !self.is_part(filled, table))
    }

    fn is_part(&self, part: &Name, whole: &Name) -> bool {
        let mut at = part;
        // A dump that says that something is a part of itself does not hold us up.
        for _ in 0..=self.part_of.len() {
            if at == whole {
                return true;
            }
            let Some(next) = self.part_of.get(at) else { return false };
            at = next;
        }
        false
    }
}

fn dotted((schema, table): &Name) -> String {
    super::show(&format!("{schema}.{table}"))
}

struct ForeignKey {
    table: Name,
    constraint: String,
    refers_to: Name,
}

/// `ALTER TABLE [ONLY] a.b ADD CONSTRAINT c FOREIGN KEY (…) REFERENCES d.e(…) …`.
fn foreign_key(sql: &[u8]) -> Option<ForeignKey> {
    let mut words = Words(sql);
    let table = words.altered_table()?;
    words.keywords(&["ADD", "CONSTRAINT"])?;
    let constraint = words.identifier()?;
    words.keywords(&["FOREIGN", "KEY"])?;
    words.parentheses()?;
    words.keywords(&["REFERENCES"])?;
    Some(ForeignKey { table, constraint, refers_to: words.name()? })
}

/// `ALTER TABLE [ONLY] whole ATTACH PARTITION part …`: whole and part.
fn attached(sql: &[u8]) -> Option<(Name, Name)> {
    let mut words = Words(sql);
    let whole = words.altered_table()?;
    words.keywords(&["ATTACH", "PARTITION"])?;
    Some((whole, words.name()?))
}

/// `COMMENT ON CONSTRAINT c ON a.b IS …`: table and constraint.
fn commented(sql: &[u8]) -> Option<(Name, String)> {
    let mut words = Words(sql);
    words.keywords(&["COMMENT", "ON", "CONSTRAINT"])?;
    let constraint = words.identifier()?;
    words.keywords(&["ON"])?;
    Some((words.name()?, constraint))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::pipeline::inspect::plain::thin;

    fn chosen(wanted: &[&str], tables: &[(&str, u64)]) -> Chosen {
        let tables =
            tables.iter().map(|(table, rows)| ((*table).to_owned(), TableCount { rows: *rows, bytes: *rows, xxh3: None })).collect();
        Chosen::new(wanted.iter().copied(), &tables)
    }

    fn thinned(chosen: Chosen, text: &str) -> String {
        let mut out = String::new();
        let stream = Box::new(Cursor::new(text.to_owned().into_bytes()));
        thin::thinned(stream, Some(chosen), None).read_to_string(&mut out).unwrap();
        out
    }

    const ORDERS: &str = "COPY shop.orders (id) FROM stdin;\n1\n2\n\\.\n";
    const ITEMS: &str = "COPY shop.items (id, o) FROM stdin;\n7\t1\n\\.\n";
    const KEY: &str =
        "ALTER TABLE ONLY shop.items\n    ADD CONSTRAINT items_fk FOREIGN KEY (o) REFERENCES shop.orders(id) ON DELETE CASCADE;\n";
    const SAID: &str = "COMMENT ON CONSTRAINT items_fk ON shop.items IS 'FOREIGN KEY; it''s';\n";

    #[test]
    fn only_wanted_rows_stay_and_a_foreign_key_that_cannot_hold_goes_with_its_comment() {
        let head = "-- a ; comment\nCREATE TABLE shop.orders (id int);\n";
        let text = format!("{head}{ORDERS}\n{ITEMS}\nCREATE INDEX i ON shop.orders USING btree (id);\n{KEY}{SAID}SELECT 1;\n");
        let tables = [("shop.orders", 2), ("shop.items", 1)];
        let some = chosen(&["shop.items"], &tables);
        let left_out = some.left_out();
        let kept = thinned(some, &text);
        assert_eq!(kept, format!("{head}\n{ITEMS}\nCREATE INDEX i ON shop.orders USING btree (id);\n\n\nSELECT 1;\n"));
        assert_eq!(left_out.words(), ["items_fk of shop.items, which refers to shop.orders"]);
        // The other way round nothing refers to what is not there.
        let kept = thinned(chosen(&["shop.orders"], &tables), &text);
        assert!(kept.contains(ORDERS) && !kept.contains("COPY shop.items") && kept.contains(KEY) && kept.contains(SAID), "{kept}");
        // All of them: not a byte is changed.
        assert_eq!(thinned(chosen(&["shop.orders", "shop.items"], &tables), &text), text);
        // What has no rows in the dump lacks none.
        let kept = thinned(chosen(&["shop.items"], &[("shop.orders", 0), ("shop.items", 1)]), &text);
        assert!(kept.contains(KEY), "{kept}");
    }

    #[test]
    fn whatever_the_chunks_are_the_same_stays() {
        struct Bits(Vec<u8>, usize, usize);
        impl Read for Bits {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let count = self.2.min(into.len()).min(self.0.len() - self.1);
                into[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
                self.1 += count;
                Ok(count)
            }
        }
        let text = format!("CREATE FUNCTION f() AS $$ {KEY} $$;\n{ORDERS}{ITEMS}{KEY}{SAID}--\n-- end\n--\n");
        let tables = [("shop.orders", 2), ("shop.items", 1)];
        let whole = thinned(chosen(&["shop.items"], &tables), &text);
        assert!(whole.starts_with(&format!("CREATE FUNCTION f() AS $$ {KEY} $$;")) && whole.ends_with("--\n-- end\n--\n"), "{whole}");
        for size in [1, 2, 3, 7, 64] {
            let mut out = String::new();
            let bits = Box::new(Bits(text.clone().into_bytes(), 0, size));
            let stream = thin::thinned(bits, Some(chosen(&["shop.items"], &tables)), None);
            { stream }.read_to_string(&mut out).unwrap();
            assert_eq!(out, whole, "in chunks of {size}");
        }
    }

    #[test]
    fn partitions_count_for_the_table_they_are_a_part_of() {
        let attach = "ALTER TABLE ONLY shop.orders ATTACH PARTITION shop.orders_a FOR VALUES IN (1);\n\
                      ALTER TABLE ONLY shop.orders ATTACH PARTITION shop.\"Orders B\" DEFAULT;\n";
        let text = format!("{attach}{KEY}");
        let tables = [("shop.items", 1), ("shop.orders_a", 1), ("shop.\"Orders B\"", 1)];
        let kept = |wanted: &[&str]| thinned(chosen(wanted, &tables), &text).contains("FOREIGN KEY");
        assert!(!kept(&["shop.items", "shop.orders_a"]));
        assert!(kept(&["shop.items", "shop.orders_a", "shop.\"Orders B\""]));
        assert!(kept(&["shop.orders_a"]));
    }

    #[test]
    fn names_are_read_as_postgresql_writes_them() {
        let key = foreign_key(
            br#"ALTER TABLE "My".t ADD CONSTRAINT "odd "" (name)" FOREIGN KEY ("a )", b) REFERENCES "x y"."t""2"(id) NOT VALID;"#,
        )
        .unwrap();
        assert_eq!((key.table, key.constraint.as_str()), (("My".into(), "t".into()), r#"odd " (name)"#));
        assert_eq!(key.refers_to, ("x y".into(), r#"t"2"#.into()));
        for other in ["ALTER TABLE ONLY a.b ADD CONSTRAINT c PRIMARY KEY (id);", "ALTER TABLES a.b", "", "CREATE TABLE a.b ();"] {
            assert!(foreign_key(other.as_bytes()).is_none() && attached(other.as_bytes()).is_none(), "{other}");
        }
        assert_eq!(name("shop.orders"), Some(("shop".into(), "orders".into())));
        assert_eq!(name("orders"), None);
    }
}
