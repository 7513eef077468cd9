//! A directory as a store: temporary file → fsync → rename without replace → fsync of the directory.
//!
//! A crash leaves temporary files and nothing else; they are what [`Store::unfinished`] lists. Whether an object is whole is not
//! decided here but by its manifest; that it is never replaced and never visible before it is on the disk is.

use std::fs::{self, DirBuilder, DirEntry, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use rustix::io::Errno;
use tempfile::TempPath;

use super::check_key;
use crate::port::{Context, Object, Store, Stream, Unfinished};
use crate::report::{Explain, Report, Result};

/// How the name of a temporary file begins: this, eight random characters, a dot, the name it would have become.
const TEMPORARY: &str = ".lifeboat-";

/// Random characters in the name of a temporary file.
const RANDOM: usize = 8;

/// What is read and written at once.
const CHUNK: usize = 1 << 18;

/// So much is left on a disk: one that is full to the last byte breaks more than a backup.
const SPARE: u64 = 1 << 20;

/// After so many bytes it is asked again how much is left.
const ASKED: u64 = 16 << 20;

/// Who may look into the directories that are made here; the files themselves are for their owner alone (`tempfile` sees to that).
const DIRECTORY_MODE: u32 = 0o700;

/// A local store as configured, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory. It must be there: one that is not is a disk that is not mounted, or mistyped, and what would be made in its place would
    /// fill the disk below, unseen. Whoever wants a new store makes its directory.
    pub path: PathBuf,
}

/// A directory as a store.
#[derive(Clone, Debug)]
pub struct Local {
    root: PathBuf,
    /// Made when something is first put into it, and until then as good as empty.
    is_own: bool,
}

impl Local {
    /// The store in `settings.path`, which must be there: nothing is read from a directory that is not, and nothing makes it.
    pub fn new(settings: Settings) -> Self {
        Local { root: settings.path, is_own: false }
    }

    /// A store for ourselves, beside what else we keep on this machine: made when something is first put into it.
    pub fn own(path: PathBuf) -> Self {
        Local { root: path, is_own: true }
    }

    /// The directory is there. An empty answer of one that is not would be a lie.
    fn present(&self) -> Result<()> {
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(Report::failed(format!("the store {} is not a directory", self.root.display()))),
            Err(error) if is_missing(&error) && self.is_own => Ok(()),
            Err(error) if is_missing(&error) => Err(self.missing()),
            error => error.map(drop).explain(|| format!("looking at {}", self.root.display())),
        }
    }

    fn missing(&self) -> Report {
        let path = shell_words::quote(&self.root.to_string_lossy()).into_owned();
        Report::failed(format!("the directory of the store, {}, is not there", self.root.display()))
            .hint(format!("is the disk mounted? findmnt -T {path}"))
            .hint(format!("where it is to be a new store: mkdir -p -m 700 {path}"))
    }

    /// Where an object is, or will be. The key was checked.
    fn path(&self, key: &str) -> Result<PathBuf> {
        check_key(key)?;
        if key.split('/').any(|part| part.starts_with(TEMPORARY)) {
            return Err(Report::refused(format!("`{key}` cannot be a key: names that begin with `{TEMPORARY}` are temporary files")));
        }
        Ok(self.root.join(key))
    }

    /// Every regular file below `directory`, as key and what the file system says of it. A directory that vanished is an empty one.
    fn walk(&self, directory: &Path, found: &mut Vec<(String, Metadata)>, cx: &Context) -> Result<()> {
        let reading = || format!("reading {}", directory.display());
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.explain(reading)?,
        };
        for entry in entries {
            cx.check()?;
            let entry = entry.explain(reading)?;
            let kind = entry.file_type().explain(reading)?;
            if kind.is_dir() && !self.is_foreign(&entry) {
                self.walk(&entry.path(), found, cx)?;
            } else if kind.is_file()
                && let Some(key) = entry.path().strip_prefix(&self.root).ok().and_then(Path::to_str)
            {
                match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    metadata => found.push((key.to_owned(), metadata.explain(reading)?)),
                }
            }
        }
        Ok(())
    }

    /// At the top of a mounted disk, readable by root alone.
    fn is_foreign(&self, entry: &DirEntry) -> bool {
        entry.file_name() == "lost+found" && entry.path().parent() == Some(&self.root)
    }

    /// `error` while writing to `path`; a full disk by its name.
    fn trouble(&self, doing: String, error: io::Error) -> Report {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        if !full.contains(&error.kind()) {
            return Report::from_io(doing, error);
        }
        let free = statvfs(&self.root).map(|disk| disk.f_bavail * disk.f_frsize);
        let free = free.map_or_else(|_| String::new(), |bytes| format!(" ({bytes} bytes free)"));
        Report::failed(format!("no space left in {}{free}", self.root.display()))
            .because(error)
            .hint(format!("df -h {}", self.root.display()))
            .hint("make room, or point the store elsewhere; lifeboat sweep finds what killed backups left")
    }

    /// Makes the directory and says so to the disk, level by level.
    fn make(&self, directory: &Path) -> Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        if directory == self.root && !self.is_own {
            return Err(self.missing());
        }
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make(parent)?;
        }
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
            Err(error) => Err(self.trouble(format!("making {}", directory.display()), error)),
            Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
        }
    }

    /// Writes all of `body` to a temporary file beside `path` and to the disk. Dropping what it gives removes the file.
    fn write(&self, path: &Path, mut body: Stream, cx: &Context) -> Result<(TempPath, u64)> {
        let (directory, name) = parent_and_name(path)?;
        self.make(directory)?;
        let doing = || format!("writing {}", path.display());
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).rand_bytes(RANDOM).suffix(&format!(".{name}")).tempfile_in(directory);
        let (mut file, temporary) = temporary.map_err(|error| self.trouble(doing(), error))?.into_parts();
        let mut buffer = vec![0; CHUNK];
        let (mut size, mut asked) = (0, 0);
        self.room(directory, &doing)?;
        loop {
            cx.check()?;
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Report::from_io(format!("reading what becomes {}", path.display()), error)),
            };
            file.write_all(&buffer[..count]).map_err(|error| self.trouble(doing(), error))?;
            size += count as u64;
            if size - asked >= ASKED {
                asked = size;
                self.room(directory, &doing)?;
            }
        }
        cx.check()?;
        file.sync_all().map_err(|error| self.trouble(doing(), error))?;
        Ok((temporary, size))
    }

    /// There is some room left where it is written. A file system that does not say how much is believed to have it.
    fn room(&self, directory: &Path, doing: &impl Fn() -> String) -> Result<()> {
        let free = statvfs(directory).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free >= SPARE { Ok(()) } else { Err(self.trouble(doing(), io::ErrorKind::StorageFull.into())) }
    }

    fn exists(key: &str, path: &Path) -> Report {
        Report::refused(format!("{key} exists already in {}", path.parent().unwrap_or(path).display()))
    }
}

