//! Whether replicas have what their stores have, and copying what they lack.

use std::process::ExitCode;

use clap::Args;

use super::world::World;
use super::{Common, plain, print};
use crate::report::{Kind, Report, Result};
use crate::run::replica::Replica as Found;

/// Is the copy of a store fresh? With --copy, what is missing is copied.
#[derive(Debug, Args)]
pub struct Replica {
    /// The store, as the configuration names it; without one, every store that has a replica
    store: Option<String>,
    /// Copy what is missing, every byte against the hash of record
    #[arg(long)]
    copy: bool,
}

impl Replica {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let names = self.store.clone().map_or_else(|| world.engine.replicated(), |name| vec![name]);
        if names.is_empty() {
            return Err(Report::usage("no store has a replica").hint("set `replica` in [store.NAME]"));
        }
        let mut found = Vec::new();
        for name in &names {
            let mut seen = world.engine.replica(name, &world.cx)?;
            if self.copy {
                for dump in world.engine.copy_missing(&seen, &world.cx)? {
                    plain::say(&format!("copied {dump} to {}", seen.replica));
                }
                seen = world.engine.replica(name, &world.cx)?;
            }
            found.push(seen);
        }
        tell(&found, common)?;
        let fresh = found.iter().all(|replica| replica.comparison.is_fresh());
        Ok(if fresh { ExitCode::SUCCESS } else { ExitCode::from(Kind::Refused.exit_code()) })
    }
}

fn tell(found: &[Found], common: &Common) -> Result<()> {
    if common.json {
        return print::json(&found);
    }
    let row = |replica: &Found| {
        let word = if replica.comparison.is_fresh() { "OK" } else { "STALE" };
        let newest = replica.comparison.newest.clone().unwrap_or_default();
        vec![replica.store.clone(), replica.replica.clone(), word.into(), newest, replica.words()]
    };
    print::table(&["STORE", "REPLICA", "STATE", "NEWEST THERE", "DETAIL"], &found.iter().map(row).collect::<Vec<_>>())?;
    for lack in found.iter().flat_map(|replica| &replica.comparison.stale) {
        let why = lack.why.as_ref().map_or("not there", String::as_str);
        plain::say(&format!("{} of {}, since {}: {why}", lack.dump, lack.job, lack.since));
    }
    Ok(())
}
