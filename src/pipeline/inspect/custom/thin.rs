//! An archive without the blocks of data of some entries; its table of contents stays as it is.

use std::collections::BTreeSet;

use super::super::thinned::{self, Thin};
use super::{Nobody, Parser, Stage};
use crate::port::Stream;
use crate::report::Result;

/// The archive without the blocks of `unwanted` entries. pg_restore reads only as far as the last block it wants, so that all that is left of
/// a good stream is read.
pub fn thinned(inner: Stream, unwanted: BTreeSet<i64>) -> Stream {
    let thin = ByEntry { parser: Parser::default(), unwanted, head: Vec::new(), dropping: false, out: Vec::new() };
    thinned::thinned(inner, thin)
}

struct ByEntry {
    parser: Parser,
    unwanted: BTreeSet<i64>,
    /// The type and the number of a block, until both are known.
    head: Vec<u8>,
    dropping: bool,
    out: Vec<u8>,
}

impl Thin for ByEntry {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.parser.fed += bytes.len() as u64;
        let mut rest = bytes;
        if self.parser.contents_end.is_none() {
            // What comes after the table of contents is a part of this very chunk.
            let after = self.parser.contents(bytes, &mut Nobody)?.map_or(0, |after| after.len());
            self.out.extend_from_slice(&bytes[..bytes.len() - after]);
            rest = &bytes[bytes.len() - after..];
        }
        while !rest.is_empty() {
            let before = self.is_before_a_block();
            let used = self.parser.step(rest, &mut Nobody)?;
            let (taken, left) = rest.split_at(used);
            if before {
                self.head.extend_from_slice(taken);
                if !self.is_before_a_block() {
                    self.dropping = self.unwanted.contains(&self.parser.block);
                    if !self.dropping {
                        self.out.extend_from_slice(&self.head);
                    }
                    self.head.clear();
                }
            } else if !self.dropping {
                self.out.extend_from_slice(taken);
            }
            rest = left;
        }
        Ok(())
    }

    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }
}

impl ByEntry {
    fn is_before_a_block(&self) -> bool {
        matches!(self.parser.stage, Stage::Block | Stage::Id(_))
    }
}
