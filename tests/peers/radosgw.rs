//! Ceph's object gateway from Debian's packages: one monitor, one object store in memory, one gateway, all on loopback, up in two seconds.
//!
//! Tests that run at the same time share one; the last of them ends it. Each test makes buckets and users of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials as Keys, Region};
use lifeboat::port::Context;
use lifeboat::process::{Program, Running};
use lifeboat::store::s3::{Credentials, S3, Settings};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::store::conformance::{Can, PART, Rig, conformance};

conformance!(on_radosgw, rig);

/// The programs, and the package each comes from.
const PROGRAMS: [(&str, &str); 5] = [
    ("ceph-mon", "ceph-mon"),
    ("ceph-osd", "ceph-osd"),
    ("radosgw", "radosgw"),
    ("radosgw-admin", "radosgw"),
    ("monmaptool", "ceph-common"),
];

/// How long it may take to come up; two seconds are usual.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running gateway. Dropping it ends all three servers and removes what they kept.
pub struct Radosgw {
    endpoint: String,
    conf: PathBuf,
    // In this order: the gateway first, the monitor last, then what they stood on.
    servers: Vec<Running>,
    pub cx: Context,
    pub dir: TempDir,
    _runtime: Runtime,
}

/// Who may do what.
pub struct User {
    pub name: String,
    pub client: Client,
    /// Mode 0600, as the store reads it.
    pub file: PathBuf,
}

/// The one that runs, as long as a test holds it.
static RUNNING: Mutex<Weak<Radosgw>> = Mutex::new(Weak::new());

