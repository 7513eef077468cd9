//! What a job dumps: which databases, by which clients, of which snapshots, and what their dumps are called; all of it settled before the
//! first byte moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Engine, LOOK_AGAIN};
use crate::config::Job;
use crate::pipeline::backup::{self, Order, new_id};
use crate::pipeline::lease::{self, Claim, Lease};
use crate::pipeline::manifest::{Format, Group, MANIFEST_SUFFIX, Manifest, Member, Origin};
use crate::pipeline::openpgp::PublicKeys;
use crate::pipeline::{catalogue, history};
use crate::port::{Context, Source, Store};
use crate::report::{Kind, Report, Result};
use crate::run::ticket;
use crate::store::local::Local;
use crate::system::postgres::clients::Clients;
use crate::system::postgres::databases::{self, Chosen};
use crate::system::postgres::dump::{Dump, Globals, Layout};
use crate::system::postgres::snapshot::Cut;
use crate::system::postgres::{Identity, Postgres};
use crate::system::reboot;

/// How long a dump's name can stay the same: names tell the time to the minute or better.
const NAME_LASTS: Duration = Duration::from_secs(61);

/// Beside the runs: which databases this host is backing up. No run's name begins so.
const LOCKS: &str = ".locks";

/// What the lease on a server's roles and tablespaces is called, among those on its databases.
const GLOBALS: &str = "roles and tablespaces";

/// Everything a run of a job needs to know before it starts.
struct Undertaking<'a> {
    job: &'a Job,
    postgres: Postgres,
    clients: Clients,
    identity: Identity,
    store: &'a dyn Store,
    recipients: PublicKeys,
    /// Databases by name, then none for the globals; each with its dump's name.
    members: Vec<Member>,
    /// One for each member.
    leases: &'a [Lease],
}

impl Engine {
    /// Makes the dumps of a job, in the order of their members: globals first, then each database; and proves each as far as the job says. One
    /// that fails does not keep the others from being made; then the whole is an error that says which are there.
    pub fn backup(&self, job: &str, cx: &Context) -> Result<Vec<Manifest>> {
        let job = self.inventory.job(job)?;
        let made = self.dump_all(job, cx)?;
        self.prove_made(job, &made, cx)?;
        Ok(made)
    }

    fn dump_all(&self, job: &Job, cx: &Context) -> Result<Vec<Manifest>> {
        let store = self.store(job, cx)?;
        let recipients = PublicKeys::load(&self.inventory.public_keys(job)?, cx)?;
        let postgres = self.postgres(&job.system)?;
        let mut session = postgres.session(&postgres.settings.database, cx)?;
        let identity = session.identity(cx)?;
        let clients = Clients::for_server(&postgres, identity.major, cx)?;
        let databases = match &job.databases {
            None => vec![identity.database.clone()],
            Some(selection) => {
                let wrong = |error: Report| error.hint(format!("look at `databases` and `exclude` in [job.{}]", job.name));
                let chosen = selection.choose(&databases::list(&mut session, cx)?).map_err(wrong)?;
                tell(&chosen, cx);
                chosen.databases
            }
        };
        drop(session);
        let subjects: Vec<Option<String>> = job.globals.map(|_| None).into_iter().chain(databases.into_iter().map(Some)).collect();
        let leases = self.leases(job, &identity, &subjects, &store, cx)?;
        let _held_off = reboot::hold_off(&format!("the backup {} is under way", job.name), cx);
        let cx = &leases.iter().fold(cx.clone(), |cx, lease| lease.context(&cx));
        let made = self.free_names(job, &subjects, &*store, cx).and_then(|members| {
            let undertaking = Undertaking { job, postgres, clients, identity, store: &*store, recipients, members, leases: &leases };
            undertaking.make(&self.inventory.environment.name, cx)
        });
        let made = leases.iter().fold(made, |made, lease| lease.told(made))?;
        if store.reserved().is_none() {
            warn_of_shrinkage(job, &made, &*store, cx);
        }
        Ok(made)
    }

