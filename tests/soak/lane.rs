//! One lane of the soak: a production of its own, what is done to it, and what must hold after each of its deeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat::drill::bucket::Fault;
use lifeboat::drill::{BoxOptions, TheBox};
use lifeboat::pipeline::catalogue;
use lifeboat::pipeline::lease::record::PREFIX;
use lifeboat::pipeline::manifest::{Level, MANIFEST_SUFFIX, Manifest};
use lifeboat::pipeline::verify;
use lifeboat::port::{Context, Store};
use lifeboat::run::engine::{Engine, differences};
use lifeboat::system::postgres::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::Tally;
use crate::kills::{Dice, moved};
use crate::stage;
use crate::victim::{Fate, Victim, Ward, kill, until};

/// Orders in the shop: everything that ever broke a dump is there, in small.
const ROWS: u32 = 300;

/// Hardly compressible, so that its dump is an upload in several parts.
const NOISE: &str = "CREATE DATABASE big";
const NOISE_TABLE: &str = "CREATE TABLE noise AS
    SELECT n, encode(sha256(n::text::bytea), 'base64') AS word FROM generate_series(1, 190000) AS n";

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// What is longer at it than this hangs.
const PATIENCE: Duration = Duration::from_secs(150);

/// After so many new dumps they are restored.
const BATCH: usize = 20;

/// What is published, and what it must be for ever.
struct Published {
    manifest: Manifest,
    restored: bool,
}

/// Whose life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Child(&'static str),
    Ourselves,
    /// The server's process behind pg_dump: asked to end, or killed, which restarts the whole server.
    Backend(bool),
}

/// A backup on its way.
struct Run {
    victim: Victim,
    job: &'static str,
    hit: bool,
    /// Found once; then only that process is looked at.
    child: Option<u32>,
}

pub struct Lane<'a> {
    ward: Ward,
    elsewhere: PathBuf,
    the_box: TheBox,
    engine: Engine,
    store: Arc<dyn Store>,
    postgres: Postgres,
    extents: BTreeMap<(&'static str, &'static str), u64>,
    published: BTreeMap<String, Published>,
    dice: Dice,
    number: u64,
    tally: &'a Tally,
    cx: Context,
    _runtime: Runtime,
}

