//! One suite for every store, and what can go wrong with S3. The S3 here is the box's own, spoken to over HTTP with the real SDK.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lifeboat::drill::bucket::{Bucket, Fault};
use lifeboat::port::{Context, Log, Store, Stream};
use lifeboat::report::{Kind, Report};
use lifeboat::store::local::{self, Local};
use lifeboat::store::s3::{Checksum, Credentials, S3, Settings};
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const PART: usize = 5 * MIB;

/// A store, and what it lives on.
struct Rig {
    store: Box<dyn Store>,
    cx: Context,
    bucket: Option<Bucket>,
    directory: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn local() -> Rig {
        Rig::new(|directory, _| (Box::new(Local::new(local::Settings { path: directory.join("dumps") })), None))
    }

    fn s3() -> Rig {
        Rig::s3_with(|settings| settings)
    }

    fn s3_with(change: impl FnOnce(Settings) -> Settings) -> Rig {
        Rig::new(|directory, cx| {
            let bucket = Bucket::start(directory, cx).unwrap();
            let settings = Settings { prefix: "dumps/".into(), part_size: PART as u64, concurrency: 3, ..bucket.settings() };
            (Box::new(S3::new(change(settings), cx).unwrap()), Some(bucket))
        })
    }

    fn new(make: impl FnOnce(&Path, &Context) -> (Box<dyn Store>, Option<Bucket>)) -> Rig {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let directory = tempfile::tempdir().unwrap();
        let (store, bucket) = make(directory.path(), &cx);
        Rig { store, cx, bucket, directory, _runtime: runtime }
    }

    /// The same, not yet cancelled.
    fn fresh(&self) -> Context {
        Context::new(self.cx.runtime.clone())
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<u64, Report> {
        self.store.put(key, body(bytes), &self.cx).map(|object| object.size)
    }

    fn get(&self, key: &str) -> Vec<u8> {
        read(self.store.get(key, None, &self.cx).unwrap())
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.store.list(prefix, &self.fresh()).unwrap().into_iter().map(|object| object.key).collect()
    }

    fn fault(&self, fault: Fault) {
        self.bucket.as_ref().unwrap().fault(fault);
    }

    fn heal(&self) {
        self.bucket.as_ref().unwrap().heal();
    }

    /// Neither an object nor a part of one.
    fn assert_nothing_is_left(&self) {
        assert_eq!(self.keys(""), [""; 0]);
        assert_eq!(self.store.unfinished(&self.fresh()).unwrap(), []);
        // The server may still be bringing to the disk what it received last, and only then see that nobody wants it.
        let until = Instant::now() + Duration::from_secs(20);
        while self.bucket.is_some() && files(&self.blobs()) > 0 {
            assert!(Instant::now() < until, "bytes nobody names");
            std::thread::yield_now();
        }
    }

    fn blobs(&self) -> std::path::PathBuf {
        self.directory.path().join("buckets/lifeboat-box/blobs")
    }

    /// How many parts the server has of uploads that are not complete.
    fn parts(&self) -> usize {
        let uploads = fs::read_dir(self.directory.path().join("buckets/lifeboat-box/uploads")).unwrap();
        uploads.map(|upload| files(&upload.unwrap().path()).saturating_sub(1)).sum()
    }
}

fn body(bytes: &[u8]) -> Stream {
    Box::new(Cursor::new(bytes.to_vec()))
}

fn read(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Bytes that are not the same anywhere, so that parts in the wrong order are seen.
fn pattern(size: usize) -> Vec<u8> {
    (0u64..).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(size).collect()
}

/// Gives `bytes`, telling `watch` before each read how many were read so far.
struct Watched<F> {
    bytes: Cursor<Vec<u8>>,
    watch: F,
}

impl<F: FnMut(usize) -> io::Result<()>> Read for Watched<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.watch)(usize::try_from(self.bytes.position()).unwrap())?;
        let limit = buffer.len().min(MIB);
        self.bytes.read(&mut buffer[..limit])
    }
}

