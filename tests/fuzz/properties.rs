//! What must hold whatever the bytes are. Each function takes anything, and panics where something does not hold.
//!
//! The targets of cargo-fuzz (`fuzz/`) call these with what nobody has thought of, the suite (`tests/fuzz.rs`) with seeded mutations.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use lifeboat::pipeline::catalogue::{Listing, Selector};
use lifeboat::pipeline::chosen::Chosen;
use lifeboat::pipeline::inspect::custom::{self, Entry};
use lifeboat::pipeline::inspect::outline::{Column, Outline, Rows, Wish, harmless, masked};
use lifeboat::pipeline::inspect::plain::{self, thin::statements};
use lifeboat::pipeline::inspect::{Contents, Inspector};
use lifeboat::pipeline::manifest::{Dump, Format, Level, Manifest, Proof, TableCount};
use lifeboat::pipeline::retention::{Policy, decide};
use lifeboat::pipeline::roles;
use lifeboat::port;
use lifeboat::report::{Kind, Report, Result};

/// What claims to be a dump is whole, or refused; the same in one piece and in pieces of `size`, whoever looks on; and what is left of it when
/// some of its tables are chosen holds those tables as they were.
pub fn dump(format: Format, bytes: &[u8], size: usize) -> Option<Contents> {
    let (whole, pieces) = (look(format, bytes, bytes.len()), look(format, bytes, size));
    let unseen = parse(format, bytes);
    assert_eq!(whole.0, unseen, "somebody looks on");
    assert_eq!(whole, pieces, "in pieces of {size}");
    match unseen {
        Err(report) => {
            is_discreet(&report);
            // Whatever it says, leaving out parts of it ends.
            thinned(format, bytes, &BTreeMap::new(), &[], size).ok();
            parted(format, bytes, size).ok();
            None
        }
        Ok(contents) => {
            choosing_all_changes_nothing(format, bytes, &contents, size);
            choosing_some_leaves_those(format, bytes, &contents, size);
            the_rows_that_go_elsewhere_are_all_there_are(format, bytes, &contents, size);
            Some(contents)
        }
    }
}

/// Refused, in words that no terminal obeys.
fn is_discreet(report: &Report) {
    assert_eq!(report.kind, Kind::Refused, "{report}");
    let mut words = report.causes.iter().chain(&report.hints).chain([&report.message]);
    assert!(!words.any(|word| word.contains(char::is_control)), "{report:?}");
}

fn parse(format: Format, bytes: &[u8]) -> Result<Contents> {
    let mut inspector = Inspector::new(format);
    inspector.feed(bytes)?;
    inspector.finish()
}

/// What is told of the tables, the statements and the rows.
type Told = (Vec<(String, Vec<Column>)>, String, bool, Vec<Column>, Rows, bool);

/// With somebody looking on, who sees more of it. Of what is refused only that is told.
fn look(format: Format, bytes: &[u8], size: usize) -> (Result<Contents>, Option<Told>) {
    let mut outline = Outline::of(Wish { rows: Some(("public.people".into(), 3)), statements: true });
    let mut inspector = Inspector::new(format);
    let fed = bytes.chunks(size.max(1)).try_for_each(|chunk| inspector.feed_to(chunk, &mut outline));
    let contents = fed.and_then(|()| inspector.finish());
    let done = outline.is_done();
    let Outline { tables, statements, cut, columns, rows, .. } = outline;
    let told = (tables.into_iter().collect(), statements, cut, columns, rows, done);
    let told = contents.is_ok().then_some(told);
    (contents, told)
}

/// A stream that gives only so many bytes at a time.
struct Pieces(io::Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.1.min(into.len());
        self.0.read(&mut into[..size])
    }
}

/// The bytes without the rows of other tables, and how many foreign keys went with them.
fn thinned(
    format: Format,
    bytes: &[u8],
    tables: &BTreeMap<String, TableCount>,
    wanted: &[&str],
    size: usize,
) -> io::Result<(Vec<u8>, usize)> {
    let chosen = Chosen::new(wanted.iter().copied(), tables);
    let left_out = chosen.left_out();
    let pieces = Box::new(Pieces(io::Cursor::new(bytes.to_vec()), size.max(1)));
    let mut stream = match format {
        Format::Custom => custom::thin::thinned(pieces, chosen.archive(&entries(bytes)).unwanted, None),
        _ => plain::thin::thinned(pieces, Some(chosen), None),
    };
    let mut out = Vec::new();
    stream.read_to_end(&mut out)?;
    Ok((out, left_out.words().len()))
}

