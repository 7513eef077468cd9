//! The header that never goes: which environment, which run, how far, how long, and the journal's head.

use jiff::SignedDuration;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::tui::glyph;
use crate::tui::measure::Measures;
use crate::tui::model::{Followed, Model};
use crate::tui::text::{clean, clock, ends, line_width, span};
use crate::tui::theme::Theme;

/// Which environment this is, in words; never only a colour, never left out.
pub fn environment(name: &str, production: bool, drill: bool, theme: &Theme) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    if production {
        spans.push(Span::styled(" PRODUCTION ", theme.production));
    }
    if drill {
        spans.push(Span::styled(" DRILL ", theme.badge));
    }
    let name = clean(name);
    spans.push(Span::styled(format!(" {}", if name.is_empty() { "no environment".into() } else { name }), theme.title));
    spans
}

/// The header of the home screen, the form and a dump: one line.
pub fn of_home(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let overview = &model.overview;
    let left = environment(&overview.environment, overview.production, false, &model.theme);
    let age = overview.gathered_at.map(|at| model.now.wall.duration_since(at));
    let words = match (model.refreshing, age) {
        (true, _) => "looking at every store …".into(),
        (false, None) => "nothing gathered yet".into(),
        (false, Some(age)) if age < SignedDuration::from_mins(1) => "gathered just now".into(),
        (false, Some(age)) => format!("gathered {} ago", span(age)),
    };
    let words = words + " ";
    // Which environment this is comes before everything else.
    let fits = line_width(&left) + 2 + crate::tui::text::width(&words) <= columns;
    let right = if fits { vec![Span::styled(words, model.theme.dim)] } else { Vec::new() };
    vec![ends(left, right, columns)]
}

/// The header of a run: two lines.
pub fn of_run(model: &Model, run: &Followed, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let state = &run.told.state;
    let measures = Measures::of(&run.told.plan, state, model.now.wall);
    let mut left = environment(&state.environment, state.production, state.drill, theme);
    let title = clean(&state.title);
    let narrow = columns < 60;
    let total = state.steps.len();
    let at = state.current.map_or(0, |at| at + 1);
    let place = match &state.verdict {
        Some(_) => format!("{} of {total} over ", state.over()),
        None if narrow => format!("step {at}/{total} "),
        None => format!("step {at} of {total} "),
    };
    if !narrow {
        left.push(Span::styled(format!("  {title}"), theme.text));
    }
    let first = ends(left, vec![Span::styled(place, theme.title)], columns);

    let head: String = run.told.head.chars().take(8).collect();
    let head = if narrow { format!("{head} ") } else { format!("journal {head} ") };
    let mut clocks = vec![Span::styled(format!(" {}", clock(measures.elapsed)), theme.title)];
    if !narrow {
        clocks.push(Span::styled(format!(" of about {}", span(measures.expected)), theme.dim));
    }
    let room = columns.saturating_sub(head.len() + line_width(&clocks) + 2);
    clocks.extend(recovery(&measures, theme, room, narrow));
    vec![first, ends(clocks, vec![Span::styled(head, theme.dim)], columns)]
}

/// What is left of the recovery time, or what became of it.
fn recovery(measures: &Measures, theme: &Theme, room: usize, narrow: bool) -> Vec<Span<'static>> {
    let gap = || Span::raw(if narrow { "  " } else { "    " });
    let Some(rto) = measures.rto else { return Vec::new() };
    let left = rto - measures.recovery;
    let (words, style): (String, Style) = match (measures.is_recovered, left.is_negative()) {
        (true, false) => (format!("{} recovered in {}", glyph::GOOD, clock(measures.recovery)), theme.good),
        (true, true) => (format!("{} recovered late, {} over", glyph::BAD, clock(left)), theme.bad),
        (false, true) => (format!("{} RTO over by {}", glyph::BAD, clock(left)), theme.bad),
        (false, false) if left < rto / 4 => (format!("{} RTO {} left", glyph::WARN, clock(left)), theme.warn),
        (false, false) => (format!("RTO {} left", clock(left)), theme.text),
    };
    // Where there is no room for words, the mark and the time say it.
    let words = if crate::tui::text::width(&words) + 4 > room && measures.is_recovered {
        format!("{} {}", words.chars().next().unwrap_or(' '), clock(measures.recovery))
    } else {
        words
    };
    let mut spans = vec![gap(), Span::styled(words, style)];
    let goal = Span::styled(format!(" of {}", span(rto)), theme.dim);
    if line_width(&spans) + crate::tui::text::width(&goal.content) <= room && !measures.is_recovered {
        spans.push(goal);
    }
    let waited = Span::styled(format!("    waited {}", clock(measures.waited)), theme.dim);
    if measures.waited.as_secs() > 0 && line_width(&spans) + crate::tui::text::width(&waited.content) <= room {
        spans.push(waited);
    }
    spans
}
