//! Encryption and decryption: whole, or an error that says why.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lifeboat::pipeline::openpgp::{Decrypt, Encrypt, PublicKeys, SecretKey, sweep_stale_homes};
use lifeboat::port::{Filter, Stream};
use lifeboat::report::{Kind, Report};

use super::keys::{PASSPHRASE, keys};
use super::{context, drain, noise, stream};

fn public(names: &[&str]) -> PublicKeys {
    let files: Vec<PathBuf> = names.iter().map(|name| keys().public(name)).collect();
    PublicKeys::load(&files, &context()).unwrap()
}

fn secret(name: &str) -> SecretKey {
    let passphrase = (name == "ops").then_some(PASSPHRASE);
    SecretKey::load_file(&keys().secret(name), passphrase, &context()).unwrap()
}

fn encrypt(names: &[&str], bytes: &[u8]) -> Vec<u8> {
    drain(Box::new(Encrypt::to(&public(names))).wrap(stream(bytes), &context()).unwrap()).unwrap()
}

fn decrypt(key: &SecretKey, bytes: &[u8]) -> Result<Vec<u8>, Report> {
    let plain = Box::new(Decrypt::with(key)).wrap(stream(bytes), &context()).unwrap();
    drain(plain).map_err(|error| Report::from_io("decrypting", error))
}

#[test]
fn what_was_encrypted_to_two_opens_for_both_and_with_stock_gpg() {
    let plain = noise(3_000_000);
    let cipher = encrypt(&["ops", "other"], &plain);
    assert!(cipher.len() < plain.len() + 10_000);
    assert_eq!(decrypt(&secret("ops"), &cipher).unwrap(), plain);
    assert_eq!(decrypt(&secret("other"), &cipher).unwrap(), plain);
    let file = keys().path().join("both.gpg");
    fs::write(&file, &cipher).unwrap();
    let stock = keys().gpg().args(["--passphrase", PASSPHRASE, "-d"]).arg(&file).output().unwrap();
    assert!(stock.status.success());
    assert!(stock.stdout == plain, "stock gpg reads other bytes");
}

#[test]
fn an_empty_message_is_a_message() {
    assert_eq!(decrypt(&secret("other"), &encrypt(&["other"], b"")).unwrap(), b"");
}

#[test]
fn a_recipient_that_cannot_encrypt_is_named_with_the_reason() {
    for (name, why) in [("signer", "no subkey that encrypts"), ("expired", "expired on 2020-01-11")] {
        let report = PublicKeys::load(&[keys().public("ops"), keys().public(name)], &context()).unwrap_err();
        assert_eq!(report.kind, Kind::Usage);
        assert!(report.message.contains(why) && report.message.contains(&format!("{name}@example.org")), "{report}");
        assert!(!report.hints.is_empty());
    }
}

#[test]
fn files_that_are_no_public_keys_are_refused() {
    let junk = keys().path().join("junk.asc");
    fs::write(&junk, "not a key").unwrap();
    for (file, why) in
        [(junk, "OpenPGP public key"), (keys().secret("other"), "holds a private key"), (keys().path().join("nowhere"), "No such file")]
    {
        let report = PublicKeys::load(&[file], &context()).unwrap_err();
        assert!(report.kind == Kind::Usage && report.to_string().contains(why), "{report:?}");
    }
    assert_eq!(PublicKeys::load(&[], &context()).unwrap_err().kind, Kind::Usage);
    let report = SecretKey::load_file(&keys().public("ops"), None, &context()).unwrap_err();
    assert!(report.kind == Kind::Usage && report.message.contains("is not a private key"), "{report}");
}

