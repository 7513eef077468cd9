//! Dumps from a real server into a store, and back: whole, or nothing.

use std::fs;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use lifeboat::pipeline::backup::{Order, backup};
use lifeboat::pipeline::gzip::Gzip;
use lifeboat::pipeline::manifest::{Compression, Format, Level, Manifest, Origin, SchemaCount, TableCount};
use lifeboat::pipeline::openpgp::{Encrypt, PublicKeys, SecretKey};
use lifeboat::pipeline::zstd::Zstd;
use lifeboat::pipeline::{restore, verify};
use lifeboat::port::table_hash::TableHash;
use lifeboat::port::{Context, Filter, Source, Store, Stream};
use lifeboat::process::Program;
use lifeboat::report::{Kind, Result};

use super::keys::{PASSPHRASE, keys};
use super::server::{DATABASE, Dump, server};
use super::shelf::Shelf;
use super::{context, drain, stream};

const OBJECT: &str = "production-202603072159.sql.gz.gpg";
const MANIFEST: &str = "production-202603072159.sql.gz.gpg.manifest.json";

pub fn secret(name: &str) -> SecretKey {
    let passphrase = (name == "ops").then_some(PASSPHRASE);
    SecretKey::load_file(&keys().secret(name), passphrase, &context()).unwrap()
}

pub fn make(object: &str, format: Format, source: Box<dyn Source>, store: &dyn Store, cx: &Context) -> Result<Manifest> {
    make_for(&PublicKeys::load(&[keys().public("ops")], cx)?, object, format, source, store, cx)
}

fn make_for(
    recipients: &PublicKeys,
    object: &str,
    format: Format,
    source: Box<dyn Source>,
    store: &dyn Store,
    cx: &Context,
) -> Result<Manifest> {
    let origin =
        Origin { database: DATABASE.into(), system_identifier: "7".into(), server_version: "15.1".into(), client_version: "15.1".into() };
    let order = Order {
        job: "nightly",
        environment: "production",
        object,
        format,
        compression: if object.ends_with(".zst.gpg") { Compression::Zstd } else { Compression::Gzip },
        level: 3,
        recipients,
        origin,
        snapshot_at: Timestamp::now(),
        group: None,
        access: None,
        source,
        store,
        guard: None,
    };
    backup(order, cx)
}

/// A dump made of the given bytes.
pub struct Text(pub Vec<u8>);

impl Source for Text {
    fn describe(&self) -> String {
        "text".into()
    }

    fn open(&self, _: &Context) -> Result<Stream> {
        Ok(stream(&self.0))
    }
}

/// A small whole dump.
pub fn small() -> Box<dyn Source> {
    Box::new(Text(
        b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a) FROM stdin;\n1\n2\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
            .to_vec(),
    ))
}

// TRAPS 11; found by the soak.
#[test]
fn whether_a_dump_was_published_is_only_said_where_it_is_known() {
    let told = |shelf: &Shelf| make(OBJECT, Format::Plain, small(), shelf, &context()).unwrap_err().message;
    let silent = Shelf { lose_put: Some(".manifest.json"), fail_delete: true, ..Shelf::default() };
    let message = told(&silent);
    assert!(message.ends_with("was published is not known"), "{message}");
    assert_eq!(silent.keys(), [OBJECT, MANIFEST]);
    let taken_back = Shelf { lose_put: Some(".manifest.json"), ..Shelf::default() };
    let message = told(&taken_back);
    assert!(message.ends_with("nothing was published"), "{message}");
    assert_eq!(taken_back.keys(), [""; 0]);
    // What may not be removed was never there.
    let refused = Shelf { fail_put: Some((".manifest.json", 0)), fail_delete: true, ..Shelf::default() };
    let message = told(&refused);
    assert!(message.ends_with("nothing was published"), "{message}");
    assert_eq!(refused.keys(), [OBJECT]);
}

