//! The run's open question, as a panel at the bottom.

use jiff::SignedDuration;
use ratatui::text::{Line, Span};

use super::sheet::{Panel, indented};
use crate::report::Report;
use crate::run::Question;
use crate::runbook::plan::{Field, Plan};
use crate::tui::describe::Known;
use crate::tui::glyph;
use crate::tui::keys::Shown;
use crate::tui::model::{Asking, Followed, Model};
use crate::tui::text::{clean, clip, clip_spans, span, width, wrap};
use crate::tui::theme::Theme;
use crate::tui::widget::{field, hints};

/// The open question, or a word on why there is none.
pub fn panel<'a>(model: &'a Model, run: &'a Followed, columns: usize) -> Option<Panel<'a>> {
    let theme = &model.theme;
    let only = |line: Line<'static>| Some(Panel { lines: vec![line], keep: 0, text: None, keys: Vec::new() });
    if !run.is_live() {
        return None;
    }
    let Some((question, asking)) = run.question() else {
        let parked = run.told.state.parked;
        return if parked { only(Line::styled(" parked: the run waits for `resume`", theme.warn)) } else { None };
    };
    if !run.is_at_current() {
        let at = run.told.state.current.map_or(0, |at| at + 1);
        return only(Line::styled(format!(" {} step {at} waits for your answer", glyph::WARN), theme.warn));
    }
    if asking.sent {
        return only(Line::styled(" answered …", theme.dim));
    }
    let inner = columns.saturating_sub(2);
    let mut keep = 0;
    let lines = match question {
        Question::Ready => ready(run, theme, inner),
        Question::Manual { checklist, fields } => {
            let (lines, at) = manual(checklist, fields, asking, model, inner);
            keep = at;
            lines
        }
        Question::AlreadyTrue => {
            let words = "The checks of this step hold already. Nothing needs to be done.";
            wrap(&[Span::styled(format!("{} ", glyph::GOOD), theme.good), Span::styled(words, theme.title)], inner, 2)
        }
        Question::Danger { target, consequence } => {
            let lines = danger(run, target, consequence, asking, theme, inner);
            keep = lines.len();
            lines
        }
        Question::Failed { error, undo } => failed(model, run, error, *undo, inner),
        Question::Unknown { repeatable, undo } => {
            let mut lines = unknown(*repeatable, theme, inner);
            lines.extend(way_back(run, *undo, theme, inner));
            lines
        }
        Question::TakeBack { undo } => take_back(run, undo, theme, inner),
    };
    Some(Panel { lines: indented(lines), keep, text: None, keys: keys(model, run, columns) })
}

/// The keys that answer. Until they live (the question is only just on screen) their room is kept, so that nothing jumps.
fn keys(model: &Model, run: &Followed, columns: usize) -> Vec<Line<'static>> {
    let lines = hints::lines(model, Shown::Answer, columns);
    if lines.is_empty() && run.question().is_some() { vec![Line::styled(" …", model.theme.dim)] } else { lines }
}

fn title(run: &Followed) -> String {
    run.step().map(|(_, step, _)| clean(&Known::of(&run.told.plan, &run.told.state).at(step).show(&step.title))).unwrap_or_default()
}

fn ready(run: &Followed, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let Some((at, step, state)) = run.step() else { return Vec::new() };
    let mut lines =
        wrap(&[Span::styled(format!("Start step {}? ", at + 1), theme.accent), Span::styled(title(run), theme.title)], columns, 2);
    let mut facts = vec![format!("about {}", span(step.expect))];
    if step.danger.is_some() {
        facts.push("dangerous: asks for a name before anything is done".into());
    }
    if step.undo.is_some() {
        facts.push("can be undone".into());
    }
    if let Some(words) = &state.foreseen {
        lines.extend(wrap(&[Span::styled("will take  ", theme.dim), Span::styled(clean(words), theme.code)], columns, 11));
    }
    if columns >= 58 {
        lines.extend(wrap(&[Span::styled(facts.join(", "), theme.dim)], columns, 0));
    }
    lines
}

