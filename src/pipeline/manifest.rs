//! What is written beside a dump: the manifest (the commit mark) and the records of its proofs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::port::Reading;

/// The manifest of a dump is stored under the dump's key with this at its end.
pub const MANIFEST_SUFFIX: &str = ".manifest.json";

/// Proof records of a dump are stored under the dump's key with this, the level and the time at their end.
pub const PROOF_INFIX: &str = ".proof-";

/// The layout of the manifest. Readers refuse a greater one.
pub const MANIFEST_VERSION: u32 = 1;

/// Everything known about a dump at the moment it was published. Written last: what has no manifest is no dump.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// 16 hex digits, made once.
    pub id: String,
    /// The job that made it; ownership is decided by this, never by the name.
    pub job: String,
    /// The environment it was made in.
    pub environment: String,
    /// The store key of the object, which is the dump's name.
    pub object: String,
    /// How the bytes are laid out.
    pub format: Format,
    /// How they are compressed.
    pub compression: Compression,
    /// Whose private key opens it: primary key fingerprints, upper-case hex.
    pub recipients: Vec<String>,
    /// What was dumped.
    pub origin: Origin,
    /// The data is as of this moment: taken from the server before the dump's snapshot.
    pub snapshot_at: Timestamp,
    /// The dump began.
    pub started_at: Timestamp,
    /// Its last byte was stored.
    pub ended_at: Timestamp,
    /// The dump's bytes before compression.
    pub plain: Digest,
    /// The object's bytes.
    pub stored: Digest,
    /// `schema.table`, as PostgreSQL prints it, to what the stream held of it.
    pub tables: BTreeMap<String, TableCount>,
    /// What else the stream announced.
    pub schema: SchemaCount,
    /// Bytes and seconds of each stage.
    pub stages: Vec<Reading>,
    /// `lifeboat 0.1.0`.
    pub tool: String,
}

impl Manifest {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|table| table.rows).sum()
    }
}

/// How a dump's bytes are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// SQL text, for psql.
    #[default]
    Plain,
    /// `pg_dump -Fc -Z0`, for pg_restore.
    Custom,
}

/// How a dump's bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// RFC 1952, many members.
    #[default]
    Gzip,
}

/// What was dumped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The database.
    pub database: String,
    /// `pg_control`'s system identifier, decimal.
    pub system_identifier: String,
    /// `15.18`.
    pub server_version: String,
    /// `15.18`, of pg_dump.
    pub client_version: String,
}

/// Size and hash of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 (FIPS 180-4), lower-case hex.
    pub sha256: String,
}

/// What the stream held of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCount {
    /// COPY lines.
    pub rows: u64,
    /// Bytes of them, newlines included.
    pub bytes: u64,
}

/// What else the stream announced, to be counted again after a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaCount {
    /// Primary keys, unique, check (table-level, added by ALTER) and foreign key constraints added by ALTER TABLE … ADD CONSTRAINT.
    pub constraints: u64,
    /// CREATE INDEX.
    pub indexes: u64,
    /// CREATE VIEW and MATERIALIZED VIEW.
    pub views: u64,
    /// CREATE SEQUENCE.
    pub sequences: u64,
    /// CREATE TRIGGER.
    pub triggers: u64,
    /// Large objects.
    pub large_objects: u64,
}

/// How far a dump was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Manifest and size.
    L0,
    /// Stored bytes match their hash; needs no private key.
    L1,
    /// The private key opens it.
    L2,
    /// Decrypts and decompresses to the end; plain hash matches.
    L3,
    /// Parsed: trailer, tables, row counts match.
    L4,
}

impl Level {
    /// 0 to 4.
    pub fn from_number(number: u8) -> Option<Level> {
        [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4].get(usize::from(number)).copied()
    }

    /// 0 to 4.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "L{}", self.number())
    }
}

/// The record of one proof, kept beside the dump. Only proofs that held are recorded as `held`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The dump's manifest id.
    pub dump: String,
    /// How far.
    pub level: Level,
    /// It held; otherwise `reason` says what did not.
    pub held: bool,
    /// What did not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `user@host`.
    pub by: String,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: SignedDuration,
    /// `lifeboat 0.1.0`.
    pub tool: String,
}

/// One dump as a listing shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its proofs, oldest first.
    pub proofs: Vec<Proof>,
}

impl Dump {
    /// The highest level that was ever proven, unless a later proof at or below it failed.
    pub fn proven(&self) -> Option<&Proof> {
        let failed = self.proofs.iter().rposition(|proof| !proof.held);
        let after = failed.map_or(0, |at| at + 1);
        self.proofs[after..].iter().filter(|proof| proof.held).max_by_key(|proof| proof.level)
    }
}
