//! Proving dumps: up to L4 by reading them, L5 and L6 by restoring them into a throwaway server of the major version they were made of.
//!
//! Three ends are kept apart. A proof that held, and one that did not, are recorded beside the dump; the latter at the lowest level that does
//! not hold. What could not be told, for want of room, of programs, of an extension or a role on *this* machine, is an error and says nothing
//! of the dump: else a machine that lacks something would disprove every dump there is.
//!
//! Records are read by whoever may list the store, so no reason ever holds a value out of the data.

use std::time::Instant;

use jiff::SignedDuration;

use super::Engine;
use super::compare::other_rows;
use super::restore::{How, differences, major, pour};
use crate::config::Job;
use crate::pipeline::inspect::Seen;
use crate::pipeline::manifest::{Format, Level, Manifest, Proof};
use crate::pipeline::openpgp::SecretKey;
use crate::pipeline::{restore, verify};
use crate::port::{Context, Meters, Store};
use crate::report::{Kind, Report, Result};
use crate::system::postgres::Postgres;
use crate::system::postgres::count::Soundness;
use crate::system::postgres::throwaway::{Throwaway, Wanted};

/// What the restored database is called, in a server that has no other.
const RESTORED: &str = "restored";

/// Most differences told of one dump.
const MOST: usize = 20;

/// Why a dump is not proven: at this level, for this reason.
type Disproof = (Level, String);

impl Engine {
    /// Proves a dump up to a level and keeps the record, whether it held or not; a proof that did not hold is `Kind::Refused`.
    pub fn prove(&self, job: &Job, manifest: &Manifest, level: Level, cx: &Context) -> Result<Proof> {
        let store = self.store(job, cx)?;
        let key = if level >= Level::L2 { Some(self.secret_key(job, cx)?) } else { None };
        let proof = match (&key, level) {
            (Some(key), Level::L5 | Level::L6) => self.rehearse(job, manifest, &*store, key, level, cx)?,
            (key, _) => verify::verify(manifest, &*store, key.as_ref(), level, cx)?,
        };
        verify::keep(proof, manifest, &*store, cx)
    }

    /// Proves what a run has just made as far as its job wants (C4, C5): one that does not hold, or that could not be proven, fails the run.
    pub(super) fn prove_made(&self, job: &Job, made: &[Manifest], cx: &Context) -> Result<()> {
        let Some(level) = job.prove else { return Ok(()) };
        if self.ticket.is_some() || self.store(job, cx)?.reserved().is_some() {
            let words = "not proven: what was stored with a ticket can only be read where the rights are";
            cx.log.say("proof", &format!("{words}: lifeboat verify --job {} --latest --level {level}", job.name));
            return Ok(());
        }
        // The meters of the backup stay what they are.
        let cx = &Context { meters: Meters::default(), ..cx.clone() };
        let mut failed: Vec<Report> = Vec::new();
        for manifest in made {
            // Roles and tablespaces are no database.
            let level = if manifest.format == Format::Globals { level.min(Level::L4) } else { level };
            match self.prove(job, manifest, level, cx) {
                Ok(proof) => cx.log.say("proof", &format!("{} holds at {level}, proven in {:#}", manifest.object, rounded(proof.took))),
                Err(report) if report.kind == Kind::Cancelled => return Err(report),
                Err(report) => failed.push(report),
            }
        }
        failed.sort_by_key(|report| report.kind != Kind::Refused);
        let mut failed = failed.into_iter();
        let Some(first) = failed.next() else { return Ok(()) };
        let what = if first.kind == Kind::Refused { "it was made, and it is no good" } else { "it was made, and could not be proven" };
        let report = first.under(format!("{}: {what}", job.title));
        Err(failed.fold(report, |report, other| other.causes.into_iter().fold(report.cause(other.message), Report::cause)))
    }