impl<'a> Lane<'a> {
    pub fn open(directory: &Path, number: u64, seed: u64, tally: &'a Tally) -> Lane<'a> {
        let runtime = stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let options = BoxOptions { dir: Some(directory.join(format!("lane-{number}"))), rows: ROWS, key_bits: 2048, keep: true };
        let the_box = TheBox::start(&options, &cx).unwrap();
        let config = the_box.config_path();
        let elsewhere = configure(config);
        let ward = Ward::of(config);
        let engine = Engine::new(Arc::clone(&ward.inventory));
        let store = engine.store(ward.inventory.job("orders").unwrap(), &cx).unwrap();
        let postgres = Postgres::new(ward.inventory.system("orders").unwrap().postgres().clone());
        let dice = Dice::of(seed.wrapping_add(number.wrapping_mul(0x1234_5678_9ABC)));
        let (extents, published) = (BTreeMap::new(), BTreeMap::new());
        let lane =
            Lane { ward, elsewhere, the_box, engine, store, postgres, extents, published, dice, number, tally, cx, _runtime: runtime };
        lane.execute("postgres", NOISE);
        lane.execute("big", NOISE_TABLE);
        lane.execute("orders", "CREATE TABLE shop.soak (id bigserial PRIMARY KEY, word text NOT NULL, at timestamptz DEFAULT now())");
        lane
    }

    /// So many backups, each with whatever happens to it.
    pub fn run(mut self, backups: u64) {
        for job in ["orders", "custom", "big"] {
            self.measure(job);
        }
        let mut tried = 0;
        while tried < backups {
            self.trade();
            tried += match self.dice.below(100) {
                0..20 => self.undisturbed(),
                20..55 => self.killed(),
                55..78 => self.faulted(),
                78..86 if tried + 2 <= backups => self.rivals(),
                86..90 => self.taken_away(),
                90..94 if tried + 2 <= backups => self.frozen(),
                94..97 => self.swept_meanwhile(),
                _ => self.sweep(),
            };
            if self.published.values().filter(|dump| !dump.restored).count() >= BATCH {
                self.restore_all();
            }
        }
        self.end();
    }

    fn end(&mut self) {
        // A last one, after all that.
        self.undisturbed();
        self.restore_all();
        until("the last sweep to find all", || {
            self.sweep();
            self.leftovers().is_empty()
        });
        assert_eq!(self.store.unfinished(&self.cx).unwrap(), []);
        let listing = catalogue::list(&*self.store, None, &self.cx).unwrap();
        assert_eq!(listing.problems, []);
        let listed: BTreeSet<String> = listing.dumps.iter().map(|dump| dump.manifest.object.clone()).collect();
        assert_eq!(listed, self.published.keys().cloned().collect());
        for dump in self.published.values() {
            let proof = verify::verify(&dump.manifest, &*self.store, None, Level::L1, &self.cx).unwrap();
            assert!(proof.held, "what was published changed: {proof:?}");
            self.tally.count("dumps whole at the end");
        }
        until("what victims started to end", || self.ward.left_running().iter().all(|(_, command)| command.starts_with("gpg-agent")));
    }

    fn execute(&self, database: &str, statements: &str) {
        let mut client = None;
        until("the server to take connections", || {
            client = self.the_box.cluster().connect(database, &self.cx).ok();
            client.is_some()
        });
        self.cx.runtime.block_on(client.unwrap().batch_execute(statements)).unwrap();
    }

    /// The databases are never twice the same.
    fn trade(&mut self) {
        let (count, odd) = (self.dice.below(40) + 1, self.dice.below(1000));
        let mut statements = format!(
            "INSERT INTO shop.soak (word) SELECT md5((n * {odd})::text) || E'\\t\\\\' FROM generate_series(1, {count}) n;
             DELETE FROM shop.soak WHERE id % 50 = {odd} % 50;"
        );
        let table = format!("shop.\"soak {}\"", odd % 9);
        let more = match self.dice.below(6) {
            0 => format!("CREATE TABLE IF NOT EXISTS {table} AS SELECT n FROM generate_series(1, {count}) n;"),
            1 => format!("DROP TABLE IF EXISTS {table};"),
            2 => "SELECT lo_from_bytea(0, sha256(now()::text::bytea));".to_owned(),
            3 => format!("CREATE INDEX IF NOT EXISTS soak_{} ON shop.soak (word);", odd % 3),
            _ => String::new(),
        };
        statements.push_str(&more);
        self.execute("orders", &statements);
        self.execute("big", &format!("UPDATE noise SET word = reverse(word) WHERE n BETWEEN {odd} AND {odd} + {count}"));
    }

    fn job(&mut self) -> &'static str {
        match self.dice.below(10) {
            0 => "big",
            1..=5 => "orders",
            _ => "custom",
        }
    }

    fn start(&self, job: &'static str, name: &str, config: Option<&Path>) -> Run {
        self.tally.count("backups tried");
        self.tally.count(&format!("job: {job}"));
        let mut command = Command::new(program());
        command.arg("--config").arg(config.unwrap_or(&self.ward.config)).args(["backup", job]);
        Run { victim: self.ward.send_off(command, &self.ward.dir.join(name)), job, hit: false, child: None }
    }

    /// Waits for its end, looking all the time; `deed` is done once when it has moved so much.
    fn follow(&self, mut run: Run, deed: Option<(Target, u64, &dyn Fn())>) -> (Fate, bool) {
        let id = run.victim.child.id();
        let end = Instant::now() + PATIENCE;
        while !run.victim.has_ended() {
            if Instant::now() > end {
                let _ = kill(i32::try_from(id).unwrap());
                panic!("lane {}: a backup of {} did not end within {PATIENCE:?}", self.number, run.job);
            }
            if let Some((target, moment, act)) = deed.filter(|_| !run.hit) {
                let watched = self.watched(target, id, &mut run.child);
                if watched.is_some_and(|watched| moved(watched) >= moment) {
                    act();
                    run.hit = match target {
                        Target::Ourselves => true,
                        Target::Child(_) => watched.is_some_and(|child| kill(i32::try_from(child).unwrap())),
                        Target::Backend(gently) => self.end_backend(run.job, gently),
                    };
                }
            }
            // Who is not there yet is looked for among all processes, which is not for nothing.
            let is_sought = deed.is_some_and(|(target, ..)| target != Target::Ourselves) && !run.hit && run.child.is_none();
            std::thread::sleep(if is_sought { 4 * LOOK } else { LOOK });
        }
        (run.victim.wait(), run.hit)
    }

