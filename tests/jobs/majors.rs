//! Servers and clients of several majors.

use std::sync::Arc;

use lifeboat::config;
use lifeboat::report::Kind;
use lifeboat::run::engine::Engine;

use super::rig::{DEBIAN, Rig, Wanted, bin};

const JOBS: &str = r#"
[job.plain]
system = "main"
store = "shelf"
keys = ["backup"]
globals = true
name = "plain-{database}-{yyyyMMddHHmmss}.sql.gz.gpg"

[job.custom]
system = "main"
store = "shelf"
keys = ["backup"]
format = "custom"
name = "custom-{yyyyMMddHHmmss}.dump.gz.gpg"
"#;

/// `bin = […]`, of these majors.
fn clients(majors: &[u32]) -> String {
    let directories: Vec<String> = majors.iter().map(|major| format!("\"{}\"", bin(*major).display())).collect();
    format!("bin = [{}]\n", directories.join(", "))
}

/// A server of `major` with the sample in it; clients of all majors are at hand.
fn shop(major: u32) -> Rig {
    let all = clients(&[18, 14, 17, 16, DEBIAN]);
    let rig = Rig::open(&Wanted { major, system: &all, rest: JOBS, ..Wanted::default() });
    let sample = lifeboat::drill::sample::Sample { rows: 100, seed: 7, until: jiff::Timestamp::now() };
    sample.load(&rig.cluster, "app", &rig.cx).unwrap();
    rig
}

/// The engine for the store of `from` and the server of `into`, with the clients given.
fn across(from: &Rig, into: &Rig, majors: &[u32]) -> Engine {
    let text = std::fs::read_to_string(&into.config).unwrap();
    let shelf = |rig: &Rig| format!("path = \"{}\"", rig.dir.path().join("shelf").display());
    let text: String = text.replace(&shelf(into), &shelf(from));
    let bins = text.lines().find(|line| line.starts_with("bin = ")).unwrap().to_owned();
    let path = into.dir.path().join("across.toml");
    std::fs::write(&path, text.replace(&bins, clients(majors).trim_end())).unwrap();
    Engine::new(Arc::new(config::load(&path).unwrap()))
}

// G13, traps 2 and 32
#[test]
fn every_major_is_dumped_by_its_own_client_inspected_and_restored_into_itself() {
    for major in [14, DEBIAN, 16, 17, 18] {
        let rig = shop(major);
        let (plain, custom) = (rig.backup("plain"), rig.backup("custom"));
        for (job, made) in [("plain", &plain["orders"]), ("custom", &custom["orders"])] {
            let own = |version: &str| version.split('.').next() == Some(&major.to_string());
            assert!(own(&made.origin.client_version) && own(&made.origin.server_version), "{major}: {:?}", made.origin);
            assert!(made.rows() > 100 && made.schema.constraints > 5, "{major}: {made:?}");
            rig.engine.verify(job, &made.object, 4, &rig.cx).unwrap();
            let into = format!("copy_{job}");
            rig.engine.restore(job, &made.object, &into, &rig.cx).unwrap();
            assert_same(&rig.engine, job, &made.object, &into, &rig);
        }
        assert_eq!(plain["orders"].tables, custom["orders"].tables, "{major}");
        assert_eq!(plain["orders"].schema, custom["orders"].schema, "{major}");
        assert!(rig.text("plain", &plain["orders"]).contains("\n\\restrict "), "{major} is no recent minor");
        assert!(plain["(globals)"].schema.roles >= 4, "{major}: {:?}", plain["(globals)"].schema);
        let version = rig.text("custom", &custom["orders"]).as_bytes()[6];
        assert_eq!(
            version,
            match major {
                14 | DEBIAN => 14,
                16 => 15,
                _ => 16,
            },
            "{major}: the archive's version"
        );
    }
}

/// Everything the manifest counts is in the database.
fn assert_same(engine: &Engine, job: &str, dump: &str, database: &str, rig: &Rig) {
    use lifeboat::run::hands::Hands;
    let probe =
        lifeboat::runbook::plan::Probe::Restored { job: job.into(), dump: dump.into(), database: database.into(), tables: Vec::new() };
    let seen = engine.probe(&probe, &rig.cx).unwrap();
    assert!(seen.held, "{dump} in {database}: {}", seen.words);
}

// G13
#[test]
fn an_older_major_goes_into_a_newer_one_and_a_newer_into_an_older_is_refused_before_the_start() {
    let (old, middle, new) = (shop(14), shop(DEBIAN), shop(18));
    let dumps: Vec<_> = [&old, &middle, &new].iter().map(|rig| (rig.backup("plain"), rig.backup("custom"))).collect();
    let all = [14, DEBIAN, 16, 17, 18];
    for (from, (plain, custom), into) in [(&old, &dumps[0], &new), (&middle, &dumps[1], &new), (&old, &dumps[0], &middle)] {
        let engine = across(from, into, &all);
        for (job, made) in [("plain", &plain["orders"]), ("custom", &custom["orders"])] {
            let name = format!("of_{job}_{}", made.origin.server_version.replace('.', "_"));
            engine.restore(job, &made.object, &name, &into.cx).unwrap();
            assert_same(&engine, job, &made.object, &name, into);
        }
    }
    for (job, made) in [("plain", &dumps[2].0["orders"]), ("custom", &dumps[2].1["orders"])] {
        let report = across(&new, &middle, &all).restore(job, &made.object, "never", &middle.cx).unwrap_err();
        assert_eq!(report.kind, Kind::Refused);
        assert!(report.message.contains("is a dump of PostgreSQL 18") && report.message.contains("older major"), "{report}");
        assert_eq!(middle.ask("postgres", "SELECT count(*)::text FROM pg_database WHERE datname ~ 'never|unmarked'"), "0");
    }
    // An archive wants a pg_restore no older than what wrote it, however new the server is.
    let made = &dumps[2].1["orders"];
    let report = across(&new, &new, &[17]).restore("custom", &made.object, "never", &new.cx).unwrap_err();
    assert!(report.kind == Kind::Refused && report.to_string().contains("newer than the newest client here, 17"), "{report}");
}

