//! A real PostgreSQL server with a database full of what dumps trip over.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use lifeboat::port::{Context, Source, Stream};
use lifeboat::process::{Program, Running};
use lifeboat::report::Result;

use super::context;

/// The database.
pub const DATABASE: &str = "rooms";

pub struct Server {
    directory: tempfile::TempDir,
    running: Mutex<Running>,
    user: Option<(u32, u32)>,
}

/// The server of all tests that run now; stopped when the last of them lets go.
pub fn server() -> Arc<Server> {
    static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut kept = SERVER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    kept.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        *kept = Arc::downgrade(&server);
        server
    })
}

fn bin() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    versions.pop().unwrap().join("bin")
}

impl Server {
    fn start() -> Server {
        let directory = tempfile::Builder::new().prefix("lbpg").tempdir_in("/tmp").unwrap();
        let user = rustix::process::geteuid().is_root().then(|| {
            let passwd = fs::read_to_string("/etc/passwd").unwrap();
            let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres");
            let fields: Vec<&str> = line.split(':').collect();
            (fields[2].parse().unwrap(), fields[3].parse().unwrap())
        });
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let cx = context();
        let data = directory.path().join("data");
        let program = |name: &str| in_home(Program::new(bin().join(name)), directory.path(), user);
        program("initdb")
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .run(&cx)
            .unwrap();
        let running = program("postgres")
            .args(["-F", "-c", "listen_addresses=", "-c", "max_wal_size=4GB", "-k"])
            .arg(directory.path())
            .arg("-D")
            .arg(&data)
            .on_our_death("QUIT")
            .serve(&cx)
            .unwrap();
        let server = Server { directory, running: Mutex::new(running), user };
        while server.client("pg_isready").arg("-q").run(&cx).is_err() {
            assert!(!server.running.lock().unwrap().has_ended(), "the server ended: {}", server.running.lock().unwrap().tail());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        server.client("createdb").arg(DATABASE).run(&cx).unwrap();
        server.sql(DATABASE, include_str!("sample.sql"));
        server
    }

    /// A client program that will talk to it.
    pub fn client(&self, name: &str) -> Program {
        in_home(Program::new(bin().join(name)), self.directory.path(), self.user)
            .arg("-h")
            .arg(self.directory.path())
            .args(["-U", "postgres"])
    }

    /// Runs statements, and gives what they print without decoration.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let psql = self.client("psql").args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]);
        let output = psql.run_with(super::stream(statements.as_bytes()), &context()).unwrap();
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    /// As a job would dump it.
    pub fn dump(&self, format: &str) -> Dump {
        let flags: &[&str] = if format == "custom" { &["-Fc", "-Z0"] } else { &["-Fp"] };
        Dump(self.client("pg_dump").args(["--no-owner", "--no-acl"]).args(flags).args(["-d", DATABASE]))
    }
}

fn in_home(program: Program, home: &Path, user: Option<(u32, u32)>) -> Program {
    let program = program.dir(home).env("HOME", home);
    match user {
        Some((uid, gid)) => program.as_user(uid, gid),
        None => program,
    }
}

/// A program as a source.
pub struct Dump(pub Program);

impl Source for Dump {
    fn describe(&self) -> String {
        format!("{} of {DATABASE}", self.0.short_name())
    }

    fn open(&self, cx: &Context) -> Result<Stream> {
        self.0.stream(cx)
    }
}
