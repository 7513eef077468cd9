//! A stream with parts of it left out, by a parser that says which as the bytes go by.

use std::io::{self, Read};

use crate::port::Stream;
use crate::report::Result;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Decides what stays.
pub(super) trait Thin {
    /// The next bytes: how many it took. Where those are not all, what stays of them is to be taken before it goes on.
    fn feed(&mut self, bytes: &[u8]) -> Result<usize>;

    /// There are no more.
    fn end(&mut self) {}

    /// What stays of those it was fed, until it is taken.
    fn out(&mut self) -> &mut Vec<u8>;
}

/// What stays of a stream.
pub(super) fn thinned(inner: Stream, thin: impl Thin + Send + 'static) -> Stream {
    Box::new(Thinned { inner, thin, chunk: vec![0; CHUNK], fed: 0, read: 0, at: 0, ended: false })
}

struct Thinned<T> {
    inner: Stream,
    thin: T,
    chunk: Vec<u8>,
    /// How much of the chunk was fed.
    fed: usize,
    /// How much was read into it.
    read: usize,
    /// How much of what is to be given was given.
    at: usize,
    ended: bool,
}

impl<T: Thin> Read for Thinned<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.thin.out().len() && !self.ended {
            self.at = 0;
            self.thin.out().clear();
            if self.fed == self.read {
                (self.fed, self.read) = (0, self.inner.read(&mut self.chunk)?);
            }
            if self.read == 0 {
                self.ended = true;
                self.thin.end();
            } else {
                self.fed += self.thin.feed(&self.chunk[self.fed..self.read])?;
            }
        }
        let ready = &self.thin.out()[self.at..];
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
