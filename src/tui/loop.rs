//! The loop: reads, updates, does what is to be done outside, draws. The only part of the screen that waits or talks to anyone.

use std::time::{Duration, Instant};

use crossterm::event::Event;
use jiff::Timestamp;
use ratatui::layout::Size;

use super::bridge::{Bridge, Exit, Follow, Options, Start};
use super::model::{Followed, Model, Moment, Screen, Snapshot};
use super::screen::view;
use super::terminal::{Input, Terminal};
use super::update::{Effect, Message, update};
use super::{glyph, theme};
use crate::report::Result;

/// How often the world is looked at; also the most often that clocks and meters are drawn. Nothing is drawn unless it changed.
const BEAT: Duration = Duration::from_millis(250);

/// How often what was gathered is asked for while it is being gathered, and otherwise.
const GATHERING: Duration = Duration::from_millis(500);
const RESTING: Duration = Duration::from_secs(5);

/// Ages on the home screen are told in minutes.
const AGEING: Duration = Duration::from_secs(30);

/// Lines of the log that are kept in view.
const LOG_LINES: usize = 200;

/// Shows the screen until the person leaves or the terminal goes away.
pub fn run(bridge: Box<dyn Bridge>, options: Options) -> Result<Exit> {
    let variable = |name: &str| std::env::var(name).ok();
    let name = options.theme.clone().unwrap_or_else(|| theme::default_name(variable).to_owned());
    let mut theme = theme::load(&name, options.themes.as_deref())?;
    if !variable("COLORTERM").is_some_and(|value| matches!(value.as_str(), "truecolor" | "24bit")) {
        theme = theme.in_sixteen();
    }
    let terminal = Terminal::take()?;
    let opened = Instant::now();
    let size = terminal.size().unwrap_or(Size { width: 80, height: 24 });
    let mut model = Model::new(theme, size, now(opened));
    model.plain = glyph::is_plain(variable);
    let mut room = Room { bridge, terminal, model, opened, follow: None, version: None, asked: None, dirty: true, drawn: Duration::ZERO };
    room.enter(options.start);
    let gone = room.live();
    let Room { follow, terminal, .. } = room;
    if let Some(follow) = follow.as_ref().filter(|follow| follow.ended().is_none()) {
        follow.detach();
    }
    drop(terminal);
    Ok(Exit { gone, follow })
}

struct Room {
    bridge: Box<dyn Bridge>,
    terminal: Terminal,
    model: Model,
    opened: Instant,
    follow: Option<Box<dyn Follow>>,
    /// Of the run, when it was last told to the model.
    version: Option<u64>,
    /// When the overview was last asked for, by the steady clock.
    asked: Option<Duration>,
    dirty: bool,
    /// When the last frame was drawn, by the steady clock.
    drawn: Duration,
}

fn now(opened: Instant) -> Moment {
    Moment { wall: Timestamp::now(), steady: opened.elapsed() }
}

/// Everything a run tells, in one piece.
fn snapshot(follow: &dyn Follow) -> Snapshot {
    Snapshot {
        plan: follow.plan(),
        state: follow.state(),
        head: follow.head(),
        readings: follow.readings(),
        log: follow.log(LOG_LINES),
        ended: follow.ended(),
    }
}

impl Room {
    fn enter(&mut self, start: Start) {
        match start {
            Start::Home => {
                self.look();
                self.model.refreshing = true;
                self.bridge.refresh();
            }
            Start::Run(follow) => {
                self.model.has_home = false;
                let told = snapshot(&*follow);
                self.follow = Some(follow);
                self.tell(Message::Began(Ok(told)));
            }
        }
    }

    /// Until it is over; whether the terminal went away.
    fn live(&mut self) -> bool {
        loop {
            self.tell(Message::Time(now(self.opened)));
            self.look();
            if self.dirty && self.draw().is_err() {
                return true;
            }
            let mut input = self.terminal.read(BEAT);
            // Everything typed so far is taken before the next frame.
            loop {
                self.tell(Message::Time(now(self.opened)));
                let message = match input {
                    Input::Gone => return true,
                    Input::Nothing => break,
                    Input::Event(event) => message(event),
                };
                if let Some(message) = message {
                    self.dirty = true;
                    if self.tell(message) {
                        return false;
                    }
                }
                input = self.terminal.read(Duration::ZERO);
            }
        }
    }

