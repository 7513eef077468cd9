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
const JOB: u32 = 2 << 20;

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
    use std::io::Cursor;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn context() -> (tokio::runtime::Runtime, Context) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        (runtime, cx)
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let (_runtime, cx) = context();
        let mut packed = Vec::new();
        let input = Box::new(Cursor::new(bytes.to_vec()));
        Box::new(Zstd { level: 3, threads: 2 }).wrap(input, &cx).unwrap().read_to_end(&mut packed).unwrap();
        packed
    }

    fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
        let (_runtime, cx) = context();
        let mut plain = Vec::new();
        let input = Box::new(Cursor::new(bytes.to_vec()));
        let read = Box::new(Unzstd).wrap(input, &cx).unwrap().read_to_end(&mut plain);
        read.map(|_| plain).map_err(|error| Report::from_io("unzstd", error))
    }

    fn refusal(bytes: &[u8]) -> String {
        let report = unpack(bytes).unwrap_err();
        assert_eq!(report.kind, crate::report::Kind::Refused, "{report}");
        report.message
    }

    /// Neither all the same nor random.
    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 42_u32;
        let mut text = Vec::with_capacity(bytes + 64);
        while text.len() < bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend_from_slice(format!("user{state:08x}@example.org\t{}\n", state % 97).as_bytes());
        }
        text.truncate(bytes);
        text
    }

    #[test]
    fn what_went_in_comes_out_at_every_awkward_size() {
        let job = JOB as usize;
        for size in [0, 1, CHUNK, job - 1, job, job + 1, 3 * job + 123] {
            let plain = text(size);
            assert!(unpack(&pack(&plain)).unwrap() == plain, "{size} bytes");
        }
    }

    #[test]
    fn the_same_bytes_pack_into_the_same_bytes() {
        let plain = text(10 << 20);
        assert!(pack(&plain) == pack(&plain));
    }

    #[test]
    fn an_empty_input_is_one_valid_frame_and_no_bytes_are_none() {
        assert!(!pack(b"").is_empty());
        assert_eq!(unpack(&pack(b"")).unwrap(), b"");
        assert_eq!(refusal(b""), "the zstd data is cut", "nothing at all is not a frame");
    }

    #[test]
    fn every_cut_and_every_addition_is_seen() {
        let packed = pack(&text(9 << 20));
        for cut in [1, 3, 4, 5, 5000, packed.len() / 2, packed.len() - 1, packed.len() - 12] {
            assert_eq!(refusal(&packed[..packed.len() - cut]), "the zstd data is cut", "by {cut}");
        }
        for garbage in [&b"x"[..], &[0; 7], b"garbage that is no frame", &pack(b"another frame")] {
            assert_eq!(refusal(&[&packed[..], garbage].concat()), "something follows the zstd data");
        }
        assert_eq!(refusal(b"plain text, and enough of it"), "what should be zstd data is not");
    }

    #[test]
    fn a_flipped_bit_is_seen_wherever_it_is() {
        let packed = pack(&text(5 << 20));
        // The header's first two bytes after the magic number say how the rest is read; the last four are the checksum.
        for at in [0, 4, 5, 20, packed.len() / 3, packed.len() / 2, packed.len() - 100, packed.len() - 4, packed.len() - 1] {
            for bit in [1, 4, 128] {
                let mut damaged = packed.clone();
                damaged[at] ^= bit;
                let seen = unpack(&damaged);
                assert!(seen.is_err() || seen.unwrap() == text(5 << 20), "bit {bit} of byte {at}");
            }
        }
        let mut damaged = packed.clone();
        let checksum = packed.len() - 2;
        damaged[checksum] ^= 1;
        assert_eq!(refusal(&damaged), "the zstd data is damaged", "the frame has a checksum");
    }

    #[test]
    fn a_header_that_asks_for_gigabytes_is_refused_before_they_are_taken() {
        // Magic number, no content size, a window of 2 GiB; then a block.
        let bomb = [&[0x28, 0xb5, 0x2f, 0xfd, 0b0000_0100, 21 << 3][..], &[0; 64]].concat();
        assert_eq!(refusal(&bomb), "the zstd data asks for more memory than a dump needs");
    }

    #[test]
    fn what_the_highest_level_writes_can_be_read() {
        let (_runtime, cx) = context();
        let plain = text(1 << 20);
        let mut packed = Vec::new();
        // The window does not shrink to the input, whose size nobody knows before its end.
        Box::new(Zstd { level: 19, threads: 2 }).wrap(Box::new(Cursor::new(plain.clone())), &cx).unwrap().read_to_end(&mut packed).unwrap();
        assert!(unpack(&packed).unwrap() == plain);
    }

    struct FailsAfter(u64);

    impl Read for FailsAfter {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(Report::failed("pg_dump exited with 1").into());
            }
            let count = into.len().min(usize::try_from(self.0).unwrap());
            into[..count].fill(b'a');
            self.0 -= count as u64;
            Ok(count)
        }
    }

    #[test]
    fn a_source_that_fails_is_an_error_in_its_own_words_both_ways() {
        let (_runtime, cx) = context();
        let mut stream = Box::new(Zstd::default()).wrap(Box::new(FailsAfter(9 << 20)), &cx).unwrap();
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(Report::from_io("zstd", error).message, "pg_dump exited with 1");
        let packed = pack(&text(1000));
        for good in [packed.len(), packed.len() - 9] {
            let good = Cursor::new(packed[..good].to_vec());
            let mut stream = Box::new(Unzstd).wrap(Box::new(good.chain(FailsAfter(0))), &cx).unwrap();
            let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(Report::from_io("unzstd", error).message, "pg_dump exited with 1");
        }
    }

    /// Counts how far it was read, without an end.
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
