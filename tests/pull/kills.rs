//! A pull killed at every step and at random moments, while the live database is used all the time: every answer is the old data or the whole
//! new data, and being cut off by a swap is over at the next attempts.
//!
//! **Offline**, here: whoever connects at once again is refused more than [`ATTEMPTS`] times in a row, or gets no answer for longer than
//! [`PATIENCE`]. `LIFEBOAT_PULL_KILLS` says how often a random moment is chosen, `LIFEBOAT_PULL_SEED` repeats a sequence.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::kills::Dice;
use crate::victim::{Fate, Victim, Ward, kill};

/// A swap renames the database between two attempts: the first finds it locked and then gone, the second finds the new one.
const ATTEMPTS: u32 = 3;

/// PostgreSQL looks every 100 ms whether a database's users have left before it is renamed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a user looks at an answer.
const THINKING: Duration = Duration::from_millis(3);

/// After how many kills one pull is left alone to its end. The others are the next victims, which must come as far as they are to be killed.
const LEFT_ALONE: u32 = 5;

/// What a pull says when each of its steps begins or ends, in order.
const STEPS: [&str; 12] = [
    "run ",
    "restore prod-",
    "count in",
    "neutralise …",
    "transform clean.sql …",
    "rewrite …",
    "assert …",
    "scan …",
    "clear away …",
    "analyse …",
    "swap …",
    "swap in",
];

/// Complete and clean, or not: edition, customers, orders, and those that nobody may see.
const LOOK: &str = "SELECT concat_ws(' ', (SELECT n FROM public.edition), (SELECT count(*) FROM shop.customers), (SELECT count(*) FROM shop.orders), \
                    (SELECT count(*) FROM shop.customers WHERE email !~ '@test.invalid$' OR address IS NOT NULL))";

/// The rest is in here too, slowly enough to be hit in each of its steps.
const SLOW: &str = "SELECT pg_sleep(0.15);\n";
const SLOW_RULES: &str = r#"
rewrite = [{ table = "public.links", columns = ["url", "more"], from = "https://www.shop.example", to = "https://staging.test.invalid" }]
assert = [{ title = "takes its time", query = "SELECT s FROM (SELECT pg_sleep(0.15)::text AS s) AS t WHERE s <> ''" },
          { title = "no customer has a real address", query = "SELECT id FROM shop.customers WHERE email !~ '@test\\.invalid$'" }]
keep_for = "1s"

[pull.clean.scan]
allow = ["@test.invalid"]
"#;

/// What was seen of the live database.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    cut: AtomicU64,
    most_attempts: AtomicU64,
    longest: Mutex<Duration>,
    wrong: Mutex<Vec<String>>,
}

/// Somebody who uses the live database all the time, over a connection that is made again whenever it is cut.
struct Reader {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn of(scene: &Scene, right: &[String]) -> Reader {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let (settings, right, cx) = (scene.target.settings("app", "app", LIVE), right.to_vec(), scene.cx.clone());
        let (ended, notes) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut client: Option<Client> = None;
            let (mut failed, mut last) = (0, Instant::now());
            while !ended.load(Ordering::Acquire) {
                let asked = cx.runtime.block_on(async {
                    let connected = match client.take() {
                        Some(connected) => connected,
                        None => connect(&settings).await.map_err(|error| error.to_string())?,
                    };
                    let row = connected.query_one(LOOK, &[]).await.map_err(|error| format!("{error:?}"))?;
                    Ok::<_, String>((connected, row.get::<_, String>(0)))
                });
                match asked {
                    Ok((connected, answer)) => {
                        client = Some(connected);
                        notes.answers.fetch_add(1, Ordering::Relaxed);
                        if failed > 0 {
                            notes.cut.fetch_add(1, Ordering::Relaxed);
                        }
                        let mut longest = notes.longest.lock().unwrap();
                        *longest = (*longest).max(last.elapsed());
                        (failed, last) = (0, Instant::now());
                        if !right.contains(&answer) {
                            notes.wrong.lock().unwrap().push(answer);
                        }
                        std::thread::sleep(THINKING);
                    }
                    Err(error) => {
                        failed += 1;
                        notes.most_attempts.fetch_max(failed, Ordering::Relaxed);
                        if failed > u64::from(ATTEMPTS) {
                            notes.wrong.lock().unwrap().push(format!("attempt {failed}: {error}"));
                        }
                    }
                }
            }
        });
        Reader { stop, seen, thread }
    }

    fn end(self) -> Arc<Seen> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
        self.seen
    }
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Ourselves,
    Child(&'static str),
    /// The server's process that restores or sanitises, ended by the server.
    Backend,
}

struct Field {
    scene: Scene,
    ward: Ward,
    /// Dumps and what the live database answers once each is live.
    editions: [(String, String); 2],
    /// Which was begun last.
    turn: usize,
    tally: BTreeMap<(Whom, String), u32>,
    kills: u32,
}

