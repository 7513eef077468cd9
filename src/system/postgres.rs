//! PostgreSQL: who it is, dumping it, restoring into it, swapping databases. Clients are the server's own programs.

pub mod access;
mod analyse;
pub mod assertion;
pub mod clients;
pub mod cluster;
pub mod contents;
mod copies;
pub mod count;
pub mod databases;
pub mod dump;
pub mod kept;
mod load;
mod majors;
pub mod pulled;
pub mod restore;
pub mod sanitise;
pub mod session;
pub mod snapshot;
pub mod swap;
mod through;
pub mod throwaway;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::{Client, Config, NoTls};

pub use through::Through;

use super::secret::Secret;
use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A PostgreSQL server as configured, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name in the configuration.
    pub name: String,
    /// A host name, an address, or the directory of a unix socket (begins with `/`).
    pub host: String,
    /// 5432 where none is given.
    pub port: u16,
    /// Who connects.
    pub user: String,
    /// The password, where one is needed.
    pub password: Option<Secret>,
    /// The database that is backed up, asked and swapped.
    pub database: String,
    /// The database connected to while another one is created, renamed or dropped; `postgres` where none is given.
    pub maintenance: String,
    /// Who owns what is restored; the user who connects where none is given.
    pub owner: Option<String>,
    /// libpq's sslmode.
    pub tls: Tls,
    /// Where `pg_dump`, `psql`, `pg_restore` may be; the fitting ones under `/usr/lib/postgresql`, then the path, where none is given.
    pub bin: Vec<PathBuf>,
    /// The command behind which the server can be reached; from here where none is given.
    pub through: Option<Through>,
}

/// libpq's sslmode, without `allow` and `prefer`, which promise nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// `disable`: unix sockets and loopback.
    #[default]
    Disable,
    /// `verify-full`: encrypted, certificate and name checked.
    VerifyFull,
}

/// A server that can be asked. Holds no connection; each question makes its own.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// How it is reached.
    pub settings: Settings,
}

/// Who a server says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `pg_control`'s system identifier, decimal.
    pub system_identifier: String,
    /// The database connected to.
    pub database: String,
    /// `15.18`.
    pub version: String,
    /// 15.
    pub major: u32,
    /// The server's clock.
    pub now: Timestamp,
}

impl Postgres {
    /// A server by its settings.
    pub fn new(settings: Settings) -> Self {
        Postgres { settings }
    }

    /// For messages: `orders (db1:5432)`, `orders (127.0.0.1:5432 through ssh db1)`.
    pub fn describe(&self) -> String {
        let Settings { name, host, port, through, .. } = &self.settings;
        match through {
            None => format!("{name} ({host}:{port})"),
            Some(through) => format!("{name} ({host}:{port} through {})", through.describe()),
        }
    }

    /// A connection to `database`. Its driver runs on the runtime and ends with the client.
    pub async fn connect(&self, database: &str, cx: &Context) -> Result<Client> {
        let settings = &self.settings;
        if settings.through.is_some() {
            return Err(Report::refused(format!("{} can only be dumped: it cannot be reached from here", self.describe()))
                .hint(format!("to restore, ask or swap, name a system without `through`; [system.{}] has one", settings.name)));
        }
        let password = match settings.password.clone() {
            // Reading a secret may run a program; that blocks, so it has a thread of its own.
            Some(secret) => {
                let (cx, what) = (cx.clone(), format!("password of system {}", settings.name));
                let read = cx.runtime.clone().spawn_blocking(move || secret.read_text(&what, &cx));
                Some(read.await.explain(|| "reading a password".into())??)
            }
            None => None,
        };
        let mut config = Config::new();
        config.port(settings.port).user(&settings.user).dbname(database).application_name("lifeboat").connect_timeout(CONNECT_TIMEOUT);
        // One that holds a snapshot is silent for as long as a dump takes; what stands in between must not take it for dead.
        config.keepalives_idle(Duration::from_mins(1));
        if settings.host.starts_with('/') {
            config.host_path(&settings.host);
        } else {
            config.host(&settings.host);
        }
        if let Some(password) = &password {
            config.password(password.as_bytes());
        }
        let connected = match settings.tls {
            Tls::Disable => {
                let connected = config.ssl_mode(tokio_postgres::config::SslMode::Disable).connect(NoTls).await;
                connected.map(|(client, connection)| (client, cx.runtime.spawn(connection)))
            }
            Tls::VerifyFull => {
                let connected = config.ssl_mode(tokio_postgres::config::SslMode::Require).connect(tls()?).await;
                connected.map(|(client, connection)| (client, cx.runtime.spawn(connection)))
            }
        };
        connected.map(|(client, _driver)| client).map_err(|error| self.cannot_connect(database, &error))
    }

