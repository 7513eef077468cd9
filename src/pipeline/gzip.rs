//! RFC 1952 in both directions: written as many members, compressed side by side; read by any `gunzip`.
//!
//! One thread reads blocks, a few compress them, the reader of the stream takes them in order. Blocks in flight are counted, so memory
//! stays below [`IN_FLIGHT_LIMIT`] blocks of input and output (about 2 MiB each), whatever the size of the stream.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor};

use super::seam::{Sticky, Threaded};
use crate::port::{Context, Filter, Stream};
use crate::report::{Report, Result};

/// Bytes of input in one member: smaller costs size (0.2 % at 1 MiB), greater costs memory.
pub(super) const BLOCK: usize = 1 << 20;

/// Most blocks between the input and whoever reads.
const IN_FLIGHT_LIMIT: usize = 6;

/// Compresses, in parallel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gzip {
    /// 1 to 9, of libdeflate. 3 is the default: within 5 % of the size of `gzip -6` at four times its speed (`benches/README.md`).
    pub level: u32,
    /// Threads that compress, 1 to 4.
    pub threads: usize,
}

impl Default for Gzip {
    fn default() -> Self {
        Gzip { level: 3, threads: thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4) }
    }
}

impl Filter for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn wrap(self: Box<Self>, input: Stream, _: &Context) -> Result<Stream> {
        let count = self.threads.clamp(1, 4);
        let level = i32::try_from(self.level.clamp(1, 9)).unwrap_or(9);
        let level = CompressionLvl::new(level).map_err(|_| Report::failed(format!("libdeflate has no level {level}")))?;
        let (orders, work) = channel::<Order>();
        let work = Arc::new(Mutex::new(work));
        // One block is being filled, one is held by the reader, the others wait in this queue or are being compressed.
        let (queue, members) = sync_channel(IN_FLIGHT_LIMIT - 2);
        // What was compressed is filled again: new memory costs a fault of the processor for each page of it.
        let (done, used) = channel();
        let mut threads = Vec::with_capacity(count + 1);
        for _ in 0..count {
            let (work, done) = (Arc::clone(&work), done.clone());
            threads.push(start("gzip", move || compress_blocks(&work, level, &done))?);
        }
        threads.push(start("gzip-in", move || cut_into_blocks(input, &orders, &queue, &used))?);
        Ok(Threaded::stream(Members { queue: members, current: Cursor::default(), over: false }, threads))
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(body).map_err(|error| Report::failed("starting a thread").because(error))
}

/// A block, and where its member goes.
type Order = (Vec<u8>, Sender<io::Result<Vec<u8>>>);

/// What the reader finds in the queue, in the order of the input.
enum Next {
    Member(Receiver<io::Result<Vec<u8>>>),
    Failed(io::Error),
    /// Said, not implied: a thread that dies must not look like the end.
    End,
}

fn cut_into_blocks(mut input: Stream, orders: &Sender<Order>, queue: &SyncSender<Next>, used: &Receiver<Vec<u8>>) {
    let mut first = true;
    loop {
        let block = match read_block(&mut input, used.try_recv().unwrap_or_default()) {
            Ok(block) => block,
            Err(error) => {
                // Whoever read may be gone; then nobody needs to know.
                queue.send(Next::Failed(error)).ok();
                return;
            }
        };
        let last = block.len() < BLOCK;
        // An empty input gives one empty member; the end right after a full block gives none.
        if first || !block.is_empty() {
            let (reply, answer) = channel();
            // First the place in the queue, which is bounded, then the work.
            if queue.send(Next::Member(answer)).is_err() || orders.send((block, reply)).is_err() {
                return;
            }
        }
        if last {
            queue.send(Next::End).ok();
            return;
        }
        first = false;
    }
}

