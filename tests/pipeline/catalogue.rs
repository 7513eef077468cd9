//! Listing, choosing and sweeping.

use jiff::{SignedDuration, Timestamp, ToSpan};
use lifeboat::pipeline::catalogue::{Selector, find, list, sweep};
use lifeboat::pipeline::manifest::{Compression, Digest, Format, Level, Manifest, Origin, Proof, SchemaCount, TableCount};
use lifeboat::pipeline::verify;
use lifeboat::port::{Store, Unfinished};
use lifeboat::report::Kind;

use super::context;
use super::shelf::Shelf;

const NOW: &str = "2026-03-08T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub fn manifest(job: &str, object: &str, hours_old: i64) -> Manifest {
    let at = now() - hours_old.hours();
    Manifest {
        version: 1,
        id: format!("id of {object}"),
        job: job.into(),
        environment: "production".into(),
        object: object.into(),
        format: Format::Plain,
        compression: Compression::Gzip,
        recipients: vec!["AB".into()],
        origin: Origin {
            database: "rooms".into(),
            system_identifier: "7".into(),
            server_version: "15.1".into(),
            client_version: "15.1".into(),
        },
        snapshot_at: at,
        started_at: at,
        ended_at: at,
        plain: Digest { bytes: 10, sha256: "aa".into() },
        stored: Digest { bytes: 5, sha256: "bb".into() },
        tables: [].into(),
        schema: SchemaCount::default(),
        stages: Vec::new(),
        group: None,
        access: None,
        tool: "lifeboat".into(),
    }
}

pub fn place(shelf: &Shelf, manifest: &Manifest) {
    let age = SignedDuration::from_hours(72);
    shelf.place(&manifest.object, b"12345", age);
    shelf.place(&format!("{}.manifest.json", manifest.object), &serde_json::to_vec(manifest).unwrap(), age);
}

fn proof(dump: &Manifest, level: Level, held: bool, minute: i64) -> Proof {
    Proof {
        dump: dump.id.clone(),
        level,
        held,
        reason: (!held).then(|| "cut".into()),
        by: "a@b".into(),
        at: now() + minute.minutes(),
        took: SignedDuration::from_secs(1),
        server: None,
        asserted: Vec::new(),
        tool: "lifeboat".into(),
    }
}

fn names(shelf: &Shelf, job: Option<&str>) -> Vec<String> {
    list(shelf, job, &context()).unwrap().dumps.into_iter().map(|dump| dump.manifest.object).collect()
}

// TRAPS 20, 22
#[test]
fn dumps_are_listed_by_their_data_and_owned_by_their_manifest() {
    let shelf = Shelf::default();
    place(&shelf, &manifest("app", "zzz.sql.gz.gpg", 30));
    place(&shelf, &manifest("app", "aaa.sql.gz.gpg", 2));
    place(&shelf, &manifest("app-staging", "app-1.sql.gz.gpg", 1));
    shelf.place("orphan.sql.gz.gpg", b"12345", SignedDuration::ZERO);
    assert_eq!(names(&shelf, None), ["app-1.sql.gz.gpg", "aaa.sql.gz.gpg", "zzz.sql.gz.gpg"]);
    assert_eq!(names(&shelf, Some("app")), ["aaa.sql.gz.gpg", "zzz.sql.gz.gpg"]);
    assert!(names(&shelf, Some("ap")).is_empty());
}

#[test]
fn what_should_be_a_dump_and_is_not_is_reported() {
    let shelf = Shelf::default();
    place(&shelf, &manifest("app", "good.sql.gz.gpg", 9));
    place(&shelf, &manifest("app", "cut.sql.gz.gpg", 2));
    shelf.tamper("cut.sql.gz.gpg", |bytes| bytes.truncate(3));
    place(&shelf, &manifest("app", "gone.sql.gz.gpg", 1));
    shelf.delete("gone.sql.gz.gpg", &context()).unwrap();
    shelf.place("garbled.sql.gz.gpg.manifest.json", b"{\"version\":1,\x1b[2J", SignedDuration::ZERO);
    shelf.place("newer.sql.gz.gpg.manifest.json", b"{\"version\":2}", SignedDuration::ZERO);
    let moved = serde_json::to_vec(&manifest("app", "elsewhere.sql.gz.gpg", 1)).unwrap();
    shelf.place("moved.sql.gz.gpg.manifest.json", &moved, SignedDuration::ZERO);
    place(&shelf, &manifest("app\x1b[2J", "hostile.sql.gz.gpg", 1));
    let listing = list(&shelf, Some("app"), &context()).unwrap();
    let problems: Vec<(String, String)> =
        listing.problems.iter().map(|problem| (problem.object.clone(), problem.report.to_string())).collect();
    for (object, why) in [
        ("cut", "has 3 bytes where its manifest says 5"),
        ("garbled", "cannot be used"),
        ("gone", "the object is gone"),
        ("hostile", "control characters"),
        ("moved", "speaks of elsewhere"),
        ("newer", "newer lifeboat"),
    ] {
        let found =
            problems.iter().find(|(name, _)| *name == format!("{object}.sql.gz.gpg")).unwrap_or_else(|| panic!("{object}: {problems:?}"));
        assert!(found.1.contains(why) && !found.1.contains('\x1b'), "{found:?}");
    }
    assert_eq!(problems.len(), 6);

    // G7: the newest good one, and what was passed over is told.
    let picked = listing.pick(&Selector::Latest, None, None, now()).unwrap();
    assert_eq!(picked.dump.manifest.object, "good.sql.gz.gpg");
    assert_eq!(picked.passed_over.len(), 6, "{:?}", picked.passed_over);
    assert!(listing.pick(&Selector::Name("cut.sql.gz.gpg".into()), None, None, now()).unwrap_err().message.contains("3 bytes"));
}

