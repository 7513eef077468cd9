//! A swap by hand: what is refused before anybody is asked, what its checks look at, what it says of the staged database.

use lifeboat::pipeline::manifest::MANIFEST_SUFFIX;
use lifeboat::run::hands::Hands;
use lifeboat::runbook::plan::{Action, Work};

use super::rig::{Rig, Wanted};

const JOB: &str = r#"
[job.plain]
system = "main"
store = "shelf"
keys = ["backup"]
name = "plain-{yyyyMMddHHmmss}.sql.gz.gpg"

[runs]
path = "runs"
"#;

fn rig(databases: &[&str]) -> Rig {
    let rig = Rig::open(&Wanted { rest: JOB, ..Wanted::default() });
    for database in databases {
        rig.execute("postgres", &[&format!("CREATE DATABASE {database}")]);
    }
    rig
}

fn names(rig: &Rig) -> String {
    rig.ask("postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate")
}

fn swap(rig: &Rig, staged: &str, keep_as: &str) {
    let work = Work::Swap {
        system: "main".into(),
        live: "orders".into(),
        staged: staged.into(),
        keep_as: keep_as.into(),
        keep_until: None,
        partial: false,
    };
    rig.engine.act(&Action::Job(work), &rig.cx).unwrap();
}

/// One clear error, and no run that waits.
fn refused(rig: &Rig, args: &[&str], code: i32, words: &str) {
    let (told, _, said) = rig.run(args);
    assert!(told == code && said.contains(words) && said.contains("  try: "), "{args:?}: {told} {said}");
    assert!(!said.contains("type orders") && !said.contains("parked"), "{args:?}: {said}");
    assert_eq!(rig.run(&["runs", "--json"]).1.trim(), "[]", "{args:?} left a run behind");
}

// D14
#[test]
fn a_swap_that_cannot_be_is_refused_before_anybody_is_asked() {
    let rig = rig(&["staged", "taken", "part", "half"]);
    rig.execute(
        "postgres",
        &[
            "COMMENT ON DATABASE part IS 'lifeboat: restored in part from x at 2026-11-21T03:00:00Z: the rows of 1 of 2 tables, without 0 foreign keys'",
            "COMMENT ON DATABASE half IS 'lifeboat: being restored from x since 2026-11-21T03:00:00Z'",
        ],
    );
    let before = names(&rig);
    let long = "x".repeat(64);
    refused(&rig, &["swap", "nosys", "orders", "staged"], 2, "nosys");
    refused(&rig, &["swap", "main", "orders", "nodb"], 3, "no database \"nodb\"");
    refused(&rig, &["swap", "main", "orders", "nodb", "--keep-as", "taken"], 3, "no database \"nodb\"");
    refused(&rig, &["swap", "main", "nolive", "staged"], 3, "no database \"nolive\"");
    refused(&rig, &["swap", "main", "orders", "staged", "--keep-as", "taken"], 3, "\"taken\" is taken");
    refused(&rig, &["swap", "main", "orders", "orders"], 2, "\"orders\"");
    refused(&rig, &["swap", "main", "orders", "staged", "--keep-as", "staged"], 2, "\"staged\"");
    refused(&rig, &["swap", "main", "orders", "staged", "--keep-as", ""], 2, "1 to 63 bytes");
    refused(&rig, &["swap", "main", "orders", "staged", "--keep-as", &long], 2, "1 to 63 bytes");
    refused(&rig, &["swap", "main", "postgres", "staged"], 3, "\"postgres\"");
    refused(&rig, &["swap", "main", "orders", "staged", "--keep-until", "yesterday"], 2, "yesterday");
    refused(&rig, &["swap", "main", "orders", "staged", "--keep-until", "2020-01-01"], 2, "2020-01-01");
    refused(&rig, &["swap", "main", "orders", "part"], 3, "some tables only");
    refused(&rig, &["swap", "main", "orders", "half", "--partial"], 3, "not restored to the end");
    refused(&rig, &["unswap", "main", "orders", "new", "--kept", "nope"], 3, "no database \"nope\"");
    refused(&rig, &["unswap", "main", "orders", "taken", "--kept", "nope"], 3, "no database \"nope\"");
    refused(&rig, &["unswap", "nosys", "orders", "new", "--kept", "taken"], 2, "nosys");
    refused(&rig, &["unswap", "main", "orders", "new", "--kept", "taken"], 3, "was not put aside");
    refused(&rig, &["unswap", "main", "orders", "new", "--kept", "new"], 2, "\"new\"");
    assert_eq!(names(&rig), before);
}

