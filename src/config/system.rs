//! `[system.NAME]` and `[channel.NAME]`: what is backed up and asked, and where people are told.

use std::path::PathBuf;

use super::read::Reading;
use crate::report::written::{Fields, FromToml, Value};
use crate::system::postgres::{Through, Tls};
use crate::system::{notify, postgres};

/// What is backed up, asked and restored. A new engine is a new file in `system` and a line here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// A PostgreSQL server.
    Postgres(postgres::Settings),
}

impl System {
    /// Its settings as PostgreSQL's, which is all there is by now.
    pub fn postgres(&self) -> &postgres::Settings {
        match self {
            System::Postgres(settings) => settings,
        }
    }
}

pub(super) fn system(name: String, fields: &mut Fields<'_>, reading: &Reading) -> Option<System> {
    // The kind decides what the other keys mean; without it they would all look unknown.
    fields.must("kind").and_then(|kind| kind.word(&[("postgres", ())]));
    postgres(name, fields, reading).map(System::Postgres)
}

fn postgres(name: String, fields: &mut Fields<'_>, reading: &Reading) -> Option<postgres::Settings> {
    let host = fields.must("host").and_then(|value| host(&value));
    let port = fields.take("port").and_then(|value| port(&value)).unwrap_or(5432);
    let user = fields.must("user").and_then(|value| plain(&value));
    let database = fields.must("database").and_then(|value| plain(&value));
    let maintenance = fields.take("maintenance").and_then(|value| plain(&value)).unwrap_or_else(|| "postgres".to_owned());
    let password = fields.take("password").and_then(|value| reading.secret(&value, &["file", "command", "env"]));
    let owner = fields.take("owner").and_then(|value| plain(&value));
    let tls = fields.take("tls");
    let through = fields.take("through").and_then(|value| through(&value, reading));
    let bin = fields.take("bin").and_then(|value| bin(&value, through.is_some(), reading)).unwrap_or_default();
    if let (Some(value), Some(_)) = (fields.take("password"), &through) {
        let problem = value.problem("a password would cross to the far end of `through` in its arguments, for everybody there to see");
        value.add(
            problem.label("has to stay here").hint("leave it out; over there ~/.pgpass or peer authentication lets pg_dump in".to_owned()),
        );
    }
    let host = host?;
    let tls = tls_of(&host, tls.as_ref());
    Some(postgres::Settings { name, host, port, user: user?, password, database: database?, maintenance, owner, tls: tls?, bin, through })
}

/// One directory or several. At the far end of a prefix they are not relative to anything here.
fn bin(value: &Value<'_>, far: bool, reading: &Reading) -> Option<Vec<PathBuf>> {
    let items = if value.is_array() { value.items()? } else { vec![value.clone()] };
    let one = |item: &Value<'_>| match item.as_str() {
        Some(text) if far && !text.starts_with('/') => item.reject(item.problem("a path at the far end of `through` begins with `/`")),
        _ => reading.path(item),
    };
    let paths: Vec<Option<PathBuf>> = items.iter().map(one).collect();
    paths.into_iter().collect()
}

/// `["ssh", "db1"]`, or `{ command = ["wrapper", "db1"], shell = true }` where it cannot be told from the program whether a shell reads it.
fn through(value: &Value<'_>, reading: &Reading) -> Option<Through> {
    if !value.is_table() {
        return reading.argv(value).map(Through::new);
    }
    value.table(|fields| {
        let command = fields.must("command").and_then(|value| reading.argv(&value));
        let shell = fields.take("shell").and_then(bool::read);
        let known = Through::new(command?);
        Some(Through { shell: shell.unwrap_or(known.shell), ..known })
    })
}

/// Over a network nothing but a checked certificate is the default; on this machine nothing is needed.
fn tls_of(host: &str, written: Option<&Value<'_>>) -> Option<Tls> {
    let is_here = host.starts_with('/') || host == "localhost" || host.starts_with("127.") || host == "::1";
    let Some(value) = written else { return Some(if is_here { Tls::Disable } else { Tls::VerifyFull }) };
    let tls = value.word(&[("disable", Tls::Disable), ("verify-full", Tls::VerifyFull)])?;
    if tls == Tls::Disable && !is_here {
        let problem = value.oddity("passwords and data go over the network in clear");
        value.add(problem.hint("tls = \"verify-full\"".to_owned()));
    }
    Some(tls)
}

fn host(value: &Value<'_>) -> Option<String> {
    let text = plain(value)?;
    if text.contains([',', ' ']) {
        let problem = value.problem("one host: which of several is written to must never be left to chance");
        return value.reject(problem.hint("one [system.…] for each host".to_owned()));
    }
    Some(text)
}

fn port(value: &Value<'_>) -> Option<u16> {
    let port: u16 = crate::report::written::FromToml::read(value.clone())?;
    if port == 0 { value.reject(value.problem("0 is no port")) } else { Some(port) }
}

/// Neither empty, nor with control characters, nor what libpq takes for a connection string: that would win over the other settings.
fn plain(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.wrong("text"))?;
    if text.contains('=') || text.contains("://") {
        // A connection string may carry a password.
        value.conceal();
        let problem = value.problem("libpq takes this for a connection string, which wins over every other setting");
        return value.reject(problem.hint("host, port, user and database each have a key of their own".to_owned()));
    }
    if text.is_empty() || text.len() > 255 || text.contains(char::is_control) {
        return value.reject(value.problem("empty, too long, or with control characters"));
    }
    Some(text.to_owned())
}

pub(super) fn channel(fields: &mut Fields<'_>, reading: &Reading) -> Option<notify::Settings> {
    let kind = fields.must("kind").and_then(|kind| kind.word(&[("webhook", 0), ("command", 1), ("file", 2)]));
    match kind {
        Some(0) => {
            let url = fields.must("url").and_then(|value| reading.secret(&value, &["file", "command", "env"]));
            Some(notify::Settings::Webhook { url: url? })
        }
        Some(1) => {
            let argv = fields.must("command").and_then(|value| reading.argv(&value));
            Some(notify::Settings::Command { argv: argv? })
        }
        Some(_) => {
            let path = fields.must("path").and_then(|value| reading.path(&value));
            Some(notify::Settings::File { path: path? })
        }
        None => {
            // Whatever it was meant to be, its keys are not unknown.
            fields.mention(&["url", "command", "path"]);
            None
        }
    }
}