/// A full block, or the rest of the input, in the memory of an earlier block.
fn read_block(input: &mut Stream, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
    block.resize(BLOCK, 0);
    let mut filled = 0;
    while filled < BLOCK {
        match input.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(block)
}

fn compress_blocks(work: &Mutex<Receiver<Order>>, level: CompressionLvl, done: &Sender<Vec<u8>>) {
    let mut deflate = Compressor::new(level);
    loop {
        let order = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, reply)) = order else { return };
        // A reader that is gone does not want it any more, and after the last block nobody fills another.
        reply.send(member(&mut deflate, &block)).ok();
        done.send(block).ok();
    }
}

/// One block as one member. Equal input gives equal output: libdeflate writes no time and no name.
fn member(deflate: &mut Compressor, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; deflate.gzip_compress_bound(block.len())];
    let length = deflate.gzip_compress(block, &mut member).map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}

/// The members in order.
struct Members {
    queue: Receiver<Next>,
    current: Cursor<Vec<u8>>,
    over: bool,
}

impl Read for Members {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(into)?;
            if count > 0 || into.is_empty() || self.over {
                return Ok(count);
            }
            let lost = || io::Error::other("a thread that compresses went away");
            match self.queue.recv().map_err(|_| lost())? {
                Next::Member(answer) => self.current = Cursor::new(answer.recv().map_err(|_| lost())??),
                Next::Failed(error) => return Err(error),
                Next::End => self.over = true,
            }
        }
    }
}

/// Decompresses all members to the end of the input. A cut member, a wrong checksum or anything after the last member is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gunzip;

impl Filter for Gunzip {
    fn name(&self) -> &'static str {
        "gunzip"
    }

    fn wrap(self: Box<Self>, input: Stream, _: &Context) -> Result<Stream> {
        let input = BufReader::with_capacity(1 << 17, Sticky::new(input));
        Ok(Box::new(Decoded { input: Start::Waiting(Some(input)) }))
    }
}

/// Made at the first read: the decoder reads the header as soon as it is made, and making a stream must not block.
struct Decoded {
    input: Start,
}

enum Start {
    Waiting(Option<BufReader<Sticky>>),
    Running(Box<MultiGzDecoder<BufReader<Sticky>>>),
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Start::Waiting(input) = &mut self.input
            && let Some(input) = input.take()
        {
            self.input = Start::Running(Box::new(MultiGzDecoder::new(input)));
        }
        let Start::Running(decoder) = &mut self.input else { return Err(io::Error::other("no gzip input")) };
        decoder.read(into).map_err(|error| explain(error, decoder.get_ref().get_ref().failed()))
    }
}

/// The decoder's words, unless the input failed, whose own words count.
fn explain(error: io::Error, input_failed: bool) -> io::Error {
    if input_failed || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    let fact = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip data is cut",
        io::ErrorKind::InvalidInput if error.to_string().contains("header") => "what should be gzip data is not, or something follows it",
        _ => "the gzip data is damaged",
    };
    Report::refused(fact).because(error).into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::pipeline::tests::context;

    /// Counts how far it was read, without an end.
    struct Endless(Arc<AtomicU64>);

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(b'z');
            self.0.fetch_add(into.len() as u64, Ordering::Relaxed);
            Ok(into.len())
        }
    }

    #[test]
    fn it_never_runs_far_ahead_and_its_threads_end_with_the_stream() {
        let (_runtime, cx) = context();
        let read = Arc::new(AtomicU64::new(0));
        let mut stream = Box::new(Gzip { level: 1, threads: 4 }).wrap(Box::new(Endless(Arc::clone(&read))), &cx).unwrap();
        let mut taken = 0;
        let mut members = 0;
        while members < 40 {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            taken += count;
            members += buffer[..count].windows(4).filter(|window| *window == [0x1f, 0x8b, 8, 0]).count();
        }
        assert!(taken > 0);
        // 40 members were begun, so 39 blocks were consumed.
        let ahead = read.load(Ordering::Relaxed) - 39 * BLOCK as u64;
        assert!(ahead <= (IN_FLIGHT_LIMIT as u64 + 2) * BLOCK as u64, "{ahead} bytes ahead");
        drop(stream);
        assert_eq!(Arc::strong_count(&read), 1, "the thread that held the input is gone");
    }
}
