//! What every command shows: help, JSON that parses, exit codes; and that nobody but a person confirms danger.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lifeboat::port::Store;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;

use super::stand::{Case, Told, told};

/// Every subcommand, as DESIGN lists them.
const COMMANDS: [&str; 27] = [
    "demo",
    "run",
    "resume",
    "runs",
    "watch",
    "report",
    "journal",
    "backup",
    "dumps",
    "verify",
    "peek",
    "diff",
    "lease",
    "sweep",
    "prune",
    "replica",
    "ticket",
    "restore",
    "pull",
    "swap",
    "unswap",
    "kept",
    "check",
    "doc",
    "status",
    "completions",
    "man",
];

/// A runbook of one dangerous step.
pub fn swap_runbook(live: &str, staged: &str, kept: &str) -> String {
    format!(
        r#"
[runbook]
id = "mine"
title = "Swap"
owner = "us"
review_by = 2099-01-01

[[step]]
id = "swap"
title = "Swap"
swap = {{ system = "orders", live = "{live}", staged = "{staged}", keep_as = "{kept}" }}
danger = "{live}"
verify = [{{ title = "both are there", sql = {{ system = "orders", query = "SELECT count(*) FROM pg_database WHERE datname IN ('{live}', '{kept}')", equals = 2 }} }}]
"#
    )
}

