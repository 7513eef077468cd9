//! What backups that did not end have left in the stores: shown, and removed where that is wanted.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::world::World;
use super::{Common, plain, print};
use crate::pipeline::catalogue::{self, Swept};
use crate::report::Result;

/// Find what killed backups left in a store: objects without a manifest, uploads never completed. Shows it; removes it with --apply.
#[derive(Debug, Args)]
pub struct Sweep {
    /// Only the store of this job
    job: Option<String>,
    /// Remove it
    #[arg(long)]
    apply: bool,
    /// Leave what is younger than this: longer than any backup may take
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = grace)]
    grace: SignedDuration,
}

fn grace(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(time) if time.is_negative() => Err("a time that is not negative".into()),
        Ok(time) => Ok(time),
        Err(_) => Err("expected a time like 24h or 90m".into()),
    }
}

impl Sweep {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        // What has no manifest is of no job: a store is swept as a whole, and once.
        let mut swept = Vec::new();
        for name in world.stores(self.job.as_deref())? {
            let store = world.inventory.open_store(name, &world.cx)?;
            let found = catalogue::sweep(&*store, self.grace, Timestamp::now(), self.apply, &world.cx)?;
            swept.extend(found.into_iter().map(|found| (name, found)));
        }
        self.tell(&swept, common)?;
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, swept: &[(&str, Swept)], common: &Common) -> Result<()> {
        if common.json {
            let rows: Vec<_> = swept
                .iter()
                .map(|(store, found)| {
                    serde_json::json!({ "store": store, "key": found.key, "why": found.why, "since": found.since, "removed": self.apply })
                })
                .collect();
            return print::json(&rows);
        }
        if !swept.is_empty() {
            let row =
                |(store, found): &(&str, Swept)| vec![(*store).to_owned(), found.key.clone(), found.since.to_string(), found.why.into()];
            print::table(&["STORE", "KEY", "SINCE", "WHAT IT IS"], &swept.iter().map(row).collect::<Vec<_>>())?;
        }
        plain::say(&match (swept.len(), self.apply) {
            (0, _) => "nothing to sweep".to_owned(),
            (count, true) => format!("{count} removed"),
            (count, false) => format!("{count} to remove: lifeboat sweep --apply"),
        });
        Ok(())
    }
}
