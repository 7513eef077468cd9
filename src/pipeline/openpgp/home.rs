//! Throwaway homes for gpg: a private directory that holds keys as long as one object lives, and its agent, which ends with it.
//!
//! A process that was killed drops nothing: a home with private keys has a child that outlives us and removes it then, and an agent ends when its
//! home is gone. Where that child was killed too, as a service manager may, the lock file beside each home tells, because the kernel drops locks:
//! [`sweep_stale_homes`] finds what is left and removes it, and every new home begins with such a sweep.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;

use crate::port::{Context, nonce};
use crate::process::{Afterwards, Program};
use crate::report::{Explain, Report, Result};

/// Longest path of a unix socket on Linux (`sun_path`, without its end).
const SOCKET_PATH_LIMIT: usize = 107;

/// The longest name gpg-agent gives a socket.
const LONGEST_SOCKET: &str = "S.gpg-agent.browser";

/// How long an agent may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// No smart cards; nothing is kept in the user's password store; the passphrase is known as long as the agent lives, which is as long as the
/// home; and no measuring of this machine (a good part of a second) to protect for years what lives for minutes.
const AGENT_CONF: &[u8] =
    b"disable-scdaemon\nno-allow-external-cache\ndefault-cache-ttl 34560000\nmax-cache-ttl 34560000\ns2k-count 1048576\n";

