//! The shipped runbooks, and the way from a file to a plan.

use std::collections::BTreeMap;

use super::lint::Names;
use super::plan::{Plan, Surroundings};
use super::template::{self, Scope};
use super::{Draft, Library, check, load};
use crate::report::Kind;
use crate::report::diagnostic::{Source, render};

fn names() -> Names {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Names {
        systems: set(&["orders"]),
        jobs: set(&["orders"]),
        pulls: set(&[]),
        channels: set(&["team"]),
        vars: set(&["www", "api", "site_admin", "database", "orders_table"]),
    }
}

fn surroundings() -> Surroundings {
    let vars = [
        ("www", "https://shop.example"),
        ("api", "https://shop.example/api"),
        ("site_admin", "https://shop.example/admin"),
        ("database", "orders"),
        ("orders_table", "public.orders"),
    ];
    Surroundings {
        environment: "production".into(),
        production: true,
        run: "20261121-0300-9f3c".into(),
        started_at: "2026-11-21T03:00:00Z".parse().unwrap(),
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

fn draft(id: &str) -> Draft {
    load(&Library::shipped(), id, Some(&names())).unwrap_or_else(|problems| panic!("{}", render(&problems, false)))
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn restore_production() -> Plan {
    draft("restore-production").plan(&BTreeMap::new(), surroundings()).unwrap()
}

/// X2, D12 to D16.
#[test]
fn every_shipped_runbook_is_clean_and_not_overdue() {
    let library = Library::shipped();
    let problems = check(&library, library.ids(), Some(&names()), "2026-11-21".parse().unwrap());
    assert_eq!(render(&problems, false), "");
}

#[test]
fn every_file_of_the_directory_is_shipped() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let mut files: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, Library::shipped().ids().collect::<Vec<_>>());
}

#[test]
fn restore_production_is_laid_out_flat_in_its_order() {
    let plan = restore_production();
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    insta::assert_snapshot!(ids.join("\n"), @r"
    roles
    announce
    lock
    maintenance.switch
    mute.tests
    restore.pick
    restore.prove
    restore.restore
    rename.agree
    rename.swap
    loss
    reindex.catch-up
    reindex.compare
    recovery.switch
    look
    live.switch
    tests.unmute
    tests.run
    unlock
    done
    ");
    assert_eq!(plan.objectives.recovered_by.as_deref(), Some("live.switch"));
    assert!(plan.step("live.switch").is_some());
    assert_eq!(plan.values["incident_at"], "2026-11-21T03:00:00Z");
}

#[test]
fn a_plan_comes_back_from_its_file_as_it_was() {
    for id in Library::shipped().ids() {
        let given = if id == "service-rename" { values(&[("staged", "orders_new")]) } else { BTreeMap::new() };
        let given = if id == "maintenance-mode" { values(&[("state", "live")]) } else { given };
        let plan = draft(id).plan(&given, surroundings()).unwrap();
        let text = serde_json::to_string_pretty(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan, "{id}");
    }
}

/// Walks the whole plan as a run does and renders everything at the moment a run would.
#[test]
fn every_template_of_restore_production_can_be_filled_in_when_its_step_comes() {
    let plan = restore_production();
    let mut outputs: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for step in &plan.steps {
        let before = Scope::new(&plan, &outputs).of(step);
        let title = template::render(&step.title, &before).unwrap();
        assert!(!title.contains("{{"), "{title}");
        if let Some(danger) = &step.danger {
            assert_eq!(template::render(danger, &before).unwrap(), "orders");
        }
        let action = template::action(&step.action, &before).unwrap();
        let gave = action.outputs().iter().map(|name| ((*name).to_owned(), format!("<{name}>"))).collect();
        outputs.insert(step.id.clone(), gave);
        let after = Scope::new(&plan, &outputs).of(step);
        if let super::Action::Http { poll: Some(poll), .. } = &action {
            template::poll(poll, &after).unwrap();
        }
        if let super::plan::Verify::Checks(checks) = &step.verify {
            for check in checks {
                template::check(check, &after).unwrap();
            }
        }
        if let Some(undo) = &step.undo {
            template::action(&undo.action, &after).unwrap();
            for check in &undo.verify {
                template::check(check, &after).unwrap();
            }
        }
    }
    let swap = plan.step("rename.swap").unwrap();
    let action = template::action(&swap.action, &Scope::new(&plan, &outputs).of(swap)).unwrap();
    insta::assert_snapshot!(super::describe::action(&action).join("\n"), @"lifeboat swap orders orders '<database>' --keep-as orders_old_20261121_030000 --keep-until '<keep_until>'");
}

/// B14.
#[test]
fn the_rest_of_a_run_on_paper_holds_the_real_names() {
    let plan = restore_production();
    let outputs = [
        ("restore.pick".to_owned(), values(&[("dump", "production-202611202300.sql.gz.gpg"), ("snapshot_at", "2026-11-20T23:00:01Z")])),
        ("restore.restore".to_owned(), values(&[("database", "orders_20261121_030000")])),
    ];
    let from = plan.steps.iter().position(|step| step.id == "rename.swap").unwrap();
    let page = super::doc::paper(&plan, from, &outputs.into());
    assert!(
        !page.contains("restore.pick`") && page.contains("### 10. Swap: the restored database becomes orders (`rename.swap`)"),
        "{page}"
    );
    let swap = page.split("### ").nth(1).unwrap();
    insta::assert_snapshot!(swap, @r#"
    10. Swap: the restored database becomes orders (`rename.swap`)

    Connections are blocked and ended, both names change in one transaction, rights and settings of the database move along.
    From here on users see the restored data. Until when the old database is kept is written on it: whoever wants to drop it looks there first.

    Expected: 10s; **danger**, confirmed by typing `orders`.

    ```sh
    lifeboat swap orders orders orders_20261121_030000 --keep-as orders_old_20261121_030000 --keep-until '{{ steps.agree.keep_until }}'
    ```

    With stock tools alone:

    ```sh
    psql -X -v ON_ERROR_STOP=1 -d postgres <<'SQL'
    ALTER DATABASE "orders" ALLOW_CONNECTIONS false;
    ALTER DATABASE "orders_20261121_030000" ALLOW_CONNECTIONS false;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('orders', 'orders_20261121_030000');
    BEGIN;
    ALTER DATABASE "orders" RENAME TO "orders_old_20261121_030000";
    ALTER DATABASE "orders_20261121_030000" RENAME TO "orders";
    COMMIT;
    ALTER DATABASE "orders" ALLOW_CONNECTIONS true;
    SQL
    ```

    Done when:

    - orders is there, and the old one is kept as orders_old_20261121_030000: `psql 'service=orders' -X -v ON_ERROR_STOP=1 -At -c "SELECT count(*) FROM pg_database WHERE datname IN ('orders', 'orders_old_20261121_030000')"` gives 2
    - orders_old_20261121_030000 bears the day until which it is kept: `psql 'service=orders' -X -v ON_ERROR_STOP=1 -At -c "SELECT count(*) FROM pg_database WHERE datname = 'orders_old_20261121_030000' AND shobj_description(oid, 'pg_database') LIKE '%until%'"` gives 1
    - orders_20261121_030000 is nobody's name any more: `psql 'service=orders' -X -v ON_ERROR_STOP=1 -At -c "SELECT count(*) FROM pg_database WHERE datname = 'orders_20261121_030000'"` gives 0
    - the site reads from orders: `curl -sS -i https://shop.example/api/_status` gives 200, /status = ok and /database = orders, within 1m

    To take it back:

    ```sh
    lifeboat unswap orders orders orders_20261121_030000 --kept orders_old_20261121_030000
    ```

    Taken back when:

    - orders_20261121_030000 has its own name again: `psql 'service=orders' -X -v ON_ERROR_STOP=1 -At -c "SELECT count(*) FROM pg_database WHERE datname = 'orders_20261121_030000'"` gives 1
    - the site reads from orders: `curl -sS -i https://shop.example/api/_status` gives 200, /status = ok and /database = orders, within 1m
    "#);
}

/// D13.
#[test]
fn the_three_states_are_proven_by_different_answers() {
    for (state, status, text) in [("maintenance", "503", "maintenance"), ("recovery", "200", "recovery"), ("live", "200", "<title>")] {
        let plan = draft("maintenance-mode").plan(&values(&[("state", state)]), surroundings()).unwrap();
        let step = plan.step("switch").unwrap();
        let super::plan::Verify::Checks(checks) = &step.verify else { panic!("no checks") };
        let checks: Vec<String> = checks
            .iter()
            .map(|check| super::describe::check(&template::check(check, &Scope::new(&plan, &BTreeMap::new())).unwrap()))
            .collect();
        assert!(checks[1].contains(&format!("{status}, contains `{text}`")), "{checks:?}");
        assert!(checks[2].contains(status), "{checks:?}");
    }
}

/// D13.
#[test]
fn an_unknown_state_is_refused_by_name() {
    let error = draft("maintenance-mode").plan(&values(&[("state", "closed")]), surroundings()).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert_eq!(error.to_string(), "`state` cannot be `closed`: needs one of maintenance, recovery, live");
}

#[test]
fn an_unknown_parameter_says_which_there_are() {
    let error = draft("restore-production").plan(&values(&[("dunp", "latest")]), surroundings()).unwrap_err();
    assert_eq!(error.to_string(), "the runbook `restore-production` has no parameter `dunp`");
    assert_eq!(error.hints, ["did you mean `dump`?"]);
}

#[test]
fn a_missing_parameter_says_how_to_give_it() {
    let error = draft("service-rename").plan(&BTreeMap::new(), surroundings()).unwrap_err();
    assert_eq!(error.to_string(), "`staged` is not set: the database to put there");
    assert!(error.hints[0].starts_with("lifeboat run service-rename --set staged=…"), "{:?}", error.hints);
}

/// TRAP 25.
#[test]
fn a_database_that_libpq_would_take_for_a_connection_string_is_refused() {
    for name in ["host=elsewhere dbname=prod", "postgres://elsewhere/prod", "", &"x".repeat(64)] {
        let error = draft("service-rename").plan(&values(&[("staged", name)]), surroundings()).unwrap_err();
        assert!(error.to_string().contains("the name of a database"), "{error}");
    }
}

/// G12.
#[test]
fn an_overdue_review_warns_and_stops_nothing() {
    let draft = draft("mute-tests");
    assert!(draft.warnings("2027-06-30".parse().unwrap()).is_empty());
    let late = draft.warnings("2027-07-10".parse().unwrap());
    assert!(render(&late, false).contains("was due 10 days ago"), "{}", render(&late, false));
    assert!(!late[0].is_error());
}

#[test]
fn a_runbook_of_the_users_wins_over_the_shipped_one() {
    let directory = tempfile::tempdir().unwrap();
    let text = Library::shipped().source("mute-tests").unwrap().text.replace("Mute the smoke tests\"", "Ours\"");
    std::fs::write(directory.path().join("mute-tests.toml"), text).unwrap();
    let library = Library::shipped().with_directory(directory.path()).unwrap();
    assert_eq!(load(&library, "mute-tests", None).unwrap().outline().title, "Ours");
    assert!(!library.is_shipped("mute-tests") && library.is_shipped("reindex"));
}

#[test]
fn a_directory_that_is_not_there_is_an_error_and_not_an_empty_one() {
    let problems = Library::default().with_directory(std::path::Path::new("/nowhere/at/all")).unwrap_err();
    assert!(problems[0].brief().contains("cannot be read"), "{}", problems[0].brief());
}

#[test]
fn includes_inside_includes_keep_their_names_and_values_apart() {
    let head = |id: &str| format!("[runbook]\nid = \"{id}\"\ntitle = \"{id}\"\nowner = \"us\"\nreview_by = 2030-01-01\n");
    let ask = |id: &str, label: &str| {
        format!("[[step]]\nid = \"{id}\"\ntitle = \"T\"\nmanual = {{ ask = [{{ name = \"word\", label = \"{label}\" }}] }}\n")
    };
    let parameter = "[parameters.x]\nhelp = \"h\"\n";
    let inner = format!("{}{parameter}{}", head("inner"), ask("a", "{{ params.x }}") + &ask("b", "{{ steps.a.word }}"));
    let middle = format!(
        "{}{parameter}{}[[step]]\nid = \"in\"\ninclude = \"inner\"\nwith = {{ x = \"{{{{ params.x }}}}-{{{{ steps.a.word }}}}\" }}\n",
        head("middle"),
        ask("a", "{{ params.x }}")
    );
    let outer = format!(
        "{}{}[[step]]\nid = \"mid\"\ninclude = \"middle\"\nwith = {{ x = \"{{{{ steps.a.word }}}}\" }}\n{}",
        head("outer"),
        ask("a", "?"),
        ask("z", "{{ steps.mid.in.b.word }}")
    );
    let library = [("inner", inner), ("middle", middle), ("outer", outer)]
        .into_iter()
        .fold(Library::default(), |library, (id, text)| library.with(Source::new(format!("{id}.toml"), text)));
    let plan = load(&library, "outer", None).unwrap_or_else(|problems| panic!("{}", render(&problems, false)));
    let plan = plan.plan(&BTreeMap::new(), Surroundings::default()).unwrap();
    let mut outputs = BTreeMap::new();
    let mut labels = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let action = template::action(&step.action, &Scope::new(&plan, &outputs).of(step)).unwrap();
        labels.push(format!("{}: {}", step.id, super::describe::headline(&action)));
        outputs.insert(step.id.clone(), values(&[("word", &format!("w{index}"))]));
    }
    insta::assert_snapshot!(labels.join("\n"), @r"
    a: ?: ______
    mid.a: w0: ______
    mid.in.a: w0-w1: ______
    mid.in.b: w2: ______
    z: w3: ______
    ");
}

#[test]
fn a_dump_is_not_asked_for_by_a_time_without_a_zone() {
    let kind = super::plan::ParameterKind::Dump;
    for text in ["latest", "prod-202611200300.sql.gz.gpg", "00ff00ff00ff00ff", "2026-11-20T03:00Z", "before:2026-11-20T03:00+01:00"] {
        assert_eq!(kind.accept(text).as_deref(), Ok(text));
    }
    for text in ["2026-11-20T03:00", "2026-11-20", "before:2026-11-20 03:00", ""] {
        assert!(kind.accept(text).unwrap_err().contains("its time (2026-11-20T03:00Z)"), "{text}");
    }
}
