//! A runbook, its journal and a shelf of dumps, for tests of the screen. State is a fold over facts here as everywhere.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, Timestamp};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;

use super::model::{Model, Moment, Snapshot};
use super::screen::view;
use super::update::{Effect, Message, update};
use crate::pipeline::manifest::{Compression, Digest, Dump, Format, Level, Manifest, Origin, Proof, SchemaCount, TableCount};
use crate::port::Reading;
use crate::report::Report;
use crate::run::fact::{Entry, Fact, Proven};
use crate::run::overview::{Overview, RunCard, RunbookCard, Shelf};
use crate::run::{Answer, Question, State, Verdict};
use crate::runbook::Plan;

/// 03:10 on a Sunday.
pub const START: &str = "2026-03-01T03:10:00Z";

pub fn start() -> Timestamp {
    START.parse().unwrap()
}

pub fn plan() -> Plan {
    toml::from_str(PLAN).unwrap()
}

const PLAN: &str = r#"
runbook = "restore"
title = "Restore the database from a dump"
summary = """
Use this when the **orders** database is damaged or lost and a dump is the way back. The dump goes into a new database, is proven there,
and takes the live one's name only then; until the swap users keep what they have.
"""
owner = "data platform"
review_by = "2026-06-30"
contacts = ["on-call DBA: +49 30 555 0100", "incident channel: #incident"]

[objectives]
rto = "1h"
rpo = "24h"
recovered_by = "maintenance.live"

[surroundings]
environment = "shop-prod"
production = true
run = "20260301-0310-restore"
started_at = "2026-03-01T03:10:00Z"

[[parameters]]
name = "dump"
help = "which dump to restore"
kind = "dump"
default = "latest"

[[parameters]]
name = "database"
help = "the database that is lost"
kind = "database"

[[parameters]]
name = "staging"
help = "what it is called until the swap"
kind = "database"
default = "{{ params.database }}_restored"

[[parameters]]
name = "notify"
help = "who is told"
kind = { choice = ["incident", "nobody"] }
default = "incident"

[values]
dump = "latest"
database = "orders"
staging = "orders_restored"
notify = "incident"

[[steps]]
id = "announce"
title = "Tell people and take the deploy lock"
why = "Nobody may deploy while the database is being exchanged."
action = { kind = "manual", checklist = ["Say in #incident that a restore begins", "Take the deploy lock", "Name an incident commander"], ask = [{ name = "commander", label = "Incident commander" }, { name = "severity", label = "Severity", choices = ["major", "minor"] }] }
verify = { none = "the answers given" }
expect = "3m"
repeatable = true

[[steps]]
id = "maintenance.on"
title = "Show the maintenance page"
section = "Maintenance mode"
why = "Users see an honest page instead of errors."
action = { kind = "http", method = "PUT", url = "https://admin.example.org/mode", body = '{"mode":"maintenance"}' }
verify = { checks = [{ title = "www answers 503 with the maintenance page", probe = "http", method = "GET", url = "https://www.example.org/", status = "503" }] }
undo = { action = { kind = "http", method = "PUT", url = "https://admin.example.org/mode", body = '{"mode":"live"}' } }
expect = "1m"
repeatable = true

[[steps]]
id = "maintenance.mute"
title = "Mute the smoke tests"
section = "Maintenance mode"
action = { kind = "command", argv = ["smokectl", "mute", "--for", "2h"] }
verify = { checks = [{ title = "smoke tests are muted", probe = "command", argv = ["smokectl", "status"] }] }
expect = "1m"
repeatable = true
drill = "simulate"

[[steps]]
id = "pick"
title = "Choose the dump"
action = { kind = "job", do = "pick", job = "orders", dump = "{{ params.dump }}" }
verify = { none = "the dump's manifest" }
expect = "1m"
repeatable = true