    /// L5 and L6. The cheap questions come first; the rest of L1 to L4 is asked in the same pass that feeds the server.
    fn rehearse(&self, job: &Job, manifest: &Manifest, store: &dyn Store, key: &SecretKey, level: Level, cx: &Context) -> Result<Proof> {
        let began = Instant::now();
        can_be_rehearsed(job, manifest, level)?;
        let opens = verify::verify(manifest, store, Some(key), Level::L2, cx)?;
        if !opens.held {
            return Ok(opens);
        }
        let cannot = |report: Report| report.under(format!("{} could not be proven at {level}", manifest.object));
        let server = self.throwaway(job, manifest, cx).map_err(cannot)?;
        cx.log.say("proof", &format!("{} goes into a throwaway PostgreSQL {}", manifest.object, server.version()));
        let disproof = match restored(manifest, store, key, &server, cx) {
            Ok(seen) => examine(job, manifest, &seen, server.postgres(), level, cx).map_err(cannot)?,
            Err(report) => Some(blame(report, manifest, store, key, &server, cx).map_err(cannot)?),
        };
        let asserted = || job.asserts.iter().map(|assertion| assertion.title.clone()).collect();
        let (level, reason) = disproof.map_or((level, None), |(level, reason)| (level, Some(reason)));
        let proof = verify::ended(manifest, level, reason, began);
        Ok(Proof {
            server: (level >= Level::L5).then(|| server.version().to_owned()),
            asserted: if proof.held && level == Level::L6 { asserted() } else { Vec::new() },
            ..proof
        })
    }

    fn throwaway(&self, job: &Job, manifest: &Manifest, cx: &Context) -> Result<Throwaway> {
        let proving = &self.inventory.proving;
        let system = self.inventory.system(&job.system)?.postgres();
        // Those behind a prefix are at its far end.
        let near = if system.through.is_none() { system.bin.as_slice() } else { &[] };
        let bin = [near, &proving.bin].concat();
        let wanted = Wanted {
            major: major(&manifest.origin.server_version),
            load: manifest.plain.bytes,
            parent: &proving.directory(),
            bin: &bin,
            settings: &proving.settings,
        };
        Throwaway::start(wanted, cx)
    }
}

fn can_be_rehearsed(job: &Job, manifest: &Manifest, level: Level) -> Result<()> {
    if manifest.format == Format::Globals {
        return Err(Report::usage(format!("{} holds the roles and tablespaces of a server: it can be proven up to L4", manifest.object))
            .hint(format!("lifeboat verify {} --level L4", manifest.object)));
    }
    if level == Level::L6 && job.asserts.is_empty() {
        return Err(Report::usage(format!("L6 proves the assertions of job {}, and it has none", job.name))
            .hint(format!(
                "[[job.{}.assert]]\n    title = \"there are orders\"\n    query = \"SELECT count(*) > 0 FROM orders\"\n    equals = true",
                job.name
            ))
            .hint("--level L5 needs none"));
    }
    Ok(())
}

/// Restores as every restore does, by the same code.
fn restored(manifest: &Manifest, store: &dyn Store, key: &SecretKey, server: &Throwaway, cx: &Context) -> Result<Seen> {
    // Whoever the dump names owns what it owned; nobody logs in here.
    let how = How { create_roles: true, ..How::default() };
    let (stream, seen) = restore::open_counted(manifest, store, key, cx)?;
    pour(server.postgres(), manifest, key, (stream, seen.clone()), RESTORED, &how, None, cx)?;
    Ok(seen)
}

/// Everything counted is there, every row is one of the dump's, nothing in it is unproven, and what the job asserts holds.
fn examine(job: &Job, manifest: &Manifest, seen: &Seen, postgres: &Postgres, level: Level, cx: &Context) -> Result<Option<Disproof>> {
    let mut found = differences(manifest, &postgres.count(RESTORED, cx)?);
    let announced = seen.contents().map_or(0, |contents| contents.unvalidated);
    found.extend(unsound(&postgres.soundness(RESTORED, cx)?, announced));
    if found.is_empty() {
        // The server is of the dump's own major version, so what it writes must be what was dumped, to the byte.
        found = other_rows(postgres, manifest, seen, &|_| true, RESTORED, cx)?;
    }
    if !found.is_empty() {
        return Ok(Some((Level::L5, told(&found))));
    }
    if level < Level::L6 {
        return Ok(None);
    }
    let mut failing = Vec::new();
    for assertion in &job.asserts {
        if let Some(why) = postgres.assert(RESTORED, assertion, cx)? {
            failing.push(format!("{}: {why}", assertion.title));
        }
    }
    Ok((!failing.is_empty()).then(|| (Level::L6, told(&failing))))
}

