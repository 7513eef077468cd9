//! Trial restores: a dump goes into a server of its own, is counted and asked, and nothing of that is left, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::pipeline::catalogue;
use lifeboat::pipeline::manifest::{Level, Manifest, Proof};
use lifeboat::report::Kind;

use crate::jobs::rig::{DEBIAN, Rig, Wanted, bin};

/// What a database can hold that a dump writes down in a way of its own.
const RICH: [&str; 22] = [
    "CREATE TYPE mood AS ENUM ('sad', 'it''s ok')",
    "CREATE DOMAIN word AS text CHECK (VALUE ~ '^[[:alpha:]]+$')",
    "CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name word NOT NULL, mood mood, \
     shout text GENERATED ALWAYS AS (upper(name::text)) STORED, tags text[], facts jsonb, UNIQUE (name, mood))",
    "INSERT INTO people (name, mood, tags, facts) SELECT 'Zoë' || chr(97 + n % 26), 'sad', ARRAY['a, b', NULL, 'c\"d'], '{\"a\": [1, \"\\t\"]}' \
     FROM generate_series(0, 25) n",
    "CREATE TABLE kids (toys int) INHERITS (people)",
    "CREATE TABLE visits (at timestamptz NOT NULL, who bigint NOT NULL REFERENCES people (id), note text) PARTITION BY RANGE (at)",
    "CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE TABLE visits_other PARTITION OF visits DEFAULT",
    "CREATE INDEX visits_at ON visits (at)",
    "INSERT INTO visits SELECT '2026-01-01'::timestamptz + n * interval '10 hours', 1 + n % 26, CASE WHEN n % 2 = 0 THEN 'x' || n END FROM generate_series(1, 2000) n",
    "ALTER TABLE visits_other ADD CONSTRAINT unproven CHECK (note <> 'never') NOT VALID",
    "CREATE TABLE shifts (room int, during tsrange, EXCLUDE USING gist (during WITH &&))",
    "INSERT INTO shifts VALUES (1, '[2026-01-01, 2026-01-02)'), (2, '[2026-01-02, 2026-01-03)')",
    "CREATE UNLOGGED TABLE scratch (a float8, b numeric, c bytea, d date)",
    "INSERT INTO scratch VALUES ('NaN', 'Infinity'::float8::text::numeric, '\\x00ff', '-infinity'), (1e-300, 0.10, '', '4713-01-01 BC')",
    "CREATE MATERIALIZED VIEW busy AS SELECT who, count(*) AS times FROM visits GROUP BY who",
    "CREATE UNIQUE INDEX ON busy (who)",
    "CREATE VIEW quiet AS SELECT name FROM people WHERE mood IS DISTINCT FROM 'sad'",
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, ';'); RETURN NEW; END $$",
    "CREATE TRIGGER touched BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION touch()",
    "CREATE SEQUENCE loose START 7 INCREMENT 3",
    "SELECT lo_from_bytea(4711, '\\x0102030405'), lo_from_bytea(4712, decode(repeat('ab', 100000), 'hex')), nextval('loose')",
];

const RICH_JOBS: &str = r#"
[job.plain]
system = "main"
store = "shelf"
keys = ["backup"]
databases = ["rich"]
name = "plain-{database}-{yyyyMMddHHmmss}.sql.gz.gpg"

[job.custom]
system = "main"
store = "shelf"
keys = ["backup"]
databases = ["rich"]
format = "custom"
compression = "zstd"
name = "custom-{database}-{yyyyMMddHHmmss}.dump.zst.gpg"

[proof]
path = "proof"
"#;

const ORDERS: &str = r#"
[job.orders]
system = "main"
store = "shelf"
keys = ["backup"]
name = "orders-{yyyyMMddHHmmss}.sql.gz.gpg"
PROVE

[[job.orders.assert]]
title = "there are three orders"
query = "SELECT count(*) FROM orders;"
equals = 3

[[job.orders.assert]]
title = "nobody ordered nothing"
query = """
SELECT buyer FROM orders
WHERE cents <= 0
"""

[proof]
path = "proof"
"#;

/// A server with three orders, and a job that proves as far as is said.
fn shop(prove: &str) -> Rig {
    let rest = ORDERS.replace("PROVE", prove);
    let rig = Rig::open(&Wanted { rest: &rest, ..Wanted::default() });
    fs::create_dir(place(&rig)).unwrap();
    rig.execute(
        "orders",
        &[
            "CREATE TABLE orders (id int PRIMARY KEY, buyer text, cents int)",
            "INSERT INTO orders VALUES (1, 'ada@example.org', 100), (2, 'bob@example.org', 200), (3, 'cyd@example.org', 300)",
        ],
    );
    rig
}

/// Where its throwaway servers are.
fn place(rig: &Rig) -> PathBuf {
    rig.dir.path().join("proof")
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// Processes that work below a directory.
fn at_work_in(directory: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    processes.filter(|id: &u32| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory))).collect()
}

fn made(rig: &Rig, job: &str) -> Manifest {
    rig.engine.backup(job, &rig.cx).unwrap().remove(0)
}

