//! Words, numbers and times as they fit on a screen. Everything shown goes through [`clean`] once; widths are columns, not bytes.

use jiff::{SignedDuration, Timestamp};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Without anything that could steer a terminal or turn the reading direction: names and log lines come from strangers.
pub fn clean(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\t' | '\n' | '\r' => Some(' '),
            c if c.is_control() => None,
            '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' => None,
            c => Some(c),
        })
        .collect()
}

/// Columns a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Columns of a styled line.
pub fn line_width(spans: &[Span<'_>]) -> usize {
    spans.iter().map(|span| width(&span.content)).sum()
}

/// Cut to `max` columns, with an ellipsis where something was lost.
pub fn clip(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let Some(room) = max.checked_sub(1) else { return String::new() };
    let mut used = 0;
    let mut kept = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(c);
    }
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// Cut and filled to exactly `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    let text = clip(text, columns);
    let fill = columns.saturating_sub(width(&text));
    text + &" ".repeat(fill)
}

/// Filled on the left to exactly `columns`.
pub fn pad_left(text: &str, columns: usize) -> String {
    let text = clip(text, columns);
    let fill = columns.saturating_sub(width(&text));
    " ".repeat(fill) + &text
}

/// A styled line cut to `max` columns.
pub fn clip_spans(spans: Vec<Span<'static>>, max: usize) -> Vec<Span<'static>> {
    let mut room = max;
    let total = line_width(&spans);
    if total <= max {
        return spans;
    }
    let mut kept = Vec::new();
    for span in spans {
        let columns = width(&span.content);
        if columns < room {
            room -= columns;
            kept.push(span);
        } else {
            // Something follows or this one is too long: the ellipsis goes here.
            let text = if columns == room { span.content.to_string() + " " } else { span.content.to_string() };
            kept.push(Span::styled(clip(&text, room), span.style));
            break;
        }
    }
    kept
}

/// One line with something at each end; the right end wins where both do not fit.
pub fn ends(left: Vec<Span<'static>>, right: Vec<Span<'static>>, columns: usize) -> Line<'static> {
    let right = clip_spans(right, columns);
    let taken = line_width(&right);
    let gap = usize::from(taken > 0) * 2;
    let mut spans = clip_spans(left, columns.saturating_sub(taken + gap));
    let fill = columns.saturating_sub(taken + line_width(&spans));
    spans.push(Span::raw(" ".repeat(fill)));
    spans.extend(right);
    Line::from(spans)
}

/// Breaks a styled line at spaces to `columns`; continued lines begin with `indent` spaces. Words longer than a line are broken anywhere.
pub fn wrap(spans: &[Span<'static>], columns: usize, indent: usize) -> Vec<Line<'static>> {
    let columns = columns.max(8);
    let indent = indent.min(columns / 2);
    let mut lines = vec![Vec::new()];
    let mut used = 0;
    for (word, style) in spans.iter().flat_map(|span| pieces(&span.content).map(|piece| (piece, span.style))) {
        let mut word = word;
        if used + width(word.trim_end()) > columns && used > indent {
            lines.push(vec![Span::raw(" ".repeat(indent))]);
            used = indent;
            word = word.trim_start();
        }
        while used + width(word.trim_end()) > columns {
            let at = fitting(word, columns - used);
            push(&mut lines, &word[..at], style);
            lines.push(vec![Span::raw(" ".repeat(indent))]);
            used = indent;
            word = &word[at..];
        }
        push(&mut lines, word, style);
        used += width(word);
    }
    lines.into_iter().map(Line::from).collect()
}

fn push(lines: &mut [Vec<Span<'static>>], text: &str, style: Style) {
    if let Some(line) = lines.last_mut() {
        line.push(Span::styled(text.to_owned(), style));
    }
}

/// Each word with the spaces after it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let word = rest.find(' ').unwrap_or(rest.len());
        let end = word + (rest[word..].len() - rest[word..].trim_start_matches(' ').len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Bytes of `text` that fit into `columns`; at least one character.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns && at > 0 {
            return at;
        }
    }
    text.len()
}

/// `47 s`, `12 min`, `3 h 12 min`, `2 d 3 h`: for reading, not for counting.
pub fn span(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |big: i64, unit: &str, small: i64, part: &str| {
        if small == 0 { format!("{big} {unit}") } else { format!("{big} {unit} {small} {part}") }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes, "min"),
        86_400..864_000 => two(days, "d", hours, "h"),
        _ => format!("{days} d"),
    }
}

/// `12:41`, `1:02:03`: a clock that runs.
pub fn clock(time: SignedDuration) -> String {
    let seconds = time.as_secs().abs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

/// `842 MB`, `1.2 GB`: powers of ten, as disks and networks are sold.
#[expect(clippy::cast_precision_loss, reason = "three digits for people")]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 9.95 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1,204,332`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `9 rows`.
pub fn many(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// `2026-03-01 02:10 UTC`. Zones differ between the people on a call; UTC does not.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_stranger_wrote_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{7}\u{202e}c\td\u{9b}1m"), "a[2Jbc d1m");
    }

    #[test]
    fn texts_are_cut_by_columns_and_say_so() {
        assert_eq!(clip("données", 7), "données");
        assert_eq!(clip("日本語データ", 7), "日本語…");
        assert_eq!(width(&pad("日本語データ", 8)), 8);
        assert_eq!(clip("abc", 0), "");
    }

    #[test]
    fn long_words_are_broken_and_nothing_is_lost() {
        let lines = wrap(&[Span::raw("one two"), Span::raw(" abcdefghijklmnopqrstuvwxyz end")], 10, 2);
        let text = flat(&lines);
        assert!(text.iter().all(|line| width(line.trim_end()) <= 10), "{text:?}");
        let letters = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert_eq!(letters(&text.concat()), "onetwoabcdefghijklmnopqrstuvwxyzend");
    }

    #[test]
    fn the_right_end_of_a_line_wins() {
        let line = ends(vec![Span::raw("a very long left end")], vec![Span::raw("step 3/9")], 20);
        assert_eq!(line.to_string(), "a very lo…  step 3/9");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [bytes(0), bytes(999), bytes(1_240), bytes(842_300_000), bytes(1_000_000_000)],
            ["0 B", "999 B", "1.2 kB", "842 MB", "1.0 GB"]
        );
        assert_eq!([count(0), count(999), count(1_204_332)], ["0", "999", "1,204,332"]);
        let spans = [47, 60, 3 * 3600 + 720, 2 * 86_400 + 3 * 3600, 40 * 86_400].map(|s| span(SignedDuration::from_secs(s)));
        assert_eq!(spans, ["47 s", "1 min", "3 h 12 min", "2 d 3 h", "40 d"]);
        assert_eq!([clock(SignedDuration::from_secs(761)), clock(SignedDuration::from_secs(3723))], ["12:41", "1:02:03"]);
    }
}
