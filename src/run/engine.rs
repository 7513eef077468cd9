//! The hands of this house: actions and probes carried out by the systems, stores and the pipeline that the configuration names.

mod backup;
mod compare;
mod kept;
mod prove;
pub mod pull;
mod restore;
mod together;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::hands::{Hands, Seen};
use crate::config::{Inventory, Job, Key};
use crate::pipeline::catalogue::{self, Listing, Selector};
use crate::pipeline::manifest::{Dump, Level, Manifest};
use crate::pipeline::openpgp::SecretKey;
use crate::port::{Context, Notifier, Store, Stream};
use crate::report::{Explain, Report, Result};
use crate::runbook::plan::{Action, Check, Expect, Poll, Probe, Request, Work};
use crate::store::post::Post;
use crate::store::ticket::Ticket;
use crate::system::postgres::Postgres;
use crate::system::postgres::swap::Swap;
use crate::system::secret::Secret;
use crate::system::{command, http};

pub use kept::Counted;
pub use restore::{How, differences};
pub use together::Affixes;

/// What an action gives.
type Outputs = BTreeMap<String, String>;

/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The engine behind one configuration.
#[derive(Clone)]
pub struct Engine {
    inventory: Arc<Inventory>,
    /// Spent instead of the store of its job, spooling there.
    ticket: Option<(Arc<Ticket>, PathBuf)>,
}

impl Engine {
    /// An engine for what a configuration names.
    pub fn new(inventory: Arc<Inventory>) -> Self {
        Engine { inventory, ticket: None }
    }

    /// The same, storing the job's next dump with a ticket instead of in the job's own store. A dump spools in `spool`.
    #[must_use]
    pub fn with_ticket(self, ticket: Ticket, spool: PathBuf) -> Self {
        Engine { ticket: Some((Arc::new(ticket), spool)), ..self }
    }

    /// What it knows.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// A job's store, opened.
    pub fn store(&self, job: &Job, cx: &Context) -> Result<Arc<dyn Store>> {
        match &self.ticket {
            Some((ticket, spool)) => Ok(Arc::new(Post::new(Ticket::clone(ticket), spool.clone(), cx)?)),
            None => self.inventory.open_store(&job.store, cx),
        }
    }

    /// What a job has in its store.
    pub fn listing(&self, job: &str, cx: &Context) -> Result<Listing> {
        let job = self.inventory.job(job)?;
        catalogue::list(&*self.store(job, cx)?, Some(&job.name), cx)
    }

    /// Exactly the dump of that name.
    pub fn dump(&self, job: &str, name: &str, cx: &Context) -> Result<Dump> {
        let job = self.inventory.job(job)?;
        let dump = catalogue::find(&*self.store(job, cx)?, name, cx)?;
        if dump.manifest.job == job.name {
            return Ok(dump);
        }
        Err(Report::refused(format!("{name} belongs to the job {}, not to {}", dump.manifest.job, job.name))
            .hint(format!("lifeboat dumps {}", job.name)))
    }

    /// The plain bytes of a dump; what their end promises, [`crate::pipeline::restore::open`] says.
    pub fn read(&self, job: &str, manifest: &Manifest, cx: &Context) -> Result<Stream> {
        let job = self.inventory.job(job)?;
        crate::pipeline::restore::open(manifest, &*self.store(job, cx)?, &self.secret_key(job, cx)?, cx)
    }

    /// The private key that opens a job's dumps.
    pub fn secret_key(&self, job: &Job, cx: &Context) -> Result<SecretKey> {
        let Some((key, secret)) = job.keys.iter().find_map(|name| {
            let key = self.inventory.key(name).ok()?;
            Some((key, key.secret.as_ref()?))
        }) else {
            let names = job.keys.join(", ");
            return Err(Report::usage(format!("none of the keys of job {} ({names}) has a private half here", job.name))
                .hint(format!("set `secret` in [key.{}]", job.keys.first().map_or("NAME", String::as_str))));
        };
        open_key(key, secret, cx)
    }

    fn postgres(&self, system: &str) -> Result<Postgres> {
        Ok(Postgres::new(self.inventory.system(system)?.postgres().clone()))
    }