fn watched(bytes: Vec<u8>, watch: impl FnMut(usize) -> io::Result<()> + Send + 'static) -> Stream {
    Box::new(Watched { bytes: Cursor::new(bytes), watch })
}

/// Gives `size` bytes, then what a dying source gives.
fn dying(size: usize) -> Stream {
    watched(pattern(size + 1), move |at| if at >= size { Err(Report::failed("pg_dump exited with 1").into()) } else { Ok(()) })
}

/// Each function is a test of every store.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod on_a_directory {
            $(#[test] fn $name() { super::$name(&super::Rig::local()); })*
        }
        mod on_s3 {
            $(#[test] fn $name() { super::$name(&super::Rig::s3()); })*
        }
    };
}

conformance!(
    what_was_put_comes_back,
    a_range_gives_exactly_its_bytes,
    what_is_not_there_is_told_apart,
    a_listing_of_more_than_a_page_is_complete_and_sorted,
    an_existing_key_is_never_replaced,
    a_key_that_comes_to_be_meanwhile_is_not_replaced,
    of_sixteen_writers_exactly_one_wins,
    a_body_that_fails_leaves_nothing,
    a_large_body_that_fails_leaves_nothing,
    a_put_cancelled_on_its_way_leaves_nothing,
    odd_keys_go_there_and_back,
    keys_that_leave_the_store_are_refused,
    deleting_twice_is_not_an_error,
    a_large_object_goes_there_and_back,
    a_reader_can_be_cancelled,
);

fn what_was_put_comes_back(rig: &Rig) {
    for size in [0, 1, 1000, 3 * MIB, PART] {
        let (key, bytes) = (format!("of/{size}"), pattern(size));
        let object = rig.store.put(&key, body(&bytes), &rig.cx).unwrap();
        assert_eq!((object.key.as_str(), object.size), (key.as_str(), size as u64));
        assert!(rig.get(&key) == bytes, "{size} bytes");
        assert_eq!(rig.store.head(&key, &rig.cx).unwrap(), Some(object));
    }
}

fn a_range_gives_exactly_its_bytes(rig: &Rig) {
    let bytes = pattern(100_000);
    rig.put("a", &bytes).unwrap();
    for range in [0..1, 0..100_000, 5..10, 65_536..65_537, 99_999..100_000, 7..7, 100_000..100_000] {
        let expected = &bytes[range.clone()];
        let range = range.start as u64..range.end as u64;
        assert!(read(rig.store.get("a", Some(range.clone()), &rig.cx).unwrap()) == expected, "{range:?}");
    }
    let beyond = read(rig.store.get("a", Some(99_990..200_000), &rig.cx).unwrap());
    assert!(beyond == bytes[99_990..], "what is beyond the end is not there");
    let nothing = rig.store.get("a", Some(100_001..100_002), &rig.cx).err().unwrap();
    assert_eq!(nothing.kind, Kind::Refused);
}

fn what_is_not_there_is_told_apart(rig: &Rig) {
    assert_eq!(rig.store.head("none", &rig.cx).unwrap(), None);
    assert_eq!(rig.store.list("", &rig.cx).unwrap(), []);
    for range in [None, Some(0..5), Some(0..0)] {
        let report = rig.store.get("none", range, &rig.cx).err().unwrap();
        assert_eq!((report.kind, report.message.contains("there is no none")), (Kind::Refused, true), "{report}");
    }
    rig.put("some", b"1").unwrap();
    assert_eq!(rig.store.head("some/thing", &rig.cx).unwrap(), None);
}

