//! Keys and what they do, read from the table.

use ratatui::text::{Line, Span};

use crate::tui::keys::{self, Binding, Shown};
use crate::tui::model::Model;
use crate::tui::text::width;

/// As many hints as fit into one line; what comes last is `? help`, whatever else has to go.
pub fn line(model: &Model, shown: Shown, columns: usize) -> Line<'static> {
    let rows: Vec<&Binding> = keys::possible(model).filter(|binding| binding.shown == shown).collect();
    let mut room = columns.saturating_sub(1);
    let mut kept = vec![false; rows.len()];
    // Help and leaving first, then in the order of the table.
    let keep_first = |binding: &&Binding| matches!(binding.command, keys::Command::Help | keys::Command::Quit);
    let order = (0..rows.len()).filter(|at| keep_first(&rows[*at])).chain((0..rows.len()).filter(|at| !keep_first(&rows[*at])));
    for at in order {
        let needed = size(rows[at]);
        if needed <= room {
            room -= needed;
            kept[at] = true;
        }
    }
    let mut spans = vec![Span::raw(" ")];
    for binding in rows.iter().zip(kept).filter(|(_, kept)| *kept).map(|(binding, _)| binding) {
        spans.push(Span::styled(key(binding), model.theme.accent));
        spans.push(Span::styled(format!(" {}   ", binding.word), model.theme.dim));
    }
    Line::from(spans)
}

/// The answers to what is asked, over as many lines as they need.
pub fn lines(model: &Model, shown: Shown, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for binding in keys::possible(model).filter(|binding| binding.shown == shown) {
        if used > 1 && used + size(binding) - 3 > columns {
            lines.push(Line::from(std::mem::replace(&mut spans, vec![Span::raw(" ")])));
            used = 1;
        }
        used += size(binding);
        spans.push(Span::styled(key(binding), model.theme.accent));
        spans.push(Span::styled(format!(" {}   ", binding.word), model.theme.text));
    }
    if used > 1 {
        lines.push(Line::from(spans));
    }
    lines
}

fn key(binding: &Binding) -> String {
    binding.keys.first().map(ToString::to_string).unwrap_or_default()
}

fn size(binding: &Binding) -> usize {
    width(&key(binding)) + width(binding.word) + 4
}
