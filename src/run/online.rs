//! What only asking can tell: whether stores, systems and keys are what the configuration says they are (D9).
//!
//! It writes one small object of a fixed name to a store and takes it away again where that is allowed; where it is not, it stays and is
//! used again. Systems are only asked who they are.

use std::io::Read;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::engine::{Engine, open_key};
use crate::config::{self, Rights};
use crate::pipeline::openpgp::{Decrypt, Encrypt, PublicKeys, SecretKey};
use crate::port::{Context, Filter, Store};
use crate::report::{Kind, Report, Result};
use crate::store::s3::{PROBE, S3};
use crate::system::postgres::Postgres;
use crate::system::postgres::clients::Clients;

/// A key that ends sooner is worth a word.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// One thing that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `store vault`.
    pub subject: String,
    /// What was asked: `may delete`.
    pub what: String,
    /// It is as it should be.
    pub held: bool,
    /// What was seen.
    pub words: String,
}

/// Collects what is found of one subject.
struct Findings<'a> {
    subject: String,
    found: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, what: &str, held: bool, words: impl Into<String>) {
        self.found.push(Finding { subject: self.subject.clone(), what: what.into(), held, words: words.into() });
    }

    /// Held where it worked.
    fn worked<T>(&mut self, what: &str, result: &Result<T>, words: &str) -> bool {
        self.add(what, result.is_ok(), result.as_ref().map_or_else(said, |_| words.to_owned()));
        result.is_ok()
    }
}

/// The report on one line, and what to do.
fn said(report: &Report) -> String {
    report.hints.first().map_or_else(|| report.to_string(), |hint| format!("{report}; {hint}"))
}

impl Engine {
    /// Asks every store, system and key. What goes wrong is a finding, not an error.
    pub fn online(&self, cx: &Context) -> Vec<Finding> {
        let mut found = Vec::new();
        let inventory = self.inventory();
        for name in inventory.stores.keys() {
            let rights = inventory.promises.get(name).map_or(Rights::default(), |promise| promise.rights);
            self.ask_store(name, rights, &mut Findings { subject: format!("store {name}"), found: &mut found }, cx);
        }
        for (name, system) in &inventory.systems {
            let postgres = Postgres::new(system.postgres().clone());
            self.ask_system(&postgres, &mut Findings { subject: format!("system {name}"), found: &mut found }, cx);
        }
        for (name, key) in &inventory.keys {
            ask_key(key, &mut Findings { subject: format!("key {name}"), found: &mut found }, cx);
        }
        found
    }

    fn ask_store(&self, name: &str, rights: Rights, findings: &mut Findings<'_>, cx: &Context) {
        let inventory = self.inventory();
        let opened = match inventory.stores.get(name) {
            Some(config::Store::S3(settings)) => S3::new(settings.clone(), cx).map(|s3| {
                match s3.refuses_to_replace(cx) {
                    Ok(true) => findings.add("may put", true, "refuses to replace what is there"),
                    Ok(false) => findings.add("may put", true, "would replace what is there: looked for right before instead"),
                    Err(report) => findings.add("may put", false, said(&report)),
                }
                Box::new(s3) as Box<dyn Store>
            }),
            Some(config::Store::Local(settings)) => {
                let local = crate::store::local::Local::new(settings.clone());
                let put = local.put(PROBE, Box::new(std::io::Cursor::new(*b"?")), cx);
                // One of an earlier question, left where removing was not allowed.
                let put = put.map(drop).or_else(|report| if report.kind == Kind::Refused { Ok(()) } else { Err(report) });
                findings.worked("may put", &put, "refuses to replace what is there");
                Ok(Box::new(local) as Box<dyn Store>)
            }
            Some(config::Store::Post(_)) => {
                let ticket = inventory.open_store(name, cx);
                findings.worked("ticket", &ticket, "valid; what it stores cannot be looked at from here");
                return;
            }
            None => return,
        };
        match opened {
            Ok(store) => ask_rights(&*store, rights, findings, cx),
            Err(report) => findings.add("opens", false, said(&report)),
        }
    }

