//! One line of text being edited, and the form a runbook is started with.

use std::collections::BTreeMap;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, Timestamp};

use super::model::Scroll;
use super::text::clean;
use crate::runbook::Plan;
use crate::runbook::plan::{Parameter, ParameterKind};

/// One line of text and where the cursor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    text: String,
    /// In characters.
    cursor: usize,
}

impl Line {
    /// A line holding `text`, the cursor at its end.
    pub fn new(text: &str) -> Self {
        let text = clean(text);
        Line { cursor: text.chars().count(), text }
    }

    /// What is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is written before and after the cursor.
    pub fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.byte(self.cursor))
    }

    /// Writes at the cursor; what could steer a terminal is left out.
    pub fn insert(&mut self, text: &str) {
        let text = clean(text);
        let at = self.byte(self.cursor);
        self.text.insert_str(at, &text);
        self.cursor += text.chars().count();
    }

    /// One key of editing; `false` where the key means nothing here.
    pub fn press(&mut self, key: KeyEvent) -> bool {
        let length = self.text.chars().count();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if control => {
                self.text.drain(..self.byte(self.cursor));
                self.cursor = 0;
            }
            KeyCode::Char('w') if control => {
                let before = self.text[..self.byte(self.cursor)].trim_end();
                let from = before.rfind(' ').map_or(0, |at| at + 1);
                let to = self.byte(self.cursor);
                self.cursor = self.text[..from].chars().count();
                self.text.drain(from..to);
            }
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::Char('e') if control => self.cursor = length,
            KeyCode::Char(c) if !control && !key.modifiers.contains(KeyModifiers::ALT) => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                let at = self.byte(self.cursor);
                self.text.remove(at);
            }
            KeyCode::Delete if self.cursor < length => {
                let at = self.byte(self.cursor);
                self.text.remove(at);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(length),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = length,
            KeyCode::Backspace | KeyCode::Delete => {}
            _ => return false,
        }
        true
    }

    /// Empties it.
    pub fn clear(&mut self) {
        *self = Line::default();
    }

    fn byte(&self, characters: usize) -> usize {
        self.text.char_indices().nth(characters).map_or(self.text.len(), |(at, _)| at)
    }
}

/// A runbook before it starts.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its plan, with nothing given.
    pub plan: Plan,
    /// One for each parameter.
    pub entries: Vec<Entry>,
    /// The row the cursor is on; one past the last entry is the start button.
    pub at: usize,
    /// Errors are shown: starting was tried.
    pub tried: bool,
    /// Where in the text above.
    pub scroll: Scroll,
}

/// One parameter being given.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub parameter: Parameter,
    /// As edited.
    pub line: Line,
    /// What it was before anybody edited it.
    pub default: String,
    /// What can be cycled through.
    pub choices: Vec<String>,
}

impl Form {
    /// The form of a plan. `dumps` are names a dump parameter can be cycled through.
    pub fn new(plan: Plan, dumps: &[String]) -> Self {
        let entries: Vec<Entry> = plan.parameters.iter().map(|parameter| Entry::new(parameter, &plan, dumps)).collect();
        // The first thing nobody has given yet; where all is given, the button.
        let at =
            entries.iter().position(|entry| entry.line.text().is_empty() && entry.parameter.default.is_none()).unwrap_or(entries.len());
        Form { plan, entries, at, tried: false, scroll: Scroll::default() }
    }

    /// Plain characters are text now.
    pub fn is_typing(&self) -> bool {
        self.entries.get(self.at).is_some_and(Entry::is_text)
    }

    /// The first entry that is wrong.
    pub fn wrong(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.error().is_some())
    }

    /// What differs from the defaults.
    pub fn values(&self) -> BTreeMap<String, String> {
        let given = self.entries.iter().filter(|entry| entry.line.text().trim() != entry.default);
        given.map(|entry| (entry.parameter.name.clone(), entry.line.text().trim().to_owned())).collect()
    }
}

