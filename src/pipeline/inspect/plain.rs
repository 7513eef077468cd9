//! A plain dump: SQL text with COPY data in it, as pg_dump writes it.
//!
//! A small lexer walks over strings, identifiers, dollar quotes and comments, so that nothing inside them is taken for a statement. Of each
//! statement only the beginning is kept, enough to tell what it is.

pub mod thin;

use memchr::{memchr, memchr2};

use super::rows::Rows;
use super::statement::{Copied, Statement, is_word};
use super::{Contents, Nobody, Witness, show};
use crate::report::{Report, Result};

/// What pg_dump writes last.
const TRAILER: &[u8] = b"-- PostgreSQL database dump complete";

/// What pg_dumpall writes last.
const CLUSTER_TRAILER: &[u8] = b"-- PostgreSQL database cluster dump complete";

/// How much of a comment is kept.
const COMMENT: usize = 64;

/// Longest command for psql.
const COMMAND: usize = 200;

/// How much of a statement a witness is shown.
const STATEMENT: usize = 1 << 20;

/// Longest tag of a dollar quote (`NAMEDATALEN`, and what other builds may make of it).
const TAG: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    statement: Statement,
    contents: Contents,
    /// The trailer was seen, and since then nothing but comments.
    complete: bool,
    /// At the beginning of a line, where psql's own commands are.
    line_start: bool,
    fed: u64,
    /// It is the work of pg_dumpall.
    globals: bool,
    reading: Reading,
}

/// What a witness is shown next.
#[derive(Debug, Default)]
struct Reading {
    /// The statement so far, as it is written: only where a witness reads it.
    text: Vec<u8>,
    /// It ended with the last step.
    ended: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Between and in statements.
    #[default]
    Sql,
    /// `-`: a comment may begin.
    Dash,
    /// `/`: a comment may begin.
    Slash,
    /// `-- …`
    Comment(Vec<u8>),
    /// `/* … */`, which nests.
    Block { depth: u32, last: u8 },
    /// `'…'`; where `escapes`, a backslash takes the next character along.
    Quote { escapes: bool, skip: bool },
    /// After a quote that may be the last.
    Unquote { escapes: bool },
    /// `"…"`
    Name,
    /// `$`, or `$ta`.
    Tag(Vec<u8>),
    /// `$tag$ … $tag$`: the tag, and how much of its end was matched.
    Dollar { tag: Vec<u8>, matched: usize },
    /// `\restrict TOKEN`, up to the end of the line.
    Meta(Vec<u8>),
    /// After `COPY … FROM stdin;`, up to the end of the line.
    CopyLine(String),
    /// The data of a table.
    Copy { table: String, rows: Rows },
}

impl Parser {
    /// For what `pg_dumpall --globals-only` writes.
    pub fn of_globals() -> Parser {
        Parser { globals: true, ..Parser::default() }
    }

