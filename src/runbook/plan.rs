//! What a runbook means: the plan a run follows.
//!
//! A plan is kept in the run's directory as it was when the run began, and a run never looks at the runbook file again.
//! Strings marked *template* may hold `{{ params.x }}`, `{{ vars.x }}`, `{{ run.id }}`, `{{ env.name }}` or `{{ steps.ID.output }}`;
//! they are rendered when their step starts. What an action *is* (its kind, its job, its system, its program) is never a template.
//! In a template the dashes of a step's id are underscores: `{{ steps.pick_dump.dump }}`; a dash would be a minus.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A string rendered when its step starts.
pub type Template = String;

/// A checked runbook, its includes laid out flat, with the values it was started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The runbook's id.
    pub runbook: String,
    /// What it does, in a line.
    pub title: String,
    /// Why and when to use it; Markdown.
    #[serde(default)]
    pub summary: String,
    /// Who keeps it true.
    pub owner: String,
    /// When it must be read again.
    pub review_by: Date,
    /// What is to be reached.
    #[serde(default)]
    pub objectives: Objectives,
    /// Who is called when it goes wrong, as lines to show.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// What it can be given, in order.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// What it was given, defaults filled in. Never a secret.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// What else its templates may ask about, as it was when the run began.
    #[serde(default)]
    pub surroundings: Surroundings,
    /// In order; ids are unique, a step from an include is called `INCLUDE.STEP`.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The step of that id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }
}

/// What templates may ask about besides parameters and outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// `env.name`.
    pub environment: String,
    /// `env.production`.
    pub production: bool,
    /// `run.id`.
    pub run: String,
    /// `run.started_at`; `run.stamp` is the same as `20261121_030000`, to make names of.
    pub started_at: Timestamp,
    /// `vars.x`, from the configuration.
    #[serde(default)]
    pub vars: BTreeMap<String, String>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings {
            environment: String::new(),
            production: false,
            run: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            vars: BTreeMap::new(),
        }
    }
}

/// What a run is measured against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objectives {
    /// Recovery time: from the incident (or the start) to the end of `recovered_by`.
    #[serde(default)]
    pub rto: Option<SignedDuration>,
    /// Data loss: from the snapshot restored to the incident.
    #[serde(default)]
    pub rpo: Option<SignedDuration>,
    /// The step whose proof means users are served again; the last one where none is named.
    #[serde(default)]
    pub recovered_by: Option<String>,
}

/// One thing a runbook can be given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// As in `--set name=value` and `{{ params.name }}`.
    pub name: String,
    /// What it is for, in a line.
    pub help: String,
    /// What is accepted.
    pub kind: ParameterKind,
    /// Where nothing is given; `None` means it must be. May be a template over `vars`, `env` and `run`.
    pub default: Option<Template>,
}

/// What a parameter accepts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterKind {
    /// Any text of one line.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Flag,
    /// `15m`, `2h 30m`.
    Duration,
    /// RFC 3339 with a zone, or `now`.
    Instant,
    /// A PostgreSQL identifier: 1 to 63 bytes, no NUL.
    Database,
    /// `latest`, a dump's name or id, its time, or `before:` and a time.
    Dump,
    /// One of these.
    Choice(Vec<String>),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `[a-z0-9-]`, `INCLUDE.STEP` when it came from an include.
    pub id: String,
    /// What it does, in a line.
    pub title: Template,
    /// Why it is done; Markdown.
    #[serde(default)]
    pub why: String,
    /// The title of the include it came from.
    #[serde(default)]
    pub section: Option<String>,
    /// What `params` are in a step that came from an include, one table for each include around it, outermost first. Each is rendered in the
    /// scope of the one before; the first in the scope of the runbook itself. `steps` then means the steps of the same include.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<BTreeMap<String, Binding>>,
    /// What is done.
    pub action: Action,
    /// What must hold afterwards.
    pub verify: Verify,
    /// How it is taken back.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// How long it should take.
    pub expect: SignedDuration,
    /// When to give up; `None` for as long as it makes progress.
    #[serde(default)]
    pub timeout: Option<SignedDuration>,
    /// Confirmed by typing this: the name of what is about to be changed for good.
    #[serde(default)]
    pub danger: Option<Template>,
    /// May be done again without harm when it is not known whether it was done.
    pub repeatable: bool,
    /// What becomes of it in a drill.
    #[serde(default)]
    pub drill: DrillMode,
}

