//! A ticket for a worker without rights: made here, where the rights are; spent with `backup --ticket`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::SignedDuration;

use super::world::World;
use super::{Common, plain, print};
use crate::report::{Explain, Report, Result};
use crate::run::ticket::Wish;
use crate::store::ticket::Ticket as Signed;

/// Make a ticket: leave to store one dump, for a worker that has no rights of its own.
#[derive(Debug, Args)]
pub struct Ticket {
    /// The job, as the configuration names it
    job: String,
    /// Valid for so long; else twice the longest of the last ten dumps, and half an hour
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    for_minutes: Option<u32>,
    /// Most bytes the dump may have, up to 5 GiB; else twice the largest of the last ten, and some room
    #[arg(long, value_name = "BYTES")]
    max_size: Option<u64>,
}

impl Ticket {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let wish = Wish { life: self.for_minutes.map(|minutes| SignedDuration::from_mins(minutes.into())), limit: self.max_size };
        let (ticket, terms) = world.engine.ticket(&self.job, wish, &world.cx)?;
        plain::say(&format!("{}: {}", ticket.name, terms.why));
        plain::say("whoever has this ticket can store that one dump until then: hand it over like a password");
        print::json(&ticket)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The ticket in a file, or on standard input where that is `-`.
pub fn read(path: &Path) -> Result<Signed> {
    if path != Path::new("-") {
        return Signed::read(path);
    }
    let mut text = String::new();
    // A ticket has a few kilobytes.
    std::io::stdin().take(1 << 20).read_to_string(&mut text).explain(|| "reading the ticket from standard input".into())?;
    Signed::parse(&text)
}

/// The world with a ticket in it, for this job of this environment.
pub fn spend(mut world: World, ticket: Signed, job: &str, spool: Option<PathBuf>) -> Result<World> {
    if ticket.job != job {
        return Err(
            Report::usage(format!("the ticket is for the job {}, not for {job}", ticket.job)).hint(format!("lifeboat ticket {job}"))
        );
    }
    let environment = &world.inventory.environment.name;
    if ticket.environment != *environment {
        return Err(Report::refused(format!("the ticket is for the environment {}, and this is {environment}", ticket.environment))
            .hint("make the ticket with the configuration of this environment"));
    }
    let spool = spool.unwrap_or_else(std::env::temp_dir);
    world.engine = world.engine.with_ticket(ticket, spool);
    Ok(world)
}