    /// The next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.feed_to(bytes, &mut Nobody)
    }

    /// The next bytes, shown to a witness.
    pub fn feed_to<W: Witness>(&mut self, mut bytes: &[u8], witness: &mut W) -> Result<()> {
        self.fed += bytes.len() as u64;
        if self.fed == bytes.len() as u64 {
            self.line_start = true;
        }
        while !bytes.is_empty() {
            let in_rows = matches!(self.state, State::Copy { .. });
            let used = self.step(bytes)?;
            if W::READS {
                self.show(&bytes[..used], in_rows, witness);
            }
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Shows a witness the bytes that a step used.
    fn show<W: Witness>(&mut self, used: &[u8], in_rows: bool, witness: &mut W) {
        if in_rows {
            witness.rows(used);
            if !matches!(self.state, State::Copy { .. }) {
                witness.end_of_rows();
            }
        } else if std::mem::take(&mut self.reading.ended) {
            witness.statement(without_comments(&self.reading.text));
            self.reading.text.clear();
        } else if !matches!(self.state, State::CopyLine(_) | State::Copy { .. }) {
            let room = STATEMENT.saturating_sub(self.reading.text.len());
            self.reading.text.extend_from_slice(&used[..used.len().min(room)]);
        }
    }

    /// No more bytes.
    pub fn finish(mut self) -> Result<Contents> {
        if self.fed == 0 {
            return Err(Report::refused("the dump is empty: not one byte"));
        }
        match std::mem::take(&mut self.state) {
            State::Comment(text) => self.end_comment(&text),
            State::Copy { table, rows } => {
                let rows = rows.count().rows;
                return Err(Report::refused(format!("the dump is cut: it ends within the rows of {}, after {rows}", show(&table))));
            }
            _ => {}
        }
        if !self.complete || !self.statement.is_empty() {
            return Err(Report::refused(format!(
                "the dump is cut: it ends after {} bytes without {}'s closing line",
                self.fed,
                self.maker()
            )));
        }
        Ok(self.contents)
    }

    fn maker(&self) -> &'static str {
        if self.globals { "pg_dumpall" } else { "pg_dump" }
    }

    /// One step of the lexer: how many bytes it used.
    fn step(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.state {
            State::Sql => self.sql(bytes),
            State::Dash if bytes[0] == b'-' => Ok(self.enter(State::Comment(b"--".to_vec()))),
            State::Dash => Ok(self.was_operator(b"-")),
            State::Slash if bytes[0] == b'*' => Ok(self.enter(State::Block { depth: 1, last: 0 })),
            State::Slash => Ok(self.was_operator(b"/")),
            State::Unquote { escapes } if bytes[0] == b'\'' => {
                // A doubled quote is one that belongs to the string.
                let escapes = *escapes;
                Ok(self.enter(State::Quote { escapes, skip: false }))
            }
            State::Unquote { .. } => Ok(self.was_operator(b"'")),
            State::Comment(text) => {
                let end = memchr(b'\n', bytes);
                let piece = &bytes[..end.unwrap_or(bytes.len())];
                let room = COMMENT.saturating_sub(text.len());
                text.extend_from_slice(&piece[..room.min(piece.len())]);
                if end.is_some() {
                    let text = std::mem::take(text);
                    self.end_comment(&text);
                    self.state = State::Sql;
                }
                Ok(piece.len())
            }
            State::Meta(line) => {
                // The newline itself is left to what comes next.
                let end = memchr(b'\n', bytes);
                let piece = &bytes[..end.unwrap_or(bytes.len())];
                let room = COMMAND.saturating_sub(line.len());
                line.extend_from_slice(&piece[..piece.len().min(room)]);
                if line.len() >= COMMAND || !is_innocent(line, end.is_some()) {
                    return Err(for_psql());
                }
                if end.is_some() {
                    self.state = State::Sql;
                }
                Ok(piece.len())
            }
            State::Name => {
                let end = memchr(b'"', bytes);
                let used = end.map_or(bytes.len(), |at| at + 1);
                self.statement.push(&bytes[..used]);
                if end.is_some() {
                    self.state = State::Sql;
                }
                Ok(used)
            }
            State::Copy { table, rows } => {
                let Some(used) = rows.feed(bytes) else { return Ok(bytes.len()) };
                let (table, count) = (std::mem::take(table), rows.count());
                self.state = State::Sql;
                self.line_start = true;
                match self.contents.tables.insert(table.clone(), count) {
                    None => Ok(used),
                    Some(_) => Err(Report::refused(format!("the dump holds the rows of {} twice", show(&table)))),
                }
            }
            inert => {
                let (used, next) = inert.go_on(bytes);
                if let Some(next) = next {
                    self.state = next;
                }
                Ok(used)
            }
        }
    }

    fn sql(&mut self, bytes: &[u8]) -> Result<usize> {
        let byte = bytes[0];
        if std::mem::take(&mut self.line_start) && byte == b'\\' && self.statement.is_empty() {
            self.state = State::Meta(Vec::new());
            return Ok(1);
        }
        if byte == b'\\' {
            return Err(for_psql());
        }
        match byte {
            b'\n' => {
                self.line_start = true;
                self.statement.space();
            }
            b' ' | b'\t' | b'\r' | b'\x0c' => self.statement.space(),
            b'-' => self.state = State::Dash,
            b'/' => self.state = State::Slash,
            b'\'' => {
                self.state = State::Quote { escapes: self.statement.ends_with_word_e(), skip: false };
                self.began()?;
                self.statement.push(b"'");
            }
            b'"' => {
                self.state = State::Name;
                self.began()?;
                self.statement.push(b"\"");
            }
            b'$' if !self.statement.ends_in_word() => {
                self.began()?;
                // A statement has begun, also one that is nothing else.
                self.statement.push(b"'");
                self.state = State::Tag(Vec::new());
            }
            b';' => self.end_statement(),
            _ => {
                self.began()?;
                let used = bytes.iter().position(|byte| !is_plain(*byte)).unwrap_or(bytes.len()).max(1);
                self.statement.push(&bytes[..used]);
                return Ok(used);
            }
        }
        Ok(1)
    }

    /// Something that is no comment: it must not come after the trailer.
    fn began(&mut self) -> Result<()> {
        if self.complete {
            let words = format!("the dump goes on after {}'s closing line: two dumps in one, or something was added", self.maker());
            return Err(Report::refused(words));
        }
        Ok(())
    }

    /// With the byte that was looked at.
    fn enter(&mut self, state: State) -> usize {
        self.state = state;
        1
    }

    /// A `-` or `/` that began no comment; the byte after it is looked at again.
    fn was_operator(&mut self, operator: &[u8]) -> usize {
        self.statement.push(operator);
        self.state = State::Sql;
        0
    }

    fn end_comment(&mut self, text: &[u8]) {
        let trailer = if self.globals { CLUSTER_TRAILER } else { TRAILER };
        if text.trim_ascii_end() == trailer && self.statement.is_empty() {
            self.complete = true;
        }
    }

    fn end_statement(&mut self) {
        let statement = std::mem::take(&mut self.statement);
        self.state = match statement.copied() {
            Some(copied) => {
                self.contents.keep_columns(&copied);
                State::CopyLine(copied.table)
            }
            None => State::Sql,
        };
        statement.count(&mut self.contents.schema);
        self.contents.unvalidated += u64::from(statement.adds_unvalidated());
        self.reading.ended = true;
    }
}

