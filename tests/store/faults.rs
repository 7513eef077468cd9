//! No fault makes S3 lie: each row is what the wire does, and what must come of a whole backup, of a restore, of a listing.
//!
//! After a backup either it was said to be done and the dump verifies to the last row through a clean connection, or it was said what went
//! wrong and the bucket holds no dump, no object and no upload; where the store let nobody take anything back, the error says that, and
//! the sweeper finds it. On the way out the bytes are right to the last one, or there is an error, never a short success.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine;
use jiff::{SignedDuration, Timestamp};
use lifeboat::drill::bucket::Bucket;
use lifeboat::pipeline::backup::{Order, backup};
use lifeboat::pipeline::manifest::{Compression, Format, Level, Manifest, Origin};
use lifeboat::pipeline::openpgp::{PublicKeys, SecretKey};
use lifeboat::pipeline::{catalogue, restore, verify};
use lifeboat::port::{Context, Log, Source, Store, Stream};
use lifeboat::report::{Report, Result};
use lifeboat::store::s3::{Checksum, Conditional, Encryption, Lock, LockMode, S3, Settings};

use super::conformance::PART;
use super::scripted::{Act, Answer, Ask, Rule, Scripted, always, once};
use crate::pipeline::keys::keys;
use crate::pipeline::{context, noise};

const OBJECT: &str = "production-1.sql.gz.gpg";
const MANIFEST: &str = "production-1.sql.gz.gpg.manifest.json";

