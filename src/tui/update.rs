//! A message becomes a new model and effects. No I/O, no clock of its own: time comes in as a message.

mod answer;
mod open;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crossterm::event::{KeyEvent, KeyEventKind};
use ratatui::layout::Size;

use super::form::Line;
use super::keys::{self, Command, Shown};
use super::model::{Confirmed, Focus, Followed, Model, Moment, Page, Purpose, QUIET, Screen, Scroll, Sheet, Snapshot};
use super::screen;
use crate::report::{Report, Result};
use crate::run::overview::Overview;
use crate::run::{Answer, Question};
use crate::runbook::Plan;
use answer::{answer, asking, commit, confirm, cycle_field, done, field, item, reason, retry, yes};
use open::{gathered, open, planned, start};

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(5);

/// Lines of a page of text.
const PAGE: isize = 10;

/// Something that happened to the screen.
pub enum Message {
    /// It is now.
    Time(Moment),
    /// A key.
    Key(KeyEvent),
    /// A pasted text.
    Paste(String),
    /// The terminal has another size.
    Resize(Size),
    /// What the model holds is on screen now.
    Drawn,
    /// What was gathered.
    Overview(Box<Overview>),
    /// The plan asked for.
    Planned(Result<Box<Plan>>),
    /// A run was started or resumed, or not.
    Began(Result<Snapshot>),
    /// The run moved.
    Told(Box<Snapshot>),
    /// An answer was not taken.
    Refused(Report),
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Close the screen.
    Quit,
    /// Gather again.
    Refresh,
    /// Fetch the plan of a runbook.
    Plan(String),
    /// Start a runbook.
    Start {
        /// Its id.
        runbook: String,
        /// What differs from the defaults.
        values: BTreeMap<String, String>,
    },
    /// Take a run up again.
    Resume(String),
    /// Answer the open question.
    Answer(Answer),
    /// Ask the action being done to stop.
    Interrupt,
    /// Put a text on the clipboard.
    Copy(String),
    /// Draw the whole screen again.
    Redraw,
}

/// The new model, and what is to be done outside.
pub fn update(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Time(now) => {
            model.now = now;
            model.notice.take_if(|(_, until)| now.steady >= *until);
            Vec::new()
        }
        Message::Resize(size) => {
            model.size = size;
            Vec::new()
        }
        Message::Drawn => {
            drawn(model);
            Vec::new()
        }
        Message::Key(event) => press(model, event),
        Message::Paste(text) => {
            paste(model, &text);
            Vec::new()
        }
        Message::Overview(overview) => {
            gathered(model, *overview);
            Vec::new()
        }
        Message::Planned(plan) => {
            model.busy = None;
            planned(model, plan);
            Vec::new()
        }
        Message::Began(told) => {
            model.busy = None;
            began(model, told);
            Vec::new()
        }
        Message::Told(told) => tell(model, *told),
        Message::Refused(report) => {
            if let Some(asking) = asking(model) {
                asking.sent = false;
            }
            model.sheet = Some(Sheet::Trouble(report));
            Vec::new()
        }
    }
}

/// A question starts to count as seen once it is on screen; whatever covers it makes it start again.
fn drawn(model: &mut Model) {
    let visible = model.shows_question();
    let now = model.now.steady;
    if let Some(asking) = asking(model) {
        asking.shown = if visible { asking.shown.or(Some(now)) } else { None };
    }
}

fn began(model: &mut Model, told: Result<Snapshot>) {
    match told {
        Ok(told) => {
            model.run = Some(Followed::new(told));
            model.screen = Screen::Run;
            model.page = None;
            model.sheet = None;
        }
        Err(report) => model.sheet = Some(Sheet::Trouble(report)),
    }
}

