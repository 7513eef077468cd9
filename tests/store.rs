//! The conformance suite on the stores that need nothing to be installed, and what can go wrong with each of them. The S3 here is the box's own, spoken to over HTTP with the real SDK.

pub mod conformance;
mod faults;
pub mod scripted;

use std::fs;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::drill::bucket::{Bucket, Fault};
use lifeboat::port::{Context, Log, Store};
use lifeboat::report::{Kind, Report};
use lifeboat::store::local::{self, Local};
use lifeboat::store::s3::{Checksum, Conditional, Credentials, S3, Settings};
use tempfile::TempDir;

use self::conformance::{Can, MIB, PART, Rig, body, conformance, dying, pattern, read, watched};

conformance!(on_a_directory, on_a_directory_rig);
conformance!(on_s3, on_s3_rig);

fn on_a_directory_rig() -> Rig {
    Stand::local().into()
}

fn on_s3_rig() -> Rig {
    Stand::s3().into()
}

/// A rig, and what it stands on, for what only this store can do.
struct Stand {
    rig: Rig,
    bucket: Option<Bucket>,
    directory: TempDir,
}

impl Stand {
    fn local() -> Stand {
        Stand::new(|directory, _| {
            fs::create_dir(directory.join("dumps")).unwrap();
            (Box::new(Local::new(local::Settings { path: directory.join("dumps") })), None)
        })
    }

    fn s3() -> Stand {
        Stand::s3_with(|settings| settings)
    }

    fn s3_with(change: impl FnOnce(Settings) -> Settings) -> Stand {
        Stand::new(|directory, cx| {
            let bucket = Bucket::start(directory, cx).unwrap();
            let settings = Settings { prefix: "dumps/".into(), part_size: PART as u64, concurrency: 3, ..bucket.settings() };
            (Box::new(S3::new(change(settings), cx).unwrap()), Some(bucket))
        })
    }

    fn new(make: impl FnOnce(&Path, &Context) -> (Box<dyn Store>, Option<Bucket>)) -> Stand {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let directory = tempfile::tempdir().unwrap();
        let (store, bucket) = make(directory.path(), &cx);
        let can = Can { refuse_to_replace: true, list_uploads: true };
        let blobs = blobs(directory.path());
        let orphans = Box::new(move || if blobs.is_dir() { files(&blobs) } else { 0 });
        Stand { rig: Rig { store, cx, can, orphans, keep: Box::new(runtime) }, bucket, directory }
    }

    fn fault(&self, fault: Fault) {
        self.bucket.as_ref().unwrap().fault(fault);
    }

    fn heal(&self) {
        self.bucket.as_ref().unwrap().heal();
    }

    fn blobs(&self) -> PathBuf {
        blobs(self.directory.path())
    }

    /// How many parts the server has of uploads that are not complete.
    fn parts(&self) -> usize {
        let uploads = fs::read_dir(self.directory.path().join("buckets/lifeboat-box/uploads")).unwrap();
        uploads.map(|upload| files(&upload.unwrap().path()).saturating_sub(1)).sum()
    }
}

