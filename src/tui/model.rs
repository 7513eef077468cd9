//! What is shown: plain data. [`super::update`] changes it, [`super::screen`] draws it.

use std::cell::Cell;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::layout::Size;
use tui_textarea::TextArea;

pub use super::followed::{Asking, Followed, Snapshot};
use super::form::{Form, Line};
use super::keys::Command;
use super::theme::Theme;
use crate::pipeline::manifest::Dump;
use crate::report::Report;
use crate::run::overview::{Overview, RunCard};
use crate::run::{Answer, Question};

/// The smallest terminal that still shows environment, step and verdict.
pub const SMALLEST: Size = Size { width: 40, height: 10 };

/// How long a question must have been on screen before a key can answer it.
pub const QUIET: Duration = Duration::from_millis(300);

/// A moment, told by both clocks: people read the wall, machines measure with the steady one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// Since the screen was opened; never goes back.
    pub steady: Duration,
}

/// Everything that is shown.
pub struct Model {
    /// Now.
    pub now: Moment,
    /// The terminal.
    pub size: Size,
    /// Its inks.
    pub theme: Theme,
    /// Its text is not UTF-8.
    pub plain: bool,
    /// What was last gathered.
    pub overview: Overview,
    /// It is being gathered again.
    pub refreshing: bool,
    /// The row the cursor is on, among [`Model::rows`].
    pub cursor: usize,
    /// Which screen.
    pub screen: Screen,
    /// The run being followed, also while another screen is shown.
    pub run: Option<Followed>,
    /// There is a home screen to go back to.
    pub has_home: bool,
    /// Covers the body, below the header.
    pub page: Option<Page>,
    /// Covers the question, at the bottom.
    pub sheet: Option<Sheet>,
    /// Something is being done that takes a moment; keys wait.
    pub busy: Option<String>,
    /// A word on what just happened, until that moment of the steady clock.
    pub notice: Option<(String, Duration)>,
}

/// Which screen.
pub enum Screen {
    /// Dumps, runbooks, runs.
    Home,
    /// One dump.
    Dump(Box<Dump>, Scroll),
    /// A runbook before it starts.
    Form(Box<Form>),
    /// The run in [`Model::run`].
    Run,
}

/// A page over the body.
pub enum Page {
    /// What can be done here.
    Help {
        /// Only what holds this.
        query: Line,
        /// Where in the list.
        scroll: Scroll,
        /// What could be done when it was opened.
        commands: Vec<Command>,
    },
    /// The rest of the runbook as commands.
    Paper(Scroll),
}

/// A sheet over the question.
pub enum Sheet {
    /// Any command by name.
    Palette {
        /// Only what holds this.
        query: Line,
        /// The one chosen.
        at: usize,
        /// What could be done when it was opened.
        commands: Vec<Command>,
        /// The question that could be answered when it was opened, by when it was asked.
        asked: Option<Timestamp>,
    },
    /// A reason is asked for.
    Reason {
        /// For what.
        purpose: Purpose,
        /// The reason.
        text: Box<TextArea<'static>>,
    },
    /// Really?
    Confirm {
        /// What would happen.
        what: String,
        /// What is done on yes.
        then: Confirmed,
    },
    /// Leaving a live run.
    Leave,
    /// Something went wrong that is not the run's.
    Trouble(Report),
}

/// What a reason is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Leave the step out.
    Skip,
    /// Go on without proof.
    Override,
    /// Give the run up.
    Abort,
}

/// What a plain yes sets off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Do the step again though it may have been done.
    Retry,
    /// Take the step back.
    Undo,
    /// Ask the action being done to stop.
    Interrupt,
}

/// A position in a text whose height only whoever draws it knows.
#[derive(Clone, Debug, Default)]
pub struct Scroll(Cell<usize>);

impl Scroll {
    /// Moves by lines; drawing stops it at the end.
    pub fn by(&self, lines: isize) {
        self.0.set(self.0.get().saturating_add_signed(lines));
    }

    /// The first line shown, for a text of `total` lines in `height` rows; never past the end, and remembered so.
    pub fn first(&self, total: usize, height: usize) -> usize {
        let first = self.0.get().min(total.saturating_sub(height));
        self.0.set(first);
        first
    }
}

/// A row of the home screen the cursor can be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A run, by index: one that is not over, or a past one.
    Run(usize),
    /// The newest dump of a shelf, by index.
    Shelf(usize),
    /// A runbook, by index.
    Runbook(usize),
}

/// How many past runs the home screen lists.
pub const PAST_RUNS: usize = 5;