/// Why a restore failed. A dump that is damaged lower down fails in a server's odd words or not at all, so it is read alone first; what only a
/// server can see is L5, and what only this machine lacks is an error.
fn blame(report: Report, manifest: &Manifest, store: &dyn Store, key: &SecretKey, server: &Throwaway, cx: &Context) -> Result<Disproof> {
    if report.kind == Kind::Cancelled || cx.cancel.is_cancelled() {
        return Err(Report::cancelled());
    }
    let below = verify::verify(manifest, store, Some(key), Level::L4, cx)?;
    if !below.held {
        return Ok((below.level, below.reason.unwrap_or_default()));
    }
    let lines: Vec<&str> = std::iter::once(report.message.as_str()).chain(report.causes.iter().flat_map(|cause| cause.lines())).collect();
    let by_server = lines.iter().find_map(|line| line.split_once("ERROR:")).map(|(_, words)| words.trim().to_owned());
    let Some(complaint) = by_server.or_else(|| by_client(&lines)) else {
        // Nobody said anything about what was given.
        return Err(report);
    };
    if !server.answers(cx) {
        return Err(report.cause("the throwaway server is gone"));
    }
    if let Some(hint) = lacking(&lines) {
        return Err(Report::failed(format!("this machine cannot restore it: {complaint}")).hint(hint));
    }
    let place = lines.iter().find_map(|line| line.split_once("CONTEXT:")).map(|(_, words)| format!(" ({})", without_value(words.trim())));
    Ok((Level::L5, format!("it cannot be restored: {}{}", without_value(&complaint), place.unwrap_or_default())))
}

/// What psql or pg_restore could not make sense of, where it is not about getting to the server, or about themselves.
fn by_client(lines: &[&str]) -> Option<String> {
    const OF_THEMSELVES: [&str; 6] = ["connect", "server", "version", "memory", "No space", "could not open"];
    let own = |line: &&&str| line.starts_with("pg_restore: error:") || line.starts_with("psql:<stdin>");
    let line = lines.iter().filter(own).find(|line| !OF_THEMSELVES.iter().any(|sign| line.contains(sign)))?;
    line.split_once("error:").map(|(_, words)| words.trim().to_owned())
}

/// What a server says when it is not the dump that is to blame, and what to do then.
fn lacking(lines: &[&str]) -> Option<String> {
    const ROOM: &str = "give it more: [proof] path = \"/somewhere/larger\", or [proof.settings]";
    const INSTALL: &str = "install the extension for this major version: apt-get install postgresql-MAJOR-NAME";
    const PRELOAD: &str = "[proof.settings] shared_preload_libraries = \"…\"";
    // Both parts stand in the line.
    const SIGNS: [(&str, &str, &str); 14] = [
        ("No space left on device", "", ROOM),
        ("could not extend file", "", ROOM),
        ("Disk quota exceeded", "", ROOM),
        ("out of memory", "", ROOM),
        ("out of shared memory", "", ROOM),
        ("server closed the connection", "", ROOM),
        ("terminating connection", "", "look who ended the throwaway server's work, and try again"),
        ("extension", "control file", INSTALL),
        ("extension \"", "is not available", INSTALL),
        ("could not access file", "", INSTALL),
        ("shared_preload_libraries", "", PRELOAD),
        ("must be preloaded", "", PRELOAD),
        ("collation \"", "does not exist", "make the locale on this machine: locale-gen"),
        ("tablespace \"", "does not exist", "the dump names tablespaces that only its server has"),
    ];
    let of_role = |line: &str| line.contains("ERROR:") && line.contains("role \"") && line.contains("does not exist");
    if lines.iter().any(|line| of_role(line)) {
        return Some("the dump names roles that only its server has; dump without them, or prove it up to L4".into());
    }
    let complaint =
        |line: &&&str| line.contains("ERROR:") || line.contains("FATAL:") || line.contains("PANIC:") || line.contains("server closed");
    let found =
        lines.iter().filter(complaint).find_map(|line| SIGNS.iter().find(|(one, other, _)| line.contains(one) && line.contains(other)));
    found.map(|(.., hint)| (*hint).to_owned())
}

