//! What can be restored, and how sure that is.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::world::World;
use super::{Common, plain, print};
use crate::config::Job;
use crate::pipeline::catalogue::{Listing, Selector, minute};
use crate::pipeline::manifest::{Dump, Manifest};
use crate::report::{Report, Result};

/// What can be restored.
#[derive(Debug, Args)]
pub struct Dumps {
    /// Only this job's
    job: Option<String>,
}

impl Dumps {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let (mut dumps, mut partial) = (Vec::new(), Vec::new());
        // What cannot be read may be of any job, and is told once for its store.
        let mut told = BTreeSet::new();
        for job in meant(&world, self.job.as_deref())? {
            let listing = world.engine.listing(&job.name, &world.cx)?;
            let new = listing
                .problems
                .iter()
                .filter(|problem| told.insert((job.store.clone(), problem.object.clone(), problem.report.to_string())));
            new.for_each(|problem| plain::tell(&problem.report));
            partial.extend(self::partial(&listing));
            dumps.extend(listing.dumps);
        }
        if common.json {
            let row = |dump: &Dump| serde_json::json!({ "manifest": dump.manifest, "proofs": dump.proofs, "disproven": dump.disproven() });
            let rows: Vec<_> = dumps.iter().map(row).collect();
            print::json(&rows)?;
            return Ok(ExitCode::SUCCESS);
        }
        // Where there is only one database there is nothing to tell apart.
        let subjects: BTreeSet<_> = dumps.iter().map(|dump| dump.manifest.database()).collect();
        let several = subjects.len() > 1;
        let rows: Vec<Vec<String>> = dumps.iter().map(|dump| row(dump, several)).collect();
        let database: &[&str] = if several { &["DATABASE"] } else { &[] };
        print::table(&[&["DUMP", "JOB"], database, &["TAKEN", "AGE", "SIZE", "ROWS", "PROVEN"]].concat(), &rows)?;
        for words in partial {
            plain::say(&words);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a dump is of: a database, or the roles and tablespaces of its server.
fn subject(database: Option<&str>) -> String {
    database.map_or_else(|| "(globals)".to_owned(), |name| name.chars().filter(|c| !c.is_control()).collect())
}

/// Groups that lack a member, in words: their dumps are good, each for its own database.
fn partial(listing: &Listing) -> Vec<String> {
    let groups = listing.groups();
    let lacking = groups.iter().filter(|group| !group.missing.is_empty());
    let words = lacking.map(|group| {
        let missing: Vec<String> = group.missing.iter().map(|member| subject(member.database.as_deref())).collect();
        let there = group.dumps.iter().map(|dump| dump.manifest.object.as_str()).collect::<Vec<_>>().join(", ");
        format!("{there}: not to be restored as a group, {} is missing", missing.join(", "))
    });
    words.collect()
}

fn row(dump: &Dump, several: bool) -> Vec<String> {
    let manifest = &dump.manifest;
    let age = age(Timestamp::now().duration_since(manifest.snapshot_at));
    let mut row = vec![manifest.object.clone(), manifest.job.clone()];
    row.extend(several.then(|| subject(manifest.database())));
    row.extend([minute(manifest.snapshot_at), age, print::size(manifest.stored.bytes), manifest.rows().to_string(), proven(dump)]);
    row
}

/// How far it was proven; `NOT L1` where a proof failed that nothing took back: nobody restores such a dump by mistake.
pub fn proven(dump: &Dump) -> String {
    match (dump.disproven(), dump.proven()) {
        (Some(failed), _) => format!("NOT {}", failed.level),
        (None, Some(proof)) => proof.level.to_string(),
        (None, None) => "not yet".into(),
    }
}

/// `45s`, `12m`, `5h`, `3d`.
pub fn age(age: SignedDuration) -> String {
    match age.as_secs() {
        ..60 => format!("{}s", age.as_secs()),
        60..3600 => format!("{}m", age.as_mins()),
        3600..172_800 => format!("{}h", age.as_hours()),
        _ => format!("{}d", age.as_hours() / 24),
    }
}

/// The job of that name; every one that is present where none is named.
pub fn meant<'a>(world: &'a World, job: Option<&str>) -> Result<Vec<&'a Job>> {
    match job {
        Some(name) => Ok(vec![world.inventory.job(name)?]),
        None => Ok(world.inventory.present().collect()),
    }
}

/// Which job's dump is meant, and its name. Where there is no dump of a time, `command` says what to type for one that there is.
pub fn locate(
    world: &World,
    job: Option<&str>,
    database: Option<&str>,
    wanted: &str,
    command: impl Fn(&str) -> String,
) -> Result<(String, String)> {
    let (job, manifest) = search(world, job, database, wanted, command, |_| None)?;
    Ok((job, manifest.object))
}