#[test]
fn fingerprints_are_those_of_the_primary_keys() {
    let listed = keys().gpg().args(["--with-colons", "--list-keys", "ops@example.org"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let expected = listed.lines().find(|line| line.starts_with("fpr:")).unwrap().split(':').nth(9).unwrap();
    assert_eq!(public(&["ops"]).fingerprints(), [expected]);
    assert_eq!(secret("ops").fingerprints(), [expected]);
}

#[test]
fn the_wrong_key_says_which_keys_open_it() {
    let cipher = encrypt(&["ops"], b"secret things");
    let report = decrypt(&secret("other"), &cipher).unwrap_err();
    let listed = keys().gpg().args(["--with-colons", "--list-keys", "ops@example.org"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let id = listed.lines().find(|line| line.starts_with("sub:")).unwrap().split(':').nth(4).unwrap();
    assert_eq!(report.kind, Kind::Refused);
    assert!(report.message.contains(id) && report.message.contains("other@example.org"), "{report}");
    assert!(report.hints[0].contains(id));
    assert_eq!(secret("other").opens(&cipher, &context()).unwrap_err().message, report.message);
}

#[test]
fn a_missing_and_a_wrong_passphrase_are_told_apart_and_never_printed() {
    let cipher = encrypt(&["ops"], b"secret things");
    let file = keys().secret("ops");
    let none = SecretKey::load_file(&file, None, &context()).unwrap();
    let wrong = SecretKey::load_file(&file, Some("hunter2"), &context()).unwrap();
    let report = decrypt(&none, &cipher).unwrap_err();
    assert!(report.message.contains("needs a passphrase"), "{report}");
    let report = decrypt(&wrong, &cipher).unwrap_err();
    assert!(report.message.contains("passphrase given does not open"), "{report}");
    assert!(!format!("{report:?} {wrong:?}").contains("hunter2"));
}

#[test]
fn every_cut_and_every_flip_is_an_error_at_the_end() {
    let plain = noise(600_000);
    let cipher = encrypt(&["other"], &plain);
    let key = secret("other");
    for kept in [0, 10, 200, 400, 65_536, cipher.len() / 2, cipher.len() - 22, cipher.len() - 1] {
        let report = decrypt(&key, &cipher[..kept]).unwrap_err();
        assert_eq!(report.kind, Kind::Refused, "kept {kept}: {report}");
    }
    for at in [320, 1000, cipher.len() / 2, cipher.len() - 30, cipher.len() - 3] {
        let mut flipped = cipher.clone();
        flipped[at] ^= 1;
        let report = decrypt(&key, &flipped).unwrap_err();
        assert_eq!(report.kind, Kind::Refused, "flipped {at}: {report}");
    }
    let mut flipped = cipher.clone();
    flipped[cipher.len() / 2] ^= 0x40;
    assert!(decrypt(&key, &flipped).unwrap_err().message.contains("integrity check failed"));
    assert!(decrypt(&key, b"").unwrap_err().message.contains("not an OpenPGP message"));
    assert!(decrypt(&key, b"CREATE TABLE x();\n").unwrap_err().message.contains("not an OpenPGP message"));
}

// D5
#[test]
fn the_key_opens_a_message_from_its_first_bytes_alone() {
    let plain = noise(4_000_000);
    let cipher = encrypt(&["ops"], &plain);
    for kept in [20_000, 65_536, 1 << 20] {
        let opened = secret("ops").opens(&cipher[..kept], &context()).unwrap();
        assert!(opened.len() >= 500 && plain.starts_with(&opened), "{} bytes from {kept}", opened.len());
    }
    assert_eq!(secret("ops").opens(&encrypt(&["ops"], b"small"), &context()).unwrap(), b"small");
    assert_eq!(secret("ops").opens(&noise(5000), &context()).unwrap_err().kind, Kind::Refused);
}

struct Dies;

impl Read for Dies {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(Report::failed("pg_dump exited with 1").cause("permission denied for table rooms").into())
    }
}

// TRAP 10
#[test]
fn a_source_that_dies_behind_gpg_is_told_in_its_own_words() {
    let dies = Box::new(io::repeat(b'a').take(500_000).chain(Dies));
    let cipher = Box::new(Encrypt::to(&public(&["other"]))).wrap(dies, &context()).unwrap();
    let report = Report::from_io("encrypting", drain(cipher).unwrap_err());
    assert_eq!(report.to_string(), "pg_dump exited with 1: permission denied for table rooms");
    let whole = encrypt(&["other"], &noise(500_000));
    let broken: Stream = Box::new(io::Cursor::new(whole[..200_000].to_vec()).chain(Dies));
    let plain = Box::new(Decrypt::with(&secret("other"))).wrap(broken, &context()).unwrap();
    let report = Report::from_io("decrypting", drain(plain).unwrap_err());
    assert_eq!(report.message, "pg_dump exited with 1");
}

struct Panics;

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("on purpose");
    }
}

#[test]
fn a_stage_that_panics_behind_gpg_is_an_error_and_not_an_end() {
    let cipher = Box::new(Encrypt::to(&public(&["other"]))).wrap(Box::new(Panics), &context()).unwrap();
    assert!(drain(cipher).unwrap_err().to_string().contains("panicked"));
}

/// Endless bytes, counted.
struct Endless(Arc<AtomicU64>);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.fetch_add(into.len() as u64, Ordering::Relaxed);
        into.fill(b'e');
        Ok(into.len())
    }
}

