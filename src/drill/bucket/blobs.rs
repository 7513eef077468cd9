//! The bytes: files with random names, complete and on the disk before anything names them. Everything here blocks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use s3s::S3Result;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use super::disk::storage;
use super::sum::{Hash, Sum};

/// Some bytes of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) blob: String,
    pub(super) size: u64,
}

/// Bytes that were received and are on the disk, and that nothing names yet. Dropping it removes them.
pub(super) struct Blob {
    path: TempPath,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) sum: Option<Sum>,
}

impl Blob {
    /// From now on it stays.
    pub(super) fn keep(self) -> S3Result<Piece> {
        let size = self.size;
        let path = self.path.keep().map_err(|error| storage(error.error))?;
        let blob = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Piece { blob, size })
    }
}

/// Receives the bytes of a blob.
pub(super) struct Writer {
    file: NamedTempFile,
    hash: Hash,
    size: u64,
}

impl Writer {
    pub(super) fn write(&mut self, bytes: &[u8]) -> S3Result {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).map_err(storage)
    }

    /// Brings it to the disk.
    pub(super) fn finish(self) -> S3Result<Blob> {
        self.file.as_file().sync_all().map_err(storage)?;
        let (md5, sum) = self.hash.finish();
        Ok(Blob { path: self.file.into_temp_path(), size: self.size, md5, sum })
    }
}

/// The directory with the bytes of one bucket.
pub(super) struct Blobs {
    pub(super) directory: PathBuf,
}

impl Blobs {
    fn path(&self, piece: &Piece) -> PathBuf {
        self.directory.join(&piece.blob)
    }

    /// Begins to receive bytes.
    pub(super) fn receive(&self, hash: Hash) -> S3Result<Writer> {
        let file = tempfile::Builder::new().prefix("").rand_bytes(20).tempfile_in(&self.directory).map_err(storage)?;
        Ok(Writer { file, hash, size: 0 })
    }

    /// Nobody names these any more. Whoever is reading them has them open; what cannot be removed now is swept at the next start.
    pub(super) fn discard<'a>(&self, pieces: impl IntoIterator<Item = &'a Piece>) {
        for piece in pieces {
            fs::remove_file(self.path(piece)).ok();
        }
    }

    /// Removes all but these.
    pub(super) fn sweep<'a>(&self, named: impl IntoIterator<Item = &'a Piece>) -> io::Result<()> {
        let named: BTreeSet<&str> = named.into_iter().map(|piece| piece.blob.as_str()).collect();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !named.contains(&*entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The bytes of `range` of some pieces, one chunk after the other, until `take` wants no more.
    pub(super) fn read(&self, pieces: &[Piece], range: Range<u64>, mut take: impl FnMut(io::Result<Vec<u8>>) -> bool) {
        let mut begins = 0;
        for piece in pieces {
            let ends = begins + piece.size;
            let within = range.start.max(begins)..range.end.min(ends);
            if !within.is_empty() && !self.read_piece(piece, within.start - begins..within.end - begins, &mut take) {
                return;
            }
            begins = ends;
        }
    }

    fn read_piece(&self, piece: &Piece, range: Range<u64>, take: &mut impl FnMut(io::Result<Vec<u8>>) -> bool) -> bool {
        const CHUNK: u64 = 1 << 18;
        let opened = File::open(self.path(piece)).and_then(|mut file| file.seek(SeekFrom::Start(range.start)).map(|_| file));
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => return take(Err(error)),
        };
        let mut left = range.end - range.start;
        while left > 0 {
            let mut chunk = Vec::new();
            let read = (&mut file).take(left.min(CHUNK)).read_to_end(&mut chunk);
            match read {
                Ok(0) => return take(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => left -= count as u64,
                Err(error) => return take(Err(error)),
            }
            if !take(Ok(chunk)) {
                return false;
            }
        }
        true
    }

    /// MD5 and checksum of all bytes of some pieces.
    pub(super) fn hash(&self, pieces: &[Piece], mut hash: Hash) -> S3Result<([u8; 16], Option<Sum>)> {
        for piece in pieces {
            let mut error = None;
            self.read_piece(piece, 0..piece.size, &mut |chunk| match chunk {
                Ok(chunk) => {
                    hash.update(&chunk);
                    true
                }
                Err(why) => {
                    error = Some(why);
                    false
                }
            });
            error.map_or(Ok(()), |error| Err(storage(error)))?;
        }
        Ok(hash.finish())
    }

    /// Disaster: only the first `size` bytes of them are left.
    pub(super) fn truncate(&self, pieces: &mut [Piece], size: u64) -> io::Result<()> {
        let mut left = size;
        for piece in pieces {
            piece.size = piece.size.min(left);
            left -= piece.size;
            File::options().write(true).open(self.path(piece))?.set_len(piece.size)?;
        }
        Ok(())
    }

    /// Disaster: one bit of them is another one from now on.
    pub(super) fn flip(&self, pieces: &[Piece], at: u64) -> io::Result<()> {
        let mut at = at;
        for piece in pieces {
            if at < piece.size {
                let mut file = File::options().read(true).write(true).open(self.path(piece))?;
                let mut byte = [0];
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut byte)?;
                file.seek(SeekFrom::Start(at))?;
                return file.write_all(&[byte[0] ^ 1]);
            }
            at -= piece.size;
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the object has no such byte"))
    }
}
