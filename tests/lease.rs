//! Leases on real stores and by real processes: one at a time, whoever dies, sleeps, lies or is taken from.

use std::fs;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat::drill::bucket::{Bucket, Fault};
use lifeboat::pipeline::backup::{Order, backup};
use lifeboat::pipeline::catalogue;
use lifeboat::pipeline::lease::record::{self, Ledger, PREFIX, Place, Record, State};
use lifeboat::pipeline::lease::{self, Claim, Lease};
use lifeboat::pipeline::manifest::{Compression, Format, Manifest, Origin};
use lifeboat::pipeline::openpgp::PublicKeys;
use lifeboat::port::{Context, Object, Source, Store, Stream, Unfinished};
use lifeboat::report::{Kind, Report, Result};
use lifeboat::store::local::{self, Local};
use lifeboat::store::s3::S3;
use tempfile::TempDir;

use crate::cli::stand::Case;
use crate::pipeline::keys::keys;
use crate::stage;
use crate::victim::{kill, until};

const OBJECT: &str = "production-202611210200.sql.gz.gpg";

/// A store, and directories for hosts of one's own.
struct Rig {
    store: Arc<dyn Store>,
    bucket: Option<Bucket>,
    cx: Context,
    dir: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn s3() -> Rig {
        Rig::new(|dir, cx| {
            let bucket = Bucket::start(dir, cx).unwrap();
            (Arc::new(S3::new(bucket.settings(), cx).unwrap()), Some(bucket))
        })
    }

    fn local() -> Rig {
        Rig::new(|dir, _| {
            fs::create_dir(dir.join("dumps")).unwrap();
            (Arc::new(Local::new(local::Settings { path: dir.join("dumps") })), None)
        })
    }

    fn both() -> [Rig; 2] {
        [Rig::s3(), Rig::local()]
    }

    fn new(make: impl FnOnce(&Path, &Context) -> (Arc<dyn Store>, Option<Bucket>)) -> Rig {
        let runtime = stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let dir = tempfile::tempdir().unwrap();
        let (store, bucket) = make(dir.path(), &cx);
        Rig { store, bucket, cx, dir, _runtime: runtime }
    }

    /// Where a host has its locks.
    fn host(&self, name: &str) -> PathBuf {
        self.dir.path().join("hosts").join(name)
    }

    /// Takes the lease as the host of that name.
    fn take_for(&self, host: &str, length: Duration) -> Result<Lease> {
        let locks = self.host(host);
        let claim = Claim { system_identifier: "7", database: "orders", job: "nightly", length, locks: &locks };
        lease::acquire(&self.store, &claim, &self.cx)
    }

    fn take(&self, host: &str) -> Result<Lease> {
        self.take_for(host, record::LENGTH)
    }

    fn place() -> Place {
        Place::of("7", "orders")
    }

    fn newest(&self) -> record::Epoch {
        Ledger::read(&*self.store, &Self::place(), &self.cx).unwrap().newest.unwrap()
    }

    fn objects(&self) -> Vec<String> {
        self.store.list("", &self.cx).unwrap().into_iter().map(|object| object.key).collect()
    }

    /// An epoch by a holder that died on another host, whose clock was off by so much.
    fn leave_behind(&self, number: u64, length: u64, skew: SignedDuration) {
        let record = Record {
            version: 1,
            state: State::Held,
            owner: "root@far-away".into(),
            machine: "another".into(),
            boot: "another".into(),
            process: 1,
            job: "nightly".into(),
            system_identifier: "7".into(),
            database: "orders".into(),
            acquired: Timestamp::now() + skew,
            written: Timestamp::now() + skew,
            length_seconds: length,
            token: "dead".into(),
            reason: None,
        };
        assert!(record::write(&*self.store, &Self::place(), number, &record, &self.cx).unwrap());
    }

