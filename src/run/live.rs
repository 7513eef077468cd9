//! A run being walked in this process, seen from outside: its state, its meters, its log; and the desk where a screen answers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fact::{Answer, Verdict};
use super::person::{Asking, Person, Said};
use super::state::State;
use crate::port::{Context, Log, Meters, Reading};
use crate::report::{Report, Result};
use crate::runbook::plan::Plan;

/// How many log lines are kept for the screen; all of them are in the run's directory.
const LOG_LINES: usize = 500;

/// How long an answer waits for the run to be ready to take it.
const SIT_DOWN: Duration = Duration::from_secs(1);

/// A handle to a run. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    plan: Arc<Plan>,
    board: Mutex<Board>,
    ended: Condvar,
    version: AtomicU64,
    meters: Meters,
    /// Fires when the action being done is to stop; a new one for each action.
    action: Mutex<CancellationToken>,
}

struct Board {
    state: Arc<State>,
    head: String,
    log: VecDeque<(String, String)>,
    ended: Option<Result<Verdict>>,
}

impl Live {
    pub(super) fn new(directory: PathBuf, plan: Plan, state: State, head: String) -> Live {
        let board = Board { state: Arc::new(state), head, log: VecDeque::new(), ended: None };
        Live(Arc::new(Shared {
            directory,
            plan: Arc::new(plan),
            board: Mutex::new(board),
            ended: Condvar::new(),
            version: AtomicU64::new(1),
            meters: Meters::default(),
            action: Mutex::new(CancellationToken::new()),
        }))
    }

    /// Where the run is kept.
    pub fn directory(&self) -> &std::path::Path {
        &self.0.directory
    }

    /// What it follows.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.plan)
    }

    /// Where it is.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.board().state)
    }

    /// SHA-256 of the journal's last line.
    pub fn head(&self) -> String {
        self.board().head.clone()
    }

    /// The stages of the action being done.
    pub fn readings(&self) -> Vec<Reading> {
        self.0.meters.read()
    }

    /// The last lines said, oldest first: who, what.
    pub fn log(&self, last: usize) -> Vec<(String, String)> {
        let board = self.board();
        board.log.iter().skip(board.log.len().saturating_sub(last)).cloned().collect()
    }

    /// Changes when state, head or log changed. Meters are read when one draws.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Asks the action being done to stop. The run goes on with a question.
    pub fn interrupt(&self) {
        self.action().cancel();
    }

    /// How it ended, once it has: its verdict, or why it is parked or failed.
    pub fn ended(&self) -> Option<Result<Verdict>> {
        self.board().ended.clone()
    }

    /// Blocks until it has ended.
    pub fn wait(&self) -> Result<Verdict> {
        let mut board = self.board();
        loop {
            if let Some(ended) = &board.ended {
                return ended.clone();
            }
            board = self.0.ended.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A context for one action: its own cancellation, this run's meters and log.
    pub(super) fn context(&self, cx: &Context) -> Context {
        let token = cx.cancel.child_token();
        *self.action() = token.clone();
        self.0.meters.clear();
        let (live, below) = (self.clone(), cx.log.clone());
        let log = Log::to(move |who, line| {
            below.say(who, line);
            live.note(who, line);
        });
        Context { runtime: cx.runtime.clone(), cancel: token, meters: self.0.meters.clone(), log }
    }

    pub(super) fn update(&self, state: &State, head: &str) {
        let mut board = self.board();
        board.state = Arc::new(state.clone());
        head.clone_into(&mut board.head);
        drop(board);
        self.changed();
    }

    pub(super) fn end(&self, ended: Result<Verdict>) {
        self.board().ended = Some(ended);
        self.0.ended.notify_all();
        self.changed();
    }

    fn note(&self, who: &str, line: &str) {
        let mut board = self.board();
        board.log.push_back((who.to_owned(), line.to_owned()));
        if board.log.len() > LOG_LINES {
            board.log.pop_front();
        }
        drop(board);
        self.changed();
    }

    fn changed(&self) {
        self.0.version.fetch_add(1, Ordering::Release);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn action(&self) -> MutexGuard<'_, CancellationToken> {
        self.0.action.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a screen answers. The run waits at it; the screen may come and go.
#[derive(Clone, Default)]
pub struct Desk(Arc<(Mutex<Tray>, Condvar)>);

#[derive(Default)]
struct Tray {
    asking: bool,
    answer: Option<Answer>,
    left: bool,
}

impl Desk {
    /// Answers the open question.
    pub fn answer(&self, answer: Answer) -> Result<()> {
        let (tray, bell) = &*self.0;
        let tray = tray.lock().unwrap_or_else(PoisonError::into_inner);
        // The question is in the journal, and so on the screen, an instant before the run sits down at the desk.
        let waited = bell.wait_timeout_while(tray, SIT_DOWN, |tray| !tray.asking && !tray.left);
        let (mut tray, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !tray.asking || tray.answer.is_some() {
            return Err(Report::refused("nothing is being asked now"));
        }
        tray.answer = Some(answer);
        bell.notify_all();
        Ok(())
    }

    /// The person is gone: the run parks at its next question, or at the one that is open.
    pub fn leave(&self) {
        let (tray, bell) = &*self.0;
        tray.lock().unwrap_or_else(PoisonError::into_inner).left = true;
        bell.notify_all();
    }
}

impl Person for Desk {
    fn ask(&mut self, _: Asking<'_>) -> Said {
        let (tray, bell) = &*self.0;
        let mut tray = tray.lock().unwrap_or_else(PoisonError::into_inner);
        tray.asking = true;
        bell.notify_all();
        loop {
            if let Some(answer) = tray.answer.take() {
                tray.asking = false;
                return Said::Answer(answer, super::who());
            }
            if tray.left {
                tray.asking = false;
                return Said::Nobody;
            }
            tray = bell.wait(tray).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
