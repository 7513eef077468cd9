//! The ground a cluster stands on: whose it is, its directories, and a socket whose path the kernel takes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::PORT;
use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// The kernel's limit for the path of a unix socket, without the zero at its end (unix(7)).
const SOCKET_PATH_LIMIT: usize = 107;

/// Somebody who is not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `postgres`, else `nobody`.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Where the socket is: below the cluster's directory, or in a short one of its own.
pub(super) enum Socket {
    Below(PathBuf),
    Apart(TempDir),
}

impl Socket {
    pub(super) fn path(&self) -> &Path {
        match self {
            Socket::Below(path) => path,
            Socket::Apart(dir) => dir.path(),
        }
    }
}

/// PostgreSQL refuses to run as root: then it runs as somebody who can do nothing else.
pub(super) fn unprivileged(cx: &Context) -> Result<Option<Account>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let known = fs::read_to_string("/etc/passwd").explain(|| "reading /etc/passwd".into())?;
    let account = ["postgres", "nobody"].iter().find_map(|name| account(&known, name));
    let account = account.ok_or_else(|| {
        Report::failed("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
            .hint("adduser --system --group --no-create-home postgres")
    })?;
    cx.log.say("cluster", &format!("PostgreSQL refuses root: it runs as user {}", account.name));
    Ok(Some(account))
}

/// A user's line in passwd(5).
fn account(passwd: &str, name: &str) -> Option<Account> {
    let fields: Vec<&str> =
        passwd.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields.first() == Some(&name))?;
    let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    (uid != 0).then(|| Account { name: name.into(), uid, gid })
}

/// The cluster's directory, absolute, with an empty `data` in it that is the server's own.
pub(super) fn prepare(dir: &Path, account: Option<&Account>) -> Result<PathBuf> {
    fs::create_dir_all(dir).explain(|| format!("creating {}", dir.display()))?;
    let dir = dir.canonicalize().explain(|| format!("looking at {}", dir.display()))?;
    if let Some(account) = account {
        // Enough to walk through, not to look around.
        fs::set_permissions(&dir, Permissions::from_mode(0o711)).explain(|| format!("opening {} for {}", dir.display(), account.name))?;
        for above in dir.ancestors() {
            let metadata = fs::metadata(above).explain(|| format!("looking at {}", above.display()))?;
            if !may_enter(&metadata, account) {
                let told = format!("user {} cannot reach {}: {} is closed", account.name, dir.display(), above.display());
                return Err(Report::refused(told)
                    .cause("PostgreSQL refuses to run as root")
                    .hint("choose a directory below /tmp or /var/tmp"));
            }
        }
    }
    own_directory(&dir.join("data"), account)?;
    Ok(dir)
}

fn may_enter(metadata: &fs::Metadata, account: &Account) -> bool {
    let bit = match (metadata.uid() == account.uid, metadata.gid() == account.gid) {
        (true, _) => 0o100,
        (false, true) => 0o010,
        (false, false) => 0o001,
    };
    metadata.mode() & bit != 0
}

/// A new directory, 0700, that belongs to the server's user. One that is there already is an error: it is somebody's.
fn own_directory(path: &Path, account: Option<&Account>) -> Result<()> {
    fs::create_dir(path).explain(|| format!("creating {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).explain(|| format!("closing {}", path.display()))?;
    give(path, account)
}

pub(super) fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    let Some(account) = account else { return Ok(()) };
    chown(path, Some(account.uid), Some(account.gid)).explain(|| format!("giving {} to {}", path.display(), account.name))
}

/// `dir/socket` where the socket's path is short and plain enough, else a directory of its own below `/tmp`.
pub(super) fn socket_directory(dir: &Path, account: Option<&Account>) -> Result<Socket> {
    let path = dir.join("socket");
    // unix_socket_directories is a list, and its value is quoted: neither commas nor quotes can be part of a path there.
    let is_plain = path.to_str().is_some_and(|path| !path.contains([',', '"', '\'', '\\', '\n']));
    let longest = path.as_os_str().len() + format!("/.s.PGSQL.{PORT}").len();
    if is_plain && longest <= SOCKET_PATH_LIMIT {
        own_directory(&path, account)?;
        return Ok(Socket::Below(path));
    }
    let apart =
        tempfile::Builder::new().prefix("lifeboat-socket-").tempdir_in("/tmp").explain(|| "creating a directory below /tmp".into())?;
    give(apart.path(), account)?;
    Ok(Socket::Apart(apart))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/bin/false\nevil:x:0:0::/:/bin/sh\n";

    #[test]
    fn a_user_is_found_by_its_whole_name_and_never_root_under_another() {
        assert_eq!(account(PASSWD, "nobody"), Some(Account { name: "nobody".into(), uid: 65534, gid: 65533 }));
        assert_eq!(account(PASSWD, "nobod"), None);
        assert_eq!(account(PASSWD, "evil"), None);
    }

    #[test]
    fn a_long_path_gets_its_socket_elsewhere() {
        let deep = tempfile::tempdir().unwrap();
        let deep = deep.path().join("d".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let Socket::Apart(dir) = socket_directory(&deep, None).unwrap() else { panic!("{} is too long for a socket", deep.display()) };
        assert!(dir.path().as_os_str().len() < 60);
        let place = dir.path().to_owned();
        drop(dir);
        assert!(!place.exists());
    }
}