[[steps]]
id = "restore"
title = "Restore {{ steps.pick.dump }} into {{ params.staging }}"
why = """
The dump goes into a **new** database, never into `{{ params.database }}` itself: a bad file must not take users offline.

- it stops at the first error
- rows are counted against the manifest afterwards
"""
action = { kind = "job", do = "restore", job = "orders", dump = "{{ steps.pick.dump }}", into = "{{ params.staging }}" }
verify = { checks = [{ title = "every table has as many rows as the manifest says", probe = "restored", job = "orders", dump = "{{ steps.pick.dump }}", database = "{{ params.staging }}" }, { title = "the newest order is from the day of the dump", probe = "sql", system = "main", query = "SELECT max(created)::date FROM orders", equals = "2026-02-28" }] }
undo = { action = { kind = "sql", system = "main", statements = "DROP DATABASE {{ params.staging }}" } }
expect = "20m"
repeatable = false

[[steps]]
id = "swap"
title = "Swap {{ params.staging }} for {{ params.database }}"
why = "Two renames in one transaction, with connections blocked. The old database is kept, and one command brings it back."
action = { kind = "job", do = "swap", system = "main", live = "{{ params.database }}", staged = "{{ params.staging }}", keep_as = "{{ params.database }}_old" }
verify = { checks = [{ title = "orders answers with the restored rows", probe = "sql", system = "main", query = "SELECT count(*) FROM orders", equals = "1204332" }] }
undo = { action = { kind = "job", do = "unswap", system = "main", live = "{{ params.database }}", staged = "{{ params.staging }}", kept = "{{ params.database }}_old" } }
expect = "1m"
danger = "{{ params.database }}"
repeatable = false

[[steps]]
id = "maintenance.live"
title = "Back to live"
section = "Reopen"
action = { kind = "http", method = "PUT", url = "https://admin.example.org/mode", body = '{"mode":"live"}' }
verify = { checks = [{ title = "www answers 200", probe = "http", method = "GET", url = "https://www.example.org/", status = "200" }] }
expect = "1m"
repeatable = true

[[steps]]
id = "unmute"
title = "Un-mute the smoke tests"
section = "Reopen"
action = { kind = "command", argv = ["smokectl", "unmute"] }
verify = { checks = [{ title = "smoke tests run and pass", probe = "command", argv = ["smokectl", "status"] }] }
expect = "5m"
repeatable = true
"#;

/// A journal being written: facts at seconds after the start.
pub struct Story {
    pub plan: Arc<Plan>,
    pub entries: Vec<Entry>,
    pub readings: Vec<Reading>,
    pub log: Vec<(String, String)>,
}

impl Story {
    /// A run that has just begun.
    pub fn new(production: bool, drill: bool) -> Self {
        let mut story = Story { plan: Arc::new(plan()), entries: Vec::new(), readings: Vec::new(), log: Vec::new() };
        let environment = if production { "shop-prod" } else { "box" };
        story.tell(
            0,
            Fact::RunStarted {
                run: "20260301-0310-restore".into(),
                runbook: "restore".into(),
                title: story.plan.title.clone(),
                environment: environment.into(),
                production,
                plan: "0".repeat(64),
                drill,
                incident_at: start() - SignedDuration::from_mins(9),
                by: "ada@bastion".into(),
                tool: "lifeboat 0.1.0".into(),
            },
        );
        story
    }

    pub fn tell(&mut self, second: i64, fact: Fact) -> &mut Self {
        let seq = self.entries.len() as u64 + 1;
        self.entries.push(Entry { seq, at: start() + SignedDuration::from_secs(second), prev: "0".repeat(64), fact });
        self
    }

    pub fn ask(&mut self, second: i64, step: &str, question: Question) -> &mut Self {
        self.tell(second, Fact::Asked { step: step.into(), question })
    }

    pub fn begin(&mut self, second: i64, step: &str) -> &mut Self {
        self.tell(second, Fact::StepStarted { step: step.into(), title: String::new(), attempt: 1 })
    }

