//! TRAPS 40: what is secret is in no argument, no environment, no output, no file that is kept and no object that is stored.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lifeboat::port::Store;

use super::stand::Case;
use super::surface::swap_runbook;

/// What was seen of the processes of a case while they ran.
#[derive(Default)]
struct Sampled {
    names: BTreeSet<String>,
    texts: BTreeSet<String>,
}

impl Sampled {
    /// Arguments and environment of every process that works for the case: its directory is in the environment of them all, of those too
    /// whose parent let go of them, like gpg and its agent.
    fn look(&mut self, case: &Case) {
        let mark = case.dir.path().to_str().unwrap();
        for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let read = |part: &str| fs::read(entry.path().join(part)).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
            let (Ok(environment), Ok(arguments), Ok(name)) = (read("environ"), read("cmdline"), read("comm")) else { continue };
            if environment.contains(mark) {
                self.names.insert(name.trim().to_owned());
                self.texts.extend([environment, arguments]);
            }
        }
    }

    /// Runs a command to its end and looks all the while; gives its exit code and everything it said.
    fn run(&mut self, case: &Case, args: &[&str]) -> (i32, String) {
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| case.path(name));
        let mut command = case.command(args);
        command.env("RUST_BACKTRACE", "full").stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let until = Instant::now() + Duration::from_mins(1);
        let status = loop {
            self.look(case);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "{args:?} does not end");
        };
        (status.code().unwrap(), format!("{args:?}\n{}{}", fs::read_to_string(&stdout).unwrap(), fs::read_to_string(&stderr).unwrap()))
    }
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

const TELL: &str = r#"
[runbook]
id = "tell"
title = "Tell"
owner = "us"
review_by = 2099-01-01

[[step]]
id = "tell"
title = "Tell"
notify = { channel = "team", message = "run {{ run.id }} in {{ env.name }}" }
"#;

#[test]
fn no_secret_is_seen_anywhere() {
    let case = Case::boxed();
    let [live, staged, kept, into] = ["live", "staged", "kept", "new"].map(|part| case.database(part));
    case.stand.execute("postgres", &format!("CREATE DATABASE {live}"));
    case.stand.execute("postgres", &format!("CREATE DATABASE {staged}"));
    case.write("runbooks/mine.toml", &swap_runbook(&live, &staged, &kept));
    case.write("runbooks/tell.toml", TELL);
    let mut sampled = Sampled::default();
    let mut said = String::new();
    let mut run = |sampled: &mut Sampled, args: &[&str], expected: i32| {
        let (code, words) = sampled.run(&case, args);
        assert_eq!(code, expected, "{words}");
        said += &words;
    };
    let into_set = format!("into={into}");
    for args in [
        &["backup", "orders"][..],
        &["dumps", "--json"],
        &["run", "snapshot-restore", "--plain", "--yes", "--json", "--set", &into_set],
        &["run", "mine", "--plain", "--yes"],
        &["run", "tell", "--plain", "--yes"],
        &["status", "--json"],
        &["report", "--json"],
        &["check", "--json"],
        &["doc", "snapshot-restore"],
        &["verify", "latest", "--level", "L4", "--json"],
    ] {
        run(&mut sampled, args, 0);
    }
    // And where it goes wrong: the server, the store and gpg get what they refuse, and say so.
    let guess = "a-guess-nobody-should-see";
    let wrong = [
        guess.to_owned(),
        serde_json::json!({ "access_key_id": case.stand.the_box.bucket().access_key(), "secret_access_key": guess }).to_string(),
    ];
    let files_with_it = ["guess", "guess.json"].map(|name| case.path(name));
    for (file, text) in files_with_it.iter().zip(&wrong) {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let [file, json] = &files_with_it;
    let dir = case.stand.the_box.dir();
    for (right, wrong, args, code) in [
        (dir.join("postgres.password"), file, &["backup", "orders"][..], 1),
        (case.stand.the_box.keys().passphrase.clone(), file, &["verify", "latest"], 1),
        (case.stand.the_box.bucket().credentials_file(), json, &["dumps"], 1),
    ] {
        let right = format!("{:?}", right.display().to_string());
        case.edit(&right, &format!("{wrong:?}"));
        run(&mut sampled, args, code);
        case.edit(&format!("{wrong:?}"), &right);
    }
    for file in &files_with_it {
        fs::remove_file(file).unwrap();
    }

    for program in ["lifeboat", "pg_dump", "psql", "gpg"] {
        assert!(sampled.names.contains(program), "{program} was never seen: {:?}", sampled.names);
    }
    let mut places: Vec<(String, String)> = vec![("what was said".into(), said)];
    places.extend(sampled.texts.into_iter().map(|text| ("a process".into(), text)));
    let mut kept_files = Vec::new();
    files(case.dir.path(), &mut kept_files);
    for part in ["journal.jsonl", "plan.json", "notices.log"] {
        assert!(kept_files.iter().any(|file| file.ends_with(part)), "no {part} was left: {kept_files:?}");
    }
    places
        .extend(kept_files.iter().map(|file| (file.display().to_string(), String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned())));
    for object in case.store().list("", &case.stand.cx).unwrap() {
        places.push((object.key.clone(), String::from_utf8_lossy(&case.object(&object.key)).into_owned()));
    }
    assert!(places.iter().any(|(name, _)| name.contains(".proof.") || name.contains("L4")), "no proof was kept");
    let mut secrets = case.stand.secrets();
    secrets.push(guess.into());
    for (place, text) in &places {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret ({}…) is in {place}: {text}", &secret[..4]);
        }
    }
    for database in [live, kept, into] {
        case.stand.execute("postgres", &format!("DROP DATABASE {database}"));
    }
}
