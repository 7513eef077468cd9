//! What people get wrong, and what the world does to them: one clear error that names the thing and what to do, the right exit code,
//! nothing lost and nothing half done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat::drill::bucket::{Bucket, Fault};
use lifeboat::port::Store;

use super::stand::{Case, told};
use crate::pipeline::keys::keys;

/// The lines of the box's configuration that are changed below.
pub fn secret_line(case: &Case) -> String {
    format!("secret = {{ file = \"{}\" }}", case.stand.the_box.keys().secret.display())
}

pub fn passphrase_line(case: &Case) -> String {
    format!("passphrase = {{ file = \"{}\" }}", case.stand.the_box.keys().passphrase.display())
}

fn public_line(case: &Case) -> String {
    format!("public = [\"{}\"]", case.stand.the_box.keys().public.display())
}

// Keys.

#[test]
fn a_dump_is_not_opened_with_a_key_it_was_not_made_for() {
    let case = Case::new();
    let dump = case.dump();
    case.edit(&secret_line(&case), &format!("secret = {{ file = {:?} }}", keys().secret("other")));
    case.edit(&passphrase_line(&case), "");
    let fingerprint = case.stand.the_box.keys().fingerprint.clone();
    let words = [&format!("is encrypted to {}", &fingerprint[24..]), "not to the key given, other <other@example.org>"];
    case.refused(&["restore", &dump, "--into", &case.database("new")], 3, &words);
    case.refused(&["verify", &dump, "--level", "L2"], 3, &[&dump, &fingerprint, "not one of its recipients"]);
}

#[test]
fn a_key_without_its_passphrase_says_where_to_put_it() {
    let case = Case::new();
    let dump = case.dump();
    let (database, line) = (case.database("new"), passphrase_line(&case));
    case.edit(&line, "");
    case.refused(&["restore", &dump, "--into", &database], 2, &["needs a passphrase, and none was given", "set `passphrase`"]);
    case.edit("[key.backup]", "[key.backup]\npassphrase = { file = \"nowhere\" }");
    case.refused(&["verify", &dump], 2, &["the passphrase of key backup cannot be read", "nowhere"]);
    case.edit("{ file = \"nowhere\" }", "{ env = \"PASSPHRASE_OF_BACKUP\" }");
    case.refused(&["verify", &dump], 2, &["the passphrase of key backup is missing", "export PASSPHRASE_OF_BACKUP="]);
}

#[test]
fn a_wrong_passphrase_is_told_as_one() {
    let case = Case::new();
    let dump = case.dump();
    let guess = case.write("guess", "correct horse\n");
    case.edit(&passphrase_line(&case), &format!("passphrase = {{ file = {guess:?} }}"));
    let told = case.refused(
        &["restore", &dump, "--into", &case.database("new")],
        1,
        &["the passphrase given does not open", "look at `passphrase`"],
    );
    assert!(!told.stderr.contains("correct horse"), "{told}");
    case.refused(&["verify", &dump], 1, &["the passphrase given does not open"]);
}

#[test]
fn nothing_is_dumped_to_an_expired_key() {
    let case = Case::new();
    case.edit(&public_line(&case), &format!("public = [{:?}]", keys().public("expired")));
    case.refused(&["backup", "orders"], 2, &["expired@example.org", "expired on 2020-01-11", "gpg --quick-set-expire"]);
}

// TRAPS 49
#[test]
fn a_recipient_that_cannot_encrypt_is_named_before_the_dump_starts() {
    let case = Case::new();
    case.edit(&public_line(&case), &format!("public = [{:?}]", keys().public("signer")));
    case.refused(&["backup", "orders"], 2, &["signer@example.org", "no subkey that encrypts", "gpg --quick-add-key"]);
}

// The store.

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let case = Case::new();
    let name = case.stand.the_box.bucket().bucket().to_owned();
    case.edit(&format!("bucket = {name:?}"), "bucket = \"no-such-bucket\"");
    case.refused(&["backup", "orders"], 1, &["the bucket `no-such-bucket` does not exist", "s3 mb s3://no-such-bucket"]);
    case.refused(&["dumps"], 1, &["the bucket `no-such-bucket` does not exist"]);
}

