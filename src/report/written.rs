//! Reads what people wrote: a TOML file into typed values, with the place of each, and every problem at once.
//!
//! It lives beside [`diagnostic`](super::diagnostic) because configuration and runbooks, which may not see each other, read in the same way.
//! A decoder is a closure over [`Fields`]: it asks for keys, and what it did not ask for is an unknown key. A value that is wrong is
//! reported where it is met and reads as `None`; decoders ask for everything first and use `?` last, so that nothing hides behind it.

mod value;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Severity, Source, nearest, suggest};

pub use value::{FromToml, Value};

/// A part of the text.
pub type Span = Range<usize>;

/// What came of reading a file.
pub struct Outcome<T> {
    /// What it means, as far as it could be made out; problems may have been found all the same.
    pub value: Option<T>,
    /// The file, secrets concealed.
    pub source: Arc<Source>,
    /// What is wrong with it, in the order of the text.
    pub problems: Vec<Diagnostic>,
}

/// Reads a TOML text by `decode`. Where the text is no TOML, only that is reported: everything else would be guessing.
pub fn read<T>(source: &Source, decode: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Outcome<T> {
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        let source = Arc::new(source.conceal(&likely_secrets(&source.text)));
        let problem = |error: &toml::de::Error| Diagnostic::error(&source, error.span(), format!("not TOML: {}", error.message().trim()));
        return Outcome { value: None, problems: in_order(errors.iter().map(problem)), source };
    }
    let reader = Reader::default();
    let value = Fields::of(&reader, String::new(), root.span(), root.get_ref()).decode(decode);
    let source = Arc::new(source.conceal(&reader.concealed.into_inner()));
    let problems = in_order(reader.problems.into_inner().into_iter().map(|problem| problem.of(&source)));
    Outcome { value, source, problems }
}

/// In the order of the text, each once: what is read twice is still wrong once.
pub fn in_order(problems: impl Iterator<Item = Diagnostic>) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = problems.collect();
    problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
    problems.dedup();
    problems
}

const SECRET_WORDS: [&str; 4] = ["password", "passphrase", "secret", "token"];

/// A key that is called like a secret, or nearly so: what is wrong with it must be said without its value.
pub fn is_secretive(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word) || strsim::damerau_levenshtein(&key, word) <= 2)
}

/// Where a text that is no TOML looks as if it held a secret: after such a key, to the end of the line.
fn likely_secrets(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let found = SECRET_WORDS.iter().chain(&["hooks."]).filter_map(|word| lower.find(word)).min();
        if let Some(at) = found {
            let from = line[at..].find('=').map_or(at, |equals| at + equals + 1);
            spans.push(start + from..start + line.trim_end().len());
        }
        start += line.len();
    }
    spans
}

/// Collects what is found while a file is read.
#[derive(Default)]
struct Reader {
    problems: RefCell<Vec<Problem>>,
    concealed: RefCell<Vec<Span>>,
}

/// A diagnostic before it is known which file it belongs to.
#[derive(Clone, Debug)]
pub struct Problem {
    severity: Severity,
    span: Option<Span>,
    message: String,
    label: Option<String>,
    hint: Option<String>,
}

impl Problem {
    /// Something is wrong there.
    pub fn error(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Error, span: span.into(), message: message.into(), label: None, hint: None }
    }

    /// Something is odd there.
    pub fn warning(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// What to say under the caret.
    #[must_use]
    pub fn label(mut self, words: impl Into<String>) -> Self {
        self.label = Some(words.into());
        self
    }

    /// How to put it right.
    #[must_use]
    pub fn hint(mut self, words: impl Into<Option<String>>) -> Self {
        self.hint = words.into();
        self
    }

    /// The same, of a file.
    pub fn of(self, source: &Arc<Source>) -> Diagnostic {
        Diagnostic {
            severity: self.severity,
            source: Arc::clone(source),
            span: self.span,
            message: self.message,
            label: self.label,
            hint: self.hint,
        }
    }
}

