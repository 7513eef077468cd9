//! Removing what retention lets go: from a store, and by the real command on a directory.

use std::path::Path;
use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use lifeboat::pipeline::catalogue::list;
use lifeboat::pipeline::manifest::{Digest, Level, Manifest, Proof};
use lifeboat::pipeline::replica;
use lifeboat::pipeline::retention::{Policy, apply, decide};
use lifeboat::pipeline::verify;
use lifeboat::port::Store;
use lifeboat::store::local::{Local, Settings};
use sha2::Digest as _;
use sha2::Sha256;

use super::catalogue::{manifest, place};
use super::context;
use super::shelf::Shelf;

/// `days` dumps of a job, the newest made just now, each proven.
fn nightly(store: &dyn Store, job: &str, days: i64) {
    for day in 0..days {
        let at = Timestamp::now() - SignedDuration::from_hours(24 * day);
        let object = format!("{job}-{day:03}.sql.gz.gpg");
        let stored = Digest { bytes: 5, sha256: hex::encode(Sha256::digest(b"12345")) };
        let manifest = Manifest { snapshot_at: at, started_at: at, ended_at: at, stored, ..manifest(job, &object, 0) };
        put(store, &object, b"12345");
        put(store, &format!("{object}.manifest.json"), &serde_json::to_vec(&manifest).unwrap());
        let proof = Proof {
            dump: manifest.id.clone(),
            level: Level::L2,
            held: true,
            reason: None,
            by: "a@b".into(),
            at,
            took: SignedDuration::ZERO,
            server: None,
            asserted: Vec::new(),
            tool: "lifeboat".into(),
        };
        verify::record(&proof, store, &manifest, &context()).unwrap();
    }
}

fn put(store: &dyn Store, key: &str, bytes: &[u8]) {
    store.put(key, Box::new(std::io::Cursor::new(bytes.to_vec())), &context()).unwrap();
}

fn keep(last: usize) -> Policy {
    Policy { last, verified: 1, ..Policy::default() }
}

// D8, B12, TRAPS 22
#[test]
fn what_may_go_goes_with_its_proofs_and_nothing_of_anothers() {
    let shelf = Shelf::default();
    nightly(&shelf, "orders", 5);
    nightly(&shelf, "orders-staging", 2);
    let cx = context();
    let listing = list(&shelf, Some("orders"), &cx).unwrap();
    let verdicts = decide(&listing, "orders", &keep(2), Timestamp::now()).unwrap();
    let mut gone = Vec::new();
    apply(&verdicts, &shelf, |dump| gone.push(dump.manifest.object.clone()), &cx).unwrap();
    assert_eq!(gone, ["orders-004.sql.gz.gpg", "orders-003.sql.gz.gpg", "orders-002.sql.gz.gpg"], "oldest first");
    assert_eq!(shelf.keys().len(), 4 * 3);
    assert!(shelf.keys().iter().all(|key| ["orders-000", "orders-001", "orders-staging-"].iter().any(|start| key.starts_with(start))));
}

// TRAPS 24
#[test]
fn a_dump_that_could_not_be_removed_is_still_listed() {
    let shelf = Shelf { fail_delete: true, ..Shelf::default() };
    nightly(&shelf, "orders", 3);
    let cx = context();
    let listing = list(&shelf, Some("orders"), &cx).unwrap();
    let verdicts = decide(&listing, "orders", &keep(1), Timestamp::now()).unwrap();
    let report = apply(&verdicts, &shelf, |_| panic!("nothing was removed"), &cx).unwrap_err();
    assert!(report.to_string().contains("orders-002.sql.gz.gpg could not be removed"), "{report}");
    assert_eq!(list(&shelf, Some("orders"), &cx).unwrap().dumps.len(), 3);
}

#[test]
fn a_dump_that_changed_since_it_was_judged_is_left_alone() {
    let shelf = Shelf::default();
    nightly(&shelf, "orders", 2);
    let cx = context();
    let listing = list(&shelf, Some("orders"), &cx).unwrap();
    let verdicts = decide(&listing, "orders", &keep(1), Timestamp::now()).unwrap();
    place(&shelf, &manifest("another-job", "orders-001.sql.gz.gpg", 1));
    let report = apply(&verdicts, &shelf, |_| panic!("nothing was removed"), &cx).unwrap_err();
    assert!(report.to_string().contains("is not what it was a moment ago"), "{report}");
}

