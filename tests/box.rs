//! The box: what is started is real, and nothing of it is left.

mod site;
mod whole;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat::drill::keys::Keys;
use lifeboat::drill::sample::{self, Sample};
use lifeboat::port::{Context, Log};
use lifeboat::report::{Kind, Result};
use lifeboat::system::postgres::cluster::{Cluster, ClusterOptions, connect};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A runtime, a context, and what was said on it.
struct World {
    runtime: Runtime,
    cx: Context,
    said: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> World {
        let runtime = Runtime::new().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&said);
        let mut cx = Context::new(runtime.handle().clone());
        cx.log = Log::to(move |who, line| listener.lock().unwrap().push(format!("{who}: {line}")));
        World { runtime, cx, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

fn place() -> TempDir {
    let dir = tempfile::Builder::new().prefix("lb-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn options(dir: &Path) -> ClusterOptions {
    ClusterOptions {
        dir: dir.join("pg"),
        bin: None,
        password: "it's a \"secret\"".into(),
        database: Some("orders".into()),
        settings: vec![("work_mem".into(), "7MB".into())],
        remove: true,
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited 20 s for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every process with `text` in its command line or its working directory, ours apart.
fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(std::result::Result::ok) {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let dir = fs::read_link(entry.path().join("cwd")).map(|dir| dir.display().to_string()).unwrap_or_default();
        if id != std::process::id() && (command.contains(text) || dir.contains(text)) {
            found.push(format!("{id} {command} in {dir}"));
        }
    }
    found
}

// TRAPS 33
#[test]
fn a_cluster_started_by_root_runs_as_somebody_else_and_says_so() {
    let world = World::new();
    let dir = place();
    let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    let id = cluster.id().unwrap();
    let owner = fs::metadata(format!("/proc/{id}")).unwrap().uid();
    if rustix::process::geteuid().is_root() {
        let account = cluster.account().unwrap();
        assert_eq!(owner, account.uid);
        assert_ne!(owner, 0);
        assert!(world.said().contains(&format!("PostgreSQL refuses root: it runs as user {}", account.name)), "{}", world.said());
    } else {
        assert_eq!(owner, rustix::process::geteuid().as_raw());
    }
    assert_eq!(fs::metadata(dir.path().join("pg/data")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_cluster_listens_on_its_socket_only_and_wants_its_password() {
    let world = World::new();
    let dir = place();
    let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    let client = cluster.connect("orders", &world.cx).unwrap();
    let ask = |sql: &'static str| -> String { world.wait(client.query_one(sql, &[])).unwrap().get(0) };
    assert_eq!(ask("SHOW listen_addresses"), "");
    assert_eq!(ask("SHOW work_mem"), "7MB");
    assert_eq!(ask("SELECT system_identifier::text FROM pg_control_system()"), cluster.system_identifier());
    assert!(ask("SHOW server_version").starts_with(cluster.version()));
    assert!(world.wait(connect(&cluster.settings("postgres", "wrong", "orders"))).is_err(), "a wrong password was taken");
    let left: Vec<_> = fs::read_dir(cluster.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only data and socket: {left:?}");
    assert!(!world.said().contains("secret"));
}

#[test]
fn a_dropped_cluster_leaves_neither_process_nor_directory() {
    let world = World::new();
    let dir = place();
    let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    let client = cluster.connect("orders", &world.cx).unwrap();
    let path = cluster.dir().to_owned();
    assert!(!processes(path.to_str().unwrap()).is_empty(), "this test sees no processes");
    drop(cluster);
    assert_eq!(processes(path.to_str().unwrap()), [""; 0]);
    assert!(!path.exists());
    assert!(world.wait(client.query_one("SELECT 1", &[])).is_err());
}

#[test]
fn a_cluster_survives_the_cancellation_of_the_work_it_was_started_for() {
    let world = World::new();
    let dir = place();
    let mut cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    world.cx.cancel.cancel();
    let client = world.wait(connect(&cluster.settings("postgres", cluster.password(), "orders"))).unwrap();
    world.wait(client.query_one("SELECT pg_sleep(0.1)", &[])).unwrap();
    cluster.stop().unwrap();
}

#[test]
fn a_cluster_that_cannot_start_says_why_and_leaves_nothing() {
    let world = World::new();
    let dir = place();
    let mut wrong = options(dir.path());
    wrong.settings.push(("max_connections".into(), "many".into()));
    let path = wrong.dir.clone();
    let report = Cluster::start(wrong, &world.cx).err().unwrap();
    assert!(report.to_string().contains("max_connections"), "{report}");
    assert!(!path.exists());

    let mut elsewhere = options(dir.path());
    elsewhere.bin = Some("/nowhere".into());
    let report = Cluster::start(elsewhere, &world.cx).err().unwrap();
    assert_eq!(report.message, "there is no PostgreSQL server in /nowhere");
}

#[test]
fn a_cluster_in_a_long_path_has_a_short_socket() {
    let world = World::new();
    let dir = place();
    let mut deep = options(dir.path());
    deep.dir = dir.path().join("d".repeat(90)).join("pg");
    let cluster = Cluster::start(deep, &world.cx).unwrap();
    let socket = cluster.host().to_owned();
    assert!(socket.join(".s.PGSQL.5432").as_os_str().len() <= 107);
    cluster.connect("orders", &world.cx).unwrap();
    drop(cluster);
    assert!(!socket.exists());
}

#[test]
fn a_cluster_below_a_closed_directory_is_refused_with_the_reason() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let dir = place();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let report = Cluster::start(options(&closed), &world.cx).err().unwrap();
    assert_eq!(report.kind, Kind::Refused);
    assert!(report.message.ends_with("closed is closed"), "{report}");
}

// B1
#[test]
fn the_sample_has_exactly_the_rows_it_promises_and_is_the_same_twice() {
    let world = World::new();
    let dir = place();
    let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    let sample = Sample { rows: 2001, seed: 7, until: "2025-06-01T00:00:00Z".parse().unwrap() };
    sample.load(&cluster, "app's password", &world.cx).unwrap();
    let client = cluster.connect("orders", &world.cx).unwrap();
    for (table, rows) in sample.tables() {
        let found: i64 = world.wait(client.query_one(&format!("SELECT count(*) FROM {table}"), &[])).unwrap().get(0);
        assert_eq!(u64::try_from(found).unwrap(), rows, "{table}");
    }
    let tables: i64 = world
        .wait(client.query_one("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema)'", &[]))
        .unwrap()
        .get(0);
    assert_eq!(usize::try_from(tables).unwrap(), sample.tables().len(), "a table nobody counts");

    let digest = "SELECT md5(string_agg(o::text, '' ORDER BY id)) FROM shop.orders o";
    let first: String = world.wait(client.query_one(digest, &[])).unwrap().get(0);
    drop(client);
    drop(cluster);
    let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    sample.load(&cluster, "another password", &world.cx).unwrap();
    let client = cluster.connect("orders", &world.cx).unwrap();
    let second: String = world.wait(client.query_one(digest, &[])).unwrap().get(0);
    assert_eq!(first, second);
}

#[test]
fn the_sample_survives_dump_and_restore_and_the_app_works_on_the_copy() {
    let world = World::new();
    let dir = place();
    let cluster = Cluster::start(options(dir.path()), &world.cx).unwrap();
    let sample = Sample { rows: 2000, seed: 1, until: Timestamp::now() };
    sample.load(&cluster, "app's password", &world.cx).unwrap();
    let admin = cluster.connect("postgres", &world.cx).unwrap();
    world.wait(admin.batch_execute("CREATE DATABASE copy")).unwrap();
    let password = dir.path().join("pgpass");
    let line = format!("*:*:*:postgres:{}\n", cluster.password());
    fs::write(&password, line).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let stock = |name: &str| {
        let mut command = Command::new(cluster.bin().join(name));
        command.env("PGPASSFILE", &password).arg("-h").arg(cluster.host()).args(["-U", "postgres"]);
        command
    };
    let dump = stock("pg_dump").args(["--no-owner", "--no-acl", "orders"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8(dump.stdout).unwrap();
    for odd in ["COPY x FROM stdin;", "\"Größe & Farbe\"", "lo_create", "\\N", "\"no columns\"", "ATTACH PARTITION", "MATERIALIZED VIEW"]
    {
        assert!(text.contains(odd), "the dump has no {odd}");
    }
    let file = dir.path().join("dump.sql");
    fs::write(&file, text).unwrap();
    let psql =
        stock("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "copy", "-f"]).arg(&file).stdout(Stdio::null()).output().unwrap();
    assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));

    let app = world.wait(connect(&cluster.settings(sample::APP, "app's password", "copy"))).unwrap();
    let number = world.wait(sample::place_order(&app)).unwrap();
    assert_eq!(number, 2001);
    let digest = "SELECT md5(string_agg(l::text, '' ORDER BY order_id, line)) FROM shop.order_lines l WHERE order_id <= 2000";
    let of = |database: &str| -> String {
        let client = cluster.connect(database, &world.cx).unwrap();
        world.wait(client.query_one(digest, &[])).unwrap().get(0)
    };
    assert_eq!(of("orders"), of("copy"));
}

// D10, TRAPS 41, 49
#[test]
fn a_throwaway_key_encrypts_opens_with_its_passphrase_only_and_leaves_no_agent() -> Result<()> {
    let world = World::new();
    let dir = place();
    let files = dir.path().join("keys");
    let keys = Keys::generate(&files, 4096, &world.cx)?;
    assert_eq!(processes(files.to_str().unwrap()), [""; 0], "an agent is left");
    let mut left: Vec<_> = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["backup.pub.asc", "backup.sec.asc", "passphrase"]);
    assert_eq!(fs::metadata(&files).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&keys.secret).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&keys.passphrase).unwrap().mode() & 0o777, 0o600);
    let passphrase = fs::read_to_string(&keys.passphrase).unwrap();
    assert!(!world.said().contains(passphrase.trim()));

    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let gpg = |args: &[&str]| {
        let base = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--trust-model", "always"];
        Command::new("gpg").arg("--homedir").arg(&home).args(base).args(args).output().unwrap()
    };
    let clear = dir.path().join("clear").display().to_string();
    let sealed = format!("{clear}.gpg");
    fs::write(&clear, "one row").unwrap();
    fs::write(dir.path().join("wrong"), "guess\n").unwrap();
    assert!(gpg(&["--import", keys.public.to_str().unwrap()]).status.success());
    assert!(gpg(&["-r", &keys.fingerprint, "-o", &sealed, "-e", &clear]).status.success(), "the key cannot encrypt");
    assert!(!gpg(&["-d", &sealed]).status.success(), "opened without the private half");
    let passphrase = keys.passphrase.to_str().unwrap();
    assert!(gpg(&["--passphrase-file", passphrase, "--import", keys.secret.to_str().unwrap()]).status.success());
    let wrong = dir.path().join("wrong").display().to_string();
    assert!(!gpg(&["--passphrase-file", &wrong, "-d", &sealed]).status.success(), "opened with a wrong passphrase");
    let opened = gpg(&["--passphrase-file", passphrase, "-d", &sealed]);
    assert_eq!(String::from_utf8_lossy(&opened.stdout), "one row");
    let listed = gpg(&["--with-colons", "--list-keys"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(":4096:1:"), "RSA-4096");
    Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]).status().unwrap();
    until("the test's own agent is gone", || processes(home.to_str().unwrap()).is_empty());
    Ok(())
}
