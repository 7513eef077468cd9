//! Looking into dumps without restoring them, and at what changed from one to the next. // B10, X6

use std::fs;

use serde_json::Value;

use crate::jobs::rig::{Rig, Wanted};

const KINDS: [(&str, &str, &str, &str); 4] = [
    ("plain-gzip", "plain", "gzip", ".sql.gz.gpg"),
    ("plain-zstd", "plain", "zstd", ".sql.zst.gpg"),
    ("custom-gzip", "custom", "gzip", ".dump.gz.gpg"),
    ("custom-zstd", "custom", "zstd", ".dump.zst.gpg"),
];

fn shop() -> Rig {
    let job = |(name, format, compression, ending): (&str, &str, &str, &str)| {
        format!(
            "[job.{name}]\nsystem = \"main\"\nstore = \"shelf\"\nkeys = [\"backup\"]\nformat = \"{format}\"\ncompression = \"{compression}\"\n\
             name = \"{name}-{{yyyyMMddHHmmss}}{ending}\"\n\n"
        )
    };
    let rest: String = KINDS.into_iter().map(job).collect();
    let rig = Rig::open(&Wanted { rest: &rest, ..Wanted::default() });
    rig.execute(
        "orders",
        &[
            "CREATE SCHEMA shop",
            "CREATE TABLE shop.customers (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date, \
             \"Full, address\" character varying(400) DEFAULT 'a, (b', twice integer GENERATED ALWAYS AS (2) STORED)",
            "INSERT INTO shop.customers (name, born, \"Full, address\") SELECT 'Ada ' || n, CASE WHEN n % 2 = 0 THEN date '1990-05-17' + n END, \
             E'Main St. 12\\n\\033[2J' || repeat('long ', 60) FROM generate_series(1, 100) n",
            "CREATE TABLE shop.zzz AS SELECT n, encode(sha256(n::text::bytea), 'hex') AS word FROM generate_series(1, 60000) n",
            "CREATE TABLE empty (a integer)",
        ],
    );
    rig
}

fn made(rig: &Rig, job: &str) -> String {
    rig.engine.backup(job, &rig.cx).unwrap().remove(0).object
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn narrow(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80 && !line.contains(|c: char| c.is_control()), "{line:?}");
    }
}

#[test]
fn tables_columns_and_rows_are_seen_in_every_layout_without_a_restore() {
    let rig = shop();
    let mut seen = Vec::new();
    for (job, ..) in KINDS {
        let dump = made(&rig, job);
        let (code, tables, said) = rig.run(&["peek", &dump]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("read to its end: everything counted is as its manifest says"), "{said}");
        let (code, rows, said) = rig.run(&["peek", &dump, "customers", "--rows", "2"]);
        assert!(code == 0 && said.contains("nothing is proven of the rest") && said.contains("masked"), "{said}");
        let (_, shown, _) = rig.run(&["peek", &dump, "shop.customers", "--rows", "1", "--show", "--json"]);
        let shown = json(&shown);
        assert_eq!(shown["sample"][0][1], "Ada 1", "{shown}");
        assert_eq!(shown["sample"][0][2], Value::Null);
        assert_eq!(shown["columns"][3], serde_json::json!({ "name": "\"Full, address\"", "type": "character varying(400)" }));
        assert_eq!((&shown["rows"], &shown["masked"], &shown["read_to_the_end"]), (&100.into(), &false.into(), &false.into()));
        narrow(&tables);
        narrow(&rows);
        seen.push((tables, rows));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    insta::assert_snapshot!("tables", seen[0].0);
    insta::assert_snapshot!("rows", seen[0].1);
}

// X6: what is on a screen may be seen by others.
#[test]
fn values_are_masked_unless_they_are_to_be_shown_and_no_terminal_obeys_them() {
    let rig = shop();
    let dump = made(&rig, "plain-gzip");
    for args in [&["peek", &dump, "customers"][..], &["peek", &dump, "customers", "--json"], &["peek", &dump], &["peek", &dump, "--quick"]]
    {
        let (code, out, said) = rig.run(args);
        assert!(code == 0 && !format!("{out}{said}").contains("Ada") && !out.contains("1990"), "{args:?}: {out}");
    }
    let (_, out, _) = rig.run(&["peek", &dump, "customers", "--show"]);
    assert!(out.contains("Ada 1") && out.contains("Main St. 12\\n\\u{1b}[2J"), "{out}");
    narrow(&out);
}

#[test]
fn peeking_at_a_table_reads_no_further_than_its_rows() {
    let rig = shop();
    let dump = made(&rig, "plain-gzip");
    // What comes after is damaged, and nobody looks.
    let path = rig.dir.path().join("shelf").join(&dump);
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 2 << 20, "{} bytes are no test", bytes.len());
    let last = bytes.len() - 1000;
    bytes[last] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let (code, out, said) = rig.run(&["peek", &dump, "customers", "--rows", "3"]);
    assert!(code == 0 && out.contains("row 3") && said.contains("nothing is proven"), "{out}{said}");
    let (code, _, said) = rig.run(&["peek", &dump]);
    assert_eq!(code, 3, "{said}");
    // An empty table has an end, too; and --quick reads nothing at all.
    let (code, out, said) = rig.run(&["peek", &dump, "empty"]);
    assert!(code == 0 && out.contains("public.empty: 0 rows"), "{out}{said}");
    fs::write(&path, vec![0; bytes.len()]).unwrap();
    let (code, out, said) = rig.run(&["peek", &dump, "--quick"]);
    assert!(code == 0 && out.contains("shop.zzz") && said.contains("from the manifest alone"), "{out}{said}");
}

