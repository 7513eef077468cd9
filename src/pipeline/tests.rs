//! What must hold of everything that compresses, and of what undoes it.

use std::io::{Cursor, Read};

use super::*;
use crate::port::Context;
use crate::report::{Report, Result};

/// Each with how much it takes at a time.
const BOTH: [(Compression, usize); 2] = [(Compression::Gzip, gzip::BLOCK), (Compression::Zstd, zstd::JOB as usize)];

pub(super) fn context() -> (tokio::runtime::Runtime, Context) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cx = Context::new(runtime.handle().clone());
    (runtime, cx)
}

fn through(filter: Box<dyn Filter>, input: impl Read + Send + 'static) -> Result<Vec<u8>> {
    let (_runtime, cx) = context();
    let mut out = Vec::new();
    filter.wrap(Box::new(input), &cx).unwrap().read_to_end(&mut out).map_err(|error| Report::from_io("reading", error))?;
    Ok(out)
}

pub(super) fn pack_at(compression: Compression, level: u32, bytes: &[u8]) -> Vec<u8> {
    through(packer(compression, level), Cursor::new(bytes.to_vec())).unwrap()
}

pub(super) fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    pack_at(compression, 3, bytes)
}

pub(super) fn unpack(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>> {
    through(unpacker(compression), Cursor::new(bytes.to_vec()))
}

/// Neither all the same nor random.
pub(super) fn text(bytes: usize) -> Vec<u8> {
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
    for (compression, block) in BOTH {
        for size in [0, 1, block - 1, block, block + 1, 3 * block + 123] {
            let plain = text(size);
            assert!(unpack(compression, &pack(compression, &plain)).unwrap() == plain, "{size} bytes by {compression:?}");
        }
    }
}

#[test]
fn noise_that_cannot_be_compressed_survives() {
    for (compression, block) in BOTH {
        let mut noise = vec![0; 2 * block + 17];
        getrandom::fill(&mut noise).unwrap();
        assert!(unpack(compression, &pack(compression, &noise)).unwrap() == noise, "{compression:?}");
    }
}

#[test]
fn the_same_bytes_pack_into_the_same_bytes() {
    for (compression, block) in BOTH {
        let plain = text(3 * block);
        assert!(pack(compression, &plain) == pack(compression, &plain), "{compression:?}");
    }
}

#[test]
fn an_empty_input_is_something_valid_and_no_bytes_are_not() {
    for (compression, _) in BOTH {
        let packed = pack(compression, b"");
        assert!(packed.starts_with(compression.magic()), "{compression:?}");
        assert_eq!(unpack(compression, &packed).unwrap(), b"");
        assert!(unpack(compression, b"").is_err(), "nothing at all is no {compression:?}");
    }
}

#[test]
fn every_cut_and_every_addition_is_seen() {
    for (compression, block) in BOTH {
        let packed = pack(compression, &text(3 * block));
        for cut in [1, 3, 4, 5, 8, 9, 5000, packed.len() / 2, packed.len() - 1, packed.len() - 12] {
            let report = unpack(compression, &packed[..packed.len() - cut]).unwrap_err();
            assert!(report.message.contains("cut"), "cut by {cut}: {report}");
        }
        for garbage in [&b"x"[..], b"garbage that is nothing"] {
            assert!(unpack(compression, &[&packed[..], garbage].concat()).is_err(), "{garbage:?} after {compression:?}");
        }
    }
}

#[test]
fn a_flipped_bit_is_seen_wherever_it_is() {
    for (compression, block) in BOTH {
        let plain = text(block + block / 4);
        let packed = pack(compression, &plain);
        for at in [0, 4, 5, 20, packed.len() / 3, packed.len() / 2, packed.len() - 100, packed.len() - 4, packed.len() - 1] {
            for bit in [1, 4, 128] {
                let mut damaged = packed.clone();
                damaged[at] ^= bit;
                // Some bits of the headers mean nothing.
                let seen = unpack(compression, &damaged);
                assert!(seen.is_err() || (at < 10 && seen.unwrap() == plain), "bit {bit} of byte {at} of {compression:?}");
            }
        }
    }
}

struct Fails;

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(Report::failed("pg_dump exited with 1").into())
    }
}

#[test]
fn a_source_that_fails_is_an_error_in_its_own_words_both_ways() {
    for (compression, block) in BOTH {
        let report = through(packer(compression, 3), std::io::repeat(b'a').take(3 * block as u64).chain(Fails)).unwrap_err();
        assert_eq!(report.message, "pg_dump exited with 1");
        let packed = pack(compression, &text(1000));
        for good in [packed.len(), packed.len() - 9] {
            let input = Cursor::new(packed[..good].to_vec()).chain(Fails);
            assert_eq!(through(unpacker(compression), input).unwrap_err().message, "pg_dump exited with 1");
        }
    }
}