fn tell(model: &mut Model, told: Snapshot) -> Vec<Effect> {
    let Some(run) = &mut model.run else { return Vec::new() };
    run.tell(told);
    // What was about to be answered may be gone.
    let gone = run.asking.is_none();
    let live = run.is_live();
    let fresh = run.asking.as_mut().filter(|asking| !asking.sent);
    if let (Some(asking), Some(reason)) = (fresh, run.abort.take_if(|_| run.told.state.question.is_some())) {
        asking.sent = true;
        return vec![Effect::Answer(Answer::Abort { reason })];
    }
    match &model.sheet {
        Some(Sheet::Reason { purpose, .. }) if gone && *purpose != Purpose::Abort => model.sheet = None,
        Some(Sheet::Confirm { then: Confirmed::Retry | Confirmed::Undo, .. }) if gone => model.sheet = None,
        Some(Sheet::Reason { .. } | Sheet::Confirm { .. } | Sheet::Leave) if !live => model.sheet = None,
        _ => {}
    }
    Vec::new()
}

fn press(model: &mut Model, event: KeyEvent) -> Vec<Effect> {
    let dead = event.kind == KeyEventKind::Release || !model.is_drawable() || model.busy.is_some() || is_danger_new(model);
    if dead {
        return Vec::new();
    }
    // A word on what the last key did is no news once another one is pressed.
    model.notice = None;
    if let Some(command) = keys::command(model, event) {
        return perform(model, command);
    }
    write(model, event);
    Vec::new()
}

/// A danger dialog that has not been seen for long enough: every key is dead.
fn is_danger_new(model: &Model) -> bool {
    let Some((Question::Danger { .. }, asking)) = model.run.as_ref().and_then(Followed::question) else { return false };
    model.shows_question() && asking.shown.is_none_or(|since| model.now.steady.saturating_sub(since) < QUIET)
}

/// A key that is no command goes into the text that has the focus.
fn write(model: &mut Model, event: KeyEvent) {
    let focus = model.focus();
    match &mut model.sheet {
        Some(Sheet::Palette { query, at, .. }) => {
            query.press(event);
            *at = 0;
            return;
        }
        Some(Sheet::Reason { text, .. }) => {
            text.input(event);
            return;
        }
        _ => {}
    }
    if let Some(Page::Help { query, scroll, .. }) = &mut model.page {
        query.press(event);
        *scroll = Scroll::default();
        return;
    }
    match focus {
        Focus::Form => {
            if let Screen::Form(form) = &mut model.screen
                && let Some(entry) = form.entries.get_mut(form.at).filter(|entry| entry.is_text())
            {
                entry.line.press(event);
            }
        }
        Focus::Field => {
            if let Some(line) = field(model) {
                line.press(event);
            }
        }
        Focus::Danger => {
            let pressed_enter = event.code == crossterm::event::KeyCode::Enter;
            if let Some(asking) = asking(model).filter(|_| !pressed_enter) {
                asking.typed.press(event);
            } else {
                notice(model, "Enter confirms nothing here: Ctrl-Y does, once the name is right");
            }
        }
        _ => {}
    }
}

fn paste(model: &mut Model, text: &str) {
    if !model.is_drawable() || model.busy.is_some() {
        return;
    }
    let focus = model.focus();
    match (&mut model.sheet, &mut model.page) {
        (Some(Sheet::Palette { query, .. }), _) | (None, Some(Page::Help { query, .. })) => return query.insert(text.trim_end()),
        (Some(Sheet::Reason { text: area, .. }), _) => {
            let lines: Vec<String> = text.lines().map(super::text::clean).collect();
            area.insert_str(lines.join("\n"));
            return;
        }
        _ => {}
    }
    match focus {
        Focus::Form => {
            if let Screen::Form(form) = &mut model.screen
                && let Some(entry) = form.entries.get_mut(form.at).filter(|entry| entry.is_text())
            {
                entry.line.insert(text.trim_end());
            }
        }
        Focus::Field => {
            if let Some(line) = field(model) {
                line.insert(text.trim_end());
            }
        }
        Focus::Danger => notice(model, "the name is typed, not pasted: that is the point of it"),
        _ => {}
    }
}

