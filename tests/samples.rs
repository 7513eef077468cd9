//! Files people write, good and bad. What is said about the bad ones is kept as a snapshot and read like a manual.

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat::config::{self, Ensure, Store};
use lifeboat::pipeline::manifest::Compression;
use lifeboat::report::diagnostic::{Diagnostic, Source, render};
use lifeboat::runbook::plan::Plan;
use lifeboat::runbook::{self, Library};
use lifeboat::store::s3::{Checksum, Conditional, Credentials, Encryption, Lock, LockMode};
use lifeboat::system::postgres::Tls;
use lifeboat::system::secret::Secret;

/// The sample files of a directory, by name. Paths are relative, as cargo runs tests where `Cargo.toml` is.
fn samples(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} is empty");
    files
}

fn names() -> runbook::Names {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    runbook::Names {
        systems: set(&["orders"]),
        jobs: set(&["orders"]),
        channels: set(&["team"]),
        pulls: set(&["clean"]),
        vars: set(&["www", "api", "database"]),
    }
}

/// One page with what is said about each file.
fn page(told: &[(PathBuf, Vec<Diagnostic>)]) -> String {
    let section = |(path, problems): &(PathBuf, Vec<Diagnostic>)| {
        format!(
            "──── {}

{}
",
            path.display(),
            render(problems, false)
        )
    };
    told.iter().map(section).collect::<Vec<_>>().join(
        "
",
    )
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// TRAP 38 among others: a name that is mistyped is never "nothing to do".
#[test]
fn every_wrong_runbook_is_told_all_that_is_wrong_with_it() {
    let files = samples("tests/runbooks/invalid");
    let library = Library::default().with_directory(Path::new("tests/runbooks/invalid")).unwrap();
    let today = "2026-11-21".parse().unwrap();
    let told: Vec<_> = files
        .into_iter()
        .map(|path| {
            let found = runbook::check(&library, [stem(&path).as_str()], Some(&names()), today);
            // A runbook is told of the ones it includes too; here each is shown once.
            let own: Vec<Diagnostic> = found.into_iter().filter(|problem| problem.source.path == path).collect();
            (path, own)
        })
        .collect();
    for (path, problems) in &told {
        assert!(!problems.is_empty(), "nothing is said about {}", path.display());
        assert_eq!(runbook::load(&library, &stem(path), Some(&names())).is_err(), stem(path) != "overdue", "{}", path.display());
    }
    assert!(told.len() >= 20);
    insta::assert_snapshot!("wrong_runbooks", page(&told));
}

#[test]
fn every_good_runbook_is_read_without_a_word() {
    let library = Library::default().with_directory(Path::new("tests/runbooks/valid")).unwrap();
    let found = runbook::check(&library, library.ids(), Some(&names()), "2026-11-21".parse().unwrap());
    assert_eq!(render(&found, false), "");
    let draft = runbook::load(&library, "everything", Some(&names())).unwrap();
    let text = serde_json::to_string(draft.outline()).unwrap();
    assert_eq!(&serde_json::from_str::<Plan>(&text).unwrap(), draft.outline());
    insta::assert_snapshot!("everything_on_paper", runbook::doc::markdown(draft.outline()));
}

#[test]
fn a_runbook_is_told_from_a_configuration_even_when_broken() {
    for directory in ["tests/runbooks/invalid", "tests/runbooks/valid", "runbooks"] {
        for path in samples(directory).iter().filter(|path| stem(path) != "head-missing") {
            assert!(runbook::is_runbook(&Source::read(path).unwrap()), "{}", path.display());
        }
    }
    for path in samples("tests/configs/invalid").iter().chain(&samples("tests/configs/valid")) {
        assert!(!runbook::is_runbook(&Source::read(path).unwrap()), "{}", path.display());
    }
}

#[test]
fn a_runbook_that_is_not_there_is_told_with_its_neighbours() {
    let problems = runbook::load(&Library::shipped(), "restore-prodution", None).unwrap_err();
    insta::assert_snapshot!(render(&problems, false), @r"
    error: there is no runbook `restore-prodution`
    --> restore-prodution.toml
     = help: did you mean `restore-production`?
    ");
}

#[test]
fn every_wrong_configuration_is_told_all_that_is_wrong_with_it() {
    let files = samples("tests/configs/invalid");
    let told: Vec<_> = files.into_iter().map(|path| (path.clone(), config::check(&Source::read(&path).unwrap()))).collect();
    for (path, problems) in &told {
        assert!(problems.iter().any(Diagnostic::is_error), "nothing is wrong with {}", path.display());
        assert!(config::load(path).is_err(), "{}", path.display());
    }
    assert!(told.len() >= 20);
    insta::assert_snapshot!("wrong_configurations", page(&told));
}

/// TRAP 40.
#[test]
fn no_message_repeats_a_secret() {
    let mut seen = 0;
    for path in samples("tests/configs/invalid") {
        let source = Source::read(&path).unwrap();
        seen += source.text.matches("hunter2").count();
        let found = config::check(&source);
        let told = render(&found, false) + &serde_json::to_string(&found).unwrap() + &format!("{found:?}");
        assert!(!told.contains("hunter2"), "{} shows its secret:\n{told}", path.display());
    }
    assert!(seen >= 8, "the samples hold too few secrets");
}

/// G3, D2.
#[test]
fn a_good_configuration_means_what_it_says() {
    let inventory =
        config::load(Path::new("tests/configs/valid/everything.toml")).unwrap_or_else(|found| panic!("{}", render(&found, false)));
    let here = std::env::current_dir().unwrap().join("tests/configs/valid");
    let smallest = config::load(Path::new("tests/configs/valid/smallest.toml")).unwrap();
    assert_eq!(smallest.environment.stage, "test");
    assert_eq!(inventory.vars["pages"], "3");
    let orders = inventory.system("orders").unwrap().postgres();
    assert_eq!((orders.port, orders.tls, orders.maintenance.as_str()), (5433, Tls::VerifyFull, "template1"));
    assert_eq!(orders.password, Some(Secret::Command(vec![here.join("./bin/secret").to_string_lossy().into_owned(), "orders".into()])));
    assert_eq!(inventory.system("local").unwrap().postgres().tls, Tls::Disable);
    let Store::S3(bucket) = inventory.store("bucket").unwrap() else { panic!("no S3") };
    assert_eq!((bucket.prefix.as_str(), bucket.endpoint.as_deref()), ("orders/", Some("http://127.0.0.1:9000")));
    assert_eq!((bucket.path_style, bucket.part_size, bucket.concurrency, bucket.checksum), (true, 32 << 20, 8, Checksum::None));
    assert_eq!(bucket.credentials, Credentials::File("/etc/lifeboat/s3.json".into()));
    let Store::S3(aws) = inventory.store("aws").unwrap() else { panic!("no S3") };
    assert_eq!((aws.storage_class.as_deref(), &aws.encryption), (Some("STANDARD_IA"), &Some(Encryption::Kms(Some("alias/backup".into())))));
    assert_eq!(aws.lock, Some(Lock { mode: LockMode::Governance, days: 30 }));
    assert_eq!((aws.conditional, aws.attempts, aws.stuck_after.as_secs()), (Conditional::Yes, 8, 120));
    assert_eq!((bucket.conditional, bucket.attempts, bucket.stuck_after.as_secs()), (Conditional::Probe, 5, 60));
    assert_eq!(inventory.key("team").unwrap().public, [here.join("keys/a.asc"), "/etc/lifeboat/b.asc".into()]);
    let weekly = inventory.job("orders-weekly").unwrap();
    assert_eq!(weekly.ensure, Ensure::Disabled);
    let at = "2026-11-21T03:05:59Z".parse().unwrap();
    assert_eq!(weekly.object("production", Some("orders"), at), "weekly/orders-weekly-20261121T0305Z.dump.zst.gpg");
    assert_eq!((weekly.compression, weekly.level), (Compression::Zstd, 19));
    let nightly = inventory.job("orders").unwrap();
    assert_eq!(nightly.object(&inventory.environment.stage, Some("orders"), at), "production-202611210305.sql.gz.gpg");
    assert_eq!((nightly.lease.as_secs(), weekly.lease.as_secs()), (900, 600));
    let server = inventory.job("server").unwrap();
    assert_eq!(server.object("production", Some("orders"), at), "production-orders-202611210305.sql.gz.gpg");
    assert_eq!(server.object("production", None, at), "production-globals-202611210305.sql.gz.gpg");
    assert_eq!(server.databases.as_ref().unwrap().exclude, ["*_test", "postgres"]);
    assert!(server.globals.unwrap().role_passwords);
    assert!(server.access && !nightly.access);
    assert_eq!((inventory.environment.keep_replaced, smallest.environment.keep_replaced), (14, 7));
    let [far, pod] = ["far", "pod"].map(|name| inventory.system(name).unwrap().postgres().clone());
    assert_eq!((far.bin.len(), far.through.unwrap().shell), (2, true));
    assert_eq!(pod.through.as_ref().map(|through| (through.command.len(), through.shell)), Some((6, true)));
    assert_eq!(inventory.runbooks, Some(here.join("runbooks")));
}

#[test]
fn a_job_that_is_absent_or_unknown_is_refused_by_name() {
    let inventory = config::load(Path::new("tests/configs/valid/everything.toml")).unwrap();
    assert_eq!(inventory.job("old").unwrap_err().to_string(), "the job `old` is absent: its `ensure` says so");
    assert_eq!(inventory.job("order").unwrap_err().hints, ["did you mean `orders`?"]);
}

#[test]
fn a_configuration_that_was_named_must_be_there() {
    let error = config::find(Some(Path::new("/nowhere/lifeboat.toml"))).unwrap_err();
    assert_eq!(error.to_string(), "there is no configuration at /nowhere/lifeboat.toml");
    let sample = Path::new("tests/configs/valid/smallest.toml");
    assert_eq!(config::find(Some(sample)).unwrap(), sample);
}
