//! Jobs of several databases.

use std::time::Duration;

use lifeboat::pipeline::manifest::{Format, Level, MANIFEST_SUFFIX};
use lifeboat::port::Context;
use lifeboat::report::Kind;

use super::rig::{Rig, Wanted};

const JOBS: &str = r#"
[job.all]
system = "main"
store = "shelf"
keys = ["backup"]
databases = ["*"]
exclude = ["*_test", "postgres"]
globals = true

[job.two]
system = "main"
store = "shelf"
keys = ["backup"]
format = "custom"
databases = ["orders", "billing"]
globals = true
role_passwords = true
name = "two/{database}-{yyyyMMddHHmmss}.dump.gz.gpg"

[job.one]
system = "main"
store = "shelf"
keys = ["backup"]
name = "one-{yyyyMMddHHmmss}.sql.gz.gpg"

[job.missing]
system = "main"
store = "shelf"
keys = ["backup"]
databases = ["orders", "billng"]
"#;

fn shop() -> Rig {
    let rig = Rig::open(&Wanted { rest: JOBS, ..Wanted::default() });
    rig.execute(
        "postgres",
        &[
            "CREATE DATABASE billing",
            "CREATE DATABASE billing_test",
            "CREATE DATABASE globals",
            r#"CREATE DATABASE "Odd é/name""#,
            "CREATE DATABASE kept",
            "COMMENT ON DATABASE kept IS 'lifeboat: was orders until 2026-11-21; kept'",
            "CREATE DATABASE half",
            "COMMENT ON DATABASE half IS 'lifeboat: being restored from x since y'",
            "CREATE ROLE clerk LOGIN PASSWORD 'hunter2'",
            "CREATE ROLE \"Boss; -- \" IN ROLE pg_monitor",
        ],
    );
    rig.execute("orders", &["CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders SELECT generate_series(1, 500)"]);
    rig.execute("billing", &["CREATE TABLE bills (id int PRIMARY KEY)", "INSERT INTO bills SELECT generate_series(1, 70)"]);
    rig
}