/// A COPY and its rows.
type Copied = (String, Vec<u8>);

/// Rows that went elsewhere.
#[derive(Clone, Default)]
struct Elsewhere(Arc<Mutex<Vec<Copied>>>);

impl port::Rows for Elsewhere {
    fn mark(&mut self) -> String {
        "SELECT 'here';\n".into()
    }

    fn begin(&mut self, copy: &str) -> Result<()> {
        self.0.lock().unwrap().push((copy.into(), Vec::new()));
        Ok(())
    }

    fn rows(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.lock().unwrap().last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let mut went = self.0.lock().unwrap();
        let rows = &mut went.last_mut().unwrap().1;
        // In an archive empty lines follow.
        rows.truncate(rows.trim_ascii_end().len() + 1);
        Ok(())
    }
}

/// What stays of a dump whose rows go elsewhere, and what went.
fn parted(format: Format, bytes: &[u8], size: usize) -> io::Result<(Vec<u8>, Vec<Copied>)> {
    let pieces = Box::new(Pieces(io::Cursor::new(bytes.to_vec()), size.max(1)));
    let (went, mut stays) = (Elsewhere::default(), Vec::new());
    let rows: Option<Box<dyn port::Rows>> = Some(Box::new(went.clone()));
    let mut stream = match format {
        Format::Custom => custom::thin::thinned(pieces, BTreeSet::new(), rows),
        _ => plain::thin::thinned(pieces, None, rows),
    };
    stream.read_to_end(&mut stays)?;
    let went = went.0.lock().unwrap().clone();
    Ok((stays, went))
}

fn the_rows_that_go_elsewhere_are_all_there_are(format: Format, bytes: &[u8], contents: &Contents, size: usize) {
    let found = parted(format, bytes, size).unwrap();
    assert!(found == parted(format, bytes, bytes.len()).unwrap(), "in pieces of {size} other rows go");
    let (stays, went) = found;
    assert!(went.iter().all(|(_, rows)| rows.ends_with(b"\\.\n")), "rows without an end");
    let lines: u64 = went.iter().map(|(_, rows)| rows.split(|byte| *byte == b'\n').count() as u64 - 2).sum();
    assert_eq!((went.len(), lines), (contents.tables.len(), contents.tables.values().map(|count| count.rows).sum()));
    let all: usize = went.iter().map(|(_, rows)| rows.len()).sum();
    assert!(stays.len() <= bytes.len() - all + went.len() * "SELECT 'here';\n".len());
}

fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut parser = custom::Parser::keeping_entries();
    // Of an archive that is cut, those that are there.
    parser.feed(archive).ok();
    parser.entries()
}

/// Schema and name, as most are written. There are other ways to write the same name, which only a forger mixes.
fn is_common(table: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    table.split_once('.').is_some_and(|(schema, name)| is_word(schema) && is_word(name))
}

fn choosing_all_changes_nothing(format: Format, bytes: &[u8], contents: &Contents, size: usize) {
    let all: Vec<&str> = contents.tables.keys().map(String::as_str).collect();
    if all.iter().all(|table| is_common(table)) {
        let (left, gone) = thinned(format, bytes, &contents.tables, &all, size).unwrap();
        assert!(left == bytes && gone == 0, "all tables were wanted, and {} bytes of {} are left", left.len(), bytes.len());
    }
}