impl Radosgw {
    /// The one that runs, or a new one.
    pub fn shared() -> Arc<Radosgw> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Radosgw::start());
            *running = Arc::downgrade(&started);
            started
        })
    }

    fn start() -> Radosgw {
        for (program, package) in PROGRAMS {
            assert!(is_installed(program), "{program} is missing; type: sudo apt-get install --no-install-recommends {package}");
        }
        let runtime = Runtime::new().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let dir = tempfile::Builder::new().prefix("lifeboat-radosgw-").tempdir().unwrap();
        let [first, second, gateway] = free_ports();
        let conf = dir.path().join("ceph.conf");
        let fsid = "5a1e0f0e-0000-4000-8000-000000000001";
        let monitor = format!("[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]");
        std::fs::write(&conf, configuration(dir.path(), fsid, &monitor, gateway)).unwrap();
        for name in ["mon", "osd", "rgw"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut rgw = Radosgw { endpoint: format!("http://127.0.0.1:{gateway}"), conf, servers: Vec::new(), cx, dir, _runtime: runtime };
        rgw.bring_up(fsid, &monitor);
        rgw
    }

    fn bring_up(&mut self, fsid: &str, monitor: &str) {
        let osd = "5a1e0f0e-0000-4000-8000-000000000002";
        let (keyring, map) = (self.dir.path().join("keyring"), self.dir.path().join("monmap"));
        let run = |program: Program| program.run(&self.cx).unwrap();
        run(Program::new("ceph-authtool").arg("--create-keyring").arg(&keyring).args([
            "--gen-key",
            "-n",
            "mon.",
            "--cap",
            "mon",
            "allow *",
        ]));
        run(Program::new("monmaptool").args(["--create", "--fsid", fsid, "--addv", "a", monitor]).arg(&map));
        run(self.ceph("ceph-mon").args(["--mkfs", "-i", "a", "--monmap"]).arg(&map).arg("--keyring").arg(&keyring));
        self.serve(&self.ceph("ceph-mon").args(["-i", "a", "-f"]));
        self.ceph("ceph").args(["osd", "new", osd]).run(&self.cx).unwrap();
        self.ceph("ceph-osd").args(["-i", "0", "--mkfs", "--osd-uuid", osd]).run(&self.cx).unwrap();
        self.serve(&self.ceph("ceph-osd").args(["-i", "0", "-f"]));
        // Makes the pools, which the gateway would otherwise wait for.
        self.admin(&["user", "list"]);
        self.serve(&self.ceph("radosgw").args(["-n", "client.rgw", "-f"]));
        let address = self.endpoint.trim_start_matches("http://").to_owned();
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(!self.servers.iter_mut().any(Running::has_ended), "one of Ceph's servers ended: {}", self.last_words());
            assert!(Instant::now() < until, "radosgw does not come up: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ceph(&self, program: &str) -> Program {
        Program::new(program).arg("-c").arg(&self.conf)
    }

    fn serve(&mut self, program: &Program) {
        // The newest first: what it needs is ended after it.
        self.servers.insert(0, program.serve(&self.cx).unwrap());
    }

    fn last_words(&self) -> String {
        self.servers.iter().map(Running::tail).collect::<Vec<_>>().join("\n")
    }

    fn admin(&self, words: &[&str]) -> Vec<u8> {
        self.ceph("radosgw-admin").args(["-n", "client.rgw"]).args(words).run(&self.cx).unwrap()
    }

    /// A new user; what it may do is said by the buckets.
    pub fn user(&self) -> User {
        let name = random("user");
        let (access, secret) = (format!("AK{name}"), format!("SK{name}"));
        self.admin(&["user", "create", "--uid", &name, "--display-name", &name, "--access-key", &access, "--secret-key", &secret]);
        let file = self.dir.path().join(&name);
        std::fs::write(&file, format!("access_key_id={access}\nsecret_access_key={secret}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let conf = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(
                aws_smithy_http_client::Builder::new()
                    .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
                        aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
                    ))
                    .build_https(),
            )
            .region(Region::new("default"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(aws_sdk_s3::config::ResponseChecksumValidation::WhenRequired)
            .credentials_provider(Keys::new(access, secret, None, None, "test"))
            .build();
        User { name, client: Client::from_conf(conf), file }
    }

    /// How the store is configured for `bucket` as seen by `user`.
    pub fn settings(&self, user: &User, bucket: &str) -> Settings {
        Settings {
            prefix: "dumps/".into(),
            endpoint: Some(self.endpoint.clone()),
            region: Some("default".into()),
            path_style: true,
            credentials: Credentials::File(user.file.clone()),
            part_size: PART as u64,
            concurrency: 3,
            ..Settings::of(bucket)
        }
    }

    /// A new bucket of `user`'s.
    pub fn bucket(&self, user: &User) -> String {
        let name = random("bucket");
        self.wait(user.client.create_bucket().bucket(&name).send()).unwrap();
        name
    }

    /// What `other` may do in `bucket` of `owner`, and nothing else: `s3:PutObject` and the like.
    pub fn allow(&self, owner: &User, bucket: &str, other: &User, rights: &[&str]) {
        let statement = |sid: &str, resource: &str, rights: &[&str]| {
            serde_json::json!({ "Sid": sid, "Effect": "Allow", "Principal": { "AWS": [format!("arn:aws:iam:::user/{}", other.name)] },
                "Action": rights, "Resource": [resource] })
        };
        let (on_bucket, on_objects): (Vec<&str>, Vec<&str>) = rights.iter().partition(|right| right.starts_with("s3:List"));
        let mut statements = vec![statement("objects", &format!("arn:aws:s3:::{bucket}/*"), &on_objects)];
        if !on_bucket.is_empty() {
            statements.push(statement("bucket", &format!("arn:aws:s3:::{bucket}"), &on_bucket));
        }
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        self.wait(owner.client.put_bucket_policy().bucket(bucket).policy(policy).send()).unwrap();
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.cx.runtime.block_on(future)
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The store of a user in a bucket.
    pub fn store(&self, user: &User, bucket: &str) -> S3 {
        S3::new(self.settings(user, bucket), &self.cx).unwrap()
    }
}

fn rig() -> Rig {
    let rgw = Radosgw::shared();
    let owner = rgw.user();
    let bucket = rgw.bucket(&owner);
    let store = Box::new(rgw.store(&owner, &bucket));
    let can = Can { refuse_to_replace: true, list_uploads: true };
    Rig { store, cx: Context::new(rgw.cx.runtime.clone()), can, orphans: Box::new(|| 0), keep: Box::new(rgw) }
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

pub fn random(what: &str) -> String {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).unwrap();
    format!("{what}{}", hex::encode(bytes))
}

pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Everything on loopback, no keys between the servers, no manager, no sockets in directories, one copy in memory, and no waiting for others.
fn configuration(dir: &Path, fsid: &str, monitor: &str, gateway: u16) -> String {
    let dir = dir.display();
    let settings = [
        ("fsid", fsid),
        ("mon host", monitor),
        ("public addr", "127.0.0.1"),
        ("cluster addr", "127.0.0.1"),
        ("auth cluster required", "none"),
        ("auth service required", "none"),
        ("auth client required", "none"),
        ("ms mon client mode", "crc"),
        ("ms cluster mode", "crc"),
        ("ms service mode", "crc"),
        ("ms client mode", "crc"),
        ("ms async op threads", "1"),
        ("osd objectstore", "memstore"),
        ("memstore device bytes", "4294967296"),
        ("osd pool default size", "1"),
        ("osd pool default min size", "1"),
        ("osd pool default pg num", "1"),
        ("osd pool default pgp num", "1"),
        ("osd pool default pg autoscale mode", "off"),
        ("osd crush chooseleaf type", "0"),
        ("mon allow pool size one", "true"),
        ("mon data avail crit", "0"),
        ("paxos propose interval", "0.02"),
        ("paxos min wait", "0.01"),
        ("mon tick interval", "1"),
        ("admin socket", ""),
        ("rgw frontends", &format!("beast endpoint=127.0.0.1:{gateway}")),
        ("rgw enable apis", "s3, admin"),
        ("rgw run sync thread", "false"),
        ("rgw enable usage log", "false"),
        ("rgw dynamic resharding", "false"),
        ("rgw override bucket index max shards", "1"),
        ("run dir", &format!("{dir}")),
        ("log file", &format!("{dir}/$name.log")),
        ("mon cluster log file", &format!("{dir}/cluster.log")),
        ("mon data", &format!("{dir}/mon")),
        ("osd data", &format!("{dir}/osd")),
        ("rgw data", &format!("{dir}/rgw")),
        ("keyring", &format!("{dir}/keyring")),
    ]
    .map(|(name, value)| format!("{name} = {value}\n"));
    format!("[global]\n{}", settings.concat())
}
