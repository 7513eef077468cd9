//! A terminal's screen as an SVG, for the README: `LIFEBOAT_PICTURE=assets/run.svg cargo test --test suite a_person_at_80_by_24`.

use std::fmt::Write;

use vt100::{Color, Screen};

const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
const MARGIN: f32 = 14.0;
const INK: &str = "#d8dee9";
const PAPER: &str = "#171b24";

/// The sixteen colours, and what they look like in the picture.
const PALETTE: [&str; 16] = [
    "#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf", "#6b7489", "#ff8a92", "#b5e890", "#ffd88a",
    "#82c4ff", "#e0a0f5", "#7fdbe6", "#ffffff",
];

/// The screen as it is now.
pub fn svg(screen: &Screen) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (f32::from(columns) * WIDTH + 2.0 * MARGIN, f32::from(rows) * HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{PAPER}\"/>\n"
    );
    for row in 0..rows {
        for column in 0..columns {
            cell(&mut svg, screen, row, column);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn cell(svg: &mut String, screen: &Screen, row: u16, column: u16) {
    let Some(cell) = screen.cell(row, column) else { return };
    let (x, y) = (MARGIN + f32::from(column) * WIDTH, MARGIN + f32::from(row) * HEIGHT);
    let (mut ink, mut paper) = (colour(cell.fgcolor(), INK), colour(cell.bgcolor(), PAPER));
    if cell.inverse() {
        std::mem::swap(&mut ink, &mut paper);
    }
    if paper != PAPER {
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"{paper}\"/>").unwrap();
    }
    let text = cell.contents();
    if text.trim().is_empty() {
        return;
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let weight = if cell.bold() { " font-weight=\"bold\"" } else { "" };
    let faint = if cell.dim() { " opacity=\"0.6\"" } else { "" };
    writeln!(svg, "<text x=\"{x}\" y=\"{}\" fill=\"{ink}\"{weight}{faint}>{text}</text>", y + 14.0).unwrap();
}

fn colour(colour: Color, otherwise: &str) -> String {
    match colour {
        Color::Default => otherwise.to_owned(),
        Color::Idx(index) => PALETTE.get(usize::from(index)).map_or(otherwise, |known| known).to_owned(),
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    }
}
