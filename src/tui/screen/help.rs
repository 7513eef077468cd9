//! What can be done here, searchable.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{put, scrolled};
use crate::tui::form::Line as Field;
use crate::tui::keys::{self, Command};
use crate::tui::model::{Model, Scroll};
use crate::tui::text::{clip_spans, pad, wrap};
use crate::tui::update::matching;
use crate::tui::widget::field;

/// Draws it.
pub fn draw(model: &Model, query: &Field, scroll: &Scroll, commands: &[Command], frame: &mut Frame<'_>, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width);
    let mut search = vec![Span::styled(" What you can do here   ", theme.title), Span::styled("search ", theme.dim)];
    search.extend(field::spans(query, true, theme, columns.saturating_sub(32)));
    put(frame, area, 0, Line::from(clip_spans(search, columns)));
    let mut lines = Vec::new();
    let mut found = matching(model, commands, query.text());
    if query.text().is_empty() {
        found.sort_by_key(|command| commands.iter().position(|listed| listed == command));
    }
    for command in found {
        let Some(binding) = keys::TABLE.iter().find(|binding| binding.command == command && is_listed(binding, model)) else { continue };
        let all: Vec<String> = binding.keys.iter().map(ToString::to_string).collect();
        let name = if columns >= 100 { pad(binding.name, 15) } else { String::new() };
        let spans = vec![
            Span::styled(format!(" {} ", pad(&all.join("  "), 15)), theme.accent),
            Span::styled(name, theme.dim),
            Span::styled(binding.does, theme.text),
        ];
        lines.extend(wrap(&spans, columns, if columns >= 100 { 32 } else { 17 }));
    }
    if lines.is_empty() {
        lines.push(Line::styled(" nothing here by that word", theme.dim));
    }
    let below = Rect { y: area.y + 2, height: area.height.saturating_sub(2), ..area };
    scrolled(lines, scroll, theme, frame, below);
}

/// The row of the table that was meant when the page was opened: by the screen below, since the page itself has the keys now.
fn is_listed(binding: &keys::Binding, model: &Model) -> bool {
    keys::TABLE.iter().filter(|other| other.command == binding.command).count() == 1 || below(binding, model)
}

fn below(binding: &keys::Binding, model: &Model) -> bool {
    use crate::tui::model::Screen;
    match (&model.screen, binding.command) {
        (Screen::Form(_), Command::Open) => binding.name == "next",
        (_, Command::Open) => binding.name == "open",
        _ => true,
    }
}
