//! Signed posts (D3): a worker without any right stores one dump, and nothing else. On radosgw, and on the box's own bucket.

use std::any::Any;

use jiff::{SignedDuration, Timestamp};
use lifeboat::drill::bucket::Bucket;
use lifeboat::port::{Context, Store};
use lifeboat::report::{Kind, Report};
use lifeboat::store::post::Post;
use lifeboat::store::s3::S3;
use lifeboat::store::ticket::{Form, Ticket, VERSION};

use super::radosgw::Radosgw;
use crate::store::conformance::{body, dying, pattern, read};

const NAME: &str = "prod-202611210305.sql.gz.gpg";

/// Where there are rights, and what they are on.
struct Peer {
    owner: S3,
    cx: Context,
    spool: tempfile::TempDir,
    _keep: Box<dyn Any>,
}

fn radosgw() -> Peer {
    let rgw = Radosgw::shared();
    let owner = rgw.user();
    let bucket = rgw.bucket(&owner);
    Peer {
        owner: rgw.store(&owner, &bucket),
        cx: Context::new(rgw.cx.runtime.clone()),
        spool: tempfile::tempdir().unwrap(),
        _keep: Box::new(rgw),
    }
}

fn bucket() -> Peer {
    let runtime = crate::stage::runtime();
    let cx = Context::new(runtime.handle().clone());
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(dir.path(), &cx).unwrap();
    let owner = S3::new(bucket.settings(), &cx).unwrap();
    Peer { owner, cx, spool: tempfile::tempdir().unwrap(), _keep: Box::new((bucket, dir, runtime)) }
}

impl Peer {
    fn form(&self, key: &str, limit: u64, life: SignedDuration) -> Form {
        self.owner.form(key, limit, Timestamp::now() + life, &self.cx).unwrap()
    }

    fn ticket(&self, limit: u64) -> Ticket {
        let life = SignedDuration::from_mins(10);
        Ticket {
            version: VERSION,
            job: "orders".into(),
            environment: "prod".into(),
            name: NAME.into(),
            expires_at: Timestamp::now() + life,
            expected: None,
            size: None,
            store: self.owner.describe(),
            object: self.form(NAME, limit, life),
            manifest: self.form(&format!("{NAME}.manifest.json"), 1000, life),
        }
    }

    fn worker(&self, ticket: Ticket) -> Post {
        Post::new(ticket, self.spool.path().into(), &self.cx).unwrap()
    }

    fn post(&self, ticket: Ticket, bytes: &[u8]) -> Result<u64, Report> {
        self.worker(ticket).put(NAME, body(bytes), &self.cx).map(|object| object.size)
    }

