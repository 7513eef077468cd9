use proptest::prelude::*;

use super::*;
use crate::pipeline::catalogue::Problem;
use crate::pipeline::manifest::{Compression, Digest, Format, MANIFEST_VERSION, Manifest, Origin, Proof, SchemaCount};

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A dump of `job`, `hours` old, proven as said.
fn dump(job: &str, hours: i64, proof: Option<(Level, bool)>) -> Dump {
    let at = now() - SignedDuration::from_hours(hours);
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        id: format!("{job}{hours}"),
        job: job.into(),
        environment: "box".into(),
        object: format!("{job}-{hours}.sql.gz.gpg"),
        format: Format::Plain,
        compression: Compression::Gzip,
        recipients: Vec::new(),
        origin: Origin {
            database: "orders".into(),
            system_identifier: "1".into(),
            server_version: "15.18".into(),
            client_version: "15.18".into(),
        },
        snapshot_at: at,
        group: None,
        access: None,
        started_at: at,
        ended_at: at,
        plain: Digest { bytes: 1000, sha256: String::new() },
        stored: Digest::default(),
        tables: BTreeMap::new(),
        schema: SchemaCount::default(),
        stages: Vec::new(),
        tool: String::new(),
    };
    let proofs = proof.map(|(level, held)| Proof {
        dump: manifest.id.clone(),
        level,
        held,
        reason: None,
        by: String::new(),
        at,
        took: SignedDuration::ZERO,
        server: None,
        asserted: Vec::new(),
        tool: String::new(),
    });
    Dump { manifest, proofs: proofs.into_iter().collect() }
}

const PROVEN: Option<(Level, bool)> = Some((Level::L4, true));
const BAD: Option<(Level, bool)> = Some((Level::L1, false));

fn listing(dumps: Vec<Dump>) -> Listing {
    Listing { dumps, ..Listing::default() }
}

/// A proven dump each day, `days` back from `newest` hours ago.
fn nightly(days: i64, newest: i64) -> Vec<Dump> {
    (0..days).map(|day| dump("orders", newest + day * 24, PROVEN)).collect()
}

fn stays(listing: &Listing, policy: &Policy) -> Vec<String> {
    let verdicts = decide(listing, "orders", policy, now()).unwrap();
    verdicts.iter().filter(|verdict| !verdict.may_go()).map(|verdict| verdict.dump.manifest.object.clone()).collect()
}

fn refusal(listing: &Listing, policy: &Policy) -> String {
    decide(listing, "orders", policy, now()).unwrap_err().to_string()
}

fn age(days: i64) -> Policy {
    Policy { age: Some(SignedDuration::from_hours(days * 24)), ..Policy::default() }
}

#[test]
fn what_is_older_than_the_age_may_go() {
    assert_eq!(stays(&listing(nightly(200, 3)), &age(180)).len(), 181, "180 days, both ends included");
}

#[test]
fn after_months_of_failure_the_age_still_counts_from_the_last_success() {
    let of_last_year = listing(nightly(10, 400 * 24));
    assert_eq!(stays(&of_last_year, &age(180)).len(), 10);
}

#[test]
fn failed_dumps_are_not_counted_and_do_not_stay_for_being_last() {
    let mut dumps = nightly(5, 48);
    dumps.insert(0, dump("orders", 2, BAD));
    dumps.insert(1, dump("orders", 26, BAD));
    let policy = Policy { last: 3, verified: 1, ..Policy::default() };
    assert_eq!(stays(&listing(dumps), &policy), ["orders-48.sql.gz.gpg", "orders-72.sql.gz.gpg", "orders-96.sql.gz.gpg"]);
}

#[test]
fn with_fewer_proven_dumps_than_wanted_nothing_goes() {
    let mut dumps: Vec<Dump> = (0..20).map(|day| dump("orders", day * 24, None)).collect();
    dumps.push(dump("orders", 600, PROVEN));
    let words = refusal(&listing(dumps), &age(5));
    assert!(words.contains("1 dumps of orders are proven at L2 or higher, of at least 3"), "{words}");
}

#[test]
fn proven_dumps_stay_beyond_every_rule_until_newer_ones_are_proven() {
    let mut dumps: Vec<Dump> = (0..20).map(|day| dump("orders", day * 24, None)).collect();
    dumps.extend((30..33).map(|day| dump("orders", day * 24, PROVEN)));
    let stay = stays(&listing(dumps), &age(5));
    assert_eq!(stay.len(), 6 + 3);
    assert!(stay.contains(&"orders-768.sql.gz.gpg".to_owned()));
}

#[test]
fn a_dump_from_the_future_stops_everything() {
    let mut dumps = nightly(10, 3);
    dumps.insert(0, dump("orders", -1, PROVEN));
    assert!(refusal(&listing(dumps), &age(5)).contains("a clock is wrong"));
}

#[test]
fn a_newest_dump_that_shrank_stops_everything_until_a_few_agree() {
    let mut dumps = nightly(10, 3);
    dumps[0].manifest.plain.bytes = 499;
    assert!(refusal(&listing(dumps.clone()), &age(5)).contains("it has 499 bytes where those before it had 1000"));
    dumps.iter_mut().take(6).for_each(|dump| dump.manifest.plain.bytes = 499);
    assert_eq!(stays(&listing(dumps), &age(5)).len(), 6);
}

