//! A clean copy, from the dump to the swap: everything that could refuse is asked before a byte moves, everything that changes rows happens
//! on a database nobody else can enter, and what is live is the old one or the whole new one (D11, G5, B11).

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::restore::{How, blame, differences, pour, target};
use super::{Engine, Outputs, dump_outputs};
use crate::config::Pull;
use crate::pipeline::access::Recorded;
use crate::pipeline::catalogue::Selector;
use crate::pipeline::lease::{
    self,
    record::{Standing, judge},
};
use crate::pipeline::manifest::{Format, Manifest};
use crate::pipeline::openpgp::SecretKey;
use crate::pipeline::restore;
use crate::port::{Context, Store};
use crate::report::{Report, Result};
use crate::run::hands::Seen;
use crate::system::postgres::kept::{Mark, fitting, name};
use crate::system::postgres::pulled::{Note, noting};
use crate::system::postgres::restore::Target;
use crate::system::postgres::sanitise::pattern::discreet;
use crate::system::postgres::sanitise::{Phase, Recipe, Script};
use crate::system::postgres::swap::Swap;
use crate::system::postgres::{Identity, Postgres};

/// What `state` says of a pull that had nothing to do.
pub const ALREADY: &str = "already there";

/// A pull, with everything settled that can be settled without touching anything.
#[derive(Clone, Debug)]
pub struct Plan {
    pull: Pull,
    recipe: Recipe,
    manifest: Manifest,
    postgres: Postgres,
    identity: Identity,
    /// The live database's name.
    pub live: String,
    /// What the live database says of itself now.
    pub note: Option<Note>,
}

