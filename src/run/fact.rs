//! What happens in a run, one fact a line. Everything that is known about a run is a fold over these.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::runbook::plan::Field;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, 3 …
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// SHA-256 of the previous line's exact bytes, its newline included; 64 zeros in the first line.
    pub prev: String,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// The run began.
    RunStarted {
        /// Its id.
        run: String,
        /// The runbook's id.
        runbook: String,
        /// The runbook's title.
        title: String,
        /// The environment's name.
        environment: String,
        /// Whether that environment is production.
        production: bool,
        /// SHA-256 of the plan file's bytes.
        plan: String,
        /// It is a drill.
        drill: bool,
        /// When the incident began, as far as known; the recovery clock starts there.
        incident_at: Timestamp,
        /// `user@host`.
        by: String,
        /// `lifeboat 0.1.0`.
        tool: String,
    },
    /// A process took the run up again.
    Resumed {
        /// `user@host`.
        by: String,
        /// `lifeboat 0.1.0`.
        tool: String,
    },
    /// A step became the current one.
    StepStarted {
        /// The step.
        step: String,
        /// What it does, rendered with what was known when it began.
        #[serde(default)]
        title: String,
        /// 1, 2 …
        attempt: u32,
    },
    /// Something is asked of a person; the machine waits from here.
    Asked {
        /// The step it is about.
        step: String,
        /// What is asked.
        question: Question,
    },
    /// The person answered; the machine goes on.
    Answered {
        /// The step.
        step: String,
        /// What was said.
        answer: Answer,
        /// `user@host`; `--yes`; or `the command`, where that was the whole of it.
        by: String,
    },
    /// How the action can be taken back is known, before it is done.
    UndoRegistered {
        /// The step.
        step: String,
        /// What the undo would do, in a line.
        undo: String,
    },
    /// The action begins. Without an end after it, whether it was done is unknown.
    ActionStarted {
        /// The step.
        step: String,
        /// What exactly is done, rendered.
        action: String,
    },
    /// The action ended.
    ActionEnded {
        /// The step.
        step: String,
        /// What it gave.
        #[serde(default)]
        outputs: BTreeMap<String, String>,
        /// What went wrong, where something did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Report>,
    },
    /// What the action gave, found out afterwards: nobody saw its end, but its checks hold.
    Recalled {
        /// The step.
        step: String,
        /// What it gave.
        outputs: BTreeMap<String, String>,
    },
    /// One check was asked.
    Checked {
        /// The step.
        step: String,
        /// What was checked.
        check: String,
        /// It holds.
        held: bool,
        /// What was seen.
        seen: String,
        /// Asked before the action, to see whether it is needed at all.
        #[serde(default)]
        before: bool,
    },
    /// The step is done.
    StepProven {
        /// The step.
        step: String,
        /// Why that is known.
        how: Proven,
    },
    /// The step is not done.
    StepFailed {
        /// The step.
        step: String,
        /// Why.
        error: Report,
    },
    /// A person left the step out.
    StepSkipped {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// A person went on without proof.
    StepOverridden {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// The action was taken back.
    StepUndone {
        /// The step.
        step: String,
        /// What went wrong, where something did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Report>,
    },
    /// A person went back to correct what was answered in this step; nothing after it had been carried out. The steps from here on begin again.
    StepReopened {
        /// The step.
        step: String,
    },
    /// What an action will take, looked up before anybody is asked to start it. Nothing hangs on it: the action looks for itself.
    Foreseen {
        /// The step.
        step: String,
        /// In a line, for people.
        words: String,
    },
    /// Nobody is there to answer; the run waits for `resume`.
    Parked {
        /// The step.
        step: String,
    },
    /// The run is over.
    RunEnded {
        /// How.
        verdict: Verdict,
        /// The reason given, for an abort.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// Why a step counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proven {
    /// Its checks hold after the action.
    Checked,
    /// Its checks held before the action, which was left out.
    AlreadyTrue,
    /// The action is its own proof.
    Action,
    /// Simulated, in a drill.
    Simulated,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every step proven.
    Proven,
    /// To the end, with skips or overrides.
    Unproven,
    /// A person gave it up.
    Aborted,
}

/// What is asked of a person. The default of every question is to do nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// A checkpoint: start this step? Answers: Go, Skip, Abort.
    Ready,
    /// A manual step. Answers: Done, Skip, Abort.
    Manual {
        /// Each is ticked.
        checklist: Vec<String>,
        /// Each is filled in.
        fields: Vec<Field>,
    },
    /// The step's checks hold already. Answers: Record, Go (do it all the same), Abort.
    AlreadyTrue,
    /// Type this name to go on. Answers: Typed, Skip, Abort.
    Danger {
        /// What must be typed.
        target: String,
        /// What is about to happen, in a line.
        consequence: String,
    },
    /// It failed. Answers: Retry, Undo where there is one, Skip, Override, Abort.
    Failed {
        /// Why.
        error: Report,
        /// It can be taken back.
        undo: bool,
    },
    /// It is not known whether it was done, and its checks do not hold. Answers: Retry, Undo where there is one, Skip, Override, Abort.
    Unknown {
        /// May be done again without harm.
        repeatable: bool,
        /// It can be taken back.
        undo: bool,
    },
    /// The run is being given up, and this step can be taken back. Answers: Undo, Leave.
    TakeBack {
        /// What the undo would do, in a line.
        undo: String,
    },
}

impl Question {
    /// While it is open one may go back to the answers before, where nothing was carried out since ([`super::State::correctable`]).
    pub fn leads_back(&self) -> bool {
        matches!(
            self,
            Question::Ready | Question::Manual { .. } | Question::AlreadyTrue | Question::Danger { .. } | Question::Failed { .. }
        )
    }
}

/// What a person says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Start.
    Go,
    /// It holds already; record that and go on.
    Record,
    /// All ticked and filled in.
    Done {
        /// Field name → answer.
        #[serde(default)]
        fields: BTreeMap<String, String>,
    },
    /// The typed name.
    Typed {
        /// As typed.
        text: String,
    },
    /// Do it again.
    Retry,
    /// Take it back.
    Undo,
    /// Leave it as it is.
    Leave,
    /// Go back and correct what was answered in the manual step before.
    Back,
    /// Leave the step out.
    Skip {
        /// Why; never empty.
        reason: String,
    },
    /// Go on without proof.
    Override {
        /// Why; never empty.
        reason: String,
    },
    /// Give the run up.
    Abort {
        /// Why; never empty.
        reason: String,
    },
}