/// What must come of a backup.
enum Expect {
    /// Done, proven, and nothing else is left.
    Done,
    /// Done and proven; an upload without a part may be left, which the sweeper takes.
    DoneButSwept,
    /// An error with these words; nothing is left.
    Fails(&'static str),
    /// An error with these words, which also says that something could not be taken back; the sweeper does.
    FailsButSwept(&'static str),
    /// An error with these words. Something may be left that the store says is not there, or not ours: not ours to remove, but the sweeper's.
    FailsUnseen(&'static str),
    /// An error with these words although all is there: nobody said so. The error says that too, and what is there is whole.
    InDoubt(&'static str),
}
use Act::{
    Bytes, Drip, DripForever, Edit, EndInAnswersBody, Instead, ResetAtHead, ResetDone, ResetInAnswer, ResetInAnswersBody, ResetInBody,
    Stuck, StuckDone, StuckInAnswer, StuckReading,
};
use Ask::{Abort, Complete, Create, Delete, Get, Head, List, Part, Put, Uploads};
use Expect::{Done, DoneButSwept, Fails, FailsButSwept, FailsUnseen, InDoubt};

/// A plain dump of a table whose rows do not compress, a little more than two parts once it is stored.
fn dump() -> &'static [u8] {
    static DUMP: OnceLock<Vec<u8>> = OnceLock::new();
    DUMP.get_or_init(|| {
        let mut text = b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a) FROM stdin;\n".to_vec();
        let random = base64::prelude::BASE64_STANDARD_NO_PAD.encode(noise(2 * PART + (PART >> 3)));
        for row in random.as_bytes().chunks(1000) {
            text.extend_from_slice(row);
            text.push(b'\n');
        }
        text.extend_from_slice(b"\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
        text
    })
}

struct Rows;

impl Source for Rows {
    fn describe(&self) -> String {
        "a table".into()
    }

    fn open(&self, _: &Context) -> Result<Stream> {
        Ok(Box::new(dump()))
    }
}

fn make(store: &dyn Store, cx: &Context) -> Result<Manifest> {
    static RECIPIENTS: OnceLock<PublicKeys> = OnceLock::new();
    let recipients = RECIPIENTS.get_or_init(|| PublicKeys::load(&[keys().public("other")], &context()).unwrap());
    let origin =
        Origin { database: "t".into(), system_identifier: "7".into(), server_version: "15.1".into(), client_version: "15.1".into() };
    let order = Order {
        job: "nightly",
        environment: "production",
        object: OBJECT,
        format: Format::Plain,
        compression: Compression::Gzip,
        level: 1,
        recipients,
        origin,
        snapshot_at: Timestamp::now(),
        group: None,
        access: None,
        source: Box::new(Rows),
        store,
        guard: None,
    };
    backup(order, cx)
}

fn key() -> &'static SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::load_file(&keys().secret("other"), None, &context()).unwrap())
}

/// A bucket, a clean way to it, and a scripted one.
struct Stage {
    bucket: Bucket,
    clean: S3,
    scripted: Scripted,
    store: S3,
    cx: Context,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new(rules: Vec<Rule>, change: impl FnOnce(Settings) -> Settings) -> Stage {
        let cx = context();
        // What is proven here is not that the bucket survives the loss of power.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let bucket = Bucket::start(directory.path(), &cx).unwrap();
        // A request that never ends is only waited for where the script has one.
        let sticks = rules.iter().any(|rule| matches!(rule.act, Stuck | StuckDone | StuckReading | StuckInAnswer | DripForever | Drip(_)));
        let slow = rules.iter().any(|rule| rule.ask == Complete || matches!(rule.act, DripForever));
        let stuck_after = Duration::from_millis(if !sticks {
            60_000
        } else if slow {
            300
        } else {
            800
        });
        let sips = rules.iter().any(|rule| matches!(rule.act, Act::Sip));
        let stuck_after = if sips { Duration::from_secs(2) } else { stuck_after };
        let settings = Settings {
            prefix: "dumps/".into(),
            part_size: PART as u64,
            concurrency: 2,
            attempts: 3,
            backoff: Duration::from_millis(20),
            ..bucket.settings()
        };
        let clean = S3::new(settings.clone(), &cx).unwrap();
        let scripted = Scripted::start(&bucket.endpoint(), rules, &cx);
        let settings = Settings { endpoint: Some(scripted.endpoint()), stuck_after, ..settings };
        let store = S3::new(change(settings), &cx).unwrap();
        Stage { bucket, clean, scripted, store, cx, _directory: directory }
    }

    fn keys(&self) -> Vec<String> {
        let objects = self.clean.list("", &context()).unwrap().into_iter().map(|object| object.key);
        objects.filter(|key| !key.starts_with(".lifeboat/")).collect()
    }

    fn unfinished(&self) -> usize {
        self.clean.unfinished(&context()).unwrap().len()
    }

    /// As another role would, a day later.
    fn sweep(&self) -> usize {
        let later = Timestamp::now() + SignedDuration::from_hours(25);
        catalogue::sweep(&self.clean, SignedDuration::from_hours(24), later, true, &context()).unwrap().len()
    }

    fn assert_whole(&self) {
        assert_eq!(self.keys(), [OBJECT, MANIFEST]);
        let listing = catalogue::list(&self.clean, None, &context()).unwrap();
        assert!(listing.dumps.len() == 1 && listing.problems.is_empty(), "{:?}", listing.problems);
        let proof = verify::verify(&listing.dumps[0].manifest, &self.clean, Some(key()), Level::L4, &context()).unwrap();
        assert!(proof.held && proof.level == Level::L4, "{proof:?}");
    }

    fn assert_empty(&self) {
        assert_eq!((self.keys(), self.unfinished()), (vec![], 0));
    }

    /// The script was played: a fault that never struck proves nothing.
    fn assert_played(&self) {
        assert!(self.scripted.met().iter().all(|met| *met > 0), "{:?} {:#?}", self.scripted.met(), self.asked());
    }

    fn asked(&self) -> Vec<Ask> {
        self.scripted.heads().into_iter().map(|(ask, _)| ask).collect()
    }

    /// Says what, of what, and nothing of what is inside of us.
    fn assert_clear(&self, report: &Report, words: &str) {
        let text = format!("{report}\n{}", report.hints.join("\n"));
        assert!(text.contains(words), "`{words}` is not in: {text}");
        let endpoint = self.scripted.endpoint();
        let names = [OBJECT, "lifeboat-box", endpoint.trim_start_matches("http://")];
        assert!(names.iter().any(|name| text.contains(name)), "names nothing: {text}");
        for inside in
            ["SdkError", "Failure", "Unhandled", "Metadata", "Error {", "Some(", "ErrorKind", "Signature=", self.bucket.secret_key()]
        {
            assert!(!text.contains(inside), "`{inside}` is in: {text}");
        }
    }
}

/// A row of the table of backups.
fn played(rules: Vec<Rule>, change: impl FnOnce(Settings) -> Settings, expect: &Expect) {
    let stage = Stage::new(rules, change);
    let outcome = make(&stage.store, &stage.cx);
    stage.assert_played();
    match (expect, outcome) {
        (Done, Ok(_)) => {
            stage.assert_whole();
            assert_eq!(stage.unfinished(), 0);
        }
        (DoneButSwept, Ok(_)) => {
            stage.assert_whole();
            assert_eq!(stage.sweep(), stage.unfinished() + 1, "what was left is found");
            assert_eq!(stage.unfinished(), 0);
            stage.assert_whole();
        }
        (Fails(words), Err(report)) => {
            stage.assert_clear(&report, words);
            stage.assert_empty();
        }
        (FailsButSwept(words) | FailsUnseen(words), Err(report)) => {
            stage.assert_clear(&report, words);
            if matches!(expect, FailsButSwept(_)) {
                stage.assert_clear(&report, "could not be taken back");
            }
            assert!(catalogue::list(&stage.clean, None, &context()).unwrap().dumps.is_empty(), "a dump that was said to have failed");
            assert!(stage.sweep() > 0);
            stage.assert_empty();
        }
        (InDoubt(words), Err(report)) => {
            stage.assert_clear(&report, words);
            stage.assert_clear(&report, "could not be taken back");
            stage.assert_whole();
        }
        (_, Ok(manifest)) => panic!("{} was said to be done; {:#?}", manifest.object, stage.asked()),
        (_, Err(report)) => panic!("{report} {:?}; {:#?}", report.hints, stage.asked()),
    }
}

/// `name: [rules…] => what must come of it`, and with other settings `name: [rules…] with change => …`.
macro_rules! faults {
    ($($name:ident: [$($rule:expr),* $(,)?] $(with $change:expr)? => $expect:expr;)*) => {
        $(#[test] fn $name() {
            #[allow(unused_mut, unused_assignments)]
            let mut change: fn(Settings) -> Settings = |settings| settings;
            $(change = $change;)?
            played(vec![$($rule),*], change, &$expect);
        })*
        const FAULTS: &[&str] = &[$(stringify!($name)),*];
    };
}

fn internal() -> Act {
    Act::Answer(Answer::error("500 Internal Server Error", "InternalError"))
}

fn slow_down() -> Act {
    Act::Answer(Answer::error("503 Service Unavailable", "SlowDown"))
}

fn refused() -> Act {
    Act::Answer(Answer::error("403 Forbidden", "AccessDenied"))
}

fn says(status: &str, code: &str) -> Act {
    Act::Answer(Answer::error(status, code))
}

/// 200, and nothing.
fn nothing() -> Answer {
    Answer::new("200 OK", "")
}

/// The parts go up, and then the store will not put them together.
fn fails() -> Rule {
    once(Complete, says("400 Bad Request", "InvalidPart"))
}

fn unconditional(settings: Settings) -> Settings {
    Settings { conditional: Conditional::No, ..settings }
}

fn probing(settings: Settings) -> Settings {
    Settings { conditional: Conditional::Probe, ..settings }
}

fn without_checksums(settings: Settings) -> Settings {
    Settings { checksum: Checksum::None, ..settings }
}

faults! {
    // The script of nothing, so that what the others show is the script's doing.
    nothing_goes_wrong: [] => Done;
    nothing_goes_wrong_without_checksums: [] with without_checksums => Done;

    // Resets.
    beginning_is_reset_at_the_head: [once(Create, ResetAtHead)] => Done;
    beginning_is_reset_within_the_answer: [once(Create, ResetInAnswer)] => DoneButSwept;
    beginning_is_done_and_reset: [once(Create, ResetDone)] => DoneButSwept;
    beginning_is_always_reset: [always(Create, ResetAtHead)] => Fails("cannot be reached while beginning an upload");
    a_part_is_reset_at_the_head: [once(Part, ResetAtHead).skip(1)] => Done;
    a_part_is_reset_in_its_body: [once(Part, ResetInBody).skip(1)] => Done;
    a_part_is_stored_and_reset: [once(Part, ResetDone)] => Done;
    a_part_is_reset_within_the_answer: [once(Part, ResetInAnswer)] => Done;
    a_part_is_always_reset_in_its_body: [always(Part, ResetInBody)] => Fails("cannot be reached while uploading a part");
    completing_is_reset_at_the_head: [once(Complete, ResetAtHead)] => Done;
    completing_is_done_and_reset: [once(Complete, ResetDone)] => Done;
    completing_is_done_and_reset_within_the_answer: [once(Complete, ResetInAnswer)] => Done;
    completing_is_done_and_reset_within_the_answers_body: [once(Complete, ResetInAnswersBody)] => Done;
    completing_is_done_and_its_answer_ends_early: [once(Complete, EndInAnswersBody)] => Done;
    completing_is_done_and_always_reset: [always(Complete, ResetDone)] => Done;
    completing_is_always_reset: [always(Complete, ResetAtHead)] => Fails("cannot be reached while completing an upload");
    the_manifest_is_reset_in_its_body: [once(Put, ResetInBody)] => Done;
    the_manifest_is_stored_and_reset: [once(Put, ResetDone)] => Done;
    the_manifest_is_stored_and_reset_within_the_answer: [once(Put, ResetInAnswer)] => Done;
    the_manifest_is_stored_and_always_reset: [always(Put, ResetDone)] => Done;
    the_manifest_is_always_reset: [always(Put, ResetAtHead)] => Fails("cannot be reached while storing an object");
    looking_is_reset: [once(Head, ResetAtHead)] => Done;
    looking_is_reset_within_the_answer: [once(Head, ResetInAnswer)] => Done;
    aborting_is_done_and_reset: [fails(), once(Abort, ResetDone)] => Fails("InvalidPart");
    aborting_is_always_reset: [fails(), always(Abort, ResetAtHead)] => FailsButSwept("InvalidPart");

    // No answer, for as long as anybody waits.
    beginning_is_stuck_once: [once(Create, Stuck)] => Done;
    beginning_is_always_stuck: [always(Create, Stuck)] => Fails("did not answer in time while beginning an upload");
    a_part_is_stuck_once: [once(Part, Stuck).skip(1)] => Done;
    a_part_is_taken_by_nobody: [once(Part, StuckReading).skip(1)] => Done;
    a_part_is_stored_and_stuck: [once(Part, StuckDone)] => Done;
    a_part_is_always_taken_by_nobody: [always(Part, StuckReading)] => Fails("did not answer in time while uploading a part");
    completing_is_always_stuck: [always(Complete, Stuck)] => Fails("did not answer in time while completing an upload");
    completing_is_done_and_stuck: [once(Complete, StuckDone)] => Done;
    completing_is_stuck_within_the_answer: [once(Complete, StuckInAnswer)] => Done;
    completing_gives_white_space_for_ever: [always(Complete, DripForever)] => Fails("while completing an upload");
    the_manifest_is_stuck: [once(Put, Stuck)] => Done;
    the_manifest_is_always_stuck: [always(Put, Stuck)] => Fails("did not answer in time while storing an object");
    looking_is_stuck: [once(Head, Stuck)] => Done;
    looking_is_always_stuck: [always(Head, Stuck)] => Fails("did not answer in time while looking at an object");
    aborting_is_always_stuck: [fails(), always(Abort, Stuck)] => FailsButSwept("InvalidPart");
    // What moves is not cut, however long it takes altogether.
    a_part_is_taken_in_sips: [once(Part, Act::Sip)] => Done;
    an_answer_drips: [once(Create, Drip(5)), once(Complete, Drip(5)), once(Head, Drip(5))] => Done;

    // Refusals that pass, and those that do not.
    a_short_storm_of_slow_down: [
        Rule { times: 2, ..once(Part, slow_down()) }, Rule { times: 2, ..once(Complete, slow_down()) }, Rule { times: 2, ..once(Put, slow_down()) },
    ] => Done;
    an_endless_storm_at_the_parts: [always(Part, slow_down())] => Fails("is overloaded and kept refusing while uploading a part");
    an_endless_storm_at_completion: [always(Complete, slow_down())] => Fails("is overloaded and kept refusing while completing an upload");
    an_endless_storm_at_everything_from_the_second_part_on: [
        always(Part, slow_down()).skip(1), always(Abort, slow_down()),
    ] => FailsButSwept("is overloaded");
    an_internal_error_once_each: [
        once(Head, internal()), once(Create, internal()), once(Part, internal()), once(Complete, internal()), once(Put, internal()),
    ] => Done;
    an_internal_error_at_the_parts_for_ever: [always(Part, internal())] => Fails("InternalError");
    an_internal_error_at_the_manifest_for_ever: [always(Put, internal())] => Fails("InternalError");
    the_manifest_is_stored_and_an_internal_error_said: [always(Put, Instead(Answer::error("500 Internal Server Error", "InternalError")))] => Done;
    forbidden_in_the_middle: [always(Part, refused()).skip(1)] => Fails("does not allow uploading a part");
    a_token_that_expires_in_the_middle: [
        always(Part, says("400 Bad Request", "ExpiredToken")).skip(1), always(Abort, says("400 Bad Request", "ExpiredToken")),
    ] => FailsButSwept("the credentials are no longer valid");
    a_clock_that_is_wrong: [always(Part, says("403 Forbidden", "RequestTimeTooSkewed"))] => Fails("clock");
    a_full_store: [always(Part, says("507 Insufficient Storage", "XMinioStorageFull"))] => Fails("no space left");
    a_full_store_at_the_manifest: [always(Put, says("507 Insufficient Storage", "XMinioStorageFull"))] => Fails("no space left");
    another_region: [always(Create, Act::Answer(Answer::error("301 Moved Permanently", "PermanentRedirect")))] => Fails("is in another region");
    a_redirect: [always(Create, Act::Answer(Answer::error("307 Temporary Redirect", "TemporaryRedirect").with("location", "http://127.0.0.1:1/")))]
        => Fails("sends requests elsewhere");
    the_bucket_goes_away: [always(Part, says("404 Not Found", "NoSuchBucket"))] => Fails("does not exist");
    a_conflict_at_completion: [once(Complete, says("409 Conflict", "ConditionalRequestConflict"))] => Fails("while completing an upload");
    a_conflict_at_the_manifest: [once(Put, says("409 Conflict", "ConditionalRequestConflict"))] => Fails("while storing an object");
    an_answer_of_412_for_what_is_ours: [once(Complete, Instead(Answer::error("412 Precondition Failed", "PreconditionFailed")))] => Done;
    a_manifest_of_ours_answered_with_412: [once(Put, Instead(Answer::error("412 Precondition Failed", "PreconditionFailed")))] => Done;
    a_condition_nobody_implemented: [once(Complete, says("501 Not Implemented", "NotImplemented")), once(Put, says("501 Not Implemented", "NotImplemented"))] => Done;
    a_probe_nobody_implemented: [once(Put, says("501 Not Implemented", "NotImplemented"))] with probing => Done;
    a_probe_that_is_refused: [always(Put, refused()).of("conditional")] with probing => Done;
    a_checksum_nobody_implemented: [always(Create, says("501 Not Implemented", "NotImplemented"))] => Fails("checksum = \"none\"");

    // Answers that lie.
    completing_says_200_and_an_error: [
        always(Complete, Act::Answer(Answer::new("200 OK", "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message></Error>"))),
    ] => Fails("InternalError");
    completing_says_200_and_an_error_although_done: [
        always(Complete, Instead(Answer::new("200 OK", "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message></Error>"))),
    ] => Done;
    completing_says_200_and_nothing: [always(Complete, Act::Answer(nothing()))] => Fails("while completing an upload");
    completing_says_200_and_nothing_although_done: [always(Complete, Instead(nothing()))] => Done;
    beginning_says_200_and_nothing: [always(Create, Act::Answer(nothing()))] => Fails("while beginning an upload");
    a_part_has_no_etag: [once(Part, Edit(|answer| answer.set("etag", None)))] => Fails("has no ETag");
    a_part_has_another_etag: [once(Part, Edit(|answer| answer.set("etag", Some("\"00000000000000000000000000000000\""))))]
        => Fails("InvalidPart");
    a_part_arrives_broken: [always(Part, says("400 Bad Request", "BadDigest")).skip(1)] => Fails("BadDigest");
    the_upload_is_gone_in_the_middle: [always(Part, says("404 Not Found", "NoSuchUpload")).skip(1)] => Fails("NoSuchUpload");
    a_part_is_missing_in_the_end: [fails()] => Fails("InvalidPart");
    the_manifest_is_not_stored_although_200: [always(Put, Act::Answer(nothing()))] => Fails("was stored and is not there");
    the_object_is_gone_after_completion: [always(Head, says("404 Not Found", "")).skip(2).of(".gpg")] => FailsUnseen("is not there");
    the_object_has_another_size: [always(Head, Edit(|answer| answer.set("content-length", Some("5")))).skip(3).of(".gpg")]
        => Fails("5 bytes in the store where");
    the_manifest_has_another_size: [always(Head, Edit(|answer| answer.set("content-length", Some("5")))).skip(2).of(".json")]
        => Fails("5 bytes in the store where");
    the_object_has_another_checksum: [always(Head, Edit(|answer| answer.set("x-amz-checksum-crc32", Some("AAAAAA==")))).skip(3).of(".gpg")]
        => Fails("another checksum");
    the_object_has_no_size: [always(Head, Edit(|answer| {
        answer.set("content-length", None);
        answer.tells_length = false;
    })).skip(3).of(".gpg")] => Fails("does not say how large");
    the_object_is_anothers: [always(Head, Edit(|answer| answer.set("x-amz-meta-lifeboat-upload", Some("another")))).skip(3).of(".gpg")]
        => FailsUnseen("was replaced by another upload");
    something_that_is_no_http: [always(Create, Bytes(b"\x15\x03\x01\x00\x02\x02\x28"))] => Fails("while beginning an upload");
    something_that_is_no_http_at_every_part: [always(Part, Bytes(b"\x15\x03\x01\x00\x02\x02\x28")).skip(1)] => Fails("while uploading a part");
    an_answer_that_is_no_xml: [always(Create, Act::Answer(Answer::new("200 OK", "<html><body>Welcome to the hotel</body></html>")))]
        => Fails("while beginning an upload");

    // D9: who may put and get, but not delete nor abort.
    nobody_may_abort: [fails(), always(Abort, refused())] => FailsButSwept("InvalidPart");
    nobody_may_delete_and_the_manifest_is_refused: [always(Put, refused()), always(Delete, refused())] => FailsButSwept("does not allow storing");
    nobody_may_delete_and_the_object_is_wrong: [
        always(Head, Edit(|answer| answer.set("content-length", Some("5")))).skip(3).of(".gpg"), always(Delete, refused()),
    ] => FailsButSwept("5 bytes in the store where");
    nobody_may_delete_and_nothing_goes_wrong: [] with unconditional => Done;
    // Everything was stored, and nobody could be asked any more: neither is it claimed nor is it denied.
    silence_after_the_manifest: [
        once(Put, ResetDone), always(Head, ResetAtHead).skip(2).of(".json"), always(Delete, ResetAtHead),
    ] => InDoubt("cannot be reached");
}

/// Rows that only count when every one of them is played.
#[test]
fn the_table_is_as_long_as_it_says() {
    assert!(FAULTS.len() + WAY_OUT.len() + LISTINGS.len() >= 100, "{} {} {}", FAULTS.len(), WAY_OUT.len(), LISTINGS.len());
}

/// What must come of reading.
enum Reading {
    Right,
    /// With these words; where none are given, what notices is behind the store, and names no store.
    Error(&'static str),
}
use Reading::{Error, Right};

/// A row of the table of restores: by a restore, and by a proof.
fn read_back(rules: Vec<Rule>, expect: &Reading) {
    let stays = rules[0].times == usize::MAX;
    let stage = Stage::new(rules, |settings| settings);
    let manifest = make(&stage.clean, &stage.cx).unwrap();
    let read = || -> Result<Vec<u8>> {
        let mut plain = restore::open(&manifest, &stage.store, key(), &context())?;
        let mut bytes = Vec::new();
        plain.read_to_end(&mut bytes).map_err(|error| Report::from_io("reading", error))?;
        Ok(bytes)
    };
    let outcome = read();
    stage.assert_played();
    match (expect, outcome) {
        (Right, Ok(bytes)) => assert!(bytes == dump(), "other bytes"),
        (Error(words), Err(report)) => {
            if !words.is_empty() {
                stage.assert_clear(&report, words);
            }
            // A fault that stays is found by the proof too: not held, or not to be had.
            if stays {
                let proof = verify::verify(&manifest, &stage.store, Some(key()), Level::L4, &context());
                assert!(proof.is_err() || proof.is_ok_and(|proof| !proof.held), "proven through a fault");
            }
        }
        (_, Ok(bytes)) => panic!("{} bytes were said to be all", bytes.len()),
        (_, Err(report)) => panic!("{report}; {:#?}", stage.asked()),
    }
}

macro_rules! way_out {
    ($($name:ident: [$($rule:expr),* $(,)?] => $expect:expr;)*) => {
        $(#[test] fn $name() { read_back(vec![$($rule),*], &$expect); })*
        const WAY_OUT: &[&str] = &[$(stringify!($name)),*];
    };
}

way_out! {
    reading_is_reset_at_the_head: [once(Get, ResetAtHead)] => Right;
    reading_is_reset_within_the_answer: [once(Get, ResetInAnswer)] => Right;
    reading_is_reset_in_the_bytes: [once(Get, ResetInAnswersBody)] => Right;
    reading_ends_early: [once(Get, EndInAnswersBody)] => Right;
    reading_is_stuck_in_the_bytes: [once(Get, StuckInAnswer)] => Right;
    reading_is_stuck: [once(Get, Stuck)] => Right;
    reading_is_always_stuck: [always(Get, Stuck)] => Error("did not answer in time while reading");
    reading_is_always_reset: [always(Get, ResetAtHead)] => Error("cannot be reached while reading");
    reading_always_gives_nothing_and_resets: [always(Get, Edit(|answer| {
        answer.body.clear();
        answer.tells_length = false;
    }))] => Error("bytes early");
    reading_meets_a_storm_that_passes: [Rule { times: 2, ..once(Get, slow_down()) }] => Right;
    reading_meets_a_storm_that_does_not: [always(Get, slow_down())] => Error("is overloaded");
    reading_is_forbidden: [always(Get, refused())] => Error("does not allow reading");
    reading_finds_nothing: [always(Get, says("404 Not Found", "NoSuchKey"))] => Error("there is no");
    a_byte_is_another: [always(Get, Edit(|answer| {
        let middle = answer.body.len() / 2;
        answer.body[middle] ^= 1;
    }))] => Error("");
    bytes_of_the_right_length_are_others: [always(Get, Edit(|answer| answer.body.fill(7)))] => Error("");
    fewer_bytes_are_said_to_be_all: [always(Get, Edit(|answer| answer.body.truncate(PART)))] => Error("");
    more_bytes_are_given: [always(Get, Edit(|answer| answer.body.extend_from_slice(&[0; 1000])))] => Error("");
    reading_says_200_and_an_error: [always(Get, Act::Answer(Answer::error("200 OK", "InternalError")))] => Error("");
    it_goes_on_somewhere_else: [once(Get, ResetInAnswersBody), always(Get, Edit(|answer| answer.set("content-range", Some("bytes 0-9/10")))).skip(1)]
        => Error("another one given");
    it_goes_on_without_saying_where: [once(Get, ResetInAnswersBody), always(Get, Edit(|answer| answer.set("content-range", None))).skip(1)]
        => Error("another one given");
    it_goes_on_as_another_object: [once(Get, ResetInAnswersBody), always(Get, says("412 Precondition Failed", "PreconditionFailed")).skip(1)]
        => Error("was replaced while it was read");
}

/// A row of the table of listings: the one dump is found, or there is an error; never an empty shelf.
fn listed(rules: Vec<Rule>, expect: &Reading) {
    let stage = Stage::new(rules, |settings| settings);
    for key in ["a/1", "a/2", "b"] {
        stage.clean.put(key, Box::new(&b"x"[..]), &stage.cx).unwrap();
    }
    let outcome = stage.store.list("", &stage.cx);
    stage.assert_played();
    match (expect, outcome) {
        (Right, Ok(objects)) => {
            let keys: Vec<_> = objects.iter().map(|object| object.key.as_str()).collect();
            assert_eq!(keys, ["a/1", "a/2", "b"]);
        }
        (Error(words), Err(report)) => stage.assert_clear(&report, words),
        (_, Ok(objects)) => panic!("{objects:?}"),
        (_, Err(report)) => panic!("{report}; {:#?}", stage.asked()),
    }
}

macro_rules! listings {
    ($($name:ident: [$($rule:expr),* $(,)?] => $expect:expr;)*) => {
        $(#[test] fn $name() { listed(vec![$($rule),*], &$expect); })*
        const LISTINGS: &[&str] = &[$(stringify!($name)),*];
    };
}

/// A page of a listing as scripted: what is in it, and what it says of itself.
fn page(contents: &str, rest: &str) -> Act {
    let entry = |key: &str| {
        format!(
            "<Contents><Key>dumps/{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>1</Size></Contents>"
        )
    };
    let contents: String = contents.split_whitespace().map(entry).collect();
    Act::Answer(Answer::new("200 OK", &format!("<?xml version=\"1.0\"?><ListBucketResult>{rest}{contents}</ListBucketResult>")))
}

const ALL: &str = "<IsTruncated>false</IsTruncated>";
const MORE: &str = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";

listings! {
    a_listing_is_reset: [once(List, ResetAtHead)] => Right;
    a_listing_is_reset_in_its_body: [once(List, ResetInAnswersBody)] => Right;
    a_listing_is_always_reset_in_its_body: [always(List, ResetInAnswersBody)] => Error("listing");
    a_listing_ends_early: [always(List, EndInAnswersBody)] => Error("listing");
    a_listing_is_stuck: [once(List, Stuck)] => Right;
    a_listing_is_stuck_in_its_body: [once(List, StuckInAnswer)] => Right;
    a_listing_drips: [once(List, Drip(2))] => Right;
    a_listing_drips_for_ever: [always(List, DripForever)] => Error("listing");
    a_listing_says_200_and_nothing: [always(List, Act::Answer(nothing()))] => Error("");
    a_listing_says_200_and_an_error: [always(List, Act::Answer(Answer::error("200 OK", "InternalError")))] => Error("");
    a_listing_is_no_xml: [always(List, Act::Answer(Answer::new("200 OK", "Welcome to the hotel")))] => Error("");
    a_listing_is_another_page: [always(List, Act::Answer(Answer::new("200 OK", "<html><body>Welcome to the hotel</body></html>")))] => Error("");
    a_listing_whose_xml_is_cut: [always(List, Edit(|answer| {
        let end = answer.body.len() * 2 / 3;
        answer.body.truncate(end);
    }))] => Error("");
    a_listing_that_does_not_say_whether_it_is_all: [always(List, Edit(|answer| answer.replace("<IsTruncated>false</IsTruncated>", "")))]
        => Error("does not say whether");
    a_listing_that_is_cut_and_says_no_more: [always(List, Edit(|answer| answer.replace("<IsTruncated>false", "<IsTruncated>true")))]
        => Error("does not say where to go on");
    a_listing_cut_after_its_first_object: [always(List, Edit(|answer| {
        let text = String::from_utf8(answer.body.clone()).unwrap();
        answer.body.truncate(text.find("</Contents>").unwrap() + "</Contents>".len());
    }))] => Error("");
    a_listing_that_names_fewer_than_it_counts: [always(List, page("a/1", &format!("{ALL}<KeyCount>3</KeyCount>")))] => Error("holds 1 of 3 objects");
    a_listing_of_two_pages: [once(List, page("a/1 a/2", MORE)), once(List, page("b", ALL)).skip(1)] => Right;
    a_listing_that_gives_one_page_for_ever: [always(List, page("a/1 a/2", MORE))] => Error("names `a/1` twice");
    a_listing_whose_second_page_is_an_error: [once(List, page("a/1", MORE)), always(List, refused()).skip(1)] => Error("does not allow listing");
    a_listing_whose_second_page_is_busy: [once(List, page("a/1 a/2", MORE)), Rule { times: 2, ..once(List, slow_down()).skip(1) },
        once(List, page("b", ALL)).skip(3)] => Right;
    a_listing_without_an_end: [always(List, page("", MORE))] => Error("does not say where to go on");
    a_listing_of_somebody_else: [always(List, Act::Answer(Answer::new("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated>\
        <Contents><Key>other/a</Key><Size>1</Size></Contents></ListBucketResult>")))] => Error("holds `other/a`");
}

#[test]
fn a_store_that_lists_no_uploads_says_so_and_does_not_say_that_there_are_none() {
    let stage = Stage::new(vec![always(Uploads, says("501 Not Implemented", "NotImplemented"))], |settings| settings);
    let report = stage.store.unfinished(&stage.cx).unwrap_err();
    stage.assert_clear(&report, "listing unfinished uploads");
}

/// Gives two parts; before the second one's last byte it waits for a later second than the first one's.
struct Slow {
    given: usize,
    began: Timestamp,
    full: Arc<Mutex<Option<Timestamp>>>,
}

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(2 * PART - self.given).min(PART);
        self.given += count;
        if self.given == 2 * PART && count > 0 {
            while Timestamp::now().as_second() < self.began.as_second() + 3 {
                std::thread::yield_now();
            }
            *self.full.lock().unwrap() = Some(Timestamp::now());
        }
        Ok(count)
    }
}

// TRAPS 17
#[test]
fn a_part_is_signed_when_it_is_full() {
    let stage = Stage::new(Vec::new(), |settings| Settings { concurrency: 1, ..settings });
    let full: Arc<Mutex<Option<Timestamp>>> = Arc::default();
    let body = Slow { given: 0, began: Timestamp::now(), full: Arc::clone(&full) };
    stage.store.put("slow", Box::new(body), &stage.cx).unwrap();
    let signed: Vec<(Ask, String)> = stage
        .scripted
        .heads()
        .into_iter()
        .filter_map(|(ask, head)| {
            let line = head.lines().find_map(|line| line.strip_prefix("x-amz-date: ").map(str::to_owned))?;
            Some((ask, line.to_uppercase()))
        })
        .collect();
    let at = |ask: Ask, index: usize| signed.iter().filter(|(asked, _)| *asked == ask).nth(index).unwrap().1.clone();
    // The SDK signs by the server's clock, whose answers tell whole seconds.
    let full = full.lock().unwrap().unwrap() - SignedDuration::from_secs(1);
    let full = full.strftime("%Y%m%dT%H%M%SZ").to_string();
    assert!(at(Part, 1) >= full, "{signed:?}, full at {full}");
    assert!(at(Create, 0) < full, "otherwise nothing is shown");
}

/// How an object is kept is said when it is begun, of the dump and of its manifest; what is the store's own stays free.
#[test]
fn class_encryption_and_lock_are_asked_for_on_the_wire() {
    let stage = Stage::new(vec![], |settings| Settings {
        storage_class: Some("STANDARD_IA".into()),
        encryption: Some(Encryption::Kms(Some("key-7".into()))),
        lock: Some(Lock { mode: LockMode::Compliance, days: 30 }),
        ..settings
    });
    let (say, said) = std::sync::mpsc::channel();
    let cx = Context { log: Log::to(move |_, line| say.send(line.to_owned()).unwrap()), ..context() };
    make(&stage.store, &cx).unwrap();
    stage.store.put(".lifeboat/lease/x", Box::new(&b"x"[..]), &cx).unwrap();
    stage.assert_whole();
    // This bucket knows no locks: what was asked for and cannot be seen is said, twice, and once for what is the store's own it is not.
    assert_eq!(said.try_iter().filter(|line| line.contains("the lock is not proven")).count(), 2);
    let heads = stage.scripted.heads();
    let of = |ask: Ask, key: &str| {
        let found = heads.iter().find(|(asked, head)| *asked == ask && head.lines().next().unwrap().contains(key));
        found.map(|(_, head)| head.to_lowercase()).unwrap()
    };
    let (dump, manifest, own) = (of(Create, ".gpg"), of(Put, ".json"), of(Put, ".lifeboat"));
    let until =
        (Timestamp::now() + SignedDuration::from_hours(30 * 24)).strftime("x-amz-object-lock-retain-until-date: %Y-%m-%dt").to_string();
    for head in [&dump, &manifest] {
        for line in ["x-amz-server-side-encryption: aws:kms", "key-id: key-7", "x-amz-object-lock-mode: compliance", &until] {
            assert!(head.contains(line), "{line} is not in {head}");
        }
    }
    assert!(dump.contains("x-amz-storage-class: standard_ia"), "{dump}");
    assert!(!manifest.contains("storage-class"), "so small an object is billed as a large one: {manifest}");
    assert!(own.contains("aws:kms") && !own.contains("object-lock"), "{own}");
    assert!(heads.iter().all(|(_, head)| !head.contains(stage.bucket.secret_key())));
}
