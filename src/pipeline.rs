//! THE BYTE MOVER: one engine for scheduled backups, incidents and drills.
//!
//! A backup is a chain of blocking reads, pulled by the store; a restore is the same chain backwards:
//!
//! ```text
//! pg_dump → hash, inspect → gzip or zstd → openpgp → hash → gate → store.put        then the manifest
//! store.get → hash → openpgp → gunzip or unzstd → hash, inspect → gate → whoever restores
//! ```
//!
//! What needs threads (gzip, zstd, gpg) keeps them inside itself, behind bounded queues, and joins them when its stream is dropped. An end of file
//! is a promise: every stage returns an error where it cannot keep it, and the gate returns `Ok(0)` only when all of them did.
//!
//! | file | what |
//! |---|---|
//! | [`backup`] [`restore`] | the two chains |
//! | [`verify`] | proof levels L0 to L4, and the records of all |
//! | [`peek`] [`compare`] | what is in a dump, and what changed from one to the next |
//! | [`catalogue`] | which dumps there are, which to take, what nobody owns |
//! | [`history`] | whether a dump is of the size that is to be expected |
//! | [`retention`] | which dumps may go |
//! | [`roles`] | what of a dump of globals makes the roles that are missing |
//! | [`lease`] | one job per database at a time, across hosts |
//! | [`manifest`] | what is written beside a dump |
//! | [`gzip`] [`zstd`] [`openpgp`] | the filters |
//! | `ahead` | keeps the server going while a compressor is busy |
//! | [`access`] | who may do what with a dumped database, in its manifest |
//! | [`archive`] | an archive's table of contents apart from its rows |
//! | [`chosen`] | the rows of some tables only |
//! | [`inspect`] | counts a dump as it goes by, and sees whether it is whole |
//! | [`seam`] | what the chains are joined with |
//!
//! The commit protocol: the object first, its manifest last; no manifest, no dump.

pub mod access;
mod ahead;
pub mod archive;
pub mod backup;
pub mod catalogue;
pub mod chosen;
pub mod compare;
pub mod gzip;
pub mod history;
pub mod inspect;
pub mod lease;
pub mod manifest;
pub mod openpgp;
pub mod peek;
pub mod replica;
pub mod restore;
pub mod retention;
pub mod roles;
pub mod seam;
pub mod verify;
pub mod zstd;

pub use manifest::Manifest;

use crate::port::Filter;
use manifest::Compression;

/// What compresses, at a level of [`Compression::levels`].
fn packer(compression: Compression, level: u32) -> Box<dyn Filter> {
    match compression {
        Compression::Gzip => Box::new(gzip::Gzip { level, ..gzip::Gzip::default() }),
        Compression::Zstd => Box::new(zstd::Zstd { level, ..zstd::Zstd::default() }),
    }
}

/// What undoes it.
fn unpacker(compression: Compression) -> Box<dyn Filter> {
    match compression {
        Compression::Gzip => Box::new(gzip::Gunzip),
        Compression::Zstd => Box::new(zstd::Unzstd),
    }
}

/// Text out of a dump or a bucket, for a message: whoever made it chose it.
fn show(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// What manifests and proofs say made them.
pub const TOOL: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;
