//! An archive of `pg_dump -Fc -Z0`: header, table of contents, then one block of data per entry that has any.
//!
//! The layout is that of PostgreSQL's `pg_backup_archiver.c` (`WriteHead`, `WriteToc`) and `pg_backup_custom.c`, versions 1.14 (PostgreSQL 12
//! to 15), 1.15 (16) and 1.16 (17 and later). It has no trailer: an archive is whole when every entry that announced data has had its block,
//! every table's rows ended with `\.`, and the last block ended where the bytes did.

pub mod thin;

use std::collections::BTreeMap;

use super::rows::Rows;
use super::{Contents, Nobody, Witness, plain, show};
use crate::report::{Report, Result};

/// Most bytes of one entry of the table of contents: what is kept of an archive at any time.
const ENTRY_LIMIT: usize = 64 << 20;

/// Entries whose SQL is kept: it says which tables hang together.
const DEFINED: [&[u8]; 2] = [b"FK CONSTRAINT", b"TABLE ATTACH"];

/// What pg_dump writes behind the end marker of rows.
const EMPTY_LINES: usize = 2;

/// Newest archive versions known, all 1.x.
const VERSIONS: std::ops::RangeInclusive<u8> = 14..=16;

/// Block types of `pg_backup_custom.c`.
const BLK_DATA: u8 = 1;
const BLK_BLOBS: u8 = 3;

/// See the module.
#[derive(Debug, Default)]
pub struct Parser {
    stage: Stage,
    /// Bytes of an item that is not complete yet.
    pending: Vec<u8>,
    shape: Shape,
    entries_left: i64,
    /// Entries that announced data, by dump id.
    announced: BTreeMap<i64, Announced>,
    contents: Contents,
    fed: u64,
    /// Where the table of contents ended, once it has.
    contents_end: Option<u64>,
    /// What the table of contents holds, where somebody wants to know.
    entries: Option<Vec<Entry>>,
    /// Whose block of data it is in, or was in last.
    block: i64,
    /// It only parts what was inspected before: the statements of COPY are kept, and rows are not looked at.
    parts: bool,
}

/// An entry of the table of contents, as far as a restore must tell one from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// By which blocks of data and other entries mean it.
    pub id: i64,
    /// pg_dump's word for what it is: `TABLE DATA`, `FK CONSTRAINT`.
    pub kind: String,
    /// The SQL that makes it, of a foreign key or a partition.
    pub definition: Vec<u8>,
    /// The table whose rows its block of data holds, as COPY names it.
    pub table: Option<String>,
    /// The entries it cannot be without.
    pub needs: Vec<i64>,
}

/// What the header says about everything after it.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    minor: u8,
    int: usize,
    offset: usize,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Header,
    Contents,
    /// Between blocks: the only place where an archive may end.
    Block,
    /// After the block's type.
    Id(u8),
    /// Before a large object, or the zero after the last.
    Object,
    /// Before a piece of data, or the zero after the last.
    Length(Filling),
    /// Within a piece of data.
    Piece(Filling, usize),
}

/// What a block's data is.
#[derive(Debug)]
enum Filling {
    Table(Box<Table>),
    LargeObject,
    /// Something that is loaded without being counted.
    Other,
}

#[derive(Debug)]
struct Table {
    name: String,
    rows: Rows,
    /// How many bytes came after the end marker, once it has.
    after: Option<usize>,
}

#[derive(Debug)]
struct Announced {
    /// For messages.
    what: String,
    /// The table, as COPY names it.
    table: Option<String>,
    /// The COPY itself, where somebody wants to know.
    copy: Vec<u8>,
    seen: bool,
}

impl Parser {
    /// One that keeps what is to be known of each entry.
    pub fn keeping_entries() -> Parser {
        Parser { entries: Some(Vec::new()), ..Parser::default() }
    }

    /// How many bytes come before the first block of data; `None` while that is not known.
    pub fn contents_end(&self) -> Option<u64> {
        self.contents_end
    }

    /// What the table of contents holds, in its order; nothing where it was not kept.
    pub fn entries(&mut self) -> Vec<Entry> {
        self.entries.take().unwrap_or_default()
    }

