//! What is wrong with a file somebody wrote: where, what, and how to put it right. All of it at once, as a compiler shows it.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::Report;

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it came from, as messages name it.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

impl Source {
    /// A text and the name messages give it.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Source { path: path.into(), text: text.into() }
    }

    /// Reads a file; a file that cannot be read is a diagnostic like any other.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        std::fs::read_to_string(path).map(|text| Source::new(path, text)).map_err(|error| {
            Diagnostic::error(&Arc::new(Source::new(path, "")), None, format!("{} cannot be read: {error}", path.display()))
                .hint(format!("ls -l {}", shell_words::quote(&path.to_string_lossy())))
        })
    }

    /// The same text with these bytes shown as `*`, so that no message repeats a secret. Offsets and lines stay.
    #[must_use]
    pub fn conceal(&self, spans: &[Range<usize>]) -> Self {
        let hidden = |at: usize| spans.iter().any(|span| span.contains(&at));
        let mut text = String::with_capacity(self.text.len());
        for (at, c) in self.text.char_indices() {
            if hidden(at) && c != '\n' && c != '\r' {
                text.extend(std::iter::repeat_n('*', c.len_utf8()));
            } else {
                text.push(c);
            }
        }
        Source { path: self.path.clone(), text }
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// Whether it stops anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is refused because of it.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops anything.
    pub severity: Severity,
    /// The file.
    pub source: Arc<Source>,
    /// The bytes it is about, where it is about some.
    pub span: Option<Range<usize>>,
    /// A lower-case fact naming the thing.
    pub message: String,
    /// What to say under the caret.
    pub label: Option<String>,
    /// How to put it right.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// The file cannot be used because of this.
    pub fn error(source: &Arc<Source>, span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Error, source: Arc::clone(source), span, message: message.into(), label: None, hint: None }
    }

    /// The file can be used all the same.
    pub fn warning(source: &Arc<Source>, span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(source, span, message) }
    }

    /// What to say under the caret.
    #[must_use]
    pub fn label(mut self, words: impl Into<String>) -> Self {
        self.label = Some(words.into());
        self
    }

    /// How to put it right.
    #[must_use]
    pub fn hint(mut self, words: impl Into<String>) -> Self {
        self.hint = Some(words.into());
        self
    }

    /// It stops something.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Line and column (in characters), both from 1, where it is about some bytes.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.span.as_ref().map(|span| self.source.position(span.start))
    }

    /// In one line: `lifeboat.toml:12:3: unknown key …`.
    pub fn brief(&self) -> String {
        let path = self.source.path.display();
        match self.position() {
            Some((line, column)) => format!("{path}:{line}:{column}: {}", self.message),
            None => format!("{path}: {}", self.message),
        }
    }

    fn group(&self) -> Group<'_> {
        let level = if self.is_error() { Level::ERROR } else { Level::WARNING };
        let title = level.primary_title(self.message.as_str());
        let path = self.source.path.to_string_lossy();
        let group = match &self.span {
            Some(span) if !self.source.text.is_empty() => {
                let mark = AnnotationKind::Primary.span(self.clamp(span)).label(self.label.as_deref());
                title.element(Snippet::source(self.source.text.as_str()).path(path).annotation(mark))
            }
            _ => title.element(Origin::path(path)),
        };
        match &self.hint {
            Some(hint) => group.element(Level::HELP.message(hint.as_str())),
            None => group,
        }
    }

    /// The span, inside the text and no longer than its first line: a caret under a whole table says less than one under its head.
    fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let text = &self.source.text;
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
        let line = text[start..end].find('\n').map_or(end, |newline| start + newline);
        start..line
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let position = self.position();
        let mut wire = serializer.serialize_struct("Diagnostic", 7)?;
        wire.serialize_field("severity", &self.severity)?;
        wire.serialize_field("path", &self.source.path)?;
        wire.serialize_field("line", &position.map(|(line, _)| line))?;
        wire.serialize_field("column", &position.map(|(_, column)| column))?;
        wire.serialize_field("message", &self.message)?;
        wire.serialize_field("label", &self.label)?;
        wire.serialize_field("hint", &self.hint)?;
        wire.end()
    }
}