fn a_listing_of_more_than_a_page_is_complete_and_sorted(rig: &Rig) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let n @ 0..1005 = next.fetch_add(1, Ordering::Relaxed) {
                    rig.put(&format!("many/{n:04}"), b"x").unwrap();
                }
            });
        }
    });
    rig.put("many-more", b"xy").unwrap();
    let expected: Vec<String> = (0..1005).map(|n| format!("many/{n:04}")).collect();
    assert_eq!(rig.keys("many/"), expected);
    assert_eq!(rig.keys("many"), [vec!["many-more".into()], expected].concat());
    assert_eq!(rig.keys("many/0999"), ["many/0999"]);
    assert_eq!(rig.keys("None"), [""; 0]);
    assert_eq!(rig.store.list("many-", &rig.cx).unwrap()[0].size, 2);
}

fn an_existing_key_is_never_replaced(rig: &Rig) {
    rig.put("a", b"first").unwrap();
    let report = rig.put("a", b"second").unwrap_err();
    assert_eq!((report.kind, report.message.contains("a exists already")), (Kind::Refused, true), "{report}");
    assert_eq!(rig.get("a"), b"first");
}

/// The question "is it there?" was asked long before the upload is completed: it must be asked again in the same breath.
fn a_key_that_comes_to_be_meanwhile_is_not_replaced(rig: &Rig) {
    for size in [10, PART + 10] {
        let key = format!("of/{size}");
        std::thread::scope(|scope| {
            let (begun, wait_begun) = std::sync::mpsc::channel();
            let (done, wait_done) = std::sync::mpsc::channel();
            let late = {
                let key = key.clone();
                scope.spawn(move || {
                    let body = watched(pattern(size), move |at| {
                        if at == 0 {
                            begun.send(()).unwrap();
                            wait_done.recv().unwrap();
                        }
                        Ok(())
                    });
                    rig.store.put(&key, body, &rig.cx)
                })
            };
            wait_begun.recv().unwrap();
            rig.put(&key, b"quick").unwrap();
            done.send(()).unwrap();
            let report = late.join().unwrap().unwrap_err();
            assert_eq!((report.kind, report.message.contains("exists already")), (Kind::Refused, true), "{report}");
        });
        assert_eq!(rig.get(&key), b"quick");
        assert_eq!(rig.store.unfinished(&rig.cx).unwrap(), []);
    }
}

fn of_sixteen_writers_exactly_one_wins(rig: &Rig) {
    let barrier = std::sync::Barrier::new(16);
    let outcomes: Vec<(u8, Result<u64, Report>)> = std::thread::scope(|scope| {
        let writer = |n: u8| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                (n, rig.put("contended", &vec![n; 1000]))
            })
        };
        let writers: Vec<_> = (0..16).map(writer).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let winners: Vec<u8> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(rig.get("contended"), vec![winners[0]; 1000]);
    for report in outcomes.into_iter().filter_map(|(_, outcome)| outcome.err()) {
        assert_eq!((report.kind, report.message.contains("exists already")), (Kind::Refused, true), "{report}");
    }
}

fn a_body_that_fails_leaves_nothing(rig: &Rig) {
    let report = rig.store.put("a", dying(1000), &rig.cx).unwrap_err();
    assert_eq!(report.message, "pg_dump exited with 1", "the cause, not that reading failed");
    rig.assert_nothing_is_left();
}

fn a_large_body_that_fails_leaves_nothing(rig: &Rig) {
    // At the end of a part too: what looks like a whole number of parts is not an end.
    for size in [2 * PART + 1000, 3 * PART] {
        let report = rig.store.put("a", dying(size), &rig.cx).unwrap_err();
        assert_eq!(report.message, "pg_dump exited with 1");
        rig.assert_nothing_is_left();
    }
}

fn a_put_cancelled_on_its_way_leaves_nothing(rig: &Rig) {
    for size in [1000, 3 * PART] {
        let cx = rig.fresh();
        let cancel = cx.cancel.clone();
        let body = watched(pattern(2 * size), move |at| {
            if at >= size {
                cancel.cancel();
            }
            Ok(())
        });
        assert_eq!(rig.store.put("a", body, &cx).unwrap_err().kind, Kind::Cancelled);
        rig.assert_nothing_is_left();
    }
}

