//! A runbook before it starts: what it is, what it is given.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::sheet::indented;
use super::{put, scrolled};
use crate::runbook::plan::ParameterKind;
use crate::tui::form::{Entry, Form};
use crate::tui::glyph;
use crate::tui::model::Model;
use crate::tui::text::{clean, clip, many, pad, span, width, wrap};
use crate::tui::theme::Theme;
use crate::tui::widget::{field, markdown};

/// Draws it.
pub fn draw(model: &Model, form: &Form, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width).saturating_sub(2);
    let (fields, keep) = fields(model, form, columns);
    // The fields keep their room; the prose above takes the rest and scrolls.
    let below = u16::try_from(fields.len()).unwrap_or(u16::MAX).min(area.height * 2 / 3);
    let above = Rect { height: area.height - below, ..area };
    scrolled(indented(prose(model, form, columns)), &form.scroll, &model.theme, frame, above);
    super::around(indented(fields), keep, frame, Rect { y: above.bottom(), height: below, ..area });
    if above.height == 0 {
        put(frame, area, 0, Line::default());
    }
}

fn prose(model: &Model, form: &Form, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let plan = &form.plan;
    let mut lines = wrap(&[Span::styled(clean(&plan.title), theme.title)], columns, 2);
    let mut words = vec![many(plan.steps.len(), "step", "steps"), format!("about {}", span(super::question::rest(plan, 0)))];
    words.extend(plan.objectives.rto.map(|rto| format!("back within {}", span(rto))));
    words.extend(plan.objectives.rpo.map(|rpo| format!("losing at most {}", span(rpo))));
    lines.extend(wrap(&[Span::styled(words.join(", "), theme.dim)], columns, 0));
    let today = model.now.wall.to_zoned(jiff::tz::TimeZone::UTC).date();
    let owner = format!("kept true by {}", clean(&plan.owner));
    lines.push(if plan.review_by < today {
        let words = format!("{} {owner}; its review was due on {}", glyph::WARN, plan.review_by);
        Line::styled(clip(&words, columns), theme.warn)
    } else {
        Line::styled(clip(&format!("{owner}, next review {}", plan.review_by), columns), theme.dim)
    });
    lines.push(Line::default());
    lines.extend(markdown::lines(&plan.summary, theme, columns));
    if !plan.contacts.is_empty() {
        lines.push(Line::default());
        lines.push(super::label("when it goes wrong, call", theme));
        lines.extend(
            plan.contacts.iter().flat_map(|contact| wrap(&[Span::styled(format!("  {}", clean(contact)), theme.text)], columns, 4)),
        );
    }
    lines
}

fn fields(model: &Model, form: &Form, columns: usize) -> (Vec<Line<'static>>, usize) {
    let theme = &model.theme;
    let widest = form.entries.iter().map(|entry| width(&clean(&entry.parameter.name))).max().unwrap_or(0).clamp(6, 24);
    let mut lines = vec![Line::default()];
    let mut keep = 0;
    for (at, entry) in form.entries.iter().enumerate() {
        let here = at == form.at;
        if here {
            keep = lines.len();
        }
        let name = pad(&clean(&entry.parameter.name), widest);
        let mut spans = vec![
            Span::styled(if here { format!("{} ", glyph::HERE) } else { "  ".into() }, theme.accent),
            Span::styled(format!("{name}  "), if here { theme.title } else { theme.text }),
        ];
        spans.extend(value(entry, here, theme, columns.saturating_sub(widest + 4)));
        lines.push(Line::from(spans));
        let error = entry.error().filter(|_| form.tried);
        let indent = " ".repeat(widest + 4);
        match (error, here) {
            (Some(error), _) => lines.push(Line::styled(clip(&format!("{indent}{} {error}", glyph::BAD), columns), theme.bad)),
            (None, true) => {
                let words = format!("{indent}{}; {}", clean(&entry.parameter.help), entry.accepts());
                lines.extend(wrap(&[Span::styled(words, theme.dim)], columns, widest + 4));
            }
            (None, false) => {}
        }
    }
    lines.push(Line::default());
    if form.at == form.entries.len() {
        keep = lines.len();
    }
    lines.push(button(model, form, columns));
    (lines, keep)
}

fn value(entry: &Entry, here: bool, theme: &Theme, room: usize) -> Vec<Span<'static>> {
    if !entry.is_text() {
        let text = match (&entry.parameter.kind, entry.line.text()) {
            (_, "") => "choose".to_owned(),
            (ParameterKind::Flag, "true") => "yes".into(),
            (ParameterKind::Flag, "false") => "no".into(),
            (_, text) => clean(text),
        };
        let ink = if entry.line.text().is_empty() { theme.dim } else { theme.code };
        return vec![Span::styled(clip(&format!("‹ {text} ›"), room), ink)];
    }
    if entry.line.text().is_empty() && !here {
        let words = match &entry.parameter.default {
            Some(default) => clean(default),
            None => "________".into(),
        };
        return vec![Span::styled(clip(&words, room), theme.dim)];
    }
    field::spans(&entry.line, here, theme, room)
}

fn button(model: &Model, form: &Form, columns: usize) -> Line<'static> {
    let theme = &model.theme;
    let here = form.at == form.entries.len();
    let environment = clean(&model.overview.environment);
    let words = match (model.overview.production, environment.is_empty()) {
        (true, _) => format!(" Start in PRODUCTION {environment} "),
        (false, false) => format!(" Start in {environment} "),
        (false, true) => " Start ".into(),
    };
    let cursor = Span::styled(if here { format!("{} ", glyph::HERE) } else { "  ".into() }, theme.accent);
    Line::from(vec![cursor, Span::styled(clip(&words, columns.saturating_sub(2)), if here { theme.selected } else { theme.text })])
}
