//! What comes back, and how: section by section, with its owners and rights, or the rows of some tables only.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::Command;

use lifeboat::pipeline::archive::Archive;
use lifeboat::pipeline::manifest::{MANIFEST_SUFFIX, Manifest};
use lifeboat::pipeline::restore;
use lifeboat::report::Kind;
use lifeboat::run::hands::Hands;
use lifeboat::runbook::plan::Probe;
use lifeboat::system::postgres::Postgres;
use lifeboat::system::postgres::swap::Swap;

use super::rig::{DEBIAN, Rig, Wanted, bin};

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

[job.plain-access]
system = "main"
store = "shelf"
keys = ["backup"]
access = "recorded"
name = "plain-access-{yyyyMMddHHmmss}.sql.gz.gpg"

[job.custom-access]
system = "main"
store = "shelf"
keys = ["backup"]
format = "custom"
access = "recorded"
name = "custom-access-{yyyyMMddHHmmss}.dump.gz.gpg"
"#;

fn shop() -> Rig {
    shop_of(DEBIAN)
}

/// A shop on a server of this major, with its own clients.
fn shop_of(major: u32) -> Rig {
    let own = format!("bin = \"{}\"\n", bin(major).display());
    let rig = Rig::open(&Wanted { major, system: &own, rest: JOBS, ..Wanted::default() });
    let sample = lifeboat::drill::sample::Sample { rows: 300, seed: 7, until: jiff::Timestamp::now() };
    sample.load(&rig.cluster, "app", &rig.cx).unwrap();
    rig
}

fn dump(rig: &Rig, job: &str) -> Manifest {
    rig.backup(job).remove("orders").unwrap()
}

fn holds(rig: &Rig, job: &str, dump: &str, database: &str, tables: &[&str]) -> (bool, String) {
    let tables = tables.iter().map(|table| (*table).to_owned()).collect();
    let seen =
        rig.engine.probe(&Probe::Restored { job: job.into(), dump: dump.into(), database: database.into(), tables }, &rig.cx).unwrap();
    (seen.held, seen.words)
}

// D10 to D12: no row of a dump ever lies in a file; what is kept of an archive is enough for everything but its rows.
#[test]
fn what_is_kept_of_an_archive_holds_no_row_and_is_read_by_nobody_else() {
    let rig = shop();
    rig.execute("orders", &["INSERT INTO shop.customers (name, email, joined) VALUES ('MARKED-ROW-4711', 'x@example.org', now())"]);
    let made = dump(&rig, "custom");
    let job = rig.engine.inventory().job("custom").unwrap();
    let (store, key) = (rig.engine.store(job, &rig.cx).unwrap(), rig.engine.secret_key(job, &rig.cx).unwrap());
    let mut archive = Archive::open(restore::open(&made, &*store, &key, &rig.cx).unwrap()).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), archive.contents.as_raw_fd());
    let kept = std::fs::read(&path).unwrap();
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&kept, "CREATE TABLE shop.customers") && !has(&kept, "MARKED-ROW-4711"));
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777, 0o600);
    assert_eq!(std::fs::read_link(&path).unwrap().to_string_lossy(), "/memfd:lifeboat-contents (deleted)", "it is on no disk");
    let listed = Command::new(bin(15).join("pg_restore")).arg("--list").arg(&path).output().unwrap();
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("TABLE DATA shop customers"));
    // What is read on is the archive from its first byte, and only its end says that it was a good one.
    let mut whole = Vec::new();
    archive.stream.read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len() as u64, made.plain.bytes);
    assert!(whole.starts_with(&kept) && has(&whole, "MARKED-ROW-4711"));
    assert_eq!(archive.entries.iter().filter(|entry| entry.table.is_some()).count(), made.tables.len());
}

