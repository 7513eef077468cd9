//! Killed with SIGKILL at any moment of a run, resumed: to the same end, and nothing done twice that may not be.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;
use lifeboat::drill::{BoxOptions, Scenario, TheBox};
use lifeboat::port::Context;
use lifeboat::report::{Explain, Kind};
use lifeboat::run::engine::Engine;
use lifeboat::run::person::{Asking, Person, Said, Unattended};
use lifeboat::run::report::RunReport;
use lifeboat::run::{self, Answer, Crew, Fact, Kept, Status, Verdict, journal};
use lifeboat::runbook::Plan;
use lifeboat::system::postgres::cluster::Cluster;
use tokio::runtime::Runtime;

use crate::stage;
use crate::victim::{End, Ward, kill, until};

/// Orders that visitors place between the backup and the disaster.
const LOST: u32 = 7;

/// A small production, backed up and struck.
struct Scene {
    ward: Ward,
    the_box: TheBox,
    cx: Context,
    _runtime: Runtime,
}

impl Scene {
    fn open() -> Scene {
        let runtime = stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let the_box = TheBox::start(&BoxOptions { rows: 500, key_bits: 2048, ..BoxOptions::default() }, &cx).unwrap();
        rename_dumps(the_box.config_path());
        let ward = Ward::of(the_box.config_path());
        Engine::new(Arc::clone(&ward.inventory)).backup("orders", &cx).unwrap();
        Scene { ward, the_box, cx, _runtime: runtime }
    }

    fn databases(&self) -> Vec<(String, String)> {
        databases(self.the_box.cluster(), &self.cx)
    }
}

/// Dumps of one minute would have one name, and these are made faster than that.
pub fn rename_dumps(config: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let renamed = text.replace("format = \"plain\"", "format = \"plain\"\nname = \"{stage}-{yyyyMMddHHmmss}.sql.gz.gpg\"");
    assert_ne!(text, renamed);
    fs::write(config, renamed).unwrap();
}

