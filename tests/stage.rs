//! What the tests stand on: a runtime and a shop in a real PostgreSQL server of their own.

use std::path::Path;

use jiff::Timestamp;
use lifeboat::drill::sample::Sample;
use lifeboat::port::Context;
use lifeboat::system::postgres::cluster::{Cluster, ClusterOptions};
use lifeboat::system::postgres::{Postgres, Settings, Tls};
use lifeboat::system::secret::Secret;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A runtime that lives as long as the test.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server with a small shop in it.
pub struct Shop {
    pub postgres: Postgres,
    pub cluster: Cluster,
    pub cx: Context,
    pub dir: TempDir,
    _runtime: Runtime,
}

/// The shop's database.
pub const DATABASE: &str = "orders";

impl Shop {
    pub fn open() -> Shop {
        let runtime = runtime();
        let cx = Context::new(runtime.handle().clone());
        let dir = tempfile::Builder::new().prefix("lifeboat-test-").tempdir().unwrap();
        let password = "a: \\secret".to_owned();
        std::fs::write(dir.path().join("password"), &password).unwrap();
        let options = ClusterOptions {
            dir: dir.path().join("cluster"),
            bin: None,
            password,
            database: Some(DATABASE.into()),
            settings: Vec::new(),
            remove: true,
        };
        let cluster = Cluster::start(options, &cx).unwrap();
        Sample { rows: 2000, seed: 7, until: Timestamp::now() }.load(&cluster, "app", &cx).unwrap();
        let postgres = Postgres::new(settings(&cluster, &dir.path().join("password")));
        Shop { postgres, cluster, cx, dir, _runtime: runtime }
    }

    pub fn ask(&self, database: &str, query: &str) -> String {
        self.postgres.ask(database, query, &self.cx).unwrap()
    }
}

pub fn settings(cluster: &Cluster, password: &Path) -> Settings {
    Settings {
        name: "orders".into(),
        host: cluster.host().display().to_string(),
        port: cluster.port(),
        user: cluster.user().into(),
        password: Some(Secret::File(password.into())),
        database: DATABASE.into(),
        maintenance: "postgres".into(),
        owner: None,
        tls: Tls::Disable,
        bin: Vec::new(),
        through: None,
    }
}