// A2: databases of the right names are no swap.
#[test]
fn a_swap_holds_already_only_where_the_kept_database_itself_says_so() {
    let rig = rig(&["first", "second"]);
    let parked = |args: &[&str]| assert_eq!(rig.run(args).0, 5, "{args:?}: {}", rig.run(args).2);
    parked(&["swap", "main", "orders", "first", "--keep-as", "before_first"]);
    // Somebody else made these names.
    rig.execute("postgres", &["ALTER DATABASE first RENAME TO gone", "CREATE DATABASE before_first"]);
    let (code, _, said) = rig.run(&["resume", "--yes"]);
    assert!(code == 5 && !said.contains("already true"), "{code} {said}");
    // Now it was swapped, by another.
    rig.execute("postgres", &["ALTER DATABASE gone RENAME TO first", "DROP DATABASE before_first"]);
    swap(&rig, "first", "before_first");
    let (code, _, said) = rig.run(&["resume", "--yes"]);
    assert!(code == 0 && said.contains("already true"), "{code} {said}");
    assert!(said.contains("lifeboat unswap main orders first --kept before_first"), "no way back: {said}");

    parked(&["unswap", "main", "orders", "first", "--kept", "before_first"]);
    rig.execute("postgres", &["CREATE DATABASE first"]);
    let (code, _, said) = rig.run(&["resume", "--yes"]);
    assert!(code == 5 && !said.contains("already true"), "{code} {said}");
    rig.execute("postgres", &["DROP DATABASE first"]);
    let work = Work::Unswap { system: "main".into(), live: "orders".into(), staged: "first".into(), kept: "before_first".into() };
    rig.engine.act(&Action::Job(work), &rig.cx).unwrap();
    let (code, _, said) = rig.run(&["resume", "--yes"]);
    assert!(code == 0 && said.contains("already true"), "{code} {said}");
}

// A2
#[test]
fn a_restored_database_is_counted_again_before_a_swap_and_what_cannot_be_counted_is_said() {
    let rig = rig(&["somebodys"]);
    rig.execute("orders", &["CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 7)"]);
    let dump = rig.backup("plain").remove("orders").unwrap().object;
    let restored = |into: &str| assert_eq!(rig.run(&["restore", &dump, "--into", into]).0, 0);
    restored("whole");
    restored("changed");
    rig.execute("changed", &["DELETE FROM t WHERE id = 3"]);
    let (code, _, said) = rig.run(&["swap", "main", "orders", "changed"]);
    assert!(code == 3 && said.contains("public.t has 6 rows, the dump 7") && said.contains("  try: "), "{code} {said}");
    assert!(!said.contains("parked"), "{said}");
    // It was changed on purpose.
    let (code, _, said) = rig.run(&["swap", "main", "orders", "changed", "--uncounted"]);
    assert!(code == 5 && said.contains("changed was not counted"), "{code} {said}");

    let (code, _, said) = rig.run(&["swap", "main", "orders", "whole"]);
    assert!(code == 5 && said.contains(&format!("whole holds what {dump} holds: 1 tables, 7 rows")), "{code} {said}");
    let (code, _, said) = rig.run(&["swap", "main", "orders", "somebodys"]);
    assert!(code == 5 && said.contains("somebodys was not counted: it does not say which dump it was restored from"), "{code} {said}");
    std::fs::remove_file(rig.dir.path().join("shelf").join(format!("{dump}{MANIFEST_SUFFIX}"))).unwrap();
    let (code, _, said) = rig.run(&["swap", "main", "orders", "whole"]);
    assert!(code == 5 && said.contains(&format!("whole was not counted: {dump}")), "{code} {said}");
}

