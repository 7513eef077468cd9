//! A server of any major, a configuration with whatever jobs a test wants, and the engine behind it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lifeboat::config;
use lifeboat::drill::keys::Keys;
use lifeboat::pipeline::manifest::Manifest;
use lifeboat::pipeline::restore;
use lifeboat::port::{Context, Log};
use lifeboat::run::engine::Engine;
use lifeboat::system::postgres::cluster::{Cluster, ClusterOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The majors the tests know: Debian's own, and those of `.ci/majors`.
pub const DEBIAN: u32 = 15;

/// What `.ci/majors` printed.
static MAJORS: OnceLock<PathBuf> = OnceLock::new();

/// Where the programs of a major are. Those that are not Debian's are fetched the first time; where they cannot be, the test fails and says
/// why: a test that did not run is not one that passed.
pub fn bin(major: u32) -> PathBuf {
    if major == DEBIAN {
        return "/usr/lib/postgresql/15/bin".into();
    }
    let directory = MAJORS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/majors");
        let output = Command::new(script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "the servers of other majors could not be fetched (.ci/majors):\n{said}");
        String::from_utf8(output.stdout).unwrap().trim().into()
    });
    directory.join(major.to_string()).join("bin")
}

pub struct Rig {
    pub cluster: Cluster,
    pub cx: Context,
    pub dir: TempDir,
    pub engine: Engine,
    pub config: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

/// One key for all.
pub fn keys(cx: &Context) -> &'static Keys {
    static KEYS: OnceLock<(TempDir, Keys)> = OnceLock::new();
    let (_, keys) = KEYS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::generate(dir.path(), 2048, cx).unwrap();
        (dir, keys)
    });
    keys
}

/// What a test wants: `system` is more of `[system.main]`, `rest` the jobs.
pub struct Wanted<'a> {
    pub major: u32,
    pub settings: &'a [(&'a str, &'a str)],
    /// With the password in the configuration.
    pub password: bool,
    pub system: &'a str,
    pub rest: &'a str,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Wanted { major: DEBIAN, settings: &[], password: true, system: "", rest: "" }
    }
}

impl Rig {
    pub fn open(wanted: &Wanted<'_>) -> Rig {
        let runtime = crate::stage::runtime();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        let log = Log::to(move |who, line| heard.lock().unwrap().push(format!("{who}: {line}")));
        let cx = Context { log, ..Context::new(runtime.handle().clone()) };
        let dir = tempfile::Builder::new().prefix("lb-").tempdir_in("/tmp").unwrap();
        let options = ClusterOptions {
            dir: dir.path().join("cluster"),
            bin: Some(bin(wanted.major)),
            password: "secret".into(),
            database: Some("orders".into()),
            settings: wanted.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            remove: true,
        };
        let cluster = Cluster::start(options, &cx).unwrap();
        std::fs::write(dir.path().join("password"), "secret\n").unwrap();
        let keys = keys(&cx);
        let text = format!(
            "[environment]\nname = \"here\"\nproduction = false\nstage = \"prod\"\ncontacts = [\"us\"]\n\n\
             [system.main]\nkind = \"postgres\"\nhost = {:?}\nport = {}\nuser = \"postgres\"\ndatabase = \"orders\"\n{}{}\n\n\
             [store.shelf]\nkind = \"local\"\npath = \"{}\"\n\n\
             [key.backup]\npublic = [\"{}\"]\nsecret = {{ file = \"{}\" }}\npassphrase = {{ file = \"{}\" }}\n\n{}\n",
            cluster.host().display().to_string(),
            cluster.port(),
            if wanted.password { "password = { file = \"password\" }\n" } else { "" },
            wanted.system,
            dir.path().join("shelf").display(),
            keys.public.display(),
            keys.secret.display(),
            keys.passphrase.display(),
            wanted.rest,
        );
        std::fs::create_dir(dir.path().join("shelf")).unwrap();
        let config = dir.path().join("lifeboat.toml");
        std::fs::write(&config, text).unwrap();
        let inventory = config::load(&config).unwrap_or_else(|problems| panic!("{problems:#?}"));
        Rig { cluster, cx, dir, engine: Engine::new(Arc::new(inventory)), config, said, _runtime: runtime }
    }

    /// Each statement on its own: databases are not made in a transaction.
    pub fn execute(&self, database: &str, statements: &[&str]) {
        let client = self.cluster.connect(database, &self.cx).unwrap();
        for statement in statements {
            self.cx.runtime.block_on(client.batch_execute(statement)).unwrap();
        }
    }

    pub fn ask(&self, database: &str, query: &str) -> String {
        let client = self.cluster.connect(database, &self.cx).unwrap();
        let row = self.cx.runtime.block_on(client.query_one(query, &[])).unwrap();
        row.get(0)
    }

    pub fn backup(&self, job: &str) -> BTreeMap<String, Manifest> {
        let made = self.engine.backup(job, &self.cx).unwrap();
        made.into_iter().map(|made| (made.database().unwrap_or("(globals)").to_owned(), made)).collect()
    }

    /// What is in a dump, proven to its end.
    pub fn text(&self, job: &str, manifest: &Manifest) -> String {
        let job = self.engine.inventory().job(job).unwrap();
        let (store, key) = (self.engine.store(job, &self.cx).unwrap(), self.engine.secret_key(job, &self.cx).unwrap());
        let mut bytes = Vec::new();
        restore::open(manifest, &*store, &key, &self.cx).unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Sessions that have a transaction open, ours and this question's apart.
    pub fn open_transactions(&self) -> String {
        self.ask("postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'lifeboat' AND xact_start IS NOT NULL")
    }

    /// The real program, with this configuration: exit code, standard output, standard error.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.env("HOME", self.dir.path()).env("XDG_STATE_HOME", self.dir.path().join("state"));
        let output = command.args(args).arg("--config").arg(&self.config).stdin(std::process::Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}
