//! Files that are there whole or not at all, and what a disk's errors are called in S3.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use s3s::{S3Error, S3ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// How the names of files begin that are not yet what they will be.
const TEMPORARY: &str = ".new-";

/// A disk that failed; a full one by the code other stores use.
pub(super) fn storage(error: io::Error) -> S3Error {
    if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind()) {
        return full();
    }
    S3Error::internal_error(error)
}

/// S3 itself never runs full and has no code for it.
pub(super) fn full() -> S3Error {
    let mut full = S3Error::with_message(S3ErrorCode::Custom("XMinioStorageFull".into()), "Storage backend has reached its limit");
    full.set_status_code(hyper::StatusCode::INSUFFICIENT_STORAGE);
    full
}

/// Writes beside where it will be, and to the disk.
pub(super) fn write(directory: &Path, content: &impl Serialize) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    file.as_file().sync_all()?;
    Ok(file)
}

pub(super) fn place(directory: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    write(directory, content)?.persist(directory.join(name)).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Every JSON file whose name begins with `prefix`; what was not finished is removed.
pub(super) fn read_all<T: DeserializeOwned>(directory: &Path, prefix: &str) -> io::Result<Vec<(String, T)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(TEMPORARY) {
            fs::remove_file(entry.path())?;
        } else if name.starts_with(prefix) {
            found.push((name, serde_json::from_slice(&fs::read(entry.path())?)?));
        }
    }
    Ok(found)
}

/// What was created, renamed or removed in it is so after a crash.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
