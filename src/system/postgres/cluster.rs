//! A PostgreSQL server of our own: made in a directory, reached by a unix socket only, gone when dropped.
//!
//! For what must never touch a server that matters: the box of a drill, and the restore test of a dump. It is built for speed and not to
//! last: `fsync` is off. What it holds is whatever the caller loads; nothing here knows about dumps or drills.

mod ground;
mod programs;

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres_protocol::escape::escape_identifier;
use rustix::process::Signal;
use tokio_postgres::{Client, Config, NoTls};

use crate::port::Context;
use crate::process::{Program, Running};
use crate::report::{Explain, Report, Result};

pub use ground::Account;
use ground::{Socket, give, prepare, socket_directory, unprivileged};
pub use programs::{find_among, find_programs};
use programs::{is_server, no_server};

/// The server listens nowhere but on its own socket, so that every cluster can have the same port.
const PORT: u16 = 5432;

/// Who owns it.
const SUPERUSER: &str = "postgres";

/// How long a server may take to answer after it was started.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a server may take to end after it was asked to.
const FAREWELL: Duration = Duration::from_secs(10);

/// What every cluster is told. Speed, for data that may be lost; one socket and no network; nothing outside its directory.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
    ("jit", "off"),
    ("max_connections", "50"),
    ("shared_buffers", "256MB"),
    // Kept in the directory and not in /dev/shm, which is small in containers and would be left behind by a kill.
    ("dynamic_shared_memory_type", "mmap"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    // A statement that failed may hold a secret: it is never logged.
    ("log_min_error_statement", "panic"),
];

/// What cluster is wanted.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Where it lives; made when missing. Its data are below `data`, its socket below `socket`.
    pub dir: PathBuf,
    /// Where `initdb` and `postgres` are; found as by [`find_programs`] where none is given.
    pub bin: Option<PathBuf>,
    /// The password of the superuser `postgres`.
    pub password: String,
    /// A database to create, apart from `postgres`.
    pub database: Option<String>,
    /// Settings on top of ours, as in `postgresql.conf`: name and unquoted value.
    pub settings: Vec<(String, String)>,
    /// Whether the directory goes with it.
    pub remove: bool,
}

/// A running server. Dropping it shuts it down (and removes its directory, if so asked).
pub struct Cluster {
    server: Option<Running>,
    dir: PathBuf,
    socket: Socket,
    bin: PathBuf,
    password: String,
    database: String,
    account: Option<Account>,
    identifier: String,
    version: String,
    remove: bool,
}

impl Cluster {
    /// Makes a server and starts it. It answers when this returns; on any error nothing is left running.
    ///
    /// The server outlives the cancellation of `cx`: whoever holds it says when it ends.
    pub fn start(options: ClusterOptions, cx: &Context) -> Result<Cluster> {
        let bin = match &options.bin {
            Some(bin) => is_server(bin).then(|| bin.clone()).ok_or_else(|| no_server(&format!("in {}", bin.display())))?,
            None => find_programs(None)?,
        };
        let began = Instant::now();
        let account = unprivileged(cx)?;
        let dir = prepare(&options.dir, account.as_ref())?;
        let clean = Leftovers { dir: options.remove.then(|| dir.clone()) };
        let socket = socket_directory(&dir, account.as_ref())?;
        initialise(&bin, &dir, &options, account.as_ref(), cx)?;
        configure(&dir, socket.path(), &options.settings)?;
        let server = serve(&bin, &dir, account.as_ref(), cx)?;
        let mut cluster = Cluster {
            server: Some(server),
            dir,
            socket,
            bin,
            password: options.password,
            database: options.database.unwrap_or_else(|| "postgres".into()),
            account,
            identifier: String::new(),
            version: String::new(),
            remove: options.remove,
        };
        clean.keep();
        cluster.greet(cx)?;
        cx.log.say("cluster", &format!("PostgreSQL {} answers after {:.1} s", cluster.version, began.elapsed().as_secs_f64()));
        Ok(cluster)
    }

    /// The directory of its socket, to be given as host.
    pub fn host(&self) -> &Path {
        self.socket.path()
    }

    /// The port that is part of the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// The superuser.
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The database it was made with.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Where its programs are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who it runs as, where that is not us.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Its `system_identifier`, made once by `initdb`.
    pub fn system_identifier(&self) -> &str {
        &self.identifier
    }