    fn dump(&self, lease: &Lease, store: &dyn Store, source: Box<dyn Source>) -> Result<Manifest> {
        let cx = lease.context(&self.cx);
        let recipients = PublicKeys::load(&[keys().public("ops")], &cx)?;
        let text = |text: &str| text.to_owned();
        let origin =
            Origin { database: text("orders"), system_identifier: text("7"), server_version: text("15.1"), client_version: text("15.1") };
        let order = Order {
            group: None,
            access: None,
            job: "nightly",
            environment: "production",
            object: OBJECT,
            format: Format::Plain,
            compression: Compression::Gzip,
            level: 3,
            recipients: &recipients,
            origin,
            snapshot_at: Timestamp::now(),
            source,
            store,
            guard: Some(&|cx| lease.still_ours(cx)),
        };
        lease.told(backup(order, &cx))
    }
}

fn busy(result: Result<Lease>) -> Report {
    let report = result.err().expect("it is held by another");
    assert_eq!(report.kind, Kind::Busy, "{report}");
    report
}

const TEXT: &[u8] =
    b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a) FROM stdin;\n1\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n";

/// A dump; what is to happen in the middle of it happens before its first byte.
struct Interrupted<F>(F);

impl<F: Fn() + Send> Source for Interrupted<F> {
    fn describe(&self) -> String {
        "text".into()
    }

    fn open(&self, _: &Context) -> Result<Stream> {
        (self.0)();
        Ok(Box::new(Cursor::new(TEXT)))
    }
}