#[test]
fn credentials_that_are_refused_are_told_with_where_they_came_from() {
    let case = Case::new();
    let bucket = case.stand.the_box.bucket();
    let wrong = serde_json::json!({ "access_key_id": bucket.access_key(), "secret_access_key": "not-the-secret" });
    let wrong = case.write("wrong.json", &wrong.to_string());
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    case.edit(&format!("{:?}", bucket.credentials_file()), &format!("{wrong:?}"));
    for args in [["backup", "orders"], ["dumps", "orders"]] {
        let told = case.refused(&args, 1, &["does not accept the secret key", "SignatureDoesNotMatch", "check the store's `credentials`"]);
        assert!(!told.stderr.contains("not-the-secret"), "{told}");
    }
}

/// A bucket of the test's own, which may be made to fail.
fn own_bucket(case: &Case) -> Bucket {
    let shared = case.stand.the_box.bucket();
    let bucket = Bucket::start(&case.path("bucket"), &case.stand.cx).unwrap();
    let file = |bucket: &Bucket| bucket.credentials_file().display().to_string();
    case.edit(&file(shared), &file(&bucket));
    case.edit(&format!("{:?}", shared.endpoint()), &format!("{:?}", bucket.endpoint()));
    bucket
}

fn objects(case: &Case, bucket: &Bucket) -> Vec<String> {
    let store = lifeboat::store::s3::S3::new(bucket.settings(), &case.stand.cx).unwrap();
    assert_eq!(store.unfinished(&case.stand.cx).unwrap(), [], "an upload was left unfinished");
    let keys = store.list("", &case.stand.cx).unwrap().into_iter().map(|object| object.key);
    keys.filter(|key| !key.contains(".lifeboat/")).collect()
}

#[test]
fn a_writer_who_may_not_write_is_told_which_right_is_missing() {
    let case = Case::new();
    let bucket = own_bucket(&case);
    bucket.fault(Fault::RefuseWrites);
    case.refused(&["backup", "orders"], 1, &["nothing was published", "AccessDenied", "s3:PutObject"]);
    assert_eq!(objects(&case, &bucket), [""; 0]);
    bucket.heal();
    case.done(&["backup", "orders"]);
    assert_eq!(objects(&case, &bucket).len(), 2, "the dump and its manifest");
}

#[test]
fn a_store_that_is_full_keeps_nothing_of_the_dump() {
    let case = Case::new();
    let bucket = own_bucket(&case);
    bucket.fault(Fault::FullDisk);
    case.refused(&["backup", "orders"], 1, &["nothing was published"]);
    assert_eq!(objects(&case, &bucket), [""; 0]);
}

#[test]
fn a_full_disk_is_told_and_left_as_it_was() {
    let case = Case::new();
    let disk = case.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        eprintln!("skipped: no small disk can be mounted here");
        return;
    }
    let _mounted = Mounted(&disk);
    case.append(&format!("[store.small]\nkind = \"local\"\npath = {disk:?}"));
    case.edit("store = \"vault\"", "store = \"small\"");
    case.refused(&["backup", "orders"], 1, &["nothing was published", "no space left in", "df -h"]);
    let left: Vec<_> = fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).filter(|name| name != ".lifeboat").collect();
    assert!(left.is_empty(), "{left:?}");
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0).status().ok();
    }
}

// The system.

#[test]
fn a_database_that_is_missing_is_named() {
    let case = Case::new();
    let user = case.stand.the_box.cluster().user();
    case.edit(&format!("user = {user:?}\ndatabase = \"orders\""), &format!("user = {user:?}\ndatabase = \"ordres\""));
    case.refused(&["backup", "orders"], 1, &["\"ordres\"", "does not exist", "look at `database` in [system.orders]"]);
}

#[test]
fn a_system_that_does_not_answer_is_named() {
    let case = Case::new();
    let host = case.stand.the_box.cluster().host().display().to_string();
    case.edit(&format!("host = {host:?}"), "host = \"/tmp/nobody-listens-here\"");
    let words = ["cannot connect to database \"orders\"", "/tmp/nobody-listens-here", "`host` and `port` in [system.orders]"];
    case.refused(&["backup", "orders"], 1, &words);
}

