//! What is said: of dumps that are no good, of stores that are not there, of names that mean nothing, and how it is written.

use std::fs;

use lifeboat::port::Store as _;
use serde_json::Value;

use super::bad_input::{passphrase_line, secret_line};
use super::stand::{Case, Told, told};
use crate::pipeline::keys::keys;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The lines of stderr that hold this.
fn lines<'a>(told: &'a Told, what: &str) -> Vec<&'a str> {
    told.stderr.lines().filter(|line| line.contains(what)).collect()
}

// Proofs.

#[test]
fn a_disproven_dump_does_not_look_like_one_never_proven() {
    let case = Case::new();
    let (good, bad) = (case.dump(), case.dump());
    case.stand.the_box.bucket().flip(&case.key(&bad), 5000).unwrap();
    case.run(&["verify", &bad, "--level", "L1"]).is(3, &["does not hold at L1"]);
    let row = |table: &str, dump: &str| table.lines().find(|line| line.starts_with(dump)).unwrap().to_owned();
    let listed = case.done(&["dumps"]);
    assert!(row(&listed, &bad).ends_with("NOT L1") && row(&listed, &good).ends_with("not yet"), "{listed}");
    let told = parsed(&case.done(&["dumps", "--json"]));
    assert_eq!((&told[0]["disproven"]["level"], &told[1]["disproven"]), (&"L1".into(), &Value::Null), "{told}");
    case.append("[job.orders.retention]\nlast = 5\nverified = 0");
    assert!(row(&case.done(&["prune", "orders"]), &bad).contains("NOT L1"));
    let told = parsed(&case.done(&["prune", "orders", "--json"]));
    assert_eq!((&told["dumps"][0]["dump"], &told["dumps"][0]["disproven"]), (&bad.into(), &"L1".into()), "{told}");
}

#[test]
fn one_dump_holds_and_two_dumps_hold() {
    let case = Case::new();
    let count = |words: &str| {
        let told = case.run(&["verify", "--all", "--job", "orders", "--level", "L1"]);
        assert!(told.code == 0 && told.stderr.ends_with(&format!("{words}\n")), "{told}");
    };
    count("there is no dump to prove");
    let dump = case.dump();
    count("1 dump holds");
    case.dump();
    count("2 dumps hold");
    let told = case.run(&["verify", "--unproven", "--job", "orders", "--level", "L1"]);
    assert!(told.stderr.ends_with("every dump is proven so far\n"), "{told}");
    let told = case.run(&["restore", &dump, "--into", "orders"]);
    assert!(!told.stderr.contains("1 steps"), "{told}");
}

#[test]
fn what_was_pruned_is_not_said_to_be_there() {
    let case = Case::new();
    let (old, new) = (case.dump(), case.dump());
    case.append("[job.orders.retention]\nlast = 1\nverified = 0");
    let shown = case.done(&["prune", "orders"]);
    assert!(shown.contains("may go") && shown.contains(&old), "{shown}");
    let told = case.run(&["prune", "orders", "--apply"]);
    assert!(told.code == 0 && told.stderr.contains("1 of 1 removed") && told.stdout.contains(&new), "{told}");
    assert!(!told.stdout.contains("may go") && !told.stdout.contains(&old), "{told}");
    assert_eq!(lines(&told, &format!("removed {old}")).len(), 1, "{told}");
}

// Keys.

#[test]
fn a_private_key_that_is_not_there_is_found_before_the_night_it_is_needed() {
    let case = Case::new();
    let line = secret_line(&case);
    case.edit(&line, "secret = { file = \"nowhere.asc\" }");
    let told = case.run(&["check"]);
    assert!(told.code == 2 && told.stderr.contains("the private key of [key.backup] cannot be read"), "{told}");
    assert!(told.stderr.contains("nowhere.asc") && told.stderr.contains("leaves `secret` out"), "{told}");
    let problem = &parsed(&case.run(&["check", "--json"]).stdout)[0];
    assert!(problem["line"].is_u64(), "{problem}");
    // A file that was named may be meant for another machine.
    assert_eq!(told_of_file(&case).code, 0);
    case.edit("secret = { file = \"nowhere.asc\" }", "");
    case.done(&["check"]);
    case.edit(&passphrase_line(&case), "passphrase = { file = \"nowhere\" }");
    let told = case.run(&["check"]);
    assert!(told.code == 2 && told.stderr.contains("the passphrase of [key.backup] cannot be read"), "{told}");
}

fn told_of_file(case: &Case) -> Told {
    told(case.bare(&["check"]).arg(case.config()).output().unwrap())
}

