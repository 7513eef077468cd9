//! What a writer may and may not (D9), what a replica has (D7), and a worker's ticket through the whole program (D3).

use lifeboat::port::{Context, Store};
use lifeboat::report::Kind;
use lifeboat::store::s3::{Lock, LockMode, S3, Settings};
use serde_json::Value;

use super::radosgw::Radosgw;
use crate::cli::stand::Case;
use crate::store::conformance::{PART, body, dying, pattern, read};

/// What D9's writer may: everything but removing.
const WRITE_ONCE: [&str; 5] = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListBucket", "s3:ListBucketMultipartUploads"];

#[test]
fn a_writer_who_may_not_delete_stores_and_reads_and_is_refused_to_remove() {
    let rgw = Radosgw::shared();
    let (owner, writer) = (rgw.user(), rgw.user());
    let bucket = rgw.bucket(&owner);
    rgw.allow(&owner, &bucket, &writer, &WRITE_ONCE);
    let (store, cx) = (rgw.store(&writer, &bucket), Context::new(rgw.cx.runtime.clone()));
    for size in [1000, 2 * PART + 1] {
        let key = format!("of/{size}");
        store.put(&key, body(&pattern(size)), &cx).unwrap();
        assert!(read(store.get(&key, None, &cx).unwrap()) == pattern(size));
        let refused = store.delete(&key, &cx).unwrap_err();
        assert!(refused.message.contains("does not allow removing an object"), "{refused}");
        assert!(refused.hints[0].contains("s3:DeleteObject"), "{refused:?}");
    }
    // A multipart upload that fails is taken back all the same: that needs another right than removing objects.
    store.put("broken", dying(2 * PART), &cx).unwrap_err();
    assert_eq!(rgw.store(&owner, &bucket).unfinished(&cx).unwrap(), []);
}

#[test]
fn a_missing_right_is_named() {
    let rgw = Radosgw::shared();
    let (owner, writer) = (rgw.user(), rgw.user());
    let bucket = rgw.bucket(&owner);
    let cx = Context::new(rgw.cx.runtime.clone());
    for (rights, missing) in [
        (&["s3:PutObject", "s3:GetObject"][..], "s3:ListBucket"),
        // Who stored an object may read it on radosgw, whatever the policy says: s3:GetObject is not missed there.
        (&["s3:GetObject", "s3:ListBucket"][..], "s3:PutObject"),
    ] {
        rgw.allow(&owner, &bucket, &writer, rights);
        // Each time a new client: what it found out about the store before is no longer true.
        let report = rgw.store(&writer, &bucket).put(&format!("without/{missing}"), body(b"x"), &cx).unwrap_err();
        assert_ne!(report.kind, Kind::Cancelled);
        assert!(report.hints.iter().any(|hint| hint.contains(missing)), "{missing}: {report:?}");
    }
}

#[test]
fn a_delete_in_a_versioned_bucket_leaves_the_old_version() {
    use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
    let rgw = Radosgw::shared();
    let owner = rgw.user();
    let bucket = rgw.bucket(&owner);
    let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    rgw.wait(owner.client.put_bucket_versioning().bucket(&bucket).versioning_configuration(on).send()).unwrap();
    let (store, cx) = (rgw.store(&owner, &bucket), Context::new(rgw.cx.runtime.clone()));
    let versions = || {
        let listed = rgw.wait(owner.client.list_object_versions().bucket(&bucket).prefix("dumps/a").send()).unwrap();
        (listed.versions().len(), listed.delete_markers().len())
    };
    store.put("a", body(b"first"), &cx).unwrap();
    store.delete("a", &cx).unwrap();
    assert_eq!(store.list("a", &cx).unwrap(), [], "what a listing shows");
    assert_eq!(versions(), (1, 1), "what is there, and is paid for");
    store.put("a", body(b"second"), &cx).unwrap();
    store.erase("a", &cx).unwrap();
    assert_eq!(versions(), (0, 0), "D8: old versions included");
}

// D8, D9
#[test]
fn a_locked_dump_stays_until_its_day_whoever_erases_it_and_what_is_the_stores_own_does_not() {
    use aws_sdk_s3::types::ObjectLockMode;
    let rgw = Radosgw::shared();
    let owner = rgw.user();
    let bucket = super::radosgw::random("locked");
    rgw.wait(owner.client.create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(true).send()).unwrap();
    let lock = Some(Lock { mode: LockMode::Compliance, days: 3 });
    let (store, cx) = (S3::new(Settings { lock, ..rgw.settings(&owner, &bucket) }, &rgw.cx).unwrap(), Context::new(rgw.cx.runtime.clone()));
    let long = pattern(2 * PART + 17);
    store.put("short", body(b"one part"), &cx).unwrap();
    store.put("long", body(&long), &cx).unwrap();
    store.put(".lifeboat/lease/x", body(b"ours"), &cx).unwrap();
    for key in ["short", "long"] {
        let seen = rgw.wait(owner.client.head_object().bucket(&bucket).key(format!("dumps/{key}")).send()).unwrap();
        assert_eq!(seen.object_lock_mode(), Some(&ObjectLockMode::Compliance), "{key}");
        let days = (seen.object_lock_retain_until_date().unwrap().secs() - jiff::Timestamp::now().as_second()) / 3600;
        assert!((71..=72).contains(&days), "{key}: {days} hours");
        let version = seen.version_id().unwrap();
        let deleted = rgw.wait(owner.client.delete_object().bucket(&bucket).key(format!("dumps/{key}")).version_id(version).send());
        assert!(deleted.is_err(), "{key}: its owner could delete it");
        let refused = store.erase(key, &cx).unwrap_err();
        assert!(refused.to_string().contains(key), "{refused}");
    }
    // A marker hides what cannot go; the bytes are there, by their version.
    let versions = rgw.wait(owner.client.list_object_versions().bucket(&bucket).prefix("dumps/long").send()).unwrap();
    let kept: Vec<&str> = versions.versions().iter().filter_map(|version| version.version_id()).collect();
    assert_eq!(kept.len(), 1);
    let object = rgw.wait(async {
        let got = owner.client.get_object().bucket(&bucket).key("dumps/long").version_id(kept[0]).send().await.unwrap();
        got.body.collect().await.unwrap().into_bytes()
    });
    assert!(object == long, "the bytes of a locked dump changed");
    store.erase(".lifeboat/lease/x", &cx).unwrap();
    assert_eq!(store.list(".lifeboat/lease/", &cx).unwrap(), []);
}