impl Entry {
    fn new(parameter: &Parameter, plan: &Plan, dumps: &[String]) -> Self {
        // A default that is still a template is filled in when the run starts; it stays empty here and is shown beside.
        let literal = parameter.default.as_ref().filter(|default| !default.contains("{{"));
        let default = plan.values.get(&parameter.name).or(literal).cloned().unwrap_or_default();
        let choices = match &parameter.kind {
            ParameterKind::Flag => vec!["true".into(), "false".into()],
            ParameterKind::Choice(choices) => choices.clone(),
            ParameterKind::Dump => std::iter::once("latest".to_owned()).chain(dumps.iter().cloned()).collect(),
            _ => Vec::new(),
        };
        Entry { parameter: parameter.clone(), line: Line::new(&default), default, choices }
    }

    /// It is typed, not only chosen.
    pub fn is_text(&self) -> bool {
        !matches!(self.parameter.kind, ParameterKind::Flag | ParameterKind::Choice(_))
    }

    /// The next choice, or the one before.
    pub fn cycle(&mut self, forward: bool) {
        let length = self.choices.len();
        if length == 0 {
            return;
        }
        let here = self.choices.iter().position(|choice| choice == self.line.text());
        let next = match (here, forward) {
            (None, true) => 0,
            (None, false) => length - 1,
            (Some(at), true) => (at + 1) % length,
            (Some(at), false) => (at + length - 1) % length,
        };
        self.line = Line::new(&self.choices[next]);
    }

    /// What it accepts, in a few words.
    pub fn accepts(&self) -> String {
        match &self.parameter.kind {
            ParameterKind::Text => "text".into(),
            ParameterKind::Integer => "a whole number".into(),
            ParameterKind::Flag => "yes or no".into(),
            ParameterKind::Duration => "a duration: 15m, 2h 30m".into(),
            ParameterKind::Instant => "now, or 2026-03-01T02:10Z".into(),
            ParameterKind::Database => "a database name".into(),
            ParameterKind::Dump => "latest, a dump's name, id or time, or before:TIME".into(),
            ParameterKind::Choice(choices) => super::text::many(choices.len(), "choice", "choices"),
        }
    }

    /// What is wrong with it, in a few words.
    pub fn error(&self) -> Option<String> {
        let text = self.line.text().trim();
        if text.is_empty() {
            return self.parameter.default.is_none().then(|| "must be given".into());
        }
        let wrong = match &self.parameter.kind {
            ParameterKind::Text | ParameterKind::Dump => false,
            ParameterKind::Integer => text.parse::<i64>().is_err(),
            ParameterKind::Flag => !matches!(text, "true" | "false"),
            ParameterKind::Duration => text.parse::<SignedDuration>().is_err(),
            ParameterKind::Instant => text != "now" && text.parse::<Timestamp>().is_err(),
            ParameterKind::Database => text.len() > 63 || text.contains('\0'),
            ParameterKind::Choice(choices) => !choices.iter().any(|choice| choice == text),
        };
        wrong.then(|| format!("not {}", self.accepts()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(line: &mut Line, code: KeyCode) {
        line.press(KeyEvent::new(code, KeyModifiers::NONE));
    }

    #[test]
    fn a_line_is_edited_by_characters_not_bytes() {
        let mut line = Line::new("données");
        for code in [KeyCode::Left, KeyCode::Left, KeyCode::Backspace, KeyCode::Char('e')] {
            press(&mut line, code);
        }
        assert_eq!(line.text(), "donnees");
        assert_eq!(line.halves(), ("donne", "es"));
        line.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(line.text(), "es");
    }

    #[test]
    fn pasted_control_characters_stay_outside() {
        let mut line = Line::default();
        line.insert("orders\u{1b}[2J\n");
        assert_eq!(line.text(), "orders[2J ");
    }
}
