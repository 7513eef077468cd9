//! A run: its steps on the left, the one in view on the right, the log below where it is wanted.

use jiff::SignedDuration;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::sheet::indented;
use super::{around, commands, end, label, put, scrolled};
use crate::run::Status;
use crate::run::fact::Proven;
use crate::run::state::StepState;
use crate::runbook::Step;
use crate::runbook::plan::{DrillMode, Verify};
use crate::tui::describe::Known;
use crate::tui::glyph;
use crate::tui::model::{Followed, Model};
use crate::tui::text::{clean, clip, clip_spans, clock, pad, span, width, wrap};
use crate::tui::theme::Theme;
use crate::tui::widget::{bar, markdown, report};

/// From this width on the steps stand beside the text.
const WIDE: u16 = 72;

/// Draws it.
pub fn draw(model: &Model, run: &Followed, frame: &mut Frame<'_>, area: Rect) {
    let mut area = area;
    if run.log {
        let height = if area.height < 12 { area.height } else { area.height * 2 / 5 };
        let below = Rect { y: area.bottom() - height, height, ..area };
        area.height -= height;
        log(model, run, frame, below);
    }
    if area.height == 0 {
        return;
    }
    if area.width >= WIDE {
        let left = (area.width * 35 / 100).clamp(24, 42);
        steps(model, run, frame, Rect { width: left, ..area });
        for row in 0..area.height {
            put(frame, Rect { x: area.x + left, width: 1, ..area }, row, Line::styled(glyph::WALL, model.theme.dim));
        }
        text(model, run, frame, Rect { x: area.x + left + 2, width: area.width - left - 3, ..area });
    } else {
        put(frame, area, 0, strip(model, run, usize::from(area.width)));
        text(model, run, frame, Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 1 });
    }
}

/// The mark of a step, and its ink.
pub fn mark(state: &StepState, is_asked_unknown: bool, theme: &Theme) -> (&'static str, Style) {
    match state.status {
        Status::Pending => (glyph::PENDING, theme.dim),
        _ if is_asked_unknown => ("?", theme.warn),
        Status::Active => (glyph::HERE, theme.accent),
        Status::Running => (glyph::RUNNING, theme.accent),
        Status::Proven(Proven::Simulated) => (glyph::SIMULATED, theme.good),
        Status::Proven(_) => (glyph::GOOD, theme.good),
        Status::Skipped => (glyph::SKIPPED, theme.warn),
        Status::Overridden => (glyph::WARN, theme.warn),
        Status::Failed => (glyph::BAD, theme.bad),
        Status::Undone => (glyph::UNDONE, theme.warn),
    }
}

fn is_unknown(run: &Followed, at: usize) -> bool {
    let asked = matches!(run.question(), Some((crate::run::Question::Unknown { .. }, _)));
    asked && run.told.state.current == Some(at)
}

fn steps(model: &Model, run: &Followed, frame: &mut Frame<'_>, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width);
    let current = run.told.state.asked.or(run.told.state.current);
    let shown = run.looking.or(current.filter(|_| run.is_live()));
    let mut lines = Vec::new();
    let mut keep = 0;
    let mut section: Option<&str> = None;
    let known = Known::of(&run.told.plan, &run.told.state);
    for (at, (step, state)) in run.told.plan.steps.iter().zip(&run.told.state.steps).enumerate() {
        if step.section.as_deref() != section {
            section = step.section.as_deref();
            if let Some(section) = section {
                lines.push(Line::styled(clip(&format!("   {}", clean(section)), columns - 1), theme.dim));
            }
        }
        if Some(at) == shown.or(current) {
            keep = lines.len();
        }
        let indent = if step.section.is_some() { " " } else { "" };
        let (sign, ink) = mark(state, is_unknown(run, at), theme);
        let title = clean(&known.at(step).show(&step.title));
        let took = if state.status.is_over() && columns >= 34 { clock(state.worked(model.now.wall)) } else { String::new() };
        let room = columns.saturating_sub(3 + indent.len() + if took.is_empty() { 1 } else { took.len() + 2 });
        let title = pad(&format!("{indent}{title}"), room + indent.len());
        let title_ink = match state.status {
            Status::Pending if run.looking != Some(at) => theme.dim,
            _ if Some(at) == current && run.is_live() => theme.title,
            _ => theme.text,
        };
        if run.looking == Some(at) {
            lines.push(Line::styled(pad(&format!(" {sign} {title} {took}"), columns), theme.selected));
        } else {
            lines.push(Line::from(vec![
                Span::styled(format!(" {sign} "), ink),
                Span::styled(title, title_ink),
                Span::styled(format!(" {took}"), theme.dim),
            ]));
        }
    }
    around(lines, keep, frame, area);
}

