//! The soak: random backups by real processes on real components, with random kills, faults, rivals and sweeps, seeded; and everything that
//! was published is restored and counted.
//!
//! `LIFEBOAT_SOAK` says how many backups (`make soak`: 1000; a test run does a few), `LIFEBOAT_SOAK_SEED` repeats the choices of a run (not its
//! moments to the microsecond: the kernel has a say in those), `LIFEBOAT_SOAK_DIR` where it happens. A violation keeps the directory.

mod lane;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lane::Lane;

/// Lanes run beside each other, each with servers, a key and a bucket of its own: what one breaks must not excuse another.
const LANES: u64 = 4;

/// Backups of a soak where nobody says how many.
const SHORT: u64 = 24;

/// How often it is said how far it is.
const TELL: Duration = Duration::from_secs(10);

/// What was done, in all lanes.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    pub fn count(&self, what: &str) {
        self.add(what, 1);
    }

    pub fn add(&self, what: &str, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what.to_owned()).or_default() += count;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied().unwrap_or_default()
    }

    fn progress(&self, total: u64, began: Instant) {
        let [tried, published, restored, busy] =
            ["backups tried", "dumps published", "dumps restored and counted", "told to wait (75)"].map(|what| self.of(what));
        eprintln!(
            "soak: {:4.0} s  {tried}/{total} backups, {published} published, {restored} restored, {busy} busy",
            began.elapsed().as_secs_f64()
        );
    }

    fn table(&self, seed: u64, began: Instant) {
        eprintln!("\n{:<44} {:>8}", "soak", format!("seed {seed}"));
        for (what, count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            eprintln!("{what:<44} {count:>8}");
        }
        eprintln!("{:<44} {:>8.0}", "seconds", began.elapsed().as_secs_f64());
    }
}

fn setting(name: &str, standard: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

// B7, G8, D9; TRAPS 9, 11, 14, 16, 20, 35, 40, 41, 43
#[test]
fn a_soak_of_random_backups_kills_and_faults_publishes_whole_dumps_only_and_every_one_is_restored() {
    let total = setting("LIFEBOAT_SOAK", SHORT);
    let seed = setting("LIFEBOAT_SOAK_SEED", u64::from(std::process::id()));
    let directory = std::env::var_os("LIFEBOAT_SOAK_DIR").map_or_else(|| PathBuf::from(format!("/tmp/lb-soak-{seed}")), PathBuf::from);
    assert!(!directory.exists(), "{} is there: another soak's evidence?", directory.display());
    eprintln!("LIFEBOAT_SOAK={total} LIFEBOAT_SOAK_SEED={seed} in {}", directory.display());
    let (tally, began, over) = (Tally::default(), Instant::now(), AtomicBool::new(false));
    let lanes = LANES.min(total);
    let violations: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = (0..lanes)
            .map(|number| {
                let (tally, directory) = (&tally, &directory);
                let backups = total / lanes + u64::from(number < total % lanes);
                scope.spawn(move || Lane::open(directory, number, seed, tally).run(backups))
            })
            .collect();
        scope.spawn(|| {
            let mut told = Instant::now();
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
                if told.elapsed() > TELL {
                    told = Instant::now();
                    tally.progress(total, began);
                }
            }
        });
        let ended: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let words = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
            Ok(words) => *words,
            Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "a panic without words".to_owned(), |words| (*words).to_owned()),
        };
        ended.into_iter().filter_map(|ended| ended.err().map(words)).collect()
    });
    tally.table(seed, began);
    assert!(
        violations.is_empty(),
        "LIFEBOAT_SOAK={total} LIFEBOAT_SOAK_SEED={seed}: the evidence is in {}\n{}",
        directory.display(),
        violations.join("\n")
    );
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(tally.of("backups tried"), total + lanes, "and one more at the end of each lane");
    assert_eq!(tally.of("dumps restored and counted"), tally.of("dumps published"));
    assert!(tally.of("dumps published") > 0, "nothing was ever published");
}
