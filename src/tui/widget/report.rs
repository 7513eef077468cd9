//! A report in full: the fact, what lies behind it, what to type.

use ratatui::text::{Line, Span};

use crate::report::Report;
use crate::tui::glyph;
use crate::tui::text::{clean, wrap};
use crate::tui::theme::Theme;

/// Its lines, wrapped.
pub fn lines(report: &Report, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = wrap(&[Span::styled(format!("{} {}", glyph::BAD, clean(&report.message)), theme.bad)], columns, 2);
    for cause in report.causes.iter().flat_map(|cause| cause.lines()) {
        lines.extend(wrap(&[Span::styled(format!("  {}", clean(cause)), theme.text)], columns, 4));
    }
    for hint in &report.hints {
        lines.extend(wrap(&[Span::styled("  try  ", theme.dim), Span::styled(clean(hint), theme.code)], columns, 7));
    }
    lines
}