// D1, B7, B8
#[test]
fn a_real_dump_opens_with_stock_tools_and_its_manifest_counts_every_row() {
    let server = server();
    let shelf = Shelf::default();
    let cx = context();
    let manifest = make(OBJECT, Format::Plain, Box::new(server.dump("plain")), &shelf, &cx).unwrap();
    assert_eq!(shelf.keys(), [OBJECT, MANIFEST]);
    let read: Manifest = serde_json::from_slice(&shelf.bytes(MANIFEST)).unwrap();
    assert_eq!(read, manifest);

    let rows = |rows, bytes, hash| TableCount { rows, bytes, xxh3: Some(hash) };
    let tables: Vec<(&str, u64)> = manifest.tables.iter().map(|(table, count)| (table.as_str(), count.rows)).collect();
    let odd = "\"Odd \"\"Schema\".\"select; -- (x) FROM stdin;\"";
    let expected =
        [(odd, 3), ("public.bookings", 20_000), ("public.empty", 0), ("public.nocols", 2), ("public.parted_1", 10), ("public.rooms", 5000)];
    assert_eq!(tables, expected);
    // Twice the hash of nothing.
    let nothing = TableHash(xxhash_rust::xxh3::xxh3_128(b"").wrapping_mul(2));
    assert_eq!((manifest.tables["public.empty"], manifest.tables["public.nocols"]), (rows(0, 0, TableHash(0)), rows(2, 2, nothing)));
    let schema =
        SchemaCount { constraints: 5, indexes: 2, views: 2, sequences: 3, triggers: 1, large_objects: 2, ..SchemaCount::default() };
    assert_eq!(manifest.schema, schema);
    let stages: Vec<&str> = manifest.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(stages, ["pg_dump", "inspect", "gzip", "openpgp", "store"]);
    let whole = manifest.stages[4].seconds;
    let held: f64 = lifeboat::port::held_up(&manifest.stages).into_iter().flatten().sum();
    assert!(whole > 0.0 && held >= 0.9 * whole, "{held} of {whole} s are explained: {:?}", manifest.stages);
    assert!(manifest.stages.iter().all(|stage| stage.done));
    assert_eq!(manifest.stages[0].bytes, manifest.plain.bytes);
    assert_eq!(manifest.stages[4].bytes, manifest.stored.bytes);

    // gpg -d | gunzip
    let file = keys().path().join("stock.gpg");
    fs::write(&file, shelf.bytes(OBJECT)).unwrap();
    let mut gpg = keys().gpg();
    let mut gpg = gpg.args(["--passphrase", PASSPHRASE, "-d"]).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let plain = Command::new("gunzip").stdin(gpg.stdout.take().unwrap()).output().unwrap();
    assert!(plain.status.success() && gpg.wait().unwrap().success());
    assert_eq!(
        hex::encode(sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &plain.stdout))),
        manifest.plain.sha256
    );

    // What a manifest says a table hashes to is found again with what everybody has.
    let mut checked = 0;
    for (table, count) in &manifest.tables {
        let start = memchr::memmem::find(&plain.stdout, format!("\nCOPY {table} ").as_bytes()).unwrap() + 1;
        let start = start
            + memchr::memmem::find(&plain.stdout[start..], b") FROM stdin;\n").unwrap_or(usize::MAX).min(
                // A table without columns has no parentheses.
                memchr::memmem::find(&plain.stdout[start..], b"  FROM stdin;\n").unwrap_or(usize::MAX),
            );
        let rows = plain.stdout[start..].split(|byte| *byte == b'\n').skip(1).take_while(|row| *row != b"\\.");
        let sum = rows.fold(0_u128, |sum, row| sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(row)));
        assert_eq!(count.xxh3.unwrap().to_string(), format!("{sum:032x}"), "{table}");
        checked += usize::from(sum != 0);
    }
    assert_eq!(checked, 5, "all but the empty one");

    // | psql, and every row is there.
    server.sql("postgres", "CREATE DATABASE again_plain");
    server.sql("again_plain", std::str::from_utf8(&plain.stdout).unwrap());
    assert_eq!(server.sql("again_plain", "SELECT count(*) FROM public.bookings"), "20000");
    assert_eq!(server.sql("again_plain", "SELECT count(*) FROM pg_largeobject_metadata"), "2");

    // Our own way back gives the same bytes, and every level holds.
    let ours = drain(restore::open(&manifest, &shelf, &secret("ops"), &context()).unwrap()).unwrap();
    assert!(ours == plain.stdout);
    for level in [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4] {
        let proof = verify::prove(&manifest, &shelf, Some(&secret("ops")), level, &context()).unwrap();
        assert!(proof.held && proof.level == level && proof.by.contains('@'));
    }
    assert_eq!(shelf.keys().len(), 7, "every proof has its record");
}