#[test]
fn a_listing_that_fails_is_no_empty_list() {
    struct Mute(Shelf);
    impl Store for Mute {
        fn describe(&self) -> String {
            self.0.describe()
        }
        fn put(
            &self,
            key: &str,
            body: lifeboat::port::Stream,
            cx: &lifeboat::port::Context,
        ) -> lifeboat::report::Result<lifeboat::port::Object> {
            self.0.put(key, body, cx)
        }
        fn get(
            &self,
            _: &str,
            _: Option<std::ops::Range<u64>>,
            _: &lifeboat::port::Context,
        ) -> lifeboat::report::Result<lifeboat::port::Stream> {
            Err(lifeboat::report::Report::failed("timed out"))
        }
        fn head(&self, key: &str, cx: &lifeboat::port::Context) -> lifeboat::report::Result<Option<lifeboat::port::Object>> {
            self.0.head(key, cx)
        }
        fn list(&self, prefix: &str, cx: &lifeboat::port::Context) -> lifeboat::report::Result<Vec<lifeboat::port::Object>> {
            self.0.list(prefix, cx)
        }
        fn delete(&self, key: &str, cx: &lifeboat::port::Context) -> lifeboat::report::Result<()> {
            self.0.delete(key, cx)
        }
        fn unfinished(&self, cx: &lifeboat::port::Context) -> lifeboat::report::Result<Vec<Unfinished>> {
            self.0.unfinished(cx)
        }
        fn abort(&self, upload: &Unfinished, cx: &lifeboat::port::Context) -> lifeboat::report::Result<()> {
            self.0.abort(upload, cx)
        }
    }
    let shelf = Shelf::default();
    place(&shelf, &manifest("app", "good.sql.gz.gpg", 9));
    assert_eq!(list(&Mute(shelf), None, &context()).unwrap_err().message, "timed out");
}

#[test]
fn latest_passes_over_what_was_disproven_and_what_comes_from_the_future() {
    let shelf = Shelf::default();
    let [old, bad, healed, future] =
        [("old", 20), ("bad", 3), ("healed", 9), ("future", -5)].map(|(name, age)| manifest("app", &format!("{name}.sql.gz.gpg"), age));
    for dump in [&old, &bad, &healed, &future] {
        place(&shelf, dump);
    }
    verify::record(&proof(&bad, Level::L4, true, 1), &shelf, &bad, &context()).unwrap();
    verify::record(&proof(&bad, Level::L1, false, 2), &shelf, &bad, &context()).unwrap();
    verify::record(&proof(&healed, Level::L1, false, 1), &shelf, &healed, &context()).unwrap();
    verify::record(&proof(&healed, Level::L3, true, 2), &shelf, &healed, &context()).unwrap();
    let listing = list(&shelf, Some("app"), &context()).unwrap();
    let picked = listing.pick(&Selector::parse("latest").unwrap(), None, None, now()).unwrap();
    assert_eq!(picked.dump.manifest.object, "healed.sql.gz.gpg");
    assert_eq!(picked.dump.proven().unwrap().level, Level::L3);
    assert_eq!(picked.passed_over.len(), 2);
    assert!(picked.passed_over[0].contains("from the future") && picked.passed_over[1].contains("disproven at L1 (cut)"));
    let found = find(&shelf, "bad.sql.gz.gpg", &context()).unwrap();
    assert_eq!(found.disproven().unwrap().level, Level::L1);
    // Before an instant: the newest good one.
    let at = Selector::parse("before:2026-03-08T00:00:00Z").unwrap();
    assert_eq!(listing.pick(&at, None, None, now()).unwrap().dump.manifest.object, "old.sql.gz.gpg");
    // Too old is refused, and says how old.
    let report = listing.pick(&Selector::Latest, None, Some(SignedDuration::from_hours(8)), now()).unwrap_err();
    assert!(report.kind == Kind::Refused && report.message.contains("9h"), "{report}");
    assert!(listing.pick(&Selector::Before(Timestamp::UNIX_EPOCH), None, None, now()).unwrap_err().message.contains("no dump"));
}