    /// A step done and proven, with its question answered half-way.
    pub fn prove(&mut self, second: i64, step: &str, took: i64) -> &mut Self {
        self.begin(second, step).ask(second, step, Question::Ready);
        self.tell(second + took / 2, Fact::Answered { step: step.into(), answer: Answer::Go, by: "ada@bastion".into() });
        self.tell(second + took / 2, Fact::ActionStarted { step: step.into(), action: format!("do {step}") });
        let mut outputs = std::collections::BTreeMap::new();
        if step == "pick" {
            outputs.insert("dump".into(), "production-202602280200.sql.gz.gpg".into());
            outputs.insert("snapshot_at".into(), "2026-02-28T02:00:01Z".into());
        }
        self.tell(second + took, Fact::ActionEnded { step: step.into(), outputs, error: None });
        self.tell(second + took, Fact::StepProven { step: step.into(), how: Proven::Checked })
    }

    /// Everything before the restore.
    pub fn until_restore(&mut self) -> &mut Self {
        self.prove(0, "announce", 120).prove(120, "maintenance.on", 40).prove(160, "maintenance.mute", 20).prove(180, "pick", 10)
    }

    pub fn snapshot(&self) -> Snapshot {
        let state = State::fold(&self.plan, &self.entries);
        let ended = state.verdict.as_ref().map(|(verdict, _)| Ok(*verdict));
        Snapshot {
            plan: Arc::clone(&self.plan),
            state: Arc::new(state),
            head: format!("{:08x}{}", 0x3fa9_c1d2_u32.wrapping_mul(u32::try_from(self.entries.len()).unwrap()), "0".repeat(56)),
            readings: self.readings.clone(),
            log: self.log.clone(),
            ended,
        }
    }

    /// A screen that shows it, so many seconds after the start; the question has been seen.
    pub fn screen(&self, second: i64, width: u16, height: u16) -> Stage {
        let mut stage = Stage::new(second, width, height);
        stage.send(Message::Began(Ok(self.snapshot())));
        stage.seen();
        stage
    }
}

pub fn failed() -> Report {
    Report::failed("the restore into orders_restored stopped")
        .cause("psql: ERROR:  role \"reporting\" does not exist")
        .cause("at line 48113 of the dump")
        .hint("createuser reporting")
}

/// The story of a failed restore.
pub fn broken() -> Story {
    let mut story = Story::new(true, false);
    story.until_restore().begin(190, "restore");
    story.tell(200, Fact::UndoRegistered { step: "restore".into(), undo: "DROP DATABASE orders_restored".into() });
    story.tell(
        200,
        Fact::ActionStarted {
            step: "restore".into(),
            action: "lifeboat restore production-202602280200.sql.gz.gpg --into orders_restored".into(),
        },
    );
    story.tell(500, Fact::ActionEnded { step: "restore".into(), outputs: std::collections::BTreeMap::new(), error: Some(failed()) });
    story.tell(500, Fact::StepFailed { step: "restore".into(), error: failed() });
    story.ask(500, "restore", Question::Failed { error: failed(), undo: true });
    story
}

/// The story of a restore being done.
pub fn running() -> Story {
    let mut story = Story::new(true, false);
    story.until_restore().begin(190, "restore");
    story.tell(
        200,
        Fact::ActionStarted {
            step: "restore".into(),
            action: "lifeboat restore production-202602280200.sql.gz.gpg --into orders_restored".into(),
        },
    );
    let reading = |name: &str, bytes: u64, expected: Option<u64>, done: bool| Reading {
        name: name.into(),
        bytes,
        expected,
        seconds: 94.0,
        waited: None,
        done,
    };
    story.readings = vec![
        reading("s3", 842_300_000, Some(842_300_000), true),
        reading("openpgp", 790_000_000, Some(842_300_000), false),
        reading("gzip", 3_900_000_000, Some(4_310_000_000), false),
        reading("psql", 3_880_000_000, None, false),
    ];
    story.log = vec![
        ("psql".into(), "CREATE TABLE".into()),
        ("psql".into(), "COPY 812004\u{1b}[2J".into()),
        ("gpg".into(), "encrypted with rsa4096 key".into()),
    ];
    story
}

