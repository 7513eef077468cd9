//! The stages of an action: name, bar, rate, what is left.

use jiff::SignedDuration;
use ratatui::text::{Line, Span};

use crate::port::Reading;
use crate::tui::glyph;
use crate::tui::text::{bytes, clean, clock, pad, pad_left};
use crate::tui::theme::Theme;

/// One line for each stage, no wider than `columns`.
pub fn lines(readings: &[Reading], theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let readings: Vec<&Reading> = readings
        .iter()
        .enumerate()
        // A stage that began anew tells how far it is now; how far it once was is no news.
        .filter(|(at, reading)| !readings[at + 1..].iter().any(|later| later.name == reading.name))
        .map(|(_, reading)| reading)
        .collect();
    let name = readings.iter().map(|reading| crate::tui::text::width(&clean(&reading.name))).max().unwrap_or(0).clamp(4, 12);
    readings.iter().map(|reading| line(reading, theme, name, columns)).collect()
}

fn line(reading: &Reading, theme: &Theme, name: usize, columns: usize) -> Line<'static> {
    let rate = format!("{:.1} MB/s", reading.megabytes_per_second());
    let tail = match left(reading).filter(|_| !reading.done) {
        Some(left) => format!("{} left", clock(left)),
        None => bytes(reading.bytes),
    };
    let mark = if reading.done { Span::styled(glyph::GOOD, theme.good) } else { Span::styled(glyph::RUNNING, theme.accent) };
    let mut spans = vec![mark, Span::raw(" "), Span::styled(pad(&clean(&reading.name), name), theme.text)];
    let numbers = format!("{}  {}", pad_left(&rate, 10), pad_left(&tail, 10));
    let room = columns.saturating_sub(name + 2 + numbers.len());
    if room >= 10 {
        spans.push(Span::raw("  "));
        spans.extend(bar(reading, theme, (room - 2).min(32)));
    }
    spans.push(Span::styled(numbers, theme.dim));
    Line::from(crate::tui::text::clip_spans(spans, columns))
}

/// A thin line, thick as far as it is done. Without a known end there is no bar, only what went through.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "columns on a screen")]
fn bar(reading: &Reading, theme: &Theme, columns: usize) -> Vec<Span<'static>> {
    let share = match (reading.done, reading.expected) {
        (true, _) => 1.0,
        (false, Some(expected)) if expected > 0 => (reading.bytes as f64 / expected as f64).clamp(0.0, 1.0),
        _ => return vec![Span::raw(" ".repeat(columns))],
    };
    let columns = columns.saturating_sub(5);
    // Never full before it is done.
    let full = if reading.done { columns } else { ((share * columns as f64) as usize).min(columns.saturating_sub(1)) };
    let percent = if reading.done { 100 } else { ((share * 100.0) as usize).min(99) };
    vec![
        Span::styled(glyph::DONE.repeat(full), if reading.done { theme.good } else { theme.accent }),
        Span::styled(glyph::RULE.repeat(columns - full), theme.dim),
        Span::styled(format!(" {percent:>3}%"), theme.text),
    ]
}

/// What is left at the rate so far.
#[expect(clippy::cast_precision_loss, reason = "a guess for people")]
fn left(reading: &Reading) -> Option<SignedDuration> {
    let expected = reading.expected?;
    if reading.bytes == 0 || reading.seconds < 1.0 {
        return None;
    }
    let rest = expected.saturating_sub(reading.bytes) as f64;
    Some(whole(rest * reading.seconds / reading.bytes as f64))
}

fn whole(seconds: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(seconds.clamp(0.0, 1e8).round()).unwrap_or_default()
}