#[test]
fn a_table_that_is_not_there_names_the_one_that_is() {
    let rig = shop();
    let dump = made(&rig, "plain-gzip");
    let (code, _, said) = rig.run(&["peek", &dump, "custmers"]);
    assert!(code == 3 && said.contains("there is shop.customers"), "{said}");
    let (code, _, said) = rig.run(&["peek", &dump, "customers", "--quick"]);
    assert_eq!(code, 2, "{said}");
}

// B8, B10
#[test]
fn a_table_with_as_many_rows_and_other_values_is_told() {
    let rig = shop();
    let old = made(&rig, "plain-gzip");
    // As long as it was, and written to another place.
    rig.execute("orders", &["UPDATE shop.customers SET name = 'Eve 7' WHERE id = 7"]);
    let new = made(&rig, "custom-zstd");
    for more in [&["diff", old.as_str(), new.as_str()][..], &["diff", &old, &new, "--quick"]] {
        let (code, out, said) = rig.run(more);
        assert!(code == 10 && said.ends_with("apart\n"), "{out}{said}");
        let told: Vec<&str> = out.lines().filter(|line| line.contains("same count, other rows")).collect();
        assert!(told.len() == 1 && told[0].starts_with("shop.customers"), "{out}");
        assert!(!out.contains("zzz"), "{out}");
    }
    // Back again, the table in another order than before.
    rig.execute("orders", &["UPDATE shop.customers SET name = 'Ada 7' WHERE id = 7"]);
    let (code, out, said) = rig.run(&["diff", &old, &made(&rig, "plain-zstd")]);
    assert!(code == 0 && out.is_empty(), "order is no difference: {out}{said}");
    // What has no hashes says nothing about values.
    crate::hashes::as_before(&rig, &old);
    let (code, out, said) = rig.run(&["diff", &old, &new, "--quick"]);
    assert!(code == 0 && out.is_empty(), "{out}{said}");
}

// B10
#[test]
fn what_changed_from_one_dump_to_the_next_is_told_and_has_its_own_exit_code() {
    let rig = shop();
    let (plain, archive) = (made(&rig, "plain-gzip"), made(&rig, "custom-zstd"));
    let (code, out, said) = rig.run(&["diff", &plain, &archive]);
    assert!(
        code == 0 && out.is_empty() && said.contains("nothing that is counted or hashed differs"),
        "layouts make no difference: {out}{said}"
    );
    rig.execute(
        "orders",
        &[
            "DROP TABLE empty",
            "CREATE TABLE shop.fresh (a integer PRIMARY KEY)",
            "INSERT INTO shop.fresh SELECT generate_series(1, 7)",
            "DELETE FROM shop.customers WHERE id > 90",
            "ALTER TABLE shop.customers ALTER COLUMN born TYPE timestamp without time zone, ADD COLUMN email text, DROP COLUMN twice",
            "CREATE INDEX customers_born ON shop.customers (born)",
        ],
    );
    for (old, job) in [(&plain, "plain-zstd"), (&archive, "custom-gzip"), (&archive, "plain-gzip")] {
        let new = made(&rig, job);
        let (code, out, said) = rig.run(&["diff", old, &new]);
        assert_eq!(code, 10, "{out}{said}");
        for words in [
            "public.empty",
            "gone",
            "shop.fresh",
            "new",
            "-10",
            "shop.customers.born was date, is timestamp without time zone",
            "shop.customers.email came: text",
            "shop.customers.twice is gone: integer",
            "indexes: 0 → 1",
            "+CREATE INDEX customers_born ON shop.customers USING btree (born);",
            "-CREATE TABLE public.empty (",
        ] {
            assert!(out.contains(words), "no {words:?} in:\n{out}");
        }
        let told = out.lines().take_while(|line| !line.starts_with("--- ")).collect::<String>();
        assert!(!told.contains("zzz"), "what did not change is not told: {out}");
        let (code, out, _) = rig.run(&["diff", old, &new, "--json"]);
        let told = json(&out);
        assert_eq!((code, &told["same"], told["difference"]["tables"].as_array().unwrap().len()), (10, &false.into(), 3));
        let (code, out, _) = rig.run(&["diff", old, &new, "--quick"]);
        assert!(code == 10 && !out.contains("CREATE") && out.contains("indexes: 0 → 1"), "{out}");
    }
}
