//! Reads ahead, in a thread of its own, so that what is behind never waits for what is in front.
//!
//! A pipe holds 64 KiB, a compressor that is busy takes longer than that lasts: without this the server would stand still meanwhile, and
//! the server is what a dump waits for. Memory is bounded by [`BLOCKS`] of [`BLOCK`] bytes, and two more: one being filled, one being read.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::seam::Threaded;
use crate::port::Stream;
use crate::report::{Report, Result};

const BLOCK: usize = 1 << 20;

const BLOCKS: usize = 4;

/// The same bytes, read before they are asked for. The thread ends when the stream is dropped.
pub fn ahead(input: Stream) -> Result<Stream> {
    let (queue, blocks) = sync_channel(BLOCKS);
    let thread = thread::Builder::new().name("ahead".into()).spawn(move || read(input, &queue));
    let thread = thread.map_err(|error| Report::failed("starting a thread").because(error))?;
    Ok(Threaded::stream(Blocks { queue: blocks, current: Cursor::default(), over: false }, vec![thread]))
}

enum Next {
    Block(Vec<u8>),
    Failed(io::Error),
    /// Said, not implied: a thread that dies must not look like the end.
    End,
}

fn read(mut input: Stream, queue: &SyncSender<Next>) {
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        let next = match input.by_ref().take(BLOCK as u64).read_to_end(&mut block) {
            Ok(0) => Next::End,
            Ok(_) => Next::Block(block),
            Err(error) => Next::Failed(error),
        };
        let over = !matches!(next, Next::Block(_));
        // Whoever read may be gone; then nobody needs to know.
        if queue.send(next).is_err() || over {
            return;
        }
    }
}

struct Blocks {
    queue: Receiver<Next>,
    current: Cursor<Vec<u8>>,
    over: bool,
}

impl Read for Blocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(into)?;
            if count > 0 || into.is_empty() || self.over {
                return Ok(count);
            }
            match self.queue.recv().map_err(|_| io::Error::other("a thread that reads went away"))? {
                Next::Block(block) => self.current = Cursor::new(block),
                Next::Failed(error) => return Err(error),
                Next::End => self.over = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn the_bytes_are_the_same_at_every_awkward_size() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 6 * BLOCK + 5] {
            let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut read = Vec::new();
            ahead(Box::new(Cursor::new(bytes.clone()))).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{size} bytes");
        }
    }

    /// Gives bytes without an end, counting them; then fails or panics.
    struct Source {
        given: Arc<AtomicU64>,
        until: u64,
        panics: bool,
    }

    impl Read for Source {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.given.fetch_add(into.len() as u64, Ordering::Relaxed) >= self.until {
                assert!(!self.panics, "on purpose");
                return Err(Report::failed("pg_dump exited with 1").into());
            }
            Ok(into.len())
        }
    }

    fn source(until: u64, panics: bool) -> (Stream, Arc<AtomicU64>) {
        let given = Arc::default();
        (Box::new(Source { given: Arc::clone(&given), until, panics }), given)
    }

    #[test]
    fn a_source_that_fails_or_panics_is_an_error_and_never_an_end() {
        let error = ahead(source(3 << 20, false).0).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(Report::from_io("x", error).message, "pg_dump exited with 1");
        assert!(ahead(source(3 << 20, true).0).unwrap().read_to_end(&mut Vec::new()).unwrap_err().to_string().contains("went away"));
    }

    #[test]
    fn it_never_runs_far_ahead_and_its_thread_ends_with_the_stream() {
        let (source, given) = source(u64::MAX, false);
        let mut stream = ahead(source).unwrap();
        let mut taken = 0;
        let mut buffer = vec![0; 1 << 16];
        while taken < 20 * BLOCK {
            taken += stream.read(&mut buffer).unwrap();
        }
        let most = taken + (BLOCKS + 3) * BLOCK;
        assert!(given.load(Ordering::Relaxed) <= most as u64);
        drop(stream);
        assert_eq!(Arc::strong_count(&given), 1);
    }
}
