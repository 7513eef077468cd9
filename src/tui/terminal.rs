//! The terminal itself: taken over, given back on every way out, and watched for its end.
//!
//! Trap 44: a terminal that went away must end the screen, not spin it. crossterm 0.29 reads for ever on a hung-up terminal, so we ask
//! the kernel first whether there is anything to read, and never let crossterm read from one that is gone.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Stdout, Write, stdout};
use std::os::fd::OwnedFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::Show;
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{execute, style};
use ratatui::backend::CrosstermBackend;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::report::{Explain, Report, Result};

/// The screen that is up, if one is.
static SCREEN: Mutex<Option<Up>> = Mutex::new(None);

/// Most bytes of what was said on standard error meanwhile that are told afterwards.
const TOLD_LATER: u64 = 64 << 10;

/// SIGHUP or SIGTERM came.
static TOLD_TO_END: AtomicBool = AtomicBool::new(false);

/// A screen that is up.
struct Up {
    /// The thread that draws it.
    owner: ThreadId,
    /// Standard error, where that is the terminal too: whatever says something there meanwhile (a panic of another thread, a library,
    /// a child that inherited it) would tear the screen, so it goes into a file and is told once the screen is down.
    aside: Option<Aside>,
}

/// Standard error as it was, and the file in its place.
struct Aside {
    kept: OwnedFd,
    file: File,
}

/// The terminal, taken over. Dropping it gives it back.
pub struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

/// What the terminal said.
pub enum Input {
    /// An event.
    Event(Event),
    /// Nothing within the time given.
    Nothing,
    /// It is gone, or the process was told to end.
    Gone,
}

impl Terminal {
    /// Takes the terminal over: raw, alternate screen, no mouse. Panics give it back, whatever thread they happen in.
    pub fn take() -> Result<Self> {
        install();
        listen()?;
        // Trap 45: with NO_COLOR crossterm would write full resets that also take bold and reverse away. Our theme has no colour then.
        style::force_color_output(true);
        *lock(&SCREEN) = Some(Up { owner: thread::current().id(), aside: put_aside() });
        let taken = enable_raw_mode().and_then(|()| execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste));
        let inner = taken.and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(stdout())));
        match inner {
            Ok(inner) => Ok(Terminal { inner }),
            Err(error) => {
                give_back();
                Err(Report::failed("the terminal cannot be taken over").because(error).hint("lifeboat run RUNBOOK --plain"))
            }
        }
    }

    /// Draws one frame; only what changed is written.
    pub fn draw(&mut self, view: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        self.inner.draw(view).map(|_| ())
    }

    /// Forgets what is on screen: the next frame is written whole.
    pub fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    /// The terminal's size.
    pub fn size(&self) -> io::Result<ratatui::layout::Size> {
        self.inner.size()
    }

    /// Puts a text on the clipboard of whoever sits at the far end (OSC 52).
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(self.inner.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }

    /// The next event, or nothing within `patience`.
    pub fn read(&self, patience: Duration) -> Input {
        // Gone is asked first, always: crossterm must never be let near a terminal that is.
        if TOLD_TO_END.load(Ordering::Relaxed) || is_hung_up(Duration::ZERO) {
            return Input::Gone;
        }
        // What crossterm has read and not told yet is not seen by the kernel any more.
        match event::poll(Duration::ZERO) {
            Ok(true) => return self.event(),
            Ok(false) => {}
            Err(_) => return Input::Gone,
        }
        if is_hung_up(patience) || TOLD_TO_END.load(Ordering::Relaxed) {
            return Input::Gone;
        }
        match event::poll(Duration::ZERO) {
            Ok(true) => self.event(),
            Ok(false) => Input::Nothing,
            Err(_) => Input::Gone,
        }
    }

    /// Throws away what was typed while nothing could be answered.
    pub fn drain(&self) {
        while matches!(self.read(Duration::ZERO), Input::Event(_)) {}
    }

    #[expect(clippy::unused_self, reason = "only who holds the terminal may read from it")]
    fn event(&self) -> Input {
        event::read().map_or(Input::Gone, Input::Event)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Waits until there is something to read; whether the other end is gone.
fn is_hung_up(patience: Duration) -> bool {
    let stdin = rustix::stdio::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
    match poll(&mut watched, Some(&patience)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => false,
        Ok(_) => watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
        Err(_) => true,
    }
}

/// Standard error into a file, where it is the terminal. Where that cannot be done the screen may be torn, which Ctrl-L mends.
fn put_aside() -> Option<Aside> {
    let stderr = rustix::stdio::stderr();
    if !rustix::termios::isatty(stderr) {
        return None;
    }
    let file = tempfile::tempfile().ok()?;
    let kept = rustix::io::fcntl_dupfd_cloexec(stderr, 3).ok()?;
    rustix::stdio::dup2_stderr(&file).ok()?;
    Some(Aside { kept, file })
}

/// Standard error as it was, and then what was said meanwhile.
fn put_back(mut aside: Aside) -> io::Result<()> {
    rustix::stdio::dup2_stderr(&aside.kept)?;
    let length = aside.file.metadata()?.len();
    aside.file.seek(SeekFrom::Start(length.saturating_sub(TOLD_LATER)))?;
    let mut said = Vec::new();
    aside.file.read_to_end(&mut said)?;
    io::stderr().write_all(&said)
}

/// Back to how it was. Errors are of no use to anyone any more: there may be no terminal left.
fn give_back() {
    let Some(up) = lock(&SCREEN).take() else { return };
    let mut out = stdout();
    execute!(out, DisableBracketedPaste, LeaveAlternateScreen, Show).ok();
    disable_raw_mode().ok();
    out.flush().ok();
    if let Some(aside) = up.aside {
        put_back(aside).ok();
    }
}

/// Trap 48: the hook that gives the terminal back before anything is printed. A panic of another thread does not end the screen:
/// what it says goes where standard error goes meanwhile.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = lock(&SCREEN).as_ref().is_some_and(|up| up.owner == thread::current().id());
            if is_ours {
                give_back();
            }
            before(info);
        }));
    });
}

/// SIGHUP and SIGTERM end the screen, not the run. The listener lives as long as the process does: a run may still be going on.
fn listen() -> Result<()> {
    static ONCE: Mutex<bool> = Mutex::new(false);
    let mut started = lock(&ONCE);
    if *started {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().explain(|| "signals cannot be watched".into())?;
    let (mut hangup, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        let watch = |kind| signal(kind).explain(|| "signals cannot be watched".into());
        (watch(SignalKind::hangup())?, watch(SignalKind::terminate())?)
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = hangup.recv() => {}
                    _ = terminate.recv() => {}
                }
                TOLD_TO_END.store(true, Ordering::Relaxed);
            });
        })
        .explain(|| "signals cannot be watched".into())?;
    *started = true;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