fn odd_keys_go_there_and_back(rig: &Rig) {
    let keys = ["plain", "a b", "plus+and%20", "ü/日本/é", "quote\"'<>&", "a=b?c#d", "..dots..", "tilde~!*()$,;:@", "-dash", "back\\slash"];
    for key in keys {
        rig.put(key, key.as_bytes()).unwrap();
        assert_eq!(rig.get(key), key.as_bytes());
        assert_eq!(rig.keys(key), [key]);
    }
    let sorted: BTreeSet<&str> = keys.into();
    assert_eq!(rig.keys(""), sorted.into_iter().collect::<Vec<_>>());
    for key in keys {
        rig.store.delete(key, &rig.cx).unwrap();
    }
    rig.assert_nothing_is_left();
}

fn keys_that_leave_the_store_are_refused(rig: &Rig) {
    for key in ["", "../a", "/a", "a/../b", "a/", "a\nb"] {
        assert_eq!(rig.put(key, b"x").unwrap_err().kind, Kind::Refused, "{key:?}");
        assert_eq!(rig.store.head(key, &rig.cx).unwrap_err().kind, Kind::Refused, "{key:?}");
        assert_eq!(rig.store.delete(key, &rig.cx).unwrap_err().kind, Kind::Refused, "{key:?}");
        assert!(rig.store.get(key, None, &rig.cx).is_err(), "{key:?}");
    }
}

fn deleting_twice_is_not_an_error(rig: &Rig) {
    rig.put("a", b"x").unwrap();
    rig.put("ab", b"y").unwrap();
    rig.store.delete("a", &rig.cx).unwrap();
    rig.store.delete("a", &rig.cx).unwrap();
    assert_eq!(rig.keys(""), ["ab"]);
    rig.put("a", b"again").unwrap();
}

fn a_large_object_goes_there_and_back(rig: &Rig) {
    let bytes = pattern(8 * PART + 12_345);
    assert_eq!(rig.put("large", &bytes).unwrap(), bytes.len() as u64);
    assert!(rig.get("large") == bytes);
    let (start, end) = (2 * PART - 1, 3 * PART + 1);
    let middle = read(rig.store.get("large", Some(start as u64..end as u64), &rig.cx).unwrap());
    assert!(middle == bytes[start..end], "over the edges of parts");
    assert_eq!(rig.store.unfinished(&rig.cx).unwrap(), []);
}

fn a_reader_can_be_cancelled(rig: &Rig) {
    rig.put("a", &pattern(3 * MIB)).unwrap();
    let cx = rig.fresh();
    let mut stream = rig.store.get("a", None, &cx).unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
    cx.cancel.cancel();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(Report::from_io("reading", error).kind, Kind::Cancelled);
}

// ---- a directory ----

#[test]
fn what_a_crash_leaves_in_a_directory_is_unfinished_and_nothing_else() {
    let rig = Rig::local();
    let path = rig.directory.path().join("dumps");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "store::writes_until_it_is_killed"])
        .env("LIFEBOAT_TEST_DIRECTORY", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while rig.store.unfinished(&rig.cx).unwrap().is_empty() {
        assert!(Instant::now() < until, "the child never began to write");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rig.keys(""), [""; 0]);
    let left = rig.store.unfinished(&rig.cx).unwrap();
    assert_eq!(left.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["sub/dump.sql"]);
    rig.store.abort(&left[0], &rig.cx).unwrap();
    rig.store.abort(&left[0], &rig.cx).unwrap();
    rig.assert_nothing_is_left();
    rig.put("sub/dump.sql", b"whole").unwrap();
}

#[test]
#[ignore = "the child of the test above"]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os("LIFEBOAT_TEST_DIRECTORY") else { return };
    let rig = Rig::local();
    Local::new(local::Settings { path: path.into() }).put("sub/dump.sql", Box::new(io::repeat(0)), &rig.cx).unwrap();
}

