//! Real keys from a real gpg, made once per test process.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What the one with a passphrase is locked with.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// A home of stock gpg with every key the tests need.
pub struct Keys {
    directory: PathBuf,
}

/// All keys.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(Keys::make)
}

impl Keys {
    fn make() -> Keys {
        // Nothing drops what a test process shares, so the next process removes it.
        for entry in fs::read_dir("/tmp").unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix("lifeboat-test-keys-").is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                fs::remove_dir_all(entry.path()).ok();
            }
        }
        let directory = PathBuf::from(format!("/tmp/lifeboat-test-keys-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory).unwrap();
        fs::write(directory.join("gpg-agent.conf"), "s2k-count 65536\n").unwrap();
        let keys = Keys { directory };
        // One as the world has them, the others of the kind that takes no time to make.
        let rsa = "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign,cert\n";
        let curve = "Key-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign,cert\n";
        let opens = "Subkey-Type: ECDH\nSubkey-Curve: cv25519\nSubkey-Usage: encrypt\n";
        keys.generate(
            "ops",
            PASSPHRASE,
            &format!("{rsa}Subkey-Type: RSA\nSubkey-Length: 2048\nSubkey-Usage: encrypt\nExpire-Date: 0\n"),
            None,
        );
        keys.generate("other", "", &format!("{curve}{opens}Expire-Date: 0\n"), None);
        keys.generate("signer", "", &format!("{curve}Expire-Date: 0\n"), None);
        keys.generate("expired", "", &format!("{curve}{opens}Expire-Date: 10d\n"), Some("20200101T000000"));
        for name in ["ops", "other", "signer", "expired"] {
            keys.export(name);
        }
        keys.stop_agent();
        keys
    }

    fn generate(&self, name: &str, passphrase: &str, more: &str, time: Option<&str>) {
        let (open, lock) =
            if passphrase.is_empty() { ("%no-protection\n", String::new()) } else { ("", format!("Passphrase: {passphrase}\n")) };
        let text = format!("{open}{more}Name-Real: {name}\nName-Email: {name}@example.org\n{lock}%commit\n");
        let file = self.path().join("parameters");
        fs::write(&file, text).unwrap();
        let mut gpg = self.gpg();
        if let Some(time) = time {
            gpg.arg(format!("--faked-system-time={time}"));
        }
        assert!(gpg.arg("--gen-key").arg(&file).status().unwrap().success(), "making the key {name}");
    }

    fn export(&self, name: &str) {
        let mail = format!("{name}@example.org");
        let public = self.gpg().args(["--armor", "--export", &mail]).output().unwrap();
        fs::write(self.public(name), public.stdout).unwrap();
        let mut gpg = self.gpg();
        let secret = gpg.args(["--passphrase", PASSPHRASE, "--armor", "--export-secret-keys", &mail]).output().unwrap();
        assert!(!secret.stdout.is_empty());
        fs::write(self.secret(name), secret.stdout).unwrap();
    }

    /// Stock gpg in the home that has all keys.
    pub fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.path()).args(["--batch", "--quiet", "--pinentry-mode", "loopback"]).stderr(Stdio::null());
        command
    }

    /// Ends its agent.
    pub fn stop_agent(&self) {
        Command::new("gpgconf").arg("--homedir").arg(self.path()).args(["--kill", "all"]).status().unwrap();
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The file of the public half.
    pub fn public(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.pub.asc"))
    }

    /// The file of the private half.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.sec.asc"))
    }
}