// G7, TRAPS 13
#[test]
fn latest_passes_over_a_dump_that_shrank_until_a_few_agree() {
    let shelf = Shelf::default();
    let with_rows = |hours: i64, rows: u64| {
        let dump = manifest("orders", &format!("o-{hours}.sql.gz.gpg"), hours);
        Manifest { tables: [("public.orders".to_owned(), TableCount { rows, bytes: rows, xxh3: None })].into(), ..dump }
    };
    for (hours, rows) in [(1, 3), (25, 1000), (49, 1010), (73, 990)] {
        place(&shelf, &with_rows(hours, rows));
    }
    let listing = list(&shelf, None, &context()).unwrap();
    let picked = listing.pick(&Selector::Latest, None, None, now()).unwrap();
    assert_eq!(picked.dump.manifest.object, "o-25.sql.gz.gpg");
    assert_eq!(picked.passed_over, ["o-1.sql.gz.gpg: it shrank, it has 3 rows where those before it had 1000"]);
    let named = listing.pick(&Selector::Name("o-1.sql.gz.gpg".into()), None, None, now()).unwrap();
    assert_eq!(named.dump.manifest.rows(), 3, "whoever names it gets it");
    for hours in 2..6 {
        place(&shelf, &with_rows(hours, 3));
    }
    let listing = list(&shelf, None, &context()).unwrap();
    assert_eq!(listing.pick(&Selector::Latest, None, None, now()).unwrap().dump.manifest.object, "o-1.sql.gz.gpg");
}

// G4: "exactly that dump".
#[test]
fn a_time_means_exactly_the_dump_of_that_time_or_an_error_that_tells_its_neighbours() {
    let shelf = Shelf::default();
    let taken = |name: &str, at: &str| {
        let dump = manifest("app", &format!("{name}.sql.gz.gpg"), 1);
        let id = format!("{:0>16}", hex::encode(name));
        let dump = Manifest { snapshot_at: at.parse().unwrap(), id, ..dump };
        place(&shelf, &dump);
        dump
    };
    let first = taken("first", "2026-03-01T03:00:04.5Z");
    let second = taken("second", "2026-03-02T03:00:09Z");
    let [twin, other] = [taken("twin", "2026-03-03T03:00:01Z"), taken("other", "2026-03-03T03:00:31Z")];
    verify::record(&proof(&first, Level::L1, false, 1), &shelf, &first, &context()).unwrap();
    let listing = list(&shelf, Some("app"), &context()).unwrap();
    let pick = |text: &str| listing.pick(&Selector::parse(text).unwrap(), None, Some(SignedDuration::from_secs(1)), now());
    let name = |text: &str| pick(text).unwrap().dump.manifest.object.clone();
    // As the listing prints it, to the second, in another zone; even one that was disproven, and however old: it was asked for.
    for text in ["2026-03-01T03:00Z", "2026-03-01T03:00:04Z", "2026-03-01T04:00+01:00", &first.id] {
        assert_eq!(name(text), first.object, "{text}");
    }
    assert_eq!(name("2026-03-03T03:00:31Z"), other.object);
    let report = pick("2026-03-03T03:00Z").unwrap_err();
    assert!(report.message.contains("there are 2 dumps of 2026-03-03T03:00Z"), "{report}");
    assert!(report.to_string().contains(&twin.id) && report.to_string().contains(&other.id), "{report}");
    let report = pick("2026-03-02T03:01Z").unwrap_err();
    assert_eq!(report.kind, Kind::Refused);
    assert_eq!(report.causes[0], format!("the one before it: {} of 2026-03-02T03:00:09Z, id {}", second.object, second.id));
    assert!(report.causes[1].starts_with(&format!("the one after it: {}", twin.object)), "{report:?}");
    let report = pick("2025-01-01T00:00Z").unwrap_err();
    assert!(report.causes.len() == 1 && report.causes[0].contains("after it: first"), "{report:?}");
}