    fn watched(&self, target: Target, id: u32, known: &mut Option<u32>) -> Option<u32> {
        let name = match target {
            Target::Ourselves => return Some(id),
            Target::Child(name) => name,
            Target::Backend(_) => "pg_dump",
        };
        let named = |child: u32| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|found| found.trim() == name);
        if known.is_none() {
            let first = i32::try_from(id).unwrap();
            let children = self.ward.running_since(first).into_iter().filter_map(|(child, _)| u32::try_from(child).ok());
            *known = children.filter(|child| *child != id).find(|child| named(*child));
        }
        *known
    }

    fn end_backend(&self, job: &str, gently: bool) -> bool {
        let Ok(client) = self.the_box.cluster().connect("postgres", &self.cx) else { return false };
        let database = if job == "big" { "big" } else { "orders" };
        // Another connection of the same name holds the snapshot; pg_dump's is the younger one.
        let query =
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'lifeboat' AND datname = $1 ORDER BY backend_start DESC LIMIT 1";
        let Ok(Some(row)) = self.cx.runtime.block_on(client.query_opt(query, &[&database])) else { return false };
        let signal = if gently { Signal::TERM } else { Signal::KILL };
        Pid::from_raw(row.get(0)).is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// A run that nobody disturbs, watched to know how far each process goes.
    fn measure(&mut self, job: &'static str) {
        let mut victim = {
            let mut command = Command::new(program());
            command.arg("--config").arg(&self.ward.config).args(["backup", job]);
            self.ward.send_off(command, &self.ward.dir.join("measured"))
        };
        let id = victim.child.id();
        while !victim.has_ended() {
            let found = self.ward.running_since(i32::try_from(id).unwrap()).into_iter().filter_map(|(child, _)| u32::try_from(child).ok());
            for child in found {
                let comm = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                let Some(name) = ["pg_dump", "gpg", "lifeboat"].into_iter().find(|name| *name == comm.trim()) else { continue };
                let most = self.extents.entry((job, name)).or_default();
                *most = (*most).max(moved(child));
            }
            std::thread::sleep(LOOK);
        }
        let fate = victim.wait();
        assert_eq!(fate.code(), Some(0), "{}", fate.said);
        self.check("measured", 1, 0);
    }

    fn moment(&mut self, job: &'static str, name: &'static str) -> u64 {
        let total = self.extents.get(&(job, name)).copied().unwrap_or_default();
        self.dice.moment(total)
    }

    /// What must hold after every deed: dumps are added, whole ones, as many as were said to be; none is lost, none changed.
    fn check(&mut self, what: &str, said: usize, perhaps: usize) {
        let objects = self.store.list("", &self.cx).unwrap();
        let sizes: BTreeMap<&str, u64> = objects.iter().map(|object| (object.key.as_str(), object.size)).collect();
        let names: BTreeSet<&str> = objects.iter().filter_map(|object| object.key.strip_suffix(MANIFEST_SUFFIX)).collect();
        for (name, dump) in &self.published {
            assert!(names.contains(name.as_str()), "lane {}: {what}: {name} was published and is gone", self.number);
            assert_eq!(sizes.get(name.as_str()), Some(&dump.manifest.stored.bytes), "lane {}: {what}: {name}", self.number);
        }
        let new: Vec<String> =
            names.into_iter().filter(|name| !self.published.contains_key(*name)).map(|name| (*name).to_owned()).collect();
        assert!(
            (said..=said + perhaps).contains(&new.len()),
            "lane {}: {what}: {said} said that they published, {perhaps} could not say; new are {new:?}",
            self.number
        );
        for name in new {
            let manifest = catalogue::find(&*self.store, &name, &self.cx).unwrap().manifest;
            assert_eq!(sizes.get(name.as_str()), Some(&manifest.stored.bytes), "lane {}: {what}: {name}", self.number);
            self.tally.count("dumps published");
            self.published.insert(name, Published { manifest, restored: false });
        }
    }

    /// What one process came to is what is there.
    fn judge(&mut self, what: &str, fates: &[Fate]) {
        for fate in fates {
            self.tally.count(&match fate.code() {
                Some(75) => "told to wait (75)".to_owned(),
                Some(code) => format!("exit {code}"),
                None => "killed by SIGKILL".to_owned(),
            });
            if fate.code() == Some(2) {
                eprintln!("lane {}: {what}: exit 2: {}", self.number, fate.said);
            }
            assert!(!fate.said.contains("defect") && !fate.said.contains("panicked"), "lane {}: {what}: {}", self.number, fate.said);
        }
        let codes: Vec<(Option<i32>, &str)> = fates.iter().map(|fate| (fate.code(), fate.said.trim())).collect();
        let said = fates.iter().filter(|fate| fate.code() == Some(0)).count();
        // Whoever was killed could not say; and of whoever the store stopped answering at the very end, nobody knows.
        let unsure = |fate: &&Fate| fate.code().is_none() || (fate.code() == Some(1) && fate.said.contains("was published is not known"));
        let perhaps = fates.iter().filter(unsure).count();
        self.check(&format!("{what}: {codes:?}"), said, perhaps);
    }

    fn undisturbed(&mut self) -> u64 {
        let job = self.job();
        let (fate, _) = self.follow(self.start(job, "a", None), None);
        assert_eq!(fate.code(), Some(0), "lane {}: nobody disturbed it: {}", self.number, fate.said);
        self.judge("undisturbed", &[fate]);
        1
    }

    fn killed(&mut self) -> u64 {
        let job = self.job();
        let dump = Target::Child("pg_dump");
        let targets = [dump, dump, Target::Child("gpg"), Target::Child("gpg"), Target::Ourselves, Target::Ourselves, Target::Backend(true)];
        // The whole server goes down and comes up: seldom, for it takes its time.
        let target = if self.dice.below(25) == 0 { Target::Backend(false) } else { self.dice.one_of(&targets) };
        let name = match target {
            Target::Child(name) => name,
            Target::Ourselves => "lifeboat",
            Target::Backend(_) => "pg_dump",
        };
        let moment = self.moment(job, name);
        let run = self.start(job, "a", None);
        let id = i32::try_from(run.victim.child.id()).unwrap();
        let act = || {
            if target == Target::Ourselves {
                kill(id);
            }
        };
        let (fate, hit) = self.follow(run, Some((target, moment, &act)));
        if hit {
            self.tally.count(&format!("killed: {target:?}"));
        }
        self.judge(&format!("{job}: {target:?} killed at {moment}"), &[fate]);
        1
    }

    fn faulted(&mut self) -> u64 {
        let job = self.job();
        let few = u32::try_from(self.dice.below(4) + 1).unwrap();
        let fault = self.dice.one_of(&[
            Fault::CutUploads(few),
            Fault::LoseAnswers(few),
            Fault::FailCompletions(few),
            Fault::SlowDown(few),
            Fault::CutObjects(1),
            Fault::GarbleObjects(1),
            Fault::FullDisk,
            Fault::RefuseWrites,
            Fault::SkewedClock,
            Fault::IgnoreConditions,
            Fault::CutDownloads { times: few, after: 100 },
        ]);
        let moment = self.moment(job, "lifeboat");
        let act = || self.the_box.bucket().fault(fault);
        let (fate, hit) = self.follow(self.start(job, "a", None), Some((Target::Ourselves, moment, &act)));
        self.the_box.bucket().heal();
        if hit {
            let name = format!("{fault:?}");
            self.tally.count(&format!("fault: {}", name.split(['(', ' ']).next().unwrap_or_default()));
        }
        self.judge(&format!("{job}: {fault:?} at {moment}"), &[fate]);
        1
    }

    /// Two jobs of one database at once, on one host or on two.
    fn rivals(&mut self) -> u64 {
        let elsewhere = (self.dice.below(2) == 0).then(|| self.elsewhere.clone());
        let first = self.start("orders", "a", None);
        let second = self.start("custom", "b", elsewhere.as_deref());
        let fates = [self.follow(first, None).0, self.follow(second, None).0];
        let codes: Vec<_> = fates.iter().map(Fate::code).collect();
        assert!(codes.iter().all(|code| [Some(0), Some(75)].contains(code)), "lane {}: rivals: {fates:?}", self.number);
        assert!(codes.contains(&Some(0)), "lane {}: rivals, and nobody won: {fates:?}", self.number);
        self.tally.count(if elsewhere.is_some() { "rivals on two hosts" } else { "rivals on one host" });
        self.judge("rivals", &fates);
        2
    }

    /// The lease is taken away by command in the middle of it.
    fn taken_away(&mut self) -> u64 {
        let job = self.job();
        let moment = self.moment(job, "lifeboat");
        let act = || self.take_lease(job);
        let (fate, hit) = self.follow(self.start(job, "a", None), Some((Target::Ourselves, moment, &act)));
        if hit {
            self.tally.count("leases taken away");
        }
        assert!([Some(0), Some(3)].contains(&fate.code()), "lane {}: {job}: lease taken at {moment}: {fate:?}", self.number);
        self.judge(&format!("{job}: lease taken at {moment}"), &[fate]);
        1
    }

    fn take_lease(&self, job: &str) {
        let mut command = Command::new(program());
        let output = command.arg("--config").arg(&self.ward.config).args(["lease", "take", job, "--reason", "the soak"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// It sleeps in the middle; its lease is taken away and another host makes a dump; then it wakes.
    fn frozen(&mut self) -> u64 {
        let job = self.dice.one_of(&["orders", "custom"]);
        let moment = self.moment(job, "lifeboat");
        let run = self.start(job, "a", None);
        let pid = Pid::from_raw(i32::try_from(run.victim.child.id()).unwrap()).unwrap();
        let other = std::cell::Cell::new(None);
        let act = || {
            // It may have just ended; then nobody sleeps.
            kill_process(pid, Signal::STOP).ok();
            self.take_lease(job);
            let (fate, _) = self.follow(self.start("custom", "b", Some(&self.elsewhere)), None);
            other.set(Some(fate));
            kill_process(pid, Signal::CONT).ok();
        };
        let (fate, hit) = self.follow(run, Some((Target::Ourselves, moment, &act)));
        let mut fates = vec![fate];
        fates.extend(other.take());
        let tried = fates.len() as u64;
        if hit {
            self.tally.count("frozen while another took over");
            assert_eq!(fates[1].code(), Some(0), "lane {}: {:?}", self.number, fates[1]);
        }
        self.judge(&format!("{job}: frozen at {moment}"), &fates);
        tried
    }

    /// A sweep during a backup removes nothing of it.
    fn swept_meanwhile(&mut self) -> u64 {
        let job = self.job();
        let moment = self.moment(job, "lifeboat");
        let act = || self.sweep_with("24h");
        let (fate, _) = self.follow(self.start(job, "a", None), Some((Target::Ourselves, moment, &act)));
        assert_eq!(fate.code(), Some(0), "lane {}: {job}: swept at {moment}: {}", self.number, fate.said);
        self.tally.count("sweeps during a backup");
        self.judge(&format!("{job}: swept at {moment}"), &[fate]);
        1
    }

    fn sweep(&mut self) -> u64 {
        let before = self.leftovers().len();
        self.sweep_with("0s");
        let after = self.leftovers().len();
        self.tally.count("sweeps");
        self.tally.add("leftovers swept", before.saturating_sub(after) as u64);
        self.check("sweep", 0, 0);
        0
    }

    fn sweep_with(&self, grace: &str) {
        let mut command = Command::new(program());
        let output = command.arg("--config").arg(&self.ward.config).args(["sweep", "--grace", grace, "--apply"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What is neither a dump, nor the end of a lease, nor the one object by which a store is asked whether it refuses to replace.
    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.store.unfinished(&self.cx).unwrap().into_iter().map(|upload| upload.key).collect();
        let objects = self.store.list("", &self.cx).unwrap();
        let dump = |key: &str| self.published.contains_key(key.strip_suffix(MANIFEST_SUFFIX).unwrap_or(key));
        let lease = |key: &str| key.starts_with(PREFIX) && !key.contains("/clock-");
        let kept = |key: &str| dump(key) || lease(key) || key.ends_with(".lifeboat/probe-conditional");
        left.extend(objects.into_iter().map(|object| object.key).filter(|key| !kept(key)));
        left
    }

    /// A restore that is killed leaves nothing that hinders the next.
    fn kill_restore(&mut self, job: &str, name: &str, into: &str) {
        let target = self.dice.one_of(&["psql", "pg_restore", "gpg", "gpg-agent", "lifeboat"]);
        let moment = self.moment("orders", "lifeboat");
        let mut command = Command::new(program());
        command.arg("--config").arg(&self.ward.config).args(["restore", name, "--job", job, "--into", into]);
        let run = Run { victim: self.ward.send_off(command, &self.ward.dir.join("restore")), job: "restore", hit: false, child: None };
        let id = i32::try_from(run.victim.child.id()).unwrap();
        let act = || {
            if target == "lifeboat" {
                kill(id);
            }
        };
        let (target, moment) = if target == "lifeboat" { (Target::Ourselves, moment) } else { (Target::Child(target), moment / 8) };
        let (fate, hit) = self.follow(run, Some((target, moment, &act)));
        if hit {
            self.tally.count(&format!("restores killed: {target:?}"));
        }
        until("what it started to end", || self.ward.left_running().iter().all(|(_, command)| command.starts_with("gpg-agent")));
        let query = format!("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{into}'");
        let comment = self.postgres.ask("postgres", &format!("SELECT coalesce(({query}), 'none')"), &self.cx).unwrap();
        let whole = comment.starts_with("lifeboat: restored");
        let what = format!("lane {}: restore of {name}, {target:?} killed at {moment}: {fate:?}, left {comment}", self.number);
        match fate.code() {
            Some(0) => assert!(whole, "{what}"),
            Some(_) => assert_eq!(comment, "none", "{what}"),
            None => assert!(whole || comment == "none" || comment.starts_with("lifeboat: being restored"), "{what}"),
        }
        if whole {
            let found = differences(&self.published[name].manifest, &self.postgres.count(into, &self.cx).unwrap());
            assert_eq!(found, [""; 0], "{what}");
            self.execute("postgres", &format!("DROP DATABASE {into} WITH (FORCE)"));
        }
    }

    /// Every dump that was not yet restored, into a new database, counted against its manifest.
    fn restore_all(&mut self) {
        self.execute("postgres", "SELECT 1");
        let waiting: Vec<String> = self.published.iter().filter(|(_, dump)| !dump.restored).map(|(name, _)| name.clone()).collect();
        for name in waiting {
            let manifest = &self.published[&name].manifest;
            let into = "soaked";
            let (job, rows) = (manifest.job.clone(), manifest.rows());
            if self.dice.below(12) == 0 {
                self.kill_restore(&job, &name, into);
            }
            let manifest = &self.published[&name].manifest;
            let restored = self.engine.restore(&manifest.job, &name, into, &self.cx);
            assert!(restored.is_ok(), "lane {}: {name} was published and cannot be restored: {restored:?}", self.number);
            let found = differences(manifest, &self.postgres.count(into, &self.cx).unwrap());
            assert_eq!(found, [""; 0], "lane {}: {name}", self.number);
            self.execute("postgres", &format!("DROP DATABASE {into} WITH (FORCE)"));
            self.tally.count("dumps restored and counted");
            self.tally.add("rows restored", rows);
            if let Some(dump) = self.published.get_mut(&name) {
                dump.restored = true;
            }
        }
    }
}

/// What is soaked: the program of this build, or the one that `LIFEBOAT_SOAK_PROGRAM` names.
fn program() -> PathBuf {
    std::env::var_os("LIFEBOAT_SOAK_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_lifeboat").into(), PathBuf::from)
}

/// Three jobs for two databases, names that differ within a minute, small parts; and the same on another host.
fn configure(config: &Path) -> PathBuf {
    let text = fs::read_to_string(config).unwrap();
    let at = text.find("[system.orders]").unwrap();
    let system = &text[at..at + text[at..].find("\n\n").unwrap()];
    let big = system.replace("[system.orders]", "[system.big]").replace("database = \"orders\"", "database = \"big\"");
    assert!(big.contains("\"big\""), "{big}");
    let plain = "format = \"plain\"\nname = \"{job}-{yyyyMMddHHmmss}.sql.gz.gpg\"";
    let text = text.replace("format = \"plain\"", plain).replace("path_style = true", "path_style = true\npart_size = \"5 MiB\"");
    let job = |name: &str, system: &str, rest: &str| {
        format!("[job.{name}]\nsystem = \"{system}\"\nstore = \"vault\"\nkeys = [\"backup\"]\n{rest}\n\n")
    };
    let custom = job("custom", "orders", "format = \"custom\"\nlevel = 1\nname = \"{job}-{yyyyMMddHHmmss}.dump.gz.gpg\"");
    let text = format!("{text}\n{big}\n\n{custom}{}", job("big", "big", plain));
    fs::write(config, &text).unwrap();
    let elsewhere = config.with_file_name("elsewhere.toml");
    fs::write(&elsewhere, text.replace("path = \"runs\"", "path = \"runs2\"")).unwrap();
    elsewhere
}
