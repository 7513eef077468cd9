//! Reads a dump as it goes by: which tables it holds and how many rows of each, what else it announces, and whether it is whole.
//!
//! The parsers are fed chunk by chunk and keep only what they count, so memory does not depend on the size of the dump. They believe
//! nothing: whatever is cut, garbled or goes on after its end is an error, because a dump that merely stops restores "successfully".

pub mod custom;
pub mod outline;
pub mod plain;
mod rows;
mod statement;
mod thinned;
pub(super) mod words;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use self::statement::Copied;
use super::manifest::{Format, SchemaCount, TableCount};
use super::show;
use crate::port::Stream;
use crate::report::Result;

/// What a dump holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// `schema.table`, quoted as PostgreSQL prints it, to what the stream held of it.
    pub tables: BTreeMap<String, TableCount>,
    /// What else it announced.
    pub schema: SchemaCount,
    /// Constraints it announces as not validated: as the database had them.
    pub unvalidated: u64,
    /// The columns of each table in the order its rows have them, as COPY names them, with commas between; in another database they may stand in
    /// another order (a column that came to a table after others had inherited it). Not of every table where there are too many.
    pub columns: BTreeMap<String, String>,
    /// Bytes of them.
    named: usize,
}

/// Most bytes of column names that are kept.
const NAMES: usize = 32 << 20;

impl Contents {
    fn keep_columns(&mut self, copied: &Copied) {
        let Some(columns) = &copied.columns else { return };
        self.named += copied.table.len() + columns.len();
        if self.named <= NAMES {
            self.columns.insert(copied.table.clone(), columns.clone());
        }
    }
}

/// Who looks on while a dump is parsed.
pub trait Witness {
    /// Whether it reads at all; statements are not collected for one that does not.
    const READS: bool = true;

    /// One statement, without its semicolon; its first MiB, where it is longer. A COPY is one too, and its rows follow.
    fn statement(&mut self, text: &[u8]);

    /// Bytes of a table's rows as they stand in the dump: COPY's text, its end marker among them.
    fn rows(&mut self, bytes: &[u8]);

    /// The rows of the table are over.
    fn end_of_rows(&mut self);
}

/// Nobody looks on.
pub struct Nobody;

impl Witness for Nobody {
    const READS: bool = false;

    fn statement(&mut self, _: &[u8]) {}

    fn rows(&mut self, _: &[u8]) {}

    fn end_of_rows(&mut self) {}
}

/// A parser for either format.
#[derive(Debug)]
pub enum Inspector {
    /// SQL text.
    Plain(Box<plain::Parser>),
    /// An archive of `pg_dump -Fc -Z0`.
    Custom(Box<custom::Parser>),
}

impl Inspector {
    /// For a dump of this format.
    pub fn new(format: Format) -> Inspector {
        match format {
            Format::Plain => Inspector::Plain(Box::default()),
            Format::Globals => Inspector::Plain(Box::new(plain::Parser::of_globals())),
            Format::Custom => Inspector::Custom(Box::default()),
        }
    }

    /// The next bytes. A dump that cannot be one is `Kind::Refused`.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Inspector::Plain(parser) => parser.feed(bytes),
            Inspector::Custom(parser) => parser.feed(bytes),
        }
    }

    /// The same, shown to a witness.
    pub fn feed_to<W: Witness>(&mut self, bytes: &[u8], witness: &mut W) -> Result<()> {
        match self {
            Inspector::Plain(parser) => parser.feed_to(bytes, witness),
            Inspector::Custom(parser) => parser.feed_to(bytes, witness),
        }
    }

    /// There are no more bytes: what the dump held, or `Kind::Refused` where it is not whole.
    pub fn finish(self) -> Result<Contents> {
        match self {
            Inspector::Plain(parser) => parser.finish(),
            Inspector::Custom(parser) => parser.finish(),
        }
    }
}

/// What an inspected stream held; nothing until its end was seen and found good.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<OnceLock<Contents>>);

impl Seen {
    /// The contents, after the end.
    pub fn contents(&self) -> Option<&Contents> {
        self.0.get()
    }
}

/// Inspects a stream as it is read. It ends only if the dump is whole.
pub fn inspected(inner: Stream, format: Format) -> (Stream, Seen) {
    let seen = Seen::default();
    (Box::new(Inspected { inner, parser: Some(Inspector::new(format)), seen: seen.clone() }), seen)
}

struct Inspected {
    inner: Stream,
    parser: Option<Inspector>,
    seen: Seen,
}

impl Read for Inspected {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        if count > 0 {
            if let Some(parser) = &mut self.parser {
                parser.feed(&into[..count])?;
            }
        } else if !into.is_empty() {
            if let Some(parser) = self.parser.take() {
                // Only here, and once.
                self.seen.0.set(parser.finish()?).ok();
            }
            if self.seen.contents().is_none() {
                return Err(io::Error::other("the dump was not whole"));
            }
        }
        Ok(count)
    }
}
