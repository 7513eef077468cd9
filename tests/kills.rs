//! Every process of the pipeline killed at random moments, a hundred times and more: what is published is whole, what is not is gone.
//!
//! `LIFEBOAT_KILLS` says how often, `LIFEBOAT_KILLS_SEED` repeats a sequence. A moment is a number of bytes that a process has read and
//! written by then, which the kernel counts; never a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lifeboat::drill::bucket::Fault;
use lifeboat::drill::{BoxOptions, TheBox};
use lifeboat::pipeline::catalogue;
use lifeboat::pipeline::manifest::{MANIFEST_SUFFIX, Manifest, PROOF_INFIX};
use lifeboat::port::{Context, Store};
use lifeboat::report::Explain;
use lifeboat::run::engine::{Engine, differences};
use lifeboat::system::postgres::Postgres;
use tokio::runtime::Runtime;

use crate::resume::{databases, rename_dumps};
use crate::stage;
use crate::victim::{Fate, Victim, Ward, kill, until};

/// Text that hardly compresses, so that an upload has several parts.
const NOISE: &str = "CREATE TABLE shop.noise AS
    SELECT n, encode(sha256(n::text::bytea), 'base64') AS word FROM generate_series(1, 180000) AS n";

/// How often the kernel is asked how far a process is.
const LOOK: Duration = Duration::from_micros(300);

/// What is longer at it than this hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Numbers that are the same for the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// A number of bytes up to `total`, and in one of three cases near its end, where the last promises are made.
    pub fn moment(&mut self, total: u64) -> u64 {
        if self.below(3) == 0 { total.saturating_sub(self.below(5000)) } else { self.below(total) }
    }
}

/// What is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// A child of this name.
    Child(&'static str),
    Agent,
    Ourselves,
    Connection,
}

/// Bytes each had moved at the end of a run that nobody disturbed.
#[derive(Debug, Default)]
struct Extent(BTreeMap<String, u64>);

impl Extent {
    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

struct Scene {
    ward: Ward,
    the_box: TheBox,
    engine: Engine,
    cx: Context,
    _runtime: Runtime,
}

impl Scene {
    fn open() -> Scene {
        let runtime = stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let the_box = TheBox::start(&BoxOptions { rows: 5000, key_bits: 2048, ..BoxOptions::default() }, &cx).unwrap();
        rename_dumps(the_box.config_path());
        let client = the_box.cluster().connect("orders", &cx).unwrap();
        cx.wait(async { client.batch_execute(NOISE).await.explain(|| NOISE.into()) }).unwrap();
        let ward = Ward::of(the_box.config_path());
        let engine = Engine::new(Arc::clone(&ward.inventory));
        Scene { ward, the_box, engine, cx, _runtime: runtime }
    }

    fn lifeboat(&self, words: &[&str]) -> Victim {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(&self.ward.config).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        self.ward.send_off(command, &self.ward.dir.join("lifeboat"))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.engine.store(self.ward.inventory.job("orders").unwrap(), &self.cx).unwrap()
    }

    fn postgres(&self) -> Postgres {
        Postgres::new(self.ward.inventory.system("orders").unwrap().postgres().clone())
    }

    /// The dumps, and nothing else: what is no dump must not look like a damaged one.
    fn dumps(&self) -> BTreeMap<String, Manifest> {
        let listing = self.engine.listing("orders", &self.cx).unwrap();
        assert_eq!(listing.problems, []);
        listing.dumps.into_iter().map(|dump| (dump.manifest.object.clone(), dump.manifest)).collect()
    }

    /// What a victim has started, with names. gpg is nobody's child: gpgme lets go of it.
    fn children(&self, id: u32) -> Vec<(u32, String)> {
        let named = |(child, _): (i32, String)| {
            let child = u32::try_from(child).ok().filter(|child| *child != id)?;
            Some((child, fs::read_to_string(format!("/proc/{child}/comm")).ok()?.trim().to_owned()))
        };
        self.ward.running_since(i32::try_from(id).unwrap()).into_iter().filter_map(named).collect()
    }

    /// A run that nobody disturbs, watched to know how far each process goes.
    fn measure(&self, words: &[&str]) -> Extent {
        let mut victim = self.lifeboat(words);
        let id = victim.child.id();
        let mut extent = Extent::default();
        while !victim.has_ended() {
            for (child, name) in self.children(id).into_iter().chain([(id, "lifeboat".to_owned())]) {
                let most = extent.0.entry(name).or_default();
                *most = (*most).max(moved(child));
            }
            std::thread::sleep(LOOK);
        }
        let fate = victim.wait();
        assert_eq!(fate.code(), Some(0), "{}", fate.said);
        extent
    }

