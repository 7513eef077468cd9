//! A runbook on paper.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use super::{Common, print};
use crate::cli::world::World;
use crate::report::{Kind, Result};
use crate::run;
use crate::runbook::doc;

/// A runbook on paper.
#[derive(Debug, Args)]
pub struct Doc {
    /// The runbook's id; or a run's, for what is left of it
    runbook: String,
}

impl Doc {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        if world.library()?.source(&self.runbook).is_some() {
            let draft = world.draft(&self.runbook)?;
            print::text(&doc::markdown(draft.outline()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let kept = match run::read(&world.runs(), &self.runbook) {
            // Neither a runbook nor a run: it was meant as a runbook, and whoever knows them says which one.
            Err(report) if report.kind == Kind::Usage => return Err(world.draft(&self.runbook).err().unwrap_or(report)),
            kept => kept?,
        };
        let outputs: BTreeMap<_, _> = kept.state.steps.iter().map(|step| (step.id.clone(), step.outputs.clone())).collect();
        print::text(&doc::paper(&kept.plan, kept.state.next().unwrap_or(kept.plan.steps.len()), &outputs))?;
        Ok(ExitCode::SUCCESS)
    }
}
