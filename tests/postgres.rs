//! PostgreSQL, the real one: dumped, restored beside the live database, counted, swapped.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lifeboat::pipeline::archive::Archive;
use lifeboat::pipeline::inspect::{custom, plain};
use lifeboat::pipeline::manifest::TableCount;
use lifeboat::port::{Source, Stream};
use lifeboat::report::{Kind, Report};
use lifeboat::run::engine::differences;
use lifeboat::system::postgres::dump::{Dump, Layout};
use lifeboat::system::postgres::restore::{Contents, Target};
use lifeboat::system::postgres::swap::Swap;

use crate::pipeline::catalogue::manifest;
use crate::stage::{DATABASE, Shop};

fn dump(shop: &Shop, layout: Layout) -> Stream {
    Dump::prepare(&shop.postgres, layout, &shop.cx).unwrap().open(&shop.cx).unwrap()
}

fn target(into: &str) -> Target<'_> {
    Target { into, dump: "test", client_major: 15, server_major: 15, ..Target::default() }
}

fn restore(shop: &Shop, layout: Layout, into: &str) {
    let dump = dump(shop, layout);
    match layout {
        Layout::Plain => {
            shop.postgres.restore(target(into), |rows| plain::thin::thinned(dump, None, Some(rows)), None, &shop.cx).unwrap();
        }
        Layout::Custom => {
            let Archive { contents: file, entries, stream } = Archive::open(dump).unwrap();
            let others: Vec<i64> = entries.iter().filter(|entry| entry.table.is_none()).map(|entry| entry.id).collect();
            let contents = Contents { file: &file, wanted: None, others: &others, last: &[] };
            let target = Target { contents: Some(contents), ..target(into) };
            shop.postgres.restore(target, |rows| custom::thin::thinned(stream, BTreeSet::new(), Some(rows)), None, &shop.cx).unwrap();
        }
    }
}

// D1, B11
#[test]
fn what_was_dumped_is_restored_and_counts_the_same_in_both_layouts() {
    let shop = Shop::open();
    let live = shop.postgres.count(DATABASE, &shop.cx).unwrap();
    assert!(live.tables.len() > 10 && live.constraints > 5 && live.large_objects > 0, "{live:?}");
    for layout in [Layout::Plain, Layout::Custom] {
        let into = format!("copy_{layout:?}");
        restore(&shop, layout, &into);
        assert_eq!(shop.postgres.count(&into, &shop.cx).unwrap(), live, "{layout:?}");
        // Trap 29: the planner knows the data.
        assert_ne!(shop.ask(&into, "SELECT count(*) FROM pg_statistic WHERE starelid = 'shop.orders'::regclass"), "0");
    }
}

// B8
#[test]
fn rows_that_an_extension_wants_dumped_are_counted_as_its_own_and_the_dump_holds_them() {
    let shop = Shop::open();
    let before = shop.postgres.count(DATABASE, &shop.cx).unwrap();
    // As `pg_extension_config_dump` leaves it. No extension that does it comes with the server.
    let statements = "CREATE TABLE shop.units AS SELECT 'kg' AS unit; ALTER EXTENSION plpgsql ADD TABLE shop.units;
        UPDATE pg_extension SET extconfig = ARRAY['shop.units'::regclass::oid], extcondition = ARRAY[''] WHERE extname = 'plpgsql'";
    shop.postgres.execute(DATABASE, statements, &shop.cx).unwrap();
    let count = shop.postgres.count(DATABASE, &shop.cx).unwrap();
    assert_eq!(count.of_extensions, [(("shop".to_owned(), "units".to_owned()), 1)].into());
    assert_eq!(count.tables, before.tables);
    let mut text = String::new();
    dump(&shop, Layout::Plain).read_to_string(&mut text).unwrap();
    assert!(text.contains("COPY shop.units (unit) FROM stdin;\nkg\n"), "pg_dump left it out");
    // They cannot be compared with what was dumped.
    let name = |table: &str| (("shop".to_owned(), table.to_owned()), None);
    let held = shop.postgres.contents(DATABASE, &[name("units"), name("orders"), name("nowhere")].into(), &shop.cx).unwrap();
    assert_eq!(held.keys().map(|(_, table)| table.as_str()).collect::<Vec<_>>(), ["orders"]);
    // The extension may have brought rows of its own; fewer than were dumped are a loss.
    for (dumped, lost) in [(0, false), (1, false), (2, true)] {
        let mut manifest = manifest("orders", "a.sql.gz.gpg", 0);
        manifest.tables = [("shop.units".to_owned(), TableCount { rows: dumped, bytes: 0, xxh3: None })].into();
        let told = differences(&manifest, &count).iter().any(|words| words.contains("shop.units"));
        assert_eq!(told, lost, "{dumped} rows dumped");
    }
}

