//! What can be told of a dump's tables by reading it: their columns, with types as they were declared, a few of their rows, and the text of
//! all statements. Nothing is restored, and memory depends on the schema, not on the data.

use std::collections::BTreeMap;

use memchr::memchr;
use serde::Serialize;

use super::Witness;
use super::statement::name_length;

/// Most bytes of a row that are kept; what a row has beyond is left out.
const ROW: usize = 64 << 10;

/// Most bytes of statements that are kept.
const STATEMENTS: usize = 32 << 20;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// As PostgreSQL prints it.
    pub name: String,
    /// As it was declared; empty where the dump does not say.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Rows of a table, values as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The first so many rows of this table, as PostgreSQL prints its name.
    pub rows: Option<(String, usize)>,
    /// The text of all statements that make the schema.
    pub statements: bool,
}

/// Looks on while a dump is parsed.
#[derive(Debug, Default)]
pub struct Outline {
    /// Columns of each table that was declared so far.
    pub tables: BTreeMap<String, Vec<Column>>,
    /// The statements that make the schema, one after the other, each with its semicolon and newline.
    pub statements: String,
    /// There were more statements than are kept.
    pub cut: bool,
    /// The columns of the rows.
    pub columns: Vec<Column>,
    /// The rows that were wished for, as far as they were seen.
    pub rows: Rows,
    wish: Wish,
    /// Rows of the wished table go by.
    reading: bool,
    /// What was wished for is there.
    done: bool,
    line: Vec<u8>,
}

impl Outline {
    /// Looks for this.
    pub fn of(wish: Wish) -> Outline {
        Outline { wish, ..Outline::default() }
    }

    /// All that was wished for was seen; the rest of the dump need not be read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn begin_rows(&mut self, copy: &str) {
        let Some((table, rest)) = name(copy) else { return };
        let Some((wanted, most)) = &self.wish.rows else { return };
        if table != wanted {
            return;
        }
        let declared = self.tables.get(table).map(Vec::as_slice).unwrap_or_default();
        let named = inside(rest).map(split).unwrap_or_default();
        let kind = |name: &str| declared.iter().find(|column| column.name == name).map(|column| column.kind.clone()).unwrap_or_default();
        self.columns = named.into_iter().map(|name| Column { name: name.to_owned(), kind: kind(name) }).collect();
        self.reading = true;
        self.done = *most == 0;
    }

    /// A row is complete in `line`.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let most = self.wish.rows.as_ref().map_or(0, |(_, most)| *most);
        if line == b"\\." || self.rows.len() >= most {
            return;
        }
        let fields = if self.columns.is_empty() { Vec::new() } else { line.split(|byte| *byte == b'\t').map(value).collect() };
        self.rows.push(fields);
        self.done = self.rows.len() >= most;
    }
}

impl Witness for Outline {
    fn statement(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        if let Some(copy) = text.strip_prefix("COPY ") {
            return self.begin_rows(copy);
        }
        if let Some((table, columns)) = declared(&text) {
            self.tables.insert(table, columns);
        }
        if self.wish.statements && is_schema(&text) {
            if self.statements.len() + text.len() > STATEMENTS {
                self.cut = true;
                return;
            }
            for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
                self.statements.push_str(line);
                self.statements.push('\n');
            }
            if self.statements.ends_with('\n') {
                self.statements.pop();
                self.statements.push_str(";\n");
            }
        }
    }

    fn rows(&mut self, mut bytes: &[u8]) {
        while self.reading && !self.done && !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let room = ROW.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if end.is_some() {
                self.end_line();
            }
            bytes = &bytes[(piece.len() + 1).min(bytes.len())..];
        }
    }

    fn end_of_rows(&mut self) {
        self.done |= std::mem::take(&mut self.reading);
        self.line.clear();
    }
}

/// Neither a setting of the session, nor data of sequences and large objects, nor the database itself, which only archives speak of.
fn is_schema(text: &str) -> bool {
    const OTHERS: [&str; 7] =
        ["SET ", "SELECT pg_catalog.set", "SELECT pg_catalog.lo", "BEGIN", "COMMIT", "CREATE DATABASE ", "ALTER DATABASE "];
    !text.is_empty() && !OTHERS.iter().any(|start| text.starts_with(start))
}

