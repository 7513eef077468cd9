//! The runbooks there are: those shipped in the program, and those of a directory, which win.

use std::collections::BTreeMap;
use std::path::Path;

use crate::report::diagnostic::{Diagnostic, Source};

/// The runbooks there are, by id. The id of a runbook is the name of its file without `.toml`.
#[derive(Clone, Debug, Default)]
pub struct Library {
    books: BTreeMap<String, Book>,
}

#[derive(Clone, Debug)]
struct Book {
    source: Source,
    shipped: bool,
}

macro_rules! shipped {
    ($($id:literal),* $(,)?) => {
        [$(($id, include_str!(concat!("../../runbooks/", $id, ".toml")))),*]
    };
}

/// The files of `runbooks/`; a test compares this list with the directory.
const SHIPPED: &[(&str, &str)] =
    &shipped!["maintenance-mode", "mute-tests", "re-enable-tests", "reindex", "restore-production", "service-rename", "snapshot-restore",];

/// The file is meant as a runbook, however broken: `lifeboat check` takes runbooks and configurations mixed.
pub fn is_runbook(source: &Source) -> bool {
    source.text.lines().map(str::trim_start).any(|line| line.starts_with("[runbook]") || line.starts_with("[[step]]"))
}

impl Library {
    /// Those shipped in the program.
    pub fn shipped() -> Self {
        let book = |(id, text): &(&str, &str)| {
            (String::from(*id), Book { source: Source::new(format!("runbooks/{id}.toml"), *text), shipped: true })
        };
        Library { books: SHIPPED.iter().map(book).collect() }
    }

    /// Those of a directory on top: every `*.toml` in it. A file that cannot be read is an error, not an absent runbook.
    pub fn with_directory(mut self, directory: &Path) -> Result<Self, Vec<Diagnostic>> {
        let unreadable = |error: std::io::Error| {
            let source = std::sync::Arc::new(Source::new(directory, ""));
            vec![Diagnostic::error(&source, None, format!("the runbook directory {} cannot be read: {error}", directory.display()))]
        };
        let mut problems = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                match Source::read(&path) {
                    Ok(source) => self = self.with(source),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// One more, or another in the place of one.
    #[must_use]
    pub fn with(mut self, source: Source) -> Self {
        let id = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.books.insert(id, Book { source, shipped: false });
        self
    }

    /// The ids, in alphabetical order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.books.keys().map(String::as_str)
    }

    /// The text of one.
    pub fn source(&self, id: &str) -> Option<&Source> {
        self.books.get(id).map(|book| &book.source)
    }

    /// It came with the program and nobody put another in its place.
    pub fn is_shipped(&self, id: &str) -> bool {
        self.books.get(id).is_some_and(|book| book.shipped)
    }
}
