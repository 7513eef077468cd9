//! What can be said of an S3 store, validated. How it is written is `config::store`'s.

use std::path::PathBuf;
use std::time::Duration;

/// An S3 store as configured, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// In front of every key: empty, or ending in `/`.
    pub prefix: String,
    /// Where the service is, when it is not AWS: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// `eu-west-1`; the SDK's own search where none is given.
    pub region: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// Whose rights are used.
    pub credentials: Credentials,
    /// Whether checksums are sent.
    pub checksum: Checksum,
    /// Bytes of the first parts, 5 MiB to 5 GiB; grows so that 10,000 parts are never reached.
    pub part_size: u64,
    /// Parts in flight.
    pub concurrency: usize,
    /// As S3 or the store spells it: `STANDARD_IA`; the bucket's own where none is given. Objects under 128 KiB are always stored in
    /// the bucket's own: the cheaper classes bill them as 128 KiB, and manifests and proofs are read often.
    pub storage_class: Option<String>,
    /// How the store encrypts what it keeps; the bucket's own way where none is given. Dumps are encrypted before they get there.
    pub encryption: Option<Encryption>,
    /// Every object is locked when it is made; what the store keeps for itself (`.lifeboat/`) is not.
    pub lock: Option<Lock>,
    /// Whether the store's own refusal to replace is relied on.
    pub conditional: Conditional,
    /// Attempts at one request, the first included, with growing pauses in between.
    pub attempts: u32,
    /// A request that moves no byte for this long is cut, and tried again.
    pub stuck_after: Duration,
    /// The pause before the second attempt is a random part of this, before the third of twice this, and so on. No key of the configuration.
    pub backoff: Duration,
}

impl Settings {
    /// A bucket of AWS, everything else as it is where nothing is configured.
    pub fn of(bucket: impl Into<String>) -> Self {
        Settings {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: false,
            credentials: Credentials::Default,
            checksum: Checksum::Crc32,
            part_size: 8 << 20,
            concurrency: 4,
            storage_class: None,
            encryption: None,
            lock: None,
            conditional: Conditional::Probe,
            attempts: 5,
            stuck_after: Duration::from_mins(1),
            backoff: Duration::from_secs(1),
        }
    }
}

/// Whose rights are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// As the aws command finds them: environment, profile, instance.
    Default,
    /// A profile of the aws command.
    Profile(String),
    /// A JSON or `key=value` file with `access_key_id`, `secret_access_key` and optionally `session_token`, mode 0600.
    File(PathBuf),
}

/// Whether checksums are sent; some stores refuse them, others refuse their absence. There is no third way on purpose: every store that
/// takes any takes CRC-32, which can be combined from the parts', and the hash of record is the manifest's SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-32 on each part and the whole.
    #[default]
    Crc32,
    /// None; the manifest's SHA-256 remains.
    None,
}

/// How the store encrypts what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `AES256`: with keys of the store's own.
    Aes256,
    /// `aws:kms`: with a key of the key service, the default one or this.
    Kms(Option<String>),
}

/// For how long nobody can remove what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who may lift it.
    pub mode: LockMode,
    /// From the moment of storing.
    pub days: u32,
}

/// Who may lift a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has the right to.
    Governance,
    /// Nobody.
    Compliance,
}

/// Whether the store's own refusal to replace an object is relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conditional {
    /// Asked once, by storing one small object of a fixed name twice.
    #[default]
    Probe,
    /// It refuses: the condition is sent and believed.
    Yes,
    /// The condition is not even sent; some stores stumble over it. What was there before is still seen.
    No,
}
