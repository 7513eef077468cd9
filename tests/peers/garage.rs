//! Garage, where its program is given: `make peers`. It takes every upload and keeps no condition, so looking again is all there is.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use lifeboat::port::Context;
use lifeboat::process::{Program, Running};
use lifeboat::store::s3::{Credentials, S3, Settings};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::radosgw::{free_ports, random};
use crate::store::conformance::{self, Can, PART, Rig};

/// A server of one node, and what it keeps.
struct Garage {
    _server: Running,
    _dir: TempDir,
    _runtime: Runtime,
}

const PATIENCE: Duration = Duration::from_mins(1);

fn rig() -> Rig {
    let program = std::env::var_os("LIFEBOAT_GARAGE").expect("LIFEBOAT_GARAGE names no garage; type: make peers");
    let runtime = Runtime::new().unwrap();
    let cx = Context::new(runtime.handle().clone());
    let dir = tempfile::Builder::new().prefix("lifeboat-garage-").tempdir().unwrap();
    let [s3, rpc] = free_ports();
    let (access, secret, bucket) = (format!("GK{}", hex::encode([7; 12])), hex::encode([9; 32]), random("bucket"));
    let here = dir.path().display();
    let conf = dir.path().join("garage.toml");
    let text = format!(
        "metadata_dir = \"{here}/meta\"\ndata_dir = \"{here}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
         rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{}\"\n\
         [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n",
        hex::encode([3; 32])
    );
    std::fs::write(&conf, text).unwrap();
    let server = Program::new(program).arg("-c").arg(&conf).args(["server", "--single-node", "--default-bucket"]);
    // Keys of a throwaway server: there is no other way to give them.
    let server =
        server.env("GARAGE_DEFAULT_ACCESS_KEY", &access).env("GARAGE_DEFAULT_SECRET_KEY", &secret).env("GARAGE_DEFAULT_BUCKET", &bucket);
    let mut server = server.serve(&cx).unwrap();
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", s3)).is_err() {
        assert!(!server.has_ended() && Instant::now() < until, "garage does not come up: {}", server.tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    let file = dir.path().join("credentials");
    std::fs::write(&file, format!("access_key_id={access}\nsecret_access_key={secret}\n")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let settings = Settings {
        prefix: "dumps/".into(),
        endpoint: Some(format!("http://127.0.0.1:{s3}")),
        region: Some("garage".into()),
        path_style: true,
        credentials: Credentials::File(file),
        part_size: PART as u64,
        concurrency: 3,
        ..Settings::of(bucket)
    };
    let store = Box::new(S3::new(settings, &cx).unwrap());
    let can = Can { refuse_to_replace: false, list_uploads: true };
    Rig { store, cx, can, orphans: Box::new(|| 0), keep: Box::new(Garage { _server: server, _dir: dir, _runtime: runtime }) }
}

#[test]
#[ignore = "needs the program: make peers"]
fn garage_passes_the_whole_suite() {
    let suite: [fn(&Rig); 15] = [
        conformance::what_was_put_comes_back,
        conformance::a_range_gives_exactly_its_bytes,
        conformance::what_is_not_there_is_told_apart,
        conformance::a_listing_of_more_than_a_page_is_complete_and_sorted,
        conformance::an_existing_key_is_never_replaced,
        conformance::a_key_that_comes_to_be_meanwhile_is_not_replaced,
        conformance::of_sixteen_writers_exactly_one_wins,
        conformance::a_body_that_fails_leaves_nothing,
        conformance::a_large_body_that_fails_leaves_nothing,
        conformance::a_put_cancelled_on_its_way_leaves_nothing,
        conformance::odd_keys_go_there_and_back,
        conformance::keys_that_leave_the_store_are_refused,
        conformance::deleting_twice_is_not_an_error,
        conformance::a_large_object_goes_there_and_back,
        conformance::a_reader_can_be_cancelled,
    ];
    for test in suite {
        test(&rig());
    }
}