    fn ask_system(&self, postgres: &Postgres, findings: &mut Findings<'_>, cx: &Context) {
        let identity = match postgres.identity(&postgres.settings.database, cx) {
            Ok(identity) => identity,
            Err(report) => return findings.add("answers", false, said(&report)),
        };
        findings.add("answers", true, format!("PostgreSQL {}, {}", identity.version, identity.database));
        let asked = self.inventory().environment.fingerprint.as_ref();
        match asked.map(|fingerprint| &fingerprint.system_identifier) {
            Some(expected) if *expected != identity.system_identifier => {
                findings.add(
                    "is the one",
                    false,
                    format!("it says it is {}, [environment.fingerprint] {expected}", identity.system_identifier),
                );
            }
            Some(expected) => findings.add("is the one", true, expected.clone()),
            None => {
                findings.add("is the one", true, format!("{}; no [environment.fingerprint] to compare with", identity.system_identifier));
            }
        }
        match Clients::for_server(postgres, identity.major, cx) {
            Ok(clients) => findings.add("client fits", true, format!("pg_dump {}", clients.version)),
            Err(report) => findings.add("client fits", false, said(&report)),
        }
    }
}

/// Reads, lists, and tries to remove the probe: for a store that is written once, removing must be refused.
fn ask_rights(store: &dyn Store, rights: Rights, findings: &mut Findings<'_>, cx: &Context) {
    let read = store.get(PROBE, None, cx).and_then(|mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|error| Report::from_io("reading the probe", error))
    });
    findings.worked("may get", &read, "read what was put");
    let listed = store.list(".lifeboat/", cx);
    findings.worked("may list", &listed, "completely");
    let removed = store.delete(PROBE, cx);
    match (rights, &removed) {
        (Rights::Full, _) => {
            findings.worked("may delete", &removed, "the probe is gone again");
        }
        (Rights::WriteOnce, Ok(())) => findings.add(
            "must not delete",
            false,
            "it could: whoever gets at this machine can remove every dump; take s3:DeleteObject from its credentials",
        ),
        // Refused is what is wanted; anything else is not an answer to the question.
        (Rights::WriteOnce, Err(report))
            if report.to_string().contains("does not allow") || report.to_string().contains("ermission denied") =>
        {
            findings.add("must not delete", true, "refused, as it should be");
        }
        (Rights::WriteOnce, Err(report)) => findings.add("must not delete", false, format!("cannot be told: {}", said(report))),
    }
}

fn ask_key(key: &config::Key, findings: &mut Findings<'_>, cx: &Context) {
    let keys = match PublicKeys::load(&key.public, cx) {
        Ok(keys) => keys,
        Err(report) => return findings.add("can encrypt", false, said(&report)),
    };
    let words = keys.fingerprints().join(", ");
    match keys.expires() {
        Some(end) if end.duration_since(Timestamp::now()) < SOON => {
            findings.add("can encrypt", true, format!("{words}; SOON OVER: expires on {}", end.strftime("%Y-%m-%d")));
        }
        Some(end) => findings.add("can encrypt", true, format!("{words}; expires on {}", end.strftime("%Y-%m-%d"))),
        None => findings.add("can encrypt", true, format!("{words}; never expires")),
    }
    let Some(secret) = &key.secret else {
        return findings.add("can open", true, "no private key here: what is encrypted to it opens elsewhere");
    };
    let opened = open_key(key, secret, cx).and_then(|private| there_and_back(&keys, &private, cx));
    findings.worked("can open", &opened, "opened what was encrypted to it");
}

/// What is encrypted to these keys opens with this one: the private key of another opens nothing, and says so on the night of the restore.
fn there_and_back(keys: &PublicKeys, private: &SecretKey, cx: &Context) -> Result<()> {
    let message = b"what is encrypted here opens here";
    let mut there = Box::new(Encrypt::to(keys)).wrap(Box::new(std::io::Cursor::new(*message)), cx)?;
    let mut sealed = Vec::new();
    there.read_to_end(&mut sealed).map_err(|error| Report::from_io("encrypting a few words", error))?;
    let mut back = Box::new(Decrypt::with(private)).wrap(Box::new(std::io::Cursor::new(sealed)), cx)?;
    let mut opened = Vec::new();
    back.read_to_end(&mut opened).map_err(|error| Report::from_io("opening a few words", error))?;
    if opened == message { Ok(()) } else { Err(Report::failed("what came out is not what went in")) }
}
