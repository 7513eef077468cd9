//! A run that is over: the verdict, the measured times against their targets, what was not proven, where the report is.

use jiff::SignedDuration;
use ratatui::text::{Line, Span};

use super::label;
use crate::report::Kind;
use crate::run::{Status, Verdict};
use crate::tui::describe::Known;
use crate::tui::glyph;
use crate::tui::measure::Measures;
use crate::tui::model::{Followed, Model};
use crate::tui::text::{clean, clock, many, pad, span, wrap};
use crate::tui::theme::Theme;
use crate::tui::widget::report;

/// Its lines.
pub fn lines(model: &Model, run: &Followed, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let state = &run.told.state;
    let mut lines = verdict(run, theme, columns);
    lines.push(Line::default());
    times(&Measures::of(&run.told.plan, state, model.now.wall), theme, columns, &mut lines);
    left_out(run, theme, columns, &mut lines);
    lines.push(Line::default());
    lines.push(label("report", theme));
    let id = clean(&state.run);
    lines.extend(wrap(&[Span::styled(format!("  lifeboat report {id}"), theme.code)], columns, 4));
    if run.told.ended.as_ref().is_some_and(Result::is_err) {
        lines.extend(wrap(&[Span::styled(format!("  lifeboat resume {id}"), theme.code)], columns, 4));
    }
    lines
}

fn verdict(run: &Followed, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let state = &run.told.state;
    let total = state.steps.len();
    let (words, style, rest) = match (&state.verdict, &run.told.ended) {
        (Some((Verdict::Proven, _)), _) => {
            (format!("{} PROVEN", glyph::GOOD), theme.good, format!("{} done, each of them proven", many(total, "step", "steps")))
        }
        (Some((Verdict::Unproven, _)), _) => {
            (format!("{} NOT PROVEN", glyph::WARN), theme.warn, "to the end, but not every step is proven".into())
        }
        (Some((Verdict::Aborted, reason)), _) => {
            (format!("{} GIVEN UP", glyph::BAD), theme.bad, clean(reason.as_deref().unwrap_or("no reason was given")))
        }
        (None, Some(Err(report))) if report.kind == Kind::Parked => {
            (format!("{} PARKED", glyph::WARN), theme.warn, "waits for a person; nothing is lost".into())
        }
        (None, Some(Err(trouble))) => {
            let mut lines = vec![Line::styled(format!("{} STOPPED", glyph::BAD), theme.bad)];
            lines.extend(report::lines(trouble, theme, columns));
            return lines;
        }
        (None, _) => ("ended".into(), theme.title, String::new()),
    };
    let mut lines = vec![Line::styled(words, style)];
    lines.extend(wrap(&[Span::styled(rest, theme.text)], columns, 0));
    lines
}

/// Measured beside target, in columns.
fn times(measures: &Measures, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    let row = |name: &str, value: String, target: Option<SignedDuration>, met: Option<bool>| {
        let mut spans = vec![Span::styled(pad(name, 14), theme.dim), Span::styled(pad(&value, 11), theme.title)];
        if let Some(target) = target.filter(|_| columns >= 48) {
            spans.push(Span::styled(pad(&format!("target {}", span(target)), 15), theme.dim));
        }
        match met {
            Some(true) => spans.push(Span::styled(format!("{} met", glyph::GOOD), theme.good)),
            Some(false) => spans.push(Span::styled(format!("{} missed", glyph::BAD), theme.bad)),
            None => {}
        }
        wrap(&spans, columns.max(20), 14)
    };
    let recovered = if measures.is_recovered { clock(measures.recovery) } else { "not yet".into() };
    let in_time = measures.rto.map(|rto| measures.is_recovered && measures.recovery <= rto);
    lines.extend(row("recovered in", recovered, measures.rto, in_time));
    lines.extend(row("  waiting", clock(measures.waited), None, None));
    let loss = measures.loss.map_or_else(|| "unknown".into(), span);
    let within = measures.rpo.and_then(|rpo| measures.loss.map(|loss| loss <= rpo));
    lines.extend(row("data loss", loss, measures.rpo, within));
    lines.extend(row("whole run", clock(measures.elapsed), None, None));
}

/// Skips and overrides, with their reasons.
fn left_out(run: &Followed, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    let state = &run.told.state;
    let known = Known::of(&run.told.plan, state);
    for (status, words, sign) in [
        (Status::Skipped, "left out", glyph::SKIPPED),
        (Status::Overridden, "gone past without proof", glyph::WARN),
        (Status::Failed, "failed", glyph::BAD),
    ] {
        let found: Vec<usize> = (0..state.steps.len()).filter(|at| state.steps[*at].status == status).collect();
        if found.is_empty() {
            continue;
        }
        lines.push(Line::default());
        lines.push(label(words, theme));
        for at in found {
            let title = run.told.plan.steps.get(at).map(|step| known.at(step).show(&step.title)).unwrap_or_default();
            let reason = state.steps[at].note.clone().unwrap_or_default();
            let spans = [
                Span::styled(format!("  {sign} "), theme.warn),
                Span::styled(format!("{} {}", at + 1, clean(&title)), theme.text),
                Span::styled(format!("  {}", clean(&reason)), theme.dim),
            ];
            lines.extend(wrap(&spans, columns, 4));
        }
    }
}
