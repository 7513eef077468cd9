//! Every problem of configuration and runbooks at once. Reads files, touches nothing.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Zoned;

use super::world::World;
use super::{Common, plain, print};
use crate::config::{self, Inventory};
use crate::report::diagnostic::{Diagnostic, Source, render};
use crate::report::{Kind, Result};
use crate::runbook::library::{self, Library};
use crate::runbook::{self, Names};

/// Every problem of configuration and runbooks at once.
#[derive(Debug, Args)]
pub struct Check {
    /// Configurations and runbooks; without any, the configuration in use and every runbook it can run
    files: Vec<PathBuf>,
    /// Ask every store, system and key too: reachable, the one that is meant, with the rights it should have and no others
    #[arg(long, conflicts_with = "files")]
    online: bool,
}

impl Check {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let mut problems = Vec::new();
        let mut checked = Vec::new();
        if self.files.is_empty() {
            let path = config::find(common.config.as_deref())?;
            checked.push(path.display().to_string());
            match config::load(&path) {
                Err(found) => problems.extend(found),
                Ok(inventory) => self::runbooks(&inventory, &mut problems, &mut checked),
            }
        }
        for file in &self.files {
            checked.push(file.display().to_string());
            problems.extend(one(file));
        }
        let lines = render(&problems, std::io::stderr().is_terminal());
        lines.lines().for_each(plain::say_styled);
        if common.json && (!self.online || problems.iter().any(Diagnostic::is_error)) {
            print::json(&problems)?;
        }
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        if errors > 0 {
            plain::say(&format!("{errors} error{} in {} file{}", plural(errors), checked.len(), plural(checked.len())));
            return Ok(ExitCode::from(Kind::Usage.exit_code()));
        }
        if self.online {
            return online(common);
        }
        if !common.json {
            checked.iter().try_for_each(|name| print::line(&format!("ok  {name}")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What only asking can tell (D9).
fn online(common: &Common) -> Result<ExitCode> {
    let world = World::open(common)?;
    let found = world.engine.online(&world.cx);
    if common.json {
        print::json(&found)?;
    } else {
        let word = |held| if held { "ok" } else { "FAILED" }.to_owned();
        let rows: Vec<Vec<String>> =
            found.iter().map(|seen| vec![word(seen.held), seen.subject.clone(), seen.what.clone(), seen.words.clone()]).collect();
        print::table(&["STATE", "WHOM", "WHAT", "SEEN"], &rows)?;
    }
    let failed = found.iter().filter(|finding| !finding.held).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    plain::say(&format!("{failed} of {} checks failed", found.len()));
    Ok(ExitCode::from(Kind::Refused.exit_code()))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Every runbook a configuration can run, against the names it knows.
fn runbooks(inventory: &Inventory, problems: &mut Vec<Diagnostic>, checked: &mut Vec<String>) {
    let library = match &inventory.runbooks {
        None => Library::shipped(),
        Some(directory) => match Library::shipped().with_directory(directory) {
            Ok(library) => library,
            Err(found) => return problems.extend(found),
        },
    };
    let names = super::world::names(inventory);
    for id in library.ids() {
        checked.push(library.source(id).map_or_else(|| id.to_owned(), |source| source.path.display().to_string()));
        // A shipped runbook that this configuration has no systems for is not a mistake of anybody; running it says what it needs.
        let known = if library.is_shipped(id) { None } else { Some(&names) };
        problems.extend(lint(&library, id, known));
    }
}

/// One file, by what it holds: a table `[runbook]` makes it a runbook.
fn one(path: &Path) -> Vec<Diagnostic> {
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(problem) => return vec![problem],
    };
    if !library::is_runbook(&source) {
        return config::check(&source);
    }
    let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    lint(&Library::shipped().with(source), &id, None)
}

fn lint(library: &Library, id: &str, names: Option<&Names>) -> Vec<Diagnostic> {
    match runbook::load(library, id, names) {
        Ok(draft) => draft.warnings(Zoned::now().date()),
        Err(problems) => problems,
    }
}
