//! Every problem of configuration and runbooks at once. Reads files, touches nothing.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use jiff::Zoned;
use zeroize::Zeroizing;

use super::world::World;
use super::{Common, plain, print};
use crate::config::{self, Inventory};
use crate::report::diagnostic::{Diagnostic, Source, render};
use crate::report::{Kind, Result};
use crate::runbook::library::{self, Library};
use crate::runbook::{self, Names};
use crate::system::secret::Secret;

/// Every problem of configuration and runbooks at once.
///
/// The files that the keys of the configuration in use name must be there, the private ones too: a host that only backs up leaves `secret` out of
/// its configuration, and one that can restore is told now and not in the night it has to. A FILE is judged by its text alone, as it may be
/// meant for another machine.
#[derive(Debug, Args)]
pub struct Check {
    /// Configurations and runbooks; without any, the configuration in use and every runbook it can run
    files: Vec<PathBuf>,
    /// Ask every store, system and key too: reachable, the one that is meant, with the rights it should have and no others; what is encrypted to a
    /// key opens with its private half, where that is here
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
                Ok(inventory) => {
                    problems.extend(key_files(&inventory));
                    self::runbooks(&inventory, &mut problems, &mut checked);
                }
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
            plain::say(&format!("{errors} error{} in {} file{}", print::plural(errors), checked.len(), print::plural(checked.len())));
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

/// Files of keys that cannot be read, by whoever asks now. What a command would print is asked for with --online.
fn key_files(inventory: &Inventory) -> Vec<Diagnostic> {
    let source = match Source::read(&inventory.path) {
        Ok(source) => Arc::new(source),
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    for (name, key) in &inventory.keys {
        let secret = |secret: &Option<Secret>| match secret {
            Some(Secret::File(path)) => Some(path.clone()),
            _ => None,
        };
        let public = key.public.iter().map(|path| ("public", "public key", path.clone()));
        let private = secret(&key.secret).map(|path| ("secret", "private key", path));
        let passphrase = secret(&key.passphrase).map(|path| ("passphrase", "passphrase", path));
        for (field, what, path) in public.chain(private).chain(passphrase) {
            let Err(error) = std::fs::read(&path).map(Zeroizing::new) else { continue };
            let words = format!("the {what} of [key.{name}] cannot be read from {}: {error}", path.display());
            let hint = match field {
                "public" => "nothing can be encrypted without it: gpg --armor --export KEY > FILE",
                _ => "put it there and let this user read it; a host that only backs up leaves `secret` out, and `passphrase`",
            };
            problems.push(Diagnostic::error(&source, place(&source.text, name, field), words).hint(hint));
        }
    }
    problems
}

/// The line of a field in `[key.NAME]`, where it is written so.
fn place(text: &str, key: &str, field: &str) -> Option<Range<usize>> {
    let (mut at, mut within) = (0, false);
    for line in text.split_inclusive('\n') {
        let (start, words) = (at, line.trim());
        at += line.len();
        if words.starts_with('[') {
            within = words.starts_with(&format!("[key.{key}]"));
        } else if within && words.strip_prefix(field).is_some_and(|rest| rest.trim_start().starts_with('=')) {
            return Some(start..start + line.trim_end().len());
        }
    }
    None
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