/// What a pull would do, for `--dry-run`.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The pull.
    pub pull: String,
    /// The dump.
    pub dump: String,
    /// Its data is as of this moment.
    pub snapshot_at: Timestamp,
    /// The server it goes to, and who it says it is.
    pub system: String,
    /// See `system`.
    pub system_identifier: String,
    /// The live database.
    pub database: String,
    /// It is that copy already.
    pub already_there: bool,
    /// What happens, in order.
    pub phases: Vec<String>,
    /// SHA-256 of each file that is run.
    pub files: Vec<(String, String)>,
    /// What the server would do with the rows before they are sanitised.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a clean copy of a dump the live database; whatever fails, the live one is untouched and nothing else is left.
    pub fn pull(&self, name: &str, dump: &str, again: bool, cx: &Context) -> Result<Outputs> {
        if dump == "latest" {
            self.await_push(name, cx)?;
        }
        let plan = self.plan_pull(name, dump, cx)?;
        let turn = plan.postgres.take_turn(&plan.live, cx)?;
        // Another may have made it live while the turn was waited for.
        let plan = Plan { note: plan.postgres.note_of(&plan.live, cx)?, ..plan };
        if plan.is_there() && !again {
            cx.log.say("pull", &format!("{} is {} by this pull already", plan.live, plan.manifest.object));
            return Ok(plan.outputs("", ALREADY));
        }
        let (job, postgres) = (self.inventory.job(&plan.pull.from)?, &plan.postgres);
        let (store, key) = (self.store(job, cx)?, self.secret_key(job, cx)?);
        for swept in postgres.sweep_unfinished(cx)? {
            cx.log.say("pull", &format!("dropped {swept}, left behind by a restore that was killed"));
        }
        let staged = plan.staged();
        postgres.discard(&staged, cx)?;
        for warning in postgres.warnings_for_a_copy(cx)? {
            cx.log.say("pull", &format!("beware: {warning}"));
        }
        let made = plan.stage(&staged, &*store, &key, cx);
        let swapped = made.and_then(|settings| plan.go_live(&staged, &settings, cx));
        let kept = swapped.map_err(|error| {
            // Even a cancelled pull clears away; it has a life of its own for that. A swap that was lost on the way may have been made.
            let own = Context::new(cx.runtime.clone());
            match postgres.discard(&staged, &own) {
                Ok(()) => error,
                Err(left) => error.cause(format!("and {staged} could not be dropped: {left}")),
            }
        })?;
        plan.let_go(&kept, cx);
        drop(turn);
        Ok(plan.outputs(&kept, "done"))
    }

    /// Waits while the job whose dumps a pull takes is at work, for as long as the pull wants to: the dump being made is the one that is
    /// wanted (G11). Whether it came out well is for the picking to see. Only reads; whose lease is over is told by our own clock.
    pub fn await_push(&self, name: &str, cx: &Context) -> Result<()> {
        let pull = self.inventory.pull(name)?;
        let Some(patience) = pull.wait.and_then(|time| Duration::try_from(time).ok()) else { return Ok(()) };
        let job = self.inventory.job(&pull.from)?;
        let store = self.store(job, cx)?;
        let until = Instant::now() + patience;
        let mut told = false;
        loop {
            let cards = lease::list(&*store, Some(&job.name), cx)?;
            let is_held = |card: &&lease::Card| matches!(judge(Some(&card.newest), Timestamp::now()), Standing::Held(_));
            let Some(held) = cards.iter().find(is_held) else { return Ok(()) };
            if Instant::now() >= until {
                cx.log.say(
                    "pull",
                    &format!(
                        "{} is still being backed up after {:#}: its newest dump is taken",
                        job.name,
                        SignedDuration::try_from(patience).unwrap_or_default()
                    ),
                );
                return Ok(());
            }
            if !told {
                cx.log.say("pull", &format!("waits for the backup of {}, {}", job.name, held.newest.describe()));
                told = true;
            }
            cx.pause(super::LOOK_AGAIN)?;
        }
    }

    /// Everything that can be asked and refused before anything is touched.
    pub fn plan_pull(&self, name: &str, dump: &str, cx: &Context) -> Result<Plan> {
        let pull = self.inventory.pull(name)?.clone();
        let recipe = recipe(&pull)?;
        let job = self.inventory.job(&pull.from)?;
        let listing = self.listing(&job.name, cx)?;
        let database = self.meant_database(job, pull.database.as_deref(), &listing)?;
        let max_age = pull.max_age.or(job.max_age);
        let picked = listing.pick(&Selector::parse(dump)?, database.as_deref(), max_age, Timestamp::now())?;
        for words in &picked.passed_over {
            cx.log.say("pull", &format!("passed over {words}"));
        }
        let manifest = picked.dump.manifest.clone();
        if manifest.format == Format::Globals {
            return Err(Report::refused(format!("{} holds the roles and tablespaces of a server, not a database", manifest.object))
                .hint(format!("name the database: `database` in [pull.{name}]")));
        }
        let postgres = self.guarded(&pull.system, cx)?;
        let identity = postgres.identity(&postgres.settings.maintenance, cx)?;
        let live = pull.into.clone().unwrap_or_else(|| postgres.settings.database.clone());
        elsewhere(&pull, &manifest, &identity, &live)?;
        postgres.can_note(identity.major, cx)?;
        let note = postgres.note_of(&live, cx)?;
        let plan = Plan { pull, recipe, manifest, postgres, identity, live, note };
        let access = plan.manifest.access.as_ref().map(Recorded::in_clear);
        let target = target(&plan.manifest, &plan.live, &How::default());
        plan.postgres.can_restore(Target { access: access.as_ref(), ..target }, cx)?;
        Ok(plan)
    }

    /// What the live database of a pull says of itself, held against what it should say.
    pub(super) fn pulled(&self, name: &str, dump: &str, since: Option<&str>, cx: &Context) -> Result<Seen> {
        let pull = self.inventory.pull(name)?;
        let postgres = self.postgres(&pull.system)?;
        let live = pull.into.as_ref().unwrap_or(&postgres.settings.database);
        let Some(note) = postgres.note_of(live, cx)? else {
            return Ok(Seen::new(false, format!("{live} was made by no pull")));
        };
        let since = since.and_then(|text| text.parse::<Timestamp>().ok());
        let right = note.pull == pull.name && note.dump == dump && note.recipe == recipe(pull)?.digest();
        let words = format!("{live} was made by pull {} of {}, at {}", note.pull, note.dump, note.at);
        Ok(match () {
            () if !right && note.dump == dump && note.pull == pull.name => Seen::new(false, format!("{words}, as it was configured then")),
            () if since.is_some_and(|since| note.at < since) => {
                Seen::new(false, format!("{words}, which is before {}", since.unwrap_or_default()))
            }
            () => Seen::new(right, words),
        })
    }

    /// What a pull gave whose end nobody saw; nothing where the live database is of another.
    pub(super) fn recall_pull(&self, name: &str, dump: &str, cx: &Context) -> Result<Option<Outputs>> {
        let pull = self.inventory.pull(name)?;
        let postgres = self.postgres(&pull.system)?;
        let live = pull.into.clone().unwrap_or_else(|| postgres.settings.database.clone());
        let note = postgres.note_of(&live, cx)?.filter(|note| note.pull == name && (dump == "latest" || note.dump == dump));
        let Some(note) = note else { return Ok(None) };
        let mut outputs = dump_outputs(&self.dump(&pull.from, &note.dump, cx)?.manifest);
        outputs.extend(super::outputs([("database", live), ("kept", String::new()), ("state", ALREADY.to_owned())]));
        Ok(Some(outputs))
    }
}