/// Who has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The home screen.
    Home,
    /// A dump.
    Dump,
    /// The start form.
    Form,
    /// The run.
    Run,
    /// The text field of an open question.
    Field,
    /// The name that confirms danger.
    Danger,
    /// The help page.
    Help,
    /// The paper page.
    Paper,
    /// The palette.
    Palette,
    /// A reason.
    Reason,
    /// Really?
    Confirm,
    /// Leaving.
    Leave,
    /// Something went wrong.
    Trouble,
}

impl Model {
    /// A home screen with nothing gathered yet.
    pub fn new(theme: Theme, size: Size, now: Moment) -> Self {
        Model {
            now,
            size,
            theme,
            plain: false,
            overview: Overview::default(),
            refreshing: false,
            cursor: 0,
            screen: Screen::Home,
            run: None,
            has_home: true,
            page: None,
            sheet: None,
            busy: None,
            notice: None,
        }
    }

    /// The frame can be drawn; where it cannot, keys are dead.
    pub fn is_drawable(&self) -> bool {
        self.size.width >= SMALLEST.width && self.size.height >= SMALLEST.height
    }

    /// Who has the keys.
    pub fn focus(&self) -> Focus {
        match &self.sheet {
            Some(Sheet::Palette { .. }) => return Focus::Palette,
            Some(Sheet::Reason { .. }) => return Focus::Reason,
            Some(Sheet::Confirm { .. }) => return Focus::Confirm,
            Some(Sheet::Leave) => return Focus::Leave,
            Some(Sheet::Trouble(_)) => return Focus::Trouble,
            None => {}
        }
        match &self.page {
            Some(Page::Help { .. }) => return Focus::Help,
            Some(Page::Paper(_)) => return Focus::Paper,
            None => {}
        }
        match &self.screen {
            Screen::Home => Focus::Home,
            Screen::Dump(..) => Focus::Dump,
            Screen::Form(_) => Focus::Form,
            Screen::Run => match self.run.as_ref().and_then(Followed::question) {
                Some((Question::Danger { .. }, asking)) if asking.typing => Focus::Danger,
                Some((_, asking)) if asking.typing => Focus::Field,
                _ => Focus::Run,
            },
        }
    }

    /// Plain characters are text now, not keys.
    pub fn is_typing(&self) -> bool {
        match self.focus() {
            Focus::Form => matches!(&self.screen, Screen::Form(form) if form.is_typing()),
            Focus::Field | Focus::Danger | Focus::Help | Focus::Palette | Focus::Reason => true,
            _ => false,
        }
    }

    /// The open question can be read in full: nothing lies over it, and the view is on its step.
    pub fn shows_question(&self) -> bool {
        self.is_drawable()
            && self.page.is_none()
            && self.sheet.is_none()
            && matches!(self.screen, Screen::Run)
            && self.run.as_ref().is_some_and(Followed::is_at_current)
    }

    /// The open question that keys can answer now: on screen for a moment, not answered yet, and its step is the one looked at.
    pub fn open_question(&self) -> Option<&Question> {
        let run = self.run.as_ref()?;
        let (question, asking) = run.question()?;
        let shown = asking.shown.is_some_and(|since| self.now.steady.saturating_sub(since) >= QUIET);
        (matches!(self.screen, Screen::Run) && run.is_at_current() && shown && !asking.sent).then_some(question)
    }

    /// What the cursor can be on, in the order of the home screen.
    pub fn rows(&self) -> Vec<Row> {
        let runs = &self.overview.runs;
        let open = runs.iter().enumerate().filter(|(_, run)| run.verdict.is_none()).map(|(at, _)| Row::Run(at));
        let past = runs.iter().enumerate().filter(|(_, run)| run.verdict.is_some()).map(|(at, _)| Row::Run(at)).take(PAST_RUNS);
        let shelves = (0..self.overview.shelves.len()).map(Row::Shelf);
        open.chain(shelves).chain((0..self.overview.runbooks.len()).map(Row::Runbook)).chain(past).collect()
    }

    /// What the cursor is on.
    pub fn row(&self) -> Option<Row> {
        self.rows().get(self.cursor).copied()
    }

    /// The run of that card is the one being followed here.
    pub fn follows(&self, card: &RunCard) -> bool {
        self.run.as_ref().is_some_and(|run| run.told.state.run == card.id && run.is_live())
    }
}

impl Purpose {
    /// The headline of its sheet.
    pub fn asks(self) -> &'static str {
        match self {
            Purpose::Skip => "Why is this step left out?",
            Purpose::Override => "Why go on without proof?",
            Purpose::Abort => "Why is this run given up?",
        }
    }

    /// The answer it makes.
    pub fn answer(self, reason: String) -> Answer {
        match self {
            Purpose::Skip => Answer::Skip { reason },
            Purpose::Override => Answer::Override { reason },
            Purpose::Abort => Answer::Abort { reason },
        }
    }
}
