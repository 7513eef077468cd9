//! How bytes become an object: from one body or from parts, once and for all. Everything here blocks.

use std::sync::Arc;
use std::time::SystemTime;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::CompletedPart;
use s3s::{S3Result, s3_error};

use super::blobs::Piece;
use super::disk::storage;
use super::fault::{Fault, Faults};
use super::shelf::{Drawer, Entry, Part, Upload};
use super::sum::{Hash, Sum, given};

/// AWS's limit: every part but the last is at least this large.
const SMALLEST_PART: u64 = 5 << 20;

/// Makes an object of pieces that are on the disk, and lets the faults have their way with it first.
pub(super) fn publish(drawer: &Drawer, mut entry: Entry, exclusive: bool, faults: &Faults) -> S3Result<Arc<Entry>> {
    let exclusive = exclusive && faults.strikes(|fault| *fault == Fault::IgnoreConditions).is_none();
    if faults.strikes(|fault| matches!(fault, Fault::CutObjects(_))).is_some() {
        entry.size = entry.size.saturating_sub(1);
        drawer.blobs.truncate(&mut entry.pieces, entry.size).map_err(storage)?;
    }
    if faults.strikes(|fault| matches!(fault, Fault::GarbleObjects(_))).is_some() {
        drawer.blobs.flip(&entry.pieces, 0).map_err(storage)?;
        let algorithm = entry.sum.as_ref().map(|sum| sum.algorithm);
        entry.sum = drawer.blobs.hash(&entry.pieces, Hash::new(algorithm))?.1;
    }
    drawer.commit(entry, exclusive)
}

/// Makes an object of the named parts of an upload, which is over then; or leaves it as it is.
pub(super) fn complete(
    drawer: &Drawer,
    id: &str,
    key: &str,
    named: &[CompletedPart],
    exclusive: bool,
    faults: &Faults,
) -> S3Result<Arc<Entry>> {
    let upload = drawer.take_upload(id, key)?;
    let published = select(&upload, named)
        .and_then(|parts| assemble(drawer, &upload, &parts))
        .and_then(|entry| publish(drawer, entry, exclusive, faults));
    match published {
        Ok(entry) => drawer.end_upload(id, &upload, &entry.pieces).map(|()| entry),
        Err(error) => {
            drawer.give_back(id, upload);
            Err(error)
        }
    }
}

/// Of a part.
pub(super) fn number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| s3_error!(InvalidArgument, "parts are numbered 1 to 10000"))
}

/// The parts a client names are the ones that are there, in order.
fn select(upload: &Upload, named: &[CompletedPart]) -> S3Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut before = 0;
    for named in named {
        let number = number(named.part_number.unwrap_or_default())?;
        if number <= before {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order"));
        }
        before = number;
        let part = upload.parts.get(&number);
        let part = part.filter(|part| named.e_tag.as_ref().is_some_and(|etag| etag.value() == hex::encode(part.md5)));
        let part = part.ok_or_else(|| s3_error!(InvalidPart, "part {number} is not there, or is another one"))?;
        let sum = given!(named);
        if upload.algorithm.is_some() && !upload.whole && sum.is_none() {
            return Err(s3_error!(InvalidRequest, "the upload was begun with checksums: completing it needs those of all parts"));
        }
        if sum.is_some_and(|sum| part.sum.as_ref() != Some(&sum)) {
            return Err(s3_error!(InvalidPart, "part {number} has another checksum"));
        }
        if parts.last().is_some_and(|last| last.piece.size < SMALLEST_PART) {
            return Err(s3_error!(EntityTooSmall, "every part but the last must be at least 5 MiB"));
        }
        parts.push(part.clone());
    }
    if parts.is_empty() {
        return Err(s3_error!(MalformedXML, "an upload needs at least one part"));
    }
    Ok(parts)
}

/// What becomes of an upload.
fn assemble(drawer: &Drawer, upload: &Upload, parts: &[Part]) -> S3Result<Entry> {
    let pieces: Vec<Piece> = parts.iter().map(|part| part.piece.clone()).collect();
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(&part.md5);
    }
    let sum = match upload.algorithm {
        Some(algorithm) if upload.whole => drawer.blobs.hash(&pieces, Hash::new(Some(algorithm)))?.1,
        Some(algorithm) => {
            let sums: Vec<&Sum> = parts.iter().filter_map(|part| part.sum.as_ref()).collect();
            Sum::composite(algorithm, &sums)
        }
        None => None,
    };
    Ok(Entry {
        key: upload.key.clone(),
        size: pieces.iter().map(|piece| piece.size).sum(),
        etag: format!("{}-{}", hex::encode(md5.finalize()), parts.len()),
        modified: SystemTime::now(),
        about: upload.about.clone(),
        sum,
        pieces,
    })
}