    /// Starts it and hits the target once it has moved so much. What became of it, and whether there was anything to hit.
    fn hit(&self, words: &[&str], target: Target, moment: u64, fault: Fault) -> (Fate, bool) {
        let mut victim = self.lifeboat(words);
        let id = victim.child.id();
        let mut hit = false;
        let end = Instant::now() + PATIENCE;
        while !victim.has_ended() {
            if Instant::now() > end {
                strike(id);
                panic!("{target:?} {fault:?} at {moment}: {words:?} did not end");
            }
            let ready = |id: u32| moved(id) >= moment;
            if !hit {
                hit = match target {
                    Target::Ourselves => ready(id) && strike(id),
                    Target::Connection => {
                        ready(id) && {
                            self.the_box.bucket().fault(fault);
                            true
                        }
                    }
                    Target::Child(name) => self.children(id).iter().any(|(child, found)| found == name && ready(*child) && strike(*child)),
                    Target::Agent => ready(id) && self.children(id).iter().any(|(child, found)| found == "gpg-agent" && strike(*child)),
                };
            }
            std::thread::sleep(LOOK);
        }
        self.the_box.bucket().heal();
        let fate = victim.wait();
        // Agents have a life of their own until the next run; everything else went with whoever started it.
        until("what was started to end", || self.ward.left_running().iter().all(|(_, command)| is_agent(command)));
        (fate, hit)
    }
}

fn is_agent(command: &str) -> bool {
    command.starts_with("gpg-agent")
}

fn strike(id: u32) -> bool {
    kill(i32::try_from(id).unwrap())
}

/// Bytes a process has read and written: files, pipes, and sockets as far as the kernel counts them.
pub fn moved(id: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{id}/io")).unwrap_or_default();
    io.lines().filter_map(|line| line.strip_prefix("rchar: ").or(line.strip_prefix("wchar: "))?.parse::<u64>().ok()).sum()
}

/// What was hit, and how often a whole result came of it all the same.
#[derive(Default)]
struct Tally(BTreeMap<Target, (u32, u32)>);

impl Tally {
    fn note(&mut self, target: Target, whole: bool) {
        let (hits, kept) = self.0.entry(target).or_default();
        *hits += 1;
        *kept += u32::from(whole);
    }

    fn hits(&self) -> u32 {
        self.0.values().map(|(hits, _)| hits).sum()
    }