    fn keys(&self) -> Vec<String> {
        self.owner.list("", &self.cx).unwrap().into_iter().map(|object| object.key).collect()
    }
}

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_radosgw { $(#[test] fn $name() { super::$name(&super::radosgw()); })* }
        mod on_a_bucket { $(#[test] fn $name() { super::$name(&super::bucket()); })* }
    };
}

on_both!(
    a_worker_without_rights_stores_a_dump_and_its_manifest,
    a_ticket_is_for_one_name_and_nothing_else,
    a_dump_larger_than_its_ticket_is_refused_on_both_sides,
    a_ticket_that_ended_is_refused_on_both_sides,
    a_garbled_signature_is_refused,
    a_dump_that_fails_posts_nothing,
    a_store_by_ticket_cannot_be_looked_into,
);

fn a_worker_without_rights_stores_a_dump_and_its_manifest(peer: &Peer) {
    let bytes = pattern(6_000_001);
    let worker = peer.worker(peer.ticket(10_000_000));
    assert_eq!(worker.put(NAME, body(&bytes), &peer.cx).unwrap().size, 6_000_001);
    worker.put(&format!("{NAME}.manifest.json"), body(b"{}"), &peer.cx).unwrap();
    assert!(read(peer.owner.get(NAME, None, &peer.cx).unwrap()) == bytes);
    assert_eq!(peer.keys(), [NAME.to_owned(), format!("{NAME}.manifest.json")]);
    assert_eq!(std::fs::read_dir(peer.spool.path()).unwrap().count(), 0, "what was spooled has no name");
}

fn a_ticket_is_for_one_name_and_nothing_else(peer: &Peer) {
    let report = peer.worker(peer.ticket(1000)).put("other.sql.gz.gpg", body(b"x"), &peer.cx).unwrap_err();
    assert_eq!(report.kind, Kind::Refused, "{report}");
    // Whoever changes the form is refused by the store.
    let mut ticket = peer.ticket(1000);
    let key = ticket.object.fields["key"].replace("prod", "other");
    ticket.object.fields.insert("key".into(), key);
    let report = peer.post(ticket, b"x").unwrap_err();
    assert!(report.kind == Kind::Refused && report.causes[0].contains("403") || report.causes[0].contains("400"), "{report}");
    // Nor does it take more than was signed for.
    let mut ticket = peer.ticket(1000);
    ticket.object.fields.insert("x-amz-meta-extra".into(), "1".into());
    let report = peer.post(ticket, b"x").unwrap_err();
    assert!(report.message.contains("does not accept") || report.causes[0].contains("40"), "{report}");
    assert_eq!(peer.keys(), [""; 0]);
}

fn a_dump_larger_than_its_ticket_is_refused_on_both_sides(peer: &Peer) {
    let report = peer.post(peer.ticket(1000), &pattern(1001)).unwrap_err();
    assert_eq!(report.message, format!("{NAME} is larger than the 1000 bytes its ticket allows"));
    let mut ticket = peer.ticket(1000);
    ticket.object.limit = 5000;
    let report = peer.post(ticket, &pattern(1001)).unwrap_err();
    assert!(report.message.contains("is larger than") && report.causes[0].contains("EntityTooLarge"), "{report}");
    assert_eq!(peer.keys(), [""; 0]);
    assert_eq!(peer.post(peer.ticket(1000), &pattern(1000)).unwrap(), 1000);
}

fn a_ticket_that_ended_is_refused_on_both_sides(peer: &Peer) {
    let mut ticket = peer.ticket(1000);
    ticket.object = peer.form(NAME, 1000, SignedDuration::from_secs(-1));
    let report = peer.post(ticket, b"x").unwrap_err();
    assert!(report.kind == Kind::Refused && report.message.contains("ended at"), "the store says so: {report}");
    let mut ticket = peer.ticket(1000);
    ticket.expires_at = Timestamp::now() - SignedDuration::from_secs(1);
    let report = Post::new(ticket, peer.spool.path().into(), &peer.cx).unwrap_err();
    assert!(report.kind == Kind::Refused && report.message.contains("expired"), "{report}");
    assert_eq!(peer.keys(), [""; 0]);
}

fn a_garbled_signature_is_refused(peer: &Peer) {
    let mut ticket = peer.ticket(1000);
    ticket.object.fields.insert("x-amz-signature".into(), "0".repeat(64));
    let report = peer.post(ticket, b"x").unwrap_err();
    assert!(report.message.contains("does not accept"), "{report}");
    assert!(!format!("{report:?}").contains(&"0".repeat(64)), "a signature is a secret");
}

fn a_dump_that_fails_posts_nothing(peer: &Peer) {
    let report = peer.worker(peer.ticket(1 << 20)).put(NAME, dying(1000), &peer.cx).unwrap_err();
    assert_eq!(report.message, "pg_dump exited with 1");
    assert_eq!(peer.keys(), [""; 0]);
}

fn a_store_by_ticket_cannot_be_looked_into(peer: &Peer) {
    let worker = peer.worker(peer.ticket(1000));
    for report in [
        worker.head(NAME, &peer.cx).unwrap_err(),
        worker.list("", &peer.cx).unwrap_err(),
        worker.get(NAME, None, &peer.cx).err().unwrap(),
        worker.delete(NAME, &peer.cx).unwrap_err(),
    ] {
        assert!(report.kind == Kind::Refused && report.message.contains("can be written to with a ticket"), "{report}");
    }
    assert_eq!(worker.reserved(), Some(NAME));
}