// G8
#[test]
fn of_sixteen_contenders_one_gets_the_lease_and_the_others_are_told_who_has_it() {
    for rig in Rig::both() {
        let start = Barrier::new(16);
        let won: Vec<Result<Lease>> = thread::scope(|scope| {
            let contenders: Vec<_> = (0..16)
                .map(|host| {
                    let (rig, start) = (&rig, &start);
                    scope.spawn(move || {
                        start.wait();
                        rig.take(&host.to_string())
                    })
                })
                .collect();
            contenders.into_iter().map(|contender| contender.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = won.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for lost in lost {
            let report = busy(lost);
            let told = format!("{report}");
            assert!(told.contains(&lifeboat::port::who()) || told.contains("at the same moment"), "{told}");
            assert!(report.hints.iter().any(|hint| hint == "lifeboat lease nightly"), "{report:?}");
        }
        drop(won);
        drop(rig.take("the next").unwrap());
    }
}

// G8, TRAPS 35: on one host the kernel says who is dead.
#[test]
fn on_one_host_the_lock_is_held_by_one_and_a_holder_that_died_is_followed_at_once() {
    for rig in Rig::both() {
        let lease = rig.take("here").unwrap();
        let report = busy(rig.take("here"));
        assert!(report.message.contains("on this host already"), "{report}");
        // As after SIGKILL: nothing is given back, the kernel lets go of the lock.
        let mut dead = rig.newest().record.unwrap();
        let lock = rig.host("here").join(Rig::place().file_name());
        let remembered = fs::read(&lock).unwrap();
        drop(lease);
        assert_eq!(fs::read(&lock).unwrap(), b"", "given back, so nobody's death needs a proof");
        fs::write(&lock, &remembered).unwrap();
        dead.state = State::Renewed;
        let number = rig.newest().number + 1;
        assert!(record::write(&*rig.store, &Rig::place(), number, &dead, &rig.cx).unwrap());
        let report = busy(rig.take("elsewhere"));
        assert!(report.causes[0].contains("by the store's clock"), "{report}");
        drop(rig.take("here").unwrap());
        // A machine that shares the directory of locks, but not the locks, proves nothing.
        dead.machine = "another".into();
        fs::write(&lock, &remembered).unwrap();
        assert!(record::write(&*rig.store, &Rig::place(), rig.newest().number + 1, &dead, &rig.cx).unwrap());
        busy(rig.take("here"));
    }
}

// TRAPS 20
#[test]
fn a_lease_runs_out_by_the_clock_of_the_store_whatever_its_record_says() {
    for (rig, skew) in Rig::both().into_iter().zip([SignedDuration::from_hours(24 * 365), SignedDuration::from_hours(-24 * 365)]) {
        rig.leave_behind(1, 2, skew);
        let began = rig.newest().modified;
        busy(rig.take("here"));
        let mut lease = None;
        until("the lease to run out", || {
            lease = rig.take("here").ok();
            lease.is_some()
        });
        let taken = rig.newest();
        assert!(taken.modified.duration_since(began) >= SignedDuration::from_secs(2), "taken too soon: {taken:?}");
        lease.unwrap().still_ours(&rig.cx).unwrap();
    }
}

// TRAPS 35
#[test]
fn a_holder_renews_for_as_long_as_it_works() {
    let rig = Rig::s3();
    let lease = rig.take_for("here", Duration::from_secs(2)).unwrap();
    let first = rig.newest().modified;
    until("it to be held for twice its length", || {
        busy(rig.take("elsewhere"));
        rig.newest().modified.duration_since(first) > SignedDuration::from_secs(4)
    });
    lease.still_ours(&rig.cx).unwrap();
    drop(lease);
    assert_eq!(rig.newest().record.unwrap().state, State::Released);
}

// TRAPS 35
#[test]
fn a_store_that_is_away_for_longer_than_the_lease_does_not_end_a_healthy_job() {
    let rig = Rig::s3();
    let lease = rig.take_for("here", Duration::from_secs(1)).unwrap();
    rig.bucket.as_ref().unwrap().fault(Fault::FullDisk);
    let at = rig.newest();
    until("the lease to have run out", || Timestamp::now().duration_since(at.until().unwrap()) > SignedDuration::from_secs(3));
    assert!(!lease.context(&rig.cx).cancel.is_cancelled());
    assert_eq!(rig.newest().number, at.number);
    rig.bucket.as_ref().unwrap().heal();
    until("it to be renewed again", || rig.newest().number > at.number);
    lease.still_ours(&rig.cx).unwrap();
}

#[test]
fn a_lease_that_is_taken_away_stops_the_work_of_its_holder_and_says_by_whom_and_why() {
    let rig = Rig::s3();
    let lease = rig.take_for("here", Duration::from_secs(3)).unwrap();
    let cx = lease.context(&rig.cx);
    let taken = lease::take_away(&*rig.store, "nightly", "db1 has no power\u{1b}[2J", &rig.cx).unwrap();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].from.contains(&lifeboat::port::who()), "{}", taken[0].from);
    // Free for others before the one that lost it knows.
    let next = rig.take("elsewhere").unwrap();
    until("the holder to notice", || cx.cancel.is_cancelled());
    let told = lease.told::<()>(Err(Report::cancelled())).unwrap_err();
    assert_eq!(told.kind, Kind::Refused);
    assert!(told.message.contains("was lost"), "{told}");
    drop(lease);
    next.still_ours(&rig.cx).unwrap();
    assert!(lease::take_away(&*rig.store, "another", "why not", &rig.cx).unwrap().is_empty(), "a lease of another job");
}

// G8: the fence.
#[test]
fn a_holder_that_slept_while_its_lease_was_taken_publishes_nothing() {
    for rig in Rig::both().map(Arc::new) {
        let lease = rig.take("asleep").unwrap();
        let sleeping = Arc::clone(&rig);
        let asleep = move || drop(lease::take_away(&*sleeping.store, "nightly", "it sleeps", &sleeping.cx).unwrap());
        let report = rig.dump(&lease, &*rig.store, Box::new(Interrupted(asleep))).unwrap_err();
        assert_eq!(report.kind, Kind::Refused, "{report}");
        assert!(format!("{report}").contains("taken away by"), "{report}");
        assert!(rig.objects().iter().all(|key| key.starts_with(PREFIX)), "{:?}", rig.objects());
        drop(lease);
        // And another that took it, did its work and went.
        let lease = rig.take("asleep again").unwrap();
        let busy = Arc::clone(&rig);
        let others = move || {
            lease::take_away(&*busy.store, "nightly", "it sleeps", &busy.cx).unwrap();
            for host in 0..5 {
                drop(busy.take(&format!("other {host}")).unwrap());
            }
        };
        rig.dump(&lease, &*rig.store, Box::new(Interrupted(others))).unwrap_err();
        assert!(rig.objects().iter().all(|key| key.starts_with(PREFIX)), "{:?}", rig.objects());
        drop(lease);
        let lease = rig.take("awake").unwrap();
        rig.dump(&lease, &*rig.store, Box::new(Interrupted(|| {}))).unwrap();
        assert_eq!(rig.objects().iter().filter(|key| key.starts_with(OBJECT)).count(), 2);
    }
}

/// What goes wrong with some stores, in front of a real one.
struct Strict {
    below: Arc<dyn Store>,
    deletes: AtomicUsize,
}

impl Store for Strict {
    fn describe(&self) -> String {
        self.below.describe()
    }
    fn put(&self, key: &str, body: Stream, cx: &Context) -> Result<Object> {
        self.below.put(key, body, cx)
    }
    fn get(&self, key: &str, range: Option<Range<u64>>, cx: &Context) -> Result<Stream> {
        self.below.get(key, range, cx)
    }
    fn head(&self, key: &str, cx: &Context) -> Result<Option<Object>> {
        self.below.head(key, cx)
    }
    fn list(&self, prefix: &str, cx: &Context) -> Result<Vec<Object>> {
        self.below.list(prefix, cx)
    }
    fn delete(&self, key: &str, _: &Context) -> Result<()> {
        self.deletes.fetch_add(1, Ordering::Relaxed);
        Err(Report::refused(format!("removing {key} is not allowed")))
    }
    fn unfinished(&self, cx: &Context) -> Result<Vec<Unfinished>> {
        self.below.unfinished(cx)
    }
    fn abort(&self, upload: &Unfinished, cx: &Context) -> Result<()> {
        self.below.abort(upload, cx)
    }
}

// D9
#[test]
fn nothing_of_a_lease_needs_the_right_to_delete_and_the_sweeper_removes_what_is_old() {
    let mut rig = Rig::s3();
    let open = Arc::clone(&rig.store);
    let strict = Arc::new(Strict { below: Arc::clone(&open), deletes: AtomicUsize::new(0) });
    rig.store = Arc::clone(&strict) as Arc<dyn Store>;
    for _ in 0..4 {
        let lease = rig.take("here").unwrap();
        busy(rig.take("elsewhere"));
        lease.still_ours(&rig.cx).unwrap();
    }
    assert!(strict.deletes.load(Ordering::Relaxed) > 0, "it is at least tried");
    assert_eq!(rig.objects().len(), 4 * 3 + 4, "epochs, and questions for the time");
    let newest = rig.newest();
    let later = Timestamp::now() + SignedDuration::from_mins(1);
    assert_eq!(catalogue::sweep(&*open, SignedDuration::from_hours(1), later, true, &rig.cx).unwrap(), []);
    let swept = catalogue::sweep(&*open, SignedDuration::ZERO, later, true, &rig.cx).unwrap();
    assert!(swept.iter().all(|swept| swept.key.starts_with(PREFIX)), "{swept:?}");
    assert_eq!(rig.newest(), newest, "the newest stays");
    assert_eq!(rig.objects().len(), 4);
    rig.store = open;
    for _ in 0..5 {
        drop(rig.take("here").unwrap());
    }
    assert!(rig.objects().len() <= 5, "who may delete does not pile them up: {:?}", rig.objects());
}

#[test]
fn a_record_that_is_garbage_or_hostile_holds_as_long_as_a_lease_and_breaks_nothing() {
    let valid = |change: &dyn Fn(&mut serde_json::Value)| {
        let rig = Rig::local();
        rig.leave_behind(1, 600, SignedDuration::ZERO);
        let mut value = serde_json::to_value(rig.newest().record.unwrap()).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    };
    let bodies: [Vec<u8>; 8] = [
        Vec::new(),
        b"{".to_vec(),
        b"null".to_vec(),
        vec![0xff; 100],
        vec![b' '; 1 << 20],
        "[".repeat(60_000).into_bytes(),
        valid(&|record| record["owner"] = "\u{1b}]0;gotcha\u{7}".into()),
        valid(&|record| record["length_seconds"] = (-1).into()),
    ];
    for rig in Rig::both() {
        for (number, body) in (1_u64..).zip(&bodies) {
            let key = format!("{}{number:012}.json", Rig::place().prefix);
            rig.store.put(&key, Box::new(Cursor::new(body.clone())), &rig.cx).unwrap();
            let report = busy(rig.take("here"));
            let told = format!("{report}");
            assert!(told.contains("cannot be read") && !told.chars().any(char::is_control), "{told}");
        }
        assert_eq!(lease::take_away(&*rig.store, "nightly", "it is garbage", &rig.cx).unwrap().len(), 1);
        drop(rig.take("here").unwrap());
        // The last number there is.
        let key = format!("{}{}.json", Rig::place().prefix, "9".repeat(12));
        rig.store.put(&key, Box::new(Cursor::new(b"{}".to_vec())), &rig.cx).unwrap();
        busy(rig.take("here"));
        let report = lease::take_away(&*rig.store, "nightly", "why", &rig.cx).err().unwrap();
        assert!(report.message.contains("no numbers left"), "{report}");
    }
}

#[test]
fn a_lease_is_given_back_whatever_way_its_holder_goes() {
    for rig in Rig::both() {
        let given_back = |what: &str| assert_eq!(rig.newest().record.unwrap().state, State::Released, "{what}");
        rig.dump(&rig.take("here").unwrap(), &*rig.store, Box::new(Interrupted(|| {}))).unwrap();
        given_back("success");
        rig.dump(&rig.take("here").unwrap(), &*rig.store, Box::new(Interrupted(|| {}))).unwrap_err();
        given_back("failure: the name is taken");
        let cancelled = Context { cancel: rig.cx.cancel.child_token(), ..rig.cx.clone() };
        let locks = rig.host("here");
        let claim = Claim { system_identifier: "7", database: "orders", job: "nightly", length: record::LENGTH, locks: &locks };
        let lease = lease::acquire(&rig.store, &claim, &cancelled).unwrap();
        cancelled.cancel.cancel();
        assert!(lease.context(&cancelled).cancel.is_cancelled());
        assert_eq!(lease.still_ours(&cancelled).unwrap_err().kind, Kind::Cancelled);
        drop(lease);
        given_back("cancelled");
        let panicked = thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _lease = rig.take("here").unwrap();
                std::panic::resume_unwind(Box::new("as a panic would"));
            });
            panics.join().is_err()
        });
        assert!(panicked);
        given_back("panic");
    }
}