/// The processes whose command line names this home.
fn processes_of(home: &str) -> Vec<(i32, String)> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_string_lossy().parse::<i32>().ok());
    numbers
        .filter_map(|pid| Some((pid, String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).replace('\0', " "))))
        .filter(|(_, line)| line.contains(home))
        .collect()
}

/// Its gpg, without its agent.
pub fn gpg_of(home: &str) -> Vec<(i32, String)> {
    processes_of(home).into_iter().filter(|(_, line)| line.starts_with("gpg ") || line.starts_with("/usr/bin/gpg ")).collect()
}

// TRAPS 6, 9, 11
#[test]
fn killing_gpg_half_way_is_an_error_that_names_it() {
    let keys = public(&["other"]);
    let home = keys.home().to_string_lossy().into_owned();
    let mut cipher = Box::new(Encrypt::to(&keys)).wrap(Box::new(Endless(Arc::default())), &context()).unwrap();
    cipher.read_exact(&mut vec![0; 3_000_000]).unwrap();
    let gpg = gpg_of(&home);
    assert_eq!(gpg.len(), 1, "{gpg:?}");
    assert!(Command::new("kill").args(["-KILL", &gpg[0].0.to_string()]).status().unwrap().success());
    let error = drain(cipher).unwrap_err();
    assert!(error.to_string().contains("gpg"), "{error}");
}

#[test]
fn killing_gpg_half_way_through_decryption_is_an_error_too() {
    let cipher = encrypt(&["other"], &noise(30_000_000));
    let key = secret("other");
    let home = key.home().to_string_lossy().into_owned();
    let mut plain = Box::new(Decrypt::with(&key)).wrap(stream(&cipher), &context()).unwrap();
    plain.read_exact(&mut vec![0; 1_000_000]).unwrap();
    let gpg = gpg_of(&home);
    assert_eq!(gpg.len(), 1, "{gpg:?}");
    assert!(Command::new("kill").args(["-KILL", &gpg[0].0.to_string()]).status().unwrap().success());
    assert!(drain(plain).is_err());
}

#[test]
fn it_never_runs_far_ahead_of_the_reader() {
    let read = Arc::new(AtomicU64::new(0));
    let mut cipher = Box::new(Encrypt::to(&public(&["other"]))).wrap(Box::new(Endless(Arc::clone(&read))), &context()).unwrap();
    let mut taken = 0;
    let mut buffer = vec![0; 65_536];
    while taken < 50_000_000 {
        taken += cipher.read(&mut buffer).unwrap() as u64;
        let ahead = read.load(Ordering::Relaxed).saturating_sub(taken);
        assert!(ahead < 3 << 20, "{ahead} bytes ahead");
    }
    drop(cipher);
    assert_eq!(Arc::strong_count(&read), 1, "the thread that held the input is gone");
}

