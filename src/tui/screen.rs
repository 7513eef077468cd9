//! What a model looks like. Header on top, body, the sheet that asks something at the bottom, hints in the last line:
//! every screen is made of these four, and only text and space separate them.

mod dump;
mod end;
mod help;
mod home;
mod paper;
mod question;
mod run;
mod sheet;
mod start;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::describe::Known;
use super::glyph;
use super::keys::Shown;
use super::model::{Followed, Model, Page, SMALLEST, Screen, Scroll};
use super::text::{clip, ends};
use super::theme::Theme;
use super::widget::{header, hints};

/// Below this height every row counts.
const LOW: u16 = 14;

/// Draws the model.
pub fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if !model.is_drawable() || area.width < SMALLEST.width || area.height < SMALLEST.height {
        let words = format!("{}×{} is too small; keys sleep until {}×{}", area.width, area.height, SMALLEST.width, SMALLEST.height);
        put(frame, area, 0, Line::styled(clip(&words, usize::from(area.width)), model.theme.title));
    } else {
        draw(model, frame, area);
    }
    if model.plain {
        glyph::make_plain(frame.buffer_mut());
    }
}

fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width);
    let on_run = model.run.as_ref().filter(|_| matches!(model.screen, Screen::Run));
    let head = match on_run {
        Some(run) => header::of_run(model, run, columns),
        None => header::of_home(model, columns),
    };
    let mut top = 0;
    for line in head {
        put(frame, area, top, line);
        top += 1;
    }
    rule(model, frame, area, top);
    top += 1;

    let bottom = area.height - 1;
    put(frame, area, bottom, last_line(model, columns));

    // What is asked takes what it needs, but leaves the body at least a third; on a low screen it may have it all.
    let low = area.height < LOW;
    let most = if low { bottom - top } else { (bottom - top) * 2 / 3 };
    let panel = sheet::panel(model, columns);
    let mut end = bottom;
    if let Some(panel) = panel {
        let height = u16::try_from(panel.height()).unwrap_or(u16::MAX).min(most);
        end = bottom.saturating_sub(height);
        panel.draw(frame, Rect { y: area.y + end, height, ..area });
        if !low {
            end -= 1;
            rule(model, frame, area, end);
        }
    }
    let body = Rect { y: area.y + top, height: end.saturating_sub(top), ..area };
    match (&model.page, &model.screen) {
        (Some(Page::Help { query, scroll, commands }), _) => help::draw(model, query, scroll, commands, frame, body),
        (Some(Page::Paper(scroll)), _) => paper::draw(model, scroll, frame, body),
        (None, Screen::Home) => home::draw(model, frame, body),
        (None, Screen::Dump(dump, scroll)) => dump::draw(model, dump, scroll, frame, body),
        (None, Screen::Form(form)) => start::draw(model, form, frame, body),
        (None, Screen::Run) => {
            if let Some(run) = on_run {
                run::draw(model, run, frame, body);
            }
        }
    }
}

/// Notices and waiting take the place of the hints.
fn last_line(model: &Model, columns: usize) -> Line<'static> {
    if let Some(busy) = &model.busy {
        return Line::styled(clip(&format!(" {busy} …"), columns), model.theme.accent);
    }
    if let Some((words, _)) = &model.notice {
        return Line::styled(clip(&format!(" {words}"), columns), model.theme.warn);
    }
    hints::line(model, Shown::Bar, columns)
}

/// The commands in view, for the clipboard.
pub fn copied(model: &Model) -> String {
    match (&model.page, &model.screen, &model.run) {
        (Some(Page::Paper(_)), _, Some(run)) => paper::text(run),
        (_, Screen::Dump(dump, _), _) => dump.manifest.object.clone(),
        (_, Screen::Run, Some(run)) => commands(run).join("\n"),
        _ => String::new(),
    }
}

/// What the step in view does, exactly: as it was rendered once it began, as far as it is known before.
fn commands(run: &Followed) -> Vec<String> {
    let Some((_, step, state)) = run.step() else { return Vec::new() };
    match &state.action {
        Some(action) => action.lines().map(str::to_owned).collect(),
        None => Known::of(&run.told.plan, &run.told.state).at(step).commands(&step.action),
    }
}

/// One line at a row of the area.
fn put(frame: &mut Frame<'_>, area: Rect, row: u16, line: Line<'_>) {
    if row < area.height {
        line.render(Rect { y: area.y + row, height: 1, ..area }, frame.buffer_mut());
    }
}

fn rule(model: &Model, frame: &mut Frame<'_>, area: Rect, row: u16) {
    put(frame, area, row, Line::styled(glyph::RULE.repeat(usize::from(area.width)), model.theme.dim));
}

/// Lines in an area, scrolled; where they do not fit, the last row tells how many are not in view.
fn scrolled(lines: Vec<Line<'static>>, scroll: &Scroll, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let total = lines.len();
    let fits = total <= usize::from(area.height);
    // The telling row costs a row of text, which a very low area cannot spare.
    let tells = !fits && area.height > 3;
    let height = usize::from(area.height) - usize::from(tells);
    let first = scroll.first(total, height);
    for (row, line) in (0u16..).zip(lines.into_iter().skip(first).take(height)) {
        put(frame, area, row, line);
    }
    if tells {
        let below = total.saturating_sub(first + height);
        let words = if below > 0 { format!("PgDn {below} more lines ") } else { format!("PgUp {first} lines above ") };
        put(frame, area, area.height - 1, ends(Vec::new(), vec![Span::styled(words, theme.dim)], usize::from(area.width)));
    }
}

/// Lines in an area, scrolled so that `keep` is in view.
fn around(lines: Vec<Line<'static>>, keep: usize, frame: &mut Frame<'_>, area: Rect) {
    let height = usize::from(area.height);
    let first = (keep + 1 + height / 3).saturating_sub(height).min(lines.len().saturating_sub(height));
    for (row, line) in (0u16..).zip(lines.into_iter().skip(first).take(height)) {
        put(frame, area, row, line);
    }
}

/// A heading with a word of explanation at its right end.
fn heading(words: &str, right: Vec<Span<'static>>, theme: &Theme, columns: usize) -> Line<'static> {
    ends(vec![Span::styled(format!(" {words}"), theme.title)], right, columns)
}

/// A small label over a block of text.
fn label(words: &str, theme: &Theme) -> Line<'static> {
    Line::styled(words.to_owned(), theme.dim)
}
