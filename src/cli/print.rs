//! Results on stdout: tables for people, JSON for scripts.

use std::io::{self, Write};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::report::{Explain, Result};

/// One line on stdout. What comes from elsewhere loses its control characters.
pub fn line(line: &str) -> Result<()> {
    let clean: String = line.chars().filter(|c| !c.is_control()).collect();
    text(&format!("{clean}\n"))
}

/// Text of our own making, as it is. Whoever closed stdout has read enough: `lifeboat dumps | head` is no failure of ours, and what the
/// command came to is still its exit code.
pub fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.explain(|| "writing to stdout".into()),
    }
}

/// A value as JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).explain(|| "writing JSON".into())?;
    text.push('\n');
    self::text(&text)
}

/// Rows under their headings, columns as wide as they must be.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let clean = |cell: &String| cell.chars().filter(|c| !c.is_control()).collect::<String>();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let width = |column: usize| std::iter::once(&headings).chain(&rows).filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or_default()).collect();
    for row in std::iter::once(&headings).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width()))));
        line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// What a word of English ends in, for so many.
pub fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// `12 B`, `3.4 MB`: powers of 1000.
#[expect(clippy::cast_precision_loss, reason = "a size for people")]
pub fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}
