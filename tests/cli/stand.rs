//! What these tests stand on: one box for all of them, and for each a configuration, runs, notices and a corner of the bucket of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use lifeboat::drill::{BoxOptions, TheBox};
use lifeboat::port::{Context, Store};
use lifeboat::store::s3::S3;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The box, and what the tests ask it with.
pub struct Stand {
    pub the_box: TheBox,
    pub cx: Context,
    _runtime: Runtime,
}

/// The box of all tests that run now; taken apart when the last of them lets go.
pub fn stand() -> Arc<Stand> {
    static STAND: Mutex<Weak<Stand>> = Mutex::new(Weak::new());
    let mut kept = STAND.lock().unwrap_or_else(PoisonError::into_inner);
    kept.upgrade().unwrap_or_else(|| {
        let runtime = crate::stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let the_box = TheBox::start(&BoxOptions { rows: 500, key_bits: 2048, ..BoxOptions::default() }, &cx).unwrap();
        let stand = Arc::new(Stand { the_box, cx, _runtime: runtime });
        *kept = Arc::downgrade(&stand);
        stand
    })
}

impl Stand {
    /// What must never be seen anywhere: of the database, the store and the key.
    pub fn secrets(&self) -> Vec<String> {
        let passphrase = fs::read_to_string(&self.the_box.keys().passphrase).unwrap();
        vec![self.the_box.cluster().password().to_owned(), self.the_box.bucket().secret_key().to_owned(), passphrase.trim().to_owned()]
    }

    /// The first column of every row, as text.
    pub fn ask(&self, database: &str, query: &str) -> Vec<String> {
        let client = self.the_box.cluster().connect(database, &self.cx).unwrap();
        let rows = self.cx.wait(async { Ok(client.query(query, &[]).await.unwrap()) }).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub fn execute(&self, database: &str, statements: &str) {
        let client = self.the_box.cluster().connect(database, &self.cx).unwrap();
        self.cx.runtime.block_on(client.batch_execute(statements)).unwrap();
    }

    /// A server's own program, let in as its owner.
    pub fn stock(&self, name: &str, dir: &Path) -> Command {
        let cluster = self.the_box.cluster();
        let passfile = dir.join("pgpass");
        fs::write(&passfile, format!("*:*:*:*:{}\n", cluster.password())).unwrap();
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(cluster.bin().join(name));
        command.env("PGPASSFILE", passfile).env("PGHOST", cluster.host()).env("PGUSER", cluster.user());
        command
    }
}

/// One test's own corner.
pub struct Case {
    pub stand: Arc<Stand>,
    /// Also the beginning of every database it makes.
    pub name: String,
    /// Configuration, runs, notices, home, temporary files.
    pub dir: TempDir,
    config: PathBuf,
}

/// What a command came to.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Everything a command could have left or taken: objects with their sizes, databases with their comments, orders, temporary files.
#[derive(Debug, PartialEq, Eq)]
pub struct Footprint {
    objects: BTreeMap<String, u64>,
    databases: Vec<String>,
    orders: Vec<String>,
    temporary: Vec<String>,
}

impl Case {
    /// A configuration outside the box, with everything in the box.
    pub fn new() -> Case {
        Self::with(None)
    }

    /// The same in the box's own directory: here `--yes` may confirm danger.
    pub fn boxed() -> Case {
        let stand = stand();
        let dir = stand.the_box.dir().to_owned();
        Self::with(Some(&dir))
    }

    fn with(beside: Option<&Path>) -> Case {
        static CASES: AtomicU32 = AtomicU32::new(1);
        let stand = stand();
        let name = format!("case_{}", CASES.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("lb-").tempdir_in("/tmp").unwrap();
        for part in ["tmp", "home", "runbooks"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let within = stand.the_box.dir();
        let own = |part: &str| dir.path().join(part).display().to_string();
        let text = fs::read_to_string(stand.the_box.config_path()).unwrap();
        let text = text
            .replace("\"postgres.password\"", &format!("\"{}/postgres.password\"", within.display()))
            .replace("\"keys/", &format!("\"{}/keys/", within.display()))
            .replace("path = \"runs\"", &format!("path = {:?}", own("runs")))
            .replace("\"notices.log\"", &format!("{:?}", own("notices.log")))
            .replace("path_style = true", &format!("path_style = true\nprefix = \"{name}/\""))
            // Two dumps of one minute must not meet.
            .replace("max_age = ", "name = \"{stage}-{yyyyMMddHHmmss}.sql.gz.gpg\"\nmax_age = ")
            + &format!("\n[runbooks]\npath = {:?}\n", own("runbooks"));
        let config = beside.unwrap_or(dir.path()).join(format!("{name}.toml"));
        fs::write(&config, text).unwrap();
        Case { stand, name, dir, config }
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    pub fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    pub fn write(&self, part: &str, text: &str) -> PathBuf {
        let path = self.path(part);
        fs::write(&path, text).unwrap();
        path
    }

    /// Changes the configuration; what is to be changed must be there.
    pub fn edit(&self, from: &str, to: &str) -> &Self {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "the configuration has no {from:?}:\n{text}");
        fs::write(&self.config, text.replace(from, to)).unwrap();
        self
    }

    pub fn append(&self, more: &str) -> &Self {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, format!("{text}\n{more}\n")).unwrap();
        self
    }

    /// The program, with nothing of this machine's user around it and nobody at the keyboard.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.arg("--config").arg(&self.config);
        command
    }