/// A parameter of an include, as the runbook around it binds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// What it is given.
    pub value: Template,
    /// What it accepts; asked when the value is known.
    pub kind: ParameterKind,
}

/// What becomes of a step in a drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillMode {
    /// Done as in an incident.
    #[default]
    Run,
    /// Shown and recorded, not done; its checks are not asked.
    Simulate,
    /// Left out, and said so.
    Skip,
}

/// What must hold after a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// All of these.
    Checks(Vec<Check>),
    /// The action is its own proof (an answer, a wait, a proof of a dump), or the reason why nothing can be checked.
    None(String),
}

/// How a step is taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// What is done.
    pub action: Action,
    /// What must hold afterwards.
    #[serde(default)]
    pub verify: Vec<Check>,
}

/// What a step does: a closed set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// A person does it and says so.
    Manual {
        /// Each is ticked.
        #[serde(default)]
        checklist: Vec<Template>,
        /// Each is answered; the answers are the step's outputs.
        #[serde(default)]
        ask: Vec<Field>,
    },
    /// A program, without a shell. Exit 0 is success. Output: `stdout`, trimmed.
    Command {
        /// Program and arguments; the program is literal.
        argv: Vec<Template>,
    },
    /// Statements sent to a database of a system, in one transaction.
    Sql {
        /// The system's name in the configuration.
        system: String,
        /// The database; the system's own where none is named.
        #[serde(default)]
        database: Option<Template>,
        /// SQL.
        statements: Template,
    },
    /// A request, and where it starts something, the polling until that is over.
    Http {
        /// The request.
        #[serde(flatten)]
        request: Request,
        /// Asked again until it is over.
        #[serde(default)]
        poll: Option<Poll>,
        /// Output name → JSON pointer (RFC 6901). Taken from the answer to the request, before anything is polled, so that the poll can use
        /// them; taken again from the last answer of the poll where that has them.
        #[serde(default)]
        outputs: BTreeMap<String, String>,
    },
    /// A piece of work of the engine.
    Job(Work),
    /// Waits for a time, or until something holds.
    Wait {
        /// This long.
        #[serde(default, rename = "for")]
        time: Option<SignedDuration>,
        /// Until this holds.
        #[serde(default)]
        until: Option<Check>,
    },
    /// Tells people.
    Notify {
        /// The channel's name in the configuration.
        channel: String,
        /// What is said.
        message: Template,
    },
}

impl Action {
    /// It changes something, so that somebody has to prove that it did.
    pub fn mutates(&self) -> bool {
        match self {
            Action::Command { .. } | Action::Sql { .. } => true,
            Action::Http { request, .. } => !request.is_read(),
            Action::Job(work) => !matches!(work, Work::Pick { .. } | Work::Verify { .. }),
            Action::Manual { .. } | Action::Wait { .. } | Action::Notify { .. } => false,
        }
    }

    /// May be done twice without harm, as far as its kind says: HTTP's safe and idempotent methods, and all work of the engine. A restore
    /// clears away what a killed one left half-made, and is refused where the database is there; a swap is refused once it is done.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Action::Command { .. } | Action::Sql { .. } => false,
            Action::Http { request, .. } => request.is_read() || ["PUT", "DELETE"].contains(&request.method.as_str()),
            Action::Job(_) | Action::Manual { .. } | Action::Wait { .. } | Action::Notify { .. } => true,
        }
    }

    /// The names of its outputs, for `{{ steps.ID.NAME }}`.
    pub fn outputs(&self) -> Vec<&str> {
        match self {
            Action::Manual { ask, .. } => ask.iter().map(|field| field.name.as_str()).collect(),
            Action::Command { .. } => vec!["stdout"],
            Action::Http { outputs, .. } => outputs.keys().map(String::as_str).collect(),
            Action::Job(work) => work.outputs().to_vec(),
            Action::Sql { .. } | Action::Wait { .. } | Action::Notify { .. } => Vec::new(),
        }
    }
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// http or https.
    pub url: Template,
    /// JSON text sent as the body.
    #[serde(default)]
    pub body: Option<Template>,
    /// The status that means success, as digits once it is rendered; any 2xx where none is named.
    #[serde(default)]
    pub status: Option<Template>,
}

impl Request {
    /// It only reads: a safe method of RFC 9110.
    pub fn is_read(&self) -> bool {
        ["GET", "HEAD", "OPTIONS"].contains(&self.method.as_str())
    }