/// `CREATE TABLE name (…)`: the name and the columns. A table of a type or a partition that is declared as one has no columns of its own.
fn declared(text: &str) -> Option<(String, Vec<Column>)> {
    let rest = text.strip_prefix("CREATE ")?;
    let rest = ["TABLE ", "UNLOGGED TABLE ", "FOREIGN TABLE "].iter().find_map(|word| rest.strip_prefix(word))?;
    let (table, rest) = name(rest)?;
    let items = if rest.starts_with('(') { inside(rest).map(split).unwrap_or_default() } else { Vec::new() };
    Some((table.to_owned(), items.into_iter().filter_map(column).collect()))
}

/// `id integer DEFAULT 1 NOT NULL`; `None` for a constraint of the table.
fn column(item: &str) -> Option<Column> {
    const TABLES_OWN: [&str; 8] = ["CONSTRAINT", "CHECK", "PRIMARY", "UNIQUE", "FOREIGN", "EXCLUDE", "LIKE", "PERIOD"];
    const AFTER_THE_TYPE: [&str; 11] =
        ["NOT", "NULL", "DEFAULT", "COLLATE", "GENERATED", "CONSTRAINT", "CHECK", "STORAGE", "COMPRESSION", "OPTIONS", "REFERENCES"];
    let (name, rest) = name(item)?;
    if TABLES_OWN.contains(&name) {
        return None;
    }
    let kind: Vec<&str> = words(rest).into_iter().take_while(|word| !AFTER_THE_TYPE.contains(word)).collect();
    Some(Column { name: name.to_owned(), kind: kind.join(" ") })
}

/// The name at the beginning, as it is written, and what follows.
fn name(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let length = name_length(text.as_bytes());
    let (name, rest) = text.split_at_checked(length)?;
    (!name.is_empty()).then(|| (name, rest.trim_start()))
}

/// What is between the first parenthesis and the one that closes it.
fn inside(text: &str) -> Option<&str> {
    let text = text.strip_prefix('(')?;
    let mut walk = Walk::default();
    let end = text.bytes().position(|byte| {
        walk.step(byte);
        walk.depth < 0
    });
    Some(&text[..end.unwrap_or(text.len())])
}

/// Parts between commas, those in quotes and parentheses apart.
fn split(text: &str) -> Vec<&str> {
    pieces(text, |byte| byte == b',')
}

/// Parts between blanks, likewise.
fn words(text: &str) -> Vec<&str> {
    pieces(text, |byte| byte.is_ascii_whitespace())
}

