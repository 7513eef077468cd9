//! THE BYTE MOVER: one engine for scheduled backups, incidents and drills.
//!
//! A backup is a chain of blocking reads, pulled by the store; a restore is the same chain backwards:
//!
//! ```text
//! pg_dump → hash, inspect → gzip → openpgp → hash → gate → store.put        then the manifest
//! store.get → hash → openpgp → gunzip → hash, inspect → gate → whoever restores
//! ```
//!
//! What needs threads (gzip, gpg) keeps them inside itself, behind bounded queues, and joins them when its stream is dropped. An end of file
//! is a promise: every stage returns an error where it cannot keep it, and the gate returns `Ok(0)` only when all of them did.
//!
//! | file | what |
//! |---|---|
//! | [`backup`] [`restore`] | the two chains |
//! | [`verify`] | proof levels L0 to L4 and their records |
//! | [`catalogue`] | which dumps there are, which to take, what nobody owns |
//! | [`manifest`] | what is written beside a dump |
//! | [`gzip`] [`openpgp`] | the filters |
//! | [`inspect`] | counts a dump as it goes by, and sees whether it is whole |
//! | [`seam`] | what the chains are joined with |
//!
//! The commit protocol: the object first, its manifest last; no manifest, no dump.

pub mod backup;
pub mod catalogue;
pub mod gzip;
pub mod inspect;
pub mod manifest;
pub mod openpgp;
pub mod restore;
pub mod seam;
pub mod verify;

pub use manifest::Manifest;

/// What manifests and proofs say made them.
pub const TOOL: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));
