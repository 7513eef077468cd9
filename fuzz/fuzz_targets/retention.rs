//! Whatever the history, nothing goes that was to stay: enough proven dumps and the newest good one are left.
#![no_main]

use arbitrary::Arbitrary;
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use lifeboat::pipeline::catalogue::{Listing, disproven};
use lifeboat::pipeline::manifest::{Dump, Level, Manifest, Proof};
use lifeboat::pipeline::retention::{Policy, decide};

#[derive(Arbitrary, Debug)]
struct History {
    dumps: Vec<(u16, bool, Vec<(u8, bool)>)>,
    age: Option<u16>,
    rules: [u8; 5],
    verified: u8,
    level: u8,
}

fn level(number: u8) -> Level {
    Level::from_number(number % 7).unwrap()
}

fn dump(number: usize, hours: u16, ours: bool, proofs: &[(u8, bool)], now: Timestamp) -> Dump {
    let at = now - SignedDuration::from_hours(i64::from(hours));
    let text = serde_json::json!({
        "version": 1, "id": number.to_string(), "job": if ours { "orders" } else { "orders-staging" }, "environment": "x",
        "object": format!("{number}.sql.gz.gpg"), "format": "plain", "compression": "gzip", "recipients": [],
        "origin": { "database": "orders", "system_identifier": "1", "server_version": "15.1", "client_version": "15.1" },
        "snapshot_at": at, "started_at": at, "ended_at": at,
        "plain": { "bytes": 1000, "sha256": "" }, "stored": { "bytes": 1000, "sha256": "" }, "tables": {},
        "schema": { "constraints": 0, "indexes": 0, "views": 0, "sequences": 0, "triggers": 0, "large_objects": 0 },
        "stages": [], "tool": "x",
    });
    let manifest: Manifest = serde_json::from_value(text).unwrap();
    let proof = |(proven, held): &(u8, bool)| Proof {
        dump: manifest.id.clone(),
        level: level(*proven),
        held: *held,
        reason: None,
        by: String::new(),
        at,
        took: SignedDuration::ZERO,
        server: None,
        asserted: Vec::new(),
        tool: String::new(),
    };
    let proofs = proofs.iter().map(proof).collect();
    Dump { manifest, proofs }
}

fuzz_target!(|history: History| {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let dumps = history.dumps.iter().take(200).enumerate();
    let dumps: Vec<Dump> = dumps.map(|(number, (hours, ours, proofs))| dump(number, *hours, *ours, proofs, now)).collect();
    let [last, daily, weekly, monthly, yearly] = history.rules.map(usize::from);
    let age = history.age.map(|hours| SignedDuration::from_hours(i64::from(hours)));
    let policy = Policy { age, last, daily, weekly, monthly, yearly, verified: usize::from(history.verified % 5), proof: level(history.level) };
    let found = Listing { dumps, problems: Vec::new() };
    let Ok(verdicts) = decide(&found, "orders", &policy, now) else { return };
    let own: Vec<&Dump> = found.dumps.iter().filter(|dump| dump.manifest.job == "orders").collect();
    assert_eq!(verdicts.len(), own.len(), "each is judged once, and no other");
    let left: Vec<&Dump> = verdicts.iter().filter(|verdict| !verdict.may_go()).map(|verdict| verdict.dump).collect();
    let proven = left.iter().filter(|dump| dump.proven().is_some_and(|proof| proof.level >= policy.proof)).count();
    assert!(own.is_empty() || proven >= policy.verified);
    if let Some(newest) = own.iter().filter(|dump| disproven(dump).is_none()).map(|dump| dump.manifest.snapshot_at).max() {
        assert!(left.iter().any(|dump| dump.manifest.snapshot_at == newest));
    }
});