impl Field {
    fn open() -> Field {
        let clean = format!("{SLOW}{CLEAN}{SLOW}");
        let change = Change { transform: &[("clean.sql", &clean)], rules: SLOW_RULES, rows: 600, ..Change::default() };
        let scene = Scene::open(&change);
        scene.execute("postgres", &["GRANT pg_read_all_data TO app"]);
        scene.rig.execute("orders", &["CREATE TABLE public.edition (n int PRIMARY KEY); INSERT INTO public.edition VALUES (1)"]);
        let first = scene.dump();
        let sold = "UPDATE public.edition SET n = 2; DELETE FROM shop.payments; DELETE FROM shop.orders WHERE id % 2 = 0;
                    INSERT INTO shop.customers (name, email, joined) SELECT 'Eve', 'eve' || n || '@example.org', now() FROM generate_series(1, 7) n";
        scene.rig.execute("orders", &[sold]);
        let second = scene.dump();
        let ward = Ward::of(&scene.rig.config);
        let editions = [(first, "1 50 600 0".to_owned()), (second, "2 57 300 0".to_owned())];
        Field { scene, ward, editions, turn: 1, tally: BTreeMap::new(), kills: 0 }
    }

    fn send_off(&mut self) -> Victim {
        self.turn = 1 - self.turn;
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(&self.ward.config).args(["pull", "clean", "--again", "--dump", &self.editions[self.turn].0]);
        command.env("HOME", &self.ward.dir).env("XDG_STATE_HOME", self.ward.dir.join("state"));
        self.ward.send_off(command, &self.ward.dir.join("pull"))
    }

    /// To its end, and what is live then.
    fn pull_through(&mut self) {
        let fate = self.send_off().wait();
        assert_eq!(fate.code(), Some(0), "{}", fate.said);
        assert_eq!(self.live(), self.editions[self.turn].1, "{}", fate.said);
        assert!(!self.scene.databases().iter().any(|(name, _)| name.starts_with("lifeboat_")), "{:?}", self.scene.databases());
    }

    fn live(&self) -> String {
        self.scene.ask(LIVE, LOOK)
    }

    /// Kills `whom` once `ready`, and gives what became of it and in which step it was hit.
    fn hit(&mut self, whom: Whom, ready: impl Fn(&str, Duration) -> bool) -> (Fate, Option<String>) {
        let mut victim = self.send_off();
        let said = self.ward.dir.join("pull.said");
        let began = Instant::now();
        let mut step = None;
        while !victim.has_ended() {
            assert!(began.elapsed() < Duration::from_mins(1), "a pull did not end");
            let text = fs::read_to_string(&said).unwrap_or_default();
            if step.is_none() && ready(&text, began.elapsed()) && self.strike(whom, victim.child.id()) {
                step = Some(last_step(&text));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        let fate = victim.wait();
        if let Some(step) = &step {
            *self.tally.entry((whom, step.clone())).or_default() += 1;
        }
        (fate, step)
    }

    fn strike(&self, whom: Whom, id: u32) -> bool {
        match whom {
            Whom::Ourselves => kill(i32::try_from(id).unwrap()),
            Whom::Child(name) => {
                let running = self.ward.running_since(i32::try_from(id).unwrap()).into_iter();
                let found =
                    running.filter(|(child, _)| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm.trim() == name));
                found.filter(|(child, _)| kill(*child)).count() > 0
            }
            Whom::Backend => {
                let query = format!(
                    "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE datname = '{STAGED}' AND backend_type = 'client backend'"
                );
                self.scene.ask("postgres", &query) != "0"
            }
        }
    }

    /// Whatever happened: the live database is whole, and what else is there is closed, or clean, or nothing.
    fn look(&self, fate: &Fate, before: &str, what: &str) {
        let what = || format!("{what}: {:?} {}", fate.status, fate.said);
        until("what was started to end", || self.ward.left_running().iter().all(|(_, command)| command.starts_with("gpg-agent")));
        let live = self.live();
        match fate.code() {
            Some(0) => assert_eq!(live, self.editions[self.turn].1, "{}", what()),
            Some(_) => assert_eq!(live, before, "{}", what()),
            None => assert!(self.editions.iter().any(|(_, right)| *right == live), "{live}: {}", what()),
        }
        let left: Vec<(String, String)> = self.scene.databases().into_iter().filter(|(name, _)| name.starts_with("lifeboat_")).collect();
        if fate.code().is_some() {
            assert_eq!(left, [], "{}", what());
        }
        for (name, comment) in left {
            // A server goes on making a database whose maker is gone; it has nothing in it.
            if name != STAGED {
                assert_eq!(self.scene.ask(&name, "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'shop'"), "0", "{}", what());
                continue;
            }
            let error = self.scene.connect_as_app(&name).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                error.contains("permission denied") || error.contains("too many connections") || error.contains("does not exist"),
                "{error}: {}",
                what()
            );
            if !comment.starts_with("lifeboat: being restored") {
                assert!(comment.starts_with("lifeboat: restored"), "{comment}: {}", what());
                // Of this pull, or of one before that was killed before its swap.
                let copy = self.scene.ask(&name, LOOK);
                assert!(self.editions.iter().any(|(_, right)| *right == copy), "{copy}: {}", what());
            }
        }
    }