/// The rows of a manual step, and the line of the one under the cursor. What does not fit in a line takes more; on a low screen only where the
/// cursor is.
fn manual(checklist: &[String], fields: &[Field], asking: &Asking, model: &Model, columns: usize) -> (Vec<Line<'static>>, usize) {
    let theme = &model.theme;
    let low = model.size.height < super::LOW;
    let rows = |spans: Vec<Span<'static>>, here: bool| {
        if low && !here { vec![Line::from(clip_spans(spans, columns))] } else { wrap(&spans, columns, 6) }
    };
    let mut lines = vec![Line::styled("For you to do, then to say so:", theme.accent)];
    let mut keep = 0;
    for (at, (item, ticked)) in checklist.iter().zip(&asking.ticks).enumerate() {
        let here = at == asking.at;
        if here {
            keep = lines.len();
        }
        let tick = if *ticked { "[x] " } else { "[ ] " };
        let style = if here {
            theme.title
        } else if *ticked {
            theme.dim
        } else {
            theme.text
        };
        lines.extend(rows(vec![cursor(here, theme), Span::styled(tick, style), Span::styled(clean(item), style)], here));
    }
    let widest = fields.iter().map(|field| width(&clean(&field.label))).max().unwrap_or(0).min(columns / 2);
    for (at, (question, line)) in fields.iter().zip(&asking.fields).enumerate() {
        let here = checklist.len() + at == asking.at;
        if here {
            keep = lines.len();
        }
        let style = if here { theme.title } else { theme.text };
        let label = clean(&question.label);
        let label = if low && !here { clip(&label, widest) } else { label };
        let mut label = wrap(&[Span::styled(label, style)], widest, 0).into_iter();
        let first = label.next().unwrap_or_default().to_string();
        let mut spans = vec![cursor(here, theme), Span::styled(format!("{}  ", crate::tui::text::pad(first.trim_end(), widest)), style)];
        spans.extend(answer(question, line, here && asking.typing, theme, columns.saturating_sub(widest + 4)));
        lines.push(Line::from(spans));
        lines.extend(label.map(|rest| Line::styled(format!("  {rest}"), style)));
        let wrong = asking.wrong(question, line, model.now.wall).filter(|_| !(here && asking.typing));
        if let Some(wrong) = wrong {
            lines.extend(wrap(&[Span::styled(format!("    {} {}", glyph::BAD, clean(&wrong)), theme.bad)], columns, 6));
        }
    }
    (lines, keep)
}

/// What is written in a field, or what could be.
fn answer(question: &Field, line: &crate::tui::form::Line, typing: bool, theme: &Theme, room: usize) -> Vec<Span<'static>> {
    let chosen = !question.choices.is_empty();
    match (line.text().is_empty(), chosen) {
        (true, true) => vec![Span::styled(clip(&format!("‹ {} ›", question.choices.join(" / ")), room), theme.dim)],
        (false, true) => vec![Span::styled(clip(&format!("‹ {} ›", clean(line.text())), room), theme.code)],
        (true, false) if !typing => vec![Span::styled("________", theme.dim)],
        (_, false) => field::spans(line, typing, theme, room),
    }
}

fn cursor(here: bool, theme: &Theme) -> Span<'static> {
    Span::styled(if here { format!("{} ", glyph::HERE) } else { "  ".into() }, theme.accent)
}

