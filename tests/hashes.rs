//! The rows of a dump and those of what was restored from it are the same, to the byte; and where they are not, somebody says so. // B8

use std::collections::BTreeMap;
use std::fs;

use lifeboat::pipeline::manifest::{Level, MANIFEST_SUFFIX, Manifest};
use lifeboat::port::table_hash::TableHash;
use lifeboat::report::Kind;
use lifeboat::system::postgres::Postgres;
use lifeboat::system::postgres::contents::{Held, Wanted};
use lifeboat::system::postgres::count::parse_name;

use crate::jobs::rig::{DEBIAN, Rig, Wanted as Asked, bin};

const JOBS: &str = r#"
[job.plain]
system = "main"
store = "shelf"
keys = ["backup"]
name = "plain-{yyyyMMddHHmmss}.sql.gz.gpg"

[job.custom]
system = "main"
store = "shelf"
keys = ["backup"]
format = "custom"
compression = "zstd"
name = "custom-{yyyyMMddHHmmss}.dump.zst.gpg"

[proof]
path = "proof"
"#;

/// Values whose text is of many kinds, in tables of every kind, in a database that would write many of them otherwise than another does.
const ODD: [&str; 20] = [
    "CREATE TYPE pair AS (a int, \"b c\" text)",
    "CREATE TABLE values_ (id bigint GENERATED ALWAYS AS IDENTITY, j jsonb, b bytea, f4 float4, f8 float8, n numeric, tz timestamptz, ts timestamp, \
     i interval, days date[], words text[], twice bigint GENERATED ALWAYS AS (id * 2) STORED, p pair, r tstzrange, c \"char\", k regclass, net inet, \
     x xml, bits bit(5), gone text)",
    "INSERT INTO values_ (j, b, f4, f8, n, tz, ts, i, days, words, p, r, c, k, net, x, bits, gone) SELECT jsonb_build_object('n', n, 's', E'\\t\"\\\\'), \
     sha256(n::text::bytea), n / 3.0::float4, CASE WHEN n % 7 = 0 THEN 'NaN' ELSE exp(n::float8 / 7) END, (n::numeric / 7), \
     timestamptz '2026-03-29 00:30:00+01' + n * interval '7 minutes', timestamp '1999-12-31 23:59:59.999' + n * interval '1 hour', \
     n * interval '1 year -2 days 3.5 seconds', ARRAY[date '0044-03-15 BC', NULL, date '2026-01-01' + n], ARRAY['a, b', NULL, '', '{', E'\\\\.', E'\\n'], \
     (n, 'x''y')::pair, tstzrange(now(), NULL), 'c', 'pg_class'::regclass, '10.0.0.1/8', '<a b=\"1\"/>', B'10101', 'gone' FROM generate_series(1, 500) n",
    "ALTER TABLE values_ DROP COLUMN gone",
    "CREATE TABLE nothing ()",
    "INSERT INTO nothing DEFAULT VALUES",
    "INSERT INTO nothing DEFAULT VALUES",
    "CREATE TABLE empty (a int)",
    "CREATE TABLE \"Quoted, (\"\"name\"\")\" (\"a, b\" text, \"SELECT\" int)",
    "INSERT INTO \"Quoted, (\"\"name\"\")\" VALUES ('ünïcode \u{1F6DF}', 1), (E'\\\\.', 2), (NULL, NULL)",
    "CREATE TABLE long (id int, t text, raw bytea)",
    "INSERT INTO long SELECT n, repeat(md5(n::text), 60000), decode(repeat(md5(n::text), 20000), 'hex') FROM generate_series(1, 3) n",
    "CREATE TABLE parted (at date, v int) PARTITION BY RANGE (at)",
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')",
    // Attached with its columns in another order.
    "CREATE TABLE parted_2 (v int, at date); ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')",
    "INSERT INTO parted SELECT date '2026-01-01' + n, n FROM generate_series(0, 360) n",
    // In what is restored the column that came later stands before the child's own.
    "CREATE TABLE parent (a int); CREATE TABLE child (own text) INHERITS (parent); ALTER TABLE parent ADD COLUMN later int",
    "INSERT INTO child SELECT n, 'own ' || n, -n FROM generate_series(1, 50) n",
    "CREATE TABLE prices (id int, price money); INSERT INTO prices VALUES (1, 1234.5)",
    "ALTER DATABASE orders SET TimeZone = 'Europe/Berlin'; ALTER DATABASE orders SET bytea_output = 'escape'; \
     ALTER DATABASE orders SET DateStyle = 'German'; ALTER DATABASE orders SET IntervalStyle = 'iso_8601'; ALTER DATABASE orders SET extra_float_digits = 0",
];

