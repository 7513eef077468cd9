//! The whole box: up, struck, measured, and gone without a trace.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use lifeboat::drill::{BoxOptions, Loss, Scenario, TheBox};
use lifeboat::port::Store;
use lifeboat::store::s3::S3;

use super::*;

fn small() -> BoxOptions {
    BoxOptions { rows: 2000, key_bits: 2048, ..BoxOptions::default() }
}

/// Neither a process nor a directory.
fn is_gone(dir: &Path) -> bool {
    !dir.exists() && processes(dir.to_str().unwrap()).is_empty()
}

// B1, X5
#[test]
fn a_box_is_up_with_a_configuration_that_points_at_all_of_it() {
    let world = World::new();
    let the_box = TheBox::start(&small(), &world.cx).unwrap();
    let text = fs::read_to_string(the_box.config_path()).unwrap();
    assert_eq!(fs::metadata(the_box.config_path()).unwrap().mode() & 0o777, 0o600);
    let config: toml::Table = text.parse().unwrap();
    let at = |path: &str| -> &toml::Value {
        let mut parts = path.split('.');
        let first = &config[parts.next().unwrap()];
        parts.fold(first, |value, part| &value[part])
    };
    assert_eq!(at("environment.production"), &toml::Value::from(false));
    assert_eq!(at("environment.fingerprint.system_identifier").as_str().unwrap(), the_box.cluster().system_identifier());
    let base = the_box.config_path().parent().unwrap();
    let file = |path: &str| base.join(at(path).as_str().unwrap());
    for secret in ["system.orders.password.file", "store.vault.credentials.file", "key.backup.secret.file", "key.backup.passphrase.file"] {
        assert_eq!(fs::metadata(file(secret)).unwrap().mode() & 0o777, 0o600, "{secret}");
        let content = fs::read_to_string(file(secret)).unwrap();
        assert!(!text.contains(content.trim()), "{secret} is in the configuration");
        assert!(!world.said().contains(content.trim()), "{secret} was said");
    }
    assert!(base.join(at("key.backup.public").as_array().unwrap()[0].as_str().unwrap()).is_file());

    let password = fs::read_to_string(file("system.orders.password.file")).unwrap();
    let mut settings = tokio_postgres::Config::new();
    settings.host_path(at("system.orders.host").as_str().unwrap()).user(at("system.orders.user").as_str().unwrap());
    settings.port(5432).dbname("orders").password(password.trim());
    let client = world.wait(connect(&settings)).unwrap();
    let orders: i64 = world.wait(client.query_one("SELECT count(*) FROM shop.orders", &[])).unwrap().get(0);
    assert_eq!(orders, 2000);

    let vault = S3::new(the_box.bucket().settings(), &world.cx).unwrap();
    vault.put("probe", Box::new(&b"bytes"[..]), &world.cx).unwrap();
    assert_eq!(vault.head("probe", &world.cx).unwrap().unwrap().size, 5);

    let status = world.wait(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/_status", at("vars.api").as_str().unwrap());
        client.get(url).send().await.unwrap().text().await.unwrap()
    });
    assert!(status.contains("\"orders\":2000"), "{status}");
    assert!(world.said().contains("box:") && world.said().contains(" s  everything is up"), "{}", world.said());
}

// TRAPS 41
#[test]
fn a_dropped_box_leaves_nothing_and_neither_does_one_dropped_by_a_panic() {
    let world = World::new();
    let the_box = TheBox::start(&small(), &world.cx).unwrap();
    let dir = the_box.dir().to_owned();
    assert!(dir.is_dir() && !processes(dir.to_str().unwrap()).is_empty());
    let shown = catch_unwind(AssertUnwindSafe(|| {
        let _held = the_box;
        panic!("on purpose");
    }));
    assert!(shown.is_err());
    assert!(is_gone(&dir), "{:?}", processes(dir.to_str().unwrap()));
}

#[test]
fn a_box_that_cannot_be_made_leaves_nothing() {
    let world = World::new();
    let dir = place();
    let inside = dir.path().join("box");
    let options = BoxOptions { dir: Some(inside.clone()), ..small() };
    let listener = world.cx.cancel.clone();
    let mut cx = world.cx.clone();
    // In the middle: the server is up, the key is being made.
    cx.log = Log::to(move |_, line| {
        if line.contains("a PostgreSQL server") {
            listener.cancel();
        }
    });
    let report = TheBox::start(&options, &cx).err().unwrap();
    assert_eq!(report.kind, Kind::Cancelled);
    assert!(is_gone(&inside), "{:?}", processes(inside.to_str().unwrap()));

    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("mine"), "precious").unwrap();
    let world = World::new();
    let report = TheBox::start(&options, &world.cx).err().unwrap();
    assert_eq!(report.kind, Kind::Refused);
    assert_eq!(fs::read_to_string(inside.join("mine")).unwrap(), "precious");
}

