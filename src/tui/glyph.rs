//! The marks that say in one column what a colour would, and what becomes of them on a terminal without UTF-8.

use ratatui::buffer::Buffer;

/// It holds, it is proven.
pub const GOOD: &str = "✓";
/// It does not hold, it failed.
pub const BAD: &str = "✗";
/// Look here; gone past without proof.
pub const WARN: &str = "!";
/// Not yet.
pub const PENDING: &str = "·";
/// Being done.
pub const RUNNING: &str = "●";
/// Here.
pub const HERE: &str = "▸";
/// Left out.
pub const SKIPPED: &str = "–";
/// Simulated.
pub const SIMULATED: &str = "~";
/// Taken back.
pub const UNDONE: &str = "↶";
/// The done part of a bar.
pub const DONE: &str = "━";
/// The rest of a bar; a thin rule.
pub const RULE: &str = "─";
/// A thin rule, standing.
pub const WALL: &str = "│";
/// The text cursor where it stands after the last character.
pub const CARET: &str = "▏";

/// The locale says that the terminal's text is not UTF-8.
pub fn is_plain(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_lowercase();
    !(locale.contains("utf-8") || locale.contains("utf8"))
}

/// Puts ASCII where anything else was drawn, one column for one column.
pub fn make_plain(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let plain = match cell.symbol() {
            text if text.is_ascii() => continue,
            GOOD => "+",
            BAD => "x",
            PENDING => ".",
            RUNNING => "*",
            HERE | "›" | "→" => ">",
            SKIPPED | RULE | "—" => "-",
            UNDONE | "‹" | "←" => "<",
            DONE => "=",
            WALL => "|",
            CARET => "_",
            "…" => "~",
            "↑" => "^",
            "↓" => "v",
            _ => "?",
        };
        cell.set_symbol(plain);
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn a_terminal_without_utf8_gets_ascii() {
        assert!(is_plain(|name| (name == "LANG").then(|| "C".into())));
        assert!(is_plain(|_| None));
        assert!(!is_plain(|name| (name == "LC_CTYPE").then(|| "C.UTF-8".into())));
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 1));
        buffer.set_string(0, 0, "✓ ✗ – ▸ é… ok", Style::new());
        make_plain(&mut buffer);
        assert!(buffer.content.iter().all(|cell| cell.symbol().is_ascii()), "{buffer:?}");
    }
}
