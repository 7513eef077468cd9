//! The one table of keys. It drives input, the hints at the bottom, the help page and the palette; a test holds that no two
//! commands that are possible at the same time share a key.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Focus, Model, Row, Screen};
use crate::run::Question;

/// Everything a person can ask of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// What can be done here.
    Help,
    /// Any command by name.
    Palette,
    /// Leave.
    Quit,
    /// One screen back.
    Back,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A page of text up.
    PageUp,
    /// A page of text down.
    PageDown,
    /// What the cursor is on.
    Open,
    /// Gather again.
    Refresh,
    /// The next field of a form.
    NextField,
    /// The field before.
    PreviousField,
    /// The next choice.
    NextChoice,
    /// The choice before.
    PreviousChoice,
    /// Start the run.
    Start,
    /// Look at the step before.
    LookUp,
    /// Look at the next step.
    LookDown,
    /// Back to the step the run is at.
    Current,
    /// The log.
    Log,
    /// The rest of the runbook as commands.
    Paper,
    /// Copy what is in view.
    Copy,
    /// Ask the action being done to stop.
    Interrupt,
    /// Start the step.
    Go,
    /// Record that it holds already.
    Record,
    /// Do it though it holds already.
    GoAnyway,
    /// The row above in a checklist.
    ItemUp,
    /// The row below in a checklist.
    ItemDown,
    /// Tick, or fill in.
    Tick,
    /// Tick and go to the next row, or fill in.
    TickNext,
    /// All ticked and filled in.
    Done,
    /// Begin to type the name that confirms danger.
    Type,
    /// The answer is written; on to the next.
    NextAnswer,
    /// Stop typing.
    StopTyping,
    /// Commit: the typed name, the reason, the form.
    Confirm,
    /// Do it again.
    Retry,
    /// Take it back.
    Undo,
    /// Do not take it back.
    LeaveIt,
    /// Back to the manual step before.
    Correct,
    /// Leave the step out.
    Skip,
    /// Go on without proof.
    Override,
    /// Give the run up.
    Abort,
    /// A plain yes.
    Yes,
    /// Close what lies on top.
    Close,
    /// Run the chosen command of the palette.
    Choose,
    /// Leave a live run: it goes on and parks.
    Leave,
    /// Draw the whole screen again.
    Redraw,
    /// Home, while the run goes on.
    Home,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    control: bool,
}

/// Where a binding is shown without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Beside the question it answers.
    Answer,
    /// In the last line.
    Bar,
    /// Only in the help and the palette.
    Help,
    /// Nowhere: it is part of editing.
    Never,
}

/// One row of the table.
pub struct Binding {
    /// What it does.
    pub command: Command,
    /// Its name in the palette.
    pub name: &'static str,
    /// The keys that do it; the first is the one shown.
    pub keys: &'static [Key],
    /// One word beside the key.
    pub word: &'static str,
    /// One sentence for the help.
    pub does: &'static str,
    /// Where it is shown.
    pub shown: Shown,
    /// Whether it can be done now.
    pub when: fn(&Model) -> bool,
}

const fn key(code: KeyCode) -> Key {
    Key { code, control: false }
}
const fn ch(c: char) -> Key {
    Key { code: KeyCode::Char(c), control: false }
}
const fn ctrl(c: char) -> Key {
    Key { code: KeyCode::Char(c), control: true }
}
const fn row(
    command: Command,
    name: &'static str,
    keys: &'static [Key],
    (word, does): (&'static str, &'static str),
    shown: Shown,
    when: fn(&Model) -> bool,
) -> Binding {
    Binding { command, name, keys, word, does, shown, when }
}

const ENTER: Key = key(KeyCode::Enter);
const ESC: Key = key(KeyCode::Esc);
const UP: Key = key(KeyCode::Up);
const DOWN: Key = key(KeyCode::Down);
const PAGE_UP: Key = key(KeyCode::PageUp);
const PAGE_DOWN: Key = key(KeyCode::PageDown);
const TAB: Key = key(KeyCode::Tab);
const BACK_TAB: Key = key(KeyCode::BackTab);