// Trap 26
#[test]
fn a_restore_that_fails_leaves_no_database_and_says_why() {
    let shop = Shop::open();
    let sql = "CREATE TABLE a (id int);\nCREATE TABLE broken (id nonsense);\n";
    let error = shop.postgres.restore(target("half"), |_| Box::new(sql.as_bytes()), None, &shop.cx).unwrap_err();
    assert!(error.to_string().contains(r#"type "nonsense" does not exist"#), "{error}");
    assert!(!shop.postgres.has_database("half", &shop.cx).unwrap());
}

/// What there is of a table, in words that say nothing of its order, and how many transactions brought it.
fn rows_of(shop: &Shop, database: &str, table: &str) -> (String, u32) {
    let query = format!("SELECT concat_ws(' ', count(*), sum(hashtextextended(t::text, 0)), count(DISTINCT xmin::text)) FROM {table} t");
    let told = shop.ask(database, &query);
    let (content, brought) = told.rsplit_once(' ').unwrap();
    (content.to_owned(), brought.parse().unwrap())
}

// Rows are cut at newlines and dealt out: none is lost, none comes twice, and what is longer than a share stays in one piece.
#[test]
fn rows_that_are_dealt_out_to_several_sessions_are_all_there_once() {
    let shop = Shop::open();
    let statements = [
        "CREATE TABLE shop.large AS SELECT n AS id, repeat(md5(n::text), 1 + n % 9) AS words, E'a\\b\n\\.\t' || n AS odd \
         FROM generate_series(1, 40000) n",
        "CREATE TABLE shop.wide AS SELECT n AS id, repeat(md5(n::text), CASE WHEN n % 5 = 0 THEN 30000 ELSE 1 END) AS words \
         FROM generate_series(1, 25) n",
        "CREATE TABLE shop.small AS SELECT 1 AS id, E'\\.' AS words",
        "CREATE TABLE shop.without_columns (); INSERT INTO shop.without_columns SELECT FROM generate_series(1, 300000)",
        "CREATE TABLE shop.empty (id integer)",
    ];
    for statement in statements {
        shop.postgres.execute(DATABASE, statement, &shop.cx).unwrap();
    }
    for layout in [Layout::Plain, Layout::Custom] {
        let into = format!("copy_{layout:?}");
        restore(&shop, layout, &into);
        assert_eq!(shop.postgres.count(&into, &shop.cx).unwrap(), shop.postgres.count(DATABASE, &shop.cx).unwrap(), "{layout:?}");
        for table in ["large", "wide", "small", "without_columns", "empty"] {
            let table = format!("shop.{table}");
            let ((there, _), (here, brought)) = (rows_of(&shop, DATABASE, &table), rows_of(&shop, &into, &table));
            assert_eq!(there, here, "{table}, {layout:?}");
            assert!(table != "shop.small" || brought == 1, "{brought}");
        }
    }
}

// A session sees of the others only what is committed: where an index or a trigger is there before the rows, one session brings them.
#[test]
fn a_large_table_is_brought_by_several_sessions_and_one_that_something_looks_at_by_one() {
    let shop = Shop::open();
    let rows = (0..400_000).map(|n| n.to_string()).collect::<Vec<_>>().join("\n") + "\n";
    // The first row waits for a second session.
    let waits = "CREATE FUNCTION public.waits(n integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
        WHILE n = 0 AND (SELECT count(*) < 2 FROM pg_stat_activity WHERE query LIKE 'COPY public.t %' AND state = 'active') LOOP \
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; RETURN true; END $$;\n\
        ALTER TABLE public.t ADD CHECK (public.waits(id));";
    for (before, one) in [(waits, false), ("CREATE UNIQUE INDEX ON public.t (id);", true)] {
        let into = if one { "looked_at" } else { "unseen" };
        let text = format!("CREATE TABLE public.t (id integer);\n{before}\nCOPY public.t (id) FROM stdin;\n{rows}\\.\n\nSELECT 1;\n");
        let stream: Stream = Box::new(std::io::Cursor::new(text.into_bytes()));
        shop.postgres.restore(target(into), |rows| plain::thin::thinned(stream, None, Some(rows)), None, &shop.cx).unwrap();
        let (content, brought) = rows_of(&shop, into, "public.t");
        assert!(content.starts_with("400000 "), "{content}");
        assert_eq!(brought == 1, one, "{into}: {brought}");
    }
}

// Trap 26
#[test]
fn rows_that_do_not_go_in_are_told_by_their_table_and_leave_no_database() {
    let shop = Shop::open();
    let rows = "1\n".repeat(400_000);
    let cases = [
        (format!("COPY public.t (id) FROM stdin;\n{rows}x\n{rows}\\.\n"), "loading the rows of public.t"),
        (format!("COPY public.nothing (id) FROM stdin;\n{rows}\\.\n"), "loading the rows of public.nothing"),
        // What psql failed for is told, and not that its mark never came.
        (format!("SELECT 1 / 0;\nCOPY public.t (id) FROM stdin;\n{rows}\\.\n"), "division by zero"),
    ];
    for (text, words) in cases {
        let stream: Stream = Box::new(std::io::Cursor::new(format!("CREATE TABLE public.t (id integer);\n{text}").into_bytes()));
        let error =
            shop.postgres.restore(target("half"), |rows| plain::thin::thinned(stream, None, Some(rows)), None, &shop.cx).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!shop.postgres.has_database("half", &shop.cx).unwrap());
    }
}

// Traps 9, 10
#[test]
fn a_stream_that_fails_is_the_reason_told_and_leaves_no_database() {
    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(Report::refused("the object ends early").into())
        }
    }
    let shop = Shop::open();
    let stream = Box::new("CREATE TABLE a (id int);\n".as_bytes().chain(Cut));
    let error = shop.postgres.restore(target("half"), |_| stream, None, &shop.cx).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Refused, "the object ends early"));
    assert!(!shop.postgres.has_database("half", &shop.cx).unwrap());
}