#[test]
fn an_archive_is_counted_like_the_plain_dump_and_pg_restore_reads_it() {
    let server = server();
    let shelf = Shelf::default();
    let object = "production-1.dump.gz.gpg";
    let custom = make(object, Format::Custom, Box::new(server.dump("custom")), &shelf, &context()).unwrap();
    let plain = make(OBJECT, Format::Plain, Box::new(server.dump("plain")), &shelf, &context()).unwrap();
    assert_eq!(custom.tables, plain.tables);
    assert_eq!(custom.schema, plain.schema);
    let archive = restore::open(&custom, &shelf, &secret("ops"), &context()).unwrap();
    server.sql("postgres", "CREATE DATABASE again_custom");
    server.client("pg_restore").args(["--exit-on-error", "--no-owner", "-d", "again_custom"]).run_with(archive, &context()).unwrap();
    assert_eq!(server.sql("again_custom", "SELECT count(*) FROM public.rooms"), "5000");
    assert!(verify::prove(&custom, &shelf, Some(&secret("ops")), Level::L4, &context()).unwrap().held);
}

// TRAPS 9, 10
#[test]
fn a_source_that_dies_commits_nothing_and_says_why() {
    let server = server();
    let shelf = Shelf::default();
    let missing = server.dump("plain").0.args(["-t", "public.not_there"]);
    let report = make(OBJECT, Format::Plain, Box::new(Dump(missing)), &shelf, &context()).unwrap_err();
    assert_eq!(report.kind, Kind::Failed);
    assert!(report.message.contains("nothing was published"), "{report}");
    assert!(report.causes[0].contains("pg_dump exited with 1") && report.to_string().contains("no matching tables"), "{report}");
    // One that gives a whole dump, and then does not exit well.
    let script = "printf '%s\\n' '-- PostgreSQL database dump complete'; kill -KILL $$";
    let program = Program::new("sh").args(["-c", script]);
    let report = make(OBJECT, Format::Plain, Box::new(Dump(program)), &shelf, &context()).unwrap_err();
    assert!(report.causes[0].contains("killed by signal 9"), "{report}");
    assert!(shelf.keys().is_empty());
}

// TRAPS 1, 13
#[test]
fn a_dump_without_its_trailer_is_never_published() {
    let shelf = Shelf::default();
    for (bytes, why) in [
        (&b""[..], "empty"),
        (b"--\n-- PostgreSQL database dump\n--\n", "closing line"),
        (b"COPY public.t (a) FROM stdin;\n1\n", "within the rows of public.t"),
        (b"-- PostgreSQL database dump complete\nSELECT 1;\n", "goes on after"),
    ] {
        let report = make(OBJECT, Format::Plain, Box::new(Text(bytes.to_vec())), &shelf, &context()).unwrap_err();
        assert!(report.kind == Kind::Refused && report.causes[0].contains(why), "{report}");
    }
    let report = make(OBJECT, Format::Custom, small(), &shelf, &context()).unwrap_err();
    assert!(report.causes[0].contains("not an archive"), "{report}");
    assert!(shelf.keys().is_empty());
}

struct Panics;

impl Source for Panics {
    fn describe(&self) -> String {
        "panic".into()
    }

    fn open(&self, _: &Context) -> Result<Stream> {
        Ok(Box::new(Self))
    }
}

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("on purpose")
    }
}

// TRAP 11
#[test]
fn a_panic_in_a_stage_publishes_nothing() {
    let shelf = Shelf::default();
    assert!(make(OBJECT, Format::Plain, Box::new(Panics), &shelf, &context()).is_err());
    assert!(shelf.keys().is_empty());
}