#[test]
fn a_private_key_is_proven_to_open_what_the_public_one_closes() {
    let case = Case::new();
    let finding = |code: i32| {
        let told = case.run(&["check", "--online", "--json"]);
        assert_eq!(told.code, code, "{told}");
        let found = parsed(&told.stdout);
        let found = found.as_array().unwrap().iter().find(|seen| seen["subject"] == "key backup" && seen["what"] == "can open");
        found.unwrap_or_else(|| panic!("{told}")).clone()
    };
    let seen = finding(0);
    assert!(seen["words"].as_str().unwrap().contains("opened what was encrypted"), "{seen}");
    let line = secret_line(&case);
    case.edit(&line, &format!("secret = {{ file = {:?} }}", keys().secret("other")));
    let passphrase = passphrase_line(&case);
    case.edit(&passphrase, "");
    let seen = finding(3);
    assert!(seen["held"] == false && seen["words"].as_str().unwrap().contains("not to the key given"), "{seen}");
    case.edit(&format!("secret = {{ file = {:?} }}", keys().secret("other")), "");
    let seen = finding(0);
    assert!(seen["words"].as_str().unwrap().contains("no private key here"), "{seen}");
}

#[test]
fn a_file_that_is_no_private_key_is_named() {
    let case = Case::new();
    let dump = case.dump();
    let wrong = case.write("wrong.asc", "not a key");
    case.edit(&secret_line(&case), &format!("secret = {{ file = {wrong:?} }}"));
    case.refused(&["verify", &dump], 2, &["the private key of [key.backup]", "wrong.asc", "gpg --armor --export-secret-keys"]);
}

// Stores.

#[test]
fn a_directory_that_is_not_there_is_no_empty_store() {
    let case = Case::new();
    let disk = case.path("disk/vault");
    case.append(&format!("[store.disk]\nkind = \"local\"\npath = {disk:?}"));
    case.edit("store = \"vault\"", "store = \"disk\"");
    let words = [disk.to_str().unwrap(), "is not there", "is the disk mounted?", "mkdir -p -m 700"];
    for args in [&["dumps"][..], &["restore", "latest", "--into", "new"], &["backup", "orders"], &["sweep"], &["peek", "x"]] {
        case.refused(args, 1, &words);
        assert!(!case.path("disk").exists(), "{args:?} made the directory");
    }
    let told = case.run(&["check", "--online"]);
    assert!(told.code == 3 && told.stdout.contains("is the disk mounted?"), "{told}");
    assert!(!case.path("disk").exists(), "a check made the directory");
    fs::create_dir_all(&disk).unwrap();
    case.done(&["backup", "orders"]);
    assert_eq!(case.done(&["dumps"]).lines().count(), 2);
}

// Names.

#[test]
fn an_unknown_name_is_not_looked_for_in_two_jobs_with_two_answers() {
    let case = Case::new();
    let dump = case.dump();
    case.append("[job.second]\nsystem = \"orders\"\nstore = \"vault\"\nkeys = [\"backup\"]");
    let told = case.refused(&["verify", "nothing"], 3, &["there is no dump called nothing", &format!("there are: {dump}")]);
    assert_eq!(lines(&told, "  try: ").len(), 1, "{told}");
}

#[test]
fn an_object_without_its_manifest_is_told_as_one() {
    let case = Case::new();
    let (gone, _) = (case.dump(), case.dump());
    case.store().delete(&format!("{gone}.manifest.json"), &case.stand.cx).unwrap();
    let words = [format!("there is no dump called {gone}"), "an object of that name is there, without a manifest".to_owned()];
    case.refused(&["verify", &gone], 3, &words.each_ref().map(String::as_str));
}

#[test]
fn nothing_older_names_the_oldest() {
    let case = Case::new();
    let dump = case.dump();
    let words = ["there is no dump of before 2020-01-01T00:00:00Z to take", &format!("the oldest is {dump} of ")];
    case.refused(&["restore", "before:2020-01-01T00:00Z", "--into", &case.database("new")], 3, &words);
}

#[test]
fn a_table_may_be_called_by_its_own_name_alone() {
    let case = Case::new();
    let dump = case.dump();
    let new = case.database("bare");
    case.done(&["restore", &dump, "--into", &new, "--table", "orders"]);
    case.stand.execute("postgres", &format!("DROP DATABASE {new}"));
    for args in [&["peek", &dump, "oders"][..], &["restore", &dump, "--into", &new, "--table", "oders"]] {
        case.refused(args, 3, &[&format!("there is no table oders in {dump}"), "shop.orders"]);
    }
}

