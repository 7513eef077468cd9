//! The little Markdown a runbook's prose needs: paragraphs, headings, lists, fenced blocks, `code` and **bold**.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::tui::text::{clean, clip, width, wrap};
use crate::tui::theme::Theme;

/// The text as wrapped lines.
pub fn lines(text: &str, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let mut out: Vec<Line<'static>> = Vec::new();
    let mut paragraph = String::new();
    let mut indent = 0;
    let mut fenced = false;
    let flush = |paragraph: &mut String, indent: usize, out: &mut Vec<Line<'static>>| {
        if !paragraph.is_empty() {
            out.extend(wrap(&inline(paragraph, theme, theme.text), columns, indent));
            paragraph.clear();
        }
    };
    for line in text.trim().lines() {
        let bare = line.trim();
        if bare.starts_with("```") {
            flush(&mut paragraph, indent, &mut out);
            fenced = !fenced;
        } else if fenced {
            out.push(Line::styled(clip(&format!("  {}", clean(line)), columns), theme.code));
        } else if bare.is_empty() {
            flush(&mut paragraph, indent, &mut out);
            indent = 0;
            if out.last().is_some_and(|last| last.width() > 0) {
                out.push(Line::default());
            }
        } else if let Some(heading) = bare.strip_prefix('#') {
            flush(&mut paragraph, indent, &mut out);
            out.extend(wrap(&[Span::styled(clean(heading.trim_start_matches('#').trim()), theme.title)], columns, 0));
        } else if let Some(marker) = marker(bare) {
            flush(&mut paragraph, indent, &mut out);
            paragraph = if marker == 2 { format!("- {}", &bare[2..]) } else { bare.to_owned() };
            indent = marker;
        } else {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(bare);
        }
    }
    flush(&mut paragraph, indent, &mut out);
    out
}

/// Columns of a list item's marker: `- `, `* `, `1. `.
fn marker(line: &str) -> Option<usize> {
    if line.starts_with("- ") || line.starts_with("* ") {
        return Some(2);
    }
    let digits = line.chars().take_while(char::is_ascii_digit).count();
    (digits > 0 && line[digits..].starts_with(". ")).then_some(digits + 2)
}

/// `code` and **bold** inside a paragraph; a mark that is never closed is itself.
fn inline(text: &str, theme: &Theme, base: Style) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let marked = [("`", theme.code), ("**", theme.title)].into_iter().find_map(|(mark, style)| {
            let (inside, after) = rest.strip_prefix(mark)?.split_once(mark)?;
            (width(inside) > 0).then_some((inside, after, style))
        });
        if let Some((inside, after, style)) = marked {
            spans.push(Span::styled(clean(&std::mem::take(&mut plain)), base));
            spans.push(Span::styled(clean(inside), style));
            rest = after;
        } else {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    spans.push(Span::styled(clean(&plain), base));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_and_its_marks_are_gone() {
        let theme = crate::tui::theme::load("mono", None).unwrap();
        let text =
            "The dump goes to a **new** database,\nnever `orders` itself.\n\n- first one that is long\n- second\n\n1. a 2 * 3 ** odd\n";
        let shown: Vec<String> = lines(text, &theme, 24).iter().map(|line| line.to_string().trim_end().to_owned()).collect();
        assert_eq!(
            shown,
            [
                "The dump goes to a new",
                "database, never orders",
                "itself.",
                "",
                "- first one that is long",
                "- second",
                "",
                "1. a 2 * 3 ** odd",
            ]
        );
    }
}