    /// The same without a configuration.
    pub fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp")).env("RUST_BACKTRACE", "1");
        command.args(args).current_dir(self.path("home")).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Told {
        told(self.command(args).output().unwrap())
    }

    /// Runs what must succeed, and gives what it printed.
    pub fn done(&self, args: &[&str]) -> String {
        let told = self.run(args);
        assert_eq!(told.code, 0, "{args:?}: {told}");
        told.stdout
    }

    /// Runs what must be refused: with this code, in these words, a hint among them, and nothing changed.
    pub fn refused(&self, args: &[&str], code: i32, words: &[&str]) -> Told {
        let before = self.footprint();
        let told = self.run(args);
        told.is(code, words);
        assert_eq!(self.footprint(), before, "{args:?} changed something: {told}");
        told
    }

    /// A dump, made by the program, in a second of its own: its name is made of that.
    pub fn dump(&self) -> String {
        let second = || Timestamp::now().as_second();
        let now = second();
        while second() == now {
            std::thread::sleep(Duration::from_millis(10));
        }
        let report: serde_json::Value = serde_json::from_str(&self.done(&["backup", "orders", "--json"])).unwrap();
        assert_eq!(report["verdict"], "proven", "{report}");
        let dumps: serde_json::Value = serde_json::from_str(&self.done(&["dumps", "--json"])).unwrap();
        dumps[0]["manifest"]["object"].as_str().unwrap().to_owned()
    }

    /// Its corner of the bucket.
    pub fn store(&self) -> S3 {
        let mut settings = self.stand.the_box.bucket().settings();
        settings.prefix = format!("{}/", self.name);
        S3::new(settings, &self.stand.cx).unwrap()
    }

    pub fn object(&self, key: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.store().get(key, None, &self.stand.cx).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// As the bucket knows it.
    pub fn key(&self, object: &str) -> String {
        format!("{}/{object}", self.name)
    }

    /// A new database's name.
    pub fn database(&self, part: &str) -> String {
        format!("{}_{part}", self.name)
    }

    pub fn footprint(&self) -> Footprint {
        let listed = self.store().list("", &self.stand.cx).unwrap();
        let mine = format!(
            "SELECT datname::text || ': ' || coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database \
             WHERE datname = 'orders' OR starts_with(datname, '{}_') ORDER BY 1",
            self.name
        );
        Footprint {
            objects: listed.into_iter().map(|object| (object.key, object.size)).collect(),
            databases: self.stand.ask("postgres", &mine),
            orders: self.stand.ask("orders", "SELECT count(*)::text FROM shop.orders"),
            temporary: temporary(&self.path("tmp")),
        }
    }

    /// The directories of its runs, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("runs")).into_iter().flatten();
        let runs = entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with(".locks"));
        let mut runs: Vec<PathBuf> = runs.collect();
        runs.sort();
        runs
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // One in the box's directory outlives the test's own.
        fs::remove_file(&self.config).ok();
    }
}

/// What is in a directory and below; keyrings have a place of their own, which stays when they go.
fn temporary(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("lifeboat-keys-") {
            found.extend(temporary(&entry.path()));
        } else {
            found.push(name);
        }
    }
    found
}

pub fn told(output: Output) -> Told {
    let code = output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Told { code, stdout, stderr }
}

impl Told {
    /// One clear error: this code, these words, a hint, no result, no panic.
    pub fn is(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {self}");
        }
        let headline = match code {
            1 => "failed: ",
            2 => "wrong usage: ",
            3 => "refused: ",
            5 => "parked: ",
            75 => "busy: ",
            other => panic!("no word for exit code {other}"),
        };
        let headlines = self.stderr.lines().filter(|line| line.starts_with(headline)).count();
        assert_eq!(headlines, 1, "one headline {headline:?}: {self}");
        assert!(self.stderr.lines().any(|line| line.starts_with("  try: ")), "no hint: {self}");
        assert_eq!(self.stdout, "", "{self}");
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("backtrace"), "{self}");
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