fn pieces(text: &str, between: impl Fn(u8) -> bool) -> Vec<&str> {
    let mut walk = Walk::default();
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        walk.step(byte);
        if walk.is_outside() && between(byte) {
            parts.push(text[start..at].trim());
            start = at + 1;
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Where one is in a text with quotes and parentheses.
#[derive(Default)]
struct Walk {
    depth: i32,
    quote: Option<u8>,
}

impl Walk {
    fn step(&mut self, byte: u8) {
        match (self.quote, byte) {
            (Some(quote), byte) if byte == quote => self.quote = None,
            (None, b'\'' | b'"') => self.quote = Some(byte),
            (None, b'(' | b'[') => self.depth += 1,
            (None, b')' | b']') => self.depth -= 1,
            _ => {}
        }
    }

    fn is_outside(&self) -> bool {
        self.depth == 0 && self.quote.is_none()
    }
}

/// A value as COPY writes it (COPY, "Text Format").
fn value(field: &[u8]) -> Option<String> {
    if field == b"\\N" {
        return None;
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        plain.push(match bytes.next() {
            None => b'\\',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(other) => other,
        });
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

/// A value whose content is hidden and whose shape is not: letters are `x` or `X`, digits `9`, ASCII punctuation and blanks stay.
pub fn masked(value: &str) -> String {
    let mask = |c: char| match c {
        c if c.is_uppercase() => 'X',
        c if c.is_numeric() => '9',
        c if c.is_ascii_punctuation() || c.is_whitespace() || c.is_control() => c,
        _ => 'x',
    };
    value.chars().map(mask).collect()
}

/// Text that no terminal obeys: control characters and those that turn the direction of writing are spelled out.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || turns {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::inspect::plain::Parser;

    fn look(body: &str, wish: &Wish) -> Outline {
        let text = format!("--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\n{body}\n--\n-- PostgreSQL database dump complete\n--\n");
        let seen: Vec<Outline> = [1, 3, 7, text.len()]
            .into_iter()
            .map(|size| {
                let mut outline = Outline::of(wish.clone());
                let mut parser = Parser::default();
                for chunk in text.as_bytes().chunks(size) {
                    parser.feed_to(chunk, &mut outline).unwrap();
                }
                parser.finish().unwrap();
                outline
            })
            .collect();
        assert!(seen.windows(2).all(|pair| pair[0].rows == pair[1].rows && pair[0].statements == pair[1].statements));
        seen.into_iter().next_back().unwrap()
    }

    const TABLE: &str = "--\n-- Name: t; Type: TABLE\n--\n\nCREATE TABLE public.t (\n    id integer NOT NULL,\n    \"the, name\" character varying(20) DEFAULT 'a, (b'::character varying,\n    \
        at timestamp(3) without time zone,\n    price numeric(10,2)[],\n    twice integer GENERATED ALWAYS AS ((id * 2)) STORED,\n    CONSTRAINT c CHECK ((id > 0))\n);\n\n\
        COPY public.t (id, \"the, name\", at, price) FROM stdin;\n1\tone\\ttab\t\\N\t{1.00}\n2\t\\\\N\\n\t2026-01-01 00:00:00\t\\N\n3\t\t\\N\t\\N\n\\.\n";

    #[test]
    fn columns_are_told_with_the_types_they_were_declared_with() {
        let outline = look(TABLE, &Wish::default());
        let columns: Vec<String> = outline.tables["public.t"].iter().map(|column| format!("{}: {}", column.name, column.kind)).collect();
        let expected = [
            "id: integer",
            "\"the, name\": character varying(20)",
            "at: timestamp(3) without time zone",
            "price: numeric(10,2)[]",
            "twice: integer",
        ];
        assert_eq!(columns, expected);
    }

    #[test]
    fn the_first_rows_of_a_table_are_read_and_then_no_more() {
        let wish = |most| Wish { rows: Some(("public.t".into(), most)), statements: false };
        let outline = look(TABLE, &wish(2));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            outline.columns.iter().map(|column| column.kind.as_str()).collect::<Vec<_>>().len(),
            4,
            "a generated column is not dumped"
        );
        assert_eq!(outline.columns[2].kind, "timestamp(3) without time zone");
        let expected =
            [vec![text("1"), text("one\ttab"), None, text("{1.00}")], vec![text("2"), text("\\N\n"), text("2026-01-01 00:00:00"), None]];
        assert_eq!(outline.rows, expected);
        assert!(outline.is_done());
        assert_eq!(look(TABLE, &wish(9)).rows.len(), 3);
        assert!(look(TABLE, &wish(9)).is_done(), "there are no more");
        assert!(!look("", &wish(9)).is_done());
    }

    #[test]
    fn a_row_of_any_length_takes_little_memory() {
        let mut outline = Outline::of(Wish { rows: Some(("public.t".into(), 2)), statements: false });
        outline.statement(b"COPY public.t (a, b) FROM stdin");
        for _ in 0..100 {
            outline.rows(&vec![b'a'; 1 << 20]);
            assert!(outline.line.capacity() <= 2 * ROW);
        }
        outline.rows(b"\tb\nshort\tb\n");
        assert_eq!(outline.rows[0].len(), 1, "what was beyond is left out");
        assert_eq!(outline.rows[1].len(), 2);
    }

    #[test]
    fn statements_are_those_that_make_the_schema() {
        let outline = look(
            "SET client_encoding = 'UTF8';\nSELECT pg_catalog.set_config('search_path', '', false);\n-- a comment\nCREATE TABLE public.t (\n    id integer\n);\n\n\
             CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$\n-- inside; stays\nSELECT 1;\n$$;\n\
             SELECT pg_catalog.setval('public.s', 7, true);\nCOPY public.t (id) FROM stdin;\n1\n\\.\n",
            &Wish { rows: None, statements: true },
        );
        let expected = "CREATE TABLE public.t (\n    id integer\n);\nCREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$\n-- inside; stays\nSELECT 1;\n$$;\n";
        assert_eq!(outline.statements, expected);
    }

    // X6
    #[test]
    fn a_masked_value_keeps_its_shape_and_nothing_else() {
        assert_eq!(masked("Ada Lovelace, +44 20 7946 0958"), "Xxx Xxxxxxxx, +99 99 9999 9999");
        assert_eq!(masked("{\"id\": 12, \"ok\": true}"), "{\"xx\": 99, \"xx\": xxxx}");
        assert_eq!(masked("Čeněk 東京 ٣"), "Xxxxx xx 9");
    }

    #[test]
    fn no_terminal_obeys_what_is_shown() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}d\\u{9b}");
        assert_eq!(harmless("Grüße, 東京"), "Grüße, 東京");
    }
}
