//! Home: runs that wait, what can be restored, what can be run. Trouble is loud; an error is never an empty shelf.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{around, heading};
use crate::run::Verdict;
use crate::run::overview::{RunCard, RunbookCard, Shelf};
use crate::tui::glyph;
use crate::tui::model::{Model, Row};
use crate::tui::text::{bytes, clean, clip, clip_spans, count, line_width, many, moment, pad, pad_left, span, width};
use crate::tui::theme::Theme;

/// How loud a row is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Warn,
    Bad,
    Plain,
}

/// A row: mark, name, then cells that fall away from the right as the screen narrows.
struct Card {
    tone: Tone,
    mark: &'static str,
    name: String,
    cells: Vec<Cell>,
}

/// One cell of a row.
struct Cell {
    text: String,
    tone: Tone,
    /// Columns; 0 takes what it needs, as the last of the row.
    width: usize,
    right: bool,
}

/// Draws it.
pub fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let theme = &model.theme;
    let columns = usize::from(area.width);
    let roomy = area.height >= 14;
    let overview = &model.overview;
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut keep = 0;
    let rows = model.rows();
    let mut group = "";
    let looking = overview.gathered_at.is_none() && overview.shelves.is_empty();
    for (at, row) in rows.iter().enumerate() {
        let (title, right, card) = match row {
            Row::Run(index) => {
                let run = &overview.runs[*index];
                let title = if run.verdict.is_none() { "Waiting for you" } else { "Past runs" };
                (title, Vec::new(), run_card(model, run))
            }
            Row::Shelf(index) => ("Dumps", trouble(model), shelf_card(&overview.shelves[*index], model.now.wall)),
            Row::Runbook(index) => ("Runbooks", Vec::new(), runbook_card(&overview.runbooks[*index], model.now.wall)),
        };
        if title != group {
            // The shelves are told last, by stores that may be slow; their place is kept and said to be open.
            if looking && ["", "Waiting for you"].contains(&group) && title != "Waiting for you" {
                lines.push(heading("Dumps", Vec::new(), theme, columns.saturating_sub(1)));
                lines.push(Line::styled("    looking at every store …", theme.dim));
            }
            if !lines.is_empty() && roomy {
                lines.push(Line::default());
            }
            lines.push(heading(title, right, theme, columns.saturating_sub(1)));
            group = title;
        }
        if at == model.cursor {
            keep = lines.len();
        }
        lines.push(card.line(at == model.cursor, theme, name_width(model, *row, columns), columns));
    }
    if rows.is_empty() {
        lines.push(Line::styled(
            if model.refreshing || overview.gathered_at.is_none() { " looking …" } else { " no job, no runbook: lifeboat check" },
            theme.dim,
        ));
    }
    around(lines, keep, frame, area);
}

/// What needs attention, counted.
fn trouble(model: &Model) -> Vec<Span<'static>> {
    let shelves = model.overview.shelves.iter();
    let loud = shelves.filter(|shelf| matches!(shelf_card(shelf, model.now.wall).tone, Tone::Bad | Tone::Warn)).count();
    if loud == 0 {
        return Vec::new();
    }
    let words = if loud == 1 { "1 needs attention".to_owned() } else { format!("{loud} need attention") };
    vec![Span::styled(words, model.theme.bad)]
}

/// Each group is a table of its own: what is short is not pushed apart by what is long elsewhere.
fn name_width(model: &Model, row: Row, columns: usize) -> usize {
    let overview = &model.overview;
    let widest = match row {
        Row::Shelf(_) => overview.shelves.iter().map(|shelf| width(&clean(&shelf.job))).max(),
        Row::Runbook(_) => overview.runbooks.iter().map(|runbook| width(&clean(&runbook.title))).max(),
        Row::Run(_) => overview.runs.iter().map(|run| width(&clean(&run.title))).max(),
    };
    widest.unwrap_or(0).clamp(10, (columns * 9 / 20).max(12))
}

fn shelf_card(shelf: &Shelf, now: Timestamp) -> Card {
    let name = clean(&shelf.job);
    let cell = |text: String, tone, width| Cell { text, tone, width, right: false };
    let dumps = match &shelf.dumps {
        Err(report) => {
            return Card { tone: Tone::Bad, mark: glyph::BAD, name, cells: vec![cell(clean(&report.message), Tone::Bad, 0)] };
        }
        Ok(dumps) => dumps,
    };
    let Some(dump) = dumps.first() else {
        let words = format!("no dump at all in {}", clean(&shelf.store));
        return Card { tone: Tone::Bad, mark: glyph::BAD, name, cells: vec![cell(words, Tone::Bad, 0)] };
    };
    let age = now.duration_since(dump.manifest.snapshot_at);
    let late = shelf.max_age.filter(|most| age > *most);
    let (proof, proof_tone) = match (dump.proven().filter(|_| dump.disproven().is_none()), dump.disproven().is_some()) {
        (Some(proof), _) => (format!("proven {}", proof.level), Tone::Good),
        (None, true) => ("PROOF FAILED".into(), Tone::Bad),
        (None, false) => ("not proven".into(), Tone::Warn),
    };
    let (tone, mark) = match (late, proof_tone) {
        (_, Tone::Bad) | (Some(_), _) => (Tone::Bad, glyph::BAD),
        (None, Tone::Warn) => (Tone::Warn, glyph::WARN),
        _ => (Tone::Good, glyph::GOOD),
    };
    let most = late.map(|most| cell(format!("limit {}", span(most)), Tone::Bad, 0));
    let age = match late {
        Some(_) => cell(format!("LATE {} old", span(age)), Tone::Bad, 18),
        None => cell(format!("{} old", span(age)), Tone::Plain, 18),
    };
    let rows = Cell { text: format!("{} rows", count(dump.manifest.rows())), tone: Tone::Plain, width: 16, right: true };
    let size = Cell { text: bytes(dump.manifest.stored.bytes), tone: Tone::Plain, width: 8, right: true };
    let cells = [age, cell(proof, proof_tone, 13), size, rows].into_iter().chain(most).collect();
    Card { tone, mark, name, cells }
}

