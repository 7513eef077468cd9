//! Roles and the inks that play them. A theme is a TOML file; colour only ever underlines what a word or a mark already says.

use std::fs;
use std::path::Path;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::report::{Explain, Report, Result};

/// The themes that are always there.
const SHIPPED: [(&str, &str); 4] = [
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("mono", include_str!("../../themes/mono.toml")),
    ("colour-blind", include_str!("../../themes/colour-blind.toml")),
];

/// One ink for each role.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    /// What is read.
    pub text: Style,
    /// What may be overlooked.
    pub dim: Style,
    /// Headlines.
    pub title: Style,
    /// The one accent: where you are, what you can press.
    pub accent: Style,
    /// It holds.
    pub good: Style,
    /// Look here.
    pub warn: Style,
    /// It does not hold.
    pub bad: Style,
    /// Commands and names to be typed.
    pub code: Style,
    /// The row the cursor is on.
    pub selected: Style,
    /// The word PRODUCTION.
    pub production: Style,
    /// The word DRILL, and other badges.
    pub badge: Style,
}

/// A theme as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    text: Ink,
    dim: Ink,
    title: Ink,
    accent: Ink,
    good: Ink,
    warn: Ink,
    bad: Ink,
    code: Ink,
    selected: Ink,
    production: Ink,
    badge: Ink,
}

/// An ink as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "as people write it: bold = true")]
struct Ink {
    fg: Option<String>,
    bg: Option<String>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    reverse: bool,
}

/// Which theme the environment asks for where nobody named one: `NO_COLOR` (any text but the empty one) means none,
/// a light background (`COLORFGBG`, as rxvt and Konsole set it) the light one.
pub fn default_name(variable: impl Fn(&str) -> Option<String>) -> &'static str {
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || variable("TERM").is_some_and(|term| term.starts_with("vt")) {
        return "mono";
    }
    let background = variable("COLORFGBG").and_then(|value| value.rsplit(';').next().and_then(|last| last.parse::<u8>().ok()));
    if matches!(background, Some(7 | 9..=15)) { "light" } else { "dark" }
}

/// The theme of that name: `DIRECTORY/NAME.toml` where there is one, or a shipped one.
pub fn load(name: &str, directory: Option<&Path>) -> Result<Theme> {
    if name.contains(['/', '\\', '\0']) || name.starts_with('.') {
        return Err(unknown(name));
    }
    if let Some(path) = directory.map(|directory| directory.join(format!("{name}.toml"))).filter(|path| path.exists()) {
        let text = fs::read_to_string(&path).explain(|| format!("theme {} cannot be read", path.display()))?;
        return parse(&text, &path.display().to_string());
    }
    let (_, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name).ok_or_else(|| unknown(name))?;
    parse(text, &format!("themes/{name}.toml"))
}

/// A theme from its text; `origin` names it in errors.
fn parse(text: &str, origin: &str) -> Result<Theme> {
    let written: Written = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Report::usage(format!("{origin}:{line}: not a theme"))
            .cause(error.message().to_owned())
            .hint("copy one of themes/*.toml and change its inks")
    })?;
    let ink = |ink: Ink| ink.style().map_err(|report| report.under(format!("{origin}: not a theme")));
    Ok(Theme {
        text: ink(written.text)?,
        dim: ink(written.dim)?,
        title: ink(written.title)?,
        accent: ink(written.accent)?,
        good: ink(written.good)?,
        warn: ink(written.warn)?,
        bad: ink(written.bad)?,
        code: ink(written.code)?,
        selected: ink(written.selected)?,
        production: ink(written.production)?,
        badge: ink(written.badge)?,
    })
}

fn unknown(name: &str) -> Report {
    let known = SHIPPED.map(|(name, _)| name);
    let close = known.iter().copied().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let report = Report::usage(format!("there is no theme `{}`", super::text::clean(name))).hint(format!("shipped: {}", known.join(", ")));
    close.filter(|close| strsim::jaro(close, name) > 0.7).map_or(report.clone(), |close| report.hint(format!("did you mean `{close}`?")))
}

impl Ink {
    fn style(&self) -> Result<Style> {
        let mut style = Style::new();
        if let Some(name) = &self.fg {
            style = style.fg(colour(name)?);
        }
        if let Some(name) = &self.bg {
            style = style.bg(colour(name)?);
        }
        for (on, modifier) in [
            (self.bold, Modifier::BOLD),
            (self.dim, Modifier::DIM),
            (self.italic, Modifier::ITALIC),
            (self.underline, Modifier::UNDERLINED),
            (self.reverse, Modifier::REVERSED),
        ] {
            if on {
                style = style.add_modifier(modifier);
            }
        }
        Ok(style)
    }
}

/// One of the sixteen names, which follow the terminal's own palette, or `#rrggbb`.
fn colour(name: &str) -> Result<Color> {
    Ok(match name {
        "black" => Color::Black,
        "red" => Color::Red,
        "green" => Color::Green,
        "yellow" => Color::Yellow,
        "blue" => Color::Blue,
        "magenta" => Color::Magenta,
        "cyan" => Color::Cyan,
        "white" => Color::Gray,
        "bright-black" => Color::DarkGray,
        "bright-red" => Color::LightRed,
        "bright-green" => Color::LightGreen,
        "bright-yellow" => Color::LightYellow,
        "bright-blue" => Color::LightBlue,
        "bright-magenta" => Color::LightMagenta,
        "bright-cyan" => Color::LightCyan,
        "bright-white" => Color::White,
        _ => {
            let hex = name.strip_prefix('#').filter(|hex| hex.len() == 6).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let hex = hex.ok_or_else(|| {
                Report::usage(format!("`{}` is no colour", super::text::clean(name)))
                    .hint("colours: black red green yellow blue magenta cyan white, each also with bright- before it, or #rrggbb")
            })?;
            Color::from_u32(hex)
        }
    })
}

