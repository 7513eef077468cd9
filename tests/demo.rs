//! The demonstration, from the first message to the last test: unattended, and by a person at an 80×24 terminal. // B1, D12, X1, X5

use std::process::{Command, Stdio};

use portable_pty::CommandBuilder;

use crate::picture;
use crate::tui::Pty;

const LIFEBOAT: &str = env!("CARGO_BIN_EXE_lifeboat");

/// Where drills keep their reports, away from the person's own.
fn state() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn without_a_terminal_it_proves_every_objective_and_leaves_only_its_report() {
    let state = state();
    let mut demo = Command::new(LIFEBOAT);
    demo.args(["demo", "--json", "--rows", "500"]).env("XDG_STATE_HOME", state.path()).stdin(Stdio::null());
    let output = demo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["objectives_proven"], true);
    assert_eq!(report["recovery"]["met"], true);
    // The 25 orders that were placed between the backup and the disaster, and no other.
    assert_eq!(report["loss"]["rows"], 25, "{report}");
    assert!(report["steps"].as_array().unwrap().len() > 15);
    let run = report["run"].as_str().unwrap();
    for ending in ["md", "json"] {
        assert!(state.path().join("lifeboat/drills").join(format!("{run}.{ending}")).is_file(), "no .{ending} was kept");
    }
    let the_box = said.lines().find_map(|line| line.split("the box is ").nth(1)).unwrap();
    assert!(!std::path::Path::new(the_box.trim()).exists(), "{the_box} was left behind");
}

#[test]
fn a_person_at_80_by_24_walks_it_to_the_end() {
    let state = state();
    let picture = std::env::var_os("LIFEBOAT_PICTURE");
    let mut command = CommandBuilder::new(LIFEBOAT);
    command.args(["demo", "--rows", if picture.is_some() { "60000" } else { "500" }]);
    command.env("XDG_STATE_HOME", state.path());
    let mut pty = Pty::run(command);
    pty.wait_for_text("Press Enter to open it.");
    pty.press("\r");
    let mut step = 0;
    while !pty.shown().contains("PROVEN") {
        pty.wait_for("next question", |pty| pty.shown().contains("PROVEN") || (asks(&pty.shown()) && at(&pty.shown()) > step));
        let shown = pty.shown();
        step = at(&shown);
        if shown.contains("Enter start") {
            pty.press("\r");
        } else if shown.contains("Enter type the name") {
            pty.press("\rorders");
            pty.wait_for_text("the name is right");
            pty.press("\x19");
        } else if shown.contains("d done") {
            do_by_hand(&mut pty, &shown);
        }
        if let Some(path) = picture.as_ref().filter(|_| shown.contains("? Restore it into")) {
            pty.wait_for_text("100%");
            std::fs::write(path, picture::svg(&pty.screen())).unwrap();
        }
    }
    pty.press("q");
    assert_eq!(pty.wait_for_end(), 0, "{}", pty.shown());
}

/// The number of the step in the header.
fn at(shown: &str) -> u32 {
    let header = shown.lines().next().unwrap_or_default();
    header.split("step ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// A question is open and its keys live.
fn asks(shown: &str) -> bool {
    ["Enter start", "Enter type the name", "d done"].iter().any(|hint| shown.contains(hint))
}

/// Ticks every box, fills in every field, and says so.
fn do_by_hand(pty: &mut Pty, shown: &str) {
    let mut shown = shown.to_owned();
    while let Some(keys) = next_keys(&shown) {
        pty.press(keys);
        let before = std::mem::take(&mut shown);
        pty.wait_for("change", |pty| below(&pty.shown()) != below(&before));
        shown = pty.shown();
    }
    pty.press("d");
}

/// What the row at the cursor wants; `None` once it wants nothing.
fn next_keys(shown: &str) -> Option<&'static str> {
    let here = below(shown).lines().find(|line| line.contains('▸'))?.to_owned();
    if here.contains("[ ]") {
        Some("\r")
    } else if here.contains('▏') {
        Some("2099-12-31\r")
    } else if here.contains("________") {
        Some("\r")
    } else {
        None
    }
}

/// The part of the screen that asks.
fn below(shown: &str) -> String {
    shown.rsplit("────────").next().unwrap_or_default().to_owned()
}