/// The keys of one table. Those nobody asks for are unknown.
pub struct Fields<'a> {
    reader: &'a Reader,
    /// `job.orders`, `step 1.http`; empty for the file itself.
    place: String,
    span: Span,
    entries: Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)>,
    asked: Vec<String>,
    /// What was asked for and is not there.
    missing: Vec<(Vec<String>, Problem)>,
}

impl<'a> Fields<'a> {
    fn of(reader: &'a Reader, place: String, span: Span, table: &'a DeTable<'a>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        Fields { reader, place, span, entries, asked: Vec::new(), missing: Vec::new() }
    }

    fn decode<T>(mut self, decode: impl FnOnce(&mut Fields<'a>) -> Option<T>) -> Option<T> {
        let value = decode(&mut self);
        let is_known = |key: &str| self.asked.iter().any(|asked| asked == key);
        let unknown: Vec<_> = self.entries.iter().filter(|(key, _)| !is_known(key.get_ref())).collect();
        for (keys, problem) in &self.missing {
            // A mistyped key is one problem, not two.
            if !unknown.iter().any(|(key, _)| nearest(key.get_ref(), keys.iter().map(String::as_str)).is_some()) {
                self.add(problem.clone());
            }
        }
        for (key, value) in unknown {
            let message = format!("unknown key `{}`{}", key.get_ref(), self.within());
            let hint = suggest(key.get_ref(), self.asked.iter().map(String::as_str));
            self.add(Problem::error(key.span(), message).label("not known here").hint(hint));
            if is_secretive(key.get_ref()) {
                self.reader.concealed.borrow_mut().push(value.span());
            }
        }
        value
    }

    /// ` in [job.orders]`.
    fn within(&self) -> String {
        match self.place.as_str() {
            "" => String::new(),
            place if place.contains(' ') => format!(" in {place}"),
            place => format!(" in [{place}]"),
        }
    }

    /// Where the table begins: its header, or the brace; nowhere for the file itself.
    pub fn span(&self) -> Option<Span> {
        (!self.place.is_empty()).then(|| self.span.clone())
    }

    /// The value of a key, where it is written.
    pub fn take(&mut self, key: &str) -> Option<Value<'a>> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        let (_, value) = self.entries.iter().find(|(written, _)| written.get_ref() == key)?;
        Some(self.value(key, value))
    }

    /// Keys that are known and not read: what they mean hangs on something that is wrong.
    pub fn mention(&mut self, keys: &[&str]) {
        self.asked.extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// The value of a key that must be there.
    pub fn must(&mut self, key: &str) -> Option<Value<'a>> {
        let value = self.take(key);
        if value.is_none() {
            let problem = Problem::error(self.span(), format!("`{key}` is missing{}", self.within()));
            self.missing.push((vec![key.to_owned()], problem.label(format!("needs `{key}`"))));
        }
        value
    }

    /// A key that must be there. `None` has been reported.
    pub fn required<T: FromToml>(&mut self, key: &str) -> Option<T> {
        self.must(key).and_then(T::read)
    }

    /// A key that may be there. A value that is wrong has been reported and counts as absent.
    pub fn optional<T: FromToml>(&mut self, key: &str) -> Option<T> {
        self.take(key).and_then(T::read)
    }

    /// A key that may be there, and what holds where it is not.
    pub fn or<T: FromToml>(&mut self, key: &str, otherwise: T) -> T {
        self.optional(key).unwrap_or(otherwise)
    }