impl Plan {
    /// The dump that was chosen.
    pub fn dump(&self) -> &str {
        &self.manifest.object
    }

    /// The live database is this dump by this recipe already. What files include is in no digest, so then nobody knows.
    pub fn is_there(&self) -> bool {
        let same = |note: &Note| note.pull == self.pull.name && note.id == self.manifest.id && note.recipe == self.recipe.digest();
        self.recipe.including().is_none() && self.note.as_ref().is_some_and(same)
    }

    /// For `--dry-run`.
    pub fn preview(&self, cx: &Context) -> Result<Preview> {
        let recipe = &self.recipe;
        let mut phases = vec![format!("restore {} as {}, closed to everybody else", self.manifest.object, self.staged())];
        phases.push("count every row against the manifest".into());
        phases.extend(recipe.neutralise.then(|| "neutralise: subscriptions, jobs of schedulers, user mappings".to_owned()));
        phases.extend(recipe.neutralise_sql.iter().map(|script| format!("neutralise {}", script.path.display())));
        phases.extend(recipe.transform.iter().map(|script| format!("transform {}", script.path.display())));
        phases.extend(recipe.rewrite.iter().map(|rewrite| {
            format!("rewrite {} ({}): {:?} becomes {:?}", rewrite.table, rewrite.columns.join(", "), rewrite.from, rewrite.to)
        }));
        phases.extend(recipe.assert.iter().map(|assertion| format!("assert: {}", assertion.title)));
        phases.extend(
            recipe.scan.as_ref().map(|scan| {
                format!("scan for {}", scan.patterns.iter().map(|pattern| pattern.name.as_str()).collect::<Vec<_>>().join(", "))
            }),
        );
        phases.push("clear away: statistics, dead rows; make statistics anew".into());
        phases.push(if self.postgres.has_database(&self.live, cx)? {
            let stays = self.pull.keep_for.map_or("for ever".to_owned(), |time| format!("for {time:#}"));
            format!("swap: {} becomes {}, the old one stays {stays}", self.staged(), self.live)
        } else {
            format!("{} becomes {}, which is not there yet", self.staged(), self.live)
        });
        Ok(Preview {
            pull: self.pull.name.clone(),
            dump: self.manifest.object.clone(),
            snapshot_at: self.manifest.snapshot_at,
            system: self.postgres.describe(),
            system_identifier: self.identity.system_identifier.clone(),
            database: self.live.clone(),
            already_there: self.is_there(),
            phases,
            files: recipe.files(),
            warnings: self.postgres.warnings_for_a_copy(cx)?,
        })
    }

