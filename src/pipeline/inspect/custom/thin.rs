//! An archive without the blocks of data of some entries; its table of contents stays as it is. The stream was inspected before it comes here.

use std::collections::BTreeSet;

use super::super::thinned::{self, Thin};
use super::{Nobody, Parser, Stage, bare};
use crate::port::{Rows, Stream};
use crate::report::Result;

/// The archive without the blocks of `unwanted` entries, and without those of tables where their rows go elsewhere. pg_restore reads only as far as the
/// last block it wants, so that all that is left of a good stream is read.
pub fn thinned(inner: Stream, unwanted: BTreeSet<i64>, rows: Option<Box<dyn Rows>>) -> Stream {
    let parser = Parser { parts: true, ..Parser::default() };
    let thin = ByEntry { parser, unwanted, rows, head: Vec::new(), way: Way::Kept, out: Vec::new() };
    thinned::thinned(inner, thin)
}

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Kept,
    Dropped,
    /// Its rows go elsewhere.
    Elsewhere,
}

struct ByEntry {
    parser: Parser,
    unwanted: BTreeSet<i64>,
    rows: Option<Box<dyn Rows>>,
    /// The type and the number of a block, until both are known.
    head: Vec<u8>,
    way: Way,
    out: Vec<u8>,
}

impl Parser {
    fn is_before_a_block(&self) -> bool {
        matches!(self.stage, Stage::Block | Stage::Id(_))
    }

    fn is_in_a_piece(&self) -> bool {
        matches!(self.stage, Stage::Piece(..))
    }
}

impl Thin for ByEntry {
    fn feed(&mut self, bytes: &[u8]) -> Result<usize> {
        self.parser.fed += bytes.len() as u64;
        let mut rest = bytes;
        if self.parser.contents_end.is_none() {
            // What comes after the table of contents is a part of this very chunk.
            let after = self.parser.contents(bytes, &mut Nobody)?.map_or(0, |after| after.len());
            self.out.extend_from_slice(&bytes[..bytes.len() - after]);
            rest = &bytes[bytes.len() - after..];
        }
        while !rest.is_empty() {
            let (before, in_a_piece) = (self.parser.is_before_a_block(), self.parser.is_in_a_piece());
            let used = self.parser.step(rest, &mut Nobody)?;
            let (taken, left) = rest.split_at(used);
            if before {
                self.head.extend_from_slice(taken);
                if !self.parser.is_before_a_block() {
                    self.begin()?;
                }
            } else {
                self.took(taken, in_a_piece)?;
            }
            rest = left;
        }
        Ok(bytes.len())
    }

    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }
}

impl ByEntry {
    /// It is known whose block begins.
    fn begin(&mut self) -> Result<()> {
        let copy = self.parser.announced.get(&self.parser.block).filter(|entry| entry.table.is_some()).map(|entry| &entry.copy);
        self.way = match (&mut self.rows, copy) {
            _ if self.unwanted.contains(&self.parser.block) => Way::Dropped,
            (Some(rows), Some(copy)) => {
                rows.begin(&String::from_utf8_lossy(bare(copy)))?;
                Way::Elsewhere
            }
            _ => {
                self.out.append(&mut self.head);
                Way::Kept
            }
        };
        self.head.clear();
        Ok(())
    }

    /// The parser went over these bytes of a block.
    fn took(&mut self, bytes: &[u8], in_a_piece: bool) -> Result<()> {
        match (self.way, &mut self.rows) {
            (Way::Kept, _) => self.out.extend_from_slice(bytes),
            (Way::Elsewhere, Some(rows)) => {
                if in_a_piece {
                    rows.rows(bytes)?;
                }
                if self.parser.is_before_a_block() {
                    rows.end()?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