impl Deref for Stand {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for Stand {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

impl From<Stand> for Rig {
    fn from(Stand { rig, bucket, directory }: Stand) -> Rig {
        Rig { keep: Box::new((bucket, directory, rig.keep)), ..rig }
    }
}

fn blobs(directory: &Path) -> PathBuf {
    directory.join("buckets/lifeboat-box/blobs")
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

// ---- a directory ----

#[test]
fn what_a_crash_leaves_in_a_directory_is_unfinished_and_nothing_else() {
    let rig = Stand::local();
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
    let rig = Stand::local();
    Local::new(local::Settings { path: path.into() }).put("sub/dump.sql", Box::new(io::repeat(0)), &rig.cx).unwrap();
}

/// Runs a test of this binary that is otherwise ignored, behind `wrapper`; that it ran, and well, is seen.
fn child(name: &str, wrapper: &[&str], directory: &Path) -> std::process::Output {
    let binary = std::env::current_exe().unwrap();
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(binary).args(["--ignored", "--exact", name]).env("LIFEBOAT_TEST_DIRECTORY", directory);
    command.output().unwrap()
}

fn assert_one_passed(output: &std::process::Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

// D4
#[test]
fn a_file_system_that_fills_up_keeps_nothing_of_what_did_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    // A file system of 4 MiB nobody else sees, gone with the child; without rights of one's own, as root of a user's namespace.
    let unshare = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let script = "mount -t tmpfs -o size=4m tmpfs \"$LIFEBOAT_TEST_DIRECTORY\" || exit 77; exec \"$@\"";
    let mounted = child("store::fills_what_there_is", &["unshare", unshare, "sh", "-c", script, "sh"], directory.path());
    if mounted.status.code() == Some(77) || String::from_utf8_lossy(&mounted.stderr).contains("unshare failed") {
        eprintln!("no file system may be mounted here: only the limit on a file's size was tried");
    } else {
        assert_one_passed(&mounted);
    }
    // Where no mount is allowed, and beside it: a file that may not grow is a disk that is full.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    assert_one_passed(&child("store::fills_what_there_is", &["bash", "-c", script, "bash"], directory.path()));
}

#[test]
#[ignore = "the child of the test above"]
fn fills_what_there_is() {
    let Some(path) = std::env::var_os("LIFEBOAT_TEST_DIRECTORY") else { return };
    let rig = Stand::local();
    let directory = PathBuf::from(path).join("dumps");
    fs::create_dir_all(&directory).unwrap();
    let store = Local::new(local::Settings { path: directory });
    for _ in 0..2 {
        let report = store.put("sub/dump.sql", body(&pattern(8 * MIB)), &rig.cx).unwrap_err();
        assert!(report.message.starts_with("no space left in ") && report.message.contains("bytes free"), "{report}");
        assert!(report.hints[0].starts_with("df -h "), "{report:?}");
        assert_eq!(store.list("", &rig.cx).unwrap(), []);
        assert_eq!(store.unfinished(&rig.cx).unwrap(), []);
    }
    // What fits goes in, until there is only what is left for others.
    let mut stored = 0;
    let report = loop {
        match store.put(&format!("small/{stored}"), body(&pattern(MIB / 2)), &rig.cx) {
            Ok(_) if stored < 10 => stored += 1,
            Ok(_) => return,
            Err(report) => break report,
        }
    };
    assert!(stored > 0 && report.message.starts_with("no space left in "), "{stored} {report}");
    assert_eq!(store.list("", &rig.cx).unwrap().len(), stored);
    assert_eq!(store.unfinished(&rig.cx).unwrap(), []);
}

#[test]
fn what_is_stored_in_a_directory_is_for_its_owner_alone() {
    let rig = Stand::local();
    rig.put("sub/dump.sql", b"x").unwrap();
    let mode = |path: &str| fs::metadata(rig.directory.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("dumps/sub"), mode("dumps/sub/dump.sql")), (0o700, 0o600));
}

#[test]
fn aborting_removes_nothing_but_temporary_files() {
    let rig = Stand::local();
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
    let rig = Stand::s3();
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
    let rig = Stand::s3();
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
    let rig = Stand::s3_with(|settings| Settings { bucket: "elsewhere".into(), ..settings });
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
    let rig = Stand::s3_with(|settings| Settings { endpoint: Some("http://127.0.0.1:1".into()), ..settings });
    let report = report(rig.store.list("", &rig.cx));
    assert!(report.message.starts_with("http://127.0.0.1:1 cannot be reached"), "{report}");
    assert!(report.causes.iter().any(|cause| cause.contains("refused")), "{report}");
}

#[test]
fn a_refused_write_names_the_right_that_is_missing() {
    let rig = Stand::s3();
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
    let rig = Stand::s3();
    rig.fault(Fault::FullDisk);
    assert!(rig.put("a", b"x").unwrap_err().message.starts_with("no space left in http://127.0.0.1:"));
    rig.heal();
    rig.fault(Fault::SkewedClock);
    assert!(report(rig.store.list("", &rig.cx)).message.contains("clock"));
}

#[test]
fn a_busy_store_and_cut_connections_are_tried_again() {
    let rig = Stand::s3();
    let bytes = pattern(2 * PART + 5);
    for (key, fault) in [("slow", Fault::SlowDown(2)), ("cut", Fault::CutUploads(2))] {
        rig.fault(fault);
        rig.put(key, &bytes).unwrap();
        assert!(rig.get(key) == bytes, "{key}");
    }
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let rig = Stand::s3();
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
    let rig = Stand::s3();
    rig.put("a", &pattern(3 * MIB)).unwrap();
    rig.fault(Fault::CutDownloads { times: u32::MAX, after: 1000 });
    let mut stream = rig.store.get("a", None, &rig.cx).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    let report = Report::from_io("reading", error);
    assert!(report.message.contains("a ends") && report.message.contains("bytes early"), "{report}");
}

#[test]
fn an_object_that_changed_while_it_was_read_is_not_read_on() {
    let rig = Stand::s3();
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
    let rig = Stand::s3();
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
    let rig = Stand::s3();
    rig.fault(Fault::FailCompletions(u32::MAX));
    let report = rig.put("a", &pattern(2 * PART)).unwrap_err();
    assert!(report.causes.iter().any(|cause| cause.contains("InternalError")), "{report}");
    rig.heal();
    rig.assert_nothing_is_left();
}

#[test]
fn a_completion_that_fails_once_is_tried_again() {
    let rig = Stand::s3();
    rig.fault(Fault::FailCompletions(1));
    let bytes = pattern(2 * PART);
    rig.put("a", &bytes).unwrap();
    assert!(rig.get("a") == bytes);
}

#[test]
fn what_the_store_holds_is_compared_and_taken_back_when_it_differs() {
    let rig = Stand::s3();
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
    let rig = Stand::s3();
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
    let rig = Stand::s3();
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
    let rig = Stand::s3_with(|settings| Settings { checksum: Checksum::None, ..settings });
    for size in [10, 2 * PART] {
        let (key, bytes) = (format!("of/{size}"), pattern(size));
        rig.put(&key, &bytes).unwrap();
        assert!(rig.get(&key) == bytes);
    }
}

#[test]
fn a_prefix_is_a_store_of_its_own() {
    let rig = Stand::s3();
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
    let mut rig = Stand::s3();
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
    let rig = Stand::s3();
    assert_eq!(report(Bucket::start(rig.directory.path(), &rig.cx)).kind, Kind::Busy);
}

#[test]
fn damage_is_done_behind_the_stores_back() {
    let rig = Stand::s3();
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

const PROBE: &str = ".lifeboat/probe-conditional";

/// A store on the same bucket that finds out by itself, and what it said in doing so.
fn probing(rig: &Stand) -> (S3, Context, std::sync::mpsc::Receiver<String>) {
    let settings = Settings { prefix: "dumps/".into(), conditional: Conditional::Probe, ..rig.bucket.as_ref().unwrap().settings() };
    let (say, said) = std::sync::mpsc::channel();
    let cx = Context { log: Log::to(move |_, line| say.send(line.to_owned()).unwrap()), ..rig.fresh() };
    (S3::new(settings, &cx).unwrap(), cx, said)
}

#[test]
fn a_store_that_replaces_what_it_should_not_is_found_out_once_and_said() {
    let rig = Stand::s3();
    let (store, cx, said) = probing(&rig);
    assert!(store.refuses_to_replace(&cx).unwrap());
    store.put("a", body(b"first"), &cx).unwrap();
    store.put("b", body(b"first"), &cx).unwrap();
    assert!(said.try_recv().unwrap().contains("refuses to replace an object"));
    assert!(said.try_recv().is_err(), "asked once");
    rig.fault(Fault::IgnoreConditions);
    let (store, cx, said) = probing(&rig);
    assert!(!store.refuses_to_replace(&cx).unwrap());
    // Where the store does not help, at least what was there before is seen.
    assert_eq!(report(store.put("a", body(b"second"), &cx)).kind, Kind::Refused);
    assert_eq!(rig.get("a"), b"first");
    store.put("c", body(b"third"), &cx).unwrap();
    assert!(said.try_recv().unwrap().contains("would replace an object"));
}

// D9
#[test]
fn however_often_a_store_is_asked_one_small_object_is_all_that_is_left_of_it() {
    let rig = Stand::s3();
    for _ in 0..3 {
        let (store, cx, _) = probing(&rig);
        assert!(store.refuses_to_replace(&cx).unwrap());
    }
    let left: Vec<(String, u64)> = rig.store.list("", &rig.cx).unwrap().into_iter().map(|object| (object.key, object.size)).collect();
    assert_eq!(left, [(PROBE.to_owned(), 1)]);
    assert_eq!(files(&rig.blobs()), 1);
}

/// The question "is it there?" is asked again after the body was read, also where the store does not refuse by itself.
#[test]
fn a_store_that_does_not_refuse_is_looked_at_again_before_it_replaces() {
    for conditional in [Conditional::Probe, Conditional::No] {
        let rig = Stand::s3_with(|settings| Settings { conditional, ..settings });
        rig.fault(Fault::IgnoreConditions);
        conformance::a_key_that_comes_to_be_meanwhile_is_not_replaced(&rig);
    }
}