/// All steps in one row of marks, for narrow terminals.
fn strip(model: &Model, run: &Followed, columns: usize) -> Line<'static> {
    let theme = &model.theme;
    let looking = run.looking;
    let marks = run.told.state.steps.iter().enumerate().map(|(at, state)| {
        let (sign, ink) = mark(state, is_unknown(run, at), theme);
        Span::styled(sign, if looking == Some(at) { theme.selected } else { ink })
    });
    let mut spans = vec![Span::raw(" ")];
    spans.extend(marks);
    // The title stands in the header where that is wide enough; then there is room for what comes next.
    let next = run.told.state.current.and_then(|at| run.told.plan.steps.get(at + 1)).filter(|_| run.is_live());
    let words = match next {
        Some(step) if columns >= 60 => format!("then {}", Known::of(&run.told.plan, &run.told.state).at(step).show(&step.title)),
        _ => run.told.state.title.clone(),
    };
    spans.push(Span::styled(format!("  {}", clean(&words)), theme.dim));
    Line::from(clip_spans(spans, columns))
}

fn text(model: &Model, run: &Followed, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width);
    let lines = match run.step() {
        Some((at, step, state)) => detail(model, run, at, step, state, columns),
        None => end::lines(model, run, columns),
    };
    scrolled(lines, &run.scroll, &model.theme, frame, area);
}

/// Everything about one step. What matters most now stands first.
fn detail(model: &Model, run: &Followed, at: usize, step: &Step, state: &StepState, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let known = Known::of(&run.told.plan, &run.told.state).at(step);
    let mut lines =
        wrap(&[Span::styled(format!("{} ", at + 1), theme.dim), Span::styled(clean(&known.show(&step.title)), theme.title)], columns, 2);
    lines.extend(standing(model, run, at, step, state, columns));
    if let Some(error) = state.undo_error.as_ref().filter(|_| !state.status.is_over()) {
        lines.push(Line::default());
        lines.push(label("it could not be taken back", theme));
        lines.extend(report::lines(error, theme, columns));
    }
    if let Some(error) = state.error.as_ref().filter(|_| !state.status.is_over()) {
        lines.push(Line::default());
        lines.extend(report::lines(error, theme, columns));
    }
    if Some(at) == run.told.state.current && !run.told.readings.is_empty() && run.is_live() {
        lines.push(Line::default());
        lines.extend(bar::lines(&run.told.readings, theme, columns));
    }
    if state.status == Status::Running || !state.checks.is_empty() && !matches!(state.status, Status::Active) {
        proof(step, state, &known, theme, columns, &mut lines);
        why(step, &known, theme, columns, &mut lines);
        does(run, state, theme, columns, &mut lines);
    } else {
        why(step, &known, theme, columns, &mut lines);
        does(run, state, theme, columns, &mut lines);
        proof(step, state, &known, theme, columns, &mut lines);
    }
    undo(step, state, &known, theme, columns, &mut lines);
    outputs(state, theme, columns, &mut lines);
    lines
}

fn why(step: &Step, known: &Known, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    if !step.why.trim().is_empty() {
        lines.push(Line::default());
        lines.extend(markdown::lines(&known.show(&step.why), theme, columns));
    }
}

fn does(run: &Followed, state: &StepState, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    let exact = commands(run);
    // What a person does stands in the question while it is open.
    let asked = matches!(run.question(), Some((crate::run::Question::Manual { .. }, _))) && run.is_at_current();
    if exact.is_empty() || asked {
        return;
    }
    lines.push(Line::default());
    let words = match (state.status, &state.action) {
        (Status::Running, _) if run.is_live() => "does now, exactly",
        (_, Some(_)) => "did, exactly",
        (_, None) => "will do, exactly",
    };
    lines.push(label(words, theme));
    for command in exact {
        lines.extend(wrap(&[Span::styled(format!("  {}", clean(&command)), theme.code)], columns, 4));
    }
}

fn proof(step: &Step, state: &StepState, known: &Known, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    let is_open = matches!(state.status, Status::Active | Status::Running);
    lines.push(Line::default());
    match &step.verify {
        Verify::None(reason) => {
            lines.push(label("no check of its own", theme));
            lines.extend(wrap(&[Span::styled(format!("  {}", clean(reason)), theme.text)], columns, 2));
        }
        Verify::Checks(checks) => {
            lines.push(label("proven when", theme));
            // Asked checks first, in their own words; the rest as planned.
            for asked in &state.checks {
                // Before the step has failed, a check that does not hold was asked too early to be bad news.
                let (sign, ink, word, said) = match (asked.held, is_open) {
                    (true, _) => (glyph::GOOD, theme.good, "saw", theme.dim),
                    (false, true) => (glyph::PENDING, theme.dim, "not yet:", theme.dim),
                    (false, false) => (glyph::BAD, theme.bad, "but saw", theme.bad),
                };
                let mut spans = vec![Span::styled(format!("  {sign} "), ink), Span::styled(clean(&asked.title), theme.text)];
                if !asked.seen.trim().is_empty() {
                    spans.push(Span::styled(format!("  {word} {}", clean(&asked.seen)), said));
                }
                lines.extend(wrap(&spans, columns, 4));
            }
            let titles = checks.iter().map(|check| known.show(&check.title));
            for title in titles.filter(|title| !state.checks.iter().any(|asked| asked.title == *title)) {
                let spans = [Span::styled(format!("  {} ", glyph::PENDING), theme.dim), Span::styled(clean(&title), theme.text)];
                lines.extend(wrap(&spans, columns, 4));
            }
        }
    }
}