fn perform(model: &mut Model, command: Command) -> Vec<Effect> {
    match command {
        Command::Help => {
            model.page = Some(Page::Help { query: Line::default(), scroll: Scroll::default(), commands: listed(model) });
        }
        Command::Palette => {
            let asked = model.open_question().and_then(|_| Some(model.run.as_ref()?.asking.as_ref()?.since));
            model.sheet = Some(Sheet::Palette { query: Line::default(), at: 0, commands: listed(model), asked });
        }
        Command::Choose => return choose(model),
        Command::Close => close(model),
        Command::Paper => model.page = Some(Page::Paper(Scroll::default())),
        Command::Quit => return quit(model),
        Command::Leave => return vec![Effect::Quit],
        Command::Back | Command::Home => {
            model.sheet = None;
            model.page = None;
            model.screen = Screen::Home;
            return vec![Effect::Refresh];
        }
        Command::Refresh => {
            model.refreshing = true;
            return vec![Effect::Refresh];
        }
        Command::Up | Command::Down | Command::PageUp | Command::PageDown => scroll(model, command),
        Command::Open => return open(model),
        Command::NextField | Command::PreviousField | Command::NextChoice | Command::PreviousChoice => step_field(model, command),
        Command::Start => return start(model),
        Command::LookUp | Command::LookDown | Command::Current | Command::Log => look(model, command),
        Command::Copy => return copy(model),
        Command::Redraw => return vec![Effect::Redraw],
        Command::Interrupt => {
            confirm(model, "Ask the action being done to stop? It is then asked what to do.".into(), Confirmed::Interrupt);
        }
        Command::Yes => return yes(model),
        Command::Go | Command::GoAnyway => return answer(model, Answer::Go),
        Command::Record => return answer(model, Answer::Record),
        Command::Retry => return retry(model),
        Command::LeaveIt => return answer(model, Answer::Leave),
        Command::Correct => return answer(model, Answer::Back),
        Command::Undo => {
            let asked = model.run.as_ref().and_then(|run| {
                let (at, _, state) = run.step()?;
                let undo = match run.question()? {
                    (Question::TakeBack { undo }, _) => Some(undo.clone()),
                    _ => state.undo.clone(),
                };
                Some(format!("Take step {} back, {}: {}?", at + 1, state.title, undo?))
            });
            confirm(model, asked.unwrap_or_else(|| "Take this step back?".into()), Confirmed::Undo);
        }
        Command::Skip => reason(model, Purpose::Skip),
        Command::Override => reason(model, Purpose::Override),
        Command::Abort => reason(model, Purpose::Abort),
        Command::Confirm => return commit(model),
        Command::ItemUp
        | Command::ItemDown
        | Command::Tick
        | Command::TickNext
        | Command::Type
        | Command::NextAnswer
        | Command::StopTyping => {
            item(model, command);
        }
        Command::Done => return done(model),
    }
    Vec::new()
}

/// What help and palette list: what is possible on open ground.
fn listed(model: &Model) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for binding in keys::possible(model).filter(|binding| binding.shown != Shown::Never) {
        if !commands.contains(&binding.command) {
            commands.push(binding.command);
        }
    }
    commands
}

/// The palette closes before its command runs. The question it covered was seen before the palette was opened, so it may be answered.
fn choose(model: &mut Model) -> Vec<Effect> {
    let Some(Sheet::Palette { query, at, commands, asked }) = &model.sheet else { return Vec::new() };
    let asked = *asked;
    let Some(command) = matching(model, commands, query.text()).get(*at).copied() else { return Vec::new() };
    model.sheet = None;
    let seen = model.now.steady.checked_sub(QUIET).unwrap_or_default();
    if let Some(asking) = asking(model).filter(|asking| Some(asking.since) == asked) {
        asking.shown = Some(seen);
    }
    let possible = keys::possible(model).any(|binding| binding.command == command);
    let effects = if possible { perform(model, command) } else { Vec::new() };
    if let Some(asking) = asking(model) {
        asking.shown = None;
    }
    if !possible {
        notice(model, "that is no longer possible here");
    }
    effects
}