    /// Holds every other job of these databases off, on this host and on all that share the store: one lease for each.
    fn leases(
        &self,
        job: &Job,
        identity: &Identity,
        subjects: &[Option<String>],
        store: &Arc<dyn Store>,
        cx: &Context,
    ) -> Result<Vec<Lease>> {
        let locks = self.inventory.runs().join(LOCKS);
        // A store that cannot be looked into cannot hold a lease; this host's other jobs are held off all the same.
        let own: Arc<dyn Store> = Arc::new(Local::own(locks.join("leases")));
        let store = if store.reserved().is_some() { &own } else { store };
        let claim = |database: &Option<String>| {
            let database = database.as_deref().unwrap_or(GLOBALS);
            let claim =
                Claim { system_identifier: &identity.system_identifier, database, job: &job.name, length: job.lease, locks: &locks };
            lease::acquire(store, &claim, cx)
        };
        subjects.iter().map(claim).collect()
    }

    /// What the one dump of this job made now is called.
    pub(in crate::run) fn free_name(&self, job: &Job, store: &dyn Store, cx: &Context) -> Result<String> {
        let database = self.inventory.system(&job.system)?.postgres().database.clone();
        let names = self.free_names(job, &[Some(database)], store, cx)?;
        names.into_iter().next().map(|member| member.object).ok_or_else(|| Report::failed("no name for a dump"))
    }

    /// What the dumps made now are called. A name that is taken, by a dump of this minute or by what a killed backup left, is waited out:
    /// names hold a time, and nothing is ever replaced. One that stays taken for longer than any name lasts is refused by the backup itself.
    fn free_names(&self, job: &Job, subjects: &[Option<String>], store: &dyn Store, cx: &Context) -> Result<Vec<Member>> {
        let names = || -> Vec<Member> {
            let at = Timestamp::now();
            let stage = &self.inventory.environment.stage;
            let member =
                |database: &Option<String>| Member { database: database.clone(), object: job.object(stage, database.as_deref(), at) };
            subjects.iter().map(member).collect()
        };
        if let Some(reserved) = store.reserved() {
            return names().into_iter().map(|member| ticket::fitting(reserved, member, subjects.len())).collect();
        }
        let until = Instant::now() + NAME_LASTS;
        loop {
            let members = names();
            let Some(taken) = first_taken(&members, store, cx)? else { return Ok(members) };
            if Instant::now() >= until {
                return Ok(members);
            }
            cx.log.say("backup", &format!("there is a {taken} already: waiting until the time gives another name"));
            while names() == members && Instant::now() < until {
                cx.pause(LOOK_AGAIN)?;
            }
        }
    }
}

/// The first of the names that the store has something under.
fn first_taken(members: &[Member], store: &dyn Store, cx: &Context) -> Result<Option<String>> {
    for member in members {
        for key in [member.object.clone(), format!("{}{MANIFEST_SUFFIX}", member.object)] {
            if store.head(&key, cx)?.is_some() {
                return Ok(Some(key));
            }
        }
    }
    Ok(None)
}

/// Says at once what `latest` and `status` will say later: that a dump is whole, and far smaller than those before it (trap 13).
fn warn_of_shrinkage(job: &Job, made: &[Manifest], store: &dyn Store, cx: &Context) {
    let listing = match catalogue::list(store, Some(&job.name), cx) {
        Ok(listing) => listing,
        Err(error) => return cx.log.say("backup", &format!("not compared with earlier dumps: {error}")),
    };
    for dump in listing.dumps.iter().filter(|dump| made.iter().any(|made| made.id == dump.manifest.id)) {
        if let Some(words) = history::shrunk(&dump.manifest, listing.before(dump)) {
            let object = &dump.manifest.object;
            cx.log.say("backup", &format!("look at the database: {object} has shrunk, {words}; `latest` passes over it until a few agree"));
        }
    }
}

/// What was left out, and why.
fn tell(chosen: &Chosen, cx: &Context) {
    for (name, why) in &chosen.excluded {
        cx.log.say("backup", &format!("{name} is left out: {why}"));
    }
    cx.log.say("backup", &format!("to be dumped: {}", chosen.databases.join(", ")));
}

