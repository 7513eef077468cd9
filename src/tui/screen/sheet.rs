//! What is asked at the bottom: a sheet on top, else the run's open question.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use tui_textarea::TextArea;

use super::{around, put, question};
use crate::tui::form::Line as Field;
use crate::tui::keys::{self, Command, Shown};
use crate::tui::model::{Model, Purpose, Screen, Sheet};
use crate::tui::text::{clean, pad, wrap};
use crate::tui::update::matching;
use crate::tui::widget::{field, hints, report};

/// Rows a reason is written in.
const REASON_ROWS: u16 = 3;

/// Rows of matches the palette shows.
const MATCHES: usize = 8;

/// What is asked: lines, the keys that answer, and perhaps a text area between them.
pub struct Panel<'a> {
    /// What is asked.
    pub lines: Vec<Line<'static>>,
    /// The line to keep in view.
    pub keep: usize,
    /// A text being written below the lines.
    pub text: Option<&'a TextArea<'static>>,
    /// The keys that answer.
    pub keys: Vec<Line<'static>>,
}

impl Panel<'_> {
    /// Rows it wants.
    pub fn height(&self) -> usize {
        self.lines.len() + self.keys.len() + self.text.map_or(0, |_| usize::from(REASON_ROWS))
    }

    /// Draws it; where there is no room for all, the keys stay and the lines scroll.
    pub fn draw(self, frame: &mut Frame<'_>, area: Rect) {
        let keys = u16::try_from(self.keys.len()).unwrap_or(0).min(area.height.saturating_sub(1));
        let mut rest = area.height - keys;
        for (row, line) in (rest..).zip(self.keys.into_iter().take(usize::from(keys))) {
            put(frame, area, row, line);
        }
        if let Some(text) = self.text {
            let height = REASON_ROWS.min(rest.saturating_sub(1));
            rest -= height;
            text.render(Rect { x: area.x + 2, y: area.y + rest, width: area.width.saturating_sub(4), height }, frame.buffer_mut());
        }
        around(self.lines, self.keep, frame, Rect { height: rest, ..area });
    }
}

/// What is asked now, if anything.
pub fn panel(model: &Model, columns: usize) -> Option<Panel<'_>> {
    let Some(sheet) = &model.sheet else {
        return match (&model.screen, &model.page, &model.run) {
            (Screen::Run, None, Some(run)) => question::panel(model, run, columns),
            _ => None,
        };
    };
    let theme = &model.theme;
    let keys = hints::lines(model, Shown::Answer, columns);
    let inner = columns.saturating_sub(2);
    let (lines, keep, text) = match sheet {
        Sheet::Palette { query, at, commands, .. } => {
            let (lines, keep) = palette(model, query, *at, commands, columns);
            (lines, keep, None)
        }
        Sheet::Reason { purpose, text } => {
            (vec![Line::styled(format!(" {}", purpose.asks()), reason_style(model, *purpose))], 0, Some(&**text))
        }
        Sheet::Confirm { what, .. } => (indented(wrap(&[Span::styled(clean(what), theme.warn)], inner, 0)), 0, None),
        Sheet::Leave => {
            let words =
                "The run is not over. When you leave it goes on by itself and parks at its next question; resume takes it up again.";
            (indented(wrap(&[Span::styled(words, theme.text)], inner, 0)), 0, None)
        }
        Sheet::Trouble(trouble) => (indented(report::lines(trouble, theme, inner)), 0, None),
    };
    Some(Panel { lines, keep, text, keys })
}

fn reason_style(model: &Model, purpose: Purpose) -> ratatui::style::Style {
    if purpose == Purpose::Skip { model.theme.title } else { model.theme.warn }
}

fn palette(model: &Model, query: &Field, at: usize, commands: &[Command], columns: usize) -> (Vec<Line<'static>>, usize) {
    let theme = &model.theme;
    let mut first = vec![Span::styled(" : ", theme.accent)];
    first.extend(field::spans(query, true, theme, columns.saturating_sub(4)));
    let mut lines = vec![Line::from(first)];
    let found = matching(model, commands, query.text());
    let from = (at + 1).saturating_sub(MATCHES);
    for (index, command) in found.iter().enumerate().skip(from).take(MATCHES) {
        let Some(binding) = keys::binding(model, *command) else { continue };
        let key = binding.keys.first().map(ToString::to_string).unwrap_or_default();
        let text = pad(&format!("   {} {} {}", pad(binding.name, 16), pad(&key, 9), binding.does), columns);
        lines.push(Line::styled(text, if index == at { theme.selected } else { theme.text }));
    }
    if found.is_empty() {
        lines.push(Line::styled("   nothing by that name can be done here", theme.dim));
    }
    // The palette keeps its height while one types, so that nothing jumps.
    let wanted = commands.len().min(MATCHES) + 1;
    lines.resize(wanted.max(lines.len()), Line::default());
    (lines, 0)
}

/// Every line one column in.
pub fn indented(lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
    lines
        .into_iter()
        .map(|mut line| {
            line.spans.insert(0, Span::raw(" "));
            line
        })
        .collect()
}
