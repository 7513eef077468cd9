//! Plain mode: the same walk, line by line. What happens goes to stderr as it happens; questions are asked on stdin.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use super::print;
use crate::report::Report;
use crate::run::fact::{Answer, Entry, Fact, Proven, Question, Verdict};
use crate::run::person::{Asking, COMMAND, Person, Said};
use crate::run::report::time;
use crate::run::walk::Witness;
use crate::run::who;
use crate::runbook::plan::{Field, Plan};

/// Says one line to the person. When stderr is gone there is nobody to say it to.
pub fn say(line: &str) {
    let clean: String = line.chars().filter(|c| !c.is_control()).collect();
    let columns = if io::stderr().is_terminal() { crossterm::terminal::size().ok().map(|(columns, _)| columns) } else { None };
    for line in folded(&clean, columns.map_or(usize::MAX, usize::from)) {
        writeln!(io::stderr().lock(), "{line}").ok();
    }
}

/// A line broken between words where a terminal would break it anywhere; what goes on begins below the first word. Commands stay in one
/// piece: they are to be copied.
fn folded(line: &str, columns: usize) -> Vec<String> {
    let is_command = ["$ ", "try: ", "would do: "].iter().any(|sign| line.contains(&format!("  {sign}")));
    if is_command || line.width() <= columns || columns < 40 {
        return vec![line.to_owned()];
    }
    let is_clock = line.as_bytes().first().is_some_and(u8::is_ascii_digit) && line.contains("  ");
    let before = if is_clock { line.find("  ").unwrap_or(0) } else { 0 };
    let indent = before + (line[before..].len() - line[before..].trim_start().len());
    let (head, rest) = line.split_at(indent);
    let mut lines = vec![head.to_owned()];
    for word in rest.split_inclusive(' ') {
        match lines.last_mut() {
            Some(last) if last.width() + word.trim_end().width() <= columns || last.trim().is_empty() => *last += word,
            _ => lines.push(" ".repeat(indent) + word),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Says one line of our own making, its colours left in.
pub fn say_styled(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Tells a report: the fact, what lies behind it, what to do.
pub fn tell(report: &Report) {
    say(&format!("{}: {}", report.kind.word(), report.message));
    for cause in report.causes.iter().flat_map(|cause| cause.lines()) {
        say(&format!("  because: {cause}"));
    }
    for hint in &report.hints {
        // A hint may be some lines of a configuration, to be pasted. What follows the first line is indented: whatever a hint repeats, none of
        // its lines can be taken for one of ours.
        for (at, line) in hint.lines().enumerate() {
            say(&format!("{}{line}", if at == 0 { "  try: " } else { "       " }));
        }
    }
}

/// Prints each fact as it happens.
#[derive(Debug, Default)]
pub struct Printer {
    step_started: Option<Timestamp>,
}

impl Witness for Printer {
    fn after(&mut self, entry: &Entry, plan: &Plan) {
        let clock = entry.at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
        for line in self.lines(entry, plan) {
            say(format!("{clock}  {line}").trim_end());
        }
    }
}

impl Printer {
    fn lines(&mut self, entry: &Entry, plan: &Plan) -> Vec<String> {
        match &entry.fact {
            Fact::RunStarted { run, title, environment, production, drill, .. } => {
                let kind = if *drill { ", a drill" } else { "" };
                let loud = if *production { " (PRODUCTION)" } else { "" };
                vec![
                    format!("{title}{kind}, in {environment}{loud}"),
                    format!("run {run}, {} step{}", plan.steps.len(), print::plural(plan.steps.len())),
                ]
            }
            Fact::Resumed { by, .. } => vec![format!("resumed by {by}")],
            Fact::StepStarted { step, title, attempt } => {
                self.step_started = Some(entry.at);
                let number = plan.steps.iter().position(|known| known.id == *step).map_or(0, |at| at + 1);
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                vec![String::new(), format!("{number}/{} {title}{again}", plan.steps.len())]
            }
            Fact::ActionStarted { action, .. } => action.lines().map(|line| format!("   $ {line}")).collect(),
            Fact::ActionEnded { outputs, error: None, .. } | Fact::Recalled { outputs, .. } => {
                outputs.iter().map(|(name, value)| format!("   = {name}: {value}")).collect()
            }
            Fact::Checked { check, held, seen, before: false, .. } => {
                vec![format!("   {} {check}: {seen}", if *held { "ok " } else { "NOT" })]
            }
            Fact::StepProven { how, .. } => vec![format!("   {} in {}", proven_word(*how), self.took(entry.at))],
            Fact::StepFailed { error, .. } => vec![format!("   FAILED: {error}")],
            Fact::StepSkipped { reason, .. } => vec![format!("   SKIPPED: {reason}")],
            Fact::StepOverridden { reason, .. } => vec![format!("   OVERRIDDEN without proof: {reason}")],
            Fact::StepUndone { error: None, .. } => vec!["   undone".into()],
            Fact::StepUndone { error: Some(error), .. } => vec![format!("   NOT undone: {error}")],
            // That a command is carried out needs no answer, and so there is none to tell.
            Fact::Answered { by, .. } if by == COMMAND => Vec::new(),
            Fact::Answered { answer, by, .. } if by != &who() => vec![format!("   answered by {by}: {}", answer_word(answer))],
            Fact::StepReopened { step } => vec![format!("   back to {step}, to correct what was answered")],
            Fact::Parked { step } => vec![format!("   parked at {step}")],
            Fact::RunEnded { verdict, reason } => {
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                vec![String::new(), format!("{}{reason}", verdict_word(*verdict))]
            }
            _ => Vec::new(),
        }
    }

    fn took(&self, at: Timestamp) -> String {
        time(self.step_started.map_or(0.0, |start| at.duration_since(start).as_secs_f64()))
    }
}

fn proven_word(how: Proven) -> &'static str {
    match how {
        Proven::Checked => "proven",
        Proven::AlreadyTrue => "already true, recorded",
        Proven::Action => "done",
        Proven::Simulated => "simulated",
    }
}

fn answer_word(answer: &Answer) -> String {
    match answer {
        Answer::Go => "go".into(),
        Answer::Record => "record and go on".into(),
        Answer::Done { fields } => fields.iter().map(|(name, text)| format!("{name} = {text}")).collect::<Vec<_>>().join(", "),
        Answer::Typed { text } => format!("typed {text}"),
        Answer::Retry => "again".into(),
        Answer::Undo => "undo".into(),
        Answer::Leave => "leave it".into(),
        Answer::Back => "back to the answers before".into(),
        Answer::Skip { reason } => format!("skip: {reason}"),
        Answer::Override { reason } => format!("override: {reason}"),
        Answer::Abort { reason } => format!("abort: {reason}"),
    }
}

/// A verdict for people.
pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "DONE: every step proven",
        Verdict::Unproven => "DONE, BUT NOT PROVEN: steps were skipped or overridden",
        Verdict::Aborted => "ABORTED",
    }
}

/// A person at a terminal without a screen.
#[derive(Debug)]
pub struct Teletype;

impl Person for Teletype {
    fn ask(&mut self, asking: Asking<'_>) -> Said {
        if !io::stdin().is_terminal() {
            return Said::Nobody;
        }
        match converse(asking) {
            Some(answer) => Said::Answer(answer, who()),
            None => Said::Nobody,
        }
    }
}

/// `None` at the end of input.
fn converse(asking: Asking<'_>) -> Option<Answer> {
    match asking.question {
        Question::Ready => {
            for line in asking.action {
                say(&format!("   would do: {line}"));
            }
            if let Some(words) = asking.known.foreseen {
                say(&format!("   will take: {words}"));
            }
            choose(&with_back(&[("", "start", Choice::Plain(Answer::Go)), SKIP, ABORT], asking.back))
        }
        Question::AlreadyTrue => {
            say("   the checks of this step hold already");
            let offers = [
                ("", "record that and go on", Choice::Plain(Answer::Record)),
                ("g", "do it all the same", Choice::Plain(Answer::Go)),
                ABORT,
            ];
            choose(&with_back(&offers, asking.back))
        }
        Question::Danger { target, consequence } => {
            say(&format!("   DANGER: {consequence}"));
            let back = if asking.back { ", b to correct the answers before" } else { "" };
            let typed = line(&format!("   type {target} to go on, s to skip, a to abort{back}: "))?;
            match typed.as_str() {
                "b" if asking.back && target != "b" => Some(Answer::Back),
                "s" if target != "s" => Some(Answer::Skip { reason: reason()? }),
                "a" if target != "a" => Some(Answer::Abort { reason: reason()? }),
                _ => Some(Answer::Typed { text: typed }),
            }
        }
        Question::Manual { checklist, fields } => manual(checklist, fields, asking.back),
        Question::Failed { undo, .. } => choose(&with_back(&remedies(*undo), asking.back)),
        Question::Unknown { repeatable, undo } => {
            let harm = if *repeatable { "doing it again does no harm" } else { "doing it again may do harm" };
            say(&format!("   it is not known whether this was done, and its checks do not hold; {harm}"));
            choose(&remedies(*undo))
        }
        Question::TakeBack { undo } => {
            say(&format!("   step {}, {}, can be taken back: {undo}", asking.known.number, asking.known.title));
            choose(&[("u", "take it back", Choice::Plain(Answer::Undo)), ("", "leave it", Choice::Plain(Answer::Leave))])
        }
    }
}

/// What a letter stands for.
#[derive(Clone)]
enum Choice {
    Plain(Answer),
    Reason(fn(String) -> Answer),
}

type Offer = (&'static str, &'static str, Choice);

const SKIP: Offer = ("s", "skip", Choice::Reason(|reason| Answer::Skip { reason }));
const ABORT: Offer = ("a", "abort", Choice::Reason(|reason| Answer::Abort { reason }));

fn with_back(offers: &[Offer], back: bool) -> Vec<Offer> {
    let back = back.then_some(("b", "correct the answers before", Choice::Plain(Answer::Back)));
    offers.iter().cloned().chain(back).collect()
}

fn remedies(undo: bool) -> Vec<Offer> {
    let mut offers = vec![("r", "again", Choice::Plain(Answer::Retry))];
    if undo {
        offers.push(("u", "undo", Choice::Plain(Answer::Undo)));
    }
    offers.extend([SKIP, ("o", "go on without proof", Choice::Reason(|reason| Answer::Override { reason })), ABORT]);
    offers
}

fn choose(offers: &[Offer]) -> Option<Answer> {
    let words = offers.iter().map(|(key, what, _)| format!("{} {what}", if key.is_empty() { "Enter" } else { key }));
    let prompt = format!("   {}: ", words.collect::<Vec<_>>().join(", "));
    loop {
        let typed = line(&prompt)?;
        let Some((_, _, choice)) = offers.iter().find(|(key, _, _)| *key == typed) else { continue };
        return Some(match choice {
            Choice::Plain(answer) => answer.clone(),
            Choice::Reason(make) => make(reason()?),
        });
    }
}

fn manual(checklist: &[String], fields: &[Field], back: bool) -> Option<Answer> {
    for item in checklist {
        say(&format!("   [ ] {item}"));
    }
    let mut answers = BTreeMap::new();
    for field in fields {
        let choices = if field.choices.is_empty() { String::new() } else { format!(" ({})", field.choices.join(", ")) };
        let text = loop {
            let text = line(&format!("   {}{choices}: ", field.label))?;
            match field.wrong(&text, Timestamp::now()) {
                None => break text,
                Some(wrong) => say(&format!("   {wrong}")),
            }
        };
        answers.insert(field.name.clone(), text);
    }
    match choose(&with_back(&[("", "all of this is done", Choice::Plain(Answer::Go)), SKIP, ABORT], back))? {
        Answer::Go => Some(Answer::Done { fields: answers }),
        other => Some(other),
    }
}

fn reason() -> Option<String> {
    loop {
        let text = line("   why? ")?;
        if !text.is_empty() {
            return Some(text);
        }
    }
}

/// The prompt that waits for a line, where one does.
static PROMPT: Mutex<Option<Sender<Option<String>>>> = Mutex::new(None);

/// Ctrl-C at a prompt: nobody is there any more. Says whether there was a prompt.
pub fn leave_prompt() -> bool {
    let prompt = PROMPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    prompt.is_some_and(|prompt| prompt.send(None).is_ok())
}

/// One trimmed line from stdin; `None` at its end, or when the person leaves.
fn line(prompt: &str) -> Option<String> {
    let clean: String = prompt.chars().filter(|c| !c.is_control()).collect();
    let mut stderr = io::stderr().lock();
    write!(stderr, "{clean}").and_then(|()| stderr.flush()).ok()?;
    let (sender, answer) = mpsc::channel();
    *PROMPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
    // A thread of its own: a read from a terminal cannot be called back, and once left, nobody reads from it again.
    thread::spawn(move || {
        let mut text = String::new();
        let read = io::stdin().lock().read_line(&mut text);
        let typed = matches!(read, Ok(count) if count > 0).then(|| text.trim().to_owned());
        sender.send(typed).ok(); // whoever asked may have left
    });
    answer.recv().ok().flatten()
}

/// Waits until the person has read what is above. Says whether they are still there.
pub fn wait_for_enter() -> bool {
    line("").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_and_a_command_not_at_all() {
        let line = "       The runbook: get the database back, from the first message to the last test.";
        assert_eq!(folded(line, 80), ["       The runbook: get the database back, from the first message to the last", "       test."]);
        let timed = "03:00:00     ok  every table has as many rows as the manifest says it should have: nine of nine tables";
        assert_eq!(
            folded(timed, 80),
            ["03:00:00     ok  every table has as many rows as the manifest says it should", "             have: nine of nine tables"]
        );
        let command = format!("03:00:00     $ lifeboat restore {}", "production-202602280200.sql.gz.gpg ".repeat(4));
        assert_eq!(folded(&command, 80).join("|"), command);
        assert_eq!(folded(line, usize::MAX), [line]);
    }

    #[test]
    fn nobody_is_said_to_have_answered_where_the_command_was_all() {
        let plan: Plan = toml::from_str("runbook = 'x'\ntitle = 'x'\nowner = ''\nreview_by = '2099-01-01'\nsteps = []").unwrap();
        let told = |by: &str| {
            let fact = Fact::Answered { step: "x".into(), answer: Answer::Go, by: by.into() };
            Printer::default().lines(&Entry { seq: 1, at: Timestamp::UNIX_EPOCH, prev: String::new(), fact }, &plan)
        };
        assert!(told(COMMAND).is_empty());
        assert_eq!(told("--yes"), ["   answered by --yes: go"]);
    }
}
