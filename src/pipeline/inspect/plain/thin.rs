//! A plain dump without the rows of some tables, and without what cannot hold then; byte by byte the same otherwise.

use super::super::thinned::{self, Thin};
use super::{Parser, State};
use crate::pipeline::chosen::Chosen;
use crate::port::Stream;
use crate::report::Result;

/// Longest statement that is held back until it is known whether it stays: a COPY of 1600 columns fits. A longer one stays.
const HELD: usize = 512 << 10;

/// What of the stream is wanted.
pub fn thinned(inner: Stream, chosen: Chosen) -> Stream {
    let thin = ByTable { parser: Parser::default(), chosen, held: Vec::new(), way: Way::Between, out: Vec::new() };
    thinned::thinned(inner, thin)
}

/// Where in the text it is.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Between two statements.
    Between,
    /// In one that is held back.
    Held,
    /// In one that is too long to be held back.
    Long,
    /// In rows that are wanted.
    Rows,
    /// In rows that are not.
    Unwanted,
}

impl Parser {
    /// Within a statement; what may still become a comment does not count.
    fn begun(&self) -> bool {
        let undecided = matches!(self.state, State::Dash | State::Slash | State::Comment(_) | State::Block { .. } | State::Meta(_));
        let within = !matches!(self.state, State::Sql) && !undecided && !self.in_rows();
        !self.statement.is_empty() || within
    }

    fn in_rows(&self) -> bool {
        matches!(self.state, State::CopyLine(_) | State::Copy { .. })
    }
}

/// The statements of a text, each to its semicolon; comments between them and psql's own commands are none.
pub fn statements(mut text: &[u8]) -> Result<Vec<String>> {
    let mut parser = Parser { line_start: true, ..Parser::of_globals() };
    let (mut found, mut held) = (Vec::new(), Vec::new());
    // What may begin a comment, or be the first of a statement.
    let mut undecided: &[u8] = &[];
    while !text.is_empty() {
        let (taken, rest) = text.split_at(parser.step(text)?);
        let begun = parser.begun();
        if begun && held.is_empty() {
            held.extend_from_slice(undecided);
        }
        if begun || !held.is_empty() {
            held.extend_from_slice(taken);
        }
        undecided = if matches!(parser.state, State::Dash | State::Slash) { taken } else { &[] };
        if !begun && !held.is_empty() {
            found.push(String::from_utf8_lossy(&std::mem::take(&mut held)).into_owned());
        }
        text = rest;
    }
    Ok(found)
}

struct ByTable {
    parser: Parser,
    chosen: Chosen,
    held: Vec<u8>,
    way: Way,
    out: Vec<u8>,
}

impl Thin for ByTable {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.parser.fed == 0 {
            self.parser.line_start = true;
        }
        self.parser.fed += bytes.len() as u64;
        while !bytes.is_empty() {
            let used = self.parser.step(bytes)?;
            self.took(&bytes[..used]);
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// What is held back at the end of the text belongs to it.
    fn end(&mut self) {
        self.out.append(&mut self.held);
    }

    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }
}

impl ByTable {
    /// The parser went over these bytes.
    fn took(&mut self, bytes: &[u8]) {
        let begun = self.parser.begun();
        match self.way {
            Way::Between if begun => {
                self.way = Way::Held;
                self.held.extend_from_slice(bytes);
            }
            Way::Between | Way::Long | Way::Rows => self.out.extend_from_slice(bytes),
            Way::Held => self.held.extend_from_slice(bytes),
            Way::Unwanted => {}
        }
        match self.way {
            Way::Held if !begun => self.decide(),
            Way::Held if self.held.len() > HELD => {
                self.out.append(&mut self.held);
                self.way = Way::Long;
            }
            Way::Long if !begun => self.way = self.after(),
            Way::Rows | Way::Unwanted if !self.parser.in_rows() => self.way = Way::Between,
            _ => {}
        }
    }

    fn after(&self) -> Way {
        if self.parser.in_rows() { Way::Rows } else { Way::Between }
    }

    /// The statement that was held back is over.
    fn decide(&mut self) {
        self.way = self.after();
        let stays = if let State::CopyLine(table) = &self.parser.state {
            self.chosen.takes(table)
        } else {
            self.chosen.learn(&self.held);
            !self.chosen.drops(&self.held)
        };
        if stays {
            self.out.append(&mut self.held);
        } else {
            self.held.clear();
            if self.way == Way::Rows {
                self.way = Way::Unwanted;
            }
        }
    }
}