fn danger(run: &Followed, target: &str, consequence: &str, asking: &Asking, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let target = clean(target);
    let state = &run.told.state;
    let mut lines = wrap(
        &[Span::styled(format!("{} DANGER  ", glyph::WARN), theme.bad), Span::styled(clean(consequence), theme.title)],
        columns,
        if columns < 58 { 2 } else { 10 },
    );
    // What must be typed and where stays in view, however much there is to say.
    if lines.len() > 3 {
        lines.truncate(3);
        lines[2].push_span(Span::styled("…", theme.title));
    }
    let place = match (state.production, state.drill) {
        (true, _) => format!("in PRODUCTION {}", clean(&state.environment)),
        (false, true) => format!("in the drill {}", clean(&state.environment)),
        (false, false) => format!("in {}", clean(&state.environment)),
    };
    let whole = format!(" to do this {place}.");
    let first = if asking.typing { "Type " } else { "Press Enter, then type " };
    let rest = if width(&target) + width(&whole) + width(first) <= columns { whole } else { " to do this.".into() };
    lines.extend(wrap(
        &[Span::styled(first, theme.text), Span::styled(target.clone(), theme.code), Span::styled(rest, theme.text)],
        columns,
        2,
    ));
    let matches = asking.typed.text() == target;
    let mut input = vec![Span::styled(format!("{} ", glyph::HERE), theme.accent)];
    if asking.typing {
        input.extend(field::spans(&asking.typed, true, theme, columns.saturating_sub(20)));
        let word = if matches { Span::styled("   the name is right", theme.good) } else { Span::styled("   not the name yet", theme.dim) };
        input.push(word);
    } else {
        input.push(Span::styled("nothing happens until you do", theme.dim));
    }
    lines.push(Line::from(input));
    lines
}

/// The failure itself stands in the text where there is room for it; here stands what is to be decided.
fn failed(model: &Model, run: &Followed, error: &Report, undo: bool, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    if model.size.height < super::LOW {
        return wrap(&[Span::styled(format!("{} {}", glyph::BAD, clean(&error.message)), theme.bad)], columns, 2)
            .into_iter()
            .take(3)
            .collect();
    }
    let mut lines = vec![Line::from(vec![
        Span::styled(format!("{} This step failed. ", glyph::BAD), theme.bad),
        Span::styled(clip("What now?", columns.saturating_sub(20)), theme.title),
    ])];
    let Some((_, step, state)) = run.step() else { return lines };
    if let Some(error) = &state.undo_error {
        let words = format!("{} It could not be taken back: {}", glyph::BAD, clean(&error.message));
        lines.extend(wrap(&[Span::styled(words, theme.bad)], columns, 2).into_iter().take(3));
        let words = "Undo tries once more; or do it by hand, as the text above says, and then go on.";
        lines.extend(wrap(&[Span::styled(words, theme.text)], columns, 0));
    } else if step.undo.is_some() && !undo {
        lines.push(Line::styled(clip("Nothing was changed: there is nothing to undo.", columns), theme.dim));
    }
    lines.extend(way_back(run, undo, theme, columns));
    lines
}

/// Which step it is about is said first: it need not be the one the run was at.
fn take_back(run: &Followed, undo: &str, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let words = match run.told.state.asked {
        Some(at) => format!("The run is given up. Take step {} back: {}?", at + 1, title(run)),
        None => "The run is given up. Take this step back?".into(),
    };
    let mut lines = wrap(&[Span::styled(words, theme.title)], columns, 2);
    lines.extend(would(undo, theme, columns));
    lines
}

/// What undo would do.
fn way_back(run: &Followed, undo: bool, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let known = run.step().and_then(|(_, _, state)| state.undo.as_ref());
    known.filter(|_| undo).map(|undo| would(undo, theme, columns)).unwrap_or_default()
}

/// A command is never cut where something hangs on it, but it does not fill the screen either: in full it stands in the step's text.
fn would(undo: &str, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let spans = [Span::styled("  undo would  ", theme.dim), Span::styled(clean(undo), theme.code)];
    let mut lines = wrap(&spans, columns, 14);
    if lines.len() > 4 {
        lines.truncate(4);
        lines[3].push_span(Span::styled("…", theme.code));
    }
    lines
}

fn unknown(repeatable: bool, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = wrap(
        &[
            Span::styled("? Unknown ", theme.warn),
            Span::styled("whether this step was done: it was cut off, and its checks do not hold.", theme.title),
        ],
        columns,
        2,
    );
    let words = if repeatable { "Doing it again does no harm." } else { "Doing it twice may harm: look before you retry." };
    lines.push(Line::styled(clip(words, columns), if repeatable { theme.dim } else { theme.warn }));
    lines
}

/// Of about how long what is left of the plan takes.
pub fn rest(plan: &Plan, from: usize) -> SignedDuration {
    plan.steps.iter().skip(from).map(|step| step.expect).sum()
}
