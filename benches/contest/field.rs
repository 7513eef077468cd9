//! Where the contest takes place: the box with a database of the asked size in it, and what both sides are started with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lifeboat::drill::{BoxOptions, TheBox};
use lifeboat::pipeline::manifest::ENDINGS;
use lifeboat::port::Context;
use lifeboat::report::{Report, Result};
use tokio::runtime::Runtime;

use super::Options;
use super::cases::Case;

/// The jobs of the contest, on top of the box's configuration.
const JOBS: &str = include_str!("jobs.toml");

/// The table.
const TABLE: &str = "
    CREATE SCHEMA contest;
    CREATE TABLE contest.events (id bigint NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, customer integer NOT NULL,
        amount numeric(12, 2) NOT NULL, share double precision NOT NULL, path text NOT NULL, payload jsonb NOT NULL, note text NOT NULL);";

/// Its rows.
const ROWS: &str = include_str!("rows.sql");

/// What is made when they are there; then the server is left with nothing to do.
const INDEXES: [&str; 6] = [
    "ALTER TABLE contest.events ADD PRIMARY KEY (id)",
    "CREATE INDEX ON contest.events (at)",
    "CREATE INDEX ON contest.events (customer, kind)",
    "CREATE INDEX ON contest.events (amount)",
    "VACUUM (FREEZE, ANALYZE) contest.events",
    "CHECKPOINT",
];

/// The database that a restore makes.
const COPY: &str = "copy";

/// Rows that make a MiB of database, indexes included; measured.
const ROWS_A_MEBIBYTE: u32 = 2150;

/// How long ours, or theirs, took.
pub struct Took {
    pub time: Duration,
    pub bytes: u64,
    pub peak_kib: u64,
}

/// See the module. Dropping it takes everything down.
pub struct Field {
    the_box: TheBox,
    cx: Context,
    _runtime: Runtime,
    program: PathBuf,
    /// Both sides write below this.
    ground: PathBuf,
}

impl Field {
    /// Makes it: the server, the bucket, the keys, the database.
    pub fn lay(options: &Options) -> Field {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let the_box = TheBox::start(&BoxOptions { rows: 500, key_bits: options.key_bits, ..BoxOptions::default() }, &cx).unwrap();
        fill(&the_box, options.mebibytes * ROWS_A_MEBIBYTE, &cx);
        let ground = the_box.dir().join("contest");
        let field = Field { the_box, cx, _runtime: runtime, program: options.program.clone(), ground };
        field.prepare();
        field
    }

    fn prepare(&self) {
        for directory in ["gnupg", "store", "shelf"] {
            fs::create_dir_all(self.ground.join(directory)).unwrap();
        }
        fs::set_permissions(self.ground.join("gnupg"), fs::Permissions::from_mode(0o700)).unwrap();
        let config = fs::read_to_string(self.the_box.config_path()).unwrap() + JOBS;
        fs::write(self.the_box.config_path(), config).unwrap();
        let password = self.the_box.cluster().password();
        fs::write(self.ground.join("pgpass"), format!("*:*:*:*:{password}\n")).unwrap();
        fs::set_permissions(self.ground.join("pgpass"), fs::Permissions::from_mode(0o600)).unwrap();
        let public = &self.the_box.keys().public;
        // One run that does not count fills the caches of the machine.
        self.shell(&format!("gpg --import {} && $DUMP > /dev/null", public.display()));
    }

    /// Bytes of the database.
    pub fn database_bytes(&self) -> u64 {
        let client = self.the_box.cluster().connect("orders", &self.cx).unwrap();
        let size = "SELECT pg_database_size(current_database())";
        let row = self.cx.wait(async { client.query_one(size, &[]).await.map_err(failed) }).unwrap();
        u64::try_from(row.get::<_, i64>(0)).unwrap()
    }

    /// Lays out what is only read: our dumps, the archive in clear, and the key that opens them, as stock gpg wants it.
    pub fn fill_the_shelf(&self) {
        for job in ["shelf-gzip", "shelf-zstd"] {
            let told = Command::new(&self.program).args(["backup", job]).arg("--config").arg(self.the_box.config_path()).output().unwrap();
            assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        }
        let secret = self.the_box.keys().secret.display();
        self.shell(&format!("gpg --import {secret} && $DUMP -Fc -Z0 > $ARCHIVE"));
    }

    /// The program, from its start to its end.
    pub fn ours(&self, case: &Case) -> Took {
        let mut command = Command::new(&self.program);
        command.args(case.ours).arg("--config").arg(self.the_box.config_path());
        let before = self.stored();
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let peak_kib = watch(child);
        let time = began.elapsed();
        let took = Took { time, bytes: self.stored() - before, peak_kib };
        self.drop_the_copy();
        // Theirs begins with an empty disk, and so does ours.
        let store = self.ground.join("store");
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(store).unwrap();
        took
    }

    /// The stock chain, from its start to its end.
    pub fn theirs(&self, case: &Case) -> Took {
        let began = Instant::now();
        self.shell(case.stock);
        let time = began.elapsed();
        let out = self.ground.join("out");
        let bytes = fs::metadata(&out).map_or(0, |file| file.len());
        fs::remove_file(&out).ok();
        self.drop_the_copy();
        Took { time, bytes, peak_kib: 0 }
    }

