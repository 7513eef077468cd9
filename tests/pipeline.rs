//! The byte mover on real gpg, real gunzip, real pg_dump: what is written opens with stock tools, and nothing broken is ever published.

mod backup;
pub mod catalogue;
pub mod keys;
mod openpgp;
mod retention;
mod server;
mod shelf;

use std::io::{self, Read};
use std::sync::OnceLock;

use lifeboat::port::{Context, Stream};

/// A context of its own on the runtime all tests share.
pub fn context() -> Context {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"));
    Context::new(runtime.handle().clone())
}

/// Bytes as a stream.
pub fn stream(bytes: &[u8]) -> Stream {
    Box::new(io::Cursor::new(bytes.to_vec()))
}

/// Everything a stream gives, or its error.
pub fn drain(mut stream: Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes that do not compress.
pub fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}