#[test]
fn a_box_that_is_kept_leaves_its_files_and_no_process() {
    let world = World::new();
    let dir = place();
    let options = BoxOptions { dir: Some(dir.path().join("box")), keep: true, rows: 100, ..small() };
    let the_box = TheBox::start(&options, &world.cx).unwrap();
    let path = the_box.dir().to_owned();
    drop(the_box);
    assert!(path.join("lifeboat.toml").is_file() && path.join("pg/data/PG_VERSION").is_file());
    assert_eq!(processes(path.to_str().unwrap()), [""; 0]);
}

/// Not a test: the process that [`a_killed_process_takes_its_servers_with_it_and_its_box_is_swept`] kills.
#[test]
#[ignore = "run by another test"]
fn the_process_that_is_killed() {
    let world = World::new();
    let the_box = TheBox::start(&BoxOptions { rows: 100, ..small() }, &world.cx).unwrap();
    eprintln!("box {}", the_box.dir().display());
    // Until killed.
    std::thread::sleep(Duration::from_mins(5));
}

// TRAPS 35, 41
#[test]
fn a_killed_process_takes_its_servers_with_it_and_its_box_is_swept() {
    let world = World::new();
    let alive = TheBox::start(&BoxOptions { rows: 100, ..small() }, &world.cx).unwrap();
    let this = std::thread::current().name().unwrap().to_owned();
    let other = this.replace("a_killed_process_takes_its_servers_with_it_and_its_box_is_swept", "the_process_that_is_killed");
    let args = ["--exact", &other, "--ignored", "--nocapture"];
    let mut child = Command::new(std::env::current_exe().unwrap()).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let dir = said.map(Result::unwrap).find_map(|line| line.strip_prefix("box ").map(PathBuf::from)).unwrap();
    let in_dir = || processes(dir.to_str().unwrap());
    assert!(!in_dir().is_empty(), "this test sees no processes");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the servers of the killed process have ended", || in_dir().is_empty());
    assert!(dir.exists(), "then there is nothing to sweep");

    let next = TheBox::start(&BoxOptions { rows: 100, ..small() }, &world.cx).unwrap();
    assert!(is_gone(&dir));
    assert!(world.said().contains("was left by a process that is gone: removed"), "{}", world.said());
    assert!(alive.dir().join("lifeboat.toml").is_file(), "a box in use was swept");
    drop(next);
}

// B5: the loss is measured, not estimated.
#[test]
fn what_a_restore_lost_is_counted_order_by_order() {
    let world = World::new();
    let the_box = TheBox::start(&small(), &world.cx).unwrap();
    let sql = |database: &str, sql: &str| {
        let client = the_box.cluster().connect(database, &world.cx).unwrap();
        world.wait(client.batch_execute(sql)).unwrap();
    };
    let rename = |from: &str, to: &str| {
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
        let closed = format!("ALTER DATABASE {from} ALLOW_CONNECTIONS false; {end}");
        sql("postgres", &closed);
        let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        let admin = the_box.cluster().connect("postgres", &world.cx).unwrap();
        until("nobody is connected", || world.wait(admin.query_one(gone, &[&from])).unwrap().get::<_, i64>(0) == 0);
        sql("postgres", &format!("ALTER DATABASE {from} RENAME TO {to}; ALTER DATABASE {to} ALLOW_CONNECTIONS true"));
    };
    rename("orders", "backup");
    sql("postgres", "CREATE DATABASE orders TEMPLATE backup");
    the_box.trade(3, &world.cx).unwrap();
    for scenario in Scenario::ALL {
        let truth = the_box.strike(scenario, &world.cx).unwrap();
        assert_eq!(truth.rows(), 2003, "{scenario:?}");
        match scenario {
            Scenario::DeletedOrders => assert_eq!(the_box.loss(&truth, &world.cx).unwrap().rows, 2003),
            Scenario::DroppedTable => assert!(the_box.loss(&truth, &world.cx).is_err()),
            Scenario::WrongUpdate => {
                let loss = the_box.loss(&truth, &world.cx).unwrap();
                assert_eq!((loss.rows, loss.changed), (0, 2003));
            }
        }
        rename("orders", &format!("damaged_{}", scenario.name().replace('-', "_")));
        sql("postgres", "CREATE DATABASE orders TEMPLATE backup");
        let loss = the_box.loss(&truth, &world.cx).unwrap();
        assert_eq!((loss.rows, loss.changed), (3, 0), "{scenario:?}");
        let window = truth.at.duration_since(loss.since.unwrap());
        assert_eq!(loss.window, window);
        assert!(window.is_positive() && window.as_secs() < 60, "{window}");
        the_box.trade(3, &world.cx).unwrap();
    }
    let calm = the_box.strike(Scenario::WrongUpdate, &world.cx).unwrap();
    rename("orders", "wrong");
    sql("postgres", "CREATE DATABASE orders TEMPLATE backup");
    sql("orders", "INSERT INTO shop.orders (customer_id, total) SELECT 1000, 1 FROM generate_series(1, 3)");
    assert_eq!(the_box.loss(&calm, &world.cx).unwrap().changed, 3, "other orders under the same numbers are not the ones that were lost");
    assert_eq!(Loss::default().since, None);
}