#[test]
fn aborting_removes_nothing_but_temporary_files() {
    let rig = Rig::local();
    rig.put("a", b"precious").unwrap();
    fs::write(rig.directory.path().join(".lifeboat-abcdefgh.x"), "outside").unwrap();
    for id in ["a", "../.lifeboat-abcdefgh.x", "/etc/passwd"] {
        let upload = lifeboat::port::Unfinished { key: "a".into(), id: id.into(), since: jiff::Timestamp::now() };
        assert_eq!(rig.store.abort(&upload, &rig.cx).unwrap_err().kind, Kind::Refused, "{id}");
    }
    assert_eq!(rig.get("a"), b"precious");
    assert!(rig.put(".lifeboat-abcdefgh.x", b"x").is_err(), "it would never be listed");
}

// ---- S3 ----

fn report<T>(outcome: Result<T, Report>) -> Report {
    outcome.err().unwrap()
}

#[test]
fn never_more_than_the_parts_in_flight_and_one_are_held() {
    let rig = Rig::s3();
    let rig = &rig;
    std::thread::scope(|scope| {
        let (ask, asked) = std::sync::mpsc::channel::<usize>();
        let (go, wait) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let body = watched(pattern(12 * PART), move |at| {
                if at % PART == 0 {
                    ask.send(at / PART).unwrap();
                    wait.recv().unwrap();
                }
                Ok(())
            });
            rig.store.put("large", body, &rig.cx).unwrap();
        });
        let mut seen = 0;
        for read in asked {
            // Three are in flight: all before them have arrived before another one is begun.
            let stored = rig.parts();
            assert!(read == 12 || stored + 3 >= read, "{read} parts were read while only {stored} had arrived");
            seen += 1;
            go.send(()).unwrap();
        }
        assert!(seen >= 12);
    });
}

