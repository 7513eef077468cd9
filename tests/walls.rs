//! The walls of the house: imports go down only. Reads every source file and fails on one that goes up or sideways.
//!
//! The table is the design (see the map in `src/lib.rs`); change it only when the design changes.

use std::fs;
use std::path::{Path, PathBuf};

/// Room → the rooms it may import, itself and `report` apart.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("report", &[]),
    ("port", &[]),
    ("process", &["port"]),
    ("store", &["port"]),
    ("system", &["port", "process"]),
    ("pipeline", &["port", "process"]),
    ("runbook", &[]),
    ("config", &["store", "system", "pipeline", "port"]),
    ("run", &["config", "runbook", "pipeline", "store", "system", "port"]),
    ("drill", &["run", "config", "runbook", "pipeline", "store", "system", "port", "process"]),
    ("tui", &["run", "runbook", "pipeline::manifest", "port::Reading"]),
    ("scheduler", &["run", "config", "runbook"]),
    ("cli", &["tui", "scheduler", "drill", "run", "config", "runbook", "pipeline", "store", "system", "port"]),
];

#[test]
fn imports_go_down_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    let mut seen = 0;
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let room = room_of(relative);
        if ["main", "lib"].contains(&room.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (line, import) in imports(&text) {
            seen += 1;
            if let Some(complaint) = judge(&room, &import) {
                broken.push(format!("src/{}:{line}: {complaint}", relative.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} imports found: this test no longer sees the code");
    assert!(broken.is_empty(), "walls broken:\n{}", broken.join("\n"));
}

#[test]
fn a_broken_wall_is_seen() {
    assert!(judge("store", "config::Inventory").is_some(), "up");
    assert!(judge("tui", "store::s3::S3").is_some(), "a client on the screen");
    assert!(judge("tui", "pipeline::backup").is_some(), "the engine on the screen");
    assert!(judge("run", "process::Program").is_some(), "a process from the runner");
    assert!(judge("attic", "report::Report").is_some(), "a room that is not in the table");
    assert!(judge("tui", "pipeline::manifest::Dump").is_none());
    let nested = imports(
        "use crate::{report::Result, config};\nfn f() { crate::process::run() }\nuse crate::system::{\n    http,\n    postgres,\n};\n",
    );
    let found: Vec<&str> = nested.iter().map(|(_, import)| import.as_str()).collect();
    assert_eq!(found, ["report::Result", "config", "process::run", "system::http", "system::postgres"]);
}

fn judge(room: &str, import: &str) -> Option<String> {
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
        return Some(format!("the room `{room}` is not in the table"));
    };
    let target = import.split("::").next().unwrap_or_default();
    let is_below = |path: &&str| import == *path || import.strip_prefix(*path).is_some_and(|rest| rest.starts_with("::"));
    if target == room || target == "report" || allowed.iter().any(is_below) {
        return None;
    }
    Some(format!("`{room}` may not import `{import}`"))
}

/// Every path after `crate::`, braces opened, with its line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        for path in open_braces(&code[at + "crate::".len()..]) {
            found.push((line, path));
        }
    }
    found
}

fn open_braces(rest: &str) -> Vec<String> {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
    let head = rest[..end].trim_end_matches(':');
    if !rest[end..].starts_with('{') {
        return vec![head.to_owned()];
    }
    let mut depth = 0;
    let mut part = String::new();
    let mut parts = Vec::new();
    for c in rest[end..].chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            parts.push(std::mem::take(&mut part));
        } else if !(depth == 1 && c == '{') {
            part.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    let join = |inner: String| if head.is_empty() { inner } else { format!("{head}::{inner}") };
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).flat_map(open_braces).map(join).collect()
}

fn room_of(relative: &Path) -> String {
    let first = relative.iter().next().unwrap_or_default().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            files.extend(rust_files(&entry.path()));
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            files.push(entry.path());
        }
    }
    files
}