    /// Who answers at `database`.
    pub fn identity(&self, database: &str, cx: &Context) -> Result<Identity> {
        cx.wait(async {
            let client = self.connect(database, cx).await?;
            identity(&client).await.map_err(|error| error.under(format!("asking {} who it is", self.describe())))
        })
    }

    /// The first column of the only row, as text; `NULL` as `null`.
    pub fn ask(&self, database: &str, query: &str, cx: &Context) -> Result<String> {
        cx.wait(async {
            let client = self.connect(database, cx).await?;
            let rows = client.simple_query(query).await.map_err(|error| explain_sql(&error, database))?;
            let mut rows = rows.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let (Some(row), None) = (rows.next(), rows.next()) else {
                return Err(Report::failed(format!("the query must give one row: {query}")));
            };
            Ok(row.try_get(0).explain(|| format!("the query must give a column: {query}"))?.unwrap_or("null").to_owned())
        })
    }

    /// Runs statements in one transaction.
    pub fn execute(&self, database: &str, statements: &str, cx: &Context) -> Result<()> {
        cx.wait(async {
            let mut client = self.connect(database, cx).await?;
            let transaction = client.transaction().await.map_err(|error| explain_sql(&error, database))?;
            transaction.batch_execute(statements).await.map_err(|error| explain_sql(&error, database))?;
            transaction.commit().await.map_err(|error| explain_sql(&error, database))
        })
    }

    /// Whether a database of that name exists.
    pub fn has_database(&self, name: &str, cx: &Context) -> Result<bool> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let row = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await;
            Ok(row.map_err(|error| explain_sql(&error, name))?.is_some())
        })
    }

    fn cannot_connect(&self, database: &str, error: &tokio_postgres::Error) -> Report {
        let report = explain_sql(error, database).under(format!("cannot connect to database {database:?} on {}", self.describe()));
        let code = error.code().map(tokio_postgres::error::SqlState::code);
        match code {
            Some("3D000") => report.hint(format!("look at `database` in [system.{}]", self.settings.name)),
            Some("28P01" | "28000") => report.hint(format!("look at `user` and `password` in [system.{}]", self.settings.name)),
            Some(_) => report,
            None => report.hint(format!("is the server up, and are `host` and `port` in [system.{}] right?", self.settings.name)),
        }
    }
}

/// Who answers on this connection.
pub async fn identity(client: &Client) -> Result<Identity> {
    let query = "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text, \
                 current_setting('server_version'), current_setting('server_version_num')::int, \
                 (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let row = client.query_one(query, &[]).await.map_err(|error| explain_sql(&error, ""))?;
    let version: String = row.get(2);
    let number: i32 = row.get(3);
    Ok(Identity {
        system_identifier: row.get(0),
        database: row.get(1),
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        major: u32::try_from(number / 10_000).unwrap_or_default(),
        now: Timestamp::from_microsecond(row.get(4)).explain(|| "the server's clock makes no sense".into())?,
    })
}

/// Whether we may do anything there.
async fn is_superuser(client: &Client) -> Result<bool> {
    let row = client.query_one("SELECT current_setting('is_superuser') = 'on'", &[]).await;
    Ok(row.map_err(|error| explain_sql(&error, ""))?.get(0))
}

/// A driver's error in the server's own words.
pub fn explain_sql(error: &tokio_postgres::Error, database: &str) -> Report {
    let Some(server) = error.as_db_error() else {
        return Report::failed(format!("talking to PostgreSQL failed{}", on(database))).because_ref(error);
    };
    let mut report = Report::failed(format!("{}: {}", server.severity(), server.message()));
    if let Some(detail) = server.detail() {
        report = report.cause(detail);
    }
    if let Some(hint) = server.hint() {
        report = report.hint(hint);
    }
    report
}

fn on(database: &str) -> String {
    if database.is_empty() { String::new() } else { format!(" on {database:?}") }
}

/// A single bad certificate among the machine's does not matter; none at all is an error.
fn tls() -> Result<tokio_postgres_rustls::MakeRustlsConnect> {
    super::install_tls();
    let roots = tokio_postgres_rustls::MakeRustlsConnect::with_native_certs();
    roots.map(|(connector, _problems)| connector).map_err(|problems| {
        let none = Report::failed("this machine has no certificate authorities to check the server's certificate with");
        problems.iter().fold(none, |report, problem| report.cause(problem.to_string())).hint("apt install ca-certificates")
    })
}