#[test]
fn wrong_keys_are_named_and_not_shown() {
    let rig = Rig::s3();
    let bucket = rig.bucket.as_ref().unwrap();
    let path = rig.directory.path().join("wrong");
    for (access, secret, word) in [(bucket.access_key(), "hunter2", "secret key"), ("NOBODY", bucket.secret_key(), "access key")] {
        fs::write(&path, format!("access_key_id={access}\nsecret_access_key={secret}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let store = S3::new(Settings { credentials: Credentials::File(path.clone()), ..bucket.settings() }, &rig.cx).unwrap();
        for report in
            [report(store.list("", &rig.cx)), report(store.put("a", dying(10 * PART), &rig.cx)), report(store.unfinished(&rig.cx))]
        {
            let text = format!("{report:?}");
            assert!(!text.contains("hunter2") && !text.contains(bucket.secret_key()), "{text}");
        }
        assert!(report(store.list("", &rig.cx)).message.contains(word));
        assert!(!format!("{store:?}").contains(secret));
    }
}

#[test]
fn a_missing_bucket_is_not_an_empty_one() {
    let rig = Rig::s3_with(|settings| Settings { bucket: "elsewhere".into(), ..settings });
    let (store, cx) = (&rig.store, &rig.cx);
    let upload = lifeboat::port::Unfinished { key: "a".into(), id: "1".into(), since: jiff::Timestamp::now() };
    for report in [
        report(store.head("a", cx)),
        report(store.list("", cx)),
        report(store.get("a", None, cx)),
        report(store.put("a", body(b"x"), cx)),
        report(store.put("a", body(&pattern(PART)), cx)),
        report(store.delete("a", cx)),
        report(store.unfinished(cx)),
        report(store.abort(&upload, cx)),
    ] {
        assert!(report.message.starts_with("the bucket `elsewhere` does not exist at http://127.0.0.1:"), "{report}");
        assert!(report.hints[0].contains("s3 mb s3://elsewhere"), "{report:?}");
    }
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let rig = Rig::s3_with(|settings| Settings { endpoint: Some("http://127.0.0.1:1".into()), ..settings });
    let report = report(rig.store.list("", &rig.cx));
    assert!(report.message.starts_with("http://127.0.0.1:1 cannot be reached"), "{report}");
    assert!(report.causes.iter().any(|cause| cause.contains("refused")), "{report}");
}

#[test]
fn a_refused_write_names_the_right_that_is_missing() {
    let rig = Rig::s3();
    rig.fault(Fault::RefuseWrites);
    for size in [10, 2 * PART] {
        let report = rig.put("a", &pattern(size)).unwrap_err();
        assert!(report.message.contains("does not allow") && report.message.contains("`lifeboat-box`"), "{report}");
        assert!(report.hints[0].contains("s3:PutObject on arn:aws:s3:::lifeboat-box/*"), "{report:?}");
    }
    let report = report(rig.store.delete("a", &rig.cx));
    assert!(report.hints[0].contains("s3:DeleteObject"), "{report:?}");
    rig.heal();
    rig.put("a", b"x").unwrap();
}

#[test]
fn a_full_store_and_a_wrong_clock_are_named() {
    let rig = Rig::s3();
    rig.fault(Fault::FullDisk);
    assert!(rig.put("a", b"x").unwrap_err().message.starts_with("no space left in http://127.0.0.1:"));
    rig.heal();
    rig.fault(Fault::SkewedClock);
    assert!(report(rig.store.list("", &rig.cx)).message.contains("clock"));
}

#[test]
fn a_busy_store_and_cut_connections_are_tried_again() {
    let rig = Rig::s3();
    let bytes = pattern(2 * PART + 5);
    for (key, fault) in [("slow", Fault::SlowDown(2)), ("cut", Fault::CutUploads(2))] {
        rig.fault(fault);
        rig.put(key, &bytes).unwrap();
        assert!(rig.get(key) == bytes, "{key}");
    }
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let rig = Rig::s3();
    let bytes = pattern(3 * MIB);
    rig.put("a", &bytes).unwrap();
    rig.fault(Fault::CutDownloads { times: 2, after: 1_000_000 });
    let (say, said) = std::sync::mpsc::channel();
    let cx = Context { log: Log::to(move |_, line| say.send(line.to_owned()).unwrap()), ..rig.fresh() };
    assert!(read(rig.store.get("a", None, &cx).unwrap()) == bytes);
    drop(cx);
    let said: Vec<String> = said.iter().collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("reading a broke at byte "), "{said:?}");
}

#[test]
fn a_download_that_breaks_for_good_is_an_error_and_not_an_end() {
    let rig = Rig::s3();
    rig.put("a", &pattern(3 * MIB)).unwrap();
    rig.fault(Fault::CutDownloads { times: u32::MAX, after: 1000 });
    let mut stream = rig.store.get("a", None, &rig.cx).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    let report = Report::from_io("reading", error);
    assert!(report.message.contains("a ends") && report.message.contains("bytes early"), "{report}");
}

#[test]
fn an_object_that_changed_while_it_was_read_is_not_read_on() {
    let rig = Rig::s3();
    rig.put("a", &pattern(3 * MIB)).unwrap();
    rig.fault(Fault::CutDownloads { times: 1, after: 1000 });
    let mut stream = rig.store.get("a", None, &rig.cx).unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
    rig.store.delete("a", &rig.cx).unwrap();
    rig.put("a", &vec![7; 3 * MIB]).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("was replaced while it was read"), "{error}");
}

#[test]
fn an_answer_lost_after_the_object_was_stored_is_a_success() {
    let rig = Rig::s3();
    for size in [10, 2 * PART] {
        let (key, bytes) = (format!("of/{size}"), pattern(size));
        rig.fault(Fault::LoseAnswers(1));
        rig.put(&key, &bytes).unwrap();
        assert!(rig.get(&key) == bytes);
        assert_eq!(rig.store.unfinished(&rig.cx).unwrap(), []);
    }
}

