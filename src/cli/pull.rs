//! A clean copy of a dump for a lower environment: a run of one step, through the same door as every runbook.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::world::World;
use super::{Common, backup, plain, print};
use crate::report::Result;
use crate::run::engine::pull::ALREADY;
use crate::runbook::plan::{Check, Probe, Verify, Work};

/// Make a clean copy of a dump the live database of a lower environment.
///
/// The dump is restored beside the live database, where nobody else can connect; neutralised, transformed, rewritten; asserted and scanned for
/// what is left of personal data; and only then swapped in. Whatever fails, the live database is untouched. The old one is kept for a time.
#[derive(Debug, Args)]
pub struct Pull {
    /// The pull, as the configuration names it: [pull.NAME]
    name: String,
    /// The dump's name, `latest`, or an instant
    #[arg(long, value_name = "DUMP", default_value = "latest")]
    dump: String,
    /// Also where the live database is this dump by this recipe already
    #[arg(long)]
    again: bool,
    /// Say what would be done, to which server, with which files; change nothing
    #[arg(long = "dry-run")]
    show_only: bool,
}

impl Pull {
    pub fn run(&self, common: &Common) -> Result<ExitCode> {
        let world = World::open(common)?;
        if self.dump == "latest" && !self.show_only {
            world.engine.await_push(&self.name, &world.cx)?;
        }
        let plan = world.engine.plan_pull(&self.name, &self.dump, &world.cx)?;
        if self.show_only {
            let preview = plan.preview(&world.cx)?;
            if common.json {
                print::json(&preview)?;
                return Ok(ExitCode::SUCCESS);
            }
            let state = if preview.already_there { " (it is there already)" } else { "" };
            print::line(&format!("{} of {} becomes {} on {}{state}", preview.dump, preview.snapshot_at, preview.database, preview.system))?;
            preview.warnings.iter().for_each(|warning| plain::say(&format!("beware: {warning}")));
            for (at, phase) in preview.phases.iter().enumerate() {
                print::line(&format!("{:>2}  {phase}", at + 1))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let dump = plan.dump().to_owned();
        if let Some(note) = plan.note.as_ref().filter(|_| plan.is_there() && !self.again) {
            if common.json {
                print::json(
                    &serde_json::json!({ "pull": self.name, "dump": dump, "database": plan.live, "state": ALREADY, "at": note.at }),
                )?;
            } else {
                print::line(&format!("{ALREADY}: {} is {dump} by this pull since {}", plan.live, note.at))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let since = self.again.then(|| Timestamp::now().to_string());
        let probe = Probe::Pulled { pull: self.name.clone(), dump: dump.clone(), since };
        let check = Check { title: format!("{} says that it is {dump} by this pull", plan.live), probe, within: None };
        let title = format!("Pull {}: a clean copy of {dump} becomes {}", self.name, plan.live);
        let work = Work::Pull { pull: self.name.clone(), dump, again: self.again };
        let live = backup::single(&world, "pull", &title, work, Verify::Checks(vec![check]))?;
        world.conclude(&live, common)
    }
}
