//! Where a box lives: a directory with an owner, so that what a killed process left can be told from what another one is using.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// A box of a living process has this name, and `owner` in it is locked.
const PREFIX: &str = "lifeboat-box-";

/// A box that is only just being made: it has its final name once its lock is held.
const UNBORN: &str = "lifeboat-unborn-";

/// A box that is to stay, and is not swept.
const KEPT: &str = "lifeboat-kept-";

/// Nobody takes that long to make a directory and lock a file in it.
const STILLBORN: Duration = Duration::from_hours(1);

/// The directory of a box. Dropping it removes it, unless it is to be kept.
pub(super) struct Place {
    path: PathBuf,
    keep: bool,
    /// Locked as long as this process lives: the system lets go of it, however we end.
    _owner: File,
}

impl Place {
    /// Makes the directory: the given one, which must be empty or not there, or a new one below the system's for temporary files.
    pub(super) fn make(dir: Option<&Path>, keep: bool) -> Result<Place> {
        let (path, owner) = match dir {
            Some(dir) => given(dir)?,
            None => new(if keep { KEPT } else { PREFIX })?,
        };
        Ok(Place { path, keep, _owner: owner })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is swept by the next box.
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

fn given(dir: &Path) -> Result<(PathBuf, File)> {
    let making = || format!("making a box in {}", dir.display());
    fs::create_dir_all(dir).explain(making)?;
    let path = dir.canonicalize().explain(making)?;
    if fs::read_dir(&path).explain(making)?.next().is_some() {
        return Err(Report::refused(format!("{} is not empty", dir.display())).hint("give a directory that is not there yet"));
    }
    open_to_servers(&path).explain(making)?;
    let owner = own(&path).explain(making)?;
    Ok((path, owner))
}

fn new(prefix: &str) -> Result<(PathBuf, File)> {
    let making = || format!("making a box in {}", std::env::temp_dir().display());
    let unborn = tempfile::Builder::new().prefix(UNBORN).tempdir().explain(making)?;
    open_to_servers(unborn.path()).explain(making)?;
    let owner = own(unborn.path()).explain(making)?;
    let name = unborn.path().file_name().unwrap_or_default().to_string_lossy().replacen(UNBORN, prefix, 1);
    let path = unborn.path().with_file_name(name);
    fs::rename(unborn.path(), &path).explain(making)?;
    drop(unborn.keep());
    Ok((path, owner))
}

fn own(path: &Path) -> std::io::Result<File> {
    let owner = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join("owner"))?;
    owner.try_lock()?;
    Ok(owner)
}

/// When we are root the servers in it are somebody else, who must be able to walk through.
fn open_to_servers(path: &Path) -> std::io::Result<()> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whether a configuration lies in a box that is up: its owner's lock is held by a living process.
pub fn is_box(config: &Path) -> bool {
    let owner = config.parent().unwrap_or(Path::new(".")).join("owner");
    File::open(owner).is_ok_and(|owner| matches!(owner.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Removes the boxes of processes that are no more, with what may still run in them.
pub(super) fn sweep(cx: &Context) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for path in entries.filter_map(std::result::Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_stale = if name.starts_with(PREFIX) { is_abandoned(&path) } else { name.starts_with(UNBORN) && is_stillborn(&path) };
        if is_stale {
            end_server(&path.join("pg/data"), cx);
            let outcome = fs::remove_dir_all(&path);
            let outcome = outcome.map_or_else(|error| format!("cannot remove it: {error}"), |()| "removed".into());
            cx.log.say("box", &format!("{} was left by a process that is gone: {outcome}", path.display()));
        }
    }
}

/// Ours, a real directory, and nobody holds its lock.
fn is_abandoned(path: &Path) -> bool {
    let is_ours = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
    is_ours && File::open(path.join("owner")).is_ok_and(|owner| owner.try_lock().is_ok())
}

fn is_stillborn(path: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let age = found.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    found.is_dir() && found.uid() == geteuid().as_raw() && age.is_some_and(|age| age > STILLBORN)
}

/// A PostgreSQL server dies with whoever started it. Should one not have, it is known by its working directory, never by its number alone.
fn end_server(data: &Path, cx: &Context) {
    let Ok(lock) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    let Some(pid) = lock.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw) else { return };
    let works_here = || fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).is_ok_and(|dir| dir == *data);
    if !works_here() {
        return;
    }
    cx.log.say("box", &format!("PostgreSQL {} still runs in {}: ended", pid.as_raw_nonzero(), data.display()));
    // Immediate shutdown; gone already is what we want.
    kill_process(pid, Signal::QUIT).ok();
    let until = Instant::now() + Duration::from_secs(10);
    while works_here() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}