/// The commands whose name, word or sentence holds every word of the query.
pub fn matching(model: &Model, commands: &[Command], query: &str) -> Vec<Command> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let holds = |command: &&Command| {
        let Some(binding) = keys::binding(model, **command) else { return false };
        let text = format!("{} {} {}", binding.name, binding.word, binding.does).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let mut found: Vec<Command> = commands.iter().filter(holds).copied().collect();
    // What begins with the query comes first: `log` is the log, whatever else mentions logs.
    if let Some(first) = words.first() {
        found.sort_by_key(|command| !keys::binding(model, *command).is_some_and(|binding| binding.name.starts_with(first.as_str())));
    }
    found
}

fn close(model: &mut Model) {
    if model.sheet.take().is_none() {
        model.page = None;
    }
}

fn quit(model: &mut Model) -> Vec<Effect> {
    let live = model.run.as_ref().is_some_and(Followed::is_live);
    match (&model.screen, live) {
        (_, true) => model.sheet = Some(Sheet::Leave),
        (Screen::Run, false) if model.has_home => return perform(model, Command::Home),
        _ => return vec![Effect::Quit],
    }
    Vec::new()
}

fn scroll(model: &mut Model, command: Command) {
    let lines = match command {
        Command::Up => -1,
        Command::Down => 1,
        Command::PageUp => -PAGE,
        _ => PAGE,
    };
    if let Some(Sheet::Palette { query, at, commands, .. }) = &model.sheet {
        let last = matching(model, commands, query.text()).len().saturating_sub(1);
        let next = at.saturating_add_signed(lines).min(last);
        if let Some(Sheet::Palette { at, .. }) = &mut model.sheet {
            *at = next;
        }
        return;
    }
    match (&model.page, &model.screen) {
        (Some(Page::Help { scroll, .. } | Page::Paper(scroll)), _) | (None, Screen::Dump(_, scroll)) => scroll.by(lines),
        (None, Screen::Home) => model.cursor = model.cursor.saturating_add_signed(lines).min(model.rows().len().saturating_sub(1)),
        (None, Screen::Form(form)) => form.scroll.by(lines),
        (None, Screen::Run) => {
            if let Some(run) = &model.run {
                run.scroll.by(lines);
            }
        }
    }
}

fn step_field(model: &mut Model, command: Command) {
    let forward = matches!(command, Command::NextField | Command::NextChoice);
    match &mut model.screen {
        Screen::Form(form) => match command {
            Command::NextField => form.at = (form.at + 1).min(form.entries.len()),
            Command::PreviousField => form.at = form.at.saturating_sub(1),
            _ => {
                if let Some(entry) = form.entries.get_mut(form.at) {
                    entry.cycle(forward);
                }
            }
        },
        _ => cycle_field(model, forward),
    }
}

fn look(model: &mut Model, command: Command) {
    let Some(run) = &mut model.run else { return };
    if command == Command::Log {
        run.log = !run.log;
        return;
    }
    run.scroll = Scroll::default();
    let last = run.told.plan.steps.len().saturating_sub(1);
    let here = run.looking.or(run.told.state.current).unwrap_or(0);
    run.looking = match command {
        Command::LookUp if run.looking.is_none() && !run.is_live() => Some(last),
        Command::LookUp => Some(here.saturating_sub(1)),
        // Past the last step of a run that is over lies its verdict.
        Command::LookDown if !run.is_live() => run.looking.filter(|at| *at < last).map(|at| at + 1),
        Command::LookDown => Some((here + 1).min(last)),
        _ => None,
    };
    // Having walked back onto the current step is being at it.
    run.looking = run.looking.filter(|at| !(run.is_live() && Some(*at) == run.told.state.current));
}

fn copy(model: &mut Model) -> Vec<Effect> {
    let text = screen::copied(model);
    if text.is_empty() {
        notice(model, "there is nothing to copy here");
        return Vec::new();
    }
    notice(model, &format!("copied {}", crate::tui::text::many(text.lines().count(), "line", "lines")));
    vec![Effect::Copy(text)]
}

/// A word in the last line.
fn notice(model: &mut Model, words: &str) {
    model.notice = Some((words.to_owned(), model.now.steady + NOTICE));
}