// Trap 28
#[test]
fn a_restore_never_writes_into_a_database_that_exists() {
    let shop = Shop::open();
    let error = shop.postgres.restore(target(DATABASE), |_| Box::new(&b""[..]), None, &shop.cx).unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("exists already"), "{error}");
    assert_eq!(shop.ask(DATABASE, "SELECT count(*) FROM shop.orders"), "2000");
}

// B3: what a killed restore leaves behind is known by its mark and goes; what somebody made does not.
#[test]
fn only_marked_databases_that_nobody_restores_into_are_swept() {
    let shop = Shop::open();
    let make =
        "CREATE DATABASE left_behind; CREATE DATABASE somebodys; COMMENT ON DATABASE left_behind IS 'lifeboat: being restored from x'";
    for statement in make.split(';') {
        let client = shop.cluster.connect("postgres", &shop.cx).unwrap();
        shop.cx.wait(async { client.batch_execute(statement).await.map_err(|e| Report::failed(e.to_string())) }).unwrap();
    }
    assert_eq!(shop.postgres.sweep_unfinished(&shop.cx).unwrap(), ["left_behind"]);
    assert!(shop.postgres.has_database("somebodys", &shop.cx).unwrap());
}

// B11, trap 27
#[test]
fn a_swap_under_load_keeps_rights_and_settings_and_can_be_taken_back() {
    let shop = Shop::open();
    restore(&shop, Layout::Plain, "staged");
    let before = shop.ask("postgres", &settings_of(DATABASE));
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..4).map(|_| spawn_user(&shop, &stop)).collect();
    let swap = Swap { live: DATABASE, staged: "staged", keep_as: "orders_old", partial: false };
    shop.postgres.swap(swap, "kept", &shop.cx).unwrap();
    assert_eq!(shop.ask("postgres", &settings_of(DATABASE)), before);
    assert!(shop.postgres.has_database("orders_old", &shop.cx).unwrap() && !shop.postgres.has_database("staged", &shop.cx).unwrap());
    shop.postgres.swap(Swap { live: DATABASE, staged: "orders_old", keep_as: "staged", partial: false }, "back", &shop.cx).unwrap();
    stop.store(true, Ordering::Release);
    let answered: u32 = users.into_iter().map(|user| user.join().unwrap()).sum();
    assert!(answered > 0, "nobody was ever served: the test did not load the database");
    assert_eq!(shop.ask("postgres", &settings_of(DATABASE)), before);
    assert!(shop.postgres.has_database("staged", &shop.cx).unwrap());
}

/// Asks the live database again and again over new connections; being sent away is part of a swap, an answer from nowhere is not.
fn spawn_user(shop: &Shop, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    let (postgres, cx, stop) = (shop.postgres.clone(), shop.cx.clone(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut answered = 0;
        while !stop.load(Ordering::Acquire) {
            if let Ok(rows) = postgres.ask(DATABASE, "SELECT count(*) FROM shop.orders", &cx) {
                assert_eq!(rows, "2000");
                answered += 1;
            }
        }
        answered
    })
}

fn settings_of(database: &str) -> String {
    format!(
        "SELECT concat_ws('; ', pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'), (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(datacl) a), \
         (SELECT string_agg(concat(setrole, setconfig::text), ',' ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)) \
         FROM pg_database d WHERE datname = '{database}'"
    )
}

// Trap 25
#[test]
fn a_database_named_like_a_connection_string_is_only_a_name() {
    let mut shop = Shop::open();
    shop.postgres.settings.database = "dbname=orders".into();
    let Err(error) = Dump::prepare(&shop.postgres, Layout::Plain, &shop.cx) else { panic!("another database was dumped") };
    assert!(error.message.contains(r#"database "dbname=orders""#), "{error}");
}

#[test]
fn a_wrong_password_names_the_system_and_never_the_password() {
    let shop = Shop::open();
    std::fs::write(shop.dir.path().join("password"), "hunter2").unwrap();
    let error = shop.postgres.identity(DATABASE, &shop.cx).unwrap_err();
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    assert!(error.hints.iter().any(|hint| hint.contains("[system.orders]")), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
}