fn proofs(rig: &Rig, job: &str, object: &str) -> Vec<Proof> {
    rig.engine.dump(job, object, &rig.cx).unwrap().proofs
}

// C4, R5; TRAPS 32, 33
#[test]
fn a_dump_of_every_major_is_restored_into_a_server_of_its_own_major() {
    for major in [14, DEBIAN, 16, 17, 18] {
        let programs = if major == DEBIAN { String::new() } else { format!("bin = [\"{}\"]\n", bin(major).display()) };
        let rig = Rig::open(&Wanted { major, system: &programs, rest: RICH_JOBS, ..Wanted::default() });
        fs::create_dir(place(&rig)).unwrap();
        rig.execute("postgres", &["CREATE DATABASE rich TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"]);
        rig.execute("rich", &RICH);
        for name in ["plain", "custom"] {
            let manifest = made(&rig, name);
            let job = rig.engine.inventory().job(name).unwrap();
            let proof = rig.engine.prove(job, &manifest, Level::L5, &rig.cx).unwrap_or_else(|report| panic!("{major} {name}: {report}"));
            assert!(proof.held && proof.level == Level::L5, "{proof:?}");
            assert!(proof.server.as_ref().unwrap().starts_with(&format!("{major}.")), "{proof:?}");
            assert_eq!(proofs(&rig, name, &manifest.object), [proof], "it is kept");
            assert!(manifest.rows() > 2000 && manifest.schema.large_objects == 2, "{manifest:?}");
        }
        assert!(is_empty(&place(&rig)) && at_work_in(&place(&rig)).is_empty(), "{major}: something is left");
    }
}