fn runbook_card(runbook: &RunbookCard, now: Timestamp) -> Card {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let overdue = runbook.review_by < today;
    let rto = runbook.rto.map_or_else(String::new, |rto| format!("RTO {}", span(rto)));
    let (proven, tone) = match runbook.last_proven {
        Some((at, took)) => (format!("proven {} ago in {}", span(now.duration_since(at)), span(took)), Tone::Plain),
        None => ("never proven".into(), Tone::Warn),
    };
    let mut cells = vec![
        Cell { text: rto, tone: Tone::Plain, width: 10, right: false },
        Cell { text: proven, tone, width: if overdue { 0 } else { 29 }, right: false },
    ];
    if overdue {
        // What is wrong stands before what is merely known.
        cells.insert(
            1,
            Cell {
                text: format!("review overdue {}", span(now.duration_since(start_of(runbook.review_by, now)))),
                tone: Tone::Warn,
                width: 22,
                right: false,
            },
        );
    }
    let (tone, mark) = if overdue { (Tone::Warn, glyph::WARN) } else { (Tone::Plain, " ") };
    Card { tone, mark, name: clean(&runbook.title), cells }
}

fn start_of(date: jiff::civil::Date, otherwise: Timestamp) -> Timestamp {
    date.to_zoned(jiff::tz::TimeZone::UTC).map_or(otherwise, |zoned| zoned.timestamp())
}

fn run_card(model: &Model, run: &RunCard) -> Card {
    let (over, total) = run.progress;
    let (words, tone, mark) = match run.verdict {
        None if model.follows(run) => ("followed here", Tone::Plain, glyph::RUNNING),
        None if run.held => ("running elsewhere", Tone::Plain, glyph::RUNNING),
        None => ("parked", Tone::Warn, glyph::WARN),
        Some(Verdict::Proven) => ("proven", Tone::Good, glyph::GOOD),
        Some(Verdict::Unproven) => ("not proven", Tone::Warn, glyph::WARN),
        Some(Verdict::Aborted) => ("given up", Tone::Warn, glyph::BAD),
    };
    let drill = if run.drill { ", drill" } else { "" };
    let cells = vec![
        Cell { text: format!("{words}{drill}"), tone, width: 22, right: false },
        Cell { text: format!("{over} of {}", many(total, "step", "steps")), tone: Tone::Plain, width: 14, right: false },
        Cell { text: moment(run.started_at), tone: Tone::Plain, width: 20, right: false },
    ];
    Card { tone, mark, name: clean(&run.title), cells }
}

impl Card {
    fn line(&self, here: bool, theme: &Theme, name: usize, columns: usize) -> Line<'static> {
        let ink = |tone: Tone| if here { theme.selected } else { style(tone, theme) };
        let cursor = if here { glyph::HERE } else { " " };
        let mut spans = vec![
            Span::styled(format!(" {cursor}"), if here { theme.selected } else { theme.accent }),
            Span::styled(format!("{} ", self.mark), ink(self.tone)),
            Span::styled(pad(&self.name, name), if here { theme.selected } else { theme.text }),
        ];
        for (at, cell) in self.cells.iter().enumerate() {
            let room = columns.saturating_sub(line_width(&spans) + 3);
            let fits = width(&cell.text) <= room || cell.width == 0 && room > 12;
            // The first cell says what matters; it is cut rather than dropped.
            if at > 0 && !fits || room < 6 {
                break;
            }
            let text = match (cell.width, cell.right) {
                (0, _) => clip(&cell.text, room),
                (wanted, true) => pad_left(&cell.text, wanted.min(room)),
                (wanted, false) => pad(&cell.text, wanted.min(room)),
            };
            spans.push(Span::styled(format!("  {text}"), if cell.tone == Tone::Plain && !here { theme.dim } else { ink(cell.tone) }));
        }
        if here {
            let fill = columns.saturating_sub(line_width(&spans));
            spans.push(Span::styled(" ".repeat(fill), theme.selected));
        }
        Line::from(clip_spans(spans, columns))
    }
}

fn style(tone: Tone, theme: &Theme) -> Style {
    match tone {
        Tone::Good => theme.good,
        Tone::Warn => theme.warn,
        Tone::Bad => theme.bad,
        Tone::Plain => theme.text,
    }
}