    /// The status that means success, of a rendered request; `None` for any 2xx.
    pub fn expected_status(&self) -> Option<u16> {
        self.status.as_ref().and_then(|status| status.trim().parse().ok())
    }
}

/// Asks again until it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// What is asked.
    pub url: Template,
    /// How often.
    pub every: SignedDuration,
    /// It is over well when all of these hold.
    pub until: Vec<Expect>,
    /// It is over badly when one of these holds.
    #[serde(default)]
    pub fail: Vec<Expect>,
}

/// What a JSON answer must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// The value there, as text.
    pub equals: Template,
}

/// Work of the engine. Jobs and systems are names in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Work {
    /// Makes the dumps of a job. Outputs: `dump`, `rows`, `size`, `snapshot_at`, of the first one; `dumps`, the names of all, with blanks
    /// between them.
    Backup {
        /// The job.
        job: String,
    },
    /// Chooses a dump. Outputs: `dump`, `snapshot_at`, `rows`, `size`, `age`.
    Pick {
        /// The job.
        job: String,
        /// `latest`, a dump's name or id, its time, or `before:` and a time.
        dump: Template,
        /// The database, where the job dumps several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<Template>,
    },
    /// Proves a dump up to a level and keeps the record. Outputs: `level`.
    Verify {
        /// The job.
        job: String,
        /// The dump's name.
        dump: Template,
        /// 0 to 6.
        level: u8,
    },
    /// Restores a dump into a new database. Outputs: `database`, `rows`, `snapshot_at`.
    Restore {
        /// The job.
        job: String,
        /// The dump's name.
        dump: Template,
        /// The new database.
        into: Template,
        /// The tables whose rows come back, names and patterns; all of them where none is said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tables: Vec<Template>,
        /// Roles that the dump names and the server has not are made.
        #[serde(default, skip_serializing_if = "is_false")]
        create_roles: bool,
        /// Every row is read back and held against the dump's hashes before the database counts as restored.
        #[serde(default, skip_serializing_if = "is_false")]
        compare: bool,
    },
    /// Restores every database of a group under a new name, or none. Outputs: `databases`, their new names with blanks between them.
    RestoreGroup {
        /// The job.
        job: String,
        /// The group's id.
        group: Template,
        /// What comes before the name each database had.
        #[serde(default)]
        prefix: Template,
        /// What comes after it.
        #[serde(default)]
        suffix: Template,
        /// Roles that the dumps name and the server has not are made.
        #[serde(default, skip_serializing_if = "is_false")]
        create_roles: bool,
        /// Every row is read back and held against the dumps' hashes before a database counts as restored.
        #[serde(default, skip_serializing_if = "is_false")]
        compare: bool,
    },
    /// Makes the roles of a dump of globals that the server has not. Outputs: `made`, `there`: how many.
    RestoreRoles {
        /// The job.
        job: String,
        /// The dump's name.
        dump: Template,
    },
    /// The staged database takes the live one's name; the live one is kept under another. Outputs: `kept`.
    Swap {
        /// The system.
        system: String,
        /// The name users know.
        live: Template,
        /// The one to put there.
        staged: Template,
        /// The name the old one gets.
        keep_as: Template,
        /// Until when the old one is kept, a day or how long; as the environment says where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep_until: Option<Template>,
        /// The staged one may have the rows of some tables only.
        #[serde(default, skip_serializing_if = "is_false")]
        partial: bool,
    },
    /// Makes a clean copy: restores a dump beside the live database, sanitises it behind closed doors, proves that, swaps. Outputs: `dump`,
    /// `database`, `kept` (empty where there was no live database), `snapshot_at`, `rows`, `state` (`done`, or `already there`).
    Pull {
        /// The pull.
        pull: String,
        /// `latest`, a dump's name, or an instant.
        dump: Template,
        /// Also where the live database is that copy already.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// Takes a swap back.
    Unswap {
        /// The system.
        system: String,
        /// The name users know.
        live: Template,
        /// The name the replaced one goes back to.
        staged: Template,
        /// The old one.
        kept: Template,
    },
    /// Drops a database that a swap put aside, once its day has come.
    DropKept {
        /// The system.
        system: String,
        /// The database.
        database: Template,
        /// Also before its day.
        #[serde(default, skip_serializing_if = "is_false")]
        early: bool,
    },
}

