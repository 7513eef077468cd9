//! What carries a step out. The walk decides; the hands do, and look.

use std::collections::BTreeMap;

use crate::port::Context;
use crate::report::Result;
use crate::runbook::plan::{Action, Poll, Probe};

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// It holds.
    pub held: bool,
    /// In a line, for people. Never a secret.
    pub words: String,
}

impl Seen {
    /// What was seen, held or not.
    pub fn new(held: bool, words: impl Into<String>) -> Seen {
        Seen { held, words: words.into() }
    }
}

/// Does what a rendered action says and asks what a rendered probe asks.
pub trait Hands: Send + Sync {
    /// Does it, and gives its outputs. Manual actions never come here; what an HTTP action started is followed by [`Hands::poll`].
    fn act(&self, action: &Action, cx: &Context) -> Result<BTreeMap<String, String>>;
    /// Asks until what was started is over, and gives all of the `wanted` outputs (name → JSON pointer), the `known` ones among them.
    fn poll(
        &self,
        poll: &Poll,
        known: BTreeMap<String, String>,
        wanted: &BTreeMap<String, String>,
        cx: &Context,
    ) -> Result<BTreeMap<String, String>>;
    /// What an action gave that was done without anybody having seen its end, found out without doing it again. `None` where that is lost.
    fn recall(&self, action: &Action, cx: &Context) -> Result<Option<BTreeMap<String, String>>>;
    /// Takes away what an earlier attempt of the same run left behind, so that the action can be done again; only what bears the mark of being
    /// its work. Asked only after the action was seen to end well.
    fn clear(&self, _action: &Action, _cx: &Context) -> Result<()> {
        Ok(())
    }
    /// What an action would take if it were done now, in a line for people; `None` where there is nothing to choose.
    fn foresee(&self, _action: &Action, _cx: &Context) -> Result<Option<String>> {
        Ok(None)
    }
    /// Looks. An error means that it could not be asked.
    fn probe(&self, probe: &Probe, cx: &Context) -> Result<Seen>;
}
