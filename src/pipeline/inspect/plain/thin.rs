//! A plain dump without the rows of some tables, and without what cannot hold then, or with all rows gone elsewhere; byte by byte the same
//! otherwise. Where rows go elsewhere, so do the commands for psql that pg_dump writes (`\restrict`): who restores brings its own.

use super::super::thinned::{self, Thin};
use super::{Parser, State};
use crate::pipeline::chosen::Chosen;
use crate::port::{Rows, Stream};
use crate::report::Result;

/// Longest statement that is held back until it is known whether it stays: a COPY of 1600 columns fits. A longer one stays.
const HELD: usize = 512 << 10;

/// What of the stream is wanted: all of it, or what `chosen` says. `rows` takes the rows.
pub fn thinned(inner: Stream, chosen: Option<Chosen>, rows: Option<Box<dyn Rows>>) -> Stream {
    let thin = ByTable { parser: Parser::default(), chosen, rows, held: Vec::new(), way: Way::Between, out: Vec::new() };
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
    /// Before rows that go elsewhere: their COPY, which was held back, is next.
    Copy,
    /// In them.
    Elsewhere,
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
    chosen: Option<Chosen>,
    rows: Option<Box<dyn Rows>>,
    held: Vec<u8>,
    way: Way,
    out: Vec<u8>,
}

impl Thin for ByTable {
    fn feed(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.parser.fed == 0 {
            self.parser.line_start = true;
        }
        if self.way == Way::Copy {
            self.begin()?;
        }
        let mut rest = bytes;
        // A COPY begins when what stood before it is on its way.
        while !rest.is_empty() && self.way != Way::Copy {
            let in_rows = matches!(self.parser.state, State::Copy { .. });
            let in_command = matches!(self.parser.state, State::Meta(_));
            let (taken, left) = rest.split_at(self.parser.step(rest)?);
            match &mut self.rows {
                Some(rows) if in_rows && self.way == Way::Elsewhere => rows.rows(taken)?,
                _ => {}
            }
            if self.rows.is_none() || !(in_command || matches!(self.parser.state, State::Meta(_))) {
                self.took(taken)?;
            }
            rest = left;
        }
        let used = bytes.len() - rest.len();
        self.parser.fed += used as u64;
        Ok(used)
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
    fn took(&mut self, bytes: &[u8]) -> Result<()> {
        let begun = self.parser.begun();
        match self.way {
            Way::Between if begun => {
                self.way = Way::Held;
                self.held.extend_from_slice(bytes);
            }
            Way::Between | Way::Long | Way::Rows => self.out.extend_from_slice(bytes),
            Way::Held => self.held.extend_from_slice(bytes),
            Way::Unwanted | Way::Copy | Way::Elsewhere => {}
        }
        match self.way {
            Way::Held if !begun => self.decide(),
            Way::Held if self.held.len() > HELD => {
                self.out.append(&mut self.held);
                self.way = Way::Long;
            }
            Way::Long if !begun => self.way = self.after(),
            Way::Rows | Way::Unwanted if !self.parser.in_rows() => self.way = Way::Between,
            Way::Elsewhere if !self.parser.in_rows() => {
                self.way = Way::Between;
                return self.rows.as_mut().map_or(Ok(()), |rows| rows.end());
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self) -> Way {
        if self.parser.in_rows() { Way::Rows } else { Way::Between }
    }

    /// The statement that was held back is over.
    fn decide(&mut self) {
        self.way = self.after();
        let stays = match (&self.parser.state, &mut self.chosen) {
            (_, None) => true,
            (State::CopyLine(table), Some(chosen)) => chosen.takes(table),
            (_, Some(chosen)) => {
                chosen.learn(&self.held);
                !chosen.drops(&self.held)
            }
        };
        match (&mut self.rows, self.way, stays) {
            (Some(rows), Way::Rows, true) => {
                self.out.extend_from_slice(rows.mark().as_bytes());
                self.way = Way::Copy;
            }
            (_, _, true) => self.out.append(&mut self.held),
            (_, way, false) => {
                self.held.clear();
                self.way = if way == Way::Rows { Way::Unwanted } else { way };
            }
        }
    }

    /// Rows go elsewhere: what came before them has been taken.
    fn begin(&mut self) -> Result<()> {
        self.way = Way::Elsewhere;
        let held = std::mem::take(&mut self.held);
        let copy = held.trim_ascii().strip_suffix(b";").unwrap_or(&held);
        self.rows.as_mut().map_or(Ok(()), |rows| rows.begin(&String::from_utf8_lossy(copy)))
    }
}