impl Work {
    /// The names of its outputs.
    pub fn outputs(&self) -> &'static [&'static str] {
        match self {
            Work::Backup { .. } => &["dump", "dumps", "rows", "size", "snapshot_at"],
            Work::Pick { .. } => &["dump", "snapshot_at", "rows", "size", "age"],
            Work::Verify { .. } => &["level"],
            Work::Restore { .. } => &["database", "rows", "snapshot_at"],
            Work::RestoreGroup { .. } => &["databases"],
            Work::RestoreRoles { .. } => &["made", "there"],
            Work::Swap { .. } => &["kept"],
            Work::Pull { .. } => &["dump", "database", "kept", "snapshot_at", "rows", "state"],
            Work::Unswap { .. } | Work::DropKept { .. } => &[],
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this way")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// One thing a manual step asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The output's name.
    pub name: String,
    /// The question.
    pub label: Template,
    /// What it accepts, where it has no choices.
    #[serde(default, skip_serializing_if = "FieldKind::is_text")]
    pub kind: FieldKind,
    /// One of these, where given.
    #[serde(default)]
    pub choices: Vec<String>,
    /// May be used unasked inside the box.
    #[serde(default)]
    pub sample: Option<String>,
}

/// What a field of a manual step accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldKind {
    /// Any text of one line.
    #[default]
    Text,
    /// `2026-12-31`: a day, today (in UTC) or later.
    ComingDay,
}

impl FieldKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_text(&self) -> bool {
        *self == FieldKind::Text
    }
}

impl Field {
    /// Why an answer cannot be taken, as a sentence for whoever gave it; `None` where it can be. `now` says which days are over.
    pub fn wrong(&self, answer: &str, now: Timestamp) -> Option<String> {
        let answer = answer.trim();
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        if answer.is_empty() {
            return Some("must be filled in".into());
        }
        if !self.choices.is_empty() {
            return (!self.choices.iter().any(|choice| choice == answer)).then(|| format!("one of: {}", self.choices.join(", ")));
        }
        match (self.kind, day(answer)) {
            (FieldKind::Text, _) => None,
            (FieldKind::ComingDay, Some(day)) if day >= today => None,
            (FieldKind::ComingDay, Some(day)) => Some(format!("{day} is over: give {today} or a later day")),
            (FieldKind::ComingDay, None) => Some(format!("write a day as YYYY-MM-DD: {today} or later")),
        }
    }
}

/// `2026-12-31` and nothing else: what else dates are written like, not every reader of the answer understands.
pub(super) fn day(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|day| day.to_string() == text)
}

/// Something that holds or does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is being checked, in a line; made from the check itself where none is written.
    pub title: Template,
    /// How.
    #[serde(flatten)]
    pub probe: Probe,
    /// Asked again for this long before it counts as not holding.
    #[serde(default)]
    pub within: Option<SignedDuration>,
}

/// How something is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "kebab-case")]
pub enum Probe {
    /// An answer over HTTP.
    Http {
        /// The request.
        #[serde(flatten)]
        request: Request,
        /// The body holds this text.
        #[serde(default)]
        contains: Option<Template>,
        /// The body is JSON and holds these.
        #[serde(default)]
        expect: Vec<Expect>,
    },
    /// The first column of the only row, as text.
    Sql {
        /// The system.
        system: String,
        /// The database; the system's own where none is named.
        #[serde(default)]
        database: Option<Template>,
        /// One SELECT.
        query: Template,
        /// What it must give.
        equals: Template,
    },
    /// A program that exits 0.
    Command {
        /// Program and arguments.
        argv: Vec<Template>,
        /// Its standard output, trimmed, where that matters.
        #[serde(default)]
        equals: Option<Template>,
    },
    /// Every table of the database has as many rows as the dump's manifest says, and no constraint or index is missing.
    Restored {
        /// The job.
        job: String,
        /// The dump's name.
        dump: Template,
        /// The database.
        database: Template,
        /// The tables whose rows were restored, as the restore was told; the others must be empty then.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tables: Vec<Template>,
    },
    /// The live database says that it was made by this pull, as it is configured now, of this dump.
    Pulled {
        /// The pull.
        pull: String,
        /// The dump's name.
        dump: Template,
        /// Not before this instant, where that matters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Template>,
    },
    /// A record says the dump was proven at least this far.
    Proof {
        /// The job.
        job: String,
        /// The dump's name.
        dump: Template,
        /// 0 to 6.
        level: u8,
    },
}