/// Endless rows, counted, and stopped only by cancelling.
struct Endless {
    read: Arc<AtomicU64>,
    cx: Option<Context>,
}

impl Source for Endless {
    fn describe(&self) -> String {
        "endless".into()
    }

    fn open(&self, cx: &Context) -> Result<Stream> {
        let head = stream(b"COPY public.t (a) FROM stdin;\n");
        Ok(Box::new(head.chain(Endless { read: Arc::clone(&self.read), cx: Some(cx.clone()) })))
    }
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.cx.as_ref().unwrap().check()?;
        getrandom::fill(into).unwrap();
        for byte in &mut *into {
            *byte |= 0x80;
        }
        self.read.fetch_add(into.len() as u64, Ordering::Relaxed);
        Ok(into.len())
    }
}

#[test]
fn a_store_that_breaks_is_the_cause_and_the_source_is_stopped() {
    let shelf = Shelf { fail_put: Some((".gpg", 3_000_000)), ..Shelf::default() };
    let read = Arc::new(AtomicU64::new(0));
    let source = Box::new(Endless { read: Arc::clone(&read), cx: None });
    let report = make(OBJECT, Format::Plain, source, &shelf, &context()).unwrap_err();
    assert_eq!(report.causes, ["the shelf broke"], "and not what broke because of it");
    assert_eq!(Arc::strong_count(&read), 1, "nothing runs on");
    assert!(shelf.keys().is_empty());
}

// D4
#[test]
fn the_source_never_runs_far_ahead_of_the_store() {
    for (object, limit) in [(OBJECT, 16 << 20), ("production-202603072159.sql.zst.gpg", 32 << 20)] {
        let shelf = Shelf { fail_put: Some((".gpg", 40_000_000)), ..Shelf::default() };
        let read = Arc::new(AtomicU64::new(0));
        let source = Box::new(Endless { read: Arc::clone(&read), cx: None });
        make(object, Format::Plain, source, &shelf, &context()).unwrap_err();
        assert_eq!(Arc::strong_count(&read), 1, "nothing runs on");
        // Seven of eight bits of each byte are random, so the stored bytes are about seven eighths of the plain ones.
        let consumed = 40_000_000 * 8 / 7;
        let ahead = read.load(Ordering::Relaxed).saturating_sub(consumed);
        assert!(ahead < limit, "{ahead} bytes of {object} ahead");
    }
}

// TRAP 16
#[test]
fn an_object_whose_manifest_cannot_be_written_is_taken_back_even_when_cancelled() {
    for shelf in [Shelf { fail_put: Some((".json", 10)), ..Shelf::default() }, Shelf { cancel_put: Some(".json"), ..Shelf::default() }] {
        let report = make(OBJECT, Format::Plain, small(), &shelf, &context()).unwrap_err();
        assert!(report.to_string().contains("manifest"), "{report}");
        assert!(shelf.keys().is_empty(), "{:?}", shelf.keys());
    }
    let shelf = Shelf { fail_put: Some((".json", 10)), fail_delete: true, ..Shelf::default() };
    let report = make(OBJECT, Format::Plain, small(), &shelf, &context()).unwrap_err();
    assert!(report.to_string().contains("not allowed to delete") && report.hints[0].contains(OBJECT), "{report:?}");
}

#[test]
fn an_existing_dump_is_never_replaced() {
    let shelf = Shelf::default();
    let manifest = make(OBJECT, Format::Plain, small(), &shelf, &context()).unwrap();
    let report = make(OBJECT, Format::Plain, Box::new(Panics), &shelf, &context()).unwrap_err();
    assert!(report.kind == Kind::Refused && report.causes[0].contains("exists already"), "{report}");
    assert_eq!(serde_json::from_slice::<Manifest>(&shelf.bytes(MANIFEST)).unwrap(), manifest);
}

