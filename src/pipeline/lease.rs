//! One job per database at a time, across hosts: a lease in the store, and on each host a lock that the kernel lets go of.
//!
//! # In the store
//!
//! `.lifeboat/lease/SYSTEM/DATABASE/000000000042.json` is *epoch* 42 of a lease; the newest epoch is in force. Each is a small object that
//! is made by the store's own `put`, which never replaces: **making epoch n + 1 is the compare-and-swap**. Taking, renewing, giving back and
//! taking away are all the same act, the next epoch, and only one can make it. Nothing is ever written over, so no right to delete is needed
//! (old epochs then wait for `lifeboat sweep`); and the newest epoch is never removed, by nobody, so that numbers never begin again. After
//! its write everybody looks once more: whoever slept so long that its number had come and gone sees a newer one, and has lost.
//!
//! # Whose time
//!
//! A lease runs out by the *store's* clock alone: an epoch holds until `modified + length`, and whoever wants to know what time it is now
//! stores a few bytes and reads their `modified`. The times inside a record are for people. Clocks of hosts may be days apart ([`record::judge`]
//! is tested so). A store that tells time in seconds gets two seconds' grace.
//!
//! # The holder
//!
//! A thread renews every third of the length. A renewal that fails is tried again and again; running out does not end a healthy job, only
//! somebody else's epoch does (trap 35). Then the work is cancelled. Before the manifest is written [`Lease::still_ours`] makes the next
//! epoch itself: who cannot, publishes nothing, however long it was paused. That is the fence. A job that moves no byte for an hour is not
//! renewed: it may go on, but keeps nobody off.
//!
//! # One host
//!
//! The lock's file lies beside the runs and names its holders by the token of their lease. Whoever gets the lock knows that they are dead:
//! a lease with such a token is taken over at once, after `kill -9` and after a reboot alike. Any other host waits for the lease to run out.
//!
//! # Where this is weaker
//!
//! A store that ignores "only if there is none" (Garage; S3-likes of old) lets two hosts make the same epoch in the same instant. The one
//! that is replaced mostly sees it at once by its mark, else at its next renewal, at the latest before it publishes: its own last epoch must
//! still bear its token. Two dumps may then be made at the same time; both cannot be lost, and the one that lost is not published.

mod local;
pub mod record;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::local::HostLock;
use self::record::{Epoch, Ledger, Place, Record, Standing, State};
use crate::port::{Context, Store, nonce};
use crate::report::{Explain, Kind, Report, Result};

/// How often a lost race for the next epoch is tried again.
const RACES: u32 = 3;

/// How long giving back may take, whatever else is cancelled.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// A job that moves nothing for so long is no longer renewed.
const STILL: Duration = Duration::from_hours(1);

/// What is to be held.
pub struct Claim<'a> {
    /// The server.
    pub system_identifier: &'a str,
    /// The database.
    pub database: &'a str,
    /// The job that wants it.
    pub job: &'a str,
    /// How long the lease holds after each renewal.
    pub length: Duration,
    /// Where the locks of this host are.
    pub locks: &'a Path,
}

/// A lease that is held. Dropping it gives it back, on every way out.
pub struct Lease {
    held: Arc<Held>,
    /// What the thread asks with: not cancelled with the work, but when it is to end.
    own: Context,
    renewing: Option<JoinHandle<()>>,
    // Let go of last: until the store was told, the next one of this host waits.
    host: HostLock,
}

struct Held {
    store: Arc<dyn Store>,
    place: Place,
    record: Record,
    /// The number of our last epoch. Held while the next is made: the thread and the publisher take turns.
    turn: Mutex<u64>,
    lost: Mutex<Option<Report>>,
    /// Fires when the lease is lost: what is done under it stops.
    work: CancellationToken,
    ending: Mutex<bool>,
    ended: Condvar,
}

