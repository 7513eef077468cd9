//! What is written beside a dump: the manifest (the commit mark) and the records of its proofs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::access::Recorded;
use crate::port::Reading;
use crate::port::table_hash::TableHash;

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
    /// The data is as of this moment: the server's clock when the dump's snapshot was taken, microseconds before it.
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
    /// The dumps that were made in the same run, where its job may give more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Who may do what with the database, where the dump carries owners and rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Recorded>,
    /// `lifeboat 0.1.0`.
    pub tool: String,
}

impl Manifest {
    /// Rows of all tables; as many as there can be, where somebody wrote more.
    pub fn rows(&self) -> u64 {
        self.tables.values().fold(0, |rows, table| rows.saturating_add(table.rows))
    }

    /// The database that is in it; none for globals.
    pub fn database(&self) -> Option<&str> {
        (self.format != Format::Globals).then_some(self.origin.database.as_str())
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
    /// SQL text of `pg_dumpall --globals-only`: the roles and tablespaces of a server, for psql.
    Globals,
}

/// What is dumped in one run (G11): a restore of databases that belong together needs every member, and each says who they all are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// 16 hex digits, made once in a run.
    pub id: String,
    /// Every dump the run was to make, this one too, in the order they were made. Decided before the first began.
    pub members: Vec<Member>,
    /// The snapshots of all databases were taken between these two moments, by the server's clock; a transaction over several databases
    /// that committed in between may be in one dump and not in another. Globals, which know no snapshot, are of some moments later.
    pub first_snapshot: Timestamp,
    /// See `first_snapshot`.
    pub last_snapshot: Timestamp,
}

/// One dump of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The database; none for the globals of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The store key of its object.
    pub object: String,
}

/// How a dump's bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// RFC 1952, many members.
    #[default]
    Gzip,
    /// RFC 8878, one frame.
    Zstd,
}

impl Compression {
    /// As configurations and people write it.
    pub const fn word(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    /// From fast to small.
    pub fn levels(self) -> RangeInclusive<u32> {
        match self {
            Compression::Gzip => 1..=9,
            Compression::Zstd => 1..=19,
        }
    }

    /// Chosen by measurement, see `benches/README.md`.
    pub fn default_level(self) -> u32 {
        match self {
            Compression::Gzip => 3,
            Compression::Zstd => 2,
        }
    }

    /// What its data begins with.
    pub fn magic(self) -> &'static [u8] {
        match self {
            Compression::Gzip => &[0x1f, 0x8b],
            Compression::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }
}

/// What the names of dumps end with, all of them; what ends otherwise is never taken for one.
pub const ENDINGS: [&str; 4] = [".sql.gz.gpg", ".sql.zst.gpg", ".dump.gz.gpg", ".dump.zst.gpg"];

/// What the name of a dump ends with: what has to be undone, from right to left.
pub fn ending(format: Format, compression: Compression) -> &'static str {
    match (format, compression) {
        (Format::Custom, Compression::Gzip) => ".dump.gz.gpg",
        (Format::Custom, Compression::Zstd) => ".dump.zst.gpg",
        (_, Compression::Gzip) => ".sql.gz.gpg",
        (_, Compression::Zstd) => ".sql.zst.gpg",
    }
}

/// What was dumped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The database; for globals the one that was connected to.
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
    /// What the rows hash to, in whatever order; see [`crate::port::table_hash`]. Dumps of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh3: Option<TableHash>,
}

impl TableCount {
    /// The same rows, as far as both know.
    pub fn agrees(&self, other: &TableCount) -> bool {
        let hashes = self.xxh3.zip(other.xxh3);
        (self.rows, self.bytes) == (other.rows, other.bytes) && hashes.is_none_or(|(one, other)| one == other)
    }

    /// As many rows and as many bytes, and yet others.
    pub fn only_hash_differs(&self, other: &TableCount) -> bool {
        (self.rows, self.bytes) == (other.rows, other.bytes) && !self.agrees(other)
    }
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
    /// CREATE ROLE, in globals.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub roles: u64,
    /// CREATE TABLESPACE, in globals.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tablespaces: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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
    /// Parsed: trailer, tables, row counts and hashes match.
    L4,
    /// Restored into a throwaway server of the same major version: everything counted is there, every row is as it was dumped, and
    /// nothing in it is unproven.
    L5,
    /// The job's own assertions hold on the restored data.
    L6,
}

impl Level {
    /// Every level with the word for it, from the lowest.
    pub const ALL: [(&'static str, Level); 7] = [
        ("L0", Level::L0),
        ("L1", Level::L1),
        ("L2", Level::L2),
        ("L3", Level::L3),
        ("L4", Level::L4),
        ("L5", Level::L5),
        ("L6", Level::L6),
    ];

    /// 0 to 6.
    pub fn from_number(number: u8) -> Option<Level> {
        Self::ALL.get(usize::from(number)).map(|(_, level)| *level)
    }

    /// 0 to 6.
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
    /// The throwaway server it was restored into, `15.18`: from L5 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The assertions that held, by title: at L6.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asserted: Vec<String>,
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

    /// The failed proof that speaks against it: the last one that no later proof of the same level or a higher one took back.
    pub fn disproven(&self) -> Option<&Proof> {
        let taken_back = |at: usize, failed: &Proof| self.proofs[at + 1..].iter().any(|later| later.held && later.level >= failed.level);
        self.proofs.iter().enumerate().rev().find(|(at, proof)| !proof.held && !taken_back(*at, proof)).map(|(_, proof)| proof)
    }
}