    fn tell(&self, what: &str, began: Instant) {
        for (target, (hits, kept)) in &self.0 {
            eprintln!("{what}: {target:?} hit {hits} times, {kept} whole all the same");
        }
        eprintln!("{what}: {} hits in {:.1} s", self.hits(), began.elapsed().as_secs_f64());
    }
}

fn setting(name: &str, standard: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

// B7, TRAPS 9, 11, 14, 16, 26, 41
#[test]
fn whatever_is_killed_and_whenever_every_published_dump_is_whole_and_nothing_else_is_left() {
    let scene = Scene::open();
    let kills = u32::try_from(setting("LIFEBOAT_KILLS", 100)).unwrap();
    let seed = setting("LIFEBOAT_KILLS_SEED", u64::from(std::process::id()));
    eprintln!("LIFEBOAT_KILLS={kills} LIFEBOAT_KILLS_SEED={seed}");
    let mut dice = Dice::of(seed);
    kill_backups(&scene, kills - kills / 4, &mut dice);
    kill_restores(&scene, kills / 4, &mut dice);
}

fn kill_backups(scene: &Scene, kills: u32, dice: &mut Dice) {
    let began = Instant::now();
    let extent = scene.measure(&["backup", "orders"]);
    eprintln!("undisturbed: {extent:?}");
    let mut known: BTreeSet<String> = scene.dumps().into_keys().collect();
    assert_eq!(known.len(), 1);
    let (dump, gpg) = (Target::Child("pg_dump"), Target::Child("gpg"));
    let targets = [dump, dump, gpg, gpg, Target::Ourselves, Target::Ourselves, Target::Connection];
    let faults = [Fault::CutUploads(1), Fault::CutUploads(3), Fault::LoseAnswers(1), Fault::FailCompletions(1), Fault::FullDisk];
    let mut tally = Tally::default();
    while tally.hits() < kills {
        let (target, fault) = (dice.one_of(&targets), dice.one_of(&faults));
        let moment = match target {
            Target::Child(name) => dice.moment(extent.of(name)),
            _ => dice.moment(extent.of("lifeboat")),
        };
        let (fate, hit) = scene.hit(&["backup", "orders"], target, moment, fault);
        let new: Vec<String> = scene.dumps().into_keys().filter(|dump| !known.contains(dump)).collect();
        let what = format!("{target:?} {fault:?} at {moment}: {:?}, {}, published {new:?}", fate.status, fate.said);
        match fate.code() {
            Some(0) => assert_eq!(new.len(), 1, "{what}"),
            Some(_) => assert_eq!(new.len(), 0, "it said that nothing was published. {what}"),
            None => assert!(new.len() <= 1 && target == Target::Ourselves, "{what}"),
        }
        for dump in &new {
            let proven = scene.engine.verify("orders", dump, 4, &scene.cx);
            assert!(proven.is_ok(), "{what}: {proven:?}");
        }
        if hit {
            tally.note(target, !new.is_empty());
        }
        known.extend(new);
    }
    tally.tell("backups", began);
    assert!(tally.0.values().map(|(_, whole)| whole).sum::<u32>() < kills, "nothing was ever in the way");

    let store = scene.store();
    let swept = sweep(scene);
    eprintln!("backups: {} dumps, {swept} leftovers swept", known.len());
    assert_eq!(store.unfinished(&scene.cx).unwrap(), []);
    let mut expected: BTreeSet<String> = known.iter().cloned().collect();
    expected.extend(known.iter().map(|dump| format!("{dump}{MANIFEST_SUFFIX}")));
    let objects = store.list("", &scene.cx).unwrap().into_iter().map(|object| object.key);
    let objects = objects.filter(|key| !key.contains(PROOF_INFIX) && !key.contains(".lifeboat/"));
    assert_eq!(objects.collect::<BTreeSet<_>>(), expected);
    assert_eq!(scene.dumps().into_keys().collect::<BTreeSet<_>>(), known);
}

/// By the command: it shows first, and removes only what it was told to. Gives how much.
fn sweep(scene: &Scene) -> usize {
    let ask = |words: &[&str]| -> Vec<serde_json::Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        let output = command.arg("--config").arg(&scene.ward.config).args(["sweep", "--json"]).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(ask(&["--apply"]).len(), 0, "what is young may still become a dump");
    let later = Timestamp::now() + SignedDuration::from_mins(1);
    let expected = catalogue::sweep(&*scene.store(), SignedDuration::ZERO, later, false, &scene.cx).unwrap().len();
    until("the leftovers to be older than nothing", || ask(&["--grace", "0s"]).len() == expected);
    assert_eq!(ask(&["orders", "--grace", "0s", "--apply"]).len(), expected);
    assert_eq!(ask(&["--grace", "0s"]).len(), 0);
    expected
}

fn kill_restores(scene: &Scene, kills: u32, dice: &mut Dice) {
    let began = Instant::now();
    let dumps: Vec<(String, Manifest)> = scene.dumps().into_iter().collect();
    let (cluster, postgres) = (scene.the_box.cluster(), scene.postgres());
    let extent = scene.measure(&["restore", &dumps[0].0, "--into", "undisturbed"]);
    eprintln!("undisturbed: {extent:?}");
    let admin = cluster.connect("postgres", &scene.cx).unwrap();
    let forget = |database: &str| {
        let statement = format!("DROP DATABASE {database} WITH (FORCE)");
        scene.cx.wait(async { admin.batch_execute(&statement).await.explain(|| statement.clone()) }).unwrap();
    };
    forget("undisturbed");
    let mut tally = Tally::default();
    let mut attempts = 0;
    while tally.hits() < kills {
        attempts += 1;
        let target = dice.one_of(&[Target::Child("psql"), Target::Child("gpg"), Target::Agent, Target::Ourselves, Target::Ourselves]);
        let moment = match target {
            Target::Child(name) => dice.moment(extent.of(name)),
            _ => dice.moment(extent.of("lifeboat")),
        };
        let (dump, manifest) = &dumps[usize::try_from(dice.below(dumps.len() as u64)).unwrap()];
        let into = format!("copy_{attempts}");
        let (fate, hit) = scene.hit(&["restore", dump, "--into", &into], target, moment, Fault::SlowDown(0));
        // A database being made by a server whose client is gone appears a moment later, and is not whole then either.
        let comment = databases(cluster, &scene.cx).into_iter().find(|(name, _)| *name == into).map(|(_, comment)| comment);
        let whole = comment.as_ref().is_some_and(|comment| comment.starts_with("lifeboat: restored"));
        let what = format!("{target:?} at {moment}: {:?}, {}, left {comment:?}", fate.status, fate.said);
        match (fate.code(), &comment) {
            (Some(0), _) => assert!(whole, "{what}"),
            (Some(_), _) => assert!(comment.is_none(), "{what}"),
            (None, Some(comment)) => assert!(whole || comment.starts_with("lifeboat: being restored"), "{what}"),
            (None, None) => {}
        }
        if whole {
            assert_eq!(differences(manifest, &postgres.count(&into, &scene.cx).unwrap()), [""; 0], "{what}");
            forget(&into);
        }
        if hit {
            tally.note(target, whole);
        }
    }
    tally.tell("restores", began);
    let last = scene.measure(&["restore", &dumps[dumps.len() - 1].0, "--into", "last"]);
    assert!(last.of("psql") > 0);
    forget("last");
    let left = databases(cluster, &scene.cx);
    assert!(matches!(left.as_slice(), [(name, _)] if name == "orders"), "{left:?}");
    scene.ward.assert_nothing_left();
}