// Where only a newer client is at hand, what it dumps of an older server must go back into that server.
#[test]
fn what_a_newer_client_dumped_goes_back_into_the_older_server() {
    let rig = shop(DEBIAN);
    let engine = across(&rig, &rig, &[18]);
    for job in ["plain", "custom"] {
        let made = engine.backup(job, &rig.cx).unwrap().pop().unwrap();
        assert!(made.origin.client_version.starts_with("18."), "{:?}", made.origin);
        let into = format!("copy_{job}");
        engine.restore(job, &made.object, &into, &rig.cx).unwrap();
        assert_same(&engine, job, &made.object, &into, &rig);
    }
}

// Trap 32
#[test]
fn a_server_newer_than_every_client_is_refused_before_anything_starts() {
    let rig = Rig::open(&Wanted { major: 18, system: &clients(&[16, 17]), rest: JOBS, ..Wanted::default() });
    let report = rig.engine.backup("custom", &rig.cx).unwrap_err();
    assert_eq!(report.kind, Kind::Refused);
    assert!(report.message.contains("is PostgreSQL 18, newer than the newest client here, 17."), "{report}");
    assert!(report.hints.iter().any(|hint| hint.contains("`bin` in [system.main]")), "{report:?}");
    assert_eq!(std::fs::read_dir(rig.dir.path().join("shelf")).unwrap().count(), 0, "something was stored");
}

/// A standby of a server, made by its own `pg_basebackup`.
fn standby(rig: &Rig) -> (lifeboat::process::Running, std::path::PathBuf, tempfile::TempDir) {
    use lifeboat::process::Program;
    let dir = tempfile::Builder::new().prefix("lb-").tempdir_in("/tmp").unwrap();
    let account = rig.cluster.account();
    if let Some(account) = account {
        std::os::unix::fs::chown(dir.path(), Some(account.uid), Some(account.gid)).unwrap();
    }
    let within = |program: Program| match account {
        Some(account) => program.dir(dir.path()).as_user(account.uid, account.gid),
        None => program.dir(dir.path()),
    };
    let passfile = dir.path().join("pgpass");
    std::fs::write(&passfile, "*:*:*:*:secret\n").unwrap();
    if let Some(account) = account {
        std::os::unix::fs::chown(&passfile, Some(account.uid), Some(account.gid)).unwrap();
    }
    std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let data = dir.path().join("data");
    let basebackup = Program::new(rig.cluster.bin().join("pg_basebackup")).env("PGPASSFILE", &passfile);
    let basebackup = basebackup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-password", "-U", "postgres", "-D"]);
    within(basebackup.arg(&data).arg("-h").arg(rig.cluster.host())).run(&rig.cx).unwrap();
    let socket = dir.path().to_owned();
    let server = within(Program::new(rig.cluster.bin().join("postgres"))).arg("-D").arg(&data).arg("-k").arg(&socket);
    (server.serve(&rig.cx).unwrap(), socket, dir)
}

// C4: a replica is dumped like any other, so that production is left in peace.
#[test]
fn a_standby_exports_snapshots_and_is_dumped() {
    let settings = [("wal_level", "replica"), ("max_wal_senders", "4"), ("full_page_writes", "on"), ("hot_standby", "on")];
    let system = clients(&[DEBIAN]);
    let rig = Rig::open(&Wanted { settings: &settings, system: &system, rest: JOBS, ..Wanted::default() });
    rig.execute("orders", &["CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders SELECT generate_series(1, 500)"]);
    let (_server, socket, _dir) = standby(&rig);
    let text = std::fs::read_to_string(&rig.config).unwrap();
    let host = |path: &std::path::Path| format!("host = \"{}\"", path.display());
    let path = rig.dir.path().join("standby.toml");
    std::fs::write(&path, text.replace(&host(rig.cluster.host()), &host(&socket))).unwrap();
    let engine = Engine::new(Arc::new(config::load(&path).unwrap()));
    let postgres = lifeboat::system::postgres::Postgres::new(engine.inventory().system("main").unwrap().postgres().clone());
    let began = std::time::Instant::now();
    while postgres.ask("orders", "SELECT pg_is_in_recovery()", &rig.cx).ok().as_deref() != Some("t") {
        assert!(began.elapsed().as_secs() < 60, "{:?}", postgres.ask("orders", "SELECT pg_is_in_recovery()", &rig.cx));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let made = engine.backup("plain", &rig.cx).unwrap();
    assert_eq!(made.iter().map(lifeboat::pipeline::Manifest::rows).collect::<Vec<_>>(), [0, 500]);
}