fn config(dir: &Path, retention: &str) {
    let text = format!(
        "[environment]\nname = \"test\"\nproduction = false\n[system.db]\nkind = \"postgres\"\nhost = \"/nowhere\"\nuser = \"u\"\ndatabase = \"d\"\n\
         [store.vault]\nkind = \"local\"\npath = \"vault\"\n[key.k]\npublic = [\"k.asc\"]\n\
         [job.orders]\nsystem = \"db\"\nstore = \"vault\"\nkeys = [\"k\"]\n{retention}\n"
    );
    std::fs::write(dir.join("lifeboat.toml"), text).unwrap();
}

fn prune(dir: &Path, words: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeboat")).args(["prune", "orders"]).args(words).current_dir(dir).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, told)
}

// B12
#[test]
fn the_command_shows_its_plan_and_removes_nothing_until_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = shelf_in(dir.path(), "vault");
    nightly(&store, "orders", 4);
    config(dir.path(), "retention = { last = 1, daily = 2, verified = 1 }");
    let everything = || list(&store, None, &context()).unwrap().dumps.len();

    let (output, told) = prune(dir.path(), &[]);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("newest, last, daily, verified"), "{told}");
    assert!(told.contains("2 may go: lifeboat prune orders --apply"), "{told}");
    assert_eq!(everything(), 4);

    let (output, told) = prune(dir.path(), &["--apply"]);
    assert!(output.status.success() && told.contains("removed orders-003.sql.gz.gpg") && told.contains("2 of 2 removed"), "{told}");
    assert_eq!(everything(), 2);
}

#[test]
fn the_command_refuses_on_doubt_and_without_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    let store = shelf_in(dir.path(), "vault");
    nightly(&store, "orders", 4);
    config(dir.path(), "");
    let (output, told) = prune(dir.path(), &["--apply"]);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("its dumps stay for ever"), "{told}");

    config(dir.path(), "retention = { last = 1, verified = 1 }");
    put(&store, "strange.sql.gz.gpg.manifest.json", b"{");
    let (output, told) = prune(dir.path(), &["--apply"]);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("nothing may be removed") && told.contains("strange.sql.gz.gpg"), "{told}");
    assert_eq!(list(&store, None, &context()).unwrap().dumps.len(), 4);
}

// D7, D8
#[test]
fn the_copies_in_a_replica_go_by_their_own_rule_and_are_proven_by_the_proofs_of_their_originals() {
    let dir = tempfile::tempdir().unwrap();
    let [primary, second] = ["vault", "second"].map(|name| shelf_in(dir.path(), name));
    nightly(&primary, "orders", 9);
    for day in 0..9 {
        replica::copy(&format!("orders-{day:03}.sql.gz.gpg"), &primary, &second, &context()).unwrap();
    }
    config(dir.path(), "retention = { age = \"180d\" }\nreplica_retention = { age = \"7d\" }");
    let (output, told) = prune(dir.path(), &["--replica"]);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("the store vault has no replica"), "{told}");

    let text = std::fs::read_to_string(dir.path().join("lifeboat.toml")).unwrap();
    let replica = "path = \"vault\"\nreplica = \"second\"\n[store.second]\nkind = \"local\"\npath = \"second\"";
    std::fs::write(dir.path().join("lifeboat.toml"), text.replace("path = \"vault\"", replica)).unwrap();
    let left = |store: &Local| list(store, None, &context()).unwrap().dumps.len();
    let (output, told) = prune(dir.path(), &["--replica"]);
    assert!(output.status.success() && told.contains("may go: lifeboat prune orders --replica --apply"), "{told}");
    assert_eq!((left(&primary), left(&second)), (9, 9));
    let (output, told) = prune(dir.path(), &["--replica", "--apply"]);
    assert!(output.status.success(), "{told}");
    assert_eq!((left(&primary), left(&second)), (9, 8), "{told}");
    let stale = replica::compare(&primary, &second, SignedDuration::ZERO, Timestamp::now(), &context()).unwrap().stale;
    assert_eq!(stale, [], "what was let go is not missed");
}

fn shelf_in(dir: &std::path::Path, name: &str) -> Local {
    std::fs::create_dir(dir.join(name)).unwrap();
    Local::new(Settings { path: dir.join(name) })
}