/// Takes the lease of a database. Held by another is `Kind::Busy`, with who, since when and until when. A lease that was given back, has run
/// out by the store's clock, or whose holder is known to be dead, is taken.
pub fn acquire(store: &Arc<dyn Store>, claim: &Claim<'_>, cx: &Context) -> Result<Lease> {
    let place = Place::of(claim.system_identifier, claim.database);
    let mut host = HostLock::take(claim.locks, &place, &format!("the database {}", claim.database))?;
    let record = claim.record()?;
    let number = take(&**store, &place, &record, &mut host, claim, cx).map_err(|error| match error.kind {
        Kind::Busy | Kind::Cancelled => error,
        _ => error.under(format!("the lease of the database {} could not be taken: nothing was published", claim.database)),
    })?;
    let held = Arc::new(Held {
        store: Arc::clone(store),
        place,
        record,
        turn: Mutex::new(number),
        lost: Mutex::new(None),
        work: cx.cancel.child_token(),
        ending: Mutex::new(false),
        ended: Condvar::new(),
    });
    let own = Context { cancel: CancellationToken::new(), ..cx.clone() };
    let mut lease = Lease { held: Arc::clone(&held), own: own.clone(), renewing: None, host };
    let renewing = std::thread::Builder::new().name("lease".into()).spawn(move || held.keep(&own));
    lease.renewing = Some(renewing.explain(|| "starting the thread that renews the lease".into())?);
    Ok(lease)
}

impl Claim<'_> {
    fn record(&self) -> Result<Record> {
        let now = Timestamp::now();
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
        Ok(Record {
            version: 1,
            state: State::Held,
            owner: clean(&crate::port::who()),
            machine: local::machine(),
            boot: local::boot(),
            process: std::process::id(),
            job: clean(self.job),
            system_identifier: clean(self.system_identifier),
            database: clean(self.database),
            acquired: now,
            written: now,
            length_seconds: self.length.as_secs().max(1),
            token: nonce(16)?,
            reason: None,
        })
    }
}

/// Makes the epoch that takes the lease, and gives its number.
fn take(store: &dyn Store, place: &Place, record: &Record, host: &mut HostLock, claim: &Claim<'_>, cx: &Context) -> Result<u64> {
    for _ in 0..RACES {
        let ledger = Ledger::read(store, place, cx)?;
        if let Some(newest) = ledger.newest.as_ref().filter(|newest| newest.until().is_some()) {
            if newest.record.as_ref().is_some_and(|record| host.proves_dead(record)) {
                cx.log.say("backup", &format!("the lease was held by {}: that process is dead, its lease is taken", newest.describe()));
            } else {
                let now = record::store_time(store, place, cx)?;
                if let Standing::Held(until) = record::judge(Some(newest), now) {
                    return Err(busy(claim, newest, now, until));
                }
                cx.log.say("backup", &format!("the lease was held by {}: it has run out and is taken", newest.describe()));
            }
        }
        let number = ledger.next()?;
        host.remember(&record.token)?;
        if record::write(store, place, number, record, cx)? {
            let after = Ledger::read(store, place, cx)?;
            if after.newest.as_ref().is_some_and(|seen| seen.number == number && seen.is_of(&record.token)) {
                after.prune(store, cx);
                return Ok(number);
            }
        }
    }
    let seen = Ledger::read(store, place, cx)?.newest;
    let report = Report::new(Kind::Busy, format!("the lease of the database {} was taken by others at the same moment", claim.database));
    Err(report.cause(seen.map(|seen| seen.describe()).unwrap_or_default()).hint(format!("lifeboat lease {}", claim.job)))
}

fn busy(claim: &Claim<'_>, newest: &Epoch, now: Timestamp, until: Timestamp) -> Report {
    let holder = newest.record.as_ref().map_or(claim.job, |record| &record.job);
    Report::new(Kind::Busy, format!("the database {} is held by another: {}", claim.database, newest.describe()))
        .cause(format!("its lease holds until {until} by the store's clock, where it is {now}, unless it is renewed"))
        .hint(format!("lifeboat lease {holder}"))
        .hint(format!("only if you know that it is dead or stuck: lifeboat lease take {holder} --reason \"…\""))
}