impl Undertaking<'_> {
    fn make(self, environment: &str, cx: &Context) -> Result<Vec<Manifest>> {
        let names: Vec<String> = self.members.iter().filter_map(|member| member.database.clone()).collect();
        let cut = Cut::take(&self.postgres, &names, cx)?;
        let group = self.group(&cut)?;
        if let Some(group) = group.as_ref().filter(|_| names.len() > 1) {
            let spread = group.last_snapshot.duration_since(group.first_snapshot);
            let words = format!(
                "snapshots of {} databases within {:.1} ms: a transaction over several of them that committed in between may be cut",
                names.len(),
                spread.as_secs_f64() * 1000.0
            );
            cx.log.say("backup", &words);
        }
        let mut snapshots = cut.snapshots.into_iter();
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for (at, (member, lease)) in self.members.iter().zip(self.leases).enumerate() {
            let guard = |cx: &Context| lease.still_ours(cx);
            if at > 0 {
                cx.meters.clear();
            }
            let order = |source, origin, snapshot_at, format, access| Order {
                job: &self.job.name,
                environment,
                object: &member.object,
                format,
                compression: self.job.compression,
                level: self.job.level,
                recipients: &self.recipients,
                origin,
                snapshot_at,
                group: group.clone(),
                access,
                source,
                store: self.store,
                guard: Some(&guard),
            };
            let order = match (&member.database, self.job.globals) {
                (None, globals) => {
                    let globals = globals.unwrap_or_default();
                    let source = Globals::of(&self.postgres, self.clients.clone(), self.identity.clone(), globals.role_passwords);
                    order(Box::new(source), self.origin(&self.identity), self.identity.now, Format::Globals, None)
                }
                (Some(database), _) => {
                    let mut snapshot = snapshots.next().ok_or_else(|| Report::failed(format!("no snapshot of {database}")))?;
                    self.same_server(&snapshot.identity)?;
                    let (since, origin) = (snapshot.since, self.origin(&snapshot.identity));
                    let access = self.job.access.then(|| snapshot.access(cx)).transpose()?;
                    let dump = Dump::of(&self.postgres, layout(self.job.format), self.clients.clone(), snapshot);
                    let source: Box<dyn Source> = Box::new(if self.job.access { dump.with_access() } else { dump });
                    order(source, origin, since, self.job.format, access)
                }
            };
            match backup::backup(order, cx) {
                Ok(manifest) => made.push(manifest),
                Err(error) if error.kind == Kind::Cancelled || self.members.len() == 1 => return Err(error),
                Err(error) => {
                    cx.log.say("backup", &error.to_string());
                    failed.push(error);
                }
            }
        }
        if failed.is_empty() { Ok(made) } else { Err(partly(&made, failed)) }
    }

    /// What answers now is what the leases were taken for.
    fn same_server(&self, now: &Identity) -> Result<()> {
        if now.system_identifier == self.identity.system_identifier {
            return Ok(());
        }
        Err(Report::failed(format!("{} became another server in the meantime", self.postgres.describe()))
            .cause(format!("it was {}, it is {}", self.identity.system_identifier, now.system_identifier)))
    }

    fn group(&self, cut: &Cut) -> Result<Option<Group>> {
        if !self.job.is_grouped() {
            return Ok(None);
        }
        let (first_snapshot, last_snapshot) = cut.span().unwrap_or((self.identity.now, self.identity.now));
        Ok(Some(Group { id: new_id()?, members: self.members.clone(), first_snapshot, last_snapshot }))
    }

    fn origin(&self, identity: &Identity) -> Origin {
        Origin {
            database: identity.database.clone(),
            system_identifier: identity.system_identifier.clone(),
            server_version: identity.version.clone(),
            client_version: self.clients.version.clone(),
        }
    }
}

/// How PostgreSQL's clients call a format. Globals are always text.
pub(super) fn layout(format: Format) -> Layout {
    match format {
        Format::Plain | Format::Globals => Layout::Plain,
        Format::Custom => Layout::Custom,
    }
}

/// Some dumps of a run could not be made.
fn partly(made: &[Manifest], failed: Vec<Report>) -> Report {
    let total = made.len() + failed.len();
    let report = Report::failed(format!("{} of {total} dumps were not made; what belongs together is not complete", failed.len()));
    let report = failed.into_iter().fold(report, |report, error| {
        let report = report.cause(error.message);
        error.causes.into_iter().fold(report, Report::cause)
    });
    match made {
        [] => report,
        made => report.hint(format!("there are: {}", made.iter().map(|made| made.object.as_str()).collect::<Vec<_>>().join(", "))),
    }
}