fn odd(major: u32) -> Rig {
    let rig = rig(major);
    rig.execute("orders", &ODD);
    rig
}

fn rig(major: u32) -> Rig {
    let own = format!("bin = \"{}\"\n", bin(major).display());
    let rig = Rig::open(&Asked { major, system: &own, rest: JOBS, ..Asked::default() });
    fs::create_dir(rig.dir.path().join("proof")).unwrap();
    rig
}

fn made(rig: &Rig, job: &str) -> Manifest {
    rig.backup(job).remove("orders").unwrap()
}

/// The manifest of a dump as versions wrote it that made no hashes.
pub fn as_before(rig: &Rig, dump: &str) -> Manifest {
    let path = rig.dir.path().join("shelf").join(format!("{dump}{MANIFEST_SUFFIX}"));
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for count in manifest["tables"].as_object_mut().unwrap().values_mut() {
        assert_eq!(count.as_object_mut().unwrap().remove("xxh3").unwrap().as_str().unwrap().len(), 32);
    }
    fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    serde_json::from_value(manifest).unwrap()
}

/// What each table of a database hashes to, read out of the server in its own order of columns.
fn held(rig: &Rig, manifest: &Manifest, database: &str) -> BTreeMap<String, Held> {
    let job = rig.engine.inventory().job("plain").unwrap();
    let postgres = rig.engine.inventory().system(&job.system).unwrap().postgres();
    let postgres = Postgres::new(postgres.clone());
    let wanted: Wanted = manifest.tables.keys().map(|table| (parse_name(table).unwrap(), None)).collect();
    let held = postgres.contents(database, &wanted, &rig.cx).unwrap();
    manifest.tables.keys().map(|table| (table.clone(), held[&parse_name(table).unwrap()])).collect()
}

/// The tables whose hash in the server is not the manifest's.
fn unlike(rig: &Rig, manifest: &Manifest, database: &str) -> Vec<String> {
    let held = held(rig, manifest, database);
    let differs = |(table, held): &(&String, &Held)| held.hash != manifest.tables[*table].xxh3;
    held.iter().filter(differs).map(|(table, _)| table.clone()).collect()
}

#[test]
fn whatever_a_table_can_hold_hashes_the_same_in_the_dump_and_in_the_server() {
    [14, DEBIAN, 18].into_iter().for_each(hashes_the_same);
}

fn hashes_the_same(major: u32) {
    let rig = odd(major);
    let manifests = ["plain", "custom"].map(|job| made(&rig, job));
    assert_eq!(manifests[0].tables, manifests[1].tables, "the layout makes no difference");
    let manifest = &manifests[0];
    assert_eq!(manifest.tables.len(), 10, "{:?}", manifest.tables.keys());
    assert_eq!(manifest.tables["public.empty"].xxh3, Some(TableHash(0)));
    assert!(manifest.tables["public.long"].bytes > 3 << 20);
    // Of money only the rows are counted: how it is written is the locale's business.
    assert_eq!(unlike(&rig, manifest, "orders"), ["public.prices"]);
    assert_eq!(held(&rig, manifest, "orders")["public.prices"], Held { rows: 1, hash: None });
    // What a value looks like in a dump is not up to the database.
    let text = rig.text("plain", manifest);
    assert!(
        text.contains("2026-03-29 02:") && text.contains("+00") && !text.contains("+02") && !text.contains("+01"),
        "moments are in UTC"
    );
    assert!(text.contains("\\\\x"), "bytes are in hex");
    // One row more of the same, one bit of one value: only that table is another.
    rig.execute(
        "orders",
        &["INSERT INTO nothing DEFAULT VALUES", "UPDATE long SET raw = set_bit(raw, 77777, 1 - get_bit(raw, 77777)) WHERE id = 2"],
    );
    assert_eq!(unlike(&rig, manifest, "orders"), ["public.long", "public.nothing", "public.prices"]);
}

