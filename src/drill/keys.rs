//! A key pair for the box: RSA with a passphrase, made by the gpg that will be asked to open the dumps.
//!
//! The keyring it is made in, and the agent that guards it, live as long as the making takes and not longer, whatever happens.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Cursor, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process_group};
use tempfile::TempDir;

use crate::port::{Context, Log, nonce};
use crate::process::{Program, Running};
use crate::report::{Explain, Report, Result};

/// How long the agent may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// The three files of a throwaway key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The public half, for whoever encrypts.
    pub public: PathBuf,
    /// The private half, protected by the passphrase; mode 0600.
    pub secret: PathBuf,
    /// The passphrase, one line; mode 0600.
    pub passphrase: PathBuf,
    /// The primary key's fingerprint, upper-case hexadecimal.
    pub fingerprint: String,
}

impl Keys {
    /// Makes an RSA key of so many bits and leaves its files in `dir`, which becomes 0700. 4096 bits take 4 to 7 seconds: large primes are
    /// found by trying.
    pub fn generate(dir: &Path, bits: u32, cx: &Context) -> Result<Keys> {
        fs::create_dir_all(dir).explain(|| format!("creating {}", dir.display()))?;
        fs::set_permissions(dir, Permissions::from_mode(0o700)).explain(|| format!("closing {}", dir.display()))?;
        let ring = Ring::open(dir, cx)?;
        let passphrase = nonce(24)?;
        let fingerprint = ring.generate(&passphrase, bits, cx)?;
        let public = ring.gpg(["--armor", "--export", &fingerprint]).run(cx)?;
        let armoured = ring.gpg(["--armor", "--passphrase-fd", "0", "--export-secret-keys", &fingerprint]);
        let secret = armoured.run_with(line(&passphrase), cx)?;
        let keys = Keys {
            public: dir.join("backup.pub.asc"),
            secret: dir.join("backup.sec.asc"),
            passphrase: dir.join("passphrase"),
            fingerprint,
        };
        write(&keys.public, 0o644, &public)?;
        write(&keys.secret, 0o600, &secret)?;
        write(&keys.passphrase, 0o600, format!("{passphrase}\n").as_bytes())?;
        Ok(keys)
    }
}

/// A keyring with an agent of its own. gpg would start one that outlives it, and us. This one lives as long as a process that is ours:
/// told to run a program, the agent goes into the background, in our process group, and ends when that program has.
struct Ring {
    agent: Option<Running>,
    home: TempDir,
}

impl Ring {
    /// Below `dir`, where whoever sweeps up after a crash will find it; below `/tmp` where that path is too long for the agent's socket.
    fn open(dir: &Path, cx: &Context) -> Result<Ring> {
        let place = if dir.as_os_str().len() > 70 { Path::new("/tmp") } else { dir };
        let home = tempfile::Builder::new().prefix(".ring-").tempdir_in(place).explain(|| "creating a keyring".into())?;
        fs::set_permissions(home.path(), Permissions::from_mode(0o700)).explain(|| "closing the keyring".into())?;
        let mut ring = Ring { agent: None, home };
        let asked = Program::new("gpgconf").arg("--homedir").arg(ring.home.path()).args(["--list-dirs", "agent-socket"]);
        let socket = PathBuf::from(String::from_utf8_lossy(&asked.run(cx)?).trim());
        let agent = Program::new("gpg-agent").arg("--homedir").arg(ring.home.path());
        let agent = agent.args(["--daemon", "--no-detach", "--allow-loopback-pinentry", "--", "sleep", "3600"]);
        // What an agent says on a good day interests nobody; on a bad one it is told below.
        let quiet = Context { log: Log::default(), ..cx.clone() };
        let agent = ring.agent.insert(agent.serve(&quiet)?);
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            if agent.has_ended() || Instant::now() > until {
                return Err(Report::failed("gpg-agent did not start").cause(agent.tail()));
            }
            cx.pause(Duration::from_millis(5))?;
        }
        Ok(ring)
    }

    fn gpg<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Program {
        let base = Program::new("gpg").arg("--homedir").arg(self.home.path());
        base.args(["--batch", "--no-tty", "--quiet", "--no-autostart", "--pinentry-mode", "loopback"]).args(args)
    }

    /// One key for everything: finding a second prime pair for a subkey would take as long again. It can encrypt, which is the point.
    fn generate(&self, passphrase: &str, bits: u32, cx: &Context) -> Result<String> {
        let wanted = format!(
            "Key-Type: RSA\nKey-Length: {bits}\nKey-Usage: cert,sign,encrypt\nName-Real: Lifeboat box\nName-Email: box@lifeboat.invalid\n\
             Expire-Date: 7d\nPassphrase: {passphrase}\n%commit\n"
        );
        let said = self.gpg(["--status-fd", "1", "--generate-key"]).run_with(Box::new(Cursor::new(wanted.into_bytes())), cx)?;
        // [GNUPG:] KEY_CREATED P <fingerprint>
        let said = String::from_utf8_lossy(&said);
        let created = said.lines().find_map(|line| line.strip_prefix("[GNUPG:] KEY_CREATED ")?.split(' ').nth(1));
        created.map(str::to_owned).ok_or_else(|| Report::failed("gpg did not say which key it made").cause(said.into_owned()))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let group = i32::try_from(agent.id()).ok().and_then(Pid::from_raw);
            // An agent that looks for a prime is deaf to everything else.
            agent.kill();
            drop(agent);
            let until = Instant::now() + Duration::from_secs(1);
            while group.is_some_and(|group| test_kill_process_group(group).is_ok()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // Where the system has a directory for sockets, gpg made one there for this keyring.
        let sockets = PathBuf::from(format!("/run/user/{}/gnupg", rustix::process::getuid().as_raw()));
        if sockets.is_dir() {
            let remove = std::process::Command::new("gpgconf").arg("--homedir").arg(self.home.path()).arg("--remove-socketdir").output();
            // An empty directory of sockets is all that can be left.
            remove.ok();
        }
    }
}

fn line(text: &str) -> crate::port::Stream {
    Box::new(Cursor::new(format!("{text}\n").into_bytes()))
}

/// A new file, that never was readable for longer than it should be.
pub(super) fn write(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| file.write_all(content));
    written.explain(|| format!("writing {}", path.display()))
}