/// The manifest of the dump that is meant, and its job. In each job, `sooner` may know it before the rules do that choose one dump.
fn search(
    world: &World,
    job: Option<&str>,
    database: Option<&str>,
    wanted: &str,
    command: impl Fn(&str) -> String,
    sooner: impl Fn(&Listing) -> Option<Manifest>,
) -> Result<(String, Manifest)> {
    let selector = Selector::parse(wanted)?;
    let jobs = meant(world, job)?;
    if jobs.len() > 1 && !matches!(selector, Selector::Name(_)) {
        let names = jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(" | ");
        return Err(Report::usage(format!("{wanted} could mean a dump of several jobs")).hint(format!("--job {names}")));
    }
    let mut nowhere: Option<Report> = None;
    let mut everywhere = Listing::default();
    for job in jobs {
        let listing = world.engine.listing(&job.name, &world.cx)?;
        if let Some(manifest) = sooner(&listing) {
            return Ok((job.name.clone(), manifest));
        }
        let database = world.engine.meant_database(job, database, &listing)?;
        match listing.pick(&selector, database.as_deref(), None, Timestamp::now()) {
            Ok(picked) => {
                // Whoever takes a dump must know which newer one was not good enough.
                picked.passed_over.iter().for_each(|words| plain::say(&format!("passed over {words}")));
                return Ok((job.name.clone(), picked.dump.manifest.clone()));
            }
            // It is there, and something is wrong with it: that says more than that it is no other job's.
            Err(report) if listing.problems.iter().any(|problem| problem.object == wanted) => return Err(report),
            Err(mut report) => {
                if let Selector::At(moment) = &selector {
                    let near = listing.neighbours(moment, database.as_deref()).into_iter().flatten();
                    report.hints.extend(near.map(|dump| command(&shell_words::quote(&dump.manifest.object))));
                }
                nowhere.get_or_insert(report);
                everywhere.join(listing);
            }
        }
    }
    // A name that no job knows: one answer, of all of them together.
    if let Selector::Name(_) = &selector
        && let Err(report) = everywhere.pick(&selector, database, None, Timestamp::now())
    {
        return Err(report);
    }
    Err(nowhere.unwrap_or_else(|| Report::usage("the configuration has no job")))
}

/// Which job's group is meant, and its id: said by the id itself, or by any of its dumps. `latest` is the group of the newest dump there is.
pub fn locate_group(
    world: &World,
    job: Option<&str>,
    database: Option<&str>,
    wanted: &str,
    command: impl Fn(&str) -> String,
) -> Result<(String, String)> {
    let is_newest = database.is_none() && Selector::parse(wanted)? == Selector::Latest;
    let sooner = |listing: &Listing| {
        let groups = listing.groups();
        let found = groups.iter().find(|together| is_newest || together.group.id == wanted)?;
        found.dumps.first().map(|dump| dump.manifest.clone())
    };
    let (job, manifest) = search(world, job, database, wanted, command, sooner)?;
    match manifest.group {
        Some(group) => Ok((job, group.id)),
        None => Err(Report::refused(format!("{} was made alone: it belongs to no group", manifest.object))
            .hint(format!("lifeboat restore {} --into DB", shell_words::quote(&manifest.object)))),
    }
}

/// Is there a good, young, proven dump of every job?
pub fn status(common: &Common) -> Result<ExitCode> {
    let world = World::open(common)?;
    let mut alarms = 0;
    let mut rows = Vec::new();
    for job in world.inventory.present() {
        for (name, word, dump, detail) in states(&world, job) {
            alarms += usize::from(word != "OK");
            rows.push((name, word, dump, detail));
        }
    }
    for store in world.engine.replicated() {
        // D7: a replica that cannot be looked at is not known to be fresh.
        let (word, newest, detail) = match world.engine.replica(&store, &world.cx) {
            Ok(found) => {
                let word = if found.comparison.is_fresh() { "OK" } else { "STALE" };
                (word, found.comparison.newest.clone().unwrap_or_default(), found.words())
            }
            Err(report) => ("UNKNOWN", String::new(), report.to_string()),
        };
        alarms += usize::from(word != "OK");
        rows.push((format!("replica of {store}"), word, newest, detail));
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
    plain::say(&format!("{alarms} of {total} need attention"));
    Ok(ExitCode::from(crate::report::Kind::Refused.exit_code()))
}

/// The state of a job: one for each database it dumped where there are several, and one more where the newest group lacks a member.
fn states(world: &World, job: &Job) -> Vec<(String, &'static str, String, String)> {
    let listing = match world.engine.listing(&job.name, &world.cx) {
        Ok(listing) => listing,
        Err(report) => return vec![(job.name.clone(), "UNKNOWN", String::new(), report.to_string())],
    };
    let of = |name: String, listing: &Listing, database: Option<&str>| {
        let (word, dump, detail) = match listing.pick(&Selector::Latest, database, None, Timestamp::now()) {
            Ok(picked) => judge(picked.dump, &picked.passed_over, job.max_age),
            Err(report) => ("NONE", String::new(), report.to_string()),
        };
        (name, word, dump, detail)
    };
    let groups = listing.groups();
    if !job.is_grouped() || groups.is_empty() {
        let meant = world.engine.meant_database(job, None, &listing).ok().flatten();
        return vec![of(job.name.clone(), &listing, meant.as_deref())];
    }
    // What the last run was to dump; a database that is gone since is no alarm.
    let newest = groups.first().map(|group| group.group.members.as_slice()).unwrap_or_default();
    let each = newest.iter().map(|member| {
        let database = member.database.as_deref();
        of(format!("{} {}", job.name, subject(database)), &listing.part(database), None)
    });
    let lacking = partial(&listing).into_iter().take(groups.first().map_or(0, |group| usize::from(!group.missing.is_empty())));
    let lacking = lacking.map(|words| (job.name.clone(), "PARTIAL", String::new(), words));
    each.chain(lacking).collect()
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