#[test]
fn an_error_inside_an_answer_of_200_is_an_error() {
    let rig = Rig::s3();
    rig.fault(Fault::FailCompletions(u32::MAX));
    let report = rig.put("a", &pattern(2 * PART)).unwrap_err();
    assert!(report.causes.iter().any(|cause| cause.contains("InternalError")), "{report}");
    rig.heal();
    rig.assert_nothing_is_left();
}

#[test]
fn a_completion_that_fails_once_is_tried_again() {
    let rig = Rig::s3();
    rig.fault(Fault::FailCompletions(1));
    let bytes = pattern(2 * PART);
    rig.put("a", &bytes).unwrap();
    assert!(rig.get("a") == bytes);
}

#[test]
fn what_the_store_holds_is_compared_and_taken_back_when_it_differs() {
    let rig = Rig::s3();
    for size in [10, 2 * PART] {
        rig.fault(Fault::CutObjects(1));
        let report = rig.put("a", &pattern(size)).unwrap_err();
        assert!(report.message.contains(&format!("a has {} bytes in the store where {size} were sent", size - 1)), "{report}");
        rig.assert_nothing_is_left();
        rig.fault(Fault::GarbleObjects(1));
        let report = rig.put("a", &pattern(size)).unwrap_err();
        assert!(report.message.contains("another checksum"), "{report}");
        rig.assert_nothing_is_left();
    }
}

#[test]
fn an_upload_that_could_not_be_taken_back_is_said_and_found_later() {
    let rig = Rig::s3();
    let bucket = rig.bucket.as_ref().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel();
    let report = std::thread::scope(|scope| {
        let rig = &rig;
        let put = scope.spawn(move || {
            let body = watched(pattern(3 * PART), move |at| {
                if at == 2 * PART {
                    tell.send(()).unwrap();
                    wait.recv().unwrap();
                    return Err(io::Error::other("the source died"));
                }
                Ok(())
            });
            rig.store.put("a", body, &rig.cx)
        });
        told.recv().unwrap();
        bucket.fault(Fault::RefuseWrites);
        go.send(()).unwrap();
        report(put.join().unwrap())
    });
    assert!(report.causes.iter().any(|cause| cause.contains("could not be taken back")), "{report}");
    assert!(report.hints.iter().any(|hint| hint.contains("abort-multipart-upload")), "{report:?}");
    bucket.heal();
    let left = rig.store.unfinished(&rig.cx).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, "a");
    assert!(left[0].since <= jiff::Timestamp::now());
    rig.store.abort(&left[0], &rig.cx).unwrap();
    rig.store.abort(&left[0], &rig.cx).unwrap();
    rig.assert_nothing_is_left();
}

#[test]
fn an_aborted_upload_leaves_although_everything_was_cancelled_long_ago() {
    let rig = Rig::s3();
    let cx = rig.fresh();
    let cancel = cx.cancel.clone();
    // The source sees the cancellation first and fails: the report says cancelled all the same.
    let body = watched(pattern(4 * PART), move |at| {
        if at >= 2 * PART {
            cancel.cancel();
            return Err(Report::cancelled().into());
        }
        Ok(())
    });
    assert_eq!(rig.store.put("a", body, &cx).unwrap_err().kind, Kind::Cancelled);
    rig.assert_nothing_is_left();
}

#[test]
fn a_store_without_checksums_is_served_as_well() {
    let rig = Rig::s3_with(|settings| Settings { checksum: Checksum::None, ..settings });
    for size in [10, 2 * PART] {
        let (key, bytes) = (format!("of/{size}"), pattern(size));
        rig.put(&key, &bytes).unwrap();
        assert!(rig.get(&key) == bytes);
    }
}

