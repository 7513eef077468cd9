//! Both formats alike: rows that go elsewhere, and what stays.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::pipeline::inspect::{Inspector, Witness, custom, plain};
use crate::pipeline::manifest::Format;
use crate::port::{Rows, Stream};
use crate::report::Result;

/// What was told of rows that went elsewhere, in its order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(String, String)>>>, Arc<Mutex<usize>>);

impl Rows for Told {
    fn mark(&mut self) -> String {
        *self.1.lock().unwrap() += 1;
        format!("SELECT 'mark {}';\n", self.1.lock().unwrap())
    }

    fn begin(&mut self, copy: &str) -> Result<()> {
        self.0.lock().unwrap().push((copy.to_owned(), String::new()));
        Ok(())
    }

    fn rows(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.lock().unwrap().last_mut().unwrap().1.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        over(&mut self.0.lock().unwrap().last_mut().unwrap().1);
        Ok(())
    }
}

/// Gives so many bytes at a time.
struct Bits<'a>(&'a [u8], usize);

impl Read for Bits<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(into.len()).min(self.0.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// What the parser itself shows of a dump's rows.
#[derive(Default)]
struct Shown(String, Vec<(String, String)>);

impl Witness for Shown {
    fn statement(&mut self, text: &[u8]) {
        self.0 = String::from_utf8(text.to_vec()).unwrap();
    }

    fn rows(&mut self, bytes: &[u8]) {
        if !self.0.is_empty() {
            self.1.push((std::mem::take(&mut self.0), String::new()));
        }
        self.1.last_mut().unwrap().1.push_str(std::str::from_utf8(bytes).unwrap());
    }

    fn end_of_rows(&mut self) {
        over(&mut self.1.last_mut().unwrap().1);
    }
}

/// In an archive empty lines follow the end marker.
fn over(rows: &mut String) {
    rows.truncate(rows.trim_end_matches('\n').len());
    rows.push_str("\n(end)");
}

fn seed(folder: &str, name: &str) -> &'static [u8] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(folder).join(name);
    Vec::leak(std::fs::read(path).unwrap())
}

fn shown(format: Format, bytes: &[u8]) -> Vec<(String, String)> {
    let (mut inspector, mut shown) = (Inspector::new(format), Shown::default());
    inspector.feed_to(bytes, &mut shown).unwrap();
    shown.1
}

/// What stays of a stream, and what was told of the rest; the same whatever its chunks are.
fn parted(bytes: &'static [u8], thinned: impl Fn(Stream, Box<dyn Rows>) -> Stream) -> (Vec<u8>, Vec<(String, String)>) {
    let mut parts = [1, 2, 3, 5, 64, 4096, 1 << 20].map(|size| {
        let (told, mut stays) = (Told::default(), Vec::new());
        thinned(Box::new(Bits(bytes, size)), Box::new(told.clone())).read_to_end(&mut stays).unwrap();
        let told = told.0.lock().unwrap().clone();
        (stays, told)
    });
    assert!(parts.windows(2).all(|pair| pair[0] == pair[1]), "chunks matter");
    std::mem::take(&mut parts[0])
}

#[test]
fn the_rows_of_a_plain_dump_go_elsewhere_and_a_mark_stands_where_they_were() {
    for name in ["14.sql", "18.sql"] {
        let bytes = seed("plain", name);
        let (stays, told) = parted(bytes, |stream, rows| plain::thin::thinned(stream, None, Some(rows)));
        assert_eq!(told, shown(Format::Plain, bytes));
        assert!(told.len() > 2 && told.iter().any(|(_, rows)| rows.len() > 20), "{told:?}");
        // The text with its rows put back is the text.
        let mut text = String::from_utf8(stays).unwrap();
        for (number, (copy, rows)) in told.iter().enumerate() {
            let rows = rows.strip_suffix("(end)").unwrap();
            text = text.replacen(&format!("SELECT 'mark {}';\n", number + 1), &format!("{copy};\n{rows}"), 1);
        }
        let whole = std::str::from_utf8(bytes).unwrap().lines().map(|line| if line.starts_with('\\') && line != "\\." { "" } else { line });
        assert!(text.lines().eq(whole), "{text}");
    }
}

#[test]
fn the_rows_of_an_archive_go_elsewhere_and_its_other_blocks_stay() {
    for name in ["14.dump", "18.dump"] {
        let bytes = seed("custom", name);
        let (stays, told) = parted(bytes, |stream, rows| custom::thin::thinned(stream, BTreeSet::new(), Some(rows)));
        assert_eq!(told, shown(Format::Custom, bytes));
        assert!(told.len() > 2 && told.iter().any(|(_, rows)| rows.len() > 20), "{told:?}");
        let mut parser = custom::Parser::keeping_entries();
        parser.feed(bytes).unwrap();
        let contents = usize::try_from(parser.contents_end().unwrap()).unwrap();
        assert!(stays.starts_with(&bytes[..contents]) && bytes.ends_with(&stays[contents..]), "large objects come last");
        assert!(stays.len() > contents, "there are large objects in it");
        // Unwanted rows go nowhere.
        let tables: BTreeSet<i64> = parser.entries().iter().filter(|entry| entry.table.is_some()).map(|entry| entry.id).collect();
        let (same, none) = parted(bytes, |stream, rows| custom::thin::thinned(stream, tables.clone(), Some(rows)));
        assert!(same == stays && none.is_empty());
    }
}
