//! What swaps put aside is listed, and dropped only by decision.

use jiff::Timestamp;
use lifeboat::report::Kind;
use lifeboat::run::hands::Hands;
use lifeboat::runbook::plan::{Action, Work};

use super::rig::{Rig, Wanted};

fn swap(staged: &str, keep_as: &str, keep_until: Option<&str>) -> Action {
    Action::Job(Work::Swap {
        system: "main".into(),
        live: "orders".into(),
        staged: staged.into(),
        keep_as: keep_as.into(),
        keep_until: keep_until.map(str::to_owned),
        partial: false,
    })
}

fn there(rig: &Rig, database: &str) -> bool {
    rig.ask("postgres", &format!("SELECT count(*)::text FROM pg_database WHERE datname = '{database}'")) == "1"
}

// D14, B11
#[test]
fn a_database_that_was_put_aside_is_listed_and_dropped_only_when_its_day_has_come_or_somebody_insists() {
    let rig = Rig::open(&Wanted::default());
    let odd = "old; DROP \"x\"";
    rig.execute("orders", &["CREATE DATABASE first", "CREATE DATABASE second", "CREATE DATABASE somebodys"]);
    rig.engine.act(&swap("first", odd, None), &rig.cx).unwrap();
    rig.engine.act(&swap("second", "orders_second", Some("2999-01-01")), &rig.cx).unwrap();
    let week = (Timestamp::now() + jiff::SignedDuration::from_hours(7 * 24)).strftime("%Y-%m-%d").to_string();

    let (code, table, told) = rig.run(&["kept"]);
    assert_eq!(code, 0, "{told}");
    assert!(table.contains(&week) && table.contains("2999-01-01") && table.contains("first") && table.contains("second"), "{table}");
    assert!(!table.contains("somebodys"), "{table}");
    let (_, json, _) = rig.run(&["kept", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!((rows[0]["name"].as_str(), rows[0]["mark"]["was"].as_str()), (Some(odd), Some("orders")), "{json}");
    assert!(rows[0]["size"].as_u64().unwrap() > 1_000_000 && rows[1]["mark"]["replaced_by"] == "second", "{json}");

    // Before its day, never asked for, the live one, the one that everything starts from: refused.
    let refused = |args: &[&str], words: &str| {
        let (code, _, told) = rig.run(args);
        assert!(code == 3 && told.contains(words), "{args:?}: {code} {told}");
    };
    refused(&["kept", "drop", odd], &format!("is to be kept until {week}"));
    refused(&["kept", "drop", "somebodys", "--early", "--system", "main"], "was not put aside by a swap");
    refused(&["kept", "drop", "somebodys", "--early"], "no database \"somebodys\" was put aside");
    refused(&["kept", "drop", "orders", "--early", "--system", "main"], "is in use");
    // Even then the name has to be typed, and nobody is there to type it.
    let (code, _, told) = rig.run(&["kept", "drop", odd, "--early"]);
    assert_eq!(code, 5, "{told}");
    assert!(there(&rig, odd) && there(&rig, "orders_second") && there(&rig, "orders") && there(&rig, "somebodys"));

    let drop = |database: &str, early: bool| {
        let work = Work::DropKept { system: "main".into(), database: database.into(), early };
        rig.engine.act(&Action::Job(work), &rig.cx)
    };
    assert_eq!(drop("orders_second", false).unwrap_err().kind, Kind::Refused);
    // Somebody is still looking at it.
    let looking = rig.cluster.connect(odd, &rig.cx).unwrap();
    assert!(drop(odd, true).unwrap_err().to_string().contains("being accessed by other users"));
    std::mem::drop(looking);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(error) = drop(odd, true) {
        assert!(error.to_string().contains("being accessed") && std::time::Instant::now() < until, "{error}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!there(&rig, odd));
    // Its day has come.
    rig.engine.may_drop_kept("main", "orders_second", false, "2999-01-01T00:00:00Z".parse().unwrap(), &rig.cx).unwrap();
}