fn bare(args: &[&str]) -> Told {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    told(command.env_clear().args(args).current_dir("/").output().unwrap())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

// Help, completions, manual.

#[test]
fn help_is_what_it_was() {
    let help = bare(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("help", help.stdout);
}

#[test]
fn every_command_explains_itself_without_a_configuration() {
    for command in COMMANDS {
        let help = bare(&[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        assert!(help.stdout.contains(&format!("Usage: lifeboat {command}")), "{command}: {help}");
    }
    let wrong = bare(&["restor"]);
    assert_eq!(wrong.code, 2, "{wrong}");
    assert!(wrong.stderr.contains("'restore'"), "{wrong}");
}

#[test]
fn completions_and_manual_know_every_command() {
    let completions = bare(&["completions", "bash"]);
    let manual = bare(&["man"]);
    for command in COMMANDS {
        assert!(
            completions.stdout.contains(&format!("lifeboat__subcmd__{command}"))
                || completions.stdout.contains(&format!("lifeboat__{command}")),
            "{command}"
        );
        assert!(manual.stdout.contains(&format!("lifeboat\\-{command}(1)")), "{command}: {manual}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("completions"), completions.stdout).unwrap();
    let checked = Command::new("bash").arg("-n").arg(dir.path().join("completions")).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

// Results.

#[test]
fn every_result_comes_as_json_too() {
    let case = Case::new();
    let dump = case.dump();
    let dumps = parsed(&case.done(&["dumps", "orders", "--json"]));
    assert_eq!(dumps[0]["manifest"]["object"], dump.as_str());
    let proofs = parsed(&case.done(&["verify", "latest", "--level", "L1", "--json"]));
    assert_eq!((&proofs[0]["held"], &proofs[0]["level"]), (&Value::Bool(true), &Value::String("L1".into())), "{proofs}");
    let status = parsed(&case.done(&["status", "--json"]));
    assert_eq!((&status[0]["job"], &status[0]["state"]), (&"orders".into(), &"OK".into()), "{status}");
    let runs = parsed(&case.done(&["runs", "--json"]));
    assert_eq!((&runs[0]["verdict"], &runs[0]["held"]), (&"proven".into(), &Value::Bool(false)), "{runs}");
    let report = parsed(&case.done(&["report", "--json"]));
    assert_eq!(report["run"], runs[0]["run"]);
    assert_eq!(report, parsed(&case.done(&["report", "--format", "json"])));
    assert_eq!(parsed(&case.done(&["check", "--json"])), Value::Array(Vec::new()));
    case.edit("max_age", "max_aeg");
    let check = case.run(&["check", "--json"]);
    let problems = parsed(&check.stdout);
    assert_eq!((check.code, &problems[0]["severity"]), (2, &"error".into()), "{check}");
    assert!(problems[0]["line"].is_u64() && problems[0]["message"].as_str().unwrap().contains("max_aeg"), "{problems}");
}

#[test]
fn what_a_table_says_is_what_is_there() {
    let case = Case::new();
    assert_eq!(case.done(&["dumps"]), "DUMP  JOB  TAKEN  AGE  SIZE  ROWS  PROVEN\n");
    assert_eq!(case.done(&["runs"]), "RUN  STEPS  STATE  TITLE\n");
    let dump = case.dump();
    assert!(case.done(&["dumps"]).lines().nth(1).unwrap().ends_with("not yet"));
    let told = case.done(&["verify", &dump]);
    assert!(told.starts_with(&format!("{dump}: L4 holds (")) && told.lines().count() == 1, "{told}");
    assert!(case.done(&["dumps"]).lines().nth(1).unwrap().ends_with("L4"));
    let runs = case.done(&["runs"]);
    assert!(runs.lines().nth(1).unwrap().contains("1/1    proven  Dump of orders"), "{runs}");
}

#[test]
fn status_says_ok_old_bad_none_or_unknown_and_exits_so() {
    let case = Case::new();
    let status = |state: &str, code: i32| {
        let told = case.run(&["status"]);
        assert_eq!(told.code, code, "{told}");
        let row = told.stdout.lines().nth(1).unwrap();
        assert_eq!(row.split_whitespace().nth(1), Some(state), "{told}");
        // Without a command and without a terminal it is the same.
        let plain = case.run(&[]);
        assert_eq!((plain.code, plain.stdout.lines().count()), (code, told.stdout.lines().count()), "{plain}");
    };
    status("NONE", 3);
    let dump = case.dump();
    status("OK", 0);
    case.edit("max_age = \"26h\"", "max_age = \"1ms\"");
    status("OLD", 3);
    case.edit("max_age = \"1ms\"", "max_age = \"26h\"");
    let newer = case.dump();
    case.stand.the_box.bucket().truncate(&case.key(&newer), 10).unwrap();
    status("BAD", 3);
    assert!(case.run(&["status"]).stdout.contains(&dump), "the newest good dump is not named");
    let endpoint = case.stand.the_box.bucket().endpoint();
    case.edit(&format!("endpoint = {endpoint:?}"), "endpoint = \"http://127.0.0.1:1\"");
    status("UNKNOWN", 3);
}

// G7, TRAPS 13
#[test]
fn a_backup_of_a_database_that_has_shrunk_is_made_and_said_to_be_small() {
    let case = Case::new();
    let dump = case.dump();
    // Three of earlier days, with a hundred times the rows.
    for day in 1..=3 {
        let mut earlier: serde_json::Value = serde_json::from_slice(&case.object(&format!("{dump}.manifest.json"))).unwrap();
        let object = format!("production-2026010{day}020000.sql.gz.gpg");
        earlier["object"] = object.as_str().into();
        earlier["id"] = format!("of day {day}").into();
        earlier["snapshot_at"] = format!("2026-01-0{day}T02:00:00Z").into();
        for table in earlier["tables"].as_object_mut().unwrap().values_mut() {
            table["rows"] = (table["rows"].as_u64().unwrap() * 100).into();
        }
        let (store, cx) = (case.store(), &case.stand.cx);
        store.put(&object, Box::new(std::io::Cursor::new(case.object(&dump))), cx).unwrap();
        store.put(&format!("{object}.manifest.json"), Box::new(std::io::Cursor::new(earlier.to_string())), cx).unwrap();
    }
    let told = case.run(&["backup", "orders"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(told.stderr.contains("has shrunk, it has") && told.stderr.contains("look at the database"), "{told}");
    let told = case.run(&["status"]);
    assert!(told.code == 3 && told.stdout.contains("BAD") && told.stdout.contains("production-20260103020000"), "{told}");
}

// Runbooks.

#[test]
fn a_runbook_is_printed_and_nothing_is_done() {
    let case = Case::new();
    let paper = case.done(&["doc", "restore-production"]);
    let dry = case.done(&["run", "restore-production", "--dry-run"]);
    for text in [&paper, &dry] {
        assert!(text.starts_with("# Bring production back from a dump\n"), "{text}");
        assert!(text.contains("lifeboat swap orders "), "no exact command for the swap: {text}");
    }
    assert!(dry.contains(&format!("{}/deploy-lock", case.stand.the_box.site().admin())), "values are not filled in: {dry}");
    assert!(case.runs().is_empty(), "a run was begun");
}

#[test]
fn a_finished_run_can_be_watched_and_reported() {
    let case = Case::new();
    let dump = case.dump();
    let id = case.runs()[0].file_name().unwrap().to_str().unwrap().to_owned();
    // Any unambiguous part will do.
    for part in ["latest", &id, &id[id.len() - 4..]] {
        let watched = case.run(&["watch", part]);
        assert_eq!((watched.code, watched.stdout.as_str()), (0, ""), "{watched}");
        assert!(watched.stderr.contains(&dump) && watched.stderr.contains("DONE: every step proven"), "{watched}");
    }
    let report = case.done(&["report"]);
    assert!(report.contains("**DONE**") && report.contains(&id), "{report}");
    let left = case.done(&["doc", &id]);
    assert!(left.starts_with("# Dump of orders"), "{left}");
}

/// `--yes` is not a person. In the box's own directory it may confirm danger; the same configuration elsewhere may not.
#[test]
fn yes_never_confirms_danger_outside_the_box() {
    let case = Case::boxed();
    let [live, staged, kept] = ["live", "staged", "kept"].map(|part| case.database(part));
    for database in [&live, &staged] {
        case.stand.execute("postgres", &format!("CREATE DATABASE {database}"));
    }
    case.write("runbooks/mine.toml", &swap_runbook(&live, &staged, &kept));
    let outside = case.write("lifeboat.toml", &fs::read_to_string(case.config()).unwrap());
    let elsewhere = |args: &[&str]| told(case.bare(args).arg("--config").arg(&outside).output().unwrap());
    let before = case.footprint();
    elsewhere(&["run", "mine", "--plain", "--yes"]).is(5, &["parked at step swap", "lifeboat resume"]);
    elsewhere(&["resume", "--plain", "--yes"]).is(5, &["parked at step swap", "lifeboat resume"]);
    elsewhere(&["resume", "--plain"]).is(5, &["parked at step swap"]);
    elsewhere(&["swap", "orders", &live, &staged]).is(5, &["parked at step swap"]);
    assert_eq!(case.footprint(), before);
    assert!(elsewhere(&["runs"]).stdout.contains("0/1    parked"));
    // The run that was parked first goes on in the box, where nothing can be lost.
    let first = case.runs()[0].file_name().unwrap().to_str().unwrap().to_owned();
    case.done(&["resume", &first, "--plain", "--yes"]);
    assert_ne!(case.footprint(), before, "nothing was swapped");
    for database in [&live, &kept] {
        case.stand.execute("postgres", &format!("DROP DATABASE {database}"));
    }
}

/// A person at a terminal: the name is typed, and only the name will do.
#[test]
fn a_swap_wants_the_name_typed_and_can_be_taken_back() {
    let case = Case::new();
    let [live, staged, kept] = ["live", "staged", "kept"].map(|part| case.database(part));
    for database in [&live, &staged] {
        case.stand.execute("postgres", &format!("CREATE DATABASE {database}"));
    }
    case.stand.execute(&live, "CREATE TABLE old ()");
    let tables = |database: &str| case.stand.ask(database, "SELECT relname::text FROM pg_class WHERE relname IN ('old', 'new')");
    let typed = |args: &[&str], lines: &[&str]| typing(&case, args, lines, &format!("type {live} to go on"));
    let asked = typed(&["swap", "orders", &live, &staged, "--keep-as", &kept], &["", "yes", &staged, &live]);
    assert!(asked.contains("DONE: every step proven"), "{asked}");
    assert_eq!(asked.matches("type ").count(), 4, "{asked}");
    let back = format!("to take it back: lifeboat unswap orders {live} {staged} --kept {kept}");
    assert!(asked.contains(&back), "no way back: {asked}");
    assert_eq!((tables(&live), tables(&kept)), (vec![], vec!["old".to_owned()]));
    let asked = typed(&["unswap", "orders", &live, &staged, "--kept", &kept], &[&live]);
    assert!(asked.contains("DONE: every step proven"), "{asked}");
    assert_eq!((tables(&live), tables(&staged)), (vec!["old".to_owned()], vec![]));
    for database in [&live, &staged] {
        case.stand.execute("postgres", &format!("DROP DATABASE {database}"));
    }
}

/// Runs a command in a terminal and types one line for each time the prompt appears; gives everything on the screen.
fn typing(case: &Case, args: &[&str], lines: &[&str], prompt: &str) -> String {
    let pty = native_pty_system().openpty(PtySize { rows: 50, cols: 200, pixel_width: 0, pixel_height: 0 }).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(args);
    command.arg("--config");
    command.arg(case.config());
    command.env("HOME", case.path("home"));
    command.cwd(case.path("home"));
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let seen = Arc::new(Mutex::new(String::new()));
    let (mut reader, screen) = (pty.master.try_clone_reader().unwrap(), Arc::clone(&seen));
    let reading = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            screen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    let mut keyboard = pty.master.take_writer().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    for (at, line) in lines.iter().enumerate() {
        while seen.lock().unwrap().matches(prompt).count() <= at {
            assert!(Instant::now() < until, "not asked {} times: {}", at + 1, seen.lock().unwrap());
            thread::sleep(Duration::from_millis(10));
        }
        keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    let status = child.wait().unwrap();
    reading.join().unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(status.success(), "{status}: {seen}");
    seen
}