/// The story of the swap that is about to be confirmed.
pub fn dangerous() -> Story {
    let mut story = Story::new(true, false);
    story.until_restore().prove(190, "restore", 1100).begin(1290, "swap");
    let consequence = "orders is replaced by orders_restored; users see it at once".into();
    story.ask(1300, "swap", Question::Danger { target: "orders".into(), consequence });
    story
}

/// The story of a whole run with one skip and one override.
pub fn ended(verdict: Verdict) -> Story {
    let mut story = Story::new(true, false);
    story.until_restore().prove(190, "restore", 1100).prove(1290, "swap", 60).prove(1350, "maintenance.live", 30);
    if verdict == Verdict::Proven {
        story.prove(1380, "unmute", 60);
    } else {
        story.begin(1380, "unmute");
        story.tell(1400, Fact::StepSkipped { step: "unmute".into(), reason: "smoke tests are broken since Friday, ticket 4711".into() });
    }
    let reason = (verdict == Verdict::Aborted).then(|| "the primary came back by itself".into());
    story.tell(1450, Fact::RunEnded { verdict, reason });
    story
}

pub fn dump(job: &str, at: &str, level: Option<Level>) -> Dump {
    let at: Timestamp = at.parse().unwrap();
    let reading = |name: &str, bytes| Reading { name: name.into(), bytes, expected: None, seconds: 21.5, waited: None, done: true };
    let table = |rows, bytes| TableCount { rows, bytes, xxh3: None };
    let held = |level| Proof {
        dump: "00aa11bb22cc33dd".into(),
        level,
        held: true,
        reason: None,
        by: "backup@bastion".into(),
        at: at + SignedDuration::from_mins(2),
        took: SignedDuration::from_secs(9),
        server: None,
        asserted: Vec::new(),
        tool: "lifeboat 0.1.0".into(),
    };
    Dump {
        manifest: Manifest {
            version: 1,
            id: "00aa11bb22cc33dd".into(),
            job: job.into(),
            environment: "shop-prod".into(),
            object: format!("{job}-202602280200.sql.gz.gpg"),
            format: Format::Plain,
            compression: Compression::Gzip,
            recipients: vec!["3D4C0A7D11F2B7A0C1E5F60718293A4B5C6D7E8F".into()],
            origin: Origin {
                database: job.into(),
                system_identifier: "7301234567890123456".into(),
                server_version: "15.18".into(),
                client_version: "15.18".into(),
            },
            snapshot_at: at,
            started_at: at,
            ended_at: at + SignedDuration::from_secs(22),
            plain: Digest { bytes: 4_310_000_000, sha256: "ab".repeat(32) },
            stored: Digest { bytes: 842_300_000, sha256: "cd".repeat(32) },
            tables: [
                ("public.orders", table(812_004, 2_900_000_000)),
                ("public.customers", table(392_328, 1_300_000_000)),
                ("public.notes", table(0, 0)),
            ]
            .into_iter()
            .map(|(name, table)| (name.to_owned(), table))
            .collect(),
            schema: SchemaCount {
                constraints: 14,
                indexes: 9,
                views: 1,
                sequences: 3,
                triggers: 0,
                large_objects: 0,
                ..SchemaCount::default()
            },
            stages: vec![
                reading("pg_dump", 4_310_000_000),
                reading("gzip", 842_000_000),
                reading("openpgp", 842_300_000),
                reading("s3", 842_300_000),
            ],
            group: None,
            access: None,
            tool: "lifeboat 0.1.0".into(),
        },
        proofs: level.map(held).into_iter().collect(),
    }
}