#[test]
fn what_cannot_be_read_stops_everything_unless_it_is_known_to_be_anothers() {
    let problem = |manifest: Option<Manifest>| Problem { object: "x".into(), manifest, report: Report::refused("no manifest") };
    let mut found = listing(nightly(10, 3));
    found.problems = vec![problem(Some(dump("orders-staging", 1, None).manifest))];
    assert_eq!(stays(&found, &age(5)).len(), 6);
    found.problems.push(problem(None));
    assert!(refusal(&found, &age(5)).contains("cannot be understood"));
    found.problems = vec![problem(Some(dump("orders", 1, None).manifest))];
    assert!(refusal(&found, &age(5)).contains("cannot be understood"));
}

#[test]
fn a_name_that_begins_alike_is_another_job() {
    let mut dumps = nightly(10, 3);
    dumps.extend((0..10).map(|day| dump("orders-staging", day * 24 + 1, PROVEN)));
    let found = listing(dumps);
    let verdicts = decide(&found, "orders", &age(5), now()).unwrap();
    assert!(verdicts.iter().all(|verdict| verdict.dump.manifest.job == "orders"));
    assert_eq!(verdicts.len(), 10);
}

#[test]
fn each_database_of_a_job_is_judged_by_itself() {
    let mut dumps = nightly(10, 3);
    let mut other: Vec<Dump> = nightly(10, 24 * 100);
    for dump in &mut other {
        dump.manifest.origin.database = "billing".into();
    }
    dumps.extend(other);
    assert_eq!(stays(&listing(dumps), &age(5)).len(), 12, "six of each, though the one has not been dumped for 100 days");
}

#[test]
fn grandfather_father_and_son_keep_the_newest_of_their_periods() {
    let policy = Policy { daily: 7, weekly: 4, monthly: 12, yearly: 2, verified: 0, ..Policy::default() };
    let found = listing(nightly(800, 3));
    let verdicts = decide(&found, "orders", &policy, now()).unwrap();
    let days = |reason: Reason| -> Vec<String> {
        verdicts.iter().filter(|verdict| verdict.reasons.contains(&reason)).map(|verdict| day(verdict.dump).to_string()).collect()
    };
    assert_eq!(days(Reason::Daily).len(), 7);
    assert_eq!(days(Reason::Weekly), ["2026-11-21", "2026-11-15", "2026-11-08", "2026-11-01"]);
    assert_eq!(days(Reason::Monthly)[..3], ["2026-11-21", "2026-10-31", "2026-09-30"]);
    assert_eq!(days(Reason::Yearly), ["2026-11-21", "2025-12-31"]);
}

fn histories() -> impl Strategy<Value = Vec<Dump>> {
    let proof = prop_oneof![
        Just(None),
        (0_u8..7, prop::bool::weighted(0.8)).prop_map(|(level, held)| Some((Level::from_number(level).unwrap(), held)))
    ];
    prop::collection::btree_map(0_i64..20_000, (proof, 0_usize..3), 0..60).prop_map(|found| {
        let of =
            |(hours, (proof, job)): (i64, (Option<(Level, bool)>, usize))| dump(["orders", "orders", "orders-staging"][job], hours, proof);
        found.into_iter().map(of).collect()
    })
}

prop_compose! {
    fn policies()(
        age in prop::option::of(1_i64..10_000),
        rules in prop::array::uniform5(0_usize..8),
        verified in 0_usize..4,
        level in 0_u8..7,
    ) -> Policy {
        let [last, daily, weekly, monthly, yearly] = rules;
        let age = age.map(SignedDuration::from_hours);
        Policy { age, last, daily, weekly, monthly, yearly, verified, proof: Level::from_number(level).unwrap() }
    }
}

proptest! {
    #[test]
    fn whatever_the_history_enough_proven_dumps_and_the_newest_good_one_stay(dumps in histories(), policy in policies()) {
        let found = listing(dumps);
        if let Ok(verdicts) = decide(&found, "orders", &policy, now()) {
            let own: Vec<&Dump> = found.dumps.iter().filter(|dump| dump.manifest.job == "orders").collect();
            prop_assert_eq!(verdicts.len(), own.len(), "each is judged once, and no other");
            let left: Vec<&Dump> = verdicts.iter().filter(|verdict| !verdict.may_go()).map(|verdict| verdict.dump).collect();
            let proven = left.iter().filter(|dump| dump.proven().is_some_and(|proof| proof.level >= policy.proof)).count();
            prop_assert!(own.is_empty() || proven >= policy.verified);
            let newest = own.iter().filter(|dump| dump.disproven().is_none()).max_by_key(|dump| dump.manifest.snapshot_at);
            prop_assert!(newest.is_none_or(|newest| left.iter().any(|dump| dump.manifest.id == newest.manifest.id)));
        }
    }

    #[test]
    fn judging_again_what_is_left_takes_nothing_more(dumps in histories(), policy in policies()) {
        let found = listing(dumps);
        if let Ok(verdicts) = decide(&found, "orders", &policy, now()) {
            let left: Vec<Dump> = verdicts.iter().filter(|verdict| !verdict.may_go()).map(|verdict| verdict.dump.clone()).collect();
            let left = listing(left);
            if !left.dumps.is_empty() {
                let again = decide(&left, "orders", &policy, now()).unwrap();
                prop_assert!(again.iter().all(|verdict| !verdict.may_go()));
            }
        }
    }

    #[test]
    fn a_rule_more_never_lets_more_go(dumps in histories(), policy in policies(), days in 0_usize..20) {
        let found = listing(dumps);
        let more = Policy { daily: policy.daily + days, ..policy.clone() };
        if let (Ok(before), Ok(after)) = (decide(&found, "orders", &policy, now()), decide(&found, "orders", &more, now())) {
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before.may_go() || !after.may_go()));
        }
    }
}