// TRAPS 32
#[test]
fn a_client_older_than_the_server_is_refused_before_it_starts() {
    let case = Case::new();
    let bin = case.path("bin");
    fs::create_dir(&bin).unwrap();
    let script = case.write("bin/pg_dump", "#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.1'\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    case.edit(&format!("bin = {:?}", case.stand.the_box.cluster().bin()), &format!("bin = {bin:?}"));
    case.refused(&["backup", "orders"], 3, &["newer than the newest client here, 12.1", "apt install postgresql-client-"]);
}

// Dumps that are not what they were.

#[test]
fn a_cut_dump_is_refused_by_name_and_passed_over() {
    let case = Case::new();
    let dump = case.dump();
    case.stand.the_box.bucket().truncate(&case.key(&dump), 1000).unwrap();
    let words = [dump.as_str(), "has 1000 bytes where its manifest says"];
    case.refused(&["restore", &dump, "--into", &case.database("new")], 3, &words);
    case.refused(&["verify", &dump], 3, &words);
    case.refused(&["restore", "latest", "--into", &case.database("new")], 3, &["there is no dump to take", words[1]]);
}

#[test]
fn an_emptied_dump_is_refused() {
    let case = Case::new();
    let dump = case.dump();
    case.stand.the_box.bucket().truncate(&case.key(&dump), 0).unwrap();
    case.refused(&["restore", &dump, "--into", &case.database("new")], 3, &[&dump, "has 0 bytes where its manifest says"]);
}

#[test]
fn a_flipped_bit_is_found_whatever_is_done_with_the_dump() {
    let case = Case::new();
    let dump = case.dump();
    let middle = case.object(&dump).len() as u64 / 2;
    case.stand.the_box.bucket().flip(&case.key(&dump), middle).unwrap();
    case.refused(&["restore", &dump, "--into", &case.database("new")], 3, &[&format!("{dump} does not hold at L1")]);
    // The proof that failed is kept; nothing else is new.
    let before = case.footprint();
    let told = case.run(&["verify", &dump, "--level", "L4"]);
    told.is(3, &[&format!("{dump} does not hold at L1"), "lifeboat dumps"]);
    let after = case.footprint();
    assert_ne!(before, after, "no record of the proof that failed");
    case.refused(&["restore", "latest", "--into", &case.database("new")], 3, &["there is no dump to take", "disproven at L1"]);
}

#[test]
fn a_dump_without_its_manifest_is_no_dump() {
    let case = Case::new();
    let (gone, kept) = (case.dump(), case.dump());
    case.store().delete(&format!("{gone}.manifest.json"), &case.stand.cx).unwrap();
    let listed = case.done(&["dumps"]);
    assert!(listed.contains(&kept) && !listed.contains(&gone), "{listed}");
    let words = [&format!("there is no dump called {gone}"), kept.as_str()];
    case.refused(&["restore", &gone, "--into", &case.database("new")], 3, &words);
}

#[test]
fn an_unknown_dump_tells_its_neighbours() {
    let case = Case::new();
    let dump = case.dump();
    let near = format!("{dump}x");
    case.refused(&["verify", &near], 3, &[&format!("there is no dump called {near}"), &dump]);
}

#[test]
fn two_dumps_of_one_name_are_not_made() {
    let case = Case::new();
    case.edit("{stage}-{yyyyMMddHHmmss}.sql", "{stage}-{yyyyMMddHHmm}.sql");
    let told = [case.run(&["backup", "orders"]), case.run(&["backup", "orders"])];
    assert_eq!(told.each_ref().map(|told| told.code), [0, 0], "{told:?}");
    let [first, second] = told.each_ref().map(|told| told.stderr.split("= dump: ").nth(1).unwrap().lines().next().unwrap());
    assert_ne!(first, second);
}

// Runbooks.

const RUNBOOK: &str = r#"
[runbook]
id = "mine"
title = "A test"
owner = "us"
review_by = 2099-01-01

[parameters.size]
help = "how much"
kind = "integer"
default = "1"

[[step]]
id = "a"
title = "Wait"
wait = "1ms"
"#;

#[test]
fn a_runbook_that_is_no_toml_is_shown_with_its_line() {
    let case = Case::new();
    case.write("runbooks/mine.toml", "[runbook\nid = \"mine\"");
    case.refused(&["run", "mine", "--plain"], 2, &["runbooks/mine.toml:1:", "lifeboat check"]);
    assert!(case.runs().is_empty(), "a run was begun");
}

#[test]
fn two_steps_of_one_id_are_refused() {
    let case = Case::new();
    case.write("runbooks/mine.toml", &format!("{RUNBOOK}\n[[step]]\nid = \"a\"\ntitle = \"Again\"\nwait = \"1ms\"\n"));
    case.refused(&["run", "mine", "--plain"], 2, &["runbooks/mine.toml:", "`a`"]);
    assert!(case.runs().is_empty(), "a run was begun");
}

#[test]
fn a_parameter_that_does_not_exist_is_refused_with_the_one_that_does() {
    let case = Case::new();
    case.write("runbooks/mine.toml", RUNBOOK);
    case.refused(&["run", "mine", "--plain", "--set", "sise=2"], 2, &["sise", "did you mean `size`?"]);
    case.refused(&["run", "mine", "--plain", "--set", "size=many"], 2, &["size", "many"]);
    case.refused(&["run", "mine", "--plain", "--set", "size=1", "--set", "size=2"], 2, &["--set size is given twice"]);
    assert!(case.runs().is_empty(), "a run was begun");
    case.done(&["run", "mine", "--plain", "--yes", "--set", "size=2"]);
}

#[test]
fn an_unknown_runbook_is_answered_with_the_one_that_was_meant() {
    let case = Case::new();
    case.refused(&["run", "restore-produktion", "--plain"], 2, &["restore-produktion", "did you mean `restore-production`?"]);
    case.refused(&["doc", "restore-produktion"], 2, &["restore-produktion", "did you mean `restore-production`?"]);
}

#[test]
fn a_shipped_runbook_says_what_this_configuration_lacks_for_it() {
    let case = Case::new();
    case.edit("[vars]", "[vars]\nunused = \"x\"\n#");
    let site = case.stand.the_box.site();
    case.edit(&format!("site_admin = {:?}", site.admin()), "");
    let told = case.refused(&["run", "restore-production", "--plain"], 2, &["site_admin", "add it to", case.config().to_str().unwrap()]);
    assert!(!told.stderr.contains("lifeboat check runbooks/"), "a hint that leads nowhere: {told}");
}

// Names.

#[test]
fn an_unknown_job_is_answered_with_the_one_that_was_meant() {
    let case = Case::new();
    for args in [&["backup", "order"][..], &["dumps", "order"], &["restore", "latest", "--into", "x", "--job", "order"]] {
        case.refused(args, 2, &["has no job `order`", "did you mean `orders`?"]);
    }
}

#[test]
fn an_absent_job_is_as_if_it_were_not_written() {
    let case = Case::new();
    case.append("[job.old]\nensure = \"absent\"\nsystem = \"orders\"\nstore = \"vault\"\nkeys = [\"backup\"]");
    case.dump();
    assert!(!case.done(&["status"]).contains("old "), "the absent job has a status");
    case.refused(&["backup", "old"], 2, &["the job `old` is absent"]);
}

#[test]
fn a_scenario_that_does_not_exist_is_refused_before_the_box_is_made() {
    let case = Case::new();
    let demo = |name: &str| told(case.bare(&["demo", "--plain", "--yes", "--scenario", name]).output().unwrap());
    demo("droped-table").is(2, &["there is no scenario \"droped-table\"", "did you mean dropped-table?"]);
    demo("meteor").is(2, &["there is no scenario \"meteor\"", "deleted-orders"]);
    assert_eq!(fs::read_dir(case.path("tmp")).unwrap().count(), 0);
}

#[test]
fn an_unknown_run_and_one_that_is_over_are_not_resumed() {
    let case = Case::new();
    case.refused(&["resume", "--plain"], 2, &["there is no run", "lifeboat runs"]);
    case.dump();
    let run = case.runs()[0].file_name().unwrap().to_str().unwrap().to_owned();
    let journal = case.runs()[0].join("journal.jsonl");
    let before = fs::read(&journal).unwrap();
    case.refused(&["resume", &run, "--plain"], 3, &[&format!("run {run} is over"), &format!("lifeboat report {run}")]);
    case.refused(&["resume", "nothing", "--plain"], 2, &["there is no run \"nothing\"", "lifeboat runs"]);
    for args in [["report", "nothing"], ["watch", "nothing"]] {
        case.refused(&args, 2, &["there is no run \"nothing\"", "lifeboat runs"]);
    }
    assert_eq!(fs::read(&journal).unwrap(), before, "the journal of a run that is over was written to");
}

// Configurations.

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let case = Case::new();
    let at = |command: &mut Command| told(command.output().unwrap());
    at(case.bare(&["dumps"]).arg("--config").arg("/nowhere/lifeboat.toml")).is(2, &["there is no configuration at /nowhere/lifeboat.toml"]);
    at(case.bare(&["dumps"]).env("LIFEBOAT_CONFIG", "/nowhere/x.toml")).is(2, &["there is no configuration at /nowhere/x.toml"]);
    at(&mut case.bare(&["dumps"])).is(2, &["there is no configuration", "looked at lifeboat.toml", "lifeboat demo"]);
}