/// The beginning of a line, or all of it, is one of the two commands that pg_dump writes, with its token and nothing else.
fn is_innocent(line: &[u8], ended: bool) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace);
    let word = words.next().unwrap_or_default();
    let ended = ended || word.len() < line.len();
    let known = |command: &&[u8]| if ended { *command == word } else { command.starts_with(word) };
    let plain = words.all(|word| word.iter().all(u8::is_ascii_alphanumeric));
    plain && [&b"restrict"[..], b"unrestrict"].iter().any(known)
}

/// psql does what such a line says: with a shell, on another server, with our files.
fn for_psql() -> Report {
    Report::refused("the dump holds a command for psql, beginning with a backslash, that pg_dump does not write")
}

/// A statement without the blanks, comments and commands of psql's that stand before it.
fn without_comments(text: &[u8]) -> &[u8] {
    let mut text = text.trim_ascii_start();
    while text.starts_with(b"--") || text.starts_with(b"\\") {
        let end = memchr(b'\n', text).unwrap_or(text.len());
        text = text[end..].trim_ascii_start();
    }
    text
}

/// Bytes without a meaning to the lexer.
fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'\n' | b' ' | b'\t' | b'\r' | b'\x0c' | b'-' | b'/' | b'\'' | b'"' | b'$' | b';' | b'\\')
}

