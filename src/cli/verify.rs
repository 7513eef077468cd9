//! Proving dumps by hand or by schedule.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::world::World;
use super::{Common, dumps, plain, print};
use crate::pipeline::manifest::{Format, Level, Manifest, Proof};
use crate::report::{Kind, Report, Result};

/// Prove a dump up to a level and keep the record beside it.
///
/// L0 manifest and size · L1 the stored bytes match their hash · L2 the private key opens it · L3 decrypted and decompressed to its end, hash
/// matches · L4 parsed: its end is there, tables and rows as counted · L5 restored into a throwaway server of the major version it was made
/// of: rows, constraints, indexes · L6 the job's own assertions hold on the restored data.
///
/// Each level includes those below, only L2 leaves L1 out. L5 and L6 put the data in clear into [proof] path for as long as they take.
/// Exit 3 when a dump does not hold: the record then says at which level, and `latest` passes over it. What could not be told is another
/// exit code, and says nothing of the dump.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").args(["dump", "latest", "all", "unproven"]).required(true)))]
pub struct Verify {
    /// The dump's name or id, its time (2026-11-20T03:00Z), `latest`, or `before:TIME`
    dump: Option<String>,
    /// How far; for --latest, --all and --unproven as far as the job's `prove` says, where nothing is said here
    #[arg(long, value_parser = level, value_name = "L0…L6")]
    level: Option<Level>,
    /// The newest good dump of the job
    #[arg(long, requires = "job")]
    latest: bool,
    /// Every dump of the job, newest first, whatever was proven before
    #[arg(long, requires = "job")]
    all: bool,
    /// Every dump of the job that was not yet proven so far
    #[arg(long, requires = "job")]
    unproven: bool,
    /// The job that made it, where more than one could have
    #[arg(long)]
    job: Option<String>,
    /// The database, where the job dumps several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

fn level(text: &str) -> Result<Level, String> {
    let digits = text.strip_prefix(['L', 'l']).unwrap_or(text);
    digits.parse().ok().and_then(Level::from_number).ok_or_else(|| "expected L0 to L6".into())
}

/// What became of one dump.
#[derive(Serialize)]
struct Told {
    dump: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Report>,
}

impl Verify {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        world.stop_on_signals();
        if self.all || self.unproven {
            return self.many(&world, common);
        }
        let wanted = self.dump.as_deref().unwrap_or("latest");
        let (name, dump) =
            dumps::locate(&world, self.job.as_deref(), self.database.as_deref(), wanted, |name| format!("lifeboat verify {name}"))?;
        let job = world.inventory.job(&name)?;
        let manifest = world.engine.dump(&name, &dump, &world.cx)?.manifest;
        let level = self.level.or(job.prove.filter(|_| self.latest)).unwrap_or(Level::L4);
        let proof = world.engine.prove(job, &manifest, level, &world.cx)?;
        if common.json {
            print::json(&world.engine.dump(&name, &dump, &world.cx)?.proofs)?;
        } else {
            print::line(&words(&dump, &proof))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// One after the other; the worst of what came of them is the end.
    fn many(&self, world: &World, common: &Common) -> Result<ExitCode> {
        let job = world.inventory.job(self.job.as_deref().unwrap_or_default())?;
        let level = self.level.or(job.prove).unwrap_or(Level::L4);
        let listing = world.engine.listing(&job.name, &world.cx)?;
        listing.problems.iter().for_each(|problem| plain::tell(&problem.report));
        let mut told = Vec::new();
        for dump in &listing.dumps {
            let of_database = self.database.as_deref().is_none_or(|name| dump.manifest.database() == Some(name));
            let level = reachable(&dump.manifest, level);
            let known = self.unproven && dump.proven().is_some_and(|proof| proof.level >= level);
            if !of_database || known {
                continue;
            }
            let object = dump.manifest.object.clone();
            match world.engine.prove(job, &dump.manifest, level, &world.cx) {
                Err(report) if report.kind == Kind::Cancelled => return Err(report),
                Ok(proof) => {
                    if !common.json {
                        print::line(&words(&object, &proof))?;
                    }
                    told.push(Told { dump: object, proof: Some(proof), error: None });
                }
                Err(report) => {
                    plain::tell(&report);
                    told.push(Told { dump: object, proof: None, error: Some(report) });
                }
            }
        }
        if common.json {
            print::json(&told)?;
        }
        conclude(&told, &job.name, listing.problems.len(), self.unproven)
    }
}

/// Roles and tablespaces are no database that could be restored.
fn reachable(manifest: &Manifest, level: Level) -> Level {
    if manifest.format == Format::Globals { level.min(Level::L4) } else { level }
}

fn conclude(told: &[Told], job: &str, problems: usize, unproven: bool) -> Result<ExitCode> {
    let failed =
        |refused: bool| told.iter().filter(move |told| told.error.as_ref().is_some_and(|error| (error.kind == Kind::Refused) == refused));
    let (bad, unknown) = (failed(true).count(), failed(false).count());
    let total = told.len();
    if bad + problems > 0 {
        return Err(Report::refused(match (bad + problems, total + problems) {
            (1, 1) => "the only dump does not hold".to_owned(),
            (1, total) => format!("1 of {total} dumps does not hold"),
            (bad, total) => format!("{bad} of {total} dumps do not hold"),
        })
        .hint(format!("lifeboat dumps {job}")));
    }
    if unknown > 0 {
        return Err(Report::failed(format!("{unknown} of {total} dumps could not be proven"))
            .hint(format!("lifeboat verify --job {job} --unproven")));
    }
    plain::say(&match (total, unproven) {
        (0, true) => "every dump is proven so far".to_owned(),
        (0, false) => "there is no dump to prove".to_owned(),
        (1, _) => "1 dump holds".to_owned(),
        (total, _) => format!("{total} dumps hold"),
    });
    Ok(ExitCode::SUCCESS)
}

/// `x.sql.gz.gpg: L5 holds (12 s, PostgreSQL 15.18)`
fn words(dump: &str, proof: &Proof) -> String {
    let server = proof.server.as_ref().map_or_else(String::new, |version| format!(", restored into PostgreSQL {version}"));
    let asserted = match proof.asserted.len() {
        0 => String::new(),
        1 => ", 1 assertion".to_owned(),
        count => format!(", {count} assertions"),
    };
    format!("{dump}: {} holds ({:.1} s{server}{asserted})", proof.level, proof.took.as_secs_f64())
}
