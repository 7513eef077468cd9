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
use crate::tui::text::{clean, clip, span, width, wrap};
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
            let lines = manual(checklist, fields, asking, theme, inner);
            // The heading may take more than a line; the rows come last.
            keep = lines.len() - (checklist.len() + fields.len()) + asking.at;
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
        Question::TakeBack { undo } => take_back(undo, theme, inner),
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
    let Some((at, step, _)) = run.step() else { return Vec::new() };
    let mut lines =
        wrap(&[Span::styled(format!("Start step {}? ", at + 1), theme.accent), Span::styled(title(run), theme.title)], columns, 2);
    let mut facts = vec![format!("about {}", span(step.expect))];
    if step.danger.is_some() {
        facts.push("dangerous: asks for a name before anything is done".into());
    }
    if step.undo.is_some() {
        facts.push("can be undone".into());
    }
    if columns >= 58 {
        lines.push(Line::styled(clip(&facts.join(", "), columns), theme.dim));
    }
    lines
}

fn manual(checklist: &[String], fields: &[Field], asking: &Asking, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    // The row under the cursor is told in full where it had to be cut.
    let all: Vec<&str> = checklist.iter().map(String::as_str).chain(fields.iter().map(|field| field.label.as_str())).collect();
    let room = |at: usize| if at < checklist.len() { columns.saturating_sub(6) } else { columns / 2 };
    let cut = all.get(asking.at).filter(|text| width(&clean(text)) > room(asking.at));
    let words = cut.map_or_else(|| "For you to do, then to say so:".to_owned(), |text| clean(text));
    let mut lines: Vec<Line<'static>> = wrap(&[Span::styled(words, theme.accent)], columns, 0).into_iter().take(3).collect();
    for (at, (item, ticked)) in checklist.iter().zip(&asking.ticks).enumerate() {
        let here = at == asking.at;
        let tick = if *ticked { "[x] " } else { "[ ] " };
        let style = if here {
            theme.title
        } else if *ticked {
            theme.dim
        } else {
            theme.text
        };
        lines.push(Line::from(vec![
            cursor(here, theme),
            Span::styled(tick, style),
            Span::styled(clip(&clean(item), columns.saturating_sub(6)), style),
        ]));
    }
    let widest = fields.iter().map(|field| width(&clean(&field.label))).max().unwrap_or(0).min(columns / 2);
    for (at, (question, line)) in fields.iter().zip(&asking.fields).enumerate() {
        let here = checklist.len() + at == asking.at;
        let label = crate::tui::text::pad(&clean(&question.label), widest);
        let mut spans = vec![cursor(here, theme), Span::styled(format!("{label}  "), if here { theme.title } else { theme.text })];
        let room = columns.saturating_sub(widest + 4);
        spans.extend(answer(question, line, here && asking.typing, theme, room));
        lines.push(Line::from(spans));
    }
    lines
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
    lines.extend(way_back(run, undo, theme, columns));
    lines
}

fn take_back(undo: &str, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(clip("The run is given up. Take this step back?", columns), theme.title)];
    lines.push(Line::from(vec![
        Span::styled("  undo would  ", theme.dim),
        Span::styled(clip(&clean(undo), columns.saturating_sub(14)), theme.code),
    ]));
    lines
}

/// What undo would do.
fn way_back(run: &Followed, undo: bool, theme: &Theme, columns: usize) -> Option<Line<'static>> {
    let undo = run.told.state.current_step()?.undo.as_ref().filter(|_| undo)?;
    Some(Line::from(vec![
        Span::styled("  undo would  ", theme.dim),
        Span::styled(clip(&clean(undo), columns.saturating_sub(14)), theme.code),
    ]))
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
