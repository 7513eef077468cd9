//! One SQL statement, as far as it matters here: what it announces, and which table a COPY fills.

use memchr::memchr;

use crate::pipeline::manifest::SchemaCount;

/// How much of a statement is kept: two quoted names of 63 characters, four bytes each, all of them quotes, and the words around them.
const HEAD: usize = 2048;

/// How much of a COPY is kept: 1600 columns, their names like those above.
const COPY_HEAD: usize = 256 << 10;

/// How much of the end of a statement is kept.
const LAST: usize = 16;

/// The beginning of a statement, blanks collapsed, comments gone, strings emptied.
#[derive(Debug, Default)]
pub(super) struct Statement {
    head: Vec<u8>,
    /// The last bytes, even where the head is full.
    tail: Vec<u8>,
    /// There was a blank since the last byte.
    blank: bool,
}

impl Statement {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    pub(super) fn space(&mut self) {
        self.blank = !self.head.is_empty();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.blank) {
            self.keep(b" ");
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let most = if self.head.starts_with(b"COPY ") { COPY_HEAD } else { HEAD };
        let room = most.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST)..]);
        let surplus = self.tail.len().saturating_sub(LAST);
        self.tail.drain(..surplus);
    }

    /// An `E` alone stands right before: the string it opens knows escapes.
    pub(super) fn ends_with_word_e(&self) -> bool {
        let before = self.tail.len().checked_sub(2).map(|at| self.tail[at]);
        !self.blank && matches!(self.tail.last(), Some(b'e' | b'E')) && !before.is_some_and(is_word)
    }

    /// A `$` here belongs to the word before it.
    pub(super) fn ends_in_word(&self) -> bool {
        !self.blank && self.tail.last().is_some_and(|byte| is_word(*byte) || *byte == b'$')
    }

    /// Counts what it announces.
    pub(super) fn count(&self, schema: &mut SchemaCount) {
        count(&self.head, schema);
    }

    /// `ALTER TABLE … ADD CONSTRAINT … NOT VALID`.
    pub(super) fn adds_unvalidated(&self) -> bool {
        self.head.starts_with(b"ALTER TABLE ") && self.tail.ends_with(b" NOT VALID")
    }

    /// `COPY schema.table (…) FROM stdin`: the table and its columns, as they are written.
    pub(super) fn copied(&self) -> Option<Copied> {
        if !self.tail.ends_with(b"FROM stdin") {
            return None;
        }
        let rest = self.head.strip_prefix(b"COPY ")?;
        let (table, rest) = rest.split_at(name_length(rest));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let list = rest.strip_suffix(b"FROM stdin").map(<[u8]>::trim_ascii);
        let columns = list.and_then(|list| if list.is_empty() { Some(list) } else { list.strip_prefix(b"(")?.strip_suffix(b")") });
        Some(Copied { table: text(table), columns: columns.map(text) })
    }
}

/// What a COPY fills.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// `schema.table`.
    pub(super) table: String,
    /// The columns with commas between them, nothing for a table without any; `None` where the statement is too long to tell.
    pub(super) columns: Option<String>,
}

/// Bytes of a name at the beginning: words and quoted words, joined by dots.
pub(super) fn name_length(text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => at += memchr(b'"', &text[at + 1..]).map_or(text.len(), |length| length + 2),
            b'.' => at += 1,
            byte if is_word(byte) || byte == b'$' => at += 1,
            _ => break,
        }
    }
    at.min(text.len())
}

/// Counts a statement that announces something; `head` is normalised as [`Statement`] does.
fn count(head: &[u8], schema: &mut SchemaCount) {
    let mut words = head.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    let third = words.next().unwrap_or_default();
    match (first, second, third) {
        (b"CREATE", b"INDEX", _) | (b"CREATE", b"UNIQUE", b"INDEX") => schema.indexes += 1,
        (b"CREATE", b"VIEW", _) | (b"CREATE", b"MATERIALIZED" | b"RECURSIVE", b"VIEW") => schema.views += 1,
        (b"CREATE", b"SEQUENCE", _) | (b"CREATE", b"UNLOGGED", b"SEQUENCE") => schema.sequences += 1,
        (b"CREATE", b"TRIGGER", _) | (b"CREATE", b"CONSTRAINT", b"TRIGGER") => schema.triggers += 1,
        (b"SELECT", call, _) if call.starts_with(b"pg_catalog.lo_create(") => schema.large_objects += 1,
        (b"CREATE", b"ROLE", _) => schema.roles += 1,
        (b"CREATE", b"TABLESPACE", _) => schema.tablespaces += 1,
        (b"ALTER", b"TABLE", _) => alter_table(head, schema),
        _ => {}
    }
}

/// `ALTER TABLE [ONLY] name ADD CONSTRAINT …`, `ALTER TABLE name ALTER COLUMN name ADD GENERATED … AS IDENTITY ( SEQUENCE NAME …`.
fn alter_table(head: &[u8], schema: &mut SchemaCount) {
    let rest = head.strip_prefix(b"ALTER TABLE ").unwrap_or_default();
    let rest = rest.strip_prefix(b"ONLY ").unwrap_or(rest);
    let rest = &rest[name_length(rest)..];
    if rest.starts_with(b" ADD CONSTRAINT ") {
        schema.constraints += 1;
    } else if let Some(rest) = rest.strip_prefix(b" ALTER COLUMN ") {
        let rest = &rest[name_length(rest)..];
        schema.sequences += u64::from(rest.starts_with(b" ADD GENERATED ") && memchr::memmem::find(rest, b" AS IDENTITY").is_some());
    }
}

/// A letter, a digit, an underscore, or part of a character beyond ASCII.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