#[test]
fn a_cancelled_backup_leaves_nothing_and_says_that_it_was_cancelled() {
    let shelf = Shelf::default();
    let cx = context();
    let read = Arc::new(AtomicU64::new(0));
    let source = Box::new(Endless { read: Arc::clone(&read), cx: None });
    let (watched, cancel) = (Arc::clone(&read), cx.cancel.clone());
    let thread = std::thread::spawn(move || {
        while watched.load(Ordering::Relaxed) < 5_000_000 {
            std::thread::yield_now();
        }
        cancel.cancel();
    });
    let report = make(OBJECT, Format::Plain, source, &shelf, &cx).unwrap_err();
    thread.join().unwrap();
    assert_eq!(report.kind, Kind::Cancelled);
    assert!(shelf.keys().is_empty());
}

// TRAPS 6, 9, 10
#[test]
fn killing_gpg_half_way_publishes_nothing_and_names_gpg() {
    let shelf = Shelf::default();
    let cx = context();
    let recipients = PublicKeys::load(&[keys().public("ops")], &cx).unwrap();
    let home = recipients.home().to_string_lossy().into_owned();
    let read = Arc::new(AtomicU64::new(0));
    let source = Box::new(Endless { read: Arc::clone(&read), cx: None });
    let watched = Arc::clone(&read);
    let killer = std::thread::spawn(move || {
        while watched.load(Ordering::Relaxed) < 20_000_000 {
            std::thread::yield_now();
        }
        let gpg = super::openpgp::gpg_of(&home);
        assert_eq!(gpg.len(), 1);
        assert!(Command::new("kill").args(["-KILL", &gpg[0].0.to_string()]).status().unwrap().success());
    });
    let report = make_for(&recipients, OBJECT, Format::Plain, source, &shelf, &cx).unwrap_err();
    killer.join().unwrap();
    assert!(report.causes[0].contains("gpg ended before"), "{report}");
    assert_eq!(Arc::strong_count(&read), 1, "the source was stopped");
    assert!(shelf.keys().is_empty());
}

fn verified(manifest: &Manifest, shelf: &Shelf, level: Level) -> (Level, bool, String) {
    let proof = verify::verify(manifest, shelf, Some(&secret("ops")), level, &context()).unwrap();
    (proof.level, proof.held, proof.reason.unwrap_or_default())
}

// B9, B15
#[test]
fn every_damage_is_caught_at_the_lowest_level_that_can_see_it() {
    every_damage_is_caught_of(OBJECT);
}

#[test]
fn every_damage_is_caught_with_zstd_too() {
    every_damage_is_caught_of("production-202603072159.sql.zst.gpg");
}

