//! What the user is told: one clear error that names the thing, says where, and what to do.
//!
//! Every room returns [`Result`]. `main` turns the [`Kind`] into the exit code. Nothing here knows how a report is drawn.
//! [`diagnostic`] is the same for files people write, with line and caret; [`written`] reads those files.

pub mod diagnostic;
pub mod written;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// The result every room returns.
pub type Result<T, E = Report> = std::result::Result<T, E>;

/// What kind of end this is; scripts see it as the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was tried and did not work: 1.
    Failed,
    /// The command line, configuration or runbook is wrong; nothing was touched: 2.
    Usage,
    /// Refused to go on, or a proof failed: 3.
    Refused,
    /// A person or a signal stopped it: 4.
    Cancelled,
    /// Waiting for a person; resume goes on from here: 5.
    Parked,
    /// Somebody else holds the lock: 75 (`EX_TEMPFAIL` of sysexits.h).
    Busy,
}

impl Kind {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Cancelled => 4,
            Kind::Parked => 5,
            Kind::Busy => 75,
        }
    }

    /// The word for it on screen.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Usage => "wrong usage",
            Kind::Refused => "refused",
            Kind::Cancelled => "cancelled",
            Kind::Parked => "parked",
            Kind::Busy => "busy",
        }
    }
}

/// One thing gone wrong: the fact, what lies behind it, and what to type next.
///
/// `message` is a lower-case fact naming the thing; `causes` go from near to far, in the words of whoever said them;
/// each hint is a command one can type or a sentence that says what to change. None of them ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What kind of end this is.
    pub kind: Kind,
    /// A lower-case fact naming the thing.
    pub message: String,
    /// What lies behind it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Report {
    /// A report of any kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Report { kind, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// It was tried and did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The command line, configuration or runbook is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Refused to go on, or a proof failed.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// A person or a signal stopped it.
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "cancelled")
    }

    /// Adds what lies behind it, with everything behind that.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + 'static) -> Self {
        self.absorb(&cause);
        self
    }

    /// Adds what lies behind it, where that is only borrowed.
    #[must_use]
    pub fn because_ref(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        self.absorb(cause);
        self
    }

    /// Adds what lies behind it, in its own words.
    #[must_use]
    pub fn cause(mut self, words: impl Into<String>) -> Self {
        let words = words.into();
        if !words.trim().is_empty() && self.causes.last() != Some(&words) {
            self.causes.push(words);
        }
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, words: impl Into<String>) -> Self {
        self.hints.push(words.into());
        self
    }

    /// The same trouble seen from further up: `message` becomes the headline, this report its cause. Kind and hints stay.
    #[must_use]
    pub fn under(self, message: impl Into<String>) -> Self {
        let mut causes = vec![self.message];
        causes.extend(self.causes);
        Report { kind: self.kind, message: message.into(), causes, hints: self.hints }
    }

    /// Takes a report that travelled through `io::Read` back out; any other error becomes the cause of `message`.
    pub fn from_io(message: impl Into<String>, error: io::Error) -> Self {
        match error.downcast::<Report>() {
            Ok(report) => report,
            Err(error) => Report::failed(message).because(error),
        }
    }

    fn absorb(&mut self, error: &(dyn std::error::Error + 'static)) {
        if let Some(inner) = error.downcast_ref::<Report>() {
            self.causes.push(inner.message.clone());
            self.causes.extend(inner.causes.iter().cloned());
            self.hints.extend(inner.hints.iter().cloned());
            return;
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && inner.is::<Report>()
        {
            return self.absorb(inner);
        }
        let words = error.to_string();
        // Many libraries repeat the source in their own text; say each thing once.
        if self.causes.last().is_none_or(|last| !last.contains(&words)) {
            self.causes.push(words);
        }
        if let Some(source) = error.source() {
            self.absorb(source);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        let mut is_listed = false;
        for cause in &self.causes {
            // Those that are indented are a list below the one before them.
            let is_item = cause.starts_with(char::is_whitespace);
            let joint = if is_item && is_listed { ", " } else { ": " };
            write!(f, "{joint}{}", cause.trim())?;
            is_listed = is_item;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// So that a report can travel through `io::Read`; [`Report::from_io`] takes it out again.
impl From<Report> for io::Error {
    fn from(report: Report) -> Self {
        io::Error::other(report)
    }
}

/// Says what was being done when something failed.
pub trait Explain<T> {
    /// On error: a failed [`Report`] with `message` as headline and the error as its cause.
    fn explain(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + 'static> Explain<T> for std::result::Result<T, E> {
    fn explain(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let error: Box<dyn std::error::Error> = Box::new(error);
            match error.downcast::<Report>() {
                Ok(report) => report.under(message()),
                Err(error) => {
                    let mut report = Report::failed(message());
                    report.absorb(&*error);
                    report
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_way_through_a_reader() {
        let report = Report::refused("the dump is cut").cause("no trailer").hint("lifeboat dumps");
        let back = Report::from_io("reading", io::Error::from(report.clone()));
        assert_eq!(back, report);
    }

    #[test]
    fn explain_keeps_kind_and_hints_of_what_lies_behind() {
        let inner: Result<()> = Err(Report::refused("wrong key").hint("gpg --import"));
        let outer = inner.explain(|| "opening the dump".into()).unwrap_err();
        assert_eq!(outer.kind, Kind::Refused);
        assert_eq!(outer.causes, ["wrong key"]);
        assert_eq!(outer.hints, ["gpg --import"]);
    }

    #[test]
    fn each_cause_is_said_once() {
        let io = io::Error::from(Report::failed("disk full"));
        let report = Report::failed("storing").because(io);
        assert_eq!(report.causes, ["disk full"]);
    }

    #[test]
    fn causes_that_are_a_list_are_one_on_one_line_too() {
        let report = Report::refused("not swapped").cause("4 rows").cause("  id 1000").cause("  id 1001").cause("say so");
        assert_eq!(report.to_string(), "not swapped: 4 rows: id 1000, id 1001: say so");
    }
}