#[test]
fn an_archive_goes_in_by_sections_in_sessions_that_do_not_wait_for_the_disk_and_leaves_a_mark_that_does() {
    let rig = shop();
    // Every row and every entry of the index asks in which kind of session it is made.
    rig.execute(
        "orders",
        &[
            "CREATE FUNCTION public.asks(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN \
             IF current_database() = 'copy' AND current_setting('synchronous_commit') <> 'off' THEN RAISE EXCEPTION '% waits', $1; END IF; \
             RETURN true; END $$",
            "CREATE TABLE asking (id integer CHECK (public.asks('a row ' || id::text)))",
            "INSERT INTO asking VALUES (1), (2)",
            "CREATE INDEX ON asking (public.asks('an index ' || id::text))",
        ],
    );
    let made = dump(&rig, "custom");
    rig.engine.restore("custom", &made.object, "copy", &rig.cx).unwrap();
    let (held, words) = holds(&rig, "custom", &made.object, "copy", &[]);
    assert!(held, "{words}");
    let said = rig.said();
    for section in ["before the rows: ", "the rows: ", "indexes and constraints: ", "analysed in "] {
        assert!(said.contains(&format!("restore: {section}")), "{section}: {said}");
    }
    assert_ne!(rig.ask("copy", "SELECT count(*)::text FROM pg_stats WHERE schemaname = 'shop'"), "0", "trap 29");
}

// What is done at the same time must not be what a restore fails for, hours after it began.
#[test]
fn a_server_with_few_connections_left_is_restored_with_fewer_at_a_time() {
    let rig = Rig::open(&Wanted { rest: JOBS, settings: &[("max_connections", "7")], ..Wanted::default() });
    rig.execute(
        "orders",
        &["CREATE TABLE t AS SELECT generate_series(1, 9) AS id", "ALTER TABLE t ADD PRIMARY KEY (id)", "CREATE INDEX ON t (id)"],
    );
    let made = dump(&rig, "custom");
    let _held = rig.cluster.connect("orders", &rig.cx).unwrap();
    rig.engine.restore("custom", &made.object, "copy", &rig.cx).unwrap();
    assert!(rig.said().contains(", 1 at a time"), "{}", rig.said());
    let (held, words) = holds(&rig, "custom", &made.object, "copy", &[]);
    assert!(held, "{words}");
}

/// Who may do what, sorted: everything that is not of the server.
const ACCESS: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT concat_ws(' ', 'class', oid::regclass, pg_get_userbyid(relowner), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a)) AS line
      FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'v', 'm', 'S', 'p')
    UNION ALL SELECT concat_ws(' ', 'schema', nspname, pg_get_userbyid(nspowner), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(nspacl) a))
      FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'
    UNION ALL SELECT concat_ws(' ', 'function', oid::regprocedure, pg_get_userbyid(proowner), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(proacl) a))
      FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', 'default', pg_get_userbyid(defaclrole), defaclobjtype, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(defaclacl) a))
      FROM pg_default_acl
    UNION ALL SELECT concat_ws(' ', 'object', oid, pg_get_userbyid(lomowner), lomacl) FROM pg_largeobject_metadata
    UNION ALL SELECT concat_ws(' ', 'database', pg_get_userbyid(datdba), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a))
      FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT concat_ws(' ', 'setting', CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole) END, (SELECT array_agg(s ORDER BY s) FROM unnest(setconfig) s))
      FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()) lines";

/// A shop whose database has everything that can be said of who may do what.
fn guarded_shop() -> Rig {
    guarded_shop_of(DEBIAN)
}

fn guarded_shop_of(major: u32) -> Rig {
    let rig = shop_of(major);
    rig.execute(
        "orders",
        &[
            "CREATE ROLE \"Odd; role\"\"\" NOLOGIN",
            "ALTER DATABASE orders OWNER TO shop_owner",
            "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA catalogue GRANT SELECT ON TABLES TO \"Report Reader\"",
            "GRANT UPDATE (note) ON shop.orders TO \"Odd; role\"\"\"",
            "GRANT CREATE ON DATABASE orders TO \"Odd; role\"\"\" WITH GRANT OPTION",
            "ALTER DATABASE orders SET search_path TO \"$user\", shop, \"Audit Log\"",
            "ALTER DATABASE orders SET app.token TO 'it''s a TOKEN-0815'",
            "ALTER ROLE \"Odd; role\"\"\" IN DATABASE orders SET work_mem TO '7MB'",
            // In the way of whoever loads, were it set before.
            "ALTER DATABASE orders SET default_transaction_read_only TO on",
        ],
    );
    rig
}

