//! Restoring what belongs together: every database of a group or none; and the roles of a server.

use std::collections::BTreeSet;
use std::io::Read;

use super::restore::fill;
use super::{Engine, How, Outputs};
use crate::pipeline::manifest::{Dump, Format, Manifest};
use crate::pipeline::{restore, roles};
use crate::port::Context;
use crate::report::{Report, Result};
use crate::system::postgres::Postgres;
use crate::system::postgres::databases::check_name;

/// Most bytes of a dump of globals: a hundred thousand roles fit.
const GLOBALS: u64 = 64 << 20;

/// What the databases of a group are called when they are restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affixes {
    /// Before the name each had.
    pub prefix: String,
    /// After it.
    pub suffix: String,
}

impl Affixes {
    /// The new name.
    pub fn name(&self, database: &str) -> String {
        format!("{}{database}{}", self.prefix, self.suffix)
    }
}

impl Engine {
    /// The dumps of a group's databases, in the order they were made, each with its database. A group that misses a member is refused: what
    /// belongs together must not be restored from two moments.
    pub fn group(&self, job: &str, group: &str, cx: &Context) -> Result<Vec<(String, Manifest)>> {
        let listing = self.listing(job, cx)?;
        let groups = listing.groups();
        let together = groups.iter().find(|together| together.group.id == group).ok_or_else(|| {
            Report::refused(format!("the job {job} has no group {group}")).hint("lifeboat dumps --json shows the `group` of each dump")
        })?;
        if !together.missing.is_empty() {
            let of = |database: Option<&str>| database.map_or_else(|| "the globals".to_owned(), |name| format!("{name:?}"));
            let missing = together.missing.iter().map(|member| of(member.database.as_deref())).collect::<Vec<_>>().join(", ");
            let report = Report::refused(format!("the group lacks {missing}: what belongs together cannot be restored from it"));
            let whole = groups.iter().find(|other| other.missing.is_empty());
            return Err(match whole.and_then(|whole| whole.dumps.first()) {
                Some(dump) => report.hint(format!("the newest whole group is that of {}", dump.manifest.object)),
                None => report.hint("lifeboat restore DUMP --into DB restores one of them alone"),
            });
        }
        let named = |dump: &&Dump| dump.manifest.database().map(|database| (database.to_owned(), dump.manifest.clone()));
        Ok(together.dumps.iter().filter_map(named).collect())
    }

    /// Restores every database of a group under a new name. When one fails, those that were made are dropped.
    pub(super) fn restore_group(&self, job: &str, group: &str, names: &Affixes, how: &How, cx: &Context) -> Result<Outputs> {
        let members = self.group(job, group, cx)?;
        let job = self.inventory.job(job)?;
        let (postgres, store) = (self.guarded(&job.system, cx)?, self.store(job, cx)?);
        for swept in postgres.sweep_unfinished(cx)? {
            cx.log.say("restore", &format!("dropped {swept}, left behind by a restore that was killed"));
        }
        let mut wanted = Vec::new();
        for (database, manifest) in &members {
            let into = names.name(database);
            check_name(&into).map_err(|report| report.hint("with --suffix and --prefix"))?;
            // Taken up again after a kill: what this very dump was restored into to its end is done.
            if postgres.is_restored_from(&manifest.object, &into, cx)? {
                cx.log.say("restore", &format!("{into} is there already, from {}", manifest.object));
            } else if postgres.has_database(&into, cx)? {
                return Err(Report::refused(format!("database {into:?} exists already on {}", postgres.describe()))
                    .hint("choose another --suffix or --prefix; a restore never writes into an existing database"));
            } else {
                wanted.push((into, manifest));
            }
        }
        let mut made: Vec<(&str, &str)> = Vec::new();
        for (into, manifest) in &wanted {
            cx.meters.clear();
            cx.log.say("restore", &format!("{into} from {}", manifest.object));
            if let Err(error) = fill(&postgres, manifest, &*store, || self.secret_key(job, cx), into, how, cx) {
                return Err(take_back(&postgres, &made, error, cx).under(format!("{into} could not be restored, so none of the group is")));
            }
            made.push((into, &manifest.object));
        }
        Ok([("databases".to_owned(), members.iter().map(|(database, _)| names.name(database)).collect::<Vec<_>>().join(" "))].into())
    }

    /// Makes the roles of a dump of globals that the server has not. Those that are there are left as they are.
    pub(super) fn restore_roles(&self, job: &str, dump: &str, cx: &Context) -> Result<Outputs> {
        let job = self.inventory.job(job)?;
        let postgres = self.guarded(&job.system, cx)?;
        let store = self.store(job, cx)?;
        let manifest = self.dump(&job.name, dump, cx)?.manifest;
        if manifest.format != Format::Globals {
            return Err(
                Report::refused(format!("{dump} is a dump of a database: it holds no roles")).hint("lifeboat dumps: look for (globals)")
            );
        }
        let stream = restore::open(&manifest, &*store, &self.secret_key(job, cx)?, cx)?;
        let mut text = zeroize::Zeroizing::new(Vec::new());
        stream.take(GLOBALS).read_to_end(&mut text).map_err(|error| Report::from_io("reading the roles", error))?;
        if text.len() as u64 == GLOBALS {
            return Err(Report::refused(format!("{dump} is too long for a dump of roles")));
        }
        let statements = roles::read(&text)?;
        let all = roles::made(&statements);
        let missing: BTreeSet<String> = postgres.missing_roles(&all, cx)?.into_iter().collect();
        let there: BTreeSet<String> = all.iter().map(|role| (*role).to_owned()).filter(|role| !missing.contains(role)).collect();
        let wanted = roles::wanted(&statements, &there);
        let sql: Vec<&str> = wanted.iter().map(|statement| statement.sql.as_str()).collect();
        postgres.execute(&postgres.settings.maintenance, &sql.join("\n"), cx).map_err(|error| error.under("no role was made"))?;
        for role in &missing {
            let own = || wanted.iter().filter(|statement| statement.role == *role);
            let login = own().any(|statement| statement.sql.starts_with("ALTER ROLE ") && statement.sql.contains(" LOGIN"));
            let password = own().any(|statement| statement.sql.contains(" PASSWORD '"));
            let of: Vec<&str> = own().filter_map(|statement| statement.member_of.as_deref()).collect();
            let is_super = own().any(|statement| statement.sql.starts_with("ALTER ROLE ") && statement.sql.contains(" SUPERUSER"));
            let words = match (login, password) {
                _ if is_super => "a SUPERUSER, as it was",
                (false, _) => "it cannot log in",
                (true, true) => "with the password it had",
                (true, false) => "without a password, which the dump does not have",
            };
            let of = if of.is_empty() { String::new() } else { format!(", member of {}", of.join(", ")) };
            cx.log.say("restore", &format!("made the role {role}: {words}{of}"));
        }
        for role in &there {
            cx.log.say("restore", &format!("the role {role} was there, and is as it was"));
        }
        Ok([("made".to_owned(), missing.len().to_string()), ("there".to_owned(), there.len().to_string())].into())
    }
}

/// Drops what this restore made of a group, even when it was cancelled.
fn take_back(postgres: &Postgres, made: &[(&str, &str)], error: Report, cx: &Context) -> Report {
    let own = Context { log: cx.log.clone(), ..Context::new(cx.runtime.clone()) };
    made.iter().fold(error, |error, (database, dump)| match postgres.drop_restored(dump, database, &own) {
        Ok(()) => {
            own.log.say("restore", &format!("dropped {database} again"));
            error
        }
        Err(left) => error.cause(format!("and {database:?} could not be dropped again: {left}")),
    })
}