    /// The name the copy has until it is live; the same for every pull into that database, so that the next one finds what a killed one left.
    fn staged(&self) -> String {
        fitting("lifeboat_pull_", &self.live, "")
    }

    /// Restores and sanitises; gives the settings that sanitising left on the database.
    fn stage(&self, staged: &str, store: &dyn Store, key: &SecretKey, cx: &Context) -> Result<String> {
        let postgres = &self.postgres;
        let watch = postgres.watch(staged, cx);
        let began = Instant::now();
        cx.log.say("pull", &format!("restore {} …", self.manifest.object));
        let mut settings = String::new();
        let mut is_loaded = false;
        let mut prepare = |cx: &Context| {
            is_loaded = true;
            tell(&Phase { name: "restore".into(), seconds: began.elapsed().as_secs_f64(), words: format!("as {staged}") }, cx);
            self.counted(staged, cx)?;
            postgres.sanitise(staged, &self.pull.name, &self.recipe, &mut |phase| tell(&phase, cx), cx)?;
            settings = postgres.settings_of(staged, cx)?;
            cx.log.say("pull", "analyse …");
            Ok(())
        };
        let restored = restore::open_counted(&self.manifest, store, key, cx)
            .and_then(|opened| pour(postgres, &self.manifest, key, opened, staged, &How::default(), Some(&mut prepare), cx));
        // Whatever fails once all of the dump is there is not the dump's fault.
        let restored = restored.map_err(|error| quietly(if is_loaded { error } else { blame(error, &self.manifest, store, cx) }));
        let sent = watch.end(cx);
        if sent > 0 {
            cx.log
                .say("pull", &format!("{sent} connections of superusers were sent away from {staged}; let nothing but this log in as one"));
        }
        restored.map(|()| settings)
    }

    /// Everything that is in the dump is there, before anything is taken out of it.
    fn counted(&self, staged: &str, cx: &Context) -> Result<()> {
        let began = Instant::now();
        let differences = differences(&self.manifest, &self.postgres.count(staged, cx)?);
        if !differences.is_empty() {
            let report = Report::refused(format!("what was restored is not what is in {}", self.manifest.object));
            return Err(differences.into_iter().fold(report, Report::cause));
        }
        let words = format!("{} rows of {} tables, as in the dump", self.manifest.rows(), self.manifest.tables.len());
        tell(&Phase { name: "count".into(), seconds: began.elapsed().as_secs_f64(), words }, cx);
        Ok(())
    }

    /// The copy takes the live one's name, with its note on it; gives the name the old one is kept under, or nothing.
    fn go_live(&self, staged: &str, settings: &str, cx: &Context) -> Result<String> {
        let began = Instant::now();
        cx.log.say("pull", "swap …");
        let now = Timestamp::now();
        let note = Note {
            pull: self.pull.name.clone(),
            dump: self.manifest.object.clone(),
            id: self.manifest.id.clone(),
            snapshot_at: self.manifest.snapshot_at,
            recipe: self.recipe.digest(),
            files: self.recipe.files(),
            at: now,
        };
        let also = format!("{settings}{}", noting(staged, &note)?);
        let postgres = &self.postgres;
        let (kept, words) = if postgres.has_database(&self.live, cx)? {
            let keep_as = name(&self.live, now);
            let end = self.pull.keep_for.and_then(|time| now.checked_add(time).ok());
            let comment = Mark::by_pull(&self.pull.name, &self.live, staged, now, end).comment()?;
            postgres.swap_and(Swap { live: &self.live, staged, keep_as: &keep_as, partial: false }, &comment, &also, cx)?;
            let words = format!("{} is {}; the old one is kept as {keep_as}", self.live, self.manifest.object);
            (keep_as, words)
        } else {
            postgres.put_first(&self.live, staged, &also, cx)?;
            (String::new(), format!("{} is {}; there was none before", self.live, self.manifest.object))
        };
        tell(&Phase { name: "swap".into(), seconds: began.elapsed().as_secs_f64(), words }, cx);
        Ok(kept)
    }

