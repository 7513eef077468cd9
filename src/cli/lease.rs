//! Who holds which database, and taking it away by decision.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::world::World;
use super::{Common, plain, print};
use crate::pipeline::lease::record::Standing;
use crate::pipeline::lease::{self, Card, record};
use crate::report::{Report, Result};

/// Who is backing up which database now: the leases in the stores.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Lease {
    /// Only the leases of this job
    job: Option<String>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Take a job's lease away from its holder, which then publishes nothing; the next backup may begin
    Take(Take),
}

/// Take a lease away.
#[derive(Debug, Args)]
struct Take {
    /// The job that holds it
    job: String,
    /// Why: it is kept in the store, and the holder is told
    #[arg(long)]
    reason: String,
}

impl Lease {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        match &self.act {
            None => self.show(&world, common),
            Some(Act::Take(take)) => take.run(&world, common),
        }
    }

    fn show(&self, world: &World, common: &Common) -> Result<ExitCode> {
        let mut cards = Vec::new();
        for name in world.stores(self.job.as_deref())? {
            let store = world.inventory.open_store(name, &world.cx)?;
            cards.extend(lease::list(&*store, self.job.as_deref(), &world.cx)?.into_iter().map(|card| (name, card)));
        }
        if common.json {
            print::json(&cards.iter().map(|(store, card)| json(store, card)).collect::<Vec<_>>())?;
        } else if cards.is_empty() {
            plain::say("no lease was ever taken");
        } else {
            print::table(&["STORE", "DATABASE", "JOB", "STATE", "HOLDER", "LAST WRITTEN"], &cards.iter().map(row).collect::<Vec<_>>())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `held`, `free`, or `run out`, the last by this host's clock: whoever takes a lease asks the store for its time.
fn state(card: &Card) -> &'static str {
    match (card.newest.until(), record::judge(Some(&card.newest), Timestamp::now())) {
        (None, _) => "free",
        (Some(_), Standing::Held(_)) => "held",
        (Some(_), Standing::Free) => "run out",
    }
}

fn row((store, card): &(&str, Card)) -> Vec<String> {
    let (database, job, holder) = match &card.newest.record {
        None => (card.place.clone(), "?".into(), "cannot be read".into()),
        Some(record) => {
            let until = card.newest.until().map_or_else(String::new, |until| format!(", until {until}"));
            let reason = record.reason.as_ref().map_or_else(String::new, |reason| format!(", taken away: {reason}"));
            let holder = format!("{} (process {}){until}{reason}", record.owner, record.process);
            (record.database.clone(), record.job.clone(), holder)
        }
    };
    vec![(*store).to_owned(), database, job, state(card).into(), holder, card.newest.modified.to_string()]
}

fn json(store: &str, card: &Card) -> serde_json::Value {
    let Card { place, newest } = card;
    serde_json::json!({
        "store": store, "place": place, "state": state(card), "epoch": newest.number, "modified": newest.modified,
        "until": newest.until(), "record": newest.record,
    })
}

impl Take {
    fn run(&self, world: &World, common: &Common) -> Result<ExitCode> {
        if self.reason.trim().is_empty() {
            return Err(Report::usage("a lease is not taken without a reason").hint("--reason \"db2 lost power\""));
        }
        let job = world.inventory.job(&self.job)?;
        let store = world.inventory.open_store(&job.store, &world.cx)?;
        let taken = lease::take_away(&*store, &job.name, &self.reason, &world.cx)?;
        if common.json {
            let rows = taken.iter().map(|taken| serde_json::json!({ "database": taken.database, "from": taken.from }));
            print::json(&rows.collect::<Vec<_>>())?;
        }
        for taken in &taken {
            plain::say(&format!("the lease of the database {} was taken from {}", taken.database, taken.from));
        }
        if taken.is_empty() {
            plain::say(&format!("nobody holds a lease for the job {}", job.name));
        }
        Ok(ExitCode::SUCCESS)
    }
}