impl State {
    /// Goes on within something that means nothing to a statement: how many bytes that used, and what comes when it is over.
    fn go_on(&mut self, bytes: &[u8]) -> (usize, Option<State>) {
        match self {
            State::Block { depth, last } => {
                match (*last, bytes[0]) {
                    (b'*', b'/') => (*depth, *last) = (*depth - 1, 0),
                    (b'/', b'*') => (*depth, *last) = (*depth + 1, 0),
                    (_, byte) => *last = byte,
                }
                (1, (*depth == 0).then_some(State::Sql))
            }
            State::Quote { escapes, skip } => {
                if std::mem::take(skip) {
                    return (1, None);
                }
                let found = if *escapes { memchr2(b'\'', b'\\', bytes) } else { memchr(b'\'', bytes) };
                let Some(at) = found else { return (bytes.len(), None) };
                *skip = bytes[at] == b'\\';
                (at + 1, (!*skip).then_some(State::Unquote { escapes: *escapes }))
            }
            State::Tag(tag) => tag_byte(tag, bytes[0]),
            State::Dollar { tag, matched } => match find_tag(tag, matched, bytes) {
                Some(used) => (used, Some(State::Sql)),
                None => (bytes.len(), None),
            },
            State::CopyLine(table) => match memchr(b'\n', bytes) {
                Some(at) => (at + 1, Some(State::Copy { table: std::mem::take(table), rows: Rows::new() })),
                None => (bytes.len(), None),
            },
            // The others are the parser's own.
            _ => (0, Some(State::Sql)),
        }
    }
}

/// One more byte of what may be the tag of a dollar quote. The byte that shows that it is none is looked at again.
fn tag_byte(tag: &mut Vec<u8>, byte: u8) -> (usize, Option<State>) {
    if byte == b'$' {
        let tag = [b"$", tag.as_slice(), b"$"].concat();
        return (1, Some(State::Dollar { tag, matched: 0 }));
    }
    if !is_word(byte) || tag.len() >= TAG || (tag.is_empty() && byte.is_ascii_digit()) {
        return (0, Some(State::Sql));
    }
    tag.push(byte);
    (1, None)
}

/// Looks for `$tag$`; `tag` holds it with both signs. It holds `$` only at its ends, so a mismatch can only begin a new match.
fn find_tag(tag: &[u8], matched: &mut usize, bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        if *matched == 0 {
            at += memchr(b'$', &bytes[at..])?;
        }
        if bytes[at] == tag[*matched] {
            *matched += 1;
            at += 1;
            if *matched == tag.len() {
                return Some(at);
            }
        } else {
            // The byte may be the `$` that begins the tag.
            *matched = 0;
            if bytes[at] != b'$' {
                at += 1;
            }
        }
    }
    None
}

/// Counts what a piece of SQL announces, by the same rules: for the entries of an archive.
pub(super) fn announce(sql: &[u8], contents: &mut Contents) -> Result<()> {
    let mut parser = Parser::default();
    parser.feed(sql)?;
    parser.end_statement();
    let found = parser.contents.schema;
    contents.unvalidated += parser.contents.unvalidated;
    let schema = &mut contents.schema;
    schema.constraints += found.constraints;
    schema.indexes += found.indexes;
    schema.views += found.views;
    schema.sequences += found.sequences;
    schema.triggers += found.triggers;
    schema.large_objects += found.large_objects;
    Ok(())
}

