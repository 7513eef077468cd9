//! One value of a file: what it is, and what is wrong with it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::Date;
use toml::Spanned;
use toml::de::DeValue;

use super::{Fields, Problem, Reader, Span};
use crate::report::diagnostic::nearest;

/// One value where it was written.
#[derive(Clone)]
pub struct Value<'a> {
    pub(super) reader: &'a Reader,
    pub(super) place: String,
    pub(super) key: String,
    pub(super) span: Span,
    pub(super) toml: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Where it is.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// It is a string.
    pub fn as_str(&self) -> Option<&'a str> {
        self.toml.as_str()
    }

    /// It is a table.
    pub fn is_table(&self) -> bool {
        self.toml.is_table()
    }

    /// It is an array.
    pub fn is_array(&self) -> bool {
        self.toml.is_array()
    }

    /// Text of a string, number or truth value; what is compared with answers.
    pub fn scalar(&self) -> Option<String> {
        match self.toml {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Boolean(truth) => Some(truth.to_string()),
            _ => self.wrong("text, a number, true or false"),
        }
    }

    /// The keys of a table; unknown ones are reported when `decode` is done.
    pub fn table<T>(&self, decode: impl FnOnce(&mut Fields<'a>) -> Option<T>) -> Option<T> {
        match self.toml {
            DeValue::Table(table) => Fields::of(self.reader, self.place.clone(), self.span(), table).decode(decode),
            _ => self.wrong("a table"),
        }
    }

    /// The values of an array.
    pub fn items(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(items) = self.toml else { return self.wrong("an array") };
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| Value {
            place: format!("{} {}", self.place, index + 1),
            span: item.span(),
            toml: item.get_ref(),
            ..self.clone()
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// One of a few words, each with what it means.
    pub fn word<T: Clone>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let written = self.as_str().or_else(|| self.wrong("text"))?;
        let found = words.iter().find(|(word, _)| *word == written).map(|(_, meaning)| meaning.clone());
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let rule = if all.len() == 1 { "must be" } else { "is none of" };
            let problem = self.problem(format!("`{}` {rule} {}", self.key, all.join(", ")));
            self.add(problem.hint(nearest(written, all).map(|near| format!("did you mean `{near}`?"))));
        }
        found
    }

    /// Its type is not the one that is needed. Always `None`.
    pub fn wrong<T>(&self, needed: &str) -> Option<T> {
        let found = match self.toml {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.add(self.problem(format!("`{}` must be {needed}", self.key)).label(format!("this is {found}")));
        None
    }

    /// A problem with this value, to be filled in and [added](Self::add).
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::error(self.span(), message)
    }

    /// Something odd about this value, likewise.
    pub fn oddity(&self, message: impl Into<String>) -> Problem {
        Problem::warning(self.span(), message)
    }

    /// Reports it. Always `None`, so that a decoder can end with it.
    pub fn reject<T>(&self, problem: Problem) -> Option<T> {
        self.add(problem);
        None
    }

    /// Reports it.
    pub fn add(&self, problem: Problem) {
        self.reader.problems.borrow_mut().push(problem);
    }

    /// A command written as one text, for a shell that is not there. Always `None`.
    pub fn not_for_a_shell<T>(&self, text: &str) -> Option<T> {
        let needs_shell = text.contains(['|', '&', ';', '<', '>', '$', '`', '*', '(']);
        let words = shell_words::split(text).ok().filter(|_| !needs_shell);
        let words = words.unwrap_or_else(|| ["bash", "-o", "pipefail", "-c", text].map(str::to_owned).into());
        let array: Vec<String> = words.iter().map(|word| toml::Value::String(word.clone()).to_string()).collect();
        let problem = self.problem("a command is an array: the program, then each of its arguments");
        self.reject(problem.label("no shell reads this").hint(format!("[{}]", array.join(", "))))
    }

    /// It is a secret: no message shows it.
    pub fn conceal(&self) {
        self.reader.concealed.borrow_mut().push(self.span());
    }
}

/// What can be read from a value of TOML. Whoever returns `None` has said why.
pub trait FromToml: Sized {
    /// Reads it.
    fn read(value: Value<'_>) -> Option<Self>;
}

impl FromToml for String {
    fn read(value: Value<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned).or_else(|| value.wrong("text"))
    }
}

impl FromToml for bool {
    fn read(value: Value<'_>) -> Option<Self> {
        value.toml.as_bool().or_else(|| value.wrong("true or false"))
    }
}

impl FromToml for u64 {
    fn read(value: Value<'_>) -> Option<Self> {
        let Some(number) = value.toml.as_integer() else { return value.wrong("a whole number") };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        number.or_else(|| value.reject(value.problem(format!("`{}` is out of range", value.key))))
    }
}

impl FromToml for u16 {
    fn read(value: Value<'_>) -> Option<Self> {
        let number = u64::read(value.clone())?;
        let problem = || value.problem(format!("`{}` is out of range", value.key)).label(format!("more than {}", u16::MAX));
        u16::try_from(number).ok().or_else(|| value.reject(problem()))
    }
}

impl FromToml for SignedDuration {
    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.as_str().or_else(|| value.wrong("a duration, like \"30s\", \"15m\" or \"2h 30m\""))?;
        let problem = || value.problem(format!("`{}` is no duration", value.key)).hint("like \"30s\", \"15m\" or \"2h 30m\"".to_owned());
        let duration: Option<SignedDuration> = text.parse().ok().filter(|duration: &SignedDuration| duration.is_positive());
        duration.or_else(|| value.reject(problem()))
    }
}

impl FromToml for Date {
    fn read(value: Value<'_>) -> Option<Self> {
        let text = match value.toml {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => return value.wrong("a date, like 2027-03-31"),
        };
        let problem = || value.problem(format!("`{}` is no date", value.key)).hint("like 2027-03-31".to_owned());
        text.parse().ok().or_else(|| value.reject(problem()))
    }
}

impl<T: FromToml> FromToml for Spanned<T> {
    fn read(value: Value<'_>) -> Option<Self> {
        let span = value.span();
        T::read(value).map(|inner| Spanned::new(span, inner))
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn read(value: Value<'_>) -> Option<Self> {
        // Every item is read before the first that is wrong decides.
        let items: Vec<Option<T>> = value.items()?.into_iter().map(T::read).collect();
        items.into_iter().collect()
    }
}

impl<T: FromToml> FromToml for BTreeMap<String, T> {
    fn read(value: Value<'_>) -> Option<Self> {
        value.table(|fields| {
            let entries: Vec<_> = fields.all().into_iter().map(|(key, value)| Some((key.into_inner(), T::read(value)?))).collect();
            entries.into_iter().collect()
        })
    }
}