// Trap 29
#[test]
fn owners_rights_and_settings_come_back_from_a_dump_that_recorded_them() {
    come_back(&guarded_shop());
}

#[test]
fn the_oldest_and_the_newest_major_record_owners_and_rights_alike() {
    for major in [14, 18] {
        come_back(&guarded_shop_of(major));
    }
}

fn come_back(rig: &Rig) {
    let live = rig.ask("orders", ACCESS);
    assert!(live.contains("default shop_owner") && live.contains("TOKEN-0815") && live.contains("work_mem=7MB"), "{live}");
    for job in ["plain-access", "custom-access"] {
        let made = dump(rig, job);
        let recorded = made.access.clone().unwrap();
        assert_eq!(recorded.owner, "shop_owner");
        assert!(recorded.roles.contains(&"Odd; role\"".to_owned()) && recorded.roles.contains(&"Report Reader".to_owned()), "{recorded:?}");
        let text = std::fs::read_to_string(rig.dir.path().join("shelf").join(format!("{}{MANIFEST_SUFFIX}", made.object))).unwrap();
        assert!(!text.contains("TOKEN-0815") && !text.contains("work_mem"), "settings are no business of whoever reads a manifest: {text}");
        let into = job.replace('-', "_");
        rig.engine.restore(job, &made.object, &into, &rig.cx).unwrap();
        assert_eq!(rig.ask(&into, ACCESS), live, "{job}");
        let (held, words) = holds(rig, job, &made.object, &into, &[]);
        assert!(held, "{words}");
        // What one cannot do with the original one cannot do with the copy.
        assert_eq!(rig.ask(&into, "SELECT has_table_privilege('Report Reader', 'catalogue.products', 'SELECT')::text"), "false");
    }
}

#[test]
fn a_dump_without_owners_belongs_to_the_owner_that_the_system_names() {
    let rig = Rig::open(&Wanted { rest: JOBS, system: "owner = \"keeper\"\n", ..Wanted::default() });
    rig.execute(
        "orders",
        &[
            "CREATE ROLE keeper NOLOGIN",
            "CREATE ROLE other NOLOGIN",
            "CREATE TABLE t AS SELECT 1 AS id",
            "ALTER TABLE t OWNER TO other",
            "GRANT CREATE ON SCHEMA public TO keeper",
        ],
    );
    for job in ["plain", "custom"] {
        let made = dump(&rig, job);
        assert!(made.access.is_none());
        rig.engine.restore(job, &made.object, &format!("copy_{job}"), &rig.cx).unwrap();
        let owners = "SELECT concat_ws(' ', (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't'), \
                      (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()))";
        assert_eq!(rig.ask(&format!("copy_{job}"), owners), "keeper keeper", "{job}");
    }
}

// Trap 29
#[test]
fn roles_that_are_missing_are_all_told_before_anything_is_made_or_are_made_when_told_so() {
    let rig = guarded_shop();
    let dumps = ["plain-access", "custom-access"].map(|job| (job, dump(&rig, job)));
    rig.execute("postgres", &["ALTER ROLE \"Odd; role\"\"\" RENAME TO other", "ALTER ROLE \"Report Reader\" RENAME TO reader"]);
    let made = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_roles WHERE rolname ~ '^(Odd|Report)'), (SELECT count(*) FROM pg_database WHERE datname ~ 'never|lifeboat'))";
    for (job, dump) in &dumps {
        let report = rig.engine.restore(job, &dump.object, "never", &rig.cx).unwrap_err();
        assert_eq!(report.kind, Kind::Refused);
        assert!(report.message.ends_with(": Odd; role\", Report Reader"), "{report}");
        assert!(report.hints.iter().any(|hint| hint.contains("--create-roles")), "{report:?}");
        assert!(
            report.hints.iter().any(|hint| hint.contains("CREATE ROLE \"Odd; role\"\"\" NOLOGIN; CREATE ROLE \"Report Reader\" NOLOGIN;")),
            "{report:?}"
        );
        assert_eq!(rig.ask("postgres", made), "0 0");
        // What was made for a restore that fails goes with it.
        let (code, _, told) = rig.run(&["restore", &dump.object, "--into", "orders", "--job", job, "--create-roles"]);
        assert!(code != 0 && told.contains("exists already"), "{code} {told}");
        assert_eq!(rig.ask("postgres", made), "0 0");
    }
    for (job, dump) in &dumps {
        let into = format!("with_{}", job.replace('-', "_"));
        let (code, _, told) = rig.run(&["restore", &dump.object, "--into", &into, "--job", job, "--create-roles"]);
        assert_eq!(code, 0, "{told}");
        assert_eq!(rig.ask(&into, "SELECT has_table_privilege('Report Reader', 'shop.orders', 'SELECT')::text"), "true");
    }
    assert!(rig.ask("postgres", "SELECT bool_and(NOT rolcanlogin)::text FROM pg_roles WHERE rolname ~ '^(Odd|Report)'") == "true");
}