#[test]
fn an_unknown_name_tells_its_neighbours() {
    let shelf = Shelf::default();
    assert!(find(&shelf, "x", &context()).unwrap_err().hints[0].contains("no dump at all"));
    place(&shelf, &manifest("app", "production-202603070000.sql.gz.gpg", 9));
    place(&shelf, &manifest("app", "staging-1.sql.gz.gpg", 9));
    let listing = list(&shelf, None, &context()).unwrap();
    for report in [
        find(&shelf, "production-202603070001.sql.gz.gpg", &context()).unwrap_err(),
        listing.pick(&Selector::parse("production-202603070001.sql.gz.gpg").unwrap(), None, None, now()).unwrap_err(),
    ] {
        assert_eq!(report.kind, Kind::Refused);
        assert!(report.hints[0].starts_with("there are: production-202603070000.sql.gz.gpg"), "{report:?}");
    }
    assert_eq!(find(&shelf, "staging-1.sql.gz.gpg", &context()).unwrap().manifest.job, "app");
}

#[test]
fn proofs_of_an_earlier_dump_of_that_name_do_not_count() {
    let shelf = Shelf::default();
    let dump = manifest("app", "a.sql.gz.gpg", 1);
    place(&shelf, &dump);
    let stranger = Manifest { id: "another".into(), ..dump.clone() };
    verify::record(&proof(&stranger, Level::L4, true, 1), &shelf, &dump, &context()).unwrap();
    assert!(find(&shelf, "a.sql.gz.gpg", &context()).unwrap().proofs.is_empty());
}

#[test]
fn a_garbled_proof_is_reported_and_does_not_hide_its_dump() {
    let shelf = Shelf::default();
    let dump = manifest("app", "a.sql.gz.gpg", 1);
    place(&shelf, &dump);
    shelf.place("a.sql.gz.gpg.proof-L1-20260101T000000Z.json", b"\x1b[2J", SignedDuration::ZERO);
    let listing = list(&shelf, None, &context()).unwrap();
    assert_eq!((listing.dumps.len(), listing.problems.len()), (1, 1));
    let picked = listing.pick(&Selector::Latest, None, None, now()).unwrap();
    assert!(picked.passed_over.is_empty());
    assert!(find(&shelf, "a.sql.gz.gpg", &context()).is_ok());
}

#[test]
fn a_sweep_takes_only_what_is_old_ours_and_nobodys_and_only_when_told() {
    let shelf = Shelf::default();
    let day = SignedDuration::from_hours(24);
    let dump = manifest("app", "kept.sql.gz.gpg", 9);
    place(&shelf, &dump);
    shelf.place("kept.sql.gz.gpg.proof-L1-20260101T000000Z.json", b"{}", day * 3);
    shelf.place("orphan.sql.gz.gpg", b"x", day * 3);
    shelf.place("orphan.sql.gz.gpg.proof-L1-20260101T000000Z.json", b"{}", day * 3);
    shelf.place("young.sql.gz.gpg", b"x", SignedDuration::from_hours(1));
    shelf.place("somebody-elses.txt", b"x", day * 3);
    shelf.place("lost.sql.gz.gpg.manifest.json", b"{}", day * 3);
    let upload = |key: &str, days: i64| Unfinished { key: key.into(), id: key.into(), since: Timestamp::now() - (24 * days).hours() };
    *shelf.unfinished.lock().unwrap() = vec![upload("left.dump.gz.gpg", 3), upload("running.dump.gz.gpg", 0), upload("video.mp4", 3)];
    let before = shelf.keys();
    let expected = ["orphan.sql.gz.gpg", "orphan.sql.gz.gpg.proof-L1-20260101T000000Z.json", "left.dump.gz.gpg"];
    let found = sweep(&shelf, day, Timestamp::now(), false, &context()).unwrap();
    assert_eq!(found.iter().map(|swept| swept.key.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(shelf.keys(), before, "only told, not done");
    assert_eq!(shelf.unfinished.lock().unwrap().len(), 3);
    assert_eq!(sweep(&shelf, day, Timestamp::now(), true, &context()).unwrap(), found);
    assert_eq!(shelf.keys().len(), before.len() - 2);
    assert_eq!(shelf.unfinished.lock().unwrap().len(), 2);
    assert!(sweep(&shelf, day, Timestamp::now(), true, &context()).unwrap().is_empty());
}

#[test]
fn a_time_that_is_shown_selects_what_it_was_shown_of() {
    let (shelf, cx) = (Shelf::default(), context());
    let mut dump = manifest("orders", "o-1.sql.gz.gpg", 1);
    dump.snapshot_at = "2026-03-08T11:00:50.989Z".parse().unwrap();
    place(&shelf, &dump);
    let listing = list(&shelf, Some("orders"), &cx).unwrap();
    let pick = |text: &str| listing.pick(&Selector::parse(text).unwrap(), None, None, now());
    let told = pick("2026-03-08T11:00:51Z").unwrap_err();
    let shown = told.causes[0].split(" of ").nth(1).unwrap().split(',').next().unwrap();
    assert_eq!(pick(shown).unwrap().dump.manifest.object, dump.object, "{told}");
}
