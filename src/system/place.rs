//! A directory with an owner, so that what a killed process left can be told from what another one is using: the box of a drill, and the
//! throwaway server of a proof, live in one.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// A place that is only just being made: it has its final name once its lock is held.
const UNBORN: &str = "lifeboat-unborn-";

/// In a place of a living process, this is locked.
const OWNER: &str = "owner";

/// Nobody takes that long to make a directory and lock a file in it.
const STILLBORN: Duration = Duration::from_hours(1);

/// A directory of ours. Dropping it removes it, unless it is to be kept.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    keep: bool,
    /// Locked as long as this process lives: the system lets go of it, however we end.
    _owner: File,
}

impl Place {
    /// The given directory, which must be empty or not there yet.
    pub fn given(dir: &Path, keep: bool) -> Result<Place> {
        let making = || format!("making {}", dir.display());
        fs::create_dir_all(dir).explain(making)?;
        let path = dir.canonicalize().explain(making)?;
        if fs::read_dir(&path).explain(making)?.next().is_some() {
            return Err(Report::refused(format!("{} is not empty", dir.display())).hint("give a directory that is not there yet"));
        }
        open_to_servers(&path).explain(making)?;
        let owner = own(&path).explain(making)?;
        Ok(Place { path, keep, _owner: owner })
    }

    /// A new directory below `parent` whose name begins with `prefix`, by which [`sweep`] finds it.
    pub fn new(parent: &Path, prefix: &str, keep: bool) -> Result<Place> {
        let making = || format!("making a directory in {}", parent.display());
        let unborn = tempfile::Builder::new().prefix(UNBORN).tempdir_in(parent).explain(making)?;
        open_to_servers(unborn.path()).explain(making)?;
        let owner = own(unborn.path()).explain(making)?;
        let name = unborn.path().file_name().unwrap_or_default().to_string_lossy().replacen(UNBORN, prefix, 1);
        let path = unborn.path().with_file_name(name);
        fs::rename(unborn.path(), &path).explain(making)?;
        drop(unborn.keep());
        Ok(Place { path, keep, _owner: owner })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is swept by the next one.
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

fn own(path: &Path) -> std::io::Result<File> {
    let owner = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(OWNER))?;
    owner.try_lock()?;
    Ok(owner)
}

/// When we are root the servers in it are somebody else, who must be able to walk through.
fn open_to_servers(path: &Path) -> std::io::Result<()> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whether a living process holds this place.
pub fn is_held(place: &Path) -> bool {
    File::open(place.join(OWNER)).is_ok_and(|owner| matches!(owner.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Removes the places below `parent` of processes that are no more, with the PostgreSQL server that may still run in `server` below them.
/// Gives those that are gone. What cannot be removed is said.
pub fn sweep(parent: &Path, prefix: &str, server: &str, cx: &Context) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut swept = Vec::new();
    for path in entries.filter_map(std::result::Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_stale = if name.starts_with(prefix) { is_abandoned(&path) } else { name.starts_with(UNBORN) && is_stillborn(&path) };
        if is_stale {
            end_server(&path.join(server), cx);
            let outcome = fs::remove_dir_all(&path);
            let words = outcome.as_ref().map_or_else(|error| format!("cannot remove it: {error}"), |()| "removed".into());
            cx.log.say("sweep", &format!("{} was left by a process that is gone: {words}", path.display()));
            swept.extend(outcome.ok().map(|()| path));
        }
    }
    swept
}

/// Ours, a real directory, and nobody holds its lock.
fn is_abandoned(path: &Path) -> bool {
    let is_ours = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
    is_ours && File::open(path.join(OWNER)).is_ok_and(|owner| owner.try_lock().is_ok())
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
    cx.log.say("sweep", &format!("PostgreSQL {} still runs in {}: ended", pid.as_raw_nonzero(), data.display()));
    // Immediate shutdown; gone already is what we want.
    kill_process(pid, Signal::QUIT).ok();
    let until = Instant::now() + Duration::from_secs(10);
    while works_here() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}