// D5, TRAP 41
#[test]
fn throwaway_homes_and_their_agents_are_gone_after_success_and_after_failure() {
    let key = secret("ops");
    let home = key.home().to_path_buf();
    let cipher = encrypt(&["ops"], b"x");
    decrypt(&key, &cipher).unwrap();
    assert!(home.join("private-keys-v1.d").is_dir());
    assert_eq!(fs::metadata(&home).map(|found| std::os::unix::fs::MetadataExt::mode(&found) & 0o777).unwrap(), 0o700);
    assert!(!processes_of(&home.to_string_lossy()).is_empty(), "it had an agent");
    let unread = Box::new(Decrypt::with(&key)).wrap(stream(&cipher), &context()).unwrap();
    drop(key);
    assert!(home.exists(), "a stream still needs it");
    drop(unread);
    assert_gone(&home);

    let key = secret("other");
    let home = key.home().to_path_buf();
    decrypt(&key, &cipher).unwrap_err();
    drop(key);
    assert_gone(&home);

    let panicked = std::thread::spawn(|| {
        let key = secret("ops");
        std::panic::panic_any(key.home().to_path_buf());
    });
    let home = panicked.join().unwrap_err().downcast::<PathBuf>().unwrap();
    assert_gone(&home);
}

#[test]
fn a_cancelled_context_does_not_keep_a_home_from_being_removed() {
    let cx = context();
    let key = SecretKey::load_file(&keys().secret("other"), None, &cx).unwrap();
    let home = key.home().to_path_buf();
    cx.cancel.cancel();
    drop(key);
    assert_gone(&home);
}

fn assert_gone(home: &std::path::Path) {
    assert!(!home.exists());
    assert!(!home.with_extension("lock").exists());
    // It has closed its sockets; give the kernel the moment to take it out of the table.
    for _ in 0..500 {
        if processes_of(&home.to_string_lossy()).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("still there: {:?}", processes_of(&home.to_string_lossy()));
}

#[test]
fn a_home_whose_owner_was_killed_is_swept_and_one_whose_owner_lives_is_not() {
    let living = secret("other");
    let base = living.home().parent().unwrap();
    let stale = base.join("0badcafe");
    fs::create_dir(&stale).unwrap();
    fs::set_permissions(&stale, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    // Held until the stage is set: every new home sweeps.
    let lock = fs::File::create(base.join("0badcafe.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let import =
        Command::new("gpg").arg("--homedir").arg(&stale).args(["--batch", "--quiet", "--import"]).arg(keys().secret("other")).status();
    assert!(import.unwrap().success());
    assert!(!processes_of("0badcafe").is_empty(), "it has an agent");
    drop(lock);
    sweep_stale_homes(&context()).unwrap();
    // Another test's new home may have been quicker, and still be at it.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while base.join("0badcafe.lock").exists() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert_gone(&stale);
    assert!(living.home().exists());
    assert_eq!(decrypt(&living, &encrypt(&["other"], b"still works")).unwrap(), b"still works");
}

/// Where the child below says where its home is.
const HOME_TOLD: &str = "LIFEBOAT_TEST_HOME";

#[test]
fn a_private_key_and_its_agent_are_gone_when_their_owner_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("home");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "pipeline::openpgp::holds_a_private_key_until_it_is_killed"])
        .env(HOME_TOLD, &told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !told.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let home = PathBuf::from(fs::read_to_string(&told).unwrap());
    assert!(home.exists() && processes_of(&home.to_string_lossy()).iter().any(|(_, line)| line.contains("gpg-agent")));
    child.kill().unwrap();
    child.wait().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while home.with_extension("lock").exists() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert_gone(&home);
}

#[test]
#[ignore = "the child of the test above"]
fn holds_a_private_key_until_it_is_killed() {
    let Some(told) = std::env::var_os(HOME_TOLD).map(PathBuf::from) else { return };
    let secret = secret("other");
    assert_eq!(decrypt(&secret, &encrypt(&["other"], b"once")).unwrap(), b"once");
    let draft = told.with_extension("draft");
    fs::write(&draft, secret.home().to_string_lossy().as_bytes()).unwrap();
    fs::rename(draft, told).unwrap();
    std::thread::sleep(std::time::Duration::from_mins(5));
}