/// What a COPY statement of an archive fills.
pub(super) fn copied(statement: &[u8]) -> Option<Copied> {
    let mut parser = Parser::default();
    parser.feed(statement).ok()?;
    match parser.state {
        State::CopyLine(table) | State::Copy { table, .. } => Some(Copied { columns: parser.contents.columns.remove(&table), table }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::manifest::{SchemaCount, TableCount};
    use crate::port::table_hash::TableHash;

    /// The result is the same whatever the chunks are.
    fn parse(text: &str) -> Result<Contents> {
        let whole = chunked(text, text.len().max(1));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(chunked(text, size), whole, "in chunks of {size}");
        }
        whole
    }

    fn chunked(text: &str, size: usize) -> Result<Contents> {
        let mut parser = Parser::default();
        for chunk in text.as_bytes().chunks(size) {
            parser.feed(chunk)?;
        }
        parser.finish()
    }

    fn dump(body: &str) -> String {
        format!(
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n{body}\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n"
        )
    }

    #[test]
    fn rows_are_counted_per_table_as_it_is_printed() {
        let contents = parse(&dump(
            "COPY public.rooms (id, name) FROM stdin;\n1\ta\n2\tCOPY x (y) FROM stdin;\n\\.\n\n\n\
             COPY \"Odd \"\"Schema\".\"a.b;c (d)\" (\"FROM stdin;\") FROM stdin;\n\\.\n\n\
             COPY public.nocols  FROM stdin;\n\n\n\\.\n",
        ))
        .unwrap();
        let hash = |rows: &[&[u8]]| {
            let sum = rows.iter().fold(0_u128, |sum, row| sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(row)));
            Some(TableHash(sum))
        };
        let expected = [
            ("\"Odd \"\"Schema\".\"a.b;c (d)\"", TableCount { rows: 0, bytes: 0, xxh3: hash(&[]) }),
            ("public.nocols", TableCount { rows: 2, bytes: 2, xxh3: hash(&[b"", b""]) }),
            ("public.rooms", TableCount { rows: 2, bytes: 29, xxh3: hash(&[b"1\ta", b"2\tCOPY x (y) FROM stdin;"]) }),
        ];
        let columns = [("\"Odd \"\"Schema\".\"a.b;c (d)\"", "\"FROM stdin;\""), ("public.nocols", ""), ("public.rooms", "id, name")];
        assert_eq!(contents.columns, columns.map(|(table, columns)| (table.to_owned(), columns.to_owned())).into());
        assert_eq!(contents.tables, expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn what_the_schema_announces_is_counted() {
        let contents = parse(&dump(
            "ALTER TABLE public.t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (\n    SEQUENCE NAME public.t_id_seq\n    START WITH 1\n);\n\
             CREATE SEQUENCE public.s;\nCREATE VIEW public.v AS\n SELECT 1;\nCREATE OR REPLACE VIEW public.v AS SELECT 2;\n\
             CREATE MATERIALIZED VIEW public.m AS SELECT 1\n  WITH NO DATA;\n\
             ALTER TABLE ONLY \"My\".\"t x\"\n    ADD CONSTRAINT t_pkey PRIMARY KEY (id);\n\
             ALTER TABLE public.t\n    ADD CONSTRAINT c CHECK ((a <> 'ADD CONSTRAINT'::text)) NOT VALID;\n\
             ALTER TABLE ONLY public.t ATTACH PARTITION public.p FOR VALUES IN (1);\n\
             CREATE INDEX i ON public.t USING btree (a);\nCREATE UNIQUE INDEX u ON public.t USING btree (b);\n\
             CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();\n\
             CREATE CONSTRAINT TRIGGER h AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();\n\
             CREATE TABLE public.t (a text CONSTRAINT x CHECK (a <> ''));\nALTER DOMAIN public.d ADD CONSTRAINT e CHECK (true) NOT VALID;\n\
             SELECT pg_catalog.lo_create('16425');\nSELECT pg_catalog.lo_open('16425', 131072);\n",
        ))
        .unwrap();
        let expected =
            SchemaCount { constraints: 2, indexes: 2, views: 2, sequences: 2, triggers: 2, large_objects: 1, ..SchemaCount::default() };
        assert_eq!(contents.schema, expected);
        assert!(contents.tables.is_empty());
    }

    #[test]
    fn nothing_inside_strings_bodies_names_and_comments_is_a_statement() {
        let contents = parse(&dump(
            "CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $_$\nBEGIN\n  EXECUTE $$x$$ || $1;\n\
             COPY public.fake (a) FROM stdin;\n1\n\\.\nCREATE INDEX i ON t (a);\n-- PostgreSQL database dump complete\nEND $_$;\n\
             COMMENT ON TABLE public.t IS 'it''s\nCOPY public.fake (a) FROM stdin;\nCREATE VIEW v AS SELECT 1;\n\\connect x\n';\n\
             COMMENT ON TABLE public.t IS E'it\\'s; \\\\ it''s \\'\nCREATE VIEW v AS SELECT 1;\n';\n\
             COMMENT ON TABLE public.t IS 'a backslash at the end \\';\n\
             COMMENT ON COLUMN public.\"x\nCOPY public.fake (a) FROM stdin;\n\".y IS '--';\n\
             /* CREATE VIEW v; /* nested */ CREATE VIEW w; */\n-- CREATE VIEW v AS SELECT 1;\n\
             CREATE TABLE public.money$ (a integer DEFAULT (2 - 1) / 1);\n\
             CREATE FUNCTION public.g() RETURNS void LANGUAGE sql BEGIN ATOMIC\n SELECT 1;\n SELECT 2;\nEND;\n\
             CREATE INDEX real ON public.t USING btree (a);\n",
        ))
        .unwrap();
        assert_eq!(contents.schema, SchemaCount { indexes: 1, ..SchemaCount::default() });
        assert!(contents.tables.is_empty(), "{:?}", contents.tables);
    }

    // TRAPS 1, 2
    #[test]
    fn every_cut_before_the_closing_line_is_seen() {
        let text = dump("COPY public.rooms (id) FROM stdin;\n1\n2\n\\.\n\nCREATE INDEX i ON public.rooms USING btree (id);\n");
        parse(&text).unwrap();
        let end = text.find("dump complete").unwrap() + "dump complete".len();
        for cut in 0..end {
            let report = chunked(&text[..cut], 16).unwrap_err();
            assert_eq!(report.kind, crate::report::Kind::Refused);
        }
        let report = chunked(&text[..text.find("2\n").unwrap()], 16).unwrap_err();
        assert!(report.message.contains("within the rows of public.rooms, after 1"), "{report}");
        assert!(chunked("", 1).unwrap_err().message.contains("empty"));
    }

    // Found by fuzzing.
    #[test]
    fn a_closing_line_within_a_statement_closes_nothing_whatever_that_began_with() {
        for begun in ["a", "'a'", "\"a\"", "$$a$$", "$", "$1", "-", "/"] {
            let report = parse(&format!("SELECT 1;\n{begun}\n-- PostgreSQL database dump complete\n")).unwrap_err();
            assert!(report.message.contains("without pg_dump's closing line"), "{begun}: {report}");
        }
    }

    #[test]
    fn what_goes_on_after_the_closing_line_is_refused() {
        let text = dump("");
        assert!(parse(&format!("{text}DROP TABLE x;\n")).unwrap_err().message.contains("goes on"));
        assert!(parse(&format!("{text}{text}")).is_ok(), "two dumps without a statement say nothing");
        let twice = dump("COPY public.rooms (id) FROM stdin;\n\\.\n");
        assert!(parse(&format!("{twice}{twice}")).is_err());
    }

    // A dump is a text that psql obeys, and whoever has the public key can make one.
    #[test]
    fn a_command_for_psql_is_refused_wherever_it_hides() {
        let refused = |body: &str| parse(&dump(body)).unwrap_err().message;
        for body in [
            "\\! touch /tmp/x\n",
            "\\connect other\n",
            "\\i /etc/passwd\n",
            "\\restrictx abc\n",
            "\\restrict `touch /tmp/x`\n",
            "\\restrict abc \\! touch /tmp/x\n",
            "SELECT 1 \\! touch /tmp/x\n",
            "SELECT 1; \\! touch /tmp/x\n",
            "SELECT 1\n\\g |sh\n",
        ] {
            assert!(refused(body).contains("command for psql"), "{body}");
        }
        assert!(parse(&dump("SELECT '\\! x', E'\\\\', $$\\! y$$; -- \\! z\n")).is_ok());
    }

    #[test]
    fn the_same_table_twice_is_refused() {
        let text = dump("COPY public.rooms (id) FROM stdin;\n1\n\\.\nCOPY public.rooms (id) FROM stdin;\n1\n\\.\n");
        assert!(parse(&text).unwrap_err().message.contains("twice"));
    }
}
