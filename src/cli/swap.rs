//! The swap and its way back, by hand: the live database's name is typed to confirm, `--yes` is not enough.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::plain::Teletype;
use super::world::World;
use super::{Common, backup};
use crate::report::Result;
use crate::run;
use crate::runbook::plan::{Check, Probe, Verify, Work};

/// A restored database takes the live one's name.
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
        let Swap { system, live, staged, keep_as, keep_until, partial } = self;
        let stamp = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M").to_string();
        let keep_as = keep_as.unwrap_or_else(|| format!("{live}_until_{stamp}"));
        let title = format!("{staged} becomes {live}; the old {live} is kept as {keep_as}");
        let verify = there(&system, [&keep_as, &live]);
        let danger = live.clone();
        walk("swap", &title, Work::Swap { system, live, staged, keep_as, keep_until, partial }, verify, danger, common)
    }
}

impl Unswap {
    pub fn run(self, common: &Common) -> Result<ExitCode> {
        let Unswap { system, live, staged, kept } = self;
        let title = format!("{kept} becomes {live} again; the one in its place goes back to {staged}");
        let verify = there(&system, [&staged, &live]);
        let danger = live.clone();
        walk("unswap", &title, Work::Unswap { system, live, staged, kept }, verify, danger, common)
    }
}

/// One dangerous piece of work, confirmed by typing a name.
pub fn walk(id: &str, title: &str, work: Work, verify: Verify, danger: String, common: &Common) -> Result<ExitCode> {
    let world = World::open(common)?;
    let plan = backup::plan(&world, id, title, work, verify, Some(danger))?;
    let live = run::start(&world.runs(), plan, false, Timestamp::now(), world.crew(Teletype), &world.cx)?;
    world.conclude(&live, common)
}

/// Both databases answer under the names they are to have.
fn there(system: &str, databases: [&String; 2]) -> Verify {
    let check = |database: &String| Check {
        title: format!("{database} is there"),
        probe: Probe::Sql {
            system: system.to_owned(),
            database: Some(database.clone()),
            query: "SELECT current_database()".into(),
            equals: database.clone(),
        },
        within: None,
    };
    Verify::Checks(databases.map(check).to_vec())
}