fn choosing_some_leaves_those(format: Format, bytes: &[u8], contents: &Contents, size: usize) {
    if !contents.tables.keys().all(|table| is_common(table)) {
        return;
    }
    let wanted: Vec<&str> = contents.tables.keys().map(String::as_str).step_by(2).collect();
    let thin = |size| thinned(format, bytes, &contents.tables, &wanted, size).unwrap();
    let found = thin(size);
    assert!(found == thin(bytes.len()), "in pieces of {size} it is thinned otherwise");
    let (left, gone) = found;
    let without = contents.tables.len() - wanted.len();
    match parse(format, &left) {
        Ok(rest) => {
            assert!(rest.tables.keys().eq(wanted.iter()), "{:?} of {wanted:?}", rest.tables);
            assert!(rest.tables.iter().all(|(table, count)| contents.tables[table] == *count), "{:?}", rest.tables);
            // The schema of an archive is in its table of contents, where nothing is left out.
            let gone = if format == Format::Custom { 0 } else { gone as u64 };
            let mut schema = contents.schema;
            schema.constraints -= gone;
            assert_eq!(rest.schema, schema);
        }
        // Nothing but what was left out is missing.
        Err(report) if format == Format::Custom => {
            assert!(without > 0 && report.message.contains(&format!("{without} of the ")), "{report}");
        }
        // A forged dump may have a command for psql right after rows that end in the middle of a line.
        Err(report) => assert!(without > 0 && report.message.contains("a command for psql"), "{report}"),
    }
}

