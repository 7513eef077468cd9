//! Where the bucket's objects are: files, and an index in memory that is read from them at the start.
//!
//! ```text
//! ROOT/buckets/NAME/blobs/RANDOM            bytes, of an object or of a part; complete and on the disk before anything names them
//! ROOT/buckets/NAME/objects/SHA256(KEY)     JSON: what is known of an object and which blobs it is made of; its being there is the commit
//! ROOT/buckets/NAME/uploads/ID/upload       JSON: an upload in parts that was begun
//! ROOT/buckets/NAME/uploads/ID/part-NUMBER  JSON: one of its parts
//! ```
//!
//! Every JSON file is written beside its place, brought to the disk and then renamed or linked: it is there whole or not at all. What a
//! crash leaves (blobs nobody names) is swept at the next start. Everything here blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::blobs::{Blobs, Piece};
use super::disk::{place, read_all, storage, sync_directory, write};
use super::sum::{Algorithm, Sum};

/// What is known of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) size: u64,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) modified: SystemTime,
    pub(super) about: About,
    pub(super) sum: Option<Sum>,
    pub(super) pieces: Vec<Piece>,
}

/// What the client says of an object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// An upload in parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) begun: SystemTime,
    pub(super) about: About,
    pub(super) algorithm: Option<Algorithm>,
    /// The checksum of the whole is wanted rather than the composite one.
    pub(super) whole: bool,
    #[serde(skip)]
    pub(super) parts: BTreeMap<u32, Part>,
}

impl Upload {
    /// `None` for one that was being begun, or being removed, when the power went.
    fn read(directory: &Path) -> io::Result<Option<Upload>> {
        let Ok(upload) = fs::read(directory.join("upload")) else { return Ok(None) };
        let mut upload: Upload = serde_json::from_slice(&upload)?;
        let parts = read_all::<Part>(directory, "part-")?.into_iter();
        upload.parts = parts.filter_map(|(name, part)| Some((name.strip_prefix("part-")?.parse().ok()?, part))).collect();
        Ok(Some(upload))
    }
}

/// One part of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) md5: [u8; 16],
    pub(super) modified: SystemTime,
    pub(super) sum: Option<Sum>,
    pub(super) piece: Piece,
}

/// All buckets.
pub(super) struct Shelf {
    root: PathBuf,
    buckets: Mutex<BTreeMap<String, Arc<Drawer>>>,
    /// Held as long as the shelf is: two servers in one place would not know of each other's objects.
    _lock: File,
}

impl Shelf {
    /// Reads what is there. `WouldBlock` when another server has it.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("buckets"))?;
        let lock = File::create(root.join("lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(root.join("buckets"))? {
            let entry = entry?;
            buckets.insert(entry.file_name().to_string_lossy().into_owned(), Arc::new(Drawer::open(entry.path())?));
        }
        Ok(Shelf { root: root.into(), buckets: Mutex::new(buckets), _lock: lock })
    }

    /// `false` when there is one of that name.
    pub(super) fn create(&self, name: &str) -> io::Result<bool> {
        let mut buckets = lock(&self.buckets);
        if buckets.contains_key(name) {
            return Ok(false);
        }
        let path = self.root.join("buckets").join(name);
        for below in ["blobs", "objects", "uploads"] {
            fs::create_dir_all(path.join(below))?;
        }
        sync_directory(&path)?;
        sync_directory(&self.root.join("buckets"))?;
        buckets.insert(name.into(), Arc::new(Drawer::open(path)?));
        Ok(true)
    }

    pub(super) fn names(&self) -> Vec<(String, SystemTime)> {
        lock(&self.buckets).iter().map(|(name, drawer)| (name.clone(), drawer.made)).collect()
    }

    pub(super) fn bucket(&self, name: &str) -> S3Result<Arc<Drawer>> {
        lock(&self.buckets).get(name).cloned().ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }
}

/// One bucket.
pub(super) struct Drawer {
    path: PathBuf,
    made: SystemTime,
    pub(super) blobs: Blobs,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    objects: BTreeMap<String, Arc<Entry>>,
    uploads: BTreeMap<String, Upload>,
}