#[test]
fn a_directory_is_no_configuration_and_is_not_said_to_be_missing() {
    let case = Case::new();
    let told = told(case.bare(&["dumps"]).arg("--config").arg(case.dir.path()).output().unwrap());
    told.is(2, &["is a directory, not a configuration", "lifeboat.toml"]);
}

// How it is written.

#[test]
fn a_hint_of_several_lines_can_be_pasted() {
    let case = Case::new();
    let told = case.refused(&["prune", "orders"], 2, &["has no retention"]);
    let (_, hint) = told.stderr.split_once("  try: ").unwrap();
    let hint: toml::Table = hint.parse().unwrap_or_else(|error| panic!("{error}: {told}"));
    assert!(hint["job"]["orders"]["retention"]["age"].is_str(), "{told}");
}

#[test]
fn what_is_wrong_with_a_dump_is_said_of_it_once() {
    let case = Case::new();
    let (whole, cut) = (case.dump(), case.dump());
    case.stand.the_box.bucket().truncate(&case.key(&cut), 1000).unwrap();
    case.append(
        "[job.orders.retention]\nlast = 1\nverified = 0\n[job.second]\nsystem = \"orders\"\nstore = \"vault\"\nkeys = [\"backup\"]",
    );
    let status = case.run(&["status"]);
    assert!(status.stdout.contains(&format!("{cut} has 1000 bytes")), "{status}");
    let into = case.database("once");
    let restored = case.run(&["restore", "latest", "--job", "orders", "--into", &into]);
    assert!(restored.code == 0 && restored.stderr.contains(&format!("passed over {cut} has 1000 bytes")), "{restored}");
    case.stand.execute("postgres", &format!("DROP DATABASE {into}"));
    let pruned = case.refused(&["prune", "orders"], 3, &["nothing may be removed", &format!("because: {cut} has 1000 bytes")]);
    for told in [&status, &restored, &pruned] {
        assert!(!told.to_string().contains(&format!("{cut}: {cut}")), "{told}");
    }
    // Nobody knows whose a garbled manifest is: it is told once, and not once for each job.
    let key = format!("{whole}.manifest.json");
    case.store().delete(&key, &case.stand.cx).unwrap();
    case.store().put(&key, Box::new(std::io::Cursor::new(b"{}".to_vec())), &case.stand.cx).unwrap();
    let told = case.run(&["dumps"]);
    assert_eq!(lines(&told, "the manifest of").len(), 1, "{told}");
}

#[test]
fn a_role_that_may_not_make_databases_is_told_what_it_lacks() {
    let case = Case::new();
    let dump = case.dump();
    let role = case.database("role");
    case.stand.execute("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT pg_monitor TO {role}"));
    let password = case.write("role.password", "x\n");
    let cluster = case.stand.the_box.cluster();
    case.edit(&format!("user = {:?}", cluster.user()), &format!("user = {role:?}"));
    case.edit(
        &format!("password = {{ file = {:?} }}", case.stand.the_box.dir().join("postgres.password")),
        &format!("password = {{ file = {password:?} }}"),
    );
    let told = case.run(&["restore", &dump, "--into", &case.database("new")]);
    case.stand.execute("postgres", &format!("DROP ROLE {role}"));
    assert!(told.code != 0 && told.stderr.contains("permission denied to create database"), "{told}");
    assert!(told.stderr.contains(&format!("ALTER ROLE \"{role}\" CREATEDB")), "{told}");
}

#[test]
fn a_secret_that_cannot_be_read_is_a_wrong_configuration_and_one_that_does_not_fit_is_a_failure() {
    let case = Case::new();
    let dump = case.dump();
    let line = passphrase_line(&case);
    let guess = case.write("guess", "correct horse\n");
    case.edit(&line, &format!("passphrase = {{ file = {guess:?} }}"));
    case.refused(&["verify", &dump], 1, &["the passphrase given does not open"]);
    case.edit(&format!("passphrase = {{ file = {guess:?} }}"), "passphrase = { file = \"nowhere\" }");
    case.refused(&["verify", &dump], 2, &["the passphrase of key backup cannot be read", "nowhere"]);
}

#[test]
fn the_help_of_run_says_where_parameters_are_to_be_found() {
    let case = Case::new();
    let help = told(case.bare(&["run", "--help"]).output().unwrap());
    assert!(help.stdout.contains("lifeboat doc RUNBOOK"), "{help}");
    assert!(case.done(&["doc", "restore-production"]).contains("incident_at"));
}