impl Store for Local {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn put(&self, key: &str, body: Stream, cx: &Context) -> Result<Object> {
        let path = self.path(key)?;
        // Sooner said is less work lost; the rename below is what decides.
        if path.symlink_metadata().is_ok() {
            return Err(Self::exists(key, &path));
        }
        let (temporary, size) = self.write(&path, body, cx)?;
        match publish(temporary, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Self::exists(key, &path)),
            published => published.map_err(|error| self.trouble(format!("publishing {}", path.display()), error))?,
        }
        sync_directory(parent_and_name(&path)?.0)?;
        let stored = fs::metadata(&path).explain(|| format!("looking at {}", path.display()))?;
        if stored.len() != size {
            return Err(Report::failed(format!("{} has {} bytes where {size} were written", path.display(), stored.len())));
        }
        object(key.to_owned(), &stored)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, cx: &Context) -> Result<Stream> {
        let path = self.path(key)?;
        let mut file = match File::open(&path) {
            Err(error) if is_missing(&error) => {
                self.present()?;
                return Err(Report::refused(format!("there is no {key} in {}", self.root.display())));
            }
            file => file.explain(|| format!("opening {}", path.display()))?,
        };
        let metadata = file.metadata().explain(|| format!("looking at {}", path.display()))?;
        if !metadata.is_file() {
            return Err(Report::refused(format!("{} is not a file", path.display())));
        }
        let size = metadata.len();
        let range = range.unwrap_or(0..size);
        if range.start > size {
            return Err(Report::refused(format!("{key} has {size} bytes, so none at {}", range.start)));
        }
        file.seek(SeekFrom::Start(range.start)).explain(|| format!("reading {}", path.display()))?;
        let left = range.end.min(size).saturating_sub(range.start);
        Ok(Box::new(Reading { file, left, path, cx: cx.clone() }))
    }

    fn head(&self, key: &str, _cx: &Context) -> Result<Option<Object>> {
        let path = self.path(key)?;
        match fs::metadata(&path) {
            Err(error) if is_missing(&error) => self.present().map(|()| None),
            Ok(metadata) if !metadata.is_file() => Ok(None),
            metadata => object(key.to_owned(), &metadata.explain(|| format!("looking at {}", path.display()))?).map(Some),
        }
    }

    fn list(&self, prefix: &str, cx: &Context) -> Result<Vec<Object>> {
        let mut found = Vec::new();
        self.present()?;
        self.walk(&self.root, &mut found, cx)?;
        found.retain(|(key, _)| key.starts_with(prefix) && !is_temporary(Path::new(key)));
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.into_iter().map(|(key, metadata)| object(key, &metadata)).collect()
    }

    fn delete(&self, key: &str, _cx: &Context) -> Result<()> {
        let path = self.path(key)?;
        self.present()?;
        remove(&path)
    }

    fn unfinished(&self, cx: &Context) -> Result<Vec<Unfinished>> {
        let mut found = Vec::new();
        self.present()?;
        self.walk(&self.root, &mut found, cx)?;
        found.retain(|(key, _)| is_temporary(Path::new(key)));
        found
            .into_iter()
            .map(|(id, metadata)| {
                // The last write rather than the first: what is still being written is never old.
                let since = modified(&metadata)?;
                let (parent, name) = id.rsplit_once('/').map_or((String::new(), &*id), |(parent, name)| (format!("{parent}/"), name));
                let name = name.get(TEMPORARY.len() + RANDOM + 1..).unwrap_or_default();
                Ok(Unfinished { key: format!("{parent}{name}"), id, since })
            })
            .collect()
    }

    fn abort(&self, upload: &Unfinished, _cx: &Context) -> Result<()> {
        check_key(&upload.id)?;
        if !is_temporary(Path::new(&upload.id)) {
            return Err(Report::refused(format!("`{}` is not an unfinished upload", upload.id)));
        }
        remove(&self.root.join(&upload.id))
    }
}

