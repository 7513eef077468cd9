//! A line of text being edited.

use ratatui::text::Span;

use crate::tui::form::Line;
use crate::tui::glyph;
use crate::tui::text::{clip, width};
use crate::tui::theme::Theme;

/// The text with its cursor where `active`, scrolled so that the cursor is inside `columns`.
pub fn spans(line: &Line, active: bool, theme: &Theme, columns: usize) -> Vec<Span<'static>> {
    if !active {
        return vec![Span::styled(clip(line.text(), columns), theme.code)];
    }
    let (before, after) = line.halves();
    let mut from = 0;
    while width(&before[from..]) + 2 > columns {
        from += before[from..].chars().next().map_or(1, char::len_utf8);
    }
    let before = &before[from..];
    let mut rest = after.chars();
    let cursor = match rest.next() {
        // A bar after the last character; on a character, that one reversed.
        None => Span::styled(glyph::CARET, theme.accent),
        Some(c) => Span::styled(c.to_string(), theme.selected),
    };
    let room = columns.saturating_sub(width(before) + 1);
    vec![Span::styled(before.to_owned(), theme.code), cursor, Span::styled(clip(rest.as_str(), room), theme.code)]
}