pub fn overview() -> Overview {
    let shelf = |job: &str, dumps| Shelf {
        job: job.into(),
        title: format!("The {job} database"),
        store: "s3://shop-backups/nightly".into(),
        max_age: Some(SignedDuration::from_hours(26)),
        dumps,
    };
    let runbook = |id: &str, title: &str, review: &str, rto: Option<i64>, proven: bool| RunbookCard {
        id: id.into(),
        title: title.into(),
        summary: String::new(),
        owner: "data platform".into(),
        review_by: review.parse().unwrap(),
        steps: 8,
        rto: rto.map(SignedDuration::from_mins),
        last_proven: proven.then(|| ("2026-02-17T10:00:00Z".parse().unwrap(), SignedDuration::from_secs(2310))),
    };
    let run = |id: &str, title: &str, verdict, over, drill| RunCard {
        id: id.into(),
        title: title.into(),
        started_at: "2026-02-28T21:04:00Z".parse().unwrap(),
        verdict,
        progress: (over, 8),
        held: false,
        drill,
    };
    Overview {
        environment: "shop-prod".into(),
        production: true,
        gathered_at: Some(start() - SignedDuration::from_secs(130)),
        shelves: vec![
            shelf("orders", Ok(vec![dump("orders", "2026-02-28T02:00:01Z", Some(Level::L4))])),
            shelf("customers", Ok(vec![dump("customers", "2026-02-26T02:00:01Z", Some(Level::L2))])),
            shelf("search", Ok(vec![dump("search", "2026-03-01T02:00:01Z", None)])),
            shelf(
                "payments",
                Err(Report::failed("s3://shop-backups/nightly cannot be listed").cause("access denied").hint("lifeboat check --online")),
            ),
            shelf("archive", Ok(Vec::new())),
        ],
        runbooks: vec![
            runbook("restore", "Restore the database from a dump", "2026-06-30", Some(60), true),
            runbook("refresh", "Refresh staging with sanitised data", "2026-06-30", None, false),
            runbook("rotate", "Rotate the backup keys", "2026-01-03", Some(30), true),
        ],
        runs: vec![
            run("20260228-2104-restore", "Restore the database from a dump", None, 4, false),
            run("20260217-1000-restore", "Restore the database from a dump", Some(Verdict::Proven), 8, true),
            run("20260110-0900-rotate", "Rotate the backup keys", Some(Verdict::Unproven), 8, false),
        ],
    }
}

/// A model with a clock that tests turn.
pub struct Stage {
    pub model: Model,
}

impl Stage {
    pub fn new(second: i64, width: u16, height: u16) -> Self {
        let now = Moment { wall: start() + SignedDuration::from_secs(second), steady: Duration::from_mins(1) };
        Stage { model: Model::new(super::theme::load("dark", None).unwrap(), Size { width, height }, now) }
    }

    pub fn home(width: u16, height: u16) -> Self {
        let mut stage = Stage::new(0, width, height);
        stage.send(Message::Overview(Box::new(overview())));
        stage
    }

    pub fn send(&mut self, message: Message) -> Vec<Effect> {
        update(&mut self.model, message)
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        let now = self.model.now;
        let wall = now.wall + SignedDuration::try_from(time).unwrap();
        self.send(Message::Time(Moment { wall, steady: now.steady + time }));
    }

    /// What is asked has been on screen for a good while.
    pub fn seen(&mut self) {
        self.send(Message::Drawn);
        self.pass(Duration::from_secs(1));
    }

    pub fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        self.send(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    pub fn ctrl(&mut self, c: char) -> Vec<Effect> {
        self.send(Message::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)))
    }

    /// Types a text, key by key.
    pub fn type_text(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|c| self.key(KeyCode::Char(c))).collect()
    }

    /// What is on screen, as text.
    pub fn shown(&self) -> String {
        let size = self.model.size;
        let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
        terminal.draw(|frame| view(&self.model, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content.chunks(usize::from(size.width));
        let mut text = String::new();
        for row in rows {
            let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}