#[test]
fn a_prefix_is_a_store_of_its_own() {
    let rig = Rig::s3();
    let bucket = rig.bucket.as_ref().unwrap();
    let whole = S3::new(bucket.settings(), &rig.cx).unwrap();
    rig.put("a", b"mine").unwrap();
    whole.put("dumps-other/a", body(b"another's"), &rig.cx).unwrap();
    assert_eq!(rig.keys(""), ["a"]);
    let keys: Vec<String> = whole.list("", &rig.cx).unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["dumps-other/a", "dumps/a"]);
}

#[test]
fn a_restarted_bucket_still_has_everything() {
    let mut rig = Rig::s3();
    let large = pattern(2 * PART + 1);
    rig.put("small", b"1").unwrap();
    rig.put("large", &large).unwrap();
    let before = rig.store.list("", &rig.cx).unwrap();
    let (endpoint, keys) = {
        let bucket = rig.bucket.as_ref().unwrap();
        (bucket.endpoint(), (bucket.access_key().to_owned(), bucket.secret_key().to_owned()))
    };
    fs::write(rig.blobs().join("orphan"), "what a crash leaves").unwrap();
    rig.bucket = None;
    let bucket = Bucket::start(rig.directory.path(), &rig.cx).unwrap();
    assert_eq!((bucket.access_key(), bucket.secret_key()), (keys.0.as_str(), keys.1.as_str()));
    assert!(!rig.blobs().join("orphan").exists());
    if bucket.endpoint() == endpoint {
        assert_eq!(rig.store.list("", &rig.cx).unwrap(), before, "the same port: the configuration is still true");
    }
    let settings = Settings { prefix: "dumps/".into(), ..bucket.settings() };
    rig.store = Box::new(S3::new(settings, &rig.cx).unwrap());
    rig.bucket = Some(bucket);
    assert_eq!(rig.store.list("", &rig.cx).unwrap(), before);
    assert!(rig.get("large") == large);
    assert!(rig.put("large", b"x").is_err());
}

#[test]
fn two_servers_never_share_a_directory() {
    let rig = Rig::s3();
    assert_eq!(report(Bucket::start(rig.directory.path(), &rig.cx)).kind, Kind::Busy);
}

#[test]
fn damage_is_done_behind_the_stores_back() {
    let rig = Rig::s3();
    let bytes = pattern(PART + 10);
    rig.put("cut", &bytes).unwrap();
    rig.put("flipped", &bytes).unwrap();
    let bucket = rig.bucket.as_ref().unwrap();
    bucket.truncate("dumps/cut", 1000).unwrap();
    assert!(rig.get("cut") == bytes[..1000]);
    assert_eq!(rig.store.head("cut", &rig.cx).unwrap().unwrap().size, 1000);
    bucket.flip("dumps/flipped", PART as u64 + 3).unwrap();
    let damaged = rig.get("flipped");
    let differing: Vec<usize> = (0..bytes.len()).filter(|at| damaged[*at] != bytes[*at]).collect();
    assert_eq!(differing, [PART + 3]);
}

#[test]
fn a_store_that_replaces_what_it_should_not_is_found_out() {
    let rig = Rig::s3();
    let bucket = rig.bucket.as_ref().unwrap();
    let store = S3::new(Settings { prefix: "dumps/".into(), ..bucket.settings() }, &rig.cx).unwrap();
    assert!(store.refuses_to_replace(&rig.cx).unwrap());
    rig.assert_nothing_is_left();
    bucket.fault(Fault::IgnoreConditions);
    assert!(!store.refuses_to_replace(&rig.cx).unwrap());
    rig.assert_nothing_is_left();
    // Where the store does not help, at least what was there before is seen.
    rig.put("a", b"first").unwrap();
    assert_eq!(rig.put("a", b"second").unwrap_err().kind, Kind::Refused);
    assert_eq!(rig.get("a"), b"first");
}