/// How a look at the lease came out.
enum Look {
    Ours(u64),
    Lost(Report),
}

impl Held {
    /// Makes the next epoch, in the given state, if the newest is ours.
    fn advance(&self, state: State, last: u64, cx: &Context) -> Result<Look> {
        let before = Ledger::read(&*self.store, &self.place, cx)?;
        let Some(newest) = before.newest.as_ref().filter(|newest| newest.is_of(&self.record.token) && newest.number >= last) else {
            return Ok(Look::Lost(self.lost_to(before.newest.as_ref())));
        };
        let number = before.next()?;
        debug_assert!(number > newest.number);
        let next = Record { state, written: Timestamp::now(), ..self.record.clone() };
        record::write(&*self.store, &self.place, number, &next, cx)?;
        let after = Ledger::read(&*self.store, &self.place, cx)?;
        let is_ours = |seen: &&Epoch| seen.record.as_ref().is_some_and(|record| record.token == self.record.token);
        match after.newest.as_ref().filter(is_ours) {
            Some(seen) if seen.number >= number => {
                after.prune(&*self.store, cx);
                Ok(Look::Ours(seen.number))
            }
            _ => Ok(Look::Lost(self.lost_to(after.newest.as_ref()))),
        }
    }

    fn lost_to(&self, newest: Option<&Epoch>) -> Report {
        let who = newest.map_or_else(|| "its records are gone from the store".into(), Epoch::describe);
        let reason = newest.and_then(|newest| newest.record.as_ref()).and_then(|record| record.reason.as_ref());
        let who = match reason {
            Some(reason) => {
                format!("taken away by {}: {reason}", newest.and_then(|newest| newest.record.as_ref()).map_or("?", |r| &r.owner))
            }
            None => who,
        };
        Report::refused(format!("the lease of the database {} was lost: nothing may be published under it", self.record.database))
            .cause(who)
            .hint(format!("lifeboat lease {}", self.record.job))
    }

    /// One renewal, in its turn. Once lost is lost.
    fn renew(&self, cx: &Context) -> Result<()> {
        let mut turn = lock(&self.turn);
        if let Some(report) = &*lock(&self.lost) {
            return Err(report.clone());
        }
        match self.advance(State::Renewed, *turn, cx)? {
            Look::Ours(number) => {
                *turn = number;
                Ok(())
            }
            Look::Lost(report) => {
                *lock(&self.lost) = Some(report.clone());
                self.work.cancel();
                Err(report)
            }
        }
    }

    /// Renews until told to end, or until it is lost.
    fn keep(&self, cx: &Context) {
        let third = self.record.length() / 3;
        let (mut moved, mut moved_at, mut wait) = (0, Instant::now(), third);
        while !self.is_ending_after(wait) {
            let bytes: u64 = cx.meters.read().iter().map(|reading| reading.bytes).sum();
            if bytes != moved {
                (moved, moved_at) = (bytes, Instant::now());
            }
            if moved_at.elapsed() > STILL {
                cx.log.say("backup", "nothing has moved for an hour: the lease is not renewed until something does");
                wait = third;
                continue;
            }
            wait = match self.renew(cx) {
                Ok(()) => third,
                Err(report) if lock(&self.lost).is_some() => return cx.log.say("backup", &report.to_string()),
                Err(report) => {
                    if !cx.cancel.is_cancelled() {
                        cx.log.say("backup", &format!("the lease could not be renewed, trying again: {report}"));
                    }
                    (third / 10).max(Duration::from_millis(100))
                }
            };
        }
    }