/// The databases beside the server's own, with their comments.
pub fn databases(cluster: &Cluster, cx: &Context) -> Vec<(String, String)> {
    let client = cluster.connect("postgres", cx).unwrap();
    let query = "SELECT datname::text, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
                 WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY 1";
    let rows = cx.wait(async { Ok(client.query(query, &[]).await.unwrap()) }).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn execute(scene: &Scene, client: &tokio_postgres::Client, statements: &str) {
    scene.cx.wait(async { client.batch_execute(statements).await.explain(|| statements.into()) }).unwrap();
}

fn count(kept: &Kept, wanted: impl Fn(&Fact) -> bool) -> usize {
    kept.entries.iter().filter(|entry| wanted(&entry.fact)).count()
}

fn assert_proven(kept: &Kept) {
    assert_eq!(kept.state.verdict, Some((Verdict::Proven, None)));
    for step in &kept.state.steps {
        assert!(matches!(step.status, Status::Proven(_)), "{} is {:?}", step.id, step.status);
    }
}

// B3, B4, B11, TRAPS 35, 36
#[test]
fn the_production_restore_killed_after_every_event_gets_the_database_back_all_the_same() {
    let scene = Scene::open();
    let ward = &scene.ward;
    scene.the_box.trade(LOST, &scene.cx).unwrap();
    let truth = scene.the_box.strike(Scenario::DeletedOrders, &scene.cx).unwrap();
    let began = Instant::now();
    let survived = ward.dir.join("survived");
    let incident_at = truth.at.to_string();
    let plan = ward.plan(None, "restore-production", "killed-often", Timestamp::now(), &[("incident_at", &incident_at)]);
    let mut kills = 0;
    let mut fate = ward.start(plan, truth.at, End::Each { survived: survived.clone() });
    loop {
        kills += usize::from(fate.killed());
        let moments = fs::read_to_string(&survived).unwrap();
        assert_eq!(moments.lines().count(), kills, "a kill that was no new moment: {moments}");
        // Reading it proves the chain.
        if !fate.killed() || ward.kept("killed-often").state.verdict.is_some() {
            break;
        }
        fate = ward.resume("killed-often", End::Each { survived: survived.clone() });
    }
    let kept = ward.kept("killed-often");
    assert!(fate.killed(), "{}\n{}", fate.said, story(&kept));
    assert_proven(&kept);
    let report = RunReport::of(&kept.plan, &kept.state, &kept.head);
    assert!(report.objectives_proven, "{}", report.markdown());
    let loss = scene.the_box.loss(&truth, &scene.cx).unwrap();
    assert_eq!((loss.rows, loss.changed), (LOST.into(), 0), "{loss:?}");

    let databases = scene.databases();
    let names: Vec<&str> = databases.iter().map(|(name, _)| name.as_str()).collect();
    assert!(matches!(names.as_slice(), ["orders", old] if old.starts_with("orders_old_")), "{databases:?}");
    let mark = &databases[1].1;
    assert!(mark.starts_with("lifeboat: kept {") && mark.contains("\"until\":\"2099-12-31\""), "{databases:?}");
    assert_eq!(databases[0].1, "The shop. Restore me.", "{databases:?}");

    // One more that touches keys, as the next night does: what the killed ones left is gone with it.
    let engine = ward.plan(None, "snapshot-restore", "the-next", Timestamp::now(), &[]);
    assert_eq!(ward.start(engine, truth.at, End::Never).code(), Some(0));
    ward.assert_nothing_left();
    eprintln!("{kills} kills, {} facts, {:.1} s", kept.entries.len(), began.elapsed().as_secs_f64());
    assert!(kills > 150, "only {kills}");
}

fn story(kept: &Kept) -> String {
    let mut text = String::new();
    for entry in kept.entries.iter().rev().take(12).rev() {
        writeln!(text, "{}", serde_json::to_string(&entry).unwrap()).unwrap();
    }
    text
}

/// A runbook with its two programs beside it.
fn book(ward: &Ward, name: &str, text: &str) -> std::path::PathBuf {
    let script = |name: &str, text: &str| {
        let path = ward.dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let (append, count) = (script("append", "echo once >> \"$1\""), script("count", "cat \"$1\" 2>&1 | grep -c once; true"));
    let path = ward.dir.join(format!("{name}.toml"));
    fs::write(&path, text.replace("APPEND", &append).replace("COUNT", &count)).unwrap();
    path
}

/// Killed once, resumed once. Gives what there is in the end.
fn killed_once(ward: &Ward, plan: &Plan, end: &End) -> Kept {
    let run = &plan.surroundings.run;
    let mut fate = ward.start(plan.clone(), Timestamp::now(), end.clone());
    assert_eq!(fate.killed(), !matches!(end, End::Never), "{end:?}: {}", fate.said);
    let directory = ward.runs().join(run);
    if fs::metadata(directory.join(journal::FILE)).unwrap().len() == 0 {
        let refused = ward.resume(run, End::Never);
        assert_eq!(refused.code(), Some(3), "nothing had happened yet: {}", refused.said);
        fs::remove_dir_all(directory).unwrap();
        fate = ward.start(plan.clone(), Timestamp::now(), End::Never);
    } else if fate.killed() && ward.kept(run).state.verdict.is_none() {
        fate = ward.resume(run, End::Never);
    }
    let kept = ward.kept(run);
    assert!(fate.killed() || fate.code() == Some(0), "{end:?}: {}\n{}", fate.said, story(&kept));
    assert_proven(&kept);
    assert_eq!(count(&kept, |fact| matches!(fact, Fact::RunEnded { .. })), 1);
    kept
}

// B3, TRAPS 35, 36
#[test]
fn a_run_killed_before_or_after_any_single_event_ends_the_same_when_resumed() {
    let scene = Scene::open();
    let ward = &scene.ward;
    let book = book(ward, "effects", include_str!("resume/effects.toml"));
    let client = scene.the_box.cluster().connect("orders", &scene.cx).unwrap();
    let began = Instant::now();
    let walk = |end: End| -> Kept {
        let run = format!("short-{}", serde_json::to_string(&end).unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        let file = ward.dir.join(format!("{run}.txt")).display().to_string();
        let plan = ward.plan(Some(&book), "effects", &run, Timestamp::now(), &[("file", &file), ("into", "orders")]);
        let kept = killed_once(ward, &plan, &end);
        assert_eq!(fs::read_to_string(&file).unwrap(), "once\n", "{end:?}: {}", story(&kept));
        let told = fs::read_to_string(ward.dir.join("notices.log")).unwrap();
        let told = told.lines().filter(|line| line.contains(&format!("{run} by Somebody"))).count();
        // People are told once more rather than never, where nobody saw whether they had been.
        assert!((1..=2).contains(&told), "{end:?}: told {told} times");
        let asked = scene.cx.wait(async { Ok(client.query_one("SELECT count(*) FROM once", &[]).await.unwrap()) });
        assert_eq!(asked.unwrap().get::<_, i64>(0), 1, "{end:?}");
        execute(&scene, &client, "DROP TABLE once");
        kept
    };
    let events = walk(End::Never).entries.len() as u64;
    for n in 1..=events {
        walk(End::At { n, before: true });
        walk(End::At { n, before: false });
    }
    ward.assert_nothing_left();
    eprintln!("{events} events, {} kills, {:.1} s", events * 2, began.elapsed().as_secs_f64());
    assert!(events > 40, "only {events}");
}

// B3, B7, B11
#[test]
fn work_of_the_engine_killed_around_its_action_gives_the_same_and_leaves_nothing() {
    let scene = Scene::open();
    let ward = &scene.ward;
    let book = book(ward, "engine", include_str!("resume/engine.toml"));
    let admin = scene.the_box.cluster().connect("postgres", &scene.cx).unwrap();
    let began = Instant::now();
    let dumps = || Engine::new(Arc::clone(&ward.inventory)).listing("orders", &scene.cx).unwrap().dumps.len();
    let mut kills = 0;
    for step in ["dump", "pick", "prove", "restore", "table"] {
        for (fact, before) in [("action-started", false), ("action-ended", true), ("action-ended", false)] {
            kills += 1;
            let (run, into, made) = (format!("engine-{kills}"), format!("copy_{kills}"), dumps());
            let plan = ward.plan(Some(&book), "engine", &run, Timestamp::now(), &[("into", &into)]);
            let kept = killed_once(ward, &plan, &End::On { fact: fact.into(), step: step.into(), before });
            // A dump that is there and of which nobody had said so is made again; it stays a dump.
            assert_eq!(dumps() - made, if (step, before) == ("dump", true) { 2 } else { 1 }, "{}", story(&kept));
            let copy = scene.the_box.cluster().connect(&into, &scene.cx).unwrap();
            let query = "SELECT count(*), (SELECT count(*) FROM shop.orders) FROM once";
            let asked = scene.cx.wait(async { Ok(copy.query_one(query, &[]).await.unwrap()) }).unwrap();
            assert_eq!((asked.get(0), asked.get(1)), (1_i64, 500_i64), "{step} {fact} {before}");
            drop(copy);
            execute(&scene, &admin, &format!("DROP DATABASE {into} WITH (FORCE)"));
            let left = scene.databases();
            assert!(matches!(left.as_slice(), [(name, _)] if name == "orders"), "{step} {fact} {before} left {left:?}");
        }
    }
    ward.assert_nothing_left();
    eprintln!("{kills} kills, {:.1} s", began.elapsed().as_secs_f64());
}

/// A runbook of one command that appends a line, in a ward without servers.
struct Bare {
    ward: Ward,
    dir: tempfile::TempDir,
}

impl Bare {
    /// `rest` belongs to the step `mark`; `FILE` in it is the file that the command appends to.
    fn open(rest: &str) -> Bare {
        let dir = tempfile::Builder::new().prefix("lifeboat-bare-").tempdir().unwrap();
        let ward = Ward::bare(dir.path());
        let append = dir.path().join("append");
        fs::write(&append, "#!/bin/sh\necho line >> \"$1\"\ntest \"$2\" != fail\n").unwrap();
        fs::set_permissions(&append, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let head = "[runbook]\nid = \"bare\"\ntitle = \"One line\"\nsummary = \"Appends a line.\"\nowner = \"tests\"\nreview_by = 2099-01-01\n\n\
                    [[step]]\nid = \"mark\"\ntitle = \"Append\"\nexpect = \"1s\"\n";
        let rest = rest.replace("APPEND", &append.display().to_string()).replace("FILE", &dir.path().join("file").display().to_string());
        fs::write(dir.path().join("books/bare.toml"), format!("{head}{rest}")).unwrap();
        Bare { ward, dir }
    }

    fn start(&self, fact: &str, before: bool) {
        let plan = self.ward.plan(Some(&self.dir.path().join("books/bare.toml")), "bare", "bare-1", Timestamp::now(), &[]);
        let fate = self.ward.start(plan, Timestamp::now(), End::On { fact: fact.into(), step: "mark".into(), before });
        assert!(fate.killed(), "{}", fate.said);
    }

    /// The exit code of a resume.
    fn resume(&self) -> i32 {
        self.ward.resume("bare-1", End::Never).code().unwrap()
    }

    fn lines(&self) -> usize {
        fs::read_to_string(self.dir.path().join("file")).unwrap_or_default().lines().count()
    }

    fn refused(&self, environment: &str) -> lifeboat::report::Report {
        let runtime = stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let hands = Arc::new(Engine::new(Arc::clone(&self.ward.inventory)));
        let crew = Crew { hands, person: Box::new(Unattended { boxed: true }), witness: Box::new(()) };
        run::resume(&self.ward.runs(), "bare-1", environment, crew, &cx).err().unwrap()
    }
}

/// A person who says this, one after the other, and is gone then. What they were asked is written down.
struct Script {
    answers: VecDeque<Answer>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Person for Script {
    fn ask(&mut self, asking: Asking<'_>) -> Said {
        let kind = serde_json::to_value(asking.question).unwrap()["ask"].as_str().unwrap().to_owned();
        self.asked.lock().unwrap().push(format!("{} {} {kind}", asking.known.number, asking.step.id));
        self.answers.pop_front().map_or(Said::Nobody, |answer| Said::Answer(answer, "ada".into()))
    }
}

impl Bare {
    /// Walks it with these answers. What was asked, and what there is then.
    fn walk(&self, answers: impl IntoIterator<Item = Answer>) -> (Vec<String>, Kept) {
        let plan = self.ward.plan(Some(&self.dir.path().join("books/bare.toml")), "bare", "bare-1", Timestamp::now(), &[]);
        let runtime = stage::runtime();
        let cx = Context::new(runtime.handle().clone());
        let asked = Arc::new(Mutex::default());
        let person = Script { answers: answers.into_iter().collect(), asked: Arc::clone(&asked) };
        let hands = Arc::new(Engine::new(Arc::clone(&self.ward.inventory)));
        let crew = Crew { hands, person: Box::new(person), witness: Box::new(()) };
        run::start(&self.ward.runs(), plan, false, Timestamp::now(), crew, &cx).unwrap().wait().ok();
        let asked = asked.lock().unwrap().clone();
        (asked, self.ward.kept("bare-1"))
    }
}

/// Before the step `mark`, a person is asked until when.
const ASKS_UNTIL: &str = "manual = { ask = [{ name = \"until\", label = \"Until\", kind = \"coming-day\" }] }\n\n\
                          [[step]]\nid = \"use\"\ntitle = \"Use {{ steps.mark.until }}\"\nexpect = \"1s\"\n\
                          command = [\"APPEND\", \"FILE-{{ steps.mark.until }}\"]\nverify = \"none: nobody can look\"\n";

fn until_day(day: &str) -> Answer {
    Answer::Done { fields: [("until".to_owned(), day.to_owned())].into() }
}

#[test]
fn a_day_that_is_over_is_asked_again_and_never_reaches_a_later_step() {
    let bare = Bare::open(ASKS_UNTIL);
    let (asked, kept) = bare.walk([until_day("2020-01-01"), until_day("tomorrow"), until_day("2099-12-31"), Answer::Go]);
    assert_eq!(asked, ["1 mark manual", "1 mark manual", "1 mark manual", "2 use ready"]);
    assert_proven(&kept);
    assert!(bare.dir.path().join("file-2099-12-31").exists());
}

#[test]
fn an_answer_is_corrected_while_nothing_after_it_was_carried_out_and_not_later() {
    let bare = Bare::open(ASKS_UNTIL);
    let (asked, kept) = bare.walk([until_day("2099-12-30"), Answer::Back, until_day("2099-12-31"), Answer::Go]);
    assert_eq!(asked, ["1 mark manual", "2 use ready", "1 mark manual", "2 use ready"]);
    assert_proven(&kept);
    assert!(bare.dir.path().join("file-2099-12-31").exists() && !bare.dir.path().join("file-2099-12-30").exists());
    assert_eq!(kept.state.step("use").unwrap().title, "Use 2099-12-31");
    assert_eq!(count(&kept, |fact| matches!(fact, Fact::StepReopened { .. })), 1);

    let late = Bare::open(&ASKS_UNTIL.replace("{{ steps.mark.until }}\"]", "{{ steps.mark.until }}\", \"fail\"]"));
    let (asked, kept) = late.walk([until_day("2099-12-30"), Answer::Go, Answer::Back, Answer::Back]);
    assert_eq!(asked, ["1 mark manual", "2 use ready", "2 use failed", "2 use failed", "2 use failed"]);
    assert_eq!(count(&kept, |fact| matches!(fact, Fact::StepReopened { .. })), 0);
}

const CHECKED: &str = "command = [\"APPEND\", \"FILE\"]\nverify = [{ title = \"it is there\", command = [\"grep\", \"-c\", \"line\", \"FILE\"], equals = \"1\" }]\n";

const UNCHECKED: &str = "command = [\"APPEND\", \"FILE\"]\nverify = \"none: nobody can look\"\n";

// B3
#[test]
fn a_step_in_doubt_whose_checks_hold_is_proven_without_being_done_again() {
    let bare = Bare::open(CHECKED);
    bare.start("action-ended", true);
    assert_eq!(bare.resume(), 0);
    assert_eq!(bare.lines(), 1);
    let kept = bare.ward.kept("bare-1");
    assert_proven(&kept);
    assert_eq!(count(&kept, |fact| matches!(fact, Fact::ActionStarted { .. })), 1);
    assert_eq!(count(&kept, |fact| matches!(fact, Fact::ActionEnded { .. })), 0, "nobody saw it end");
}

// B3
#[test]
fn a_step_in_doubt_that_may_not_be_repeated_parks_and_is_not_done_again() {
    let bare = Bare::open(CHECKED);
    bare.start("action-started", false);
    let parked = i32::from(Kind::Parked.exit_code());
    assert_eq!((bare.resume(), bare.resume()), (parked, parked));
    assert_eq!(bare.lines(), 0);
    assert!(bare.ward.kept("bare-1").state.parked);

    let done = Bare::open(UNCHECKED);
    done.start("action-ended", true);
    assert_eq!((done.resume(), done.resume()), (parked, parked), "what cannot be checked is unknown");
    assert_eq!(done.lines(), 1);
}

// B3
#[test]
fn an_action_that_was_seen_to_end_is_never_done_again() {
    for (rest, fact) in [(CHECKED, "action-ended"), (UNCHECKED, "action-ended"), (CHECKED, "checked"), (UNCHECKED, "step-proven")] {
        let bare = Bare::open(rest);
        bare.start(fact, false);
        assert_eq!(bare.resume(), 0, "{fact}");
        assert_eq!(bare.lines(), 1, "{fact}");
        assert_proven(&bare.ward.kept("bare-1"));
    }
}

// B3
#[test]
fn an_action_that_was_seen_to_fail_waits_for_a_person() {
    for (fact, before) in [("action-ended", false), ("step-failed", false), ("step-failed", true)] {
        let bare = Bare::open(&UNCHECKED.replace("\"FILE\"]", "\"FILE\", \"fail\"]"));
        bare.start(fact, before);
        assert_eq!(bare.resume(), 1, "{fact}: the exit code tells what failed");
        assert_eq!(bare.lines(), 1, "{fact}: it was done again and nobody had said so");
        assert!(bare.ward.kept("bare-1").state.parked);
    }
}

// B3: the same moment, seen from a step that later ones need the outputs of
#[test]
fn a_step_in_doubt_is_not_called_proven_where_later_steps_need_what_it_gave() {
    let later = "\n[[step]]\nid = \"later\"\ntitle = \"Use it\"\nexpect = \"1s\"\ncommand = [\"echo\", \"{{ steps.mark.stdout }}\"]\nverify = \"none: said\"\n";
    let bare = Bare::open(&format!("{CHECKED}{later}"));
    bare.start("action-ended", true);
    assert_eq!(bare.resume(), i32::from(Kind::Parked.exit_code()));
    assert_eq!(bare.lines(), 1);
}

// TRAPS 37, B4
#[test]
fn a_resume_refuses_another_plan_another_environment_and_a_broken_journal() {
    let bare = Bare::open(CHECKED);
    bare.start("action-started", false);
    let directory = bare.ward.runs().join("bare-1");
    let elsewhere = bare.refused("production");
    assert_eq!(elsewhere.kind, Kind::Refused);
    assert!(elsewhere.message.contains("belongs to the environment \"bare\""), "{elsewhere}");

    let plan = fs::read_to_string(directory.join("plan.json")).unwrap();
    fs::write(directory.join("plan.json"), plan.replace("One line", "Two lines")).unwrap();
    let changed = bare.refused("bare");
    assert_eq!(changed.kind, Kind::Refused);
    assert!(changed.message.contains("was changed after the run began"), "{changed}");
    fs::write(directory.join("plan.json"), plan).unwrap();

    // The runbook it came from is not looked at any more.
    fs::write(bare.dir.path().join("books/bare.toml"), "broken").unwrap();
    let whole = fs::read_to_string(directory.join(journal::FILE)).unwrap();
    fs::write(directory.join(journal::FILE), whole.replacen("--yes", "--yea", 1)).unwrap();
    let broken = bare.refused("bare");
    assert_eq!(broken.kind, Kind::Refused);
    assert!(broken.message.starts_with("the journal is broken"), "{broken}");
    assert_eq!(bare.resume(), i32::from(Kind::Refused.exit_code()));
    fs::write(directory.join(journal::FILE), whole).unwrap();
    assert_eq!(bare.resume(), i32::from(Kind::Parked.exit_code()));
    assert_eq!(bare.lines(), 0);
}

fn lifeboat(ward: &Ward) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--config").arg(&ward.config).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

// TRAPS 35
#[test]
fn a_second_process_is_refused_while_the_first_holds_the_run() {
    let bare = Bare::open("wait = { until = { title = \"the gate is open\", command = [\"test\", \"-e\", \"FILE\"] } }\n");
    let mut first = lifeboat(&bare.ward);
    first.args(["run", "bare", "--yes"]);
    let mut first = bare.ward.send_off(first, &bare.dir.path().join("first"));
    let holder = first.child.id();
    let waits = || run::read(&bare.ward.runs(), "latest").is_ok_and(|kept| kept.state.steps[0].status == Status::Running);
    until("the first to wait", || {
        assert!(!first.has_ended(), "it ended");
        waits()
    });
    let second = lifeboat(&bare.ward).args(["resume", "latest", "--yes"]).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(said.contains(&format!("is held by process {holder} of ")), "{said}");

    let directory = run::find(&bare.ward.runs(), "latest").unwrap();
    assert!(journal::is_held(&directory));
    assert!(kill(i32::try_from(holder).unwrap()));
    assert!(first.wait().killed());
    // At once, but for the instant in which a child it was starting is not another program yet.
    until("the lock of a killed process to be free", || !journal::is_held(&directory));
    fs::write(bare.dir.path().join("file"), "").unwrap();
    let third = lifeboat(&bare.ward).args(["resume", "latest", "--yes"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(third.status.code(), Some(0), "{}", String::from_utf8_lossy(&third.stderr));
    assert_proven(&run::read(&bare.ward.runs(), "latest").unwrap());
}

/// What each attempt failed with.
fn failures(kept: &Kept) -> Vec<lifeboat::report::Report> {
    let failed = kept.entries.iter().filter_map(|entry| if let Fact::StepFailed { error, .. } = &entry.fact { Some(error) } else { None });
    failed.cloned().collect()
}

#[test]
fn a_wrong_dump_is_no_dead_end_its_copy_goes_before_a_retry_and_the_way_to_the_one_before_is_told() {
    let scene = Scene::open();
    let client = scene.the_box.cluster().connect("orders", &scene.cx).unwrap();
    execute(&scene, &client, "TRUNCATE shop.orders CASCADE");
    let engine = Arc::new(Engine::new(Arc::clone(&scene.ward.inventory)));
    let second = || Timestamp::now().as_second();
    let before = second();
    until("dumps to get another name", || second() > before);
    let empty = engine.backup("orders", &scene.cx).unwrap()[0].object.clone();
    let walk = |run: &str, values: &[(&str, &str)], answers: Vec<Answer>| {
        let plan = scene.ward.plan(None, "snapshot-restore", run, Timestamp::now(), values);
        let person = Script { answers: answers.into(), asked: Arc::default() };
        let crew = Crew { hands: Arc::clone(&engine) as _, person: Box::new(person), witness: Box::new(()) };
        run::start(&scene.ward.runs(), plan, false, Timestamp::now(), crew, &scene.cx).unwrap().wait().ok();
        scene.ward.kept(run)
    };
    let go = || vec![Answer::Go, Answer::Go, Answer::Go];
    let kept = walk("wrong", &[("dump", &empty), ("into", "copy_1")], [go(), vec![Answer::Retry, Answer::Retry]].concat());
    let foreseen = kept.state.step("pick").unwrap().foreseen.clone().unwrap();
    assert!(foreseen.starts_with(&format!("{empty}, as of 2")), "{foreseen}");
    let failures = failures(&kept);
    assert_eq!(failures.len(), 3, "{}", story(&kept));
    for failure in &failures {
        assert_eq!(failure.message, "not proven: there are orders in it", "{}", story(&kept));
    }
    let snapshot_at = &kept.state.step("pick").unwrap().outputs["snapshot_at"];
    let command = format!("lifeboat run snapshot-restore --set dump=before:{snapshot_at}   # ");
    assert!(failures[0].hints.iter().any(|hint| hint.replace('\'', "").starts_with(&command)), "{:?}", failures[0].hints);
    // And it gets there.
    let kept = walk("right", &[("dump", &format!("before:{snapshot_at}"))], go());
    assert_proven(&kept);

    // A database that was there before is nobody's to drop, whoever restored it.
    let taken = walk("taken", &[("dump", &empty), ("into", "copy_1")], [go(), vec![Answer::Retry]].concat());
    assert!(taken.entries.iter().all(|entry| !matches!(&entry.fact, Fact::ActionEnded { step, error: None, .. } if step == "restore")));
    assert!(scene.databases().iter().any(|(name, _)| name == "copy_1"));
}