/// The table. Order is the order of hints and help.
pub const TABLE: &[Binding] = &[
    // Answers to the open question.
    row(Command::Go, "start-step", &[ENTER], ("start", "start this step"), Shown::Answer, |m| asks(m, |q| matches!(q, Question::Ready))),
    row(Command::Record, "record", &[ENTER], ("record and go on", "record that it holds already and go on"), Shown::Answer, |m| {
        asks(m, |q| matches!(q, Question::AlreadyTrue))
    }),
    row(
        Command::GoAnyway,
        "do-it-anyway",
        &[ch('d')],
        ("do it all the same", "do the step although its checks hold already"),
        Shown::Answer,
        |m| asks(m, |q| matches!(q, Question::AlreadyTrue)),
    ),
    row(Command::Tick, "tick", &[ch(' ')], ("tick, fill in", "tick the box, or fill in the answer"), Shown::Answer, is_manual),
    row(
        Command::TickNext,
        "tick-next",
        &[ENTER],
        ("tick, next", "tick the box and go on to the next row, or fill in"),
        Shown::Help,
        is_manual,
    ),
    row(Command::Done, "done", &[ch('d')], ("done", "all ticked and filled in: the step is done"), Shown::Answer, is_manual),
    row(Command::ItemUp, "item-up", &[UP], ("up", "the row above"), Shown::Help, is_manual),
    row(Command::ItemDown, "item-down", &[DOWN, TAB], ("down", "the row below"), Shown::Help, is_manual),
    row(Command::PreviousChoice, "choice-before", &[key(KeyCode::Left)], ("before", "the choice before"), Shown::Help, is_manual),
    row(Command::NextChoice, "next-choice", &[key(KeyCode::Right)], ("next", "the next choice"), Shown::Help, is_manual),
    row(
        Command::Type,
        "type-name",
        &[ENTER, ch('i')],
        ("type the name", "begin to type the name that confirms this"),
        Shown::Answer,
        |m| asks(m, |q| matches!(q, Question::Danger { .. })),
    ),
    row(Command::Retry, "retry", &[ch('r')], ("retry", "do the step again"), Shown::Answer, is_broken),
    row(Command::Undo, "undo", &[ch('u')], ("undo", "take the step back, then ask again"), Shown::Answer, |m| {
        asks(m, |q| matches!(q, Question::Failed { undo: true, .. } | Question::Unknown { undo: true, .. } | Question::TakeBack { .. }))
    }),
    row(
        Command::Correct,
        "correct",
        &[ch('b')],
        ("back", "correct what was answered in the step before; nothing was carried out since"),
        Shown::Answer,
        |m| asks(m, Question::leads_back) && m.run.as_ref().is_some_and(|run| run.told.state.correctable(&run.told.plan).is_some()),
    ),
    row(Command::Skip, "skip", &[ch('s')], ("skip", "leave the step out, with a reason"), Shown::Answer, |m| {
        asks(m, |q| !matches!(q, Question::AlreadyTrue | Question::TakeBack { .. }))
    }),
    row(
        Command::Override,
        "override",
        &[ch('o')],
        ("override", "go on without proof, with a reason; the report says so"),
        Shown::Answer,
        is_broken,
    ),
    row(Command::Abort, "abort", &[ch('a')], ("abort", "give the run up, with a reason"), Shown::Answer, |m| {
        asks(m, |q| !matches!(q, Question::TakeBack { .. }))
    }),
    row(Command::LeaveIt, "leave-it", &[ch('n')], ("leave it as it is", "do not take it back: it stays as it is"), Shown::Answer, |m| {
        asks(m, |q| matches!(q, Question::TakeBack { .. }))
    }),
    // Typing.
    row(Command::Confirm, "confirm", &[ctrl('y')], ("do it", "do it, once the name is right; no other key does"), Shown::Answer, |m| {
        at(m, Focus::Danger)
    }),
    row(Command::Confirm, "confirm", &[ctrl('y')], ("that is the reason", "give this reason"), Shown::Answer, |m| at(m, Focus::Reason)),
    row(Command::StopTyping, "stop-typing", &[ESC, ctrl('c')], ("do nothing", "stop typing, do nothing"), Shown::Answer, |m| {
        at(m, Focus::Danger)
    }),
    row(Command::NextAnswer, "next-answer", &[ENTER, TAB], ("next", "the answer is written; on to the next"), Shown::Answer, |m| {
        at(m, Focus::Field)
    }),
    row(Command::StopTyping, "stop-typing", &[ESC, ctrl('c')], ("stop typing", "the answer stays as it is"), Shown::Answer, |m| {
        at(m, Focus::Field)
    }),
    row(Command::Yes, "yes", &[ctrl('y'), ch('y')], ("yes", "yes, do it"), Shown::Answer, |m| at(m, Focus::Confirm)),
    row(
        Command::Leave,
        "leave",
        &[ch('l'), ctrl('c')],
        ("leave, the run goes on", "leave; the run goes on and parks at its next question"),
        Shown::Answer,
        |m| at(m, Focus::Leave),
    ),
    row(Command::Home, "home", &[ch('h')], ("home", "the home screen, while the run goes on"), Shown::Answer, |m| {
        at(m, Focus::Leave) && m.has_home
    }),
    row(Command::Abort, "abort", &[ch('a')], ("abort the run", "give the run up, with a reason"), Shown::Answer, |m| at(m, Focus::Leave)),
    row(Command::Choose, "choose", &[ENTER], ("run it", "run the chosen command"), Shown::Answer, |m| at(m, Focus::Palette)),
    row(Command::Up, "up", &[UP], ("up", "the row above"), Shown::Never, |m| at(m, Focus::Palette)),
    row(Command::Down, "down", &[DOWN, TAB], ("down", "the row below"), Shown::Never, |m| at(m, Focus::Palette)),
    row(Command::Close, "close", &[ESC, ch('n'), ctrl('c')], ("do nothing", "close this, do nothing"), Shown::Answer, |m| {
        at(m, Focus::Confirm)
    }),
    row(Command::Close, "close", &[ESC, ch('q')], ("stay", "close this, do nothing"), Shown::Answer, |m| at(m, Focus::Leave)),
    row(Command::Close, "close", &[ESC, ENTER, ch('q'), ctrl('c')], ("close", "close this"), Shown::Answer, |m| at(m, Focus::Trouble)),
    row(Command::Close, "close", &[ESC, ctrl('c')], ("do nothing", "close this, do nothing"), Shown::Answer, |m| {
        matches!(m.focus(), Focus::Reason | Focus::Palette)
    }),
    // The start form.
    row(Command::Start, "start-run", &[ctrl('y')], ("start", "start the run"), Shown::Bar, |m| at(m, Focus::Form)),
    row(Command::Open, "next", &[ENTER], ("next", "the next field; on the last row: start the run"), Shown::Bar, |m| at(m, Focus::Form)),
    row(Command::NextField, "next-field", &[DOWN, TAB], ("move", "the next field"), Shown::Bar, |m| at(m, Focus::Form)),
    row(Command::PreviousField, "field-before", &[UP, BACK_TAB], ("up", "the field before"), Shown::Help, |m| at(m, Focus::Form)),
    row(Command::NextChoice, "next-choice", &[key(KeyCode::Right), ch(' ')], ("choose", "the next choice"), Shown::Bar, |m| {
        has_choice(m) && !m.is_typing()
    }),
    row(Command::PreviousChoice, "choice-before", &[key(KeyCode::Left)], ("before", "the choice before"), Shown::Help, |m| {
        has_choice(m) && !m.is_typing()
    }),
    row(Command::NextChoice, "next-choice", &[ctrl('n')], ("next dump", "the next known dump"), Shown::Bar, |m| {
        has_choice(m) && m.is_typing()
    }),
    row(Command::PreviousChoice, "choice-before", &[ctrl('p')], ("before", "the known dump before"), Shown::Help, |m| {
        has_choice(m) && m.is_typing()
    }),
    row(Command::Back, "back", &[ESC, ctrl('c')], ("back", "back to the home screen, start nothing"), Shown::Bar, |m| at(m, Focus::Form)),
    // The home screen.
    row(Command::Open, "open", &[ENTER], ("start", "start this runbook"), Shown::Bar, |m| on(m, |row| matches!(row, Row::Runbook(_)))),
    row(Command::Open, "open", &[ENTER], ("look inside", "what is known about the newest dump"), Shown::Bar, |m| {
        on(m, |row| matches!(row, Row::Shelf(_)))
    }),
    row(Command::Open, "open", &[ENTER], ("resume", "resume the run, or follow it"), Shown::Bar, |m| on(m, |row| is_open_run(m, row))),
    row(Command::Open, "open", &[ENTER], ("look back", "where its report is"), Shown::Bar, |m| {
        on(m, |row| matches!(row, Row::Run(_)) && !is_open_run(m, row))
    }),
    row(Command::Up, "up", &[ch('k'), UP], ("up", "the row above"), Shown::Help, |m| at(m, Focus::Home)),
    row(Command::Down, "down", &[ch('j'), DOWN, TAB], ("move", "the row below"), Shown::Bar, |m| at(m, Focus::Home)),
    row(Command::Refresh, "refresh", &[ch('r')], ("refresh", "look at every store again"), Shown::Bar, |m| at(m, Focus::Home)),
    // The run.
    row(Command::Current, "current", &[ESC], ("back to the run", "back to the step the run is at"), Shown::Bar, |m| {
        at(m, Focus::Run) && m.run.as_ref().is_some_and(|run| run.looking.is_some())
    }),
    row(Command::LookDown, "look-down", &[ch('j')], ("look", "look at the next step; the run does not move"), Shown::Bar, |m| {
        at(m, Focus::Run)
    }),
    row(Command::LookUp, "look-up", &[ch('k')], ("look up", "look at the step before; the run does not move"), Shown::Help, |m| {
        at(m, Focus::Run)
    }),
    row(Command::PageUp, "text-up", &[PAGE_UP, ctrl('u')], ("text up", "scroll the text up"), Shown::Help, |m| {
        matches!(m.focus(), Focus::Run | Focus::Dump | Focus::Help | Focus::Paper | Focus::Form)
    }),
    row(Command::PageDown, "text-down", &[PAGE_DOWN, ctrl('d')], ("text down", "scroll the text down"), Shown::Help, |m| {
        matches!(m.focus(), Focus::Run | Focus::Dump | Focus::Help | Focus::Paper | Focus::Form)
    }),
    row(Command::Up, "up", &[UP, ch('k')], ("up", "scroll up"), Shown::Help, |m| matches!(m.focus(), Focus::Dump | Focus::Paper)),
    row(Command::Down, "down", &[DOWN, ch('j')], ("scroll", "scroll down"), Shown::Bar, |m| {
        matches!(m.focus(), Focus::Dump | Focus::Paper)
    }),
    row(Command::Up, "up", &[UP], ("up", "scroll up"), Shown::Never, |m| at(m, Focus::Help)),
    row(Command::Down, "down", &[DOWN], ("scroll", "scroll down"), Shown::Bar, |m| at(m, Focus::Help)),
    row(Command::Interrupt, "interrupt", &[ch('x')], ("stop", "ask the action being done to stop"), Shown::Bar, |m| {
        at(m, Focus::Run) && m.run.as_ref().is_some_and(super::model::Followed::is_running)
    }),
    row(Command::Log, "log", &[ch('l')], ("log", "show or hide what is being said"), Shown::Bar, |m| at(m, Focus::Run)),
    row(
        Command::Paper,
        "paper",
        &[ch('p')],
        ("paper", "the rest of the runbook as commands, should this screen fail you"),
        Shown::Bar,
        |m| at(m, Focus::Run),
    ),
    row(Command::Copy, "copy", &[ch('y')], ("copy", "copy the commands in view to your clipboard (OSC 52)"), Shown::Bar, |m| {
        matches!(m.focus(), Focus::Run | Focus::Paper | Focus::Dump)
    }),
    row(Command::Close, "close", &[ESC, ch('p'), ch('q'), ctrl('c')], ("close", "close this page"), Shown::Bar, |m| at(m, Focus::Paper)),
    row(Command::Close, "close", &[ESC, ENTER, ctrl('c')], ("close", "close this page"), Shown::Bar, |m| at(m, Focus::Help)),
    row(Command::Back, "back", &[ESC, ch('q'), ctrl('c')], ("back", "back to the home screen"), Shown::Bar, |m| at(m, Focus::Dump)),
    // Everywhere.
    row(Command::Help, "help", &[ch('?')], ("help", "what can be done here"), Shown::Bar, is_open_ground),
    row(Command::Palette, "palette", &[ch(':')], ("command", "any command by its name"), Shown::Help, is_open_ground),
    row(Command::Redraw, "redraw", &[ctrl('l')], ("redraw", "draw the whole screen again"), Shown::Help, |m| !at(m, Focus::Trouble)),
    row(Command::Quit, "quit", &[ch('q'), ctrl('c')], ("quit", "leave; a live run asks first"), Shown::Bar, |m| {
        matches!(m.focus(), Focus::Home | Focus::Run)
    }),
];