#[test]
fn the_online_check_proves_that_a_writer_cannot_delete() {
    let rgw = Radosgw::shared();
    let (owner, writer) = (rgw.user(), rgw.user());
    let bucket = rgw.bucket(&owner);
    rgw.allow(&owner, &bucket, &writer, &WRITE_ONCE);
    let case = Case::new();
    let table = |user: &std::path::Path| {
        format!(
            "[store.ceph]\nkind = \"s3\"\nbucket = {bucket:?}\nendpoint = {:?}\nregion = \"default\"\ncredentials = {{ file = {:?} }}\nrights = \"write-once\"\n",
            rgw.endpoint(),
            user.display().to_string()
        )
    };
    case.append(&table(&writer.file));
    let seen = |expected: i32| -> Vec<Value> {
        let told = case.run(&["check", "--online", "--json"]);
        assert_eq!(told.code, expected, "{told}");
        serde_json::from_str(&told.stdout).unwrap()
    };
    // Twice: where the probe cannot be removed, it is used again.
    for _ in 0..2 {
        let found = seen(0);
        let of = |subject: &str| found.iter().filter(|one| one["subject"] == subject).count();
        assert_eq!((of("store ceph"), of("store vault"), of("key backup")), (4, 4, 2), "{found:?}");
        assert!(found.iter().all(|one| one["held"] == true), "{found:?}");
    }
    case.edit(&writer.file.display().to_string(), &owner.file.display().to_string());
    let found = seen(3);
    let failed: Vec<&Value> = found.iter().filter(|one| one["held"] == false).collect();
    // On radosgw the probe belongs to the writer who left it, so that the bucket's owner may not read it; that is told too.
    assert!(failed.iter().any(|one| one["what"] == "must not delete"), "{found:?}");
    // And a whole backup by the writer who may not.
    case.edit(&owner.file.display().to_string(), &writer.file.display().to_string());
    case.edit("store = \"vault\"", "store = \"ceph\"");
    let dump = case.dump();
    case.done(&["verify", &dump, "--level", "L4"]);
}

#[test]
fn a_worker_without_rights_makes_a_whole_backup_by_ticket() {
    let case = Case::new();
    case.dump();
    let told = case.run(&["ticket", "orders"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(told.stderr.contains("of the last dump"), "the reason is said: {told}");
    let ticket: Value = serde_json::from_str(&told.stdout).unwrap();
    let (name, signature) = (ticket["name"].as_str().unwrap(), ticket["object"]["fields"]["x-amz-signature"].as_str().unwrap());
    let path = case.write("ticket.json", &told.stdout);
    let file = path.to_str().unwrap();
    // From here on there are no rights.
    let credentials = case.stand.the_box.bucket().credentials_file().display().to_string();
    case.edit(&credentials, "/nowhere/credentials.json");
    case.run(&["backup", "orders", "--ticket", file]).is(2, &["everybody on this machine may read the ticket"]);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let told = case.run(&["backup", "orders", "--ticket", file]);
    assert_eq!(told.code, 0, "{told}");
    for run in case.runs() {
        for entry in std::fs::read_dir(run).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
            assert!(!text.contains(signature), "the ticket is in {}", entry.path().display());
        }
    }
    assert!(!told.stderr.contains(signature) && !told.stdout.contains(signature));
    case.edit("/nowhere/credentials.json", &credentials);
    case.done(&["verify", name, "--level", "L4"]);
    case.done(&["restore", name, "--into", &case.database("back")]);
}

#[test]
fn a_replica_that_lacks_a_dump_is_stale_and_one_that_cannot_be_listed_is_not_fresh() {
    let case = Case::new();
    let offsite = case.path("offsite");
    std::fs::create_dir(&offsite).unwrap();
    case.edit("[store.vault]", "[store.vault]\nreplica = \"offsite\"\nreplica_lag = \"1s\"");
    case.append(&format!("[store.offsite]\nkind = \"local\"\npath = {:?}\n", offsite.display().to_string()));
    let first = case.dump();
    // Younger than the lag it is on its way, not missing.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while case.run(&["replica"]).code == 0 {
        assert!(std::time::Instant::now() < until, "never stale");
    }
    let told = case.run(&["replica"]);
    assert!(told.code == 3 && told.stdout.contains("STALE") && told.stdout.contains(&first), "{told}");
    assert!(case.run(&["status"]).stdout.contains("replica of vault"));
    case.done(&["replica", "--copy"]);
    assert!(case.done(&["replica"]).contains(&first));
    case.done(&["status"]);
    // Trap 19: what cannot be listed is not an empty list, and nothing that was seen before makes it fresh.
    std::fs::rename(&offsite, case.path("away")).unwrap();
    std::fs::write(&offsite, "no directory").unwrap();
    let told = case.run(&["replica"]);
    assert!(told.code != 0 && !told.stdout.contains("OK"), "{told}");
    let status = case.run(&["status"]);
    assert!(status.code == 3 && !status.stdout.lines().any(|line| line.starts_with("replica of vault  OK")), "{status}");
}