// C5, D5; TRAP 11
#[test]
fn a_backup_whose_dump_does_not_hold_what_is_asserted_fails_and_the_dump_is_disproven() {
    let rig = shop("prove = \"L6\"");
    let (code, _, said) = rig.run(&["backup", "orders"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("holds at L6"), "{said}");
    let listing = rig.engine.listing("orders", &rig.cx).unwrap();
    let proof = listing.dumps[0].proven().unwrap().clone();
    assert_eq!(
        (proof.level, proof.asserted.as_slice()),
        (Level::L6, &["there are three orders".to_owned(), "nobody ordered nothing".to_owned()][..])
    );

    rig.execute("orders", &["UPDATE orders SET cents = -5 WHERE id = 2", "DELETE FROM orders WHERE id = 3"]);
    let (code, _, said) = rig.run(&["backup", "orders"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("does not hold at L6") && said.contains("there are three orders: 2, expected 3"), "{said}");
    assert!(said.contains("nobody ordered nothing: 1 rows where there must be none"), "{said}");
    let listing = rig.engine.listing("orders", &rig.cx).unwrap();
    let bad = listing.dumps[0].disproven().unwrap();
    assert_eq!(bad.level, Level::L6);
    // Nobody's data is in what anybody may read.
    let record = serde_json::to_string(bad).unwrap();
    assert!(!record.contains("example.org"), "{record}");
    let (code, out, _) = rig.run(&["status"]);
    assert!(code == 3 && out.contains("BAD") && out.contains("proven L6"), "{out}");
    assert!(is_empty(&place(&rig)));
}

// C5: what could not be proven is not proven, and not disproven either.
#[test]
fn what_cannot_be_proven_here_fails_the_run_and_disproves_nothing() {
    let rig = shop("prove = \"L5\"");
    let path = format!("path = {:?}", "nowhere");
    let text = fs::read_to_string(&rig.config).unwrap().replace("path = \"proof\"", &path);
    fs::write(&rig.config, text).unwrap();
    let (code, _, said) = rig.run(&["backup", "orders"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("could not be proven") && said.contains("nowhere"), "{said}");
    let listing = rig.engine.listing("orders", &rig.cx).unwrap();
    assert!(listing.dumps.len() == 1 && listing.dumps[0].proofs.is_empty(), "{listing:?}");
}

#[test]
fn what_a_proof_needs_and_does_not_find_is_told_before_anything_is_restored() {
    let rig = shop("");
    let manifest = made(&rig, "orders");
    let job = rig.engine.inventory().job("orders").unwrap();
    let told = |manifest: &Manifest, level| rig.engine.prove(job, manifest, level, &rig.cx).unwrap_err();
    // No server of that major.
    let mut old = manifest.clone();
    old.origin.server_version = "7.4".into();
    let report = told(&old, Level::L5);
    assert!(report.kind == Kind::Failed && report.to_string().contains("no PostgreSQL server of version 7"), "{report}");
    assert!(report.hints.iter().any(|hint| hint == "apt-get install postgresql-7"), "{report:?}");
    // No room.
    let mut huge = manifest.clone();
    huge.plain.bytes = 1 << 50;
    let report = told(&huge, Level::L5);
    assert!(report.kind == Kind::Failed && report.to_string().contains("where") && report.hints[0].contains("[proof] path"), "{report:?}");
    // Nothing is asserted.
    let mut bare = job.clone();
    bare.asserts.clear();
    let report = rig.engine.prove(&bare, &manifest, Level::L6, &rig.cx).unwrap_err();
    assert!(report.kind == Kind::Usage && report.message.contains("it has none"), "{report}");
    // An assertion that cannot be asked says nothing of the data.
    let mut wrong = job.clone();
    wrong.asserts[0].query = "SELECT count(*) FROM ordres".into();
    let report = rig.engine.prove(&wrong, &manifest, Level::L6, &rig.cx).unwrap_err();
    assert!(report.kind == Kind::Failed && report.to_string().contains("could not be asked"), "{report}");
    // One that writes is not let.
    wrong.asserts[0].query = "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM gone".into();
    let report = rig.engine.prove(&wrong, &manifest, Level::L6, &rig.cx).unwrap_err();
    assert!(report.kind == Kind::Failed, "{report}");
    assert!(proofs(&rig, "orders", &manifest.object).is_empty(), "and nothing is on record");
    assert!(is_empty(&place(&rig)));
}

// R5
#[test]
fn all_dumps_of_a_job_are_proven_by_schedule_and_the_worst_is_the_end() {
    let rig = shop("");
    let (first, second) = (made(&rig, "orders"), made(&rig, "orders"));
    let (code, out, said) = rig.run(&["verify", "--job", "orders", "--latest", "--level", "L5"]);
    assert!(code == 0 && out.starts_with(&format!("{}: L5 holds (", second.object)), "{out}{said}");
    assert!(out.contains("restored into PostgreSQL 15."), "{out}");
    let (code, out, said) = rig.run(&["verify", "--job", "orders", "--unproven", "--level", "L5"]);
    assert!(code == 0 && out.starts_with(&first.object) && out.lines().count() == 1, "only the one that was not: {out}{said}");
    let (code, out, _) = rig.run(&["verify", "--job", "orders", "--unproven", "--level", "L4"]);
    assert_eq!((code, out.as_str()), (0, ""), "L5 is more than L4");
    // One goes bad.
    let path = rig.dir.path().join("shelf").join(&first.object);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let (code, out, said) = rig.run(&["verify", "--job", "orders", "--all", "--level", "L5"]);
    assert_eq!(code, 3, "{out}{said}");
    assert!(out.starts_with(&second.object) && out.lines().count() == 1, "{out}");
    assert!(said.contains("does not hold at L1") && said.contains("1 of 2 dumps does not hold"), "{said}");
    let listing =
        catalogue::list(&*rig.engine.store(rig.engine.inventory().job("orders").unwrap(), &rig.cx).unwrap(), None, &rig.cx).unwrap();
    assert_eq!(listing.dumps[1].disproven().map(|proof| proof.level), Some(Level::L1));
    assert!(is_empty(&place(&rig)));
    let (code, _, said) = rig.run(&["verify", "--all"]);
    assert!(code == 2 && said.contains("--job"), "{said}");
}

/// A proof under way: its server is up.
struct Underway {
    child: Child,
    server: u32,
}

fn underway(rig: &Rig, object: &str) -> Underway {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.env("HOME", rig.dir.path()).args(["verify", object, "--level", "L5", "--config"]).arg(&rig.config);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its server was seen");
        assert!(Instant::now() < until, "no server came up");
        let mut lock = fs::read_dir(place(rig)).unwrap().map(|entry| entry.unwrap().path().join("pg/data/postmaster.pid"));
        let id = lock.find_map(|path| fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok());
        match id {
            Some(server) => return Underway { child, server },
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn gone(id: u32) {
    let until = Instant::now() + Duration::from_secs(30);
    while Path::new(&format!("/proc/{id}")).exists() {
        assert!(Instant::now() < until, "process {id} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// TRAP 41
#[test]
fn a_killed_proof_takes_its_server_with_it_and_the_next_one_clears_its_directory() {
    let rig = shop("");
    let manifest = made(&rig, "orders");
    let mut killed = underway(&rig, &manifest.object);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    gone(killed.server);
    assert!(!is_empty(&place(&rig)), "nobody was left to clear it away");
    let (code, out, said) = rig.run(&["verify", &manifest.object, "--level", "L5"]);
    assert!(code == 0 && said.contains("was left by a process that is gone: removed"), "{out}{said}");
    assert!(is_empty(&place(&rig)));
    // One that is at work is left alone.
    let mut other = underway(&rig, &manifest.object);
    let (code, _, said) = rig.run(&["verify", &manifest.object, "--level", "L5"]);
    assert!(code == 0 && !said.contains("was left by"), "{said}");
    assert!(other.child.wait().unwrap().success(), "the other one was disturbed");
    assert!(is_empty(&place(&rig)));
}

// TRAP 41
#[test]
fn a_proof_that_is_stopped_ends_its_server_and_leaves_no_record() {
    let rig = shop("");
    let manifest = made(&rig, "orders");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut stopped = underway(&rig, &manifest.object);
        let id = rustix::process::Pid::from_raw(i32::try_from(stopped.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        assert_eq!(stopped.child.wait().unwrap().code(), Some(4), "{signal:?}");
        gone(stopped.server);
        assert!(is_empty(&place(&rig)), "{signal:?}");
    }
    assert!(proofs(&rig, "orders", &manifest.object).is_empty());
}
