//! One dump: what is known about it and how far it is proven. // X6

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::sheet::indented;
use super::{label, scrolled};
use crate::pipeline::manifest::{Dump, Format, Manifest};
use crate::tui::glyph;
use crate::tui::model::{Model, Scroll};
use crate::tui::text::{bytes, clean, clip, count, many, moment, pad, pad_left, span, width, wrap};
use crate::tui::theme::Theme;
use crate::tui::widget::bar;

/// Draws it.
pub fn draw(model: &Model, dump: &Dump, scroll: &Scroll, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width).saturating_sub(2);
    let mut lines = facts(model, &dump.manifest, columns);
    proofs(model, dump, columns, &mut lines);
    tables(&dump.manifest, &model.theme, columns, &mut lines);
    stages(&dump.manifest, &model.theme, columns, &mut lines);
    scrolled(indented(lines), scroll, &model.theme, frame, area);
}

fn facts(model: &Model, manifest: &Manifest, columns: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let mut lines = wrap(&[Span::styled(clean(&manifest.object), theme.title)], columns, 2);
    let age = model.now.wall.duration_since(manifest.snapshot_at);
    let format = match manifest.format {
        Format::Plain => "plain SQL",
        Format::Custom => "pg_restore archive",
        Format::Globals => "roles and tablespaces as SQL",
    };
    let compression = manifest.compression.word();
    let origin = &manifest.origin;
    let rows = [
        ("data as of", format!("{}, {} ago", moment(manifest.snapshot_at), span(age))),
        ("from", format!("{} on PostgreSQL {}, {}", clean(&origin.database), clean(&origin.server_version), clean(&manifest.environment))),
        ("holds", format!("{} rows in {}", count(manifest.rows()), many(manifest.tables.len(), "table", "tables"))),
        ("size", format!("{}, {} before compression", bytes(manifest.stored.bytes), bytes(manifest.plain.bytes))),
        ("layout", format!("{format}, {compression}, OpenPGP")),
        ("made in", format!("{} by {}", span(manifest.ended_at.duration_since(manifest.started_at)), clean(&manifest.tool))),
        ("sha256", clean(&manifest.stored.sha256)),
    ];
    for (name, value) in rows {
        lines.extend(wrap(&[Span::styled(pad(name, 12), theme.dim), Span::styled(value, theme.text)], columns, 12));
    }
    for (at, key) in manifest.recipients.iter().enumerate() {
        let name = if at == 0 { "opened by" } else { "" };
        lines.extend(wrap(&[Span::styled(pad(name, 12), theme.dim), Span::styled(clean(key), theme.text)], columns, 12));
    }
    lines
}

fn proofs(model: &Model, dump: &Dump, columns: usize, lines: &mut Vec<Line<'static>>) {
    let theme = &model.theme;
    lines.push(Line::default());
    lines.push(label("proofs", theme));
    if dump.proofs.is_empty() {
        lines.push(Line::styled(format!("  {} nobody has ever proven this dump", glyph::WARN), theme.warn));
    }
    for proof in dump.proofs.iter().rev() {
        let (sign, ink) = if proof.held { (glyph::GOOD, theme.good) } else { (glyph::BAD, theme.bad) };
        let age = span(model.now.wall.duration_since(proof.at));
        let words = format!("{age} ago by {}, took {}", clean(&proof.by), span(proof.took));
        let mut spans = vec![
            Span::styled(format!("  {sign} "), ink),
            Span::styled(format!("{}  ", proof.level), theme.title),
            Span::styled(words, theme.text),
        ];
        if let Some(reason) = &proof.reason {
            spans.push(Span::styled(format!("  {}", clean(reason)), theme.bad));
        }
        lines.extend(wrap(&spans, columns, 8));
    }
}

fn tables(manifest: &Manifest, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    lines.push(Line::default());
    let mut tables: Vec<_> = manifest.tables.iter().collect();
    tables.sort_by_key(|(name, table)| (std::cmp::Reverse(table.rows), *name));
    let widest = tables.iter().map(|(name, _)| width(&clean(name))).max().unwrap_or(0).clamp(5, columns.saturating_sub(30).max(5));
    lines.push(Line::styled(format!("{}{}{}", pad("tables", widest + 2), pad_left("rows", 15), pad_left("size", 11)), theme.dim));
    for (name, table) in tables {
        lines.push(Line::from(vec![
            Span::styled(format!("  {}", pad(&clean(name), widest)), theme.text),
            Span::styled(pad_left(&count(table.rows), 15), theme.text),
            Span::styled(pad_left(&bytes(table.bytes), 11), theme.dim),
        ]));
    }
    let schema = &manifest.schema;
    let counted = [
        (schema.constraints, "constraint"),
        (schema.indexes, "index"),
        (schema.views, "view"),
        (schema.sequences, "sequence"),
        (schema.triggers, "trigger"),
        (schema.large_objects, "large object"),
    ];
    let words: Vec<String> = counted
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| {
            let more = if *name == "index" { "indexes".to_owned() } else { format!("{name}s") };
            many(usize::try_from(*number).unwrap_or(usize::MAX), name, &more)
        })
        .collect();
    if !words.is_empty() {
        lines.extend(wrap(&[Span::styled(format!("  {}", clip(&words.join(", "), 400)), theme.dim)], columns, 2));
    }
}

fn stages(manifest: &Manifest, theme: &Theme, columns: usize, lines: &mut Vec<Line<'static>>) {
    if manifest.stages.is_empty() {
        return;
    }
    lines.push(Line::default());
    lines.push(label("stages", theme));
    lines.extend(indented(indented(bar::lines(&manifest.stages, theme, columns.saturating_sub(2)))));
}