fn undo(step: &Step, state: &StepState, known: &Known, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    let registered = state.undo.iter().cloned();
    let planned = step.undo.iter().filter(|_| state.undo.is_none()).flat_map(|undo| known.commands(&undo.action));
    let all: Vec<String> = registered.chain(planned).collect();
    if all.is_empty() {
        return;
    }
    lines.push(Line::default());
    lines.push(label("taken back by", theme));
    for line in all {
        lines.extend(wrap(&[Span::styled(format!("  {}", clean(&line)), theme.code)], columns, 4));
    }
}

fn outputs(state: &StepState, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    if state.outputs.is_empty() {
        return;
    }
    lines.push(Line::default());
    lines.push(label("gave", theme));
    let widest = state.outputs.keys().map(|name| width(&clean(name))).max().unwrap_or(0).min(20);
    for (name, value) in &state.outputs {
        let spans = [Span::styled(format!("  {}  ", pad(&clean(name), widest)), theme.text), Span::styled(clean(value), theme.code)];
        lines.extend(wrap(&spans, columns, widest + 4));
    }
}

/// Where a step stands, in words.
fn standing(model: &Model, run: &Followed, at: usize, step: &Step, state: &StepState, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let (sign, ink) = mark(state, is_unknown(run, at), theme);
    let mut words: Vec<String> = Vec::new();
    let current = run.told.state.current == Some(at) && run.is_live();
    words.push(match state.status {
        Status::Pending => "not begun".into(),
        _ if is_unknown(run, at) => "not known whether it was done".into(),
        Status::Active if current && run.told.state.question.is_some() => "waits for you".into(),
        Status::Active if current => "being checked".into(),
        Status::Active => "begun".into(),
        Status::Running if run.is_live() => format!("running {}", clock(state.worked(model.now.wall))),
        Status::Running => "cut off while running".into(),
        Status::Proven(Proven::Checked) => "proven, its checks hold".into(),
        Status::Proven(Proven::AlreadyTrue) => "proven, it held already".into(),
        Status::Proven(Proven::Action) => "done".into(),
        Status::Proven(Proven::Simulated) => "simulated".into(),
        Status::Skipped => "left out".into(),
        Status::Overridden => "gone past without proof".into(),
        Status::Failed => "failed".into(),
        Status::Undone => "taken back".into(),
    });
    if state.status.is_over() {
        words.push(format!("took {}", clock(state.worked(model.now.wall))));
    } else {
        words.push(format!("about {}", span(step.expect)));
    }
    if state.waited > SignedDuration::ZERO {
        words.push(format!("waited {}", clock(state.waited)));
    }
    if state.attempts > 1 {
        words.push(format!("attempt {}", state.attempts));
    }
    if run.told.state.drill && step.drill == DrillMode::Simulate && state.status == Status::Pending {
        words.push("simulated in a drill".into());
    }
    if step.danger.is_some() && !state.status.is_over() {
        words.push("dangerous".into());
    }
    let row = |(row, words)| {
        let sign = if row == 0 { format!("{sign} ") } else { "  ".into() };
        Line::from(vec![Span::styled(sign, ink), Span::styled(words, theme.dim)])
    };
    let mut lines: Vec<Line<'static>> = items(&words, columns.saturating_sub(2)).into_iter().enumerate().map(row).collect();
    if let Some(note) = state.note.as_ref().filter(|_| matches!(state.status, Status::Skipped | Status::Overridden)) {
        lines.extend(wrap(&[Span::styled(format!("  {}", clean(note)), theme.warn)], columns, 2));
    }
    lines
}

/// A row of items, broken only between them.
fn items(words: &[String], columns: usize) -> Vec<String> {
    let between = format!("  {}  ", glyph::PENDING);
    let mut rows: Vec<String> = Vec::new();
    for word in words {
        match rows.last_mut().filter(|row| width(row) + width(&between) + width(word) <= columns) {
            Some(row) => *row += &(between.clone() + word),
            None => rows.push(word.clone()),
        }
    }
    rows
}

fn log(model: &Model, run: &Followed, frame: &mut Frame<'_>, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width);
    let words = format!("{} log ", glyph::RULE.repeat(2));
    put(
        frame,
        area,
        0,
        Line::styled(pad(&(words.clone() + &glyph::RULE.repeat(columns.saturating_sub(width(&words)))), columns), theme.dim),
    );
    let rows = usize::from(area.height.saturating_sub(1));
    let lines: Vec<Line<'static>> = run
        .told
        .log
        .iter()
        .rev()
        .take(rows)
        .rev()
        .map(|(who, line)| {
            let spans = vec![Span::styled(format!("{}  ", pad(&clean(who), 10)), theme.dim), Span::styled(clean(line), theme.text)];
            Line::from(clip_spans(spans, columns.saturating_sub(2)))
        })
        .collect();
    let lines = if lines.is_empty() { vec![Line::styled("nothing was said yet", theme.dim)] } else { lines };
    for (row, line) in (1u16..).zip(indented(lines)) {
        put(frame, area, row, line);
    }
}