    /// The next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.feed_to(bytes, &mut Nobody)
    }

    /// The next bytes, shown to a witness.
    pub fn feed_to<W: Witness>(&mut self, bytes: &[u8], witness: &mut W) -> Result<()> {
        self.fed += bytes.len() as u64;
        if self.contents_end.is_some() {
            return self.data(bytes, witness);
        }
        self.contents(bytes, witness)?.map_or(Ok(()), |rest| self.data(&rest, witness))
    }

    /// The next bytes before the first block of data: what of them comes after it has begun, once it has.
    fn contents<W: Witness>(&mut self, bytes: &[u8], witness: &mut W) -> Result<Option<Vec<u8>>> {
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        while matches!(self.stage, Stage::Header | Stage::Contents) {
            let pending = std::mem::take(&mut self.pending);
            let mut cursor = Cursor { bytes: &pending[used..], at: 0, shape: self.shape };
            let step = match self.stage {
                Stage::Header => self.header(&mut cursor),
                _ => self.entry(&mut cursor, witness),
            };
            let at = cursor.at;
            self.pending = pending;
            match step {
                Ok(()) => used += at,
                Err(Stop::Incomplete) => break,
                Err(Stop::Wrong(report)) => return Err(report),
            }
        }
        self.pending.drain(..used);
        if matches!(self.stage, Stage::Header | Stage::Contents) {
            let long = self.pending.len() > ENTRY_LIMIT;
            return if long { Err(wrong("an entry of its table of contents is too long")) } else { Ok(None) };
        }
        let rest = std::mem::take(&mut self.pending);
        self.contents_end = Some(self.fed - rest.len() as u64);
        Ok(Some(rest))
    }

    /// No more bytes.
    pub fn finish(self) -> Result<Contents> {
        match &self.stage {
            _ if self.fed == 0 => return Err(Report::refused("the dump is empty: not one byte")),
            Stage::Header | Stage::Contents => return Err(Report::refused("the archive is cut within its table of contents")),
            Stage::Block => {}
            Stage::Length(Filling::Table(table)) | Stage::Piece(Filling::Table(table), _) => {
                let rows = table.rows.count().rows;
                return Err(Report::refused(format!("the archive is cut: it ends within the rows of {}, after {rows}", show(&table.name))));
            }
            _ => return Err(Report::refused("the archive is cut within a block of data")),
        }
        let missing: Vec<&Announced> = self.announced.values().filter(|entry| !entry.seen).collect();
        match missing.as_slice() {
            [] => Ok(self.contents),
            [first, ..] => Err(Report::refused(format!(
                "the archive is cut: {} of the {} blocks of data it announces are missing, the first is {}",
                missing.len(),
                self.announced.len(),
                first.what
            ))),
        }
    }

    fn header(&mut self, cursor: &mut Cursor<'_>) -> Step {
        if cursor.bytes.len() >= 5 && !cursor.bytes.starts_with(b"PGDMP") {
            return Err(Stop::Wrong(Report::refused("this is not an archive of pg_dump -Fc: its first bytes are not PGDMP")));
        }
        cursor.take(5)?;
        let (major, minor, revision) = (cursor.byte()?, cursor.byte()?, cursor.byte()?);
        if major != 1 || !VERSIONS.contains(&minor) {
            return Err(wrong(&format!("its version {major}.{minor}.{revision} is not one of 1.14 to 1.16")).into());
        }
        let (int, offset, format) = (usize::from(cursor.byte()?), usize::from(cursor.byte()?), cursor.byte()?);
        if !(1..=8).contains(&int) || !(1..=8).contains(&offset) || format != 1 {
            return Err(wrong("its header makes no sense").into());
        }
        cursor.shape = Shape { minor, int, offset };
        let compression = if minor >= 15 { i64::from(cursor.byte()?) } else { cursor.int()? };
        if compression != 0 {
            return Err(wrong("its data is compressed by pg_dump, so nothing in it can be counted; it needs -Z0").into());
        }
        for _ in 0..7 {
            cursor.int()?;
        }
        for _ in 0..3 {
            cursor.string()?;
        }
        self.entries_left = cursor.int()?;
        self.shape = cursor.shape;
        self.stage = if self.entries_left > 0 { Stage::Contents } else { Stage::Block };
        Ok(())
    }

    fn entry<W: Witness>(&mut self, cursor: &mut Cursor<'_>, witness: &mut W) -> Step {
        let (id, has_data) = (cursor.int()?, cursor.int()? != 0);
        let [_table_oid, _oid, tag, kind] = [cursor.string()?, cursor.string()?, cursor.string()?, cursor.string()?];
        cursor.int()?;
        let [definition, _drop, copy, _schema, _tablespace, _access_method] =
            [cursor.string()?, cursor.string()?, cursor.string()?, cursor.string()?, cursor.string()?, cursor.string()?];
        if self.shape.minor >= 16 {
            cursor.int()?;
        }
        let [_owner, _with_oids] = [cursor.string()?, cursor.string()?];
        let mut needs = Vec::new();
        while let Some(id) = cursor.string()? {
            needs.extend(std::str::from_utf8(id).ok().and_then(|id| id.parse::<i64>().ok()));
        }
        cursor.take(1 + self.shape.offset)?;

        let definition = definition.unwrap_or_default();
        if kind == Some(b"BLOB METADATA") {
            // Many large objects in one entry: their numbers, one a line.
            self.contents.schema.large_objects += definition.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
        } else {
            plain::announce(definition, &mut self.contents)?;
            if W::READS && !definition.is_empty() {
                witness.statement(bare(definition));
            }
        }
        if let Some(entries) = &mut self.entries {
            let kind = kind.unwrap_or_default();
            let definition = if DEFINED.contains(&kind) { definition.to_vec() } else { Vec::new() };
            let kind = show(&String::from_utf8_lossy(kind));
            entries.push(Entry { id, kind, definition, table: copy.and_then(plain::copied).map(|copied| copied.table), needs });
        }
        if has_data {
            let name = |text: Option<&[u8]>| show(&String::from_utf8_lossy(text.unwrap_or_default()));
            let what = format!("{} {}", name(kind), name(tag));
            let copied = copy.and_then(plain::copied);
            if let Some(copied) = &copied {
                self.contents.keep_columns(copied);
            }
            let table = copied.map(|copied| copied.table);
            // Few want to know the columns.
            let copy = copy.filter(|_| W::READS || self.parts).unwrap_or_default().to_vec();
            if id <= 0 || self.announced.insert(id, Announced { what, table, copy, seen: false }).is_some() {
                return Err(wrong("two entries of its table of contents have the same number").into());
            }
        }
        self.entries_left -= 1;
        if self.entries_left == 0 {
            self.stage = Stage::Block;
        }
        Ok(())
    }

    fn data<W: Witness>(&mut self, mut bytes: &[u8], witness: &mut W) -> Result<()> {
        while !bytes.is_empty() {
            let used = match &mut self.stage {
                Stage::Piece(Filling::Table(table), left) => match pieces(table, left, self.shape, bytes, witness)? {
                    0 => self.step(bytes, witness)?,
                    used => used,
                },
                _ => self.step(bytes, witness)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// One step through the blocks: how many bytes it used, at least one.
    fn step<W: Witness>(&mut self, bytes: &[u8], witness: &mut W) -> Result<usize> {
        match std::mem::replace(&mut self.stage, Stage::Block) {
            Stage::Block => {
                self.stage = Stage::Id(bytes[0]);
                Ok(1)
            }
            Stage::Piece(mut filling, left) => {
                let piece = &bytes[..left.min(bytes.len())];
                if let Filling::Table(table) = &mut filling {
                    table.feed(piece)?;
                    if W::READS {
                        witness.rows(piece);
                    }
                }
                self.stage = if piece.len() == left { Stage::Length(filling) } else { Stage::Piece(filling, left - piece.len()) };
                Ok(piece.len())
            }
            stage => {
                let mut rest = bytes;
                match self.int(&mut rest) {
                    Some(number) => self.stage = self.numbered(stage, number, witness)?,
                    None => self.stage = stage,
                }
                Ok(bytes.len() - rest.len())
            }
        }
    }

    /// What comes after a number.
    fn numbered<W: Witness>(&mut self, stage: Stage, number: i64, witness: &mut W) -> Result<Stage> {
        match stage {
            Stage::Id(kind) => self.begin(kind, number, witness),
            Stage::Object if number == 0 => Ok(Stage::Block),
            Stage::Object => Ok(Stage::Length(Filling::LargeObject)),
            Stage::Length(filling) if number == 0 => match filling {
                Filling::Table(table) => {
                    let name = show(&table.name);
                    if table.after.is_none() {
                        return Err(Report::refused(format!("the archive is damaged: the rows of {name} have no end")));
                    }
                    witness.end_of_rows();
                    match self.contents.tables.insert(table.name, table.rows.count()) {
                        None => Ok(Stage::Block),
                        Some(_) => Err(Report::refused(format!("the archive holds the rows of {name} twice"))),
                    }
                }
                Filling::LargeObject => Ok(Stage::Object),
                Filling::Other => Ok(Stage::Block),
            },
            Stage::Length(filling) => match usize::try_from(number) {
                Ok(length) => Ok(Stage::Piece(filling, length)),
                Err(_) => Err(wrong("a piece of its data has a negative length")),
            },
            other => Ok(other),
        }
    }

    fn begin<W: Witness>(&mut self, kind: u8, id: i64, witness: &mut W) -> Result<Stage> {
        let Some(entry) = self.announced.get_mut(&id) else {
            return Err(wrong(&format!("a block of data belongs to no entry of its table of contents ({id})")));
        };
        if std::mem::replace(&mut entry.seen, true) {
            return Err(wrong(&format!("the data of {} comes twice", entry.what)));
        }
        self.block = id;
        if W::READS && entry.table.is_some() {
            witness.statement(bare(&entry.copy));
        }
        match kind {
            BLK_BLOBS => Ok(Stage::Object),
            BLK_DATA => Ok(Stage::Length(match entry.table.clone() {
                Some(name) if !self.parts => Filling::Table(Box::new(Table { name, rows: Rows::new(), after: None })),
                _ => Filling::Other,
            })),
            other => Err(wrong(&format!("a block of data has the unknown type {other}"))),
        }
    }

    /// A number that may be split over two chunks.
    fn int(&mut self, bytes: &mut &[u8]) -> Option<i64> {
        let size = 1 + self.shape.int;
        if self.pending.is_empty() && bytes.len() >= size {
            let (number, rest) = bytes.split_at(size);
            *bytes = rest;
            return Some(decode(number));
        }
        let missing = (size - self.pending.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(missing);
        self.pending.extend_from_slice(part);
        *bytes = rest;
        if self.pending.len() < size {
            return None;
        }
        let number = decode(&self.pending);
        self.pending.clear();
        Some(number)
    }
}

impl Table {
    fn feed(&mut self, piece: &[u8]) -> Result<()> {
        let (before, after) = match self.after {
            Some(before) => (before, piece),
            None => match self.rows.feed(piece) {
                Some(used) => (0, &piece[used..]),
                None => return Ok(()),
            },
        };
        self.after = Some(before + after.len());
        if self.after <= Some(EMPTY_LINES) && after.iter().all(|byte| *byte == b'\n') {
            return Ok(());
        }
        Err(Report::refused(format!("the archive is damaged: something follows the rows of {}", show(&self.name))))
    }
}

/// Pieces of a table's rows, for as long as each is followed by the length of the next: pg_dump makes a piece of every row, and this is where the
/// time goes. How many bytes that were; what is `left` of the piece they end before.
fn pieces<W: Witness>(table: &mut Table, left: &mut usize, shape: Shape, bytes: &[u8], witness: &mut W) -> Result<usize> {
    let mut used = 0;
    while let Some((piece, rest)) = bytes[used..].split_at_checked(*left)
        && let Some((length, _)) = rest.split_at_checked(1 + shape.int)
        && let Ok(next @ 1..) = usize::try_from(decode(length))
    {
        table.feed(piece)?;
        if W::READS {
            witness.rows(piece);
        }
        used += piece.len() + length.len();
        *left = next;
    }
    Ok(used)
}

/// A statement without its semicolon.
fn bare(statement: &[u8]) -> &[u8] {
    let statement = statement.trim_ascii();
    statement.strip_suffix(b";").unwrap_or(statement)
}

/// A sign, then the number, lowest byte first.
fn decode(bytes: &[u8]) -> i64 {
    let size = bytes[1..].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    if bytes[0] == 0 { size } else { -size }
}

fn wrong(what: &str) -> Report {
    Report::refused(format!("the archive cannot be read: {what}"))
}

/// Why a step of the header or the table of contents did not happen.
enum Stop {
    Incomplete,
    Wrong(Report),
}

impl From<Report> for Stop {
    fn from(report: Report) -> Self {
        Stop::Wrong(report)
    }
}

type Step<T = ()> = std::result::Result<T, Stop>;

/// Reads items from bytes that may not all be there yet.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    shape: Shape,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Stop::Incomplete)?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Incomplete)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    fn int(&mut self) -> Step<i64> {
        Ok(decode(self.take(1 + self.shape.int)?))
    }

    /// `None` where the archive has no string at all.
    fn string(&mut self) -> Step<Option<&'a [u8]>> {
        match usize::try_from(self.int()?) {
            Ok(length) if length > ENTRY_LIMIT => Err(wrong("an entry of its table of contents is too long").into()),
            Ok(length) => Ok(Some(self.take(length)?)),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::manifest::TableCount;
    use crate::port::table_hash::TableHash;

    /// Writes what pg_dump would.
    struct Archive {
        bytes: Vec<u8>,
        minor: u8,
    }

    impl Archive {
        fn new(minor: u8, entries: i64) -> Archive {
            let mut archive = Archive { bytes: b"PGDMP".to_vec(), minor };
            archive.bytes.extend([1, minor, 0, 4, 8, 1]);
            if minor >= 15 {
                archive.bytes.push(0);
            } else {
                archive.int(0);
            }
            for _ in 0..7 {
                archive.int(1);
            }
            for text in ["rooms", "15.1", "15.1"] {
                archive.string(text);
            }
            archive.int(entries);
            archive
        }

        fn int(&mut self, number: i64) {
            self.bytes.push(u8::from(number < 0));
            self.bytes.extend(&number.unsigned_abs().to_le_bytes()[..4]);
        }

        fn string(&mut self, text: &str) {
            self.int(i64::try_from(text.len()).unwrap());
            self.bytes.extend(text.as_bytes());
        }

        fn entry(&mut self, id: i64, data: bool, kind: &str, definition: &str, copy: Option<&str>) {
            self.int(id);
            self.int(i64::from(data));
            for text in ["1259", "16384", "tag", kind] {
                self.string(text);
            }
            self.int(3);
            self.string(definition);
            self.int(-1);
            match copy {
                Some(copy) => self.string(copy),
                None => self.int(-1),
            }
            for text in ["public", "", "heap"] {
                self.string(text);
            }
            if self.minor >= 16 {
                self.int(i64::from(b'r'));
            }
            for text in ["postgres", "false", "12"] {
                self.string(text);
            }
            self.int(-1);
            self.bytes.extend([1; 9]);
        }

        fn pieces(&mut self, pieces: &[&str]) {
            for piece in pieces {
                self.string(piece);
            }
            self.int(0);
        }
    }

    fn sample(minor: u8) -> Vec<u8> {
        let mut archive = Archive::new(minor, 4);
        archive.entry(3, true, "TABLE DATA", "", Some("COPY public.\"a b\" (x) FROM stdin;\n"));
        archive.entry(4, true, "BLOBS", "", None);
        archive.entry(5, false, "INDEX", "CREATE INDEX i ON public.t USING btree (a);\n", None);
        if minor >= 16 {
            archive.entry(6, false, "BLOB METADATA", "4711\n4712\n", None);
        } else {
            archive.entry(6, false, "BLOB", "SELECT pg_catalog.lo_create('4711');\n", None);
        }
        archive.bytes.push(BLK_DATA);
        archive.int(3);
        archive.pieces(&["1\n", "2\n3", "\n", "\\.\n\n\n"]);
        archive.bytes.push(BLK_BLOBS);
        archive.int(4);
        archive.int(4711);
        archive.pieces(&["abc", "d"]);
        archive.int(4712);
        archive.pieces(&[]);
        archive.int(0);
        archive.bytes
    }

    fn parse(bytes: &[u8], size: usize) -> Result<Contents> {
        let mut parser = Parser::default();
        for chunk in bytes.chunks(size) {
            parser.feed(chunk)?;
        }
        parser.finish()
    }

    #[test]
    fn every_known_version_is_read_in_chunks_of_any_size() {
        for minor in VERSIONS {
            let bytes = sample(minor);
            for size in [1, 2, 3, 5, 17, 4096] {
                let contents = parse(&bytes, size).unwrap();
                let sum = [b"1", b"2", b"3"].iter().fold(0_u128, |sum, row| sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(*row)));
                let count = TableCount { rows: 3, bytes: 6, xxh3: Some(TableHash(sum)) };
                assert_eq!(contents.tables, [("public.\"a b\"".to_owned(), count)].into());
                assert_eq!(contents.columns, [("public.\"a b\"".to_owned(), "x".to_owned())].into());
                assert_eq!(contents.schema.indexes, 1);
                assert_eq!(contents.schema.large_objects, if minor >= 16 { 2 } else { 1 });
            }
        }
    }

    // TRAP 4
    #[test]
    fn every_cut_and_every_addition_is_seen() {
        let bytes = sample(15);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], 64).unwrap_err().kind, crate::report::Kind::Refused, "cut at {cut}");
        }
        assert!(parse(&[&bytes[..], b"\n"].concat(), 64).is_err());
        assert!(parse(&[&bytes[..], &bytes[bytes.len() - 40..]].concat(), 64).is_err());
    }

    #[test]
    fn what_is_no_archive_says_why() {
        let cases: [(Vec<u8>, &str); 5] = [
            (Vec::new(), "empty"),
            (b"-- PostgreSQL database dump".to_vec(), "not an archive"),
            (sample(17), "version 1.17.0"),
            (sample(13), "version 1.13.0"),
            ([b"PGDMP", &[1, 15, 0, 4, 8, 1, 1][..]].concat(), "compressed"),
        ];
        for (bytes, why) in cases {
            let report = parse(&bytes, 10).unwrap_err();
            assert!(report.message.contains(why), "{report}");
        }
        let mut huge = Archive::new(15, 1);
        huge.int(1);
        huge.int(0);
        huge.int(i64::from(u32::MAX));
        assert!(parse(&huge.bytes, 10).unwrap_err().message.contains("too long"));
    }

    #[test]
    fn rows_without_their_end_and_blocks_nobody_announced_are_damage() {
        let mut archive = Archive::new(15, 1);
        archive.entry(3, true, "TABLE DATA", "", Some("COPY public.t (x) FROM stdin;\n"));
        let begin = |rows: &[&str], id: i64| {
            let mut archive = Archive { bytes: archive.bytes.clone(), minor: 15 };
            archive.bytes.push(BLK_DATA);
            archive.int(id);
            archive.pieces(rows);
            archive.bytes
        };
        assert!(parse(&begin(&["1\n", "\\.\n\n\n"], 3), 7).is_ok());
        assert!(parse(&begin(&["1\n"], 3), 7).unwrap_err().message.contains("have no end"));
        assert!(parse(&begin(&["1\n", "\\.\n\n\n", "2\n"], 3), 7).unwrap_err().message.contains("follows the rows"));
        assert!(parse(&begin(&["1\n", "\\.\n\n\n", "\n"], 3), 7).unwrap_err().message.contains("follows the rows"));
        assert!(parse(&begin(&["1\n", "\\.\n\n\n"], 9), 7).unwrap_err().message.contains("belongs to no entry"));
        assert!(parse(&archive.bytes, 7).unwrap_err().message.contains("1 of the 1 blocks"));
    }
}
