//! The checksums S3 knows, and what was computed of some bytes.

use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::Checksum;
use serde::{Deserialize, Serialize};

/// A checksum S3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Algorithm; 5] = [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64nvme, Algorithm::Sha1, Algorithm::Sha256];

    /// As in `x-amz-checksum-algorithm`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    pub(super) fn named(name: &str) -> Option<Algorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// `x-amz-checksum-crc32` and so on.
    pub(super) fn of_header(header: &str) -> Option<Algorithm> {
        Self::named(header.trim().to_ascii_lowercase().strip_prefix("x-amz-checksum-")?)
    }

    fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Algorithm::Crc64nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
        hasher
    }
}

/// A checksum of some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) algorithm: Algorithm,
    /// Base64; of an object in parts also `-` and how many.
    pub(super) value: String,
}

impl Sum {
    /// The one S3 calls composite: of the checksums of the parts.
    pub(super) fn composite(algorithm: Algorithm, parts: &[&Sum]) -> Option<Sum> {
        use base64::Engine;
        let mut hash = Hash::new(Some(algorithm));
        for part in parts {
            hash.update(&base64::prelude::BASE64_STANDARD.decode(&part.value).ok()?);
        }
        let sum = hash.finish().1?;
        Some(Sum { value: format!("{}-{}", sum.value, parts.len()), algorithm })
    }
}

/// MD5, which becomes the ETag, and one checksum, computed as bytes pass.
pub(super) struct Hash {
    md5: Md5,
    sum: Option<(Algorithm, ChecksumHasher)>,
}

impl Hash {
    pub(super) fn new(algorithm: Option<Algorithm>) -> Self {
        Hash { md5: Md5::new(), sum: algorithm.map(|algorithm| (algorithm, algorithm.hasher())) }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some((_, hasher)) = &mut self.sum {
            hasher.update(bytes);
        }
    }

    pub(super) fn finish(self) -> ([u8; 16], Option<Sum>) {
        let sum = self.sum.and_then(|(_, hasher)| one_of(&hasher.finalize()));
        (self.md5.finalize(), sum)
    }
}

fn one_of(sums: &Checksum) -> Option<Sum> {
    given!(sums)
}

/// The checksum in a request, whichever it is: all of S3's shapes have the same five fields.
macro_rules! given {
    ($input:expr) => {{
        use $crate::drill::bucket::sum::{Algorithm, Sum};
        [
            (Algorithm::Crc32, &$input.checksum_crc32),
            (Algorithm::Crc32c, &$input.checksum_crc32c),
            (Algorithm::Crc64nvme, &$input.checksum_crc64nvme),
            (Algorithm::Sha1, &$input.checksum_sha1),
            (Algorithm::Sha256, &$input.checksum_sha256),
        ]
        .into_iter()
        .find_map(|(algorithm, value)| Some(Sum { algorithm, value: value.clone()? }))
    }};
}

/// Puts the checksum into an answer.
macro_rules! say {
    ($output:expr, $sum:expr) => {{
        use $crate::drill::bucket::sum::Algorithm;
        if let Some(sum) = $sum {
            let value = Some(sum.value.clone());
            match sum.algorithm {
                Algorithm::Crc32 => $output.checksum_crc32 = value,
                Algorithm::Crc32c => $output.checksum_crc32c = value,
                Algorithm::Crc64nvme => $output.checksum_crc64nvme = value,
                Algorithm::Sha1 => $output.checksum_sha1 = value,
                Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    }};
}

pub(super) use {given, say};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_what_the_world_says_it_is() {
        let mut hash = Hash::new(Some(Algorithm::Crc32));
        hash.update(b"123456789");
        let (md5, sum) = hash.finish();
        assert_eq!(hex::encode(md5), "25f9e794323b453885f5181f1b624d0b");
        // 0xcbf43926, the check value of CRC-32 in every catalogue.
        assert_eq!(sum.unwrap(), Sum { algorithm: Algorithm::Crc32, value: "y/Q5Jg==".into() });
    }

    #[test]
    fn headers_and_names_name_the_same_checksums() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::of_header(&format!("X-Amz-Checksum-{}", algorithm.name())), Some(algorithm));
        }
    }
}