    fn is_ending_after(&self, time: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(lock(&self.ending), time, |ending| !*ending);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Lease {
    /// A context for the work under this lease: cancelled with `cx`, and when the lease is lost.
    pub fn context(&self, cx: &Context) -> Context {
        Context { cancel: self.held.work.clone(), ..cx.clone() }
    }

    /// Renews the lease, or says that it was lost. To be asked just before something is published: it cannot be lost after that for as long
    /// as the lease is.
    pub fn still_ours(&self, cx: &Context) -> Result<()> {
        self.told(self.held.renew(cx))
    }

    /// What work under this lease came to: where it was cancelled because the lease was lost, that is told.
    pub fn told<T>(&self, result: Result<T>) -> Result<T> {
        match (result, &*lock(&self.held.lost)) {
            (Err(error), Some(lost)) if error.kind == Kind::Cancelled => Err(error.causes.into_iter().fold(lost.clone(), Report::cause)),
            (result, _) => result,
        }
    }

    fn give_back(&self) {
        if lock(&self.held.lost).is_some() {
            return;
        }
        let own = Context { cancel: CancellationToken::new(), ..self.own.clone() };
        let deadline = own.cancel.clone();
        let timer = own.runtime.spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            deadline.cancel();
        });
        let given_back = self.held.advance(State::Released, *lock(&self.held.turn), &own);
        timer.abort();
        match given_back {
            Ok(Look::Ours(_)) => self.host.forget(),
            Ok(Look::Lost(_)) => {}
            Err(error) => own.log.say("backup", &format!("the lease could not be given back, it will run out: {error}")),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *lock(&self.held.ending) = true;
        self.held.ended.notify_all();
        self.own.cancel.cancel();
        if let Some(renewing) = self.renewing.take() {
            // Should it have panicked, the lease is given back all the same.
            renewing.join().ok();
        }
        self.give_back();
    }
}

/// What a decision took away.
pub struct Taken {
    /// Who held it, as messages say it.
    pub from: String,
    /// The database.
    pub database: String,
}

/// One lease of a store, for people.
pub struct Card {
    /// Where it is in the store.
    pub place: String,
    /// Its newest epoch.
    pub newest: Epoch,
}

/// Every lease of a store, or those of a job and those nobody can read.
pub fn list(store: &dyn Store, job: Option<&str>, cx: &Context) -> Result<Vec<Card>> {
    let objects = store.list(record::PREFIX, cx)?;
    let places: BTreeSet<&str> = objects.iter().filter_map(|object| object.key.rsplit_once('/')).map(|(place, _)| place).collect();
    let mut cards = Vec::new();
    for place in places {
        let place = Place { prefix: format!("{place}/") };
        let Some(newest) = Ledger::read(store, &place, cx)?.newest else { continue };
        if newest.record.as_ref().is_none_or(|record| job.is_none_or(|job| record.job == job)) {
            cards.push(Card { place: place.prefix, newest });
        }
    }
    Ok(cards)
}

/// Takes every lease of a job away from whoever holds it, because somebody decided so. It is free then; its holder publishes nothing.
pub fn take_away(store: &dyn Store, job: &str, reason: &str, cx: &Context) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for card in list(store, Some(job), cx)? {
        if card.newest.until().is_none() {
            continue;
        }
        let place = Place { prefix: card.place };
        let claim = Claim { system_identifier: "", database: "", job, length: record::LENGTH, locks: Path::new("") };
        let by = claim.record()?;
        let names = card.newest.record.as_ref().map(|record| (record.system_identifier.clone(), record.database.clone()));
        let (system_identifier, database) = names.unwrap_or_default();
        let reason = reason.chars().filter(|c| !c.is_control()).take(300).collect();
        let database_name = if database.is_empty() { place.prefix.clone() } else { database.clone() };
        let by = Record { state: State::Released, system_identifier, database, reason: Some(reason), ..by };
        // Its holder may renew it in this very moment.
        let mut won = false;
        for _ in 0..=RACES {
            let ledger = Ledger::read(store, &place, cx)?;
            won = record::write(store, &place, ledger.next()?, &by, cx)?;
            if won {
                break;
            }
        }
        if !won {
            return Err(Report::failed(format!("the lease {} is written by others faster than it can be taken", place.prefix)));
        }
        taken.push(Taken { from: card.newest.describe(), database: database_name });
    }
    Ok(taken)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