/// A server's words without the value they end in: `invalid input syntax for type integer: "x"`, `COPY t, line 3, column a: "x"`.
fn without_value(words: &str) -> String {
    let cut = [": \"", "=("].iter().filter_map(|sign| words.find(sign)).min();
    match cut {
        Some(at) => format!("{} …", &words[..at]),
        None => words.to_owned(),
    }
}

/// What a restore cannot have left behind. Constraints that are not validated are those the dump itself announces so, and no more.
fn unsound(soundness: &Soundness, announced: u64) -> Vec<String> {
    let mut found: Vec<String> = soundness.invalid_indexes.iter().map(|name| format!("the index {name} is not valid")).collect();
    if soundness.unvalidated.len() as u64 > announced {
        let names = soundness.unvalidated.join(", ");
        found.push(format!("{} constraints are not validated, the dump {announced}: {names}", soundness.unvalidated.len()));
    }
    found
}

/// In one line, clipped.
fn told(found: &[String]) -> String {
    let clean = |words: &String| words.chars().filter(|c| !c.is_control()).collect::<String>();
    let mut told: Vec<String> = found.iter().take(MOST).map(clean).collect();
    if found.len() > MOST {
        told.push(format!("and {} more", found.len() - MOST));
    }
    told.join("; ")
}

fn rounded(took: SignedDuration) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(took.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_failed_restore_holds_no_value_out_of_the_data() {
        let cases = [
            ("invalid input syntax for type integer: \"ada@example.org\"", "invalid input syntax for type integer …"),
            ("COPY customers, line 3, column email: \"ada@example.org\"", "COPY customers, line 3, column email …"),
            ("Key (email)=(ada@example.org) is duplicated.", "Key (email) …"),
            ("could not create unique index \"orders_pkey\"", "could not create unique index \"orders_pkey\""),
            ("invalid byte sequence for encoding \"UTF8\": 0xff", "invalid byte sequence for encoding \"UTF8\": 0xff"),
        ];
        for (words, told) in cases {
            assert_eq!(without_value(words), told);
        }
    }

    #[test]
    fn what_only_this_machine_lacks_is_not_the_dumps_fault() {
        let not_here = [
            "psql:<stdin>:20: ERROR:  could not open extension control file \"/usr/share/postgresql/15/extension/postgis.control\": No such file",
            "psql:<stdin>:20: ERROR:  extension \"postgis\" is not available",
            "pg_restore: error: could not execute query: ERROR:  role \"reporting\" does not exist",
            "ERROR:  could not extend file \"base/16384/16390\": No space left on device",
            "FATAL:  terminating connection due to administrator command",
            "ERROR:  collation \"de_DE.utf8\" for encoding \"UTF8\" does not exist",
        ];
        for line in not_here {
            assert!(lacking(&["psql exited with 3", line]).is_some(), "{line}");
        }
        let the_dumps = [
            "ERROR:  could not create unique index \"t_pkey\"",
            "ERROR:  insert or update on table \"a\" violates foreign key constraint \"b\"",
            "ERROR:  relation \"public.role\" does not exist",
            "ERROR:  invalid byte sequence for encoding \"UTF8\": 0xff",
        ];
        for line in the_dumps {
            assert_eq!(lacking(&["psql exited with 3", line]), None, "{line}");
        }
    }

    #[test]
    fn constraints_that_are_not_validated_are_those_the_dump_announces() {
        let found = Soundness { invalid_indexes: Vec::new(), unvalidated: vec!["c on public.t".into()] };
        assert!(unsound(&found, 1).is_empty());
        assert_eq!(unsound(&found, 0), ["1 constraints are not validated, the dump 0: c on public.t"]);
        let found = Soundness { invalid_indexes: vec!["public.i".into()], unvalidated: Vec::new() };
        assert_eq!(unsound(&found, 0), ["the index public.i is not valid"]);
    }
}