#[test]
fn a_password_written_into_the_configuration_is_refused_and_not_repeated() {
    let case = Case::new();
    let file = case.stand.the_box.dir().join("postgres.password");
    case.edit(&format!("password = {{ file = {file:?} }}"), "password = \"hunter2\"");
    for args in [&["backup", "orders"][..], &["check"], &["check", "--json"]] {
        let told = case.run(args);
        assert_eq!(told.code, 2, "{told}");
        assert!(told.stderr.contains("a secret is written out") && told.stderr.contains("{ file = \"path\" }"), "{told}");
        assert!(!format!("{told}").contains("hunter2"), "{told}");
    }
    case.refused(&["backup", "orders"], 2, &["toml:", "lifeboat check"]);
}

// Restore and swap.

#[test]
fn a_restore_into_a_database_that_exists_is_refused() {
    let case = Case::new();
    let dump = case.dump();
    let taken = case.database("taken");
    case.stand.execute("postgres", &format!("CREATE DATABASE {taken}"));
    for database in ["", &"x".repeat(64)] {
        case.refused(&["restore", &dump, "--into", database], 2, &["cannot be the name of a database", "1 to 63 bytes"]);
    }
    for database in ["orders", &taken] {
        case.refused(&["restore", &dump, "--into", database], 3, &[&format!("database {database:?} exists already"), "not taken"]);
    }
    case.stand.execute("postgres", &format!("DROP DATABASE {taken}"));
}

#[test]
fn a_swap_with_a_database_that_is_not_there_changes_nothing() {
    let case = Case::boxed();
    let (live, staged, kept) = (case.database("live"), case.database("staged"), case.database("kept"));
    case.stand.execute("postgres", &format!("CREATE DATABASE {live}"));
    case.write("runbooks/mine.toml", &super::surface::swap_runbook(&live, &staged, &kept));
    let told = case.refused(&["run", "mine", "--plain", "--yes"], 3, &[&format!("there is no database {staged:?}"), "lifeboat resume"]);
    assert!(told.stderr.contains("step swap failed"), "{told}");
    case.stand.execute("postgres", &format!("DROP DATABASE {live}"));
}

// The terminal.

#[test]
fn whoever_closes_stdout_has_read_enough() {
    let case = Case::new();
    case.dump();
    for args in [&["dumps"][..], &["dumps", "--json"], &["status"], &["runs"], &["report"], &["doc", "restore-production"], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = case.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), words.as_str()), (Some(0), ""), "{args:?}");
    }
}