// The live database's rights and settings win over those that were recorded when it was dumped.
#[test]
fn a_swap_gives_the_restored_database_what_the_live_one_has_now() {
    let rig = guarded_shop();
    let made = dump(&rig, "plain-access");
    rig.engine.restore("plain-access", &made.object, "staged", &rig.cx).unwrap();
    rig.execute(
        "postgres",
        &[
            "ALTER DATABASE orders RESET default_transaction_read_only",
            "ALTER ROLE \"Odd; role\"\"\" IN DATABASE orders RESET work_mem",
            "REVOKE CREATE ON DATABASE orders FROM \"Odd; role\"\"\"",
            "ALTER DATABASE orders OWNER TO postgres",
        ],
    );
    let of_database = |rig: &Rig, name: &str| {
        let lines = rig.ask(name, ACCESS);
        lines.lines().filter(|line| line.starts_with("database") || line.starts_with("setting")).collect::<Vec<_>>().join("\n")
    };
    let live = of_database(&rig, "orders");
    let postgres = Postgres::new(rig.engine.inventory().system("main").unwrap().postgres().clone());
    postgres.swap(Swap { live: "orders", staged: "staged", keep_as: "orders_old", partial: false }, "kept", &rig.cx).unwrap();
    assert_eq!(of_database(&rig, "orders"), live);
    assert!(!live.contains("work_mem") && !live.contains("Odd"), "{live}");
}

#[test]
fn only_the_chosen_tables_have_rows_and_foreign_keys_that_cannot_hold_are_told() {
    let rig = shop();
    rig.execute("orders", &["COMMENT ON CONSTRAINT \"an order has a customer\" ON shop.orders IS 'it''s; so'"]);
    for job in ["plain", "custom"] {
        let made = dump(&rig, job);
        let into = format!("some_{job}");
        let chosen = ["shop.order*", "Audit Log.visits, old"];
        let (code, _, told) =
            rig.run(&["restore", &made.object, "--into", &into, "--job", job, "--table", chosen[0], "--table", chosen[1]]);
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("without the foreign key an order has a customer of shop.orders, which refers to shop.customers"), "{told}");
        assert!(told.contains("of shop.order_lines, which refers to catalogue.products"), "{told}");
        assert_eq!(told.matches("without the foreign key").count(), 2, "{told}");
        let rows = |table: &str| rig.ask(&into, &format!("SELECT count(*)::text FROM {table}"));
        let expected = |table: &str| made.tables[table].rows.to_string();
        for table in ["shop.orders", "shop.order_lines", r#""Audit Log"."visits, old""#] {
            assert_eq!(rows(table), expected(table), "{table}");
        }
        for table in ["shop.customers", "shop.payments", "catalogue.products", r#""Audit Log"."visits, new""#, "shop.\"no columns\""] {
            assert_eq!(rows(table), "0", "{table}");
        }
        let keys = "SELECT string_agg(conname, ', ' ORDER BY conname) FROM pg_constraint WHERE contype = 'f'";
        assert_eq!(rig.ask(&into, keys), "manuals_product_id_fkey, order_lines_order_id_fkey, payments_order_id_fkey", "{job}");
        // It is taken for what it is, and for nothing else.
        assert!(holds(&rig, job, &made.object, &into, &chosen).0);
        let (held, words) = holds(&rig, job, &made.object, &into, &[]);
        assert!(!held && words.contains("was not restored from"), "{words}");
        let (held, words) = holds(&rig, job, &made.object, &into, &["shop.orders"]);
        assert!(!held && words.contains("order_lines"), "{words}");
        let postgres = Postgres::new(rig.engine.inventory().system("main").unwrap().postgres().clone());
        let swap = Swap { live: "orders", staged: &into, keep_as: "orders_old", partial: false };
        let report = postgres.swap(swap, "kept", &rig.cx).unwrap_err();
        assert!(report.kind == Kind::Refused && report.hints[0].contains("--partial"), "{report:?}");
        assert_eq!(rig.ask("orders", "SELECT count(*)::text FROM shop.customers"), expected("shop.customers"));
    }
}

