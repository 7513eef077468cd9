//! What the retention of a job lets go: shown, and removed where that is wanted.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::world::World;
use super::{Common, dumps, plain, print};
use crate::pipeline::retention::{self, Verdict};
use crate::report::{Report, Result};

/// Show which dumps of a job may go by its `retention`, and why the others stay. Removes them only with --apply.
///
/// Nothing goes while anything is doubtful: a manifest that cannot be read, a clock that cannot be right, a newest dump that has shrunk,
/// fewer proven dumps than `verified` asks for.
#[derive(Debug, Args)]
pub struct Prune {
    /// The job, as the configuration names it
    job: String,
    /// Remove what may go
    #[arg(long)]
    apply: bool,
    /// The copies in the replica of the job's store, by the job's `replica_retention`. A copy of a proven dump counts as proven
    #[arg(long)]
    replica: bool,
}

impl Prune {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let job = world.inventory.job(&self.job)?;
        let (rule, policy) = if self.replica { ("replica_retention", &job.replica_retention) } else { ("retention", &job.retention) };
        let policy = policy.as_ref().ok_or_else(|| {
            Report::usage(format!("the job {} has no {rule}: its dumps stay for ever", job.name))
                .hint(format!("[job.{}.{rule}]\n    age = \"180d\"", job.name))
        })?;
        let (store, listing) = if self.replica {
            world.engine.replicated_dumps(job, &world.cx)?
        } else {
            (world.engine.store(job, &world.cx)?, world.engine.listing(&job.name, &world.cx)?)
        };
        let verdicts = retention::decide(&listing, &job.name, policy, Timestamp::now())?;
        let mut gone = Vec::new();
        let outcome = if self.apply {
            retention::apply(
                &verdicts,
                &*store,
                |dump| {
                    plain::say(&format!("removed {}", dump.manifest.object));
                    gone.push(dump.manifest.object.clone());
                },
                &world.cx,
            )
        } else {
            Ok(())
        };
        self.tell(&verdicts, &gone, common)?;
        outcome.map(|()| ExitCode::SUCCESS)
    }

    fn tell(&self, verdicts: &[Verdict<'_>], gone: &[String], common: &Common) -> Result<()> {
        let may_go = verdicts.iter().filter(|verdict| verdict.may_go()).count();
        if common.json {
            let row = |verdict: &Verdict<'_>| {
                let stays: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
                let manifest = &verdict.dump.manifest;
                let disproven = verdict.dump.disproven().map(|proof| proof.level);
                serde_json::json!({
                    "dump": manifest.object, "snapshot_at": manifest.snapshot_at, "stays": stays, "may_go": verdict.may_go(),
                    "disproven": disproven,
                })
            };
            let rows: Vec<_> = verdicts.iter().map(row).collect();
            return print::json(&serde_json::json!({ "job": self.job, "may_go": may_go, "removed": gone.len(), "dumps": rows }));
        }
        // What was removed was told; the table is of what is there.
        let there = verdicts.iter().filter(|verdict| !gone.contains(&verdict.dump.manifest.object));
        print::table(&["DUMP", "AGE", "SIZE", "PROVEN", "STAYS"], &there.map(row).collect::<Vec<_>>())?;
        plain::say(&match (may_go, self.apply) {
            (0, _) => "every dump stays".to_owned(),
            (count, true) => format!("{} of {count} removed", gone.len()),
            (count, false) => {
                format!("{count} may go: lifeboat prune {}{} --apply", self.job, if self.replica { " --replica" } else { "" })
            }
        });
        Ok(())
    }
}

fn row(verdict: &Verdict<'_>) -> Vec<String> {
    let manifest = &verdict.dump.manifest;
    let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    let stays = if verdict.may_go() { "may go".to_owned() } else { reasons.join(", ") };
    let age = dumps::age(Timestamp::now().duration_since(manifest.snapshot_at));
    vec![manifest.object.clone(), age, print::size(manifest.stored.bytes), dumps::proven(verdict.dump), stays]
}