    /// What was restored makes room for the next; what that leaves to do for the server is done before the clock runs again.
    fn drop_the_copy(&self) {
        let client = self.the_box.cluster().connect("postgres", &self.cx).unwrap();
        for statement in [format!("DROP DATABASE IF EXISTS {COPY} WITH (FORCE)"), "CHECKPOINT".to_owned()] {
            self.cx.wait(async { client.batch_execute(&statement).await.map_err(failed) }).unwrap();
        }
    }

    /// A line of shell, every program of which must end well.
    fn shell(&self, line: &str) {
        let cluster = self.the_box.cluster();
        let dump = format!("{} --no-owner --no-acl --encoding=UTF8 -d {}", cluster.bin().join("pg_dump").display(), cluster.database());
        let mut shell = Command::new("bash");
        shell.env("PGHOST", cluster.host()).env("PGPORT", cluster.port().to_string()).env("PGUSER", cluster.user());
        shell.env("PGPASSFILE", self.ground.join("pgpass")).env("GNUPGHOME", self.ground.join("gnupg"));
        let shelf = fs::read_dir(self.ground.join("shelf")).into_iter().flatten().map(|entry| entry.unwrap().path());
        let gzip = shelf.filter(|path| path.to_string_lossy().ends_with(".sql.gz.gpg")).max();
        shell.env("OBJECT", gzip.unwrap_or_default()).env("ARCHIVE", self.ground.join("archive")).env("COPY", COPY);
        shell.env("PATH", format!("{}:{}", cluster.bin().display(), std::env::var("PATH").unwrap_or_default()));
        shell.env("PASSPHRASE", &self.the_box.keys().passphrase);
        shell.env("DUMP", dump).env("KEY", &self.the_box.keys().fingerprint).env("OUT", self.ground.join("out"));
        // gpg, as people start it, would ask whether the key is really its owner's.
        let gpg =
            "gpg() { command gpg --batch --quiet --trust-model always --pinentry-mode loopback --passphrase-file $PASSPHRASE \"$@\"; }";
        let told = shell.args(["-e", "-o", "pipefail", "-c", &format!("{gpg}; {line}")]).stdin(Stdio::null()).output().unwrap();
        assert!(told.status.success(), "{line}: {}", String::from_utf8_lossy(&told.stderr));
    }

    /// Bytes of all dumps, in the directory and in the bucket.
    fn stored(&self) -> u64 {
        let store = lifeboat::store::s3::S3::new(self.the_box.bucket().settings(), &self.cx).unwrap();
        let listed = lifeboat::port::Store::list(&store, "", &self.cx).unwrap();
        let bucket: u64 =
            listed.iter().filter(|object| ENDINGS.iter().any(|ending| object.key.ends_with(ending))).map(|object| object.size).sum();
        let entries = fs::read_dir(self.ground.join("store")).into_iter().flatten().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "gpg"));
        bucket + files.map(|entry| entry.metadata().unwrap().len()).sum::<u64>()
    }

    /// What it ran on.
    pub fn machine(&self) -> Vec<String> {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            processor.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("an unknown processor");
        let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let version = |program: &Path| {
            let told = Command::new(program).arg("--version").output().unwrap();
            String::from_utf8_lossy(&told.stdout).lines().next().unwrap_or_default().to_owned()
        };
        let programs =
            [&self.program, &self.the_box.cluster().bin().join("pg_dump"), Path::new("gzip"), Path::new("zstd"), Path::new("gpg")];
        std::iter::once(format!("{model}, {cores} processors")).chain(programs.map(version)).collect()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // Its agent, where it started one.
        Command::new("gpgconf").arg("--homedir").arg(self.ground.join("gnupg")).args(["--kill", "all"]).status().ok();
    }
}

/// Four parts over two connections: making a row is the work of one processor.
fn fill(the_box: &TheBox, rows: u32, cx: &Context) {
    let statement =
        |client: &tokio_postgres::Client, text: &str| -> Result<()> { cx.wait(async { client.batch_execute(text).await.map_err(failed) }) };
    let connect = || the_box.cluster().connect("orders", cx).unwrap();
    let main = connect();
    statement(&main, TABLE).unwrap();
    thread::scope(|scope| {
        for half in 0..2 {
            let client = connect();
            scope.spawn(move || {
                for part in [half, half + 2] {
                    statement(&client, &ROWS.replace("{rows}", &rows.to_string()).replace("{part}", &part.to_string())).unwrap();
                }
            });
        }
    });
    for index in INDEXES {
        statement(&main, index).unwrap();
    }
}

fn failed(error: tokio_postgres::Error) -> Report {
    Report::failed("the server refused").because(error)
}

/// Waits for its end, which must be a good one. Gives the most resident memory it ever had, in KiB (`VmHWM` of proc(5)).
fn watch(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let looking = thread::spawn(move || {
        let mut peak = 0;
        // A process that is gone, or not waited for yet, has no memory.
        while let Some(seen) = fs::read_to_string(&status).ok().and_then(|text| high_water(&text)) {
            peak = peak.max(seen);
            thread::sleep(Duration::from_millis(20));
        }
        peak
    });
    let mut told = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    looking.join().unwrap()
}

fn high_water(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok())
}
