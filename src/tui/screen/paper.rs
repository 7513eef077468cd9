//! The rest of the runbook on paper, for the moment this screen cannot help any more. // B14

use ratatui::Frame;
use ratatui::layout::Rect;

use super::scrolled;
use super::sheet::indented;
use crate::tui::describe;
use crate::tui::model::{Followed, Model, Scroll};
use crate::tui::widget::markdown;

/// Draws it.
pub fn draw(model: &Model, scroll: &Scroll, frame: &mut Frame<'_>, area: Rect) {
    let Some(run) = &model.run else { return };
    let columns = usize::from(area.width).saturating_sub(2);
    let lines = markdown::lines(&text(run), &model.theme, columns);
    scrolled(indented(lines), scroll, &model.theme, frame, area);
}

/// As text, for the clipboard.
pub fn text(run: &Followed) -> String {
    describe::paper(&run.told.plan, &run.told.state)
}