    /// The target proves who it is over the connection that will write.
    fn guarded(&self, system: &str, cx: &Context) -> Result<Postgres> {
        let postgres = self.postgres(system)?;
        let Some(fingerprint) = &self.inventory.environment.fingerprint else { return Ok(postgres) };
        let identity = postgres.identity(&postgres.settings.maintenance, cx)?;
        if identity.system_identifier == fingerprint.system_identifier {
            return Ok(postgres);
        }
        Err(Report::refused(format!(
            "{} is not the server that the environment {:?} means",
            postgres.describe(),
            self.inventory.environment.name
        ))
        .cause(format!("it says it is {}, expected {}", identity.system_identifier, fingerprint.system_identifier))
        .hint("look at [environment.fingerprint] and at `host` of the system"))
    }

    fn work(&self, work: &Work, cx: &Context) -> Result<Outputs> {
        match work {
            Work::Backup { job } => backup_outputs(&self.backup(job, cx)?),
            Work::Pick { job, dump, database } => self.pick(job, dump, database.as_deref(), cx),
            Work::Verify { job, dump, level } => self.verify(job, dump, *level, cx),
            Work::Restore { job, dump, into, tables, create_roles, compare } => {
                let how = How { tables: tables.clone(), create_roles: *create_roles, compare: *compare };
                self.restore_some(job, dump, into, &how, cx)
            }
            Work::RestoreGroup { job, group, prefix, suffix, create_roles, compare } => {
                let names = Affixes { prefix: prefix.clone(), suffix: suffix.clone() };
                self.restore_group(job, group, &names, &How { create_roles: *create_roles, compare: *compare, ..How::default() }, cx)
            }
            Work::RestoreRoles { job, dump } => self.restore_roles(job, dump, cx),
            Work::Swap { system, live, staged, keep_as, keep_until, partial } => {
                self.swap(system, Swap { live, staged, keep_as, partial: *partial }, keep_until.as_deref(), cx)
            }
            Work::Pull { pull, dump, again } => self.pull(pull, dump, *again, cx),
            Work::Unswap { system, live, staged, kept } => self.unswap(system, Swap::back(live, staged, kept), cx),
            Work::DropKept { system, database, early } => self.drop_kept(system, database, *early, cx),
        }
    }

    fn pick(&self, job: &str, dump: &str, database: Option<&str>, cx: &Context) -> Result<Outputs> {
        let listing = self.listing(job, cx)?;
        let job = self.inventory.job(job)?;
        let database = self.meant_database(job, database, &listing)?;
        let picked = listing.pick(&Selector::parse(dump)?, database.as_deref(), job.max_age, Timestamp::now())?;
        for words in &picked.passed_over {
            cx.log.say("pick", &format!("passed over {words}"));
        }
        let age = Timestamp::now().duration_since(picked.dump.manifest.snapshot_at);
        let mut outputs = dump_outputs(&picked.dump.manifest);
        outputs.insert("age".into(), format!("{:#}", jiff::SignedDuration::from_secs(age.as_secs())));
        Ok(outputs)
    }

    /// The database whose dump is meant: the one that was said; else, where a job dumps only its system's own, that one, whatever other
    /// dumps from earlier days it has. None where the dumps must decide.
    pub fn meant_database(&self, job: &Job, said: Option<&str>, listing: &Listing) -> Result<Option<String>> {
        let own = &self.inventory.system(&job.system)?.postgres().database;
        let own =
            (!job.is_grouped() && listing.databases().len() > 1 && listing.databases().contains(own.as_str())).then_some(own.as_str());
        Ok(said.or(own).map(str::to_owned))
    }

    /// Proves a dump up to a level and keeps the record.
    pub fn verify(&self, job: &str, dump: &str, level: u8, cx: &Context) -> Result<Outputs> {
        let level = Level::from_number(level).ok_or_else(|| Report::usage(format!("there is no proof level L{level}")).hint("L0 to L6"))?;
        let job = self.inventory.job(job)?;
        let dump = self.dump(&job.name, dump, cx)?;
        self.prove(job, &dump.manifest, level, cx)?;
        Ok(outputs([("level", level.to_string())]))
    }