/// What can be done now.
pub fn possible(model: &Model) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(|binding| (binding.when)(model))
}

/// The command a key means now; `None` where it means nothing, or is text.
pub fn command(model: &Model, event: KeyEvent) -> Option<Command> {
    let pressed = Key::from_event(event)?;
    if model.is_typing() && pressed.is_text() {
        return None;
    }
    possible(model).find(|binding| binding.keys.contains(&pressed)).map(|binding| binding.command)
}

/// The row of a command as it is bound now, or the first there is.
pub fn binding(model: &Model, command: Command) -> Option<&'static Binding> {
    possible(model).find(|binding| binding.command == command).or_else(|| TABLE.iter().find(|binding| binding.command == command))
}

fn at(model: &Model, focus: Focus) -> bool {
    model.focus() == focus
}

fn on(model: &Model, test: impl Fn(Row) -> bool) -> bool {
    at(model, Focus::Home) && model.row().is_some_and(test)
}

fn is_open_run(model: &Model, row: Row) -> bool {
    matches!(row, Row::Run(at) if model.overview.runs.get(at).is_some_and(|run| run.verdict.is_none()))
}

fn asks(model: &Model, test: impl Fn(&Question) -> bool) -> bool {
    at(model, Focus::Run) && model.open_question().is_some_and(test)
}