    /// Its version, `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The process id of the server while it runs.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Running::id)
    }

    /// How to reach it as somebody else.
    pub fn settings(&self, user: &str, password: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(self.host()).port(PORT).user(user).password(password).dbname(database).connect_timeout(Duration::from_secs(10));
        config
    }

    /// Connects to one of its databases as superuser.
    pub fn connect(&self, database: &str, cx: &Context) -> Result<Client> {
        cx.wait(connect(&self.settings(SUPERUSER, &self.password, database)))
    }

    /// Shuts it down, and says if that did not go well. Connections are closed, their work is rolled back.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        if end(&mut server) {
            server.wait()
        } else {
            Err(Report::failed(format!("PostgreSQL did not end within {} s and was killed", FAREWELL.as_secs())).cause(server.tail()))
        }
    }

    /// Waits until it answers, makes the database, asks who it is.
    fn greet(&mut self, cx: &Context) -> Result<()> {
        let config = self.settings(SUPERUSER, &self.password, "postgres");
        let client = self.first_answer(&config, cx)?;
        let database = (self.database != "postgres").then(|| escape_identifier(&self.database));
        (self.identifier, self.version) = cx.wait(async {
            if let Some(name) = database {
                client.batch_execute(&format!("CREATE DATABASE {name}")).await.explain(|| format!("creating the database {name}"))?;
            }
            let asked = "SELECT system_identifier::text, current_setting('server_version') FROM pg_control_system()";
            let row = client.query_one(asked, &[]).await.explain(|| "asking the new server who it is".into())?;
            let version: String = row.get(1);
            Ok((row.get(0), version.split(' ').next().unwrap_or_default().to_owned()))
        })?;
        Ok(())
    }

    /// Asks again and again, sooner at first, until it answers or has ended.
    fn first_answer(&mut self, config: &Config, cx: &Context) -> Result<Client> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(4);
        loop {
            let refusal = match cx.wait(connect(config)) {
                Ok(client) => return Ok(client),
                Err(refusal) => refusal,
            };
            cx.check()?;
            if let Some(server) = self.server.as_mut()
                && server.has_ended()
            {
                server.wait().map_err(|report| report.under("the new PostgreSQL server ended at once"))?;
                return Err(Report::failed("the new PostgreSQL server ended at once"));
            }
            if began.elapsed() > PATIENCE {
                return Err(refusal.under(format!("the new PostgreSQL server does not answer after {} s", PATIENCE.as_secs())));
            }
            cx.pause(pause)?;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            end(&mut server);
        }
        drop(Leftovers { dir: self.remove.then(|| self.dir.clone()) });
    }
}

/// A directory that goes away, unless it is kept.
struct Leftovers {
    dir: Option<PathBuf>,
}

impl Leftovers {
    fn keep(mut self) {
        self.dir = None;
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            // Nobody is left to be told; the next sweep finds what could not be removed.
            fs::remove_dir_all(dir).ok();
        }
    }
}

/// Connects, and lets the runtime drive the connection until the client is dropped.
pub async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await.explain(|| "connecting to PostgreSQL".into())?;
    // When the connection breaks, the client's next question says so.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

fn initialise(bin: &Path, dir: &Path, options: &ClusterOptions, account: Option<&Account>, cx: &Context) -> Result<()> {
    // Removed when it goes out of scope, whatever happens.
    let mut password =
        tempfile::Builder::new().prefix(".password-").tempfile_in(dir).explain(|| format!("writing in {}", dir.display()))?;
    writeln!(password, "{}", options.password).explain(|| "writing the password for initdb".into())?;
    give(password.path(), account)?;
    let mut initdb = Program::new(bin.join("initdb"))
        .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"])
        .arg(format!("--username={SUPERUSER}"))
        .arg("--pwfile")
        .arg(password.path())
        .arg("--pgdata")
        .arg(dir.join("data"))
        .dir(dir);
    if let Some(account) = account {
        initdb = initdb.as_user(account.uid, account.gid);
    }
    initdb.run(cx).map_err(|report| report.under("making a PostgreSQL server"))?;
    Ok(())
}

fn configure(dir: &Path, socket: &Path, more: &[(String, String)]) -> Result<()> {
    let path = dir.join("data/postgresql.conf");
    let socket = socket.to_string_lossy();
    let ours = SETTINGS.iter().copied().chain([("unix_socket_directories", socket.as_ref())]);
    let theirs = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // The last line wins.
    let mut lines = String::from(
        "
",
    );
    for (name, value) in ours.chain(theirs) {
        writeln!(lines, "{name} = '{}'", value.replace('\'', "''")).explain(|| "composing the settings".into())?;
    }
    let mut file = fs::OpenOptions::new().append(true).open(&path).explain(|| format!("opening {}", path.display()))?;
    file.write_all(lines.as_bytes()).explain(|| format!("writing {}", path.display()))
}

/// The server in the foreground, with a life of its own: the end of the work `cx` stands for does not end it, its owner does.
fn serve(bin: &Path, dir: &Path, account: Option<&Account>, cx: &Context) -> Result<Running> {
    let mut postgres = Program::new(bin.join("postgres")).arg("-D").arg(dir.join("data")).dir(dir).on_our_death("QUIT");
    if let Some(account) = account {
        postgres = postgres.as_user(account.uid, account.gid);
    }
    cx.check()?;
    let apart = Context { cancel: tokio_util::sync::CancellationToken::new(), ..cx.clone() };
    postgres.serve(&apart)
}

/// Fast shutdown: connections are closed, nothing is waited for. Whether it ended in time; if not, dropping it kills it.
fn end(server: &mut Running) -> bool {
    server.signal(Signal::INT);
    let until = Instant::now() + FAREWELL;
    while !server.has_ended() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