impl Theme {
    /// For a terminal of sixteen colours: every `#rrggbb` becomes the nearest of them.
    #[must_use]
    pub fn in_sixteen(mut self) -> Self {
        for style in [
            &mut self.text,
            &mut self.dim,
            &mut self.title,
            &mut self.accent,
            &mut self.good,
            &mut self.warn,
            &mut self.bad,
            &mut self.code,
            &mut self.selected,
            &mut self.production,
            &mut self.badge,
        ] {
            style.fg = style.fg.map(nearest);
            style.bg = style.bg.map(nearest);
        }
        self
    }
}

fn nearest(colour: Color) -> Color {
    /// xterm's sixteen.
    const PALETTE: [(Color, [u8; 3]); 16] = [
        (Color::Black, [0, 0, 0]),
        (Color::Red, [205, 0, 0]),
        (Color::Green, [0, 205, 0]),
        (Color::Yellow, [205, 205, 0]),
        (Color::Blue, [0, 0, 238]),
        (Color::Magenta, [205, 0, 205]),
        (Color::Cyan, [0, 205, 205]),
        (Color::Gray, [229, 229, 229]),
        (Color::DarkGray, [127, 127, 127]),
        (Color::LightRed, [255, 0, 0]),
        (Color::LightGreen, [0, 255, 0]),
        (Color::LightYellow, [255, 255, 0]),
        (Color::LightBlue, [92, 92, 255]),
        (Color::LightMagenta, [255, 0, 255]),
        (Color::LightCyan, [0, 255, 255]),
        (Color::White, [255, 255, 255]),
    ];
    let Color::Rgb(r, g, b) = colour else { return colour };
    let distance = |other: &[u8; 3]| -> i32 { [r, g, b].iter().zip(other).map(|(a, b)| (i32::from(*a) - i32::from(*b)).pow(2)).sum() };
    PALETTE.iter().min_by_key(|(_, rgb)| distance(rgb)).map_or(colour, |(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_theme_is_one() {
        for (name, _) in SHIPPED {
            let theme = load(name, None).unwrap();
            assert_ne!(theme.production, theme.text, "{name}: production must stand out");
            assert_ne!(theme.selected, theme.text, "{name}: the cursor must be seen");
        }
    }

    #[test]
    fn no_shipped_theme_writes_dark_blue_or_forces_a_background_under_plain_text() {
        // Trap 47.
        for name in ["dark", "mono", "colour-blind"] {
            let theme = load(name, None).unwrap();
            for style in [theme.text, theme.dim, theme.title, theme.accent, theme.good, theme.warn, theme.bad, theme.code] {
                assert!(!matches!(style.fg, Some(Color::Blue | Color::Black | Color::DarkGray)), "{name}: {style:?}");
                assert_eq!(style.bg, None, "{name}: the terminal's own background");
            }
        }
    }

    #[test]
    fn the_mono_theme_has_no_colour_at_all() {
        let theme = load("mono", None).unwrap();
        let all = format!("{theme:?}");
        assert_eq!(theme.production.fg.or(theme.production.bg), None);
        assert!(theme.production.add_modifier.contains(Modifier::REVERSED), "{all}");
        assert!(!all.contains(".red()") && !all.contains("Rgb"), "{all}");
    }

    #[test]
    fn no_color_is_read_by_us() {
        // Trap 45.
        let with = |pairs: &'static [(&str, &str)]| {
            default_name(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(with(&[("NO_COLOR", "1"), ("COLORFGBG", "0;15")]), "mono");
        assert_eq!(with(&[("NO_COLOR", "")]), "dark");
        assert_eq!(with(&[("COLORFGBG", "0;default;15")]), "light");
        assert_eq!(with(&[]), "dark");
    }

    #[test]
    fn a_bad_theme_says_where_and_what() {
        let text = SHIPPED[0].1.replace("[dim]", "[dimm]").replace("dim =", "dimm =");
        let report = parse(&text, "mine.toml").unwrap_err();
        assert!(report.message.starts_with("mine.toml:"), "{report}");
        assert!(report.causes.concat().contains("dimm"), "{report}");
        let report = load("drak", None).unwrap_err();
        assert!(report.hints.concat().contains("did you mean `dark`"), "{report:?}");
        assert!(load("../dark", None).is_err());
    }

    #[test]
    fn a_theme_of_ones_own_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let text = SHIPPED[0].1.replace("\"cyan\"", "\"#ff00fe\"");
        fs::write(directory.path().join("dark.toml"), text).unwrap();
        let theme = load("dark", Some(directory.path())).unwrap();
        assert_eq!(theme.accent.fg, Some(Color::Rgb(255, 0, 254)));
        assert_eq!(theme.in_sixteen().accent.fg, Some(Color::LightMagenta));
    }
}
