//! What a store holds of a lease: numbered records, the newest in force. Reading, judging, writing the next; no threads, no guard.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::port::{Context, Object, Store, nonce};
use crate::report::{Explain, Kind, Report, Result};

/// Below it lies every lease of a store.
pub const PREFIX: &str = ".lifeboat/lease/";

/// How long a lease holds where nobody says, and where its record cannot be read.
pub const LENGTH: Duration = Duration::from_mins(10);

/// No record is believed to hold longer than this, whatever it says.
pub const LONGEST: Duration = Duration::from_hours(24);

/// Stores tell time in seconds, some cut and some rounded; a lease is over only when this much more has gone by.
const GRAIN: SignedDuration = SignedDuration::from_secs(2);

/// Digits of an epoch in a key.
const DIGITS: usize = 12;

/// Epochs that are kept behind the newest, for whoever wants to know what happened.
const KEPT: usize = 3;

/// Most bytes of a record that are read.
const RECORD_LIMIT: u64 = 1 << 16;

/// What an object that only asks the store for the time is called.
const CLOCK: &str = "clock-";

/// What a record says of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Taken.
    Held,
    /// Still held: written well before the one before runs out.
    Renewed,
    /// Given back, or taken away by decision: free.
    Released,
}

/// One epoch of a lease as it is written. Times in it are of its writer's clock, and nothing is decided by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 1.
    pub version: u32,
    /// What it says.
    pub state: State,
    /// `user@host`.
    pub owner: String,
    /// The machine, told from others of the same host name.
    pub machine: String,
    /// The machine's boot.
    pub boot: String,
    /// The process.
    pub process: u32,
    /// The job that holds it.
    pub job: String,
    /// The server.
    pub system_identifier: String,
    /// The database.
    pub database: String,
    /// When it was taken.
    pub acquired: Timestamp,
    /// When this epoch was written.
    pub written: Timestamp,
    /// How long it holds after the store has stored it.
    pub length_seconds: u64,
    /// Random, the same in every epoch of one holder.
    pub token: String,
    /// Why it was taken away by decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record {
    /// How long it holds, within bounds.
    pub fn length(&self) -> Duration {
        Duration::from_secs(self.length_seconds).clamp(Duration::from_secs(1), LONGEST)
    }

    /// Nothing in it was made to be shown to a terminal.
    fn is_clean(&self) -> bool {
        let words = [&self.owner, &self.machine, &self.boot, &self.job, &self.system_identifier, &self.database, &self.token];
        let mut words = words.into_iter().chain(&self.reason);
        words.all(|word| word.len() <= 500 && !word.chars().any(char::is_control)) && !self.token.is_empty()
    }
}

/// One epoch in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// 1, 2, 3 …
    pub number: u64,
    /// Its key.
    pub key: String,
    /// When the store stored it, by the store's clock: the only clock that counts.
    pub modified: Timestamp,
    /// What it says; `None` where that cannot be read, which holds as long as a lease does where nobody says.
    pub record: Option<Record>,
}

/// How things stand with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody holds it: never taken, given back, or run out.
    Free,
    /// Somebody does, until then by the store's clock.
    Held(Timestamp),
}

impl Epoch {
    /// Until when it holds, by the store's clock; `None` where it was given back.
    pub fn until(&self) -> Option<Timestamp> {
        if self.record.as_ref().is_some_and(|record| record.state == State::Released) {
            return None;
        }
        let length = self.record.as_ref().map_or(LENGTH, Record::length);
        Some(self.modified.saturating_add(length).unwrap_or(Timestamp::MAX))
    }

    /// It is this holder's.
    pub fn is_of(&self, token: &str) -> bool {
        self.record.as_ref().is_some_and(|record| record.token == token && record.state != State::Released)
    }

    /// For messages: who, since when.
    pub fn describe(&self) -> String {
        let seen = self.modified;
        match &self.record {
            None => format!("epoch {} of {seen} cannot be read, so nobody knows who holds it", self.number),
            Some(record) => {
                let Record { owner, process, job, acquired, .. } = record;
                format!("{owner} (process {process}) for the job {job} since {acquired}, last seen {seen}")
            }
        }
    }
}

/// How things stand, given the newest epoch and the store's time. A pure function of what the store said: no clock of ours, none of the holder's.
pub fn judge(newest: Option<&Epoch>, store_now: Timestamp) -> Standing {
    match newest.and_then(Epoch::until) {
        Some(until) if store_now.duration_since(until) <= GRAIN => Standing::Held(until),
        _ => Standing::Free,
    }
}

/// Where the lease of one database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `.lifeboat/lease/SYSTEM/DATABASE/`.
    pub prefix: String,
}