impl Drawer {
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut contents = Contents::default();
        for (_, entry) in read_all::<Entry>(&path.join("objects"), "")? {
            contents.objects.insert(entry.key.clone(), Arc::new(entry));
        }
        let named: BTreeSet<&str> = contents.objects.values().flat_map(|entry| &entry.pieces).map(|piece| piece.blob.as_str()).collect();
        let mut uploads = BTreeMap::new();
        for directory in fs::read_dir(path.join("uploads"))? {
            let directory = directory?.path();
            match Upload::read(&directory)? {
                // Completed already when the power went: an object is made of its parts.
                Some(upload) if upload.parts.values().any(|part| named.contains(&*part.piece.blob)) => fs::remove_dir_all(&directory)?,
                Some(upload) => {
                    uploads.insert(directory.file_name().unwrap_or_default().to_string_lossy().into_owned(), upload);
                }
                None => fs::remove_dir_all(&directory)?,
            }
        }
        contents.uploads = uploads;
        let blobs = Blobs { directory: path.join("blobs") };
        let of_parts = contents.uploads.values().flat_map(|upload| upload.parts.values()).map(|part| &part.piece);
        blobs.sweep(contents.objects.values().flat_map(|entry| &entry.pieces).chain(of_parts))?;
        let made = fs::metadata(&path)?.modified()?;
        Ok(Drawer { path, made, blobs, contents: Mutex::new(contents) })
    }

    fn object_path(&self, key: &str) -> PathBuf {
        self.path.join("objects").join(hex::encode(Sha256::digest(key)))
    }

    fn upload_path(&self, id: &str) -> PathBuf {
        self.path.join("uploads").join(id)
    }

    pub(super) fn find(&self, key: &str) -> Option<Arc<Entry>> {
        lock(&self.contents).objects.get(key).cloned()
    }

    /// Objects with `prefix` after `after`, by key.
    pub(super) fn objects(&self, prefix: &str, after: &str) -> Vec<Arc<Entry>> {
        let contents = lock(&self.contents);
        let from = contents.objects.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        from.filter(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| Arc::clone(entry)).collect()
    }

    /// The moment an object comes to be. With `exclusive` exactly one of many wins; without, the last one.
    pub(super) fn commit(&self, entry: Entry, exclusive: bool) -> S3Result<Arc<Entry>> {
        let path = self.object_path(&entry.key);
        let written = write(&self.path.join("objects"), &entry).map_err(storage)?;
        let entry = Arc::new(entry);
        let replaced = {
            let mut contents = lock(&self.contents);
            if exclusive && contents.objects.contains_key(&entry.key) {
                return Err(taken());
            }
            let placed = if exclusive { written.persist_noclobber(&path) } else { written.persist(&path) };
            placed.map_err(|error| storage(error.error))?;
            contents.objects.insert(entry.key.clone(), Arc::clone(&entry))
        };
        sync_directory(&self.path.join("objects")).map_err(storage)?;
        let outlived = |piece: &&Piece| entry.pieces.iter().all(|kept| kept.blob != piece.blob);
        self.blobs.discard(replaced.iter().flat_map(|old| &old.pieces).filter(outlived));
        Ok(entry)
    }

    pub(super) fn remove(&self, key: &str) -> S3Result {
        let removed = {
            let mut contents = lock(&self.contents);
            if !contents.objects.contains_key(key) {
                return Ok(());
            }
            fs::remove_file(self.object_path(key)).map_err(storage)?;
            contents.objects.remove(key)
        };
        sync_directory(&self.path.join("objects")).map_err(storage)?;
        self.blobs.discard(removed.iter().flat_map(|old| &old.pieces));
        Ok(())
    }

    pub(super) fn begin(&self, id: &str, upload: Upload) -> S3Result {
        let directory = self.upload_path(id);
        fs::create_dir(&directory).map_err(storage)?;
        place(&directory, "upload", &upload).map_err(storage)?;
        sync_directory(&self.path.join("uploads")).map_err(storage)?;
        lock(&self.contents).uploads.insert(id.into(), upload);
        Ok(())
    }

    pub(super) fn uploads(&self) -> Vec<(String, Upload)> {
        lock(&self.contents).uploads.iter().map(|(id, upload)| (id.clone(), upload.clone())).collect()
    }

    pub(super) fn upload(&self, id: &str, key: &str) -> S3Result<Upload> {
        let found = lock(&self.contents).uploads.get(id).filter(|upload| upload.key == key).cloned();
        found.ok_or_else(no_upload)
    }

    /// A part arrived; one of the same number is replaced.
    pub(super) fn add_part(&self, id: &str, key: &str, number: u32, part: Part) -> S3Result {
        let replaced = {
            let mut contents = lock(&self.contents);
            let upload = contents.uploads.get_mut(id).filter(|upload| upload.key == key);
            let upload = upload.ok_or_else(no_upload)?;
            place(&self.upload_path(id), &format!("part-{number}"), &part).map_err(storage)?;
            upload.parts.insert(number, part)
        };
        self.blobs.discard(replaced.iter().map(|old| &old.piece));
        Ok(())
    }

    /// Takes an upload to complete or to abort it: nobody else can, and no part is added any more.
    pub(super) fn take_upload(&self, id: &str, key: &str) -> S3Result<Upload> {
        let mut contents = lock(&self.contents);
        let found = contents.uploads.get(id).is_some_and(|upload| upload.key == key);
        if found { contents.uploads.remove(id) } else { None }.ok_or_else(no_upload)
    }

    /// It could not be completed.
    pub(super) fn give_back(&self, id: &str, upload: Upload) {
        lock(&self.contents).uploads.insert(id.into(), upload);
    }

    /// An upload that was taken is over. Its parts are removed, but for those an object is made of now.
    pub(super) fn end_upload(&self, id: &str, upload: &Upload, kept: &[Piece]) -> S3Result {
        fs::remove_dir_all(self.upload_path(id)).map_err(storage)?;
        sync_directory(&self.path.join("uploads")).map_err(storage)?;
        let pieces = upload.parts.values().map(|part| &part.piece);
        self.blobs.discard(pieces.filter(|piece| kept.iter().all(|kept| kept.blob != piece.blob)));
        Ok(())
    }
}

fn no_upload() -> S3Error {
    s3_error!(NoSuchUpload, "The specified upload does not exist")
}

fn taken() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