    /// The request of an action; what its answer gives of the wanted outputs. Some may only come with the end of the polling.
    fn request(request: &Request, polled: bool, wanted: &BTreeMap<String, String>, cx: &Context) -> Result<Outputs> {
        let answer = http::send(&request.method, &request.url, request.body.as_deref(), cx)?;
        if !answer.is(request.expected_status()) {
            return Err(Report::failed(format!("{} {} was refused", request.method, request.url))
                .cause(format!("it answered {}", answer.summary())));
        }
        let given = given(wanted, &answer);
        if polled { Ok(given) } else { complete(given, wanted, &answer) }
    }

    fn wait(&self, time: Option<jiff::SignedDuration>, until: Option<&Check>, cx: &Context) -> Result<()> {
        let time = time.map(|time| Duration::try_from(time).explain(|| "the time to wait".into())).transpose()?;
        let Some(check) = until else { return cx.pause(time.unwrap_or_default()) };
        let deadline = time.map(|time| Instant::now() + time);
        loop {
            let seen = self.probe(&check.probe, cx).unwrap_or_else(|error| Seen::new(false, error.to_string()));
            if seen.held {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Report::failed(format!("waited in vain: {}", check.title)).cause(seen.words));
            }
            cx.pause(LOOK_AGAIN)?;
        }
    }
}

impl Hands for Engine {
    fn act(&self, action: &Action, cx: &Context) -> Result<Outputs> {
        match action {
            Action::Manual { .. } => Err(Report::failed("only a person can do a manual step")),
            Action::Command { argv } => Ok(outputs([("stdout", command::run(argv, cx)?)])),
            Action::Sql { system, database, statements } => {
                let postgres = self.guarded(system, cx)?;
                let database = database.as_ref().unwrap_or(&postgres.settings.database);
                postgres.execute(database, statements, cx).map(|()| Outputs::new())
            }
            Action::Http { request, poll, outputs } => Self::request(request, poll.is_some(), outputs, cx),
            Action::Job(work) => self.work(work, cx),
            Action::Wait { time, until } => self.wait(*time, until.as_ref(), cx).map(|()| Outputs::new()),
            Action::Notify { channel, message } => self.inventory.open_channel(channel)?.notify(message, cx).map(|()| Outputs::new()),
        }
    }

    fn poll(&self, poll: &Poll, known: Outputs, wanted: &BTreeMap<String, String>, cx: &Context) -> Result<Outputs> {
        let every = Duration::try_from(poll.every).explain(|| "the time between two polls".into())?;
        loop {
            let answer = http::send("GET", &poll.url, None, cx)?;
            if let Some(bad) = poll.fail.iter().find(|expect| holds(expect, &answer)) {
                return Err(Report::failed(format!("{} says that {} is {}", poll.url, bad.pointer, bad.equals)).cause(answer.summary()));
            }
            if answer.is(None) && poll.until.iter().all(|expect| holds(expect, &answer)) {
                let mut outputs = known;
                outputs.extend(given(wanted, &answer));
                return complete(outputs, wanted, &answer);
            }
            cx.log.say("http", &answer.summary());
            cx.pause(every)?;
        }
    }

    fn recall(&self, action: &Action, cx: &Context) -> Result<Option<Outputs>> {
        Ok(match action {
            Action::Job(Work::Restore { job, dump, into, tables, .. }) => {
                Some(self::restore::outputs(&self.dump(job, dump, cx)?.manifest, into, tables)?)
            }
            Action::Job(Work::Pull { pull, dump, .. }) => self.recall_pull(pull, dump, cx)?,
            Action::Job(Work::Swap { keep_as, .. }) => Some(swap_outputs(keep_as)),
            _ => None,
        })
    }

    fn clear(&self, action: &Action, cx: &Context) -> Result<()> {
        let Action::Job(Work::Restore { job, dump, into, tables, .. }) = action else { return Ok(()) };
        let postgres = self.guarded(&self.inventory.job(job)?.system, cx)?;
        if !tables.is_empty() || !postgres.has_database(into, cx)? {
            return Ok(());
        }
        postgres.drop_restored(dump, into, cx)?;
        cx.log.say("restore", &format!("dropped {into}, which the attempt before had restored"));
        Ok(())
    }

    fn foresee(&self, action: &Action, cx: &Context) -> Result<Option<String>> {
        let Action::Job(Work::Pick { job, dump, database }) = action else { return Ok(None) };
        let picked = self.pick(job, dump, database.as_deref(), cx)?;
        let known = |name: &str| picked.get(name).cloned().unwrap_or_default();
        Ok(Some(format!("{}, as of {}, {} rows, {} old", known("dump"), known("snapshot_at"), known("rows"), known("age"))))
    }