/// The bytes of a file, as many as it had when it was opened; fewer is an error.
struct Reading {
    file: File,
    left: u64,
    path: PathBuf,
    cx: Context,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        self.cx.check()?;
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..limit])?;
        if count == 0 {
            return Err(Report::failed(format!("{} ends {} bytes early", self.path.display(), self.left)).into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Gives the file its name, unless somebody has it already. Where the file system cannot rename without replacing (NFS), a hard link can.
fn publish(temporary: TempPath, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, &*temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {
            // It has another name now; there is nothing left to remove.
            temporary.keep().map(drop).map_err(|error| error.error)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(&temporary, path),
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_missing(&error) => Ok(()),
        removed => {
            removed.explain(|| format!("removing {}", path.display()))?;
            sync_directory(parent_and_name(path)?.0)
        }
    }
}

/// What `a/b` says where `a` is a file is "not a directory": missing too.
fn is_missing(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
}

fn parent_and_name(path: &Path) -> Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| Report::refused(format!("{} has no name", path.display())))
}

fn sync_directory(directory: &Path) -> Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory).and_then(|directory| directory.sync_all()).explain(|| format!("writing {} to the disk", directory.display()))
}

fn modified(metadata: &Metadata) -> Result<Timestamp> {
    let time = metadata.modified().explain(|| "asking when a file was written".into())?;
    Timestamp::try_from(time).explain(|| "a file is older or newer than time".into())
}

fn object(key: String, metadata: &Metadata) -> Result<Object> {
    Ok(Object { key, size: metadata.len(), modified: modified(metadata)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_neither_read_nor_made() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mnt/dumps");
        let store = Local::new(Settings { path: path.clone() });
        let put = |store: &Local| store.put("a/b.gpg", Box::new(io::Cursor::new(b"x".to_vec())), &cx).map(drop);
        let told = [
            store.list("", &cx).map(drop),
            store.unfinished(&cx).map(drop),
            store.head("a", &cx).map(drop),
            store.get("a", None, &cx).map(drop),
            store.delete("a", &cx),
            put(&store),
        ];
        for (at, told) in told.into_iter().enumerate() {
            let report = told.unwrap_err();
            assert!(report.message.contains(&path.display().to_string()) && report.message.ends_with("is not there"), "{at}: {report}");
            assert!(report.hints[0].contains("is the disk mounted?"), "{at}: {report:?}");
        }
        assert!(!directory.path().join("mnt").exists());
        fs::create_dir_all(&path).unwrap();
        put(&store).unwrap();
        let own = Local::own(directory.path().join("own/leases"));
        assert_eq!(own.list("", &cx).unwrap(), []);
        put(&own).unwrap();
    }

    #[test]
    fn a_full_disk_is_named_with_its_place_and_what_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let store = Local::new(Settings { path: directory.path().into() });
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let report = store.trouble("writing a".into(), kind.into());
            let expected = format!("no space left in {} (", directory.path().display());
            assert!(report.message.starts_with(&expected) && report.message.ends_with("bytes free)"), "{report}");
        }
        let report = store.trouble("writing a".into(), io::ErrorKind::PermissionDenied.into());
        assert_eq!(report.message, "writing a");
    }
}
