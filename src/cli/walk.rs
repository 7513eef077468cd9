//! Walking a runbook and going on with one.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::plain::Teletype;
use super::world::{World, attended};
use super::{Common, home, print, swap};
use crate::report::{Report, Result};
use crate::run::person::Unattended;
use crate::run::{self, Crew};
use crate::runbook::doc;
use crate::runbook::plan::Plan;

/// A parameter of this name says when the incident began; the recovery clock starts there.
const INCIDENT_AT: &str = "incident_at";

/// Walk a runbook.
#[derive(Debug, Args)]
pub struct Run {
    /// Its id; `lifeboat check` lists them
    runbook: String,
    /// A parameter of the runbook, again for more of them; `lifeboat doc RUNBOOK` lists them
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    how: How,
    /// A drill: steps marked so are simulated or skipped, production is refused
    #[arg(long)]
    drill: bool,
    /// Print every step with its exact commands and do nothing
    #[arg(long = "dry-run")]
    show_only: bool,
}

/// Go on where a run stopped.
#[derive(Debug, Args)]
pub struct Resume {
    /// The run: any unambiguous part of its id; `latest` is the newest, or where that is over the only one that waits
    #[arg(default_value = "latest")]
    run: String,
    #[command(flatten)]
    how: How,
}

/// Who answers, and where.
#[derive(Clone, Copy, Debug, Args)]
pub struct How {
    /// Line by line, without the screen
    #[arg(long)]
    pub plain: bool,
    /// Nobody is there: answer what is safe to answer, park at everything else
    #[arg(long)]
    pub yes: bool,
}

impl How {
    /// The screen is wanted, and there is a terminal for it.
    pub fn screen(self) -> bool {
        !self.plain && !self.yes && attended()
    }

    /// Who answers where there is no screen.
    pub fn crew(self, world: &World) -> Crew {
        if self.yes { world.crew(Unattended { boxed: world.boxed() }) } else { world.crew(Teletype) }
    }
}

impl Run {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        let plan = world.plan(&self.runbook, &self.values()?)?;
        if self.show_only {
            print::text(&doc::markdown(&plan))?;
            return Ok(ExitCode::SUCCESS);
        }
        let incident_at = incident_at(&plan);
        if self.how.screen() {
            return home::walk(world, plan, self.drill, incident_at);
        }
        let crew = self.how.crew(&world);
        let live = run::start(&world.runs(), plan, self.drill, incident_at, crew, &world.cx)?;
        world.conclude(&live, common)
    }

    fn values(&self) -> Result<BTreeMap<String, String>> {
        let mut values = BTreeMap::new();
        for (name, value) in &self.set {
            if values.insert(name.clone(), value.clone()).is_some() {
                return Err(Report::usage(format!("--set {name} is given twice")).hint(format!("--set {name}={value}, once")));
            }
        }
        Ok(values)
    }
}

impl Resume {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        if self.how.screen() {
            return home::resume(world, &self.run);
        }
        let crew = self.how.crew(&world);
        let live = run::resume(&world.runs(), &self.run, &world.inventory.environment.name, crew, &world.cx)?;
        swap::conclude(&world, &live, common)
    }
}

/// When the incident began, as far as the plan's parameters know.
pub fn incident_at(plan: &Plan) -> Timestamp {
    plan.values.get(INCIDENT_AT).and_then(|text| text.parse().ok()).unwrap_or(plan.surroundings.started_at)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}