/// A private GNUPGHOME. Dropping it ends its agent, where it may have one, and removes it.
pub struct Home {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
    /// Private keys make gpg start an agent; public ones never do.
    has_agent: bool,
    cx: Context,
    /// Let go last, when there is nothing left for it to do.
    afterwards: Option<Afterwards>,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Home {
    /// A new, empty home for public keys, mode 0700.
    pub fn for_public_keys(cx: &Context) -> Result<Home> {
        Home::create(false, cx)
    }

    /// A new, empty home for private keys, mode 0700.
    pub fn for_private_keys(cx: &Context) -> Result<Home> {
        Home::create(true, cx)
    }

    fn create(has_agent: bool, cx: &Context) -> Result<Home> {
        cx.check()?;
        let base = base()?;
        // Best effort: what cannot be swept now is no reason not to work, and the next one tries again.
        sweep(&base, cx).ok();
        for _ in 0..16 {
            if let Some(home) = Self::try_create(&base, has_agent, cx)? {
                return Ok(home);
            }
        }
        Err(Report::failed(format!("no free name for a keyring in {}", base.display())))
    }

    /// `None` where a sweeper took the lock file in the moment before it was locked.
    fn try_create(base: &Path, has_agent: bool, cx: &Context) -> Result<Option<Home>> {
        let path = base.join(nonce(4)?);
        let lock_path = path.with_extension("lock");
        let what = || format!("making a throwaway keyring in {}", base.display());
        let lock = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock_path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            lock => lock.explain(what)?,
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() || lock.metadata().explain(what)?.nlink() == 0 {
            return Ok(None);
        }
        // From here on the guard cleans up, whatever fails.
        let mut home = Home { path, lock_path, _lock: lock, has_agent, cx: cx.clone(), afterwards: None };
        DirBuilder::new().mode(0o700).create(&home.path).explain(what)?;
        if has_agent {
            home.afterwards = Some(Afterwards::remove(&home.path, &home.lock_path)?);
        }
        let mut options = OpenOptions::new();
        let mut conf = options.write(true).create_new(true).mode(0o600).open(home.path.join("gpg-agent.conf")).explain(what)?;
        conf.write_all(AGENT_CONF).explain(what)?;
        Ok(Some(home))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A gpgme context that uses this home and no other. It stays on the thread that asked for it.
    pub fn context(&self) -> Result<gpgme::Context> {
        let open = || -> gpgme::Result<gpgme::Context> {
            let mut context = gpgme::Context::from_protocol(gpgme::Protocol::OpenPgp)?;
            context.set_engine_home_dir(self.path.as_os_str().as_encoded_bytes())?;
            context.set_flag("full-status", "1")?;
            context.set_pinentry_mode(gpgme::PinentryMode::Loopback)?;
            context.set_offline(true);
            Ok(context)
        };
        open().map_err(|error| Report::failed("gpg cannot be used").because(error).hint("apt install gnupg"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // There is nobody to tell; what stays is found by the next sweep, because the lock goes with us in any case.
        let agent = self.has_agent.then_some(&self.cx);
        remove(&self.path, &self.lock_path, agent).ok();
    }
}

/// Removes the homes whose owners are gone without having cleaned up, and ends their agents. Gives how many there were.
pub fn sweep_stale_homes(cx: &Context) -> Result<usize> {
    sweep(&base()?, cx)
}

fn sweep(base: &Path, cx: &Context) -> Result<usize> {
    let what = || format!("looking for stale keyrings in {}", base.display());
    let mut swept = 0;
    for entry in fs::read_dir(base).explain(what)? {
        let lock_path = entry.explain(what)?.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        // Gone or held: its owner lives, or another sweeper was quicker.
        let Ok(lock) = File::open(&lock_path) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // What it was for is not known any more.
        remove(&lock_path.with_extension(""), &lock_path, Some(cx))?;
        swept += 1;
    }
    Ok(swept)
}

/// Ends the agent where there may be one, removes the directory, and the lock file last, so that a directory is never without one.
fn remove(home: &Path, lock_path: &Path, agent: Option<&Context>) -> Result<()> {
    if home.exists() {
        if let Some(cx) = agent {
            end_agent(home, cx);
        }
        remove_directory(home).explain(|| format!("removing the keyring {}", home.display()))?;
    }
    fs::remove_file(lock_path).explain(|| format!("removing {}", lock_path.display()))
}

/// gpg's own way to end what it started in a home. Errors do not stop the removal, which ends the agent too, if later.
fn end_agent(home: &Path, cx: &Context) {
    // The work may be cancelled; cleaning up is not.
    let own = Context { cancel: CancellationToken::new(), ..Context::new(cx.runtime.clone()) };
    let gpgconf = || Program::new("gpgconf").arg("--homedir").arg(home);
    gpgconf().arg("--kill").arg("all").run(&own).ok();
    let socket = home.join("S.gpg-agent");
    let until = Instant::now() + PATIENCE;
    while socket.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Where /run/user exists, gpg keeps the sockets of a home in a directory of their own there.
    if Path::new(&format!("/run/user/{}/gnupg", rustix::process::geteuid().as_raw())).exists() {
        gpgconf().arg("--remove-socketdir").run(&own).ok();
    }
}

/// The agent may be removing its sockets at the same time.
fn remove_directory(home: &Path) -> std::io::Result<()> {
    for _ in 0..10 {
        match fs::remove_dir_all(home) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(()) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        if !home.exists() {
            return Ok(());
        }
    }
    fs::remove_dir_all(home)
}

/// The directory of all our homes: in memory where the system gives us such a place, else in the temporary directory.
fn base() -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let name = format!("lifeboat-keys-{uid}");
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let fits = |dir: &PathBuf| dir.join(&name).join("01234567").join(LONGEST_SOCKET).as_os_str().len() <= SOCKET_PATH_LIMIT;
    let parent = [runtime, Some(std::env::temp_dir()), Some(PathBuf::from("/tmp"))]
        .into_iter()
        .flatten()
        .find(fits)
        .ok_or_else(|| Report::failed("no directory with a path short enough for gpg's sockets").hint("set TMPDIR to a short path"))?;
    let base = parent.join(name);
    match DirBuilder::new().mode(0o700).create(&base) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Report::failed(format!("making {}", base.display())).because(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(&base).explain(|| format!("looking at {}", base.display()))?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(Report::refused(format!("{} is not a private directory of ours, so no key goes there", base.display()))
            .hint(format!("ls -ld {0}; rm -r {0}", base.display())));
    }
    Ok(base)
}