#[test]
fn what_was_restored_holds_every_row_of_the_dump_to_the_byte() {
    let rig = odd(DEBIAN);
    for job in ["plain", "custom"] {
        let manifest = made(&rig, job);
        let (into, part) = (format!("copy_{job}"), format!("part_{job}"));
        let (code, _, said) = rig.run(&["restore", &manifest.object, "--into", &into, "--compare"]);
        assert_eq!(code, 0, "{said}");
        // What is there is counted to be called there already, and that is not comparing.
        let (code, _, said) = rig.run(&["restore", &manifest.object, "--into", &into, "--compare"]);
        assert!(code == 3 && said.contains(&format!("database \"{into}\" exists already")), "{code} {said}");
        // The child's columns stand in another order there: read in that of the server it would seem another.
        assert_eq!(
            rig.ask(
                &into,
                "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'child'::regclass AND attnum > 0"
            ),
            "a later own"
        );
        assert_eq!(unlike(&rig, &manifest, &into), ["public.child", "public.prices"]);
        let (code, _, said) = rig.run(&["restore", &manifest.object, "--into", &part, "--table", "public.values_", "--compare"]);
        assert_eq!(code, 0, "what was not wanted is not compared: {said}");
        let job = rig.engine.inventory().job(job).unwrap();
        let proof = rig.engine.prove(job, &manifest, Level::L5, &rig.cx).unwrap();
        assert!(proof.held, "{proof:?}");
        rig.execute(&into, &["UPDATE values_ SET j = jsonb_set(j, '{n}', '-1') WHERE id = 250"]);
        assert_eq!(unlike(&rig, &manifest, &into), ["public.child", "public.prices", "public.values_"]);
    }
    let said = rig.said();
    assert!(said.contains("counted, not compared, because how money is written") && said.contains("public.prices"), "{said}");
}

/// While the rows of `witness` come in, something changes a row that is there already: what is restored has as many rows as the dump, every
/// constraint holds, and it is not the dump.
const MEDDLING: [&str; 6] = [
    "CREATE TABLE accounts (id int PRIMARY KEY, cents int NOT NULL)",
    "CREATE FUNCTION meddle() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN UPDATE public.accounts SET cents = cents + 1 WHERE id = 2; RETURN true; END $$",
    "CREATE TABLE witness (id int PRIMARY KEY, CHECK (meddle()))",
    "INSERT INTO accounts SELECT n, 100 * n FROM generate_series(1, 3) n",
    "INSERT INTO witness VALUES (1)",
    "UPDATE accounts SET cents = 200 WHERE id = 2",
];

#[test]
fn a_restore_in_which_a_value_became_another_is_no_restore() {
    let rig = rig(DEBIAN);
    rig.execute("orders", &MEDDLING);
    for name in ["plain", "custom"] {
        let manifest = made(&rig, name);
        let dump = manifest.object.as_str();
        let into = format!("copy_{name}");
        let (code, _, said) = rig.run(&["restore", dump, "--into", &into]);
        assert_eq!(code, 0, "rows are counted only: {said}");
        assert_eq!(rig.ask(&into, "SELECT sum(cents)::text FROM accounts"), "601", "the test has lost its subject");
        let (code, _, said) = rig.run(&["restore", dump, "--into", "other", "--compare"]);
        assert_eq!(code, 3, "{said}");
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains("public.accounts has 3 rows as the dump has, and not the same"), "{said}");
        assert!(!flat.contains("public.witness has"), "{said}");
        assert_eq!(
            rig.ask("postgres", "SELECT count(*)::text FROM pg_database WHERE datname LIKE '%other%' OR datname LIKE 'lifeboat%'"),
            "0"
        );
        let (code, _, said) = rig.run(&["restore", dump, "--into", &format!("part_{name}"), "--table", "public.accounts", "--compare"]);
        assert_eq!(code, 0, "without the rows of the other nothing meddles: {said}");

        let job = rig.engine.inventory().job(name).unwrap();
        assert!(rig.engine.prove(job, &manifest, Level::L4, &rig.cx).unwrap().held);
        let report = rig.engine.prove(job, &manifest, Level::L5, &rig.cx).unwrap_err();
        assert!(
            report.kind == Kind::Refused && report.causes.concat().contains("public.accounts has 3 rows as the dump has"),
            "{report:?}"
        );
        let proofs = rig.engine.dump(name, dump, &rig.cx).unwrap().proofs;
        assert!(proofs.iter().any(|proof| !proof.held && proof.level == Level::L5), "{proofs:?}");

        // Of a dump without hashes nothing can be told but the numbers.
        let manifest = as_before(&rig, dump);
        assert!(rig.engine.prove(job, &manifest, Level::L5, &rig.cx).unwrap().held);
        let (code, _, said) = rig.run(&["restore", dump, "--into", &format!("before_{name}"), "--compare"]);
        assert_eq!(code, 0, "{said}");
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains("has no hashes of its rows"), "{said}");
    }
}