#[test]
fn a_table_that_is_not_there_is_told_with_those_most_like_it_before_anything_starts() {
    let rig = shop();
    let made = dump(&rig, "plain");
    for (text, words, near) in [
        ("shop.ordres", "there is no table shop.ordres in", "shop.orders"),
        ("oders", "there is no table oders in", "shop.orders"),
        ("shopp.*", "no table is called like shopp.* in", "shop."),
    ] {
        let (code, _, told) = rig.run(&["restore", &made.object, "--into", "never", "--job", "plain", "--table", text]);
        assert!(code != 0 && told.contains(words) && told.contains(near), "{code} {told}");
    }
    assert_eq!(rig.ask("postgres", "SELECT count(*)::text FROM pg_database WHERE datname ~ 'never|unmarked'"), "0");
}

// G4
#[test]
fn a_dump_is_restored_by_its_id_or_its_time_and_a_time_of_none_says_what_to_type() {
    let rig = shop();
    let made = dump(&rig, "plain");
    let (_, table, _) = rig.run(&["dumps", "plain"]);
    let taken = made.snapshot_at.strftime("%Y-%m-%dT%H:%MZ").to_string();
    assert!(table.contains("TAKEN") && table.contains(&taken), "{table}");
    for (text, into) in [(&made.id, "by_id"), (&taken, "by_time")] {
        let (code, _, told) = rig.run(&["restore", text, "--into", into, "--job", "plain"]);
        assert_eq!(code, 0, "{text}: {told}");
        assert_eq!(rig.ask(into, "SELECT count(*)::text FROM shop.orders"), "300");
    }
    let (code, _, told) = rig.run(&["restore", "2020-01-01T03:00Z", "--into", "never", "--job", "plain"]);
    assert!(code == 3 && told.contains(&format!("lifeboat restore {} --into never", made.object)), "{code} {told}");
    let (code, _, told) = rig.run(&["verify", "2020-01-01T03:00", "--job", "plain"]);
    assert!(code == 2 && told.contains("2020-01-01T03:00Z"), "{code} {told}");
}

const SEVERAL: &str = r#"
[job.all]
system = "main"
store = "shelf"
keys = ["backup"]
databases = ["orders", "billing"]
globals = true
role_passwords = true
name = "all-{database}-{yyyyMMddHHmmss}.sql.gz.gpg"
"#;

/// Two databases that belong together.
fn two() -> Rig {
    let rig = Rig::open(&Wanted { rest: SEVERAL, ..Wanted::default() });
    rig.execute("orders", &["CREATE DATABASE billing", "CREATE TABLE orders AS SELECT generate_series(1, 50) AS id"]);
    rig.execute("billing", &["CREATE TABLE bills AS SELECT generate_series(1, 7) AS id"]);
    rig
}

fn databases(rig: &Rig) -> String {
    rig.ask(
        "postgres",
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'",
    )
}

