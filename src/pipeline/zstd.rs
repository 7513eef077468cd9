//! RFC 8878 in both directions: written as one frame with a checksum, compressed side by side; read by any `zstd -d`.
//!
//! Writing, zstd's own threads work on jobs of [`JOB`] bytes; reading, one thread is enough, and a frame may ask for no more memory than
//! the frames that are written here need. Either way memory does not depend on the size of the stream, nor on what its header says.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use zstd::stream::raw::{CParameter, DParameter};
use zstd::stream::read::{Decoder, Encoder};

use super::ahead::ahead;
use super::manifest::Compression;
use super::seam::Sticky;
use crate::port::{Context, Filter, Stream};
use crate::report::{Report, Result};

/// What is read from the input at once.
const CHUNK: usize = 1 << 18;

/// Bytes of input a thread compresses at once: less costs size, and more only memory.
pub(super) const JOB: u32 = 2 << 20;

/// Log2 of the window: how far back a match may lie, and so what reading takes. 8 MiB is what the levels up to 19 use at most.
const WINDOW_LOG: u32 = 23;

/// Compresses, in parallel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zstd {
    /// 1 (fast) to 19 (small).
    pub level: u32,
    /// Threads that compress, 1 to 4.
    pub threads: usize,
}

impl Default for Zstd {
    fn default() -> Self {
        Zstd { level: Compression::Zstd.default_level(), threads: thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4) }
    }
}

impl Filter for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn wrap(self: Box<Self>, input: Stream, _: &Context) -> Result<Stream> {
        let encoder = self.encoder(ahead(input)?).map_err(|error| Report::failed("starting zstd").because(error))?;
        Ok(Box::new(encoder))
    }
}

impl Zstd {
    /// Its threads end when it is dropped.
    fn encoder(self, input: Stream) -> io::Result<Encoder<'static, BufReader<Stream>>> {
        let level = i32::try_from(self.level.clamp(1, 19)).map_err(io::Error::other)?;
        let threads = u32::try_from(self.threads.clamp(1, 4)).map_err(io::Error::other)?;
        let mut encoder = Encoder::with_buffer(BufReader::with_capacity(CHUNK, input), level)?;
        encoder.include_checksum(true)?;
        encoder.multithread(threads)?;
        encoder.set_parameter(CParameter::JobSize(JOB))?;
        Ok(encoder)
    }
}

/// Decompresses one frame. A cut frame, a wrong checksum, one that wants more memory than ours do, or anything after it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unzstd;

impl Filter for Unzstd {
    fn name(&self) -> &'static str {
        "unzstd"
    }

    fn wrap(self: Box<Self>, input: Stream, _: &Context) -> Result<Stream> {
        let input = BufReader::with_capacity(CHUNK, Sticky::new(input));
        let decoder = || -> io::Result<_> {
            let mut decoder = Decoder::with_buffer(input)?.single_frame();
            decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
            Ok(decoder)
        };
        let decoder = decoder().map_err(|error| Report::failed("starting zstd").because(error))?;
        Ok(Box::new(Decoded { decoder }))
    }
}

struct Decoded {
    decoder: Decoder<'static, BufReader<Sticky>>,
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(into).map_err(|error| explain(error, self.decoder.get_ref().get_ref().failed()))?;
        // The decoder stops at the end of its frame, and so must the input.
        if count == 0 && !into.is_empty() && !self.decoder.get_mut().fill_buf()?.is_empty() {
            return Err(Report::refused("something follows the zstd data").into());
        }
        Ok(count)
    }
}

/// The decoder's words, unless the input failed, whose own words count.
fn explain(error: io::Error, input_failed: bool) -> io::Error {
    if input_failed || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    let fact = match error.to_string() {
        _ if error.kind() == io::ErrorKind::UnexpectedEof => "the zstd data is cut",
        words if words.contains("Unknown frame descriptor") => "what should be zstd data is not",
        words if words.contains("too much memory") => "the zstd data asks for more memory than a dump needs",
        _ => "the zstd data is damaged",
    };
    Report::refused(fact).because(error).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::pipeline::tests::{context, pack, pack_at, text, unpack};

    fn refusal(bytes: &[u8]) -> String {
        let report = unpack(Compression::Zstd, bytes).unwrap_err();
        assert_eq!(report.kind, crate::report::Kind::Refused, "{report}");
        report.message
    }

    #[test]
    fn what_is_wrong_with_a_frame_is_told() {
        let packed = pack(Compression::Zstd, &text(5 << 20));
        assert_eq!(refusal(b""), "the zstd data is cut");
        assert_eq!(refusal(&packed[..packed.len() - 1]), "the zstd data is cut");
        for more in [&b"x"[..], &[0; 7], &pack(Compression::Zstd, b"another frame")] {
            assert_eq!(refusal(&[&packed[..], more].concat()), "something follows the zstd data");
        }
        assert_eq!(refusal(b"plain text, and enough of it"), "what should be zstd data is not");
        let mut damaged = packed.clone();
        // The last four bytes are the checksum.
        damaged[packed.len() - 2] ^= 1;
        assert_eq!(refusal(&damaged), "the zstd data is damaged");
    }

    #[test]
    fn a_header_that_asks_for_gigabytes_is_refused_before_they_are_taken() {
        // Magic number, no content size, a window of 2 GiB; then a block.
        let bomb = [&[0x28, 0xb5, 0x2f, 0xfd, 0b0000_0100, 21 << 3][..], &[0; 64]].concat();
        assert_eq!(refusal(&bomb), "the zstd data asks for more memory than a dump needs");
    }

    #[test]
    fn what_the_highest_level_writes_can_be_read() {
        // The window does not shrink to the input, whose size nobody knows before its end.
        let plain = text(1 << 20);
        assert!(unpack(Compression::Zstd, &pack_at(Compression::Zstd, 19, &plain)).unwrap() == plain);
    }

    /// Noise without an end; counts how far it was read.
    struct Endless(Arc<AtomicU64>);

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            getrandom::fill(into).unwrap();
            self.0.fetch_add(into.len() as u64, Ordering::Relaxed);
            Ok(into.len())
        }
    }

    #[test]
    fn it_never_runs_far_ahead_and_lets_its_input_go_with_the_stream() {
        let (_runtime, cx) = context();
        let read = Arc::new(AtomicU64::new(0));
        let mut stream = Box::new(Zstd { level: 1, threads: 4 }).wrap(Box::new(Endless(Arc::clone(&read))), &cx).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut taken = 0;
        while taken < 40 << 20 {
            taken += stream.read(&mut buffer).unwrap() as u64;
        }
        // Noise stays as long as it was.
        let ahead = read.load(Ordering::Relaxed).saturating_sub(taken);
        assert!(ahead <= 8 * u64::from(JOB) + (6 << 20), "{ahead} bytes ahead");
        drop(stream);
        assert_eq!(Arc::strong_count(&read), 1);
    }
}
