//! What can be restored, and how sure that is.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::world::World;
use super::{Common, plain, print};
use crate::config::Job;
use crate::pipeline::catalogue::Selector;
use crate::pipeline::manifest::Dump;
use crate::report::{Report, Result};

/// What can be restored.
#[derive(Debug, Args)]
pub struct Dumps {
    /// Only this job's
    job: Option<String>,
}

/// Prove a dump up to a level.
#[derive(Debug, Args)]
pub struct Verify {
    /// The dump's name, `latest`, or an instant
    dump: String,
    /// How far: 0 manifest and size, 1 stored hash, 2 the key opens it, 3 decrypted to the end, 4 parsed and counted
    #[arg(long, default_value = "4", value_parser = level, value_name = "L0…L4")]
    level: u8,
    /// The job that made it, where more than one could have
    #[arg(long)]
    job: Option<String>,
}

fn level(text: &str) -> Result<u8, String> {
    let digits = text.strip_prefix(['L', 'l']).unwrap_or(text);
    digits.parse().ok().filter(|level| *level <= 4).ok_or_else(|| "expected L0 to L4".into())
}

impl Dumps {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let mut dumps = Vec::new();
        for job in meant(&world, self.job.as_deref())? {
            let listing = world.engine.listing(&job.name, &world.cx)?;
            listing.problems.iter().for_each(|problem| plain::tell(&problem.report));
            dumps.extend(listing.dumps);
        }
        if common.json {
            let rows: Vec<_> = dumps.iter().map(|dump| serde_json::json!({ "manifest": dump.manifest, "proofs": dump.proofs })).collect();
            print::json(&rows)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<String>> = dumps.iter().map(row).collect();
        print::table(&["DUMP", "JOB", "AGE", "SIZE", "ROWS", "PROVEN"], &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn row(dump: &Dump) -> Vec<String> {
    let manifest = &dump.manifest;
    let proven = dump.proven().map_or("not yet".into(), |proof| proof.level.to_string());
    let age = age(Timestamp::now().duration_since(manifest.snapshot_at));
    vec![manifest.object.clone(), manifest.job.clone(), age, print::size(manifest.stored.bytes), manifest.rows().to_string(), proven]
}

/// `45s`, `12m`, `5h`, `3d`.
fn age(age: SignedDuration) -> String {
    match age.as_secs() {
        ..60 => format!("{}s", age.as_secs()),
        60..3600 => format!("{}m", age.as_mins()),
        3600..172_800 => format!("{}h", age.as_hours()),
        _ => format!("{}d", age.as_hours() / 24),
    }
}

impl Verify {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let (job, dump) = locate(&world, self.job.as_deref(), &self.dump)?;
        world.engine.verify(&job, &dump, self.level, &world.cx)?;
        if common.json {
            print::json(&world.engine.dump(&job, &dump, &world.cx)?.proofs)?;
        } else {
            print::line(&format!("{dump}: L{} holds", self.level))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The job of that name; every one that is present where none is named.
fn meant<'a>(world: &'a World, job: Option<&str>) -> Result<Vec<&'a Job>> {
    match job {
        Some(name) => Ok(vec![world.inventory.job(name)?]),
        None => Ok(world.inventory.present().collect()),
    }
}

/// Which job's dump is meant, and its name.
pub fn locate(world: &World, job: Option<&str>, wanted: &str) -> Result<(String, String)> {
    let selector = Selector::parse(wanted);
    let jobs = meant(world, job)?;
    if jobs.len() > 1 && !matches!(selector, Selector::Name(_)) {
        let names = jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(" | ");
        return Err(Report::usage(format!("{wanted} could mean a dump of several jobs")).hint(format!("--job {names}")));
    }
    let mut nowhere: Option<Report> = None;
    for job in jobs {
        let listing = world.engine.listing(&job.name, &world.cx)?;
        match listing.pick(&selector, None, Timestamp::now()) {
            Ok(picked) => return Ok((job.name.clone(), picked.dump.manifest.object.clone())),
            // It is there, and something is wrong with it: that says more than that it is no other job's.
            Err(report) if listing.problems.iter().any(|problem| problem.object == wanted) => return Err(report),
            Err(report) => match &mut nowhere {
                Some(known) => known.hints.extend(report.hints),
                None => nowhere = Some(report),
            },
        }
    }
    Err(nowhere.unwrap_or_else(|| Report::usage("the configuration has no job")))
}

/// Is there a good, young, proven dump of every job?
pub fn status(common: &Common) -> Result<ExitCode> {
    let world = World::open(common)?;
    let mut alarms = 0;
    let mut rows = Vec::new();
    for job in world.inventory.present() {
        let listing = world.engine.listing(&job.name, &world.cx);
        let picked = listing.as_ref().map_err(Clone::clone).and_then(|listing| listing.pick(&Selector::Latest, None, Timestamp::now()));
        let (word, name, detail) = match (&listing, picked) {
            (Err(report), _) => ("UNKNOWN", String::new(), report.to_string()),
            (Ok(_), Err(report)) => ("NONE", String::new(), report.to_string()),
            (Ok(_), Ok(picked)) => judge(picked.dump, &picked.passed_over, job.max_age),
        };
        alarms += usize::from(word != "OK");
        rows.push((job.name.clone(), word, name, detail));
    }
    let total = rows.len();
    if common.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(job, word, dump, detail)| serde_json::json!({ "job": job, "state": word, "dump": dump, "detail": detail }))
            .collect();
        print::json(&rows)?;
    } else {
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(job, word, dump, detail)| vec![job, word.into(), dump, detail]).collect();
        print::table(&["JOB", "STATE", "NEWEST DUMP", "DETAIL"], &rows)?;
    }
    if alarms == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    plain::say(&format!("{alarms} of {total} jobs need attention"));
    Ok(ExitCode::from(crate::report::Kind::Refused.exit_code()))
}

/// The newest good dump, judged: what is newer and bad is an alarm too.
fn judge(dump: &Dump, passed_over: &[String], max_age: Option<SignedDuration>) -> (&'static str, String, String) {
    let name = dump.manifest.object.clone();
    let old = Timestamp::now().duration_since(dump.manifest.snapshot_at);
    let proven = dump.proven().map_or("not proven".into(), |proof| format!("proven {}", proof.level));
    let words = format!("{} old, {proven}", age(old));
    match (passed_over, max_age) {
        ([newer, ..], _) => ("BAD", name, format!("{words}; newer, but not good: {newer}")),
        ([], Some(limit)) if old > limit => ("OLD", name, format!("{words}; no older than {limit:#} is wanted")),
        ([], _) => ("OK", name, words),
    }
}