/// SQL is cut into its statements, and each of them is one; what people type for a dump, and what is shown of hostile text, is harmless.
pub fn words(bytes: &[u8]) {
    if let Ok(found) = statements(bytes) {
        for statement in found.iter().filter(|statement| !statement.contains('\u{fffd}')) {
            assert_eq!(statements(statement.as_bytes()).unwrap(), [statement.as_str()]);
        }
    }
    match roles::read(bytes) {
        Ok(said) => assert!(roles::made(&said).len() <= said.len()),
        Err(report) => is_discreet(&report),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Selector::parse(text) {
        Ok(Selector::At(moment)) => {
            let Ok(Selector::At(again)) = Selector::parse(&moment.to_string()) else { panic!("{moment} is no moment") };
            assert!(again.since <= moment.since, "{text} is shown as {moment}");
        }
        Ok(_) => {}
        Err(report) => assert_eq!(report.kind, Kind::Usage, "{report}"),
    }
    assert!(!harmless(text).contains(char::is_control));
    assert_eq!(masked(text).chars().count(), text.chars().count());
}

/// What lies in a bucket under the names of manifests and proofs, one a line: each is read, or an error; what was read is written as it was; and
/// a listing of them can be asked anything.
pub fn manifests(bytes: &[u8]) -> usize {
    let mut found = Listing::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(line) {
            let text = serde_json::to_vec(&manifest).unwrap();
            assert_eq!(serde_json::from_slice::<Manifest>(&text).unwrap(), manifest);
            found.dumps.push(Dump { manifest, proofs: Vec::new() });
        } else if let Ok(proof) = serde_json::from_slice::<Proof>(line) {
            let text = serde_json::to_vec(&proof).unwrap();
            assert_eq!(serde_json::from_slice::<Proof>(&text).unwrap(), proof);
            found.dumps.last_mut().into_iter().for_each(|dump| dump.proofs.push(proof.clone()));
        }
    }
    found.dumps.sort_by_key(|dump| std::cmp::Reverse((dump.manifest.snapshot_at, dump.manifest.ended_at)));
    for picked in [Selector::Latest, Selector::Before(now())] {
        match found.pick(&picked, None, Some(SignedDuration::from_hours(24)), now()) {
            Ok(picked) => assert!(picked.dump.disproven().is_none()),
            Err(report) => is_discreet(&report),
        }
    }
    for together in found.groups() {
        assert!(together.dumps.len() + together.missing.len() == together.group.members.len());
    }
    let jobs: Vec<&str> = found.dumps.iter().map(|dump| dump.manifest.job.as_str()).collect();
    for job in jobs {
        judge(&found, job, &Policy { age: Some(SignedDuration::from_hours(24)), verified: 1, ..Policy::default() });
    }
    found.dumps.len()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// Bytes as the numbers somebody needs; zeros when they are over.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn two(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

/// Whatever the history and the policy that the bytes spell, nothing goes that was to stay. How many dumps may go, where anything may.
///
/// First the policy, nine bytes: last, daily, weekly, monthly, yearly, verified, level, age in hours with 0 for none. Then each dump, five bytes
/// and its proofs: age in hours, whose it is, its size, how many proofs; each proof one byte.
pub fn retention(bytes: &[u8]) -> Option<usize> {
    let mut numbers = Numbers(bytes);
    let [last, daily, weekly, monthly, yearly] = [(); 5].map(|()| usize::from(numbers.byte()));
    let (verified, proof) = (usize::from(numbers.byte() % 5), level(numbers.byte()));
    let age = Some(numbers.two()).filter(|hours| *hours > 0).map(|hours| SignedDuration::from_hours(hours.into()));
    let policy = Policy { age, last, daily, weekly, monthly, yearly, verified, proof };
    let mut dumps = Vec::new();
    while !numbers.0.is_empty() && dumps.len() < 200 {
        dumps.push(made(dumps.len(), &mut numbers));
    }
    judge(&Listing { dumps, ..Listing::default() }, "orders", &policy)
}

fn level(number: u8) -> Level {
    Level::from_number(number % 7).unwrap()
}

fn made(number: usize, numbers: &mut Numbers<'_>) -> Dump {
    let at = now() - SignedDuration::from_hours(numbers.two().into());
    let (whose, size, proofs) = (numbers.byte(), numbers.byte(), numbers.byte() % 4);
    let text = serde_json::json!({
        "version": 1, "id": number.to_string(), "job": if whose % 4 == 3 { "orders-staging" } else { "orders" }, "environment": "x",
        "object": format!("{number}.sql.gz.gpg"), "format": "plain", "compression": "gzip", "recipients": [],
        "origin": {
            "database": if whose % 4 == 2 { "billing" } else { "orders" },
            "system_identifier": "1", "server_version": "15.1", "client_version": "15.1",
        },
        "snapshot_at": at, "started_at": at, "ended_at": at,
        "plain": { "bytes": 200 + u64::from(size), "sha256": "" }, "stored": { "bytes": 1000, "sha256": "" }, "tables": {},
        "schema": { "constraints": 0, "indexes": 0, "views": 0, "sequences": 0, "triggers": 0, "large_objects": 0 },
        "stages": [], "tool": "x",
    });
    let manifest: Manifest = serde_json::from_value(text).unwrap();
    let dump = manifest.id.clone();
    let mut proof = || {
        let byte = numbers.byte();
        Proof {
            dump: dump.clone(),
            level: level(byte),
            held: byte & 0x80 == 0,
            reason: None,
            by: String::new(),
            at,
            took: SignedDuration::ZERO,
            server: None,
            asserted: Vec::new(),
            tool: String::new(),
        }
    };
    let proofs = (0..proofs).map(|_| proof()).collect();
    Dump { manifest, proofs }
}

/// Of each database, enough proven dumps and the newest good one are left, and judging what is left takes nothing more.
fn judge(found: &Listing, job: &str, policy: &Policy) -> Option<usize> {
    let verdicts = match decide(found, job, policy, now()) {
        Ok(verdicts) => verdicts,
        Err(report) => {
            is_discreet(&report);
            return None;
        }
    };
    let own: Vec<&Dump> = found.dumps.iter().filter(|dump| dump.manifest.job == job).collect();
    assert_eq!(verdicts.len(), own.len(), "each is judged once, and no other");
    let left: Vec<&Dump> = verdicts.iter().filter(|verdict| !verdict.may_go()).map(|verdict| verdict.dump).collect();
    let is_proven = |dump: &&&Dump| dump.disproven().is_none() && dump.proven().is_some_and(|proof| proof.level >= policy.proof);
    for one in &own {
        let database = one.manifest.database();
        let of_it = |dump: &&&Dump| dump.manifest.database() == database;
        assert!(left.iter().filter(of_it).filter(is_proven).count() >= policy.verified, "of {database:?}");
        let good = own.iter().filter(of_it).filter(|dump| dump.disproven().is_none());
        let newest = good.map(|dump| dump.manifest.snapshot_at).max().unwrap();
        assert!(left.iter().filter(of_it).any(|dump| dump.manifest.snapshot_at == newest), "of {database:?}");
    }
    let again = Listing { dumps: left.iter().map(|dump| (*dump).clone()).collect(), ..Listing::default() };
    // With fewer dumps the newest may look shrunk: then nothing goes.
    if let Ok(again) = decide(&again, job, policy, now()) {
        assert!(again.iter().all(|verdict| !verdict.may_go()), "judged again, something more may go");
    }
    Some(verdicts.len() - left.len())
}