/// All of them for a person: path:line:column, the line, a caret, the hint. `colour` for a terminal that has it.
pub fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in diagnostics {
        // Writing to a String cannot fail.
        writeln!(text, "{}\n", renderer.render(&[diagnostic.group()])).ok();
    }
    text.truncate(text.trim_end().len());
    text
}

/// All of them as the one report a command ends with, where somebody wanted to use the file and not to check it.
pub fn report(diagnostics: &[Diagnostic]) -> Report {
    let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let mut paths: Vec<String> = errors.iter().map(|error| error.source.path.display().to_string()).collect();
    paths.sort();
    paths.dedup();
    let count = if errors.len() == 1 { "a problem".to_owned() } else { format!("{} problems", errors.len()) };
    let mut report = Report::usage(format!("{} has {count}", paths.join(", ")));
    for error in &errors {
        report = report.cause(error.brief());
    }
    if let [only] = errors.as_slice()
        && let Some(hint) = &only.hint
    {
        report = report.hint(hint.clone());
    }
    paths.iter().fold(report, |report, path| report.hint(format!("lifeboat check {}", shell_words::quote(path))))
}

/// `did you mean …?`, or what there is to choose from; nothing where there is nothing.
pub fn suggest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(written, known.iter().copied()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

/// The known word that was probably meant: at most one slip in four letters.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &'a str| (strsim::damerau_levenshtein(written, candidate), candidate);
    let near = known.into_iter().map(distance).filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4);
    near.min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_its_line_a_caret_and_what_to_do() {
        let source = Arc::new(Source::new("lifeboat.toml", "[environment]\nnmae = \"test\"\n"));
        let problem = Diagnostic::error(&source, Some(14..18), "unknown key `nmae`").label("not known here").hint("did you mean `name`?");
        insta::assert_snapshot!(render(std::slice::from_ref(&problem), false), @r#"
        error: unknown key `nmae`
         --> lifeboat.toml:2:1
          |
        2 | nmae = "test"
          | ^^^^ not known here
          |
          = help: did you mean `name`?
        "#);
        assert_eq!(problem.brief(), "lifeboat.toml:2:1: unknown key `nmae`");
        assert!(render(&[problem], true).contains("\u{1b}["));
    }

    #[test]
    fn what_is_concealed_is_not_shown_and_moves_nothing() {
        let source = Source::new("x", "password = \"hünter\"\nnext = 1");
        let concealed = source.conceal(std::slice::from_ref(&(12..19)));
        assert_eq!(concealed.text, "password = \"*******\"\nnext = 1");
    }

    #[test]
    fn a_span_past_the_end_or_over_many_lines_is_drawn_all_the_same() {
        let source = Arc::new(Source::new("x", "a = 1\nb = 2\n"));
        for span in [0..400, 12..12, 300..400] {
            assert!(render(&[Diagnostic::error(&source, Some(span), "odd")], false).starts_with("error: odd"));
        }
    }

    #[test]
    fn whoever_wanted_to_use_the_file_gets_one_report_with_every_place() {
        let source = Arc::new(Source::new("a b.toml", "x = 1\ny = 2\n"));
        let problems = [
            Diagnostic::error(&source, Some(0..1), "unknown key `x`").hint("did you mean `z`?"),
            Diagnostic::warning(&source, Some(0..1), "late"),
            Diagnostic::error(&source, Some(6..7), "unknown key `y`"),
        ];
        let report = report(&problems);
        assert_eq!(report.kind.exit_code(), 2);
        assert_eq!(report.to_string(), "a b.toml has 2 problems: a b.toml:1:1: unknown key `x`: a b.toml:2:1: unknown key `y`");
        assert_eq!(report.hints, ["lifeboat check 'a b.toml'"]);
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_listed() {
        assert_eq!(suggest("tittle", ["title", "owner"]).unwrap(), "did you mean `title`?");
        assert_eq!(suggest("xyzzy", ["title", "owner"]).unwrap(), "known here: title, owner");
        assert_eq!(suggest("xyzzy", []), None);
    }
}