// A store that lets one upload replace another: two may begin, one may publish.
#[test]
fn where_conditions_are_ignored_no_two_hold_the_lease_when_it_counts() {
    let rig = Rig::s3();
    rig.bucket.as_ref().unwrap().fault(Fault::IgnoreConditions);
    for round in 0..5 {
        let start = Barrier::new(8);
        let won: Vec<Lease> = thread::scope(|scope| {
            let contenders: Vec<_> = (0..8)
                .map(|host| {
                    let (rig, start) = (&rig, &start);
                    scope.spawn(move || {
                        start.wait();
                        rig.take(&format!("{round}-{host}")).ok()
                    })
                })
                .collect();
            contenders.into_iter().filter_map(|contender| contender.join().unwrap()).collect()
        });
        // One after the other; at once the weak store may let two renewals pass, each replaced by the other's.
        let ours = won.iter().filter(|lease| lease.still_ours(&rig.cx).is_ok()).count();
        assert!(ours <= 1, "round {round}: {ours} of {} held it", won.len());
    }
}

fn start(case: &Case) -> Child {
    case.command(&["backup", "orders"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The same job on a host of its own.
fn another_host(case: &Case) -> PathBuf {
    let text = fs::read_to_string(case.config()).unwrap();
    let config = case.path("elsewhere.toml");
    fs::write(
        &config,
        text.replace(&format!("{:?}", case.path("runs").display().to_string()), &format!("{:?}", case.path("runs2").display().to_string())),
    )
    .unwrap();
    config
}

fn held(case: &Case) -> bool {
    let cards = lease::list(&case.store(), Some("orders"), &case.stand.cx).unwrap();
    cards.iter().any(|card| card.newest.until().is_some())
}

// G8
#[test]
fn of_two_backups_at_once_one_is_made_and_the_other_exits_75_on_one_host_and_on_two() {
    let case = Case::new();
    let elsewhere = another_host(&case);
    for config in [case.config().to_owned(), elsewhere] {
        // As long as the table is locked, the first one waits in pg_dump.
        let lock = case.stand.the_box.cluster().connect("orders", &case.stand.cx).unwrap();
        let first = {
            case.stand.cx.runtime.block_on(lock.batch_execute("BEGIN; LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE")).unwrap();
            start(&case)
        };
        until("the first one to hold the lease", || held(&case));
        let second = case.bare(&["backup", "orders"]).arg("--config").arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(75), "{said}");
        assert!(said.contains("lifeboat lease orders") || said.contains("on this host already"), "{said}");
        case.stand.cx.runtime.block_on(lock.batch_execute("COMMIT")).unwrap();
        let (code, said) = end(first);
        assert_eq!(code, Some(0), "{said}");
        assert!(!held(&case));
        let next = Timestamp::now().as_second();
        until("another name", || Timestamp::now().as_second() > next);
    }
    let dumps: serde_json::Value = serde_json::from_str(&case.done(&["dumps", "--json"])).unwrap();
    assert_eq!(dumps.as_array().unwrap().len(), 2, "{dumps}");
}

// G8, TRAPS 35
#[test]
fn after_kill_nine_the_same_host_goes_on_at_once_and_another_when_the_lease_has_run_out() {
    let case = Case::new();
    case.edit("max_age = \"26h\"", "max_age = \"26h\"\nlease = \"5s\"");
    let elsewhere = another_host(&case);
    let lock = case.stand.the_box.cluster().connect("orders", &case.stand.cx).unwrap();
    let killed = |case: &Case| {
        case.stand.cx.runtime.block_on(lock.batch_execute("BEGIN; LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE")).unwrap();
        let mut first = start(case);
        until("it to hold the lease", || held(case));
        assert!(kill(i32::try_from(first.id()).unwrap()));
        first.wait().unwrap();
        case.stand.cx.runtime.block_on(lock.batch_execute("COMMIT")).unwrap();
        assert!(held(case), "it had no time to give it back");
    };
    killed(&case);
    let told = case.run(&["backup", "orders"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(told.stderr.contains("that process is dead"), "{told}");

    killed(&case);
    let told = case.done(&["lease", "orders"]);
    assert!(told.contains("held") && told.contains("orders"), "{told}");
    let mut codes = Vec::new();
    until("the other host to take it", || {
        let second = case.bare(&["backup", "orders"]).arg("--config").arg(&elsewhere).output().unwrap();
        codes.push(second.status.code());
        second.status.success()
    });
    assert_eq!(codes[0], Some(75), "{codes:?}");
    assert!(codes[..codes.len() - 1].iter().all(|code| *code == Some(75)), "{codes:?}");
    assert!(case.done(&["lease"]).contains("free"));
}

#[test]
fn a_lease_taken_by_command_needs_a_reason_and_ends_the_backup_that_had_it() {
    let case = Case::new();
    case.edit("max_age = \"26h\"", "max_age = \"26h\"\nlease = \"5s\"");
    let lock = case.stand.the_box.cluster().connect("orders", &case.stand.cx).unwrap();
    case.stand.cx.runtime.block_on(lock.batch_execute("BEGIN; LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE")).unwrap();
    let first = start(&case);
    until("it to hold the lease", || held(&case));
    assert_eq!(case.run(&["lease", "take", "orders"]).code, 2);
    assert_eq!(case.run(&["lease", "take", "orders", "--reason", " "]).code, 2);
    let told = case.run(&["lease", "take", "orders", "--reason", "it hangs"]);
    assert!(told.code == 0 && told.stderr.contains("was taken from"), "{told}");
    let (code, said) = end(first);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("it hangs"), "{said}");
    case.stand.cx.runtime.block_on(lock.batch_execute("COMMIT")).unwrap();
    let dumps: serde_json::Value = serde_json::from_str(&case.done(&["dumps", "--json"])).unwrap();
    assert_eq!(dumps.as_array().unwrap().len(), 0, "{dumps}");
    let shown: serde_json::Value = serde_json::from_str(&case.done(&["lease", "--json"])).unwrap();
    assert_eq!((shown[0]["state"].as_str(), shown[0]["record"]["reason"].as_str()), (Some("free"), Some("it hangs")), "{shown}");
}