// D14: one role, one database it may not enter.
#[test]
fn what_was_kept_is_listed_by_who_may_not_enter_every_database() {
    let rig = rig(&["staged", "closed"]);
    swap(&rig, "staged", "orders_before");
    rig.execute(
        "postgres",
        &[
            "CREATE ROLE looker LOGIN PASSWORD 'secret'",
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
            "REVOKE CONNECT ON DATABASE orders_before FROM PUBLIC",
        ],
    );
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(&rig.config, text.replace("user = \"postgres\"", "user = \"looker\"")).unwrap();
    let (code, table, said) = rig.run(&["kept"]);
    assert!(code == 0 && table.contains("orders_before") && table.contains(" ? "), "{code} {table} {said}");
    let (_, json, _) = rig.run(&["kept", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(rows[0]["name"] == "orders_before" && rows[0]["size"].is_null(), "{json}");

    std::fs::write(&rig.config, text.replace(&format!("port = {}", rig.cluster.port()), "port = 1")).unwrap();
    let (code, table, said) = rig.run(&["kept"]);
    assert!(code == 1 && table.is_empty(), "{code} {table:?} {said}");
}

fn runs(rig: &Rig) -> Vec<String> {
    let rows: serde_json::Value = serde_json::from_str(&rig.run(&["runs", "--json"]).1).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["run"].as_str().unwrap().to_owned()).collect()
}

// B3
#[test]
fn resume_takes_the_run_that_waits_by_any_part_of_its_name() {
    let rig = rig(&["first", "second"]);
    let park = |staged: &str| {
        assert_eq!(rig.run(&["swap", "main", "orders", staged]).0, 5);
        runs(&rig)[0].clone()
    };
    let first = park("first");
    assert_eq!(rig.run(&["backup", "plain"]).0, 0);
    let (code, _, said) = rig.run(&["resume"]);
    assert!(code == 5 && said.contains(&format!("lifeboat resume {first}")), "{code} {said}");
    let (code, _, said) = rig.run(&["resume", &first[9..first.len() - 1]]);
    assert!(code == 5 && said.contains(&format!("lifeboat resume {first}")), "{code} {said}");

    let second = park("second");
    let (code, _, said) = rig.run(&["resume"]);
    assert!(code == 5 && said.contains(&format!("lifeboat resume {second}")), "the newest: {code} {said}");
    rig.execute("postgres", &["DROP DATABASE first"]);
    let over = |args: &[&str]| assert_eq!(rig.run(args).0, 0);
    let second_ago = second[..15].to_owned();
    crate::victim::until("the next second", || jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string() != second_ago);
    over(&["backup", "plain"]);
    let (code, _, said) = rig.run(&["resume"]);
    assert!(
        code == 2 && said.contains(&format!("lifeboat resume {first}")) && said.contains(&format!("lifeboat resume {second}")),
        "{said}"
    );
    assert!(said.contains("first becomes orders"), "{said}");
    let (code, _, said) = rig.run(&["resume", "swap-"]);
    assert!(code == 2 && said.contains(&first) && said.contains(&second), "{code} {said}");
}

// B3
#[test]
fn nobody_at_a_killed_restore_is_told_what_goes_on_without_them() {
    let rig = rig(&[]);
    let dump = rig.backup("plain").remove("orders").unwrap().object;
    assert_eq!(rig.run(&["restore", &dump, "--into", "copy"]).0, 0);
    let run = runs(&rig)[0].clone();
    // As if it had been killed in the middle.
    let journal = rig.dir.path().join("runs").join(&run).join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let begun = text.lines().position(|line| line.contains("action-started")).unwrap();
    let lines: Vec<&str> = text.lines().take(begun + 1).collect();
    std::fs::write(&journal, lines.join("\n") + "\n").unwrap();
    rig.execute("postgres", &["DROP DATABASE copy"]);
    let (code, _, said) = rig.run(&["resume"]);
    assert!(code == 5 && said.contains(&format!("lifeboat resume {run} --yes")), "{code} {said}");
    let (code, _, said) = rig.run(&["resume", &run, "--yes"]);
    assert!(code == 0 && names(&rig).contains("copy"), "{code} {said}");
}