impl Place {
    /// Of a database of a server.
    pub fn of(system_identifier: &str, database: &str) -> Place {
        Place { prefix: format!("{PREFIX}{}/{}/", safe(system_identifier), safe(database)) }
    }

    /// The file of its OS lock.
    pub fn file_name(&self) -> String {
        format!("{}.lock", self.prefix.trim_start_matches(PREFIX).trim_end_matches('/').replace('/', "-"))
    }

    fn key(&self, number: u64) -> String {
        format!("{}{number:0DIGITS$}.json", self.prefix)
    }

    /// The number in a key; what is not written exactly as we write it is not an epoch.
    fn number(&self, key: &str) -> Option<u64> {
        let digits = key.strip_prefix(&self.prefix)?.strip_suffix(".json")?;
        (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
    }
}

/// A name as a part of a key and of a file: letters, digits, `-` and `_` as they are, every other byte as `=` and two hex digits.
fn safe(name: &str) -> String {
    let mut safe = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            _ => {
                safe.push('=');
                safe.push_str(&hex::encode([byte]));
            }
        }
    }
    if safe.is_empty() { "=".into() } else { safe }
}

/// Every epoch of one lease that is in the store.
pub struct Ledger {
    place: Place,
    numbers: Vec<u64>,
    /// The one in force.
    pub newest: Option<Epoch>,
}

impl Ledger {
    /// Reads it.
    pub fn read(store: &dyn Store, place: &Place, cx: &Context) -> Result<Ledger> {
        // The newest may be removed between the listing and the reading, but only when there is a newer one.
        for _ in 0..5 {
            let objects = store.list(&place.prefix, cx)?;
            let mut epochs: Vec<(u64, &Object)> = objects.iter().filter_map(|object| Some((place.number(&object.key)?, object))).collect();
            epochs.sort_by_key(|(number, _)| *number);
            let numbers = epochs.iter().map(|(number, _)| *number).collect();
            let Some((number, object)) = epochs.last() else { return Ok(Ledger { place: place.clone(), numbers, newest: None }) };
            if let Some(record) = read_record(store, object, cx)? {
                let newest = Epoch { number: *number, key: object.key.clone(), modified: object.modified, record: record.ok() };
                return Ok(Ledger { place: place.clone(), numbers, newest: Some(newest) });
            }
        }
        Err(Report::failed(format!("the lease in {}{} changes faster than it can be read", store.describe(), place.prefix)))
    }

    /// The number after the newest.
    pub fn next(&self) -> Result<u64> {
        let next = self.newest.as_ref().map_or(0, |epoch| epoch.number) + 1;
        if next >= 10_u64.pow(DIGITS.try_into().unwrap_or(12)) {
            return Err(Report::refused(format!("the lease {} has no numbers left: somebody wrote the last one", self.place.prefix))
                .hint(format!("remove what is below {} from the store", self.place.prefix)));
        }
        Ok(next)
    }

    /// Removes all but the last few, where removing is allowed. The newest never goes: numbers are never given twice.
    pub fn prune(&self, store: &dyn Store, cx: &Context) {
        let old = self.numbers.len().saturating_sub(KEPT + 1);
        for number in &self.numbers[..old] {
            // Not allowed, or not now: the sweeper's.
            if store.delete(&self.place.key(*number), cx).is_err() {
                return;
            }
        }
    }
}

/// `None` where the object is gone. The inner error is a record that cannot be used.
fn read_record(store: &dyn Store, object: &Object, cx: &Context) -> Result<Option<Result<Record, ()>>> {
    if object.size > RECORD_LIMIT {
        return Ok(Some(Err(())));
    }
    let mut text = Vec::new();
    let read = store.get(&object.key, None, cx).and_then(|stream| {
        stream
            .take(RECORD_LIMIT)
            .read_to_end(&mut text)
            .map_err(|error| Report::from_io(format!("reading the lease {}", object.key), error))
    });
    match read {
        Err(error) if error.kind == Kind::Refused && store.head(&object.key, cx)?.is_none() => return Ok(None),
        read => read?,
    };
    let record = serde_json::from_slice::<Record>(&text).ok().filter(Record::is_clean);
    Ok(Some(record.ok_or(())))
}

/// Writes epoch `number`. `false` where somebody else has: creating it is the compare-and-swap, and nothing is ever replaced.
pub fn write(store: &dyn Store, place: &Place, number: u64, record: &Record, cx: &Context) -> Result<bool> {
    let key = place.key(number);
    let mut text = serde_json::to_vec_pretty(record).explain(|| "writing a lease".into())?;
    text.push(b'\n');
    match store.put(&key, Box::new(Cursor::new(text)), cx) {
        Ok(_) => Ok(true),
        // A refusal may also be about rights.
        Err(error) if error.kind == Kind::Refused && store.head(&key, cx)?.is_some() => Ok(false),
        Err(error) => Err(error.under(format!("writing the lease {key} into {}", store.describe()))),
    }
}