fn is_manual(model: &Model) -> bool {
    asks(model, |question| matches!(question, Question::Manual { .. }))
}

fn is_broken(model: &Model) -> bool {
    asks(model, |question| matches!(question, Question::Failed { .. } | Question::Unknown { .. }))
}

fn has_choice(model: &Model) -> bool {
    at(model, Focus::Form)
        && matches!(&model.screen, Screen::Form(form) if form.entries.get(form.at).is_some_and(|entry| !entry.choices.is_empty()))
}

/// Nothing lies on top, and `?` and `:` are not text.
fn is_open_ground(model: &Model) -> bool {
    matches!(model.focus(), Focus::Home | Focus::Dump | Focus::Run | Focus::Form | Focus::Paper) && !model.is_typing()
}

impl Key {
    fn from_event(event: KeyEvent) -> Option<Key> {
        if event.modifiers.contains(KeyModifiers::ALT) {
            return None;
        }
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        let code = match event.code {
            KeyCode::Char(c) if control => KeyCode::Char(c.to_ascii_lowercase()),
            KeyCode::Tab if event.modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
            code => code,
        };
        Some(Key { code, control })
    }

    /// It would be written where text is written.
    fn is_text(self) -> bool {
        !self.control && matches!(self.code, KeyCode::Char(_))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.control {
            write!(f, "Ctrl-")?;
        }
        match self.code {
            KeyCode::Char(' ') => write!(f, "Space"),
            KeyCode::Char(c) if self.control => write!(f, "{}", c.to_ascii_uppercase()),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::Enter => write!(f, "Enter"),
            KeyCode::Esc => write!(f, "Esc"),
            KeyCode::Tab => write!(f, "Tab"),
            KeyCode::BackTab => write!(f, "Shift-Tab"),
            KeyCode::Up => write!(f, "↑"),
            KeyCode::Down => write!(f, "↓"),
            KeyCode::Left => write!(f, "←"),
            KeyCode::Right => write!(f, "→"),
            KeyCode::PageUp => write!(f, "PgUp"),
            KeyCode::PageDown => write!(f, "PgDn"),
            code => write!(f, "{code}"),
        }
    }
}