    fn probe(&self, probe: &Probe, cx: &Context) -> Result<Seen> {
        match probe {
            Probe::Http { request, contains, expect } => {
                let answer = http::send(&request.method, &request.url, request.body.as_deref(), cx)?;
                let held = answer.is(request.expected_status())
                    && contains.as_ref().is_none_or(|text| answer.body.contains(text))
                    && expect.iter().all(|expect| holds(expect, &answer));
                Ok(Seen::new(held, answer.summary()))
            }
            Probe::Sql { system, database, query, equals } => {
                let postgres = self.postgres(system)?;
                let seen = postgres.ask(database.as_ref().unwrap_or(&postgres.settings.database), query, cx)?;
                let words = if seen == *equals { seen.clone() } else { format!("{seen}, expected {equals}") };
                Ok(Seen::new(seen == *equals, words))
            }
            Probe::Command { argv, equals } => {
                let seen = command::run(argv, cx)?;
                let held = equals.as_ref().is_none_or(|equals| *equals == seen);
                Ok(Seen::new(held, seen.lines().next().unwrap_or("exit 0")))
            }
            Probe::Restored { job, dump, database, tables } => self.restored(job, dump, database, tables, cx),
            Probe::Pulled { pull, dump, since } => self.pulled(pull, dump, since.as_deref(), cx),
            Probe::Proof { job, dump, level } => {
                let dump = self.dump(job, dump, cx)?;
                let proven = dump.proven();
                let held = proven.is_some_and(|proof| proof.level.number() >= *level);
                Ok(Seen::new(held, proven.map_or("not proven".into(), |proof| format!("{} by {} at {}", proof.level, proof.by, proof.at))))
            }
        }
    }
}

/// The private half of a key, with its passphrase.
pub(super) fn open_key(key: &Key, secret: &Secret, cx: &Context) -> Result<SecretKey> {
    let armored = secret.read(&format!("private key {}", key.name), cx)?;
    let passphrase = key.passphrase.as_ref().map(|secret| secret.read_text(&format!("passphrase of key {}", key.name), cx)).transpose()?;
    let loaded = SecretKey::load(&armored, passphrase.as_ref().map(|text| text.as_str()), cx);
    loaded.map_err(|error| error.under(format!("the private key of [key.{}], from {}, cannot be used", key.name, secret.origin())))
}

fn dump_outputs(manifest: &Manifest) -> Outputs {
    outputs([
        ("dump", manifest.object.clone()),
        ("snapshot_at", manifest.snapshot_at.to_string()),
        ("rows", manifest.rows().to_string()),
        ("size", manifest.stored.bytes.to_string()),
    ])
}

/// Of the first dump of a database, which is the only one for most jobs; and the names of all.
fn backup_outputs(made: &[Manifest]) -> Result<Outputs> {
    let first = made.iter().find(|made| made.database().is_some()).or(made.first());
    let mut outputs = dump_outputs(first.ok_or_else(|| Report::failed("no dump was made"))?);
    outputs.insert("dumps".into(), made.iter().map(|made| made.object.as_str()).collect::<Vec<_>>().join(" "));
    Ok(outputs)
}

fn swap_outputs(keep_as: &str) -> Outputs {
    outputs([("kept", keep_as.to_owned())])
}

fn outputs<const N: usize>(pairs: [(&str, String); N]) -> Outputs {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn holds(expect: &Expect, answer: &http::Answer) -> bool {
    answer.at(&expect.pointer).is_some_and(|value| value == expect.equals)
}

/// Those of the wanted outputs that an answer has.
fn given(wanted: &BTreeMap<String, String>, answer: &http::Answer) -> Outputs {
    wanted.iter().filter_map(|(name, pointer)| Some((name.clone(), answer.at(pointer)?))).collect()
}

/// All of the wanted outputs, or which one is missing.
fn complete(outputs: Outputs, wanted: &BTreeMap<String, String>, answer: &http::Answer) -> Result<Outputs> {
    match wanted.iter().find(|(name, _)| !outputs.contains_key(*name)) {
        None => Ok(outputs),
        Some((name, pointer)) => Err(Report::failed(format!("the answer has no {pointer} for {name}")).cause(answer.summary())),
    }
}