// R1, C4, G11, D2
#[test]
fn a_job_of_all_databases_gives_a_whole_group_of_dumps_of_one_moment() {
    let rig = shop();
    let before: jiff::Timestamp = jiff::Timestamp::now();
    let made = rig.backup("all");
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(names, ["(globals)", "Odd é/name", "billing", "globals", "orders"]);
    assert!(rig.said().contains(r#"billing_test is left out: excluded by "*_test""#), "{}", rig.said());
    assert!(rig.said().contains("kept is left out: lifeboat's own") && rig.said().contains("half is left out"), "{}", rig.said());
    assert!(rig.said().contains("may be cut"), "the spread is told: {}", rig.said());

    let group = made["orders"].group.clone().unwrap();
    assert_eq!((group.members.len(), group.members[0].database.as_deref()), (5, None));
    for manifest in made.values() {
        assert_eq!(manifest.group.as_ref(), Some(&group));
        if manifest.format != Format::Globals {
            assert!(manifest.snapshot_at >= group.first_snapshot && manifest.snapshot_at <= group.last_snapshot);
        }
    }
    assert!(group.first_snapshot >= before && group.last_snapshot.duration_since(group.first_snapshot).as_millis() < 5000);
    let minute = made["orders"].object.strip_prefix("prod-orders-").unwrap().to_owned();
    assert_eq!(made["(globals)"].object, format!("prod-globals-{minute}"));
    assert_eq!(made["globals"].object, format!("prod-global.73-{minute}"));
    assert_eq!(made["Odd é/name"].object, format!("prod-Odd.20.c3.a9.2fname-{minute}"));
    assert_eq!((made["orders"].rows(), made["billing"].rows()), (500, 70));

    let listing = rig.engine.listing("all", &rig.cx).unwrap();
    let groups = listing.groups();
    assert_eq!((groups.len(), groups[0].dumps.len(), groups[0].missing.len()), (1, 5, 0));
    assert_eq!(rig.open_transactions(), "0");
    for manifest in made.values() {
        rig.engine.verify("all", &manifest.object, Level::L4.number(), &rig.cx).unwrap();
    }
}

// R1
#[test]
fn globals_hold_the_roles_and_the_hashes_of_passwords_only_where_they_are_wanted() {
    let rig = shop();
    let (all, two) = (rig.backup("all"), rig.backup("two"));
    for (job, made, hashes) in [("all", &all, false), ("two", &two, true)] {
        let globals = &made["(globals)"];
        assert_eq!((globals.format, globals.schema.roles), (Format::Globals, 3), "{globals:?}");
        let text = rig.text(job, globals);
        assert!(text.contains("CREATE ROLE clerk;") && text.contains(r#"CREATE ROLE "Boss; -- ";"#), "{text}");
        assert_eq!(text.contains("SCRAM-SHA-256$"), hashes, "{text}");
    }
    // The endings tell what is in them.
    assert!(two["(globals)"].object.ends_with(".sql.gz.gpg") && two["orders"].object.ends_with(".dump.gz.gpg"), "{two:?}");
    let report = rig.engine.restore("all", &all["(globals)"].object, "nowhere", &rig.cx).unwrap_err();
    assert_eq!(report.kind, Kind::Refused);
    assert!(report.message.contains("roles and tablespaces"), "{report}");
}

#[test]
fn the_latest_of_several_databases_must_say_which() {
    let rig = shop();
    let made = rig.backup("two");
    let refused = |args: &[&str], words: &str| {
        let (code, _, told) = rig.run(args);
        assert!(code == 3 && told.contains(words), "{args:?}: {code} {told}");
    };
    refused(&["restore", "latest", "--into", "copy", "--job", "two"], "dumps of several databases: billing, orders");
    refused(&["verify", "latest", "--job", "two", "--database", "bilking"], "no dump of a database bilking");
    refused(&["verify", &made["orders"].object, "--job", "two", "--database", "billing"], "is a dump of orders, not of billing");
    let (code, _, told) = rig.run(&["restore", "latest", "--database", "billing", "--into", "copy", "--job", "two"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(rig.ask("copy", "SELECT count(*)::text FROM bills"), "70");

    let (_, table, _) = rig.run(&["dumps", "two"]);
    assert!(table.contains("DATABASE") && table.contains("billing") && table.contains("(globals)"), "{table}");
    // A job of one database looks as it always did.
    assert!(rig.backup("one")["orders"].group.is_none());
    let (_, table, _) = rig.run(&["dumps", "one"]);
    assert!(!table.contains("DATABASE"), "{table}");
}

// G11
#[test]
fn a_group_that_lacks_a_member_is_told_and_its_dumps_are_good_all_the_same() {
    let rig = shop();
    let made = rig.backup("two");
    let shelf = rig.dir.path().join("shelf");
    std::fs::remove_file(shelf.join(format!("{}{MANIFEST_SUFFIX}", made["billing"].object))).unwrap();
    let listing = rig.engine.listing("two", &rig.cx).unwrap();
    let missing: Vec<_> = listing.groups()[0].missing.iter().map(|member| member.database.clone()).collect();
    assert_eq!(missing, [Some("billing".to_owned())]);
    let (_, _, told) = rig.run(&["dumps", "two"]);
    assert!(told.contains("not to be restored as a group, billing is missing"), "{told}");
    let (code, states, _) = rig.run(&["status"]);
    assert!(code == 3 && states.contains("PARTIAL") && states.contains("two billing"), "{states}");
    rig.engine.restore("two", &made["orders"].object, "copy", &rig.cx).unwrap();
    assert_eq!(rig.ask("copy", "SELECT count(*)::text FROM orders"), "500");
}

#[test]
fn a_database_that_cannot_be_dumped_does_not_keep_the_others_from_it() {
    let rig = shop();
    // What is in the way of pg_dump and not of a snapshot.
    rig.execute("billing", &["CREATE ROLE weak LOGIN PASSWORD 'secret'", "REVOKE ALL ON TABLE bills FROM PUBLIC"]);
    let text = std::fs::read_to_string(&rig.config).unwrap();
    std::fs::write(
        &rig.config,
        text.replace("user = \"postgres\"", "user = \"weak\"").replace("globals = true\nrole_passwords = true\n", ""),
    )
    .unwrap();
    rig.execute("orders", &["GRANT SELECT ON orders TO weak"]);
    let (code, _, told) = rig.run(&["backup", "two"]);
    assert!(code == 1 && told.contains("1 of 2 dumps were not made") && told.contains("permission denied for table bills"), "{told}");
    let listing = rig.engine.listing("two", &rig.cx).unwrap();
    assert_eq!(listing.databases().into_iter().collect::<Vec<_>>(), ["orders"]);
    assert_eq!(listing.groups()[0].missing.len(), 1);
}

#[test]
fn a_name_that_is_not_there_is_an_error_before_the_start() {
    let rig = shop();
    let report = rig.engine.backup("missing", &rig.cx).unwrap_err();
    assert_eq!((report.kind, report.message.as_str()), (Kind::Refused, r#"there is no database "billng""#));
    assert!(report.hints.iter().any(|hint| hint.contains("[job.missing]")), "{report:?}");
    assert!(!rig.dir.path().join("shelf").exists() || std::fs::read_dir(rig.dir.path().join("shelf")).unwrap().next().is_none());
}

// C4: what is written after the snapshot is not in the dump, and the moment that is told is that of the snapshot.
#[test]
fn a_dump_is_of_its_snapshot_and_none_is_left_open() {
    use lifeboat::system::postgres::dump::{Dump, Layout};
    use lifeboat::system::postgres::snapshot::Cut;
    let rig = shop();
    let postgres = lifeboat::system::postgres::Postgres::new(rig.engine.inventory().system("main").unwrap().postgres().clone());
    let names = ["billing".to_owned(), "orders".to_owned()];
    let mut cut = Cut::take(&postgres, &names, &rig.cx).unwrap();
    assert_eq!(rig.open_transactions(), "2");
    rig.execute("orders", &["INSERT INTO orders VALUES (1000)"]);
    let orders = cut.snapshots.pop().unwrap();
    assert!(orders.since <= orders.until && orders.until.duration_since(orders.since).as_millis() < 1000);
    let clients = lifeboat::system::postgres::clients::Clients::for_server(&postgres, 15, &rig.cx).unwrap();
    let dump = Dump::of(&postgres, Layout::Plain, clients.clone(), orders);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut lifeboat::port::Source::open(&dump, &rig.cx).unwrap(), &mut text).unwrap();
    assert!(text.contains("\n500\n") && !text.contains("\n1000\n"));
    drop(dump);
    until_none_is_open(&rig, "1");

    // The server forgot it: that is an error, not a dump of some other moment.
    let billing = cut.snapshots.pop().unwrap();
    rig.execute("postgres", &["SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lifeboat'"]);
    until_none_is_open(&rig, "0");
    let dump = Dump::of(&postgres, Layout::Plain, clients, billing);
    let mut text = String::new();
    let stream = lifeboat::port::Source::open(&dump, &rig.cx);
    let words = match stream {
        Err(report) => report.to_string(),
        Ok(mut stream) => std::io::Read::read_to_string(&mut stream, &mut text).unwrap_err().to_string(),
    };
    assert!(words.contains("is gone") || words.contains("invalid snapshot identifier"), "{words}");
}

// Trap 16's cousin: a cancelled backup leaves no transaction that keeps the server from cleaning up.
#[test]
fn a_cancelled_backup_leaves_no_transaction_open() {
    let rig = shop();
    // pg_dump waits for its lock on this table.
    let holder = rig.cluster.connect("orders", &rig.cx).unwrap();
    rig.cx.runtime.block_on(holder.batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")).unwrap();
    let own = Context { cancel: tokio_util::sync::CancellationToken::new(), ..rig.cx.clone() };
    let (engine, cx) = (rig.engine.clone(), own.clone());
    let running = std::thread::spawn(move || engine.backup("two", &cx));
    let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'lifeboat'";
    while rig.ask("postgres", waits) == "0" {
        assert!(!running.is_finished());
        std::thread::sleep(Duration::from_millis(20));
    }
    own.cancel.cancel();
    assert_eq!(running.join().unwrap().unwrap_err().kind, Kind::Cancelled);
    until_none_is_open(&rig, "0");
}

/// A server notices that a client is gone a moment later.
fn until_none_is_open(rig: &Rig, left: &str) {
    let began = std::time::Instant::now();
    while rig.open_transactions() != left {
        assert!(began.elapsed() < Duration::from_secs(10), "{} transactions are open", rig.open_transactions());
        std::thread::sleep(Duration::from_millis(20));
    }
}