    /// The one of these keys that is written; none or more than one is a problem.
    pub fn one_of(&mut self, what: &str, keys: &[&'static str]) -> Option<(&'static str, Value<'a>)> {
        let mut found: Vec<(&'static str, Value<'a>)> = keys.iter().filter_map(|key| Some((*key, self.take(key)?))).collect();
        if found.len() > 1 {
            let names: Vec<String> = found.iter().map(|(key, _)| format!("`{key}`")).collect();
            let second = self.entries.iter().find(|(key, _)| key.get_ref() == found[1].0).map_or(self.span(), |(key, _)| Some(key.span()));
            self.add(Problem::error(second, format!("one {what} is wanted, and here are {}{}", names.join(" and "), self.within())));
            return None;
        }
        if found.is_empty() {
            let message = format!("no {what}{}", self.within());
            let problem = Problem::error(self.span(), message).hint(format!("one of: {}", keys.join(", ")));
            self.missing.push((keys.iter().map(|key| (*key).to_owned()).collect(), problem));
        }
        found.pop()
    }

    /// Every key with its value, in the order of the text: for tables whose keys are names.
    pub fn all(&mut self) -> Vec<(Spanned<String>, Value<'a>)> {
        self.asked.extend(self.entries.iter().map(|(key, _)| key.get_ref().to_string()));
        let entry = |(key, value): &(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            (Spanned::new(key.span(), key.get_ref().to_string()), self.value(key.get_ref(), value))
        };
        self.entries.iter().map(entry).collect()
    }

    /// Something is wrong that no single value is to blame for.
    pub fn add(&self, problem: Problem) {
        self.reader.problems.borrow_mut().push(problem);
    }

    fn value(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) };
        Value { reader: self.reader, place, key: key.to_owned(), span: value.span(), toml: value.get_ref() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::report::diagnostic::render;

    fn problems(text: &str) -> String {
        let outcome = read(&Source::new("a.toml", text), |fields| {
            let name = fields.required::<String>("name");
            let port = fields.optional::<u16>("port");
            let pause = fields.optional::<SignedDuration>("pause");
            let inner = fields.take("inner").and_then(|value| value.table(|inner| inner.required::<bool>("yes")));
            Some((name?, port, pause, inner))
        });
        render(&outcome.problems, false)
    }

    #[test]
    fn every_problem_of_a_file_is_reported_at_once() {
        insta::assert_snapshot!(problems("prot = 5\nport = 70000\npause = \"soon\"\n\n[inner]\nyes = 1\nno = 2\n"), @r#"
        error: `name` is missing
        --> a.toml

        error: unknown key `prot`
         --> a.toml:1:1
          |
        1 | prot = 5
          | ^^^^ not known here
          |
          = help: did you mean `port`?

        error: `port` is out of range
         --> a.toml:2:8
          |
        2 | port = 70000
          |        ^^^^^ more than 65535

        error: `pause` is no duration
         --> a.toml:3:9
          |
        3 | pause = "soon"
          |         ^^^^^^
          |
          = help: like "30s", "15m" or "2h 30m"

        error: `yes` must be true or false
         --> a.toml:6:7
          |
        6 | yes = 1
          |       ^ this is a whole number

        error: unknown key `no` in [inner]
         --> a.toml:7:1
          |
        7 | no = 2
          | ^^ not known here
          |
          = help: known here: yes
        "#);
    }

    #[test]
    fn a_text_that_is_no_toml_reports_every_such_place_and_nothing_else() {
        insta::assert_snapshot!(problems("name = \nport = = 5\npassword = \"geheim\n"), @r#"
        error: not TOML: string values must be quoted, expected literal string
         --> a.toml:1:8
          |
        1 | name = 
          |        ^

        error: not TOML: extra `=`, expected nothing
         --> a.toml:2:8
          |
        2 | port = = 5
          |        ^

        error: not TOML: unexpected key or value, expected newline, `#`
         --> a.toml:2:10
          |
        2 | port = = 5
          |          ^

        error: not TOML: invalid basic string, expected `"`
         --> a.toml:3:19
          |
        3 | password =********
          |                   ^
        "#);
    }

    #[test]
    fn a_good_file_is_read() {
        assert_eq!(problems("name = \"x\"\nport = 5\npause = \"2h 30m\"\ninner = { yes = true }\n"), "");
    }
}