// G11
#[test]
fn a_group_is_restored_whole_or_not_at_all() {
    let rig = two();
    let made = rig.backup("all");
    let group = made["orders"].group.clone().unwrap().id;
    for (wanted, suffix) in [(group.as_str(), "_a"), ("latest", "_b"), (made["billing"].object.as_str(), "_c")] {
        let (code, _, told) = rig.run(&["restore", wanted, "--group", "--suffix", suffix, "--job", "all"]);
        assert_eq!(code, 0, "{wanted}: {told}");
        assert_eq!(rig.ask(&format!("orders{suffix}"), "SELECT count(*)::text FROM orders"), "50");
        assert_eq!(rig.ask(&format!("billing{suffix}"), "SELECT count(*)::text FROM bills"), "7");
    }
    // A name that is taken: nothing is begun.
    let before = databases(&rig);
    let (code, _, told) = rig.run(&["restore", &group, "--group", "--suffix", "_a", "--prefix", "x_", "--job", "all"]);
    assert_eq!(code, 0, "{told}");
    rig.execute("postgres", &["DROP DATABASE x_orders_a", "ALTER DATABASE x_billing_a RENAME TO x_orders_a"]);
    let (code, _, told) = rig.run(&["restore", &group, "--group", "--suffix", "_a", "--prefix", "x_", "--job", "all"]);
    assert!(code != 0 && told.contains("\"x_orders_a\" exists already"), "{code} {told}");
    rig.execute("postgres", &["DROP DATABASE x_orders_a"]);
    assert_eq!(databases(&rig), before);

    // The second of two is damaged: the first goes again.
    let second = made["orders"].object.clone();
    let path = rig.dir.path().join("shelf").join(&second);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (code, _, told) = rig.run(&["restore", &group, "--group", "--suffix", "_d", "--job", "all"]);
    assert!(code != 0 && told.contains("so none of the group is") && told.contains("dropped billing_d again"), "{code} {told}");
    assert_eq!(databases(&rig), before);

    // And a group that lacks a member is refused, by name.
    std::fs::remove_file(rig.dir.path().join("shelf").join(format!("{second}{MANIFEST_SUFFIX}"))).unwrap();
    let (code, _, told) = rig.run(&["restore", &group, "--group", "--suffix", "_e", "--job", "all"]);
    assert!(code == 3 && told.contains("the group lacks \"orders\""), "{code} {told}");
    assert_eq!(databases(&rig), before);
}

// R1
#[test]
fn roles_that_are_missing_are_made_from_the_globals_and_those_that_are_there_are_left_alone() {
    let rig = two();
    rig.execute(
        "postgres",
        &[
            "CREATE ROLE clerk LOGIN PASSWORD 'hunter2' VALID UNTIL '2099-01-01'",
            "CREATE ROLE \"Boss; -- \" NOLOGIN CREATEDB",
            "GRANT \"Boss; -- \" TO clerk",
            "COMMENT ON ROLE clerk IS 'it''s; the clerk'",
            "CREATE ROLE stays NOLOGIN",
        ],
    );
    let hash = rig.ask("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'");
    let made = rig.backup("all");
    rig.execute("postgres", &["DROP ROLE clerk", "DROP ROLE \"Boss; -- \"", "ALTER ROLE stays CREATEDB LOGIN"]);
    let globals = made["(globals)"].object.as_str();
    let (code, _, told) = rig.run(&["restore", globals, "--roles", "--job", "all"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("made the role clerk: with the password it had, member of Boss; -- "), "{told}");
    assert!(
        told.contains("made the role Boss; -- : it cannot log in") && told.contains("the role stays was there, and is as it was"),
        "{told}"
    );
    assert!(!told.contains("SCRAM"), "{told}");
    let clerk = "SELECT concat_ws('|', rolpassword = '{}', rolvaliduntil > '2098-12-31', pg_has_role('clerk', 'Boss; -- ', 'MEMBER'), \
                 shobj_description(oid, 'pg_authid')) FROM pg_authid WHERE rolname = 'clerk'";
    assert_eq!(rig.ask("postgres", &clerk.replace("{}", &hash)), "t|t|t|it's; the clerk");
    assert_eq!(rig.ask("postgres", "SELECT concat(rolcreatedb, rolcanlogin) FROM pg_roles WHERE rolname = 'stays'"), "tt");
    // Again: there is nothing left to do.
    let (code, _, told) = rig.run(&["restore", globals, "--roles", "--job", "all"]);
    assert!(code == 0 && !told.contains("made the role"), "{told}");
    let (code, _, told) = rig.run(&["restore", &made["orders"].object, "--roles", "--job", "all"]);
    assert!(code != 0 && told.contains("holds no roles"), "{code} {told}");
}
