//! A journal can be checked by anybody with a shell: the script in the README and `lifeboat journal verify` agree.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::stand::{Case, Told, told};

/// The script as people will copy it.
fn script() -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) =
        readme.split_once("\n## Check a journal without Lifeboat\n").or_else(|| readme.split_once("## Check a journal")).unwrap();
    let (_, script) = section.split_once("```sh\n").unwrap();
    script.split_once("```").unwrap().0.to_owned()
}

/// A real journal of some facts, and the script beside it.
fn journal() -> (Case, String) {
    let case = Case::new();
    case.dump();
    case.write("check-journal.sh", &script());
    let journal = case.runs()[0].join("journal.jsonl");
    let text = fs::read_to_string(journal).unwrap();
    assert!(text.lines().count() > 5, "{text}");
    (case, text)
}

fn check(case: &Case, journal: &Path) -> Told {
    told(Command::new("sh").arg(case.path("check-journal.sh")).arg(journal).output().unwrap())
}

#[test]
fn the_readmes_script_and_the_program_find_the_same_head() {
    let (case, _) = journal();
    let run = case.runs()[0].clone();
    let by_script = check(&case, &run.join("journal.jsonl"));
    let by_program = case.done(&["journal", "verify", run.file_name().unwrap().to_str().unwrap()]);
    assert_eq!((by_script.code, &by_script.stdout), (0, &by_program), "{by_script}");
    // Carried elsewhere, without any configuration.
    let carried = told(case.bare(&["journal", "verify", run.to_str().unwrap()]).output().unwrap());
    assert_eq!(carried.stdout, by_program);
    let report: serde_json::Value = serde_json::from_str(&case.done(&["report", "--json"])).unwrap();
    assert!(by_program.contains(report["journal_head"].as_str().unwrap()), "{report}");
}

#[test]
fn both_find_a_line_that_was_changed_removed_inserted_or_cut() {
    let (case, text) = journal();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let changed = [lines[0], lines[1], &lines[2].replace("\"fact\":\"", "\"fact\": \""), lines[3], lines[4]].concat();
    let removed = [lines[0], lines[1], lines[3], lines[4]].concat();
    let inserted = [lines[0], lines[1], lines[1], lines[2], lines[3]].concat();
    let swapped = [lines[0], lines[2], lines[1], lines[3]].concat();
    let headless = lines[1..].concat();
    let cases =
        [("changed", changed, 4), ("removed", removed, 3), ("inserted", inserted, 3), ("swapped", swapped, 2), ("headless", headless, 1)];
    for (what, text, line) in cases {
        let run = case.path(what);
        fs::create_dir(&run).unwrap();
        let journal = run.join("journal.jsonl");
        fs::write(&journal, text).unwrap();
        let by_script = check(&case, &journal);
        assert_eq!((by_script.code, by_script.stdout.as_str()), (1, ""), "{what}: {by_script}");
        assert!(by_script.stderr.contains(&format!("journal.jsonl:{line} ")), "{what}: {by_script}");
        let by_program = told(case.bare(&["journal", "verify", run.to_str().unwrap()]).output().unwrap());
        by_program.is(3, &["the journal is broken", &format!("journal.jsonl:{line} ")]);
    }
}

/// What the machine did not finish writing was never a fact; the program says so, the script cannot know and refuses.
#[test]
fn a_torn_last_line_is_told() {
    let (case, text) = journal();
    let run = case.path("torn");
    fs::create_dir(&run).unwrap();
    let journal = run.join("journal.jsonl");
    fs::write(&journal, &text[..text.len() - 3]).unwrap();
    let by_script = check(&case, &journal);
    assert_eq!(by_script.code, 1, "{by_script}");
    assert!(by_script.stderr.contains(&format!("journal.jsonl:{} is not a whole line", text.lines().count())), "{by_script}");
    let by_program = told(case.bare(&["journal", "verify", run.to_str().unwrap()]).output().unwrap());
    assert_eq!(by_program.code, 0, "{by_program}");
    assert!(by_program.stderr.contains("were never a fact"), "{by_program}");
    fs::write(&journal, "").unwrap();
    assert_eq!(check(&case, &journal).code, 1);
    told(case.bare(&["journal", "verify", run.to_str().unwrap()]).output().unwrap()).is(3, &["the journal is empty"]);
}