    /// What was kept long enough goes. The copy is live by now: what fails here is said, and fails nothing.
    fn let_go(&self, newest: &str, cx: &Context) {
        let now = self.postgres.identity(&self.postgres.settings.maintenance, cx).map(|identity| identity.now);
        match now.and_then(|now| self.postgres.drop_overdue(&self.live, newest, &self.pull.name, now, cx)) {
            Ok((dropped, staying)) => {
                for name in dropped {
                    cx.log.say("pull", &format!("dropped {name}: it was kept long enough"));
                }
                for words in staying {
                    cx.log.say("pull", &words);
                }
            }
            Err(error) => cx.log.say("pull", &format!("what was kept long enough was not dropped: {error}")),
        }
    }

    fn outputs(&self, kept: &str, state: &str) -> Outputs {
        let mut outputs = dump_outputs(&self.manifest);
        let more = [("database", self.live.clone()), ("kept", kept.to_owned()), ("state", state.to_owned())];
        outputs.extend(super::outputs(more));
        outputs
    }
}

/// The files as they are now, and what else shapes a copy.
fn recipe(pull: &Pull) -> Result<Recipe> {
    let read = |paths: &[std::path::PathBuf]| paths.iter().map(|path| Script::read(path)).collect::<Result<Vec<_>>>();
    Ok(Recipe {
        neutralise: pull.neutralise,
        neutralise_sql: read(&pull.neutralise_sql)?,
        transform: read(&pull.transform)?,
        rewrite: pull.rewrite.clone(),
        assert: pull.assert.clone(),
        scan: pull.scan.clone(),
    })
}

/// A copy never goes to where its dump was made of, whatever that is called: by who the server says it is.
fn elsewhere(pull: &Pull, manifest: &Manifest, identity: &Identity, live: &str) -> Result<()> {
    if manifest.origin.system_identifier != identity.system_identifier {
        return Ok(());
    }
    let dump = &manifest.object;
    if manifest.origin.database == live {
        return Err(Report::refused(format!("{dump} was made of this very database: a pull never replaces {live:?} by a copy of itself"))
            .hint(format!("look at `system` and `into` of [pull.{}]; to get it back, lifeboat run restore-production", pull.name)));
    }
    if pull.same_server {
        return Ok(());
    }
    Err(Report::refused(format!("{dump} was made of this very server: it says it is {}", identity.system_identifier))
        .hint(format!("look at `system` of [pull.{}]; where it is meant: same_server = true", pull.name)))
}

/// What a server says of a row that does not fit repeats the row: those words go no further.
fn quietly(error: Report) -> Report {
    let line = |line: &str| {
        let hidden = ["CONTEXT:", "DETAIL:"].iter().any(|mark| line.contains(mark));
        if hidden { None } else { Some(discreet(line)) }
    };
    let causes = error.causes.iter().map(|cause| cause.lines().filter_map(line).collect::<Vec<_>>().join("\n"));
    Report { message: discreet(&error.message), causes: causes.filter(|cause| !cause.is_empty()).collect(), ..error }
}

fn tell(phase: &Phase, cx: &Context) {
    let Phase { name, seconds, words } = phase;
    let time = SignedDuration::try_from_secs_f64(*seconds).unwrap_or_default();
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    cx.log.say("pull", &format!("{name} in {:.2} s{words}", time.as_secs_f64()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_row_goes_no_further() {
        let error = Report::failed("psql exited with 3")
            .cause("psql: ERROR:  bad\nCONTEXT:  COPY customers, line 5: \"7 Ada ada@example.org\"\nx@example.org");
        assert_eq!(quietly(error).causes, ["psql: ERROR:  bad\nx@e******.o**"]);
    }
}