fn every_damage_is_caught_of(object: &str) {
    let whole = Shelf::default();
    let mut text = b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a) FROM stdin;\n".to_vec();
    for _ in 0..40_000 {
        text.extend_from_slice(hex::encode(super::noise(16)).as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(b"\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
    let manifest = make(object, Format::Plain, Box::new(Text(text.clone())), &whole, &context()).unwrap();
    let stored = whole.bytes(object);
    let damaged = |bytes: &[u8]| {
        let shelf = Shelf::default();
        shelf.place(object, bytes, jiff::SignedDuration::ZERO);
        shelf
    };
    // Gone, emptied, cut: L0, without reading anything.
    for shelf in [Shelf::default(), damaged(b""), damaged(&stored[..stored.len() - 1])] {
        for level in [Level::L0, Level::L4] {
            let (at, held, reason) = verified(&manifest, &shelf, level);
            assert!(at == Level::L0 && !held && !reason.is_empty());
        }
        assert_eq!(*shelf.given.lock().unwrap(), 0);
    }
    // A flipped bit anywhere: L1, and seen by every level above that reads that far.
    for at in [5, stored.len() / 2, stored.len() - 2] {
        let mut bytes = stored.clone();
        bytes[at] ^= 1;
        let shelf = damaged(&bytes);
        assert!(verified(&manifest, &shelf, Level::L0).1, "the size is right");
        for level in [Level::L1, Level::L3, Level::L4] {
            let (found, held, reason) = verified(&manifest, &shelf, level);
            assert!(found == Level::L1 && !held && reason.contains("SHA-256"), "flipped {at}, asked {level}: {found} {reason}");
        }
        assert!(drain(restore::open(&manifest, &shelf, &secret("ops"), &context()).unwrap()).is_err());
    }
    // Encrypted to somebody else, and stored as such: L2.
    let other = seal(&text, "other", manifest.compression);
    let forged = Manifest { stored: digest(&other), ..manifest.clone() };
    let (at, held, reason) = verified(&forged, &damaged(&other), Level::L4);
    assert!(at == Level::L2 && !held && reason.contains("encrypted to"), "{at} {reason}");
    // Compressed otherwise than the manifest says: L2.
    let other = match manifest.compression {
        Compression::Gzip => Compression::Zstd,
        Compression::Zstd => Compression::Gzip,
    };
    let (forged, forgery) = (Manifest { compression: other, ..manifest.clone() }, &whole);
    let (at, held, reason) = verified(&forged, forgery, Level::L4);
    assert!(at == Level::L2 && !held && reason.contains(&format!("not {} data", other.word())), "{at} {reason}");
    // Damaged or cut before encryption, or something added: L3.
    let packed = packed(&text, manifest.compression);
    let mut flipped = packed.clone();
    flipped[packed.len() / 2] ^= 4;
    for wrong in [&flipped[..], &packed[..packed.len() - 3], &[&packed[..], b"more"].concat()] {
        let sealed = encrypted(wrong, "ops");
        let forged = Manifest { stored: digest(&sealed), ..manifest.clone() };
        let (at, held, reason) = verified(&forged, &damaged(&sealed), Level::L4);
        assert!(at == Level::L3 && !held && !reason.is_empty(), "{at} {reason}");
    }
    // The dump was cut: L3.
    let cut = seal(&text[..text.len() / 2], "ops", manifest.compression);
    let forged = Manifest { stored: digest(&cut), ..manifest.clone() };
    assert!(verified(&forged, &damaged(&cut), Level::L2).1, "the key opens it");
    let (at, held, reason) = verified(&forged, &damaged(&cut), Level::L3);
    assert!(at == Level::L3 && !held && reason.contains("plain bytes"), "{at} {reason}");
    // Hashes that agree with a dump that is cut, or whose rows are not those of the manifest: L4.
    let forged = Manifest { plain: digest(&text[..text.len() / 2]), ..forged };
    assert!(verified(&forged, &damaged(&cut), Level::L3).1, "the hashes are right");
    let (at, held, reason) = verified(&forged, &damaged(&cut), Level::L4);
    assert!(at == Level::L4 && !held && reason.contains("within the rows"), "{at} {reason}");
    let mut forged = manifest.clone();
    forged.tables.get_mut("public.t").unwrap().rows += 1;
    let (at, held, reason) = verified(&forged, &whole, Level::L4);
    assert!(at == Level::L4 && !held && reason.contains("40000 rows where the manifest says 40001"), "{at} {reason}");
    assert!(drain(restore::open(&forged, &whole, &secret("ops"), &context()).unwrap()).is_err());
}

/// As a backup would, without its checks.
fn seal(text: &[u8], name: &str, compression: Compression) -> Vec<u8> {
    encrypted(&packed(text, compression), name)
}

fn packed(text: &[u8], compression: Compression) -> Vec<u8> {
    let packer: Box<dyn Filter> = match compression {
        Compression::Gzip => Box::new(Gzip::default()),
        Compression::Zstd => Box::new(Zstd::default()),
    };
    drain(packer.wrap(stream(text), &context()).unwrap()).unwrap()
}

fn encrypted(bytes: &[u8], name: &str) -> Vec<u8> {
    let cx = context();
    let recipients = PublicKeys::load(&[keys().public(name)], &cx).unwrap();
    drain(Box::new(Encrypt::to(&recipients)).wrap(stream(bytes), &cx).unwrap()).unwrap()
}

fn digest(bytes: &[u8]) -> lifeboat::pipeline::manifest::Digest {
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
    lifeboat::pipeline::manifest::Digest { bytes: bytes.len() as u64, sha256 }
}

// D1
#[test]
fn a_dump_for_two_is_opened_by_each_alone() {
    let shelf = Shelf::default();
    let cx = context();
    let recipients = PublicKeys::load(&[keys().public("ops"), keys().public("other")], &cx).unwrap();
    let manifest = make_for(&recipients, OBJECT, Format::Plain, small(), &shelf, &cx).unwrap();
    assert_eq!(manifest.recipients.len(), 2);
    for name in ["ops", "other"] {
        let proof = verify::verify(&manifest, &shelf, Some(&secret(name)), Level::L4, &context()).unwrap();
        assert!(proof.held && proof.level == Level::L4, "{name}: {proof:?}");
    }
}

// D5
#[test]
fn proving_that_the_key_opens_it_does_not_read_the_whole_object() {
    let shelf = Shelf::default();
    let mut text = b"COPY public.t (a) FROM stdin;\n".to_vec();
    text.extend(hex::encode(super::noise(5_000_000)).into_bytes());
    text.extend_from_slice(b"\n\\.\n\n-- PostgreSQL database dump complete\n");
    let manifest = make(OBJECT, Format::Plain, Box::new(Text(text)), &shelf, &context()).unwrap();
    assert!(manifest.stored.bytes > 3 << 20);
    *shelf.given.lock().unwrap() = 0;
    assert!(verified(&manifest, &shelf, Level::L2).1);
    assert!(*shelf.given.lock().unwrap() <= 1 << 20);
}

#[test]
fn what_cannot_be_told_is_an_error_and_disproves_nothing() {
    let shelf = Shelf::default();
    let manifest = make(OBJECT, Format::Plain, small(), &shelf, &context()).unwrap();
    let ask = |key: Option<&SecretKey>| verify::verify(&manifest, &shelf, key, Level::L4, &context()).unwrap_err();
    assert_eq!(ask(None).kind, Kind::Usage);
    assert!(ask(Some(&secret("other"))).to_string().contains("not one of its recipients"));
    let wrong = SecretKey::load_file(&keys().secret("ops"), Some("wrong"), &context()).unwrap();
    assert!(ask(Some(&wrong)).to_string().contains("passphrase"));
    let cx = context();
    cx.cancel.cancel();
    let key = secret("ops");
    assert_eq!(verify::verify(&manifest, &shelf, Some(&key), Level::L4, &cx).unwrap_err().kind, Kind::Cancelled);
}

#[test]
fn a_proof_that_fails_is_kept_and_refused() {
    let shelf = Shelf::default();
    let manifest = make(OBJECT, Format::Plain, small(), &shelf, &context()).unwrap();
    shelf.tamper(OBJECT, |bytes| bytes.truncate(100));
    let report = verify::prove(&manifest, &shelf, None, Level::L1, &context()).unwrap_err();
    assert_eq!(report.kind, Kind::Refused);
    let keys = shelf.keys();
    let record = keys.iter().find(|key| key.starts_with(&format!("{OBJECT}.proof-L0-"))).expect("a record");
    let proof: lifeboat::pipeline::manifest::Proof = serde_json::from_slice(&shelf.bytes(record)).unwrap();
    assert!(!proof.held && proof.reason.unwrap().contains("100 bytes"));
}

#[test]
fn a_restore_dropped_half_way_stops_everything_behind_it() {
    let shelf = Shelf::default();
    let mut text = b"COPY public.t (a) FROM stdin;\n".to_vec();
    text.extend(hex::encode(super::noise(20_000_000)).into_bytes());
    text.extend_from_slice(b"\n\\.\n\n-- PostgreSQL database dump complete\n");
    let manifest = make(OBJECT, Format::Plain, Box::new(Text(text)), &shelf, &context()).unwrap();
    let key = secret("ops");
    let home = key.home().to_path_buf();
    let cx = context();
    let mut plain = restore::open(&manifest, &shelf, &key, &cx).unwrap();
    plain.read_exact(&mut [0; 1000]).unwrap();
    // D4: a reader that waits holds up everything behind it, but for a few MiB that are unpacked ahead of it.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let fetched = cx.meters.read()[0].bytes;
    assert!(fetched < 5 << 20 && manifest.stored.bytes > 16 << 20, "{fetched} bytes fetched for a thousand");
    drop(key);
    drop(plain);
    assert!(!home.exists(), "its keyring is gone with it");
}