    fn kill_and_go_on(&mut self, whom: Whom, what: &str, ready: impl Fn(&str, Duration) -> bool) -> bool {
        let before = self.live();
        let (fate, step) = self.hit(whom, ready);
        self.look(&fate, &before, &format!("{whom:?} {what}, hit at {step:?}"));
        assert!(step.is_some() || fate.code() == Some(0), "nobody hit it, and it failed: {:?} {}", fate.status, fate.said);
        self.kills += 1;
        if self.kills.is_multiple_of(LEFT_ALONE) {
            self.pull_through();
        }
        step.is_some()
    }
}

/// The last step that had begun.
fn last_step(said: &str) -> String {
    STEPS.iter().rev().find(|step| said.contains(*step)).map_or_else(|| "(start)".to_owned(), |step| (*step).to_owned())
}

fn setting(name: &str, standard: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

// D11, B11, TRAPS 26, 27, 31
#[test]
fn a_pull_killed_anywhere_never_takes_the_live_database_away_nor_shows_a_row_that_is_not_sanitised() {
    let kills = setting("LIFEBOAT_PULL_KILLS", 30);
    let seed = setting("LIFEBOAT_PULL_SEED", u64::from(std::process::id()));
    eprintln!("LIFEBOAT_PULL_KILLS={kills} LIFEBOAT_PULL_SEED={seed}");
    let mut dice = Dice::of(seed);
    let mut field = Field::open();
    field.pull_through();
    let began = Instant::now();
    field.pull_through();
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    eprintln!("undisturbed: {:?}", began.elapsed());
    let right: Vec<String> = field.editions.iter().map(|(_, right)| right.clone()).collect();
    let readers = [Reader::of(&field.scene, &right), Reader::of(&field.scene, &right)];

    for step in STEPS {
        assert!(field.kill_and_go_on(Whom::Ourselves, step, |said, _| said.contains(step)), "{step} was never reached");
    }
    // The renames: the moment that everything else is for.
    for pause in [5, 20, 50, 80, 120, 200] {
        let since = Mutex::new(None);
        field.kill_and_go_on(Whom::Ourselves, &format!("{pause} ms into the swap"), |said, _| {
            let mut since = since.lock().unwrap();
            if said.contains("swap …") && since.is_none() {
                *since = Some(Instant::now());
            }
            since.is_some_and(|since| since.elapsed() >= Duration::from_millis(pause))
        });
    }
    let mut hits = 0;
    for _ in 0..kills * 3 {
        let whom =
            dice.one_of(&[Whom::Ourselves, Whom::Ourselves, Whom::Ourselves, Whom::Child("psql"), Whom::Child("gpg"), Whom::Backend]);
        let moment = Duration::from_micros(dice.below(whole));
        hits += u64::from(field.kill_and_go_on(whom, &format!("after {moment:?}"), |_, elapsed| elapsed >= moment));
        if hits >= kills {
            break;
        }
    }
    assert_eq!(hits, kills);
    for ((whom, step), count) in &field.tally {
        eprintln!("{whom:?} killed {count} times after {step:?}");
    }
    for reader in readers {
        let seen = reader.end();
        let (answers, cut) = (seen.answers.load(Ordering::Relaxed), seen.cut.load(Ordering::Relaxed));
        let (attempts, longest) = (seen.most_attempts.load(Ordering::Relaxed), *seen.longest.lock().unwrap());
        eprintln!("{answers} answers, cut off {cut} times, {attempts} attempts in vain at most, {longest:?} without an answer at most");
        assert_eq!(*seen.wrong.lock().unwrap(), [""; 0]);
        assert!(answers > 100 && cut > 5, "nobody used the live database");
        assert!(longest < PATIENCE, "{longest:?}");
    }
    field.pull_through();
    server_process_killed(&mut field);
    field.ward.assert_nothing_left();
}

/// SIGKILL to a process of the server ends every other too: PostgreSQL recovers, and that is what takes the live database away for a moment.
fn server_process_killed(field: &mut Field) {
    let before = field.live();
    let mut victim = field.send_off();
    let query = format!(
        "SELECT coalesce(max(pid), 0)::text FROM pg_stat_activity WHERE datname = '{STAGED}' AND backend_type = 'client backend' AND state = 'active'"
    );
    let mut hit = false;
    while !victim.has_ended() && !hit {
        let id: i32 = field.scene.ask("postgres", &query).parse().unwrap();
        hit = id > 0 && kill(id);
    }
    let fate = victim.wait();
    assert!(hit && fate.code().is_some_and(|code| code != 0), "{:?} {}", fate.status, fate.said);
    let settings = field.scene.target.settings("postgres", "staging", LIVE);
    until("the server to be back", || field.scene.cx.runtime.block_on(connect(&settings)).is_ok());
    assert_eq!(field.live(), before);
    field.pull_through();
}