    fn draw(&mut self) -> std::io::Result<()> {
        let model = &self.model;
        self.terminal.draw(|frame| view(model, frame))?;
        self.dirty = false;
        self.drawn = self.model.now.steady;
        let question = |model: &Model| model.open_question().is_some();
        let before = question(&self.model);
        self.tell(Message::Drawn);
        self.dirty |= question(&self.model) != before;
        Ok(())
    }

    /// Updates the model and does what comes of it; whether that was to leave.
    fn tell(&mut self, message: Message) -> bool {
        let shown = (self.model.notice.is_some(), self.model.open_question().is_some());
        let effects = update(&mut self.model, message);
        // A notice that went, a question whose keys came to life.
        self.dirty |= shown != (self.model.notice.is_some(), self.model.open_question().is_some());
        let mut leave = false;
        for effect in effects {
            leave |= self.act(effect);
        }
        leave
    }

    fn act(&mut self, effect: Effect) -> bool {
        self.dirty = true;
        match effect {
            Effect::Quit => return true,
            Effect::Refresh => {
                self.model.refreshing = true;
                self.bridge.refresh();
            }
            Effect::Plan(runbook) => {
                let plan = self.slowly(|bridge| bridge.plan(&runbook));
                return self.tell(Message::Planned(plan.map(Box::new)));
            }
            Effect::Start { runbook, values } => {
                let begun = self.slowly(|bridge| bridge.start(&runbook, values));
                return self.begin(begun);
            }
            Effect::Resume(run) => {
                let begun = self.slowly(|bridge| bridge.resume(&run));
                return self.begin(begun);
            }
            Effect::Answer(answer) => {
                let refused = self.follow.as_ref().map(|follow| follow.answer(answer));
                if let Some(Err(report)) = refused {
                    return self.tell(Message::Refused(report));
                }
            }
            Effect::Interrupt => {
                if let Some(follow) = &self.follow {
                    follow.interrupt();
                }
            }
            // A terminal that is gone is noticed by the next read.
            Effect::Redraw => self.terminal.clear().unwrap_or_default(),
            // A terminal that cannot is one that cannot; the text is on screen as well.
            Effect::Copy(text) => self.terminal.copy(&text).unwrap_or_default(),
        }
        false
    }

    /// Does something that may take a moment: says so first, and throws away what was typed meanwhile.
    fn slowly<T>(&mut self, work: impl FnOnce(&mut dyn Bridge) -> T) -> T {
        // A terminal that is gone is noticed by the next read.
        self.draw().ok();
        let done = work(&mut *self.bridge);
        self.terminal.drain();
        self.dirty = true;
        done
    }

    fn begin(&mut self, begun: Result<Box<dyn Follow>>) -> bool {
        let told = begun.map(|follow| {
            let told = snapshot(&*follow);
            self.version = None;
            self.follow = Some(follow);
            told
        });
        self.tell(Message::Began(told))
    }

    /// Reads what moved below: the run, what was gathered, the clocks.
    fn look(&mut self) {
        let since = self.model.now.steady.saturating_sub(self.drawn);
        // Asked, not only told: a change of size may come without its signal.
        if let Some(size) = self.terminal.size().ok().filter(|size| *size != self.model.size) {
            self.dirty = true;
            self.tell(Message::Resize(size));
        }
        if let Some(follow) = &self.follow {
            let version = follow.version();
            // Meters and clocks move without a version.
            let beats = self.is_live() && since >= BEAT;
            if self.version != Some(version) || beats {
                self.version = Some(version);
                let told = snapshot(&**follow);
                self.dirty |= matches!(self.model.screen, Screen::Run) || told.ended.is_some();
                self.tell(Message::Told(Box::new(told)));
            }
        }
        let patience = if self.model.refreshing { GATHERING } else { RESTING };
        let now = self.model.now.steady;
        if !matches!(self.model.screen, Screen::Run) && self.asked.is_none_or(|asked| now.saturating_sub(asked) >= patience) {
            self.asked = Some(now);
            let overview = self.bridge.overview();
            if overview.gathered_at != self.model.overview.gathered_at || self.model.overview.gathered_at.is_none() {
                self.dirty = true;
                self.tell(Message::Overview(Box::new(overview)));
            }
        }
        self.dirty |= since >= AGEING;
    }

    fn is_live(&self) -> bool {
        self.model.run.as_ref().is_some_and(Followed::is_live)
    }
}

fn message(event: Event) -> Option<Message> {
    match event {
        Event::Key(key) => Some(Message::Key(key)),
        Event::Paste(text) => Some(Message::Paste(text)),
        Event::Resize(width, height) => Some(Message::Resize(Size { width, height })),
        _ => None,
    }
}
