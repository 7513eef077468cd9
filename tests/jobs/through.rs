//! A server that can only be reached through a command (C3).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use lifeboat::config;
use lifeboat::report::Kind;

use super::rig::{Rig, Wanted};

const JOBS: &str = r#"
[job.all]
system = "main"
store = "shelf"
keys = ["backup"]
databases = ["orders", "it's $(odd)"]
globals = true
access = "recorded"
name = "{database}-{yyyyMMddHHmmss}.sql.gz.gpg"
"#;

/// A far end without any setting of ours: what crosses is arguments and a stream. `shell` reads them as ssh's far end does.
fn far_end(dir: &Path, name: &str, shell: bool, noise: &str) -> String {
    let run = if shell { r#"shift; exec sh -c "$*""# } else { r#"shift; exec "$@""# };
    let home = dir.join("far");
    fs::create_dir_all(&home).unwrap();
    // The far end's own way in.
    let passfile = home.join(".pgpass");
    fs::write(&passfile, "*:*:*:*:secret\n").unwrap();
    fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
    let home = home.display();
    let script = format!("#!/bin/sh\n{noise}\nexec env -i HOME='{home}' PATH=\"$PATH\" /bin/sh -c '{run}' far \"$@\"\n");
    let path = dir.join(name);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn shop() -> Rig {
    let rig = Rig::open(&Wanted { password: false, system: "through = [\"true\"]", rest: JOBS, ..Wanted::default() });
    rig.execute("postgres", &[r#"CREATE DATABASE "it's $(odd)""#, "CREATE ROLE clerk"]);
    rig.execute(
        "orders",
        &[
            "CREATE TABLE orders (id int)",
            "INSERT INTO orders SELECT generate_series(1, 500)",
            "GRANT SELECT ON orders TO clerk",
            "ALTER DATABASE orders SET app.x TO E'it''s\\n$(odd)'",
        ],
    );
    rig
}

fn through(rig: &Rig, value: &str) -> lifeboat::run::engine::Engine {
    let text = fs::read_to_string(&rig.config).unwrap().replace("through = [\"true\"]", &format!("through = {value}"));
    let path = rig.dir.path().join("far.toml");
    fs::write(&path, text).unwrap();
    lifeboat::run::engine::Engine::new(Arc::new(config::load(&path).unwrap_or_else(|problems| panic!("{problems:#?}"))))
}

fn assert_dumps(engine: &lifeboat::run::engine::Engine, rig: &Rig) {
    let made = engine.backup("all", &rig.cx).unwrap();
    let found: Vec<_> = made.iter().map(|made| (made.database(), made.rows(), made.schema.roles)).collect();
    assert_eq!(found, [(None, 0, 2), (Some("it's $(odd)"), 0, 0), (Some("orders"), 500, 0)]);
    assert_eq!(made[2].origin.system_identifier, rig.cluster.system_identifier());
    // Who may do what is asked at the far end too.
    let access = made[2].access.as_ref().unwrap();
    assert!(access.roles == ["clerk", "postgres"] && access.owner == "postgres" && access.settings.is_some(), "{access:?}");
    let group = made[2].group.as_ref().unwrap();
    assert!(made[2].snapshot_at >= group.first_snapshot && made[2].snapshot_at <= group.last_snapshot);
    assert_eq!(engine.listing("all", &rig.cx).unwrap().groups()[0].missing.len(), 0);
    for dump in &made {
        engine.verify("all", &dump.object, 4, &rig.cx).unwrap();
    }
}

// C3, C4
#[test]
fn a_server_behind_a_command_is_dumped_whether_or_not_a_shell_reads_the_arguments() {
    let rig = shop();
    let plain = far_end(rig.dir.path(), "kubectl", false, "");
    assert_dumps(&through(&rig, &format!("[{plain:?}, \"pod\"]")), &rig);
    let shell = far_end(rig.dir.path(), "ssh", true, "");
    assert_dumps(&through(&rig, &format!("[{shell:?}, \"db1\"]")), &rig);
    let wrapped = far_end(rig.dir.path(), "jump", true, "");
    assert_dumps(&through(&rig, &format!("{{ command = [{wrapped:?}, \"db1\"], shell = true }}")), &rig);
    // Nothing stays open at the far end.
    let began = std::time::Instant::now();
    while rig.open_transactions() != "0" {
        assert!(began.elapsed().as_secs() < 10);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn what_the_far_end_prints_at_log_in_never_gets_into_a_dump() {
    let rig = shop();
    let noisy = far_end(rig.dir.path(), "ssh", true, "echo Welcome to db1");
    let report = through(&rig, &format!("[{noisy:?}, \"db1\"]")).backup("all", &rig.cx).unwrap_err();
    assert!(format!("{report:?}").contains("let nothing be printed at log-in"), "{report:?}");
    assert!(format!("{report:?}").contains("Welcome to db1"), "{report:?}");
}

// Trap 9
#[test]
fn a_far_end_that_cannot_be_reached_or_has_no_client_is_the_reason_told() {
    let rig = shop();
    let report = through(&rig, r#"["sh", "-c", "echo Connection refused >&2; exit 255"]"#).backup("all", &rig.cx).unwrap_err();
    assert!(format!("{report:?}").contains("Connection refused"), "{report:?}");
    let shell = far_end(rig.dir.path(), "ssh", true, "");
    let engine = through(&rig, &format!("[{shell:?}, \"db1\"]\nbin = \"/nowhere\""));
    let report = engine.backup("all", &rig.cx).unwrap_err();
    assert!(format!("{report:?}").contains("/nowhere/psql"), "{report:?}");
}

#[test]
fn a_system_behind_a_command_is_dumped_and_never_written_to() {
    let rig = shop();
    let report = rig.engine.restore("all", "x", "copy", &rig.cx).unwrap_err();
    assert!(report.kind == Kind::Refused, "{report}");
    let postgres = lifeboat::system::postgres::Postgres::new(rig.engine.inventory().system("main").unwrap().postgres().clone());
    let report = postgres.execute("orders", "SELECT 1", &rig.cx).unwrap_err();
    assert!(report.kind == Kind::Refused && report.message.contains("can only be dumped"), "{report}");
}