/// What time it is for the store: it says so of an object that is stored now.
pub fn store_time(store: &dyn Store, place: &Place, cx: &Context) -> Result<Timestamp> {
    let key = format!("{}{CLOCK}{}", place.prefix, nonce(16)?);
    let asked =
        store.put(&key, Box::new(Cursor::new(b"what time is it?\n".to_vec())), cx).explain(|| "asking the store for its time".into())?;
    // Where removing is not allowed it is the sweeper's.
    store.delete(&key, cx).ok();
    Ok(asked.modified)
}

/// Which of these objects are leftovers of leases: epochs behind the newest few of their lease, and questions for the time.
pub fn leftovers(objects: &[Object]) -> Vec<(&Object, &'static str)> {
    let mut found = Vec::new();
    let mut leases: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.key.starts_with(PREFIX)) {
        let directory = object.key.rsplit_once('/').map_or("", |(directory, _)| directory);
        leases.entry(directory).or_default().push(object);
    }
    for (directory, lease) in leases {
        let place = Place { prefix: format!("{directory}/") };
        let mut epochs: Vec<(u64, &Object)> = lease.iter().filter_map(|object| Some((place.number(&object.key)?, *object))).collect();
        epochs.sort_by_key(|(number, _)| *number);
        let old = epochs.len().saturating_sub(KEPT + 1);
        found.extend(epochs[..old].iter().map(|(_, object)| (*object, "an old epoch of a lease")));
        let clocks = lease.iter().filter(|object| object.key[place.prefix.len()..].starts_with(CLOCK));
        found.extend(clocks.map(|object| (*object, "a question for the store's time")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A record by a holder whose clock is `skew` seconds off.
    fn record(state: State, length: u64, skew: i64) -> Record {
        Record {
            version: 1,
            state,
            owner: "a@b".into(),
            machine: "m".into(),
            boot: "b".into(),
            process: 1,
            job: "j".into(),
            system_identifier: "7".into(),
            database: "d".into(),
            acquired: at(skew),
            written: at(skew),
            length_seconds: length,
            token: "t".into(),
            reason: None,
        }
    }

    fn epoch(number: u64, second: i64, record: Option<Record>) -> Epoch {
        Epoch { number, key: String::new(), modified: at(second), record }
    }

    #[test]
    fn a_lease_holds_by_the_stores_clock_whatever_its_holders_clock_says() {
        for skew in [-1_000_000, -3600, 0, 3600, 1_000_000] {
            let held = epoch(3, 100, Some(record(State::Held, 60, skew)));
            assert_eq!(judge(Some(&held), at(100)), Standing::Held(at(160)));
            assert_eq!(judge(Some(&held), at(162)), Standing::Held(at(160)), "stores tell time in seconds");
            assert_eq!(judge(Some(&held), at(163)), Standing::Free);
        }
        assert_eq!(judge(None, at(0)), Standing::Free);
        assert_eq!(judge(Some(&epoch(3, 100, Some(record(State::Released, 60, 0)))), at(100)), Standing::Free);
    }

    #[test]
    fn a_record_nobody_can_read_holds_as_long_as_a_lease_and_no_longer() {
        let garbage = epoch(3, 100, None);
        assert_eq!(judge(Some(&garbage), at(600)), Standing::Held(at(700)));
        assert_eq!(judge(Some(&garbage), at(703)), Standing::Free);
        let hostile = epoch(3, 100, Some(record(State::Held, u64::MAX, 0)));
        assert_eq!(judge(Some(&hostile), at(100 + 86_403)), Standing::Free, "no record holds for ever");
        let never = epoch(3, 100, Some(record(State::Held, 0, 0)));
        assert_eq!(judge(Some(&never), at(100)), Standing::Held(at(101)));
    }

    #[test]
    fn every_database_has_a_place_of_its_own_that_any_store_can_keep() {
        let places = ["orders", "Orders", "or.ders", "..", "a/b", "a=2fb", "", "=", "é ü", "a b"].map(|name| Place::of("7", name));
        for (i, place) in places.iter().enumerate() {
            assert!(place.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./".contains(&byte)), "{place:?}");
            assert_eq!(place.prefix.matches('/').count(), 4, "{place:?}");
            assert!(places[i + 1..].iter().all(|other| other != place), "{place:?}");
            assert_eq!(place.number(&place.key(42)), Some(42));
        }
    }

    #[test]
    fn what_is_not_an_epoch_exactly_is_not_counted() {
        let place = Place::of("7", "orders");
        for name in [
            "1.json",
            "0000000000001.json",
            "00000000000a.json",
            "+00000000001.json",
            "000000000001.json.gpg",
            "clock-1",
            "x/000000000001.json",
        ] {
            assert_eq!(place.number(&format!("{}{name}", place.prefix)), None, "{name}");
        }
        assert_eq!(place.number(".lifeboat/lease/8/orders/000000000001.json"), None);
    }

    #[test]
    fn the_sweeper_is_shown_old_epochs_and_never_the_newest() {
        let object = |key: &str| Object { key: format!("{PREFIX}{key}"), size: 1, modified: at(0) };
        let mut objects: Vec<Object> = (1..=6).map(|number| object(&format!("7/a/{number:012}.json"))).collect();
        objects.push(object("7/a/clock-77"));
        objects.push(object("7/b/000000000009.json"));
        objects.push(object("7/b/what is this"));
        let found: Vec<&str> = leftovers(&objects).into_iter().map(|(object, _)| &object.key[PREFIX.len()..]).collect();
        assert_eq!(found, ["7/a/000000000001.json", "7/a/000000000002.json", "7/a/clock-77"]);
    }

    /// Numbers that are the same for the same seed.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
        }
    }

    /// A contender as the store sees it: what it read when, and whether it believes that it holds.
    #[derive(Clone, Default)]
    struct Contender {
        skew: i64,
        seen: Option<(u64, Standing)>,
        holds: Option<u64>,
        dead_until: i64,
    }

    // TRAPS 20, 35: read, pause, write, die and wake in any order, with clocks that are days apart.
    #[test]
    fn however_clocks_lie_and_contenders_pause_only_one_can_publish_and_a_dead_one_never_blocks_for_long() {
        for seed in 1..400_u64 {
            let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let length = 20 + i64::try_from(dice.below(40)).unwrap();
            let mut store: Vec<Epoch> = Vec::new();
            let mut crowd = vec![Contender::default(); 4];
            for contender in &mut crowd {
                contender.skew = i64::try_from(dice.below(2_000_000)).unwrap() - 1_000_000;
            }
            let (mut now, mut last_free, mut taken) = (0, 0, 0);
            for _ in 0..600 {
                now += i64::try_from(dice.below(4)).unwrap();
                let who = usize::try_from(dice.below(4)).unwrap();
                let contender = &mut crowd[who];
                if now < contender.dead_until {
                    continue;
                }
                let number = store.last().map_or(0, |epoch| epoch.number);
                let standing = judge(store.last(), at(now));
                let mut write = |state, skew| {
                    let record = Record { token: who.to_string(), ..record(state, u64::try_from(length).unwrap(), skew) };
                    store.push(epoch(number + 1, now, Some(record)));
                };
                match (dice.below(10), contender.holds, contender.seen.take()) {
                    // Dies, and comes back knowing nothing.
                    (0, ..) => *contender = Contender { skew: contender.skew, dead_until: now + 2 * length, ..Contender::default() },
                    // Renews, or publishes: both are the next epoch, and both fail where it is not the holder's to write.
                    (1..=4, Some(mine), _) if mine == number => {
                        write(State::Renewed, contender.skew);
                        contender.holds = Some(number + 1);
                    }
                    (1..=4, Some(_), _) => contender.holds = None,
                    (5, Some(mine), _) if mine == number => {
                        write(State::Released, contender.skew);
                        contender.holds = None;
                    }
                    (_, None, None) => contender.seen = Some((number, standing)),
                    // What it read some time ago decides, and the write fails where that is no longer the newest.
                    (_, None, Some((read, Standing::Free))) if read == number => {
                        write(State::Held, contender.skew);
                        contender.holds = Some(number + 1);
                        taken += 1;
                    }
                    _ => {}
                }
                let number = store.last().map_or(0, |epoch| epoch.number);
                let could_publish = crowd.iter().filter(|contender| contender.holds == Some(number)).count();
                assert!(could_publish <= 1, "seed {seed}");
                if judge(store.last(), at(now)) == Standing::Free {
                    last_free = now;
                } else if crowd.iter().all(|contender| contender.holds.is_none()) {
                    let blocked = now - last_free.max(store.last().map_or(0, |epoch| epoch.modified.as_second() - at(0).as_second()));
                    assert!(blocked <= length + 3, "seed {seed}: blocked for {blocked} s");
                }
            }
            assert!(taken > 2, "seed {seed}: nobody ever took it");
        }
    }
}
