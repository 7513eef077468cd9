//! The swap and its way back, by hand: the live database's name is typed to confirm, `--yes` is not enough.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use postgres_protocol::escape::escape_literal;

use super::plain::Teletype;
use super::world::World;
use super::{Common, backup, plain};
use crate::report::{Kind, Result};
use crate::run::engine::Counted;
use crate::run::{self, Live};
use crate::runbook::plan::{Action, Check, Probe, Step, Verify, Work};
use crate::system::postgres::kept::{self, Mark};
use crate::system::postgres::swap;

/// A restored database takes the live one's name. It is counted table by table against its dump first.
#[derive(Debug, Args)]
pub struct Swap {
    /// The system, as the configuration names it
    system: String,
    /// The database users know by its name
    live: String,
    /// The restored database
    staged: String,
    /// The name the old database is kept under; LIVE_until_TIME where none is given
    #[arg(long, value_name = "DB")]
    keep_as: Option<String>,
    /// Until when the old database is kept, a day or `7d`; as `keep_replaced` of [environment] says, or 7 days. Nothing drops it then by
    /// itself: `lifeboat kept drop` does
    #[arg(long, value_name = "DATE")]
    keep_until: Option<String>,
    /// Also one that has the rows of some tables only (`restore --table`)
    #[arg(long)]
    partial: bool,
    /// Without counting it against the dump it says it was restored from, where it was changed on purpose since
    #[arg(long)]
    uncounted: bool,
}

/// Take a swap back.
#[derive(Debug, Args)]
pub struct Unswap {
    /// The system, as the configuration names it
    system: String,
    /// The database users know by its name
    live: String,
    /// The name that the database in its place goes back to
    staged: String,
    /// The old database, under the name it was kept by
    #[arg(long, value_name = "DB")]
    kept: String,
}

impl Swap {
    pub fn run(self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let Swap { system, live, staged, keep_as, keep_until, partial, uncounted } = self;
        let keep_as = keep_as.unwrap_or_else(|| kept::name(&live, Timestamp::now()));
        // Refused before anybody is asked; and again when it is done.
        let swap = swap::Swap { live: &live, staged: &staged, keep_as: &keep_as, partial };
        world.engine.may_swap(&system, swap, keep_until.as_deref(), &world.cx)?;
        count(&world, &system, &staged, uncounted)?;
        let title = format!("{staged} becomes {live}; the old {live} is kept as {keep_as}");
        let verify = swapped(&world, &system, swap)?;
        let danger = live.clone();
        walk(&world, "swap", &title, Work::Swap { system, live, staged, keep_as, keep_until, partial }, verify, danger, common)
    }
}

impl Unswap {
    pub fn run(self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let Unswap { system, live, staged, kept } = self;
        let back = swap::Swap::back(&live, &staged, &kept);
        world.engine.may_unswap(&system, back, &world.cx)?;
        let title = format!("{kept} becomes {live} again; the one in its place goes back to {staged}");
        let verify = swapped(&world, &system, back)?;
        let danger = live.clone();
        walk(&world, "unswap", &title, Work::Unswap { system, live, staged, kept }, verify, danger, common)
    }
}

/// Counts the staged database against its dump, or says why that is not done.
fn count(world: &World, system: &str, staged: &str, uncounted: bool) -> Result<()> {
    let counted = if uncounted {
        Counted::Unknown("--uncounted".into())
    } else {
        plain::say(&format!("{staged} is counted against its dump …"));
        let retry = "was it changed on purpose? --uncounted swaps it as it is";
        world.engine.count_staged(system, staged, &world.cx).map_err(|report| match report.kind {
            Kind::Refused => report.hint(retry),
            _ => report,
        })?
    };
    plain::say(&match counted {
        Counted::Whole(words) => format!("{staged} holds what {words}"),
        Counted::Unknown(why) => format!("BEWARE: {staged} was not counted: {why}"),
    });
    Ok(())
}

/// One dangerous piece of work, confirmed by typing a name.
pub fn walk(world: &World, id: &str, title: &str, work: Work, verify: Verify, danger: String, common: &Common) -> Result<ExitCode> {
    let plan = backup::plan(world, id, title, work, verify, Some(danger))?;
    let live = run::start(&world.runs(), plan, false, Timestamp::now(), world.crew(Teletype), &world.cx)?;
    conclude(world, &live, common)
}

/// The end of a run that may have been a swap by hand: then the way back is told.
pub fn conclude(world: &World, live: &Live, common: &Common) -> Result<ExitCode> {
    let code = world.conclude(live, common)?;
    if let [Step { action: Action::Job(Work::Swap { system, live, staged, keep_as, .. }), .. }] = live.plan().steps.as_slice() {
        let command = ["lifeboat", "unswap", system, live, staged, "--kept", keep_as];
        plain::say(&format!("to take it back: {}", shell_words::join(command)));
    }
    Ok(code)
}

/// What can be seen of a swap that was made: databases of these names may be there without one, so what was put aside is asked what it is.
fn swapped(world: &World, system: &str, swap: swap::Swap<'_>) -> Result<Verify> {
    let swap::Swap { live, staged, keep_as, .. } = swap;
    let maintenance = &world.inventory.system(system)?.postgres().maintenance;
    let check = |title: String, database: &str, query: String, equals: &str| Check {
        title,
        probe: Probe::Sql { system: system.to_owned(), database: Some(database.to_owned()), query, equals: equals.to_owned() },
        within: None,
    };
    let gone = format!("SELECT count(*) FROM pg_database WHERE datname = {}", escape_literal(staged));
    Ok(Verify::Checks(vec![
        check(format!("{staged} is nobody's name any more"), maintenance, gone, "0"),
        check(format!("{keep_as} says it was {live} until {staged} came"), maintenance, Mark::question(keep_as, live, staged), "yes"),
        check(format!("{live} is there"), live, "SELECT current_database()".into(), live),
    ]))
}
