//! What can be made to go wrong with the bucket, as it goes wrong in the world.

use std::sync::{Arc, Mutex, PoisonError};

/// What can be made to go wrong. It goes on until [`super::Bucket::heal`], or as many times as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever writes or removes is told AccessDenied.
    RefuseWrites,
    /// Whoever writes is told that the disk is full (507).
    FullDisk,
    /// Everybody is told that the clocks are too far apart.
    SkewedClock,
    /// The next so many requests are told SlowDown (503).
    SlowDown(u32),
    /// The connection is closed while the next so many objects or parts are received.
    CutUploads(u32),
    /// The next so many answers with an object's bytes end after so many of them, with the connection.
    CutDownloads {
        /// How many answers.
        times: u32,
        /// Bytes that still arrive.
        after: u64,
    },
    /// The next so many objects are stored or completed, and the connection is closed instead of saying so.
    LoseAnswers(u32),
    /// The next so many completions answer 200, with an error in the body.
    FailCompletions(u32),
    /// The condition "only if there is none yet" is not honoured.
    IgnoreConditions,
    /// The next so many objects lose their last byte when they are stored.
    CutObjects(u32),
    /// The next so many objects have one byte changed when they are stored.
    GarbleObjects(u32),
}

impl Fault {
    /// One of its times is used up; gone when there are none left.
    fn used(self) -> Option<Fault> {
        let less = |times: u32| times.checked_sub(2).map(|_| times - 1);
        match self {
            Fault::SlowDown(times) => less(times).map(Fault::SlowDown),
            Fault::CutUploads(times) => less(times).map(Fault::CutUploads),
            Fault::CutDownloads { times, after } => less(times).map(|times| Fault::CutDownloads { times, after }),
            Fault::LoseAnswers(times) => less(times).map(Fault::LoseAnswers),
            Fault::FailCompletions(times) => less(times).map(Fault::FailCompletions),
            Fault::CutObjects(times) => less(times).map(Fault::CutObjects),
            Fault::GarbleObjects(times) => less(times).map(Fault::GarbleObjects),
            lasting => Some(lasting),
        }
    }

    fn is_over(self) -> bool {
        let times = [Fault::SlowDown(0), Fault::CutUploads(0), Fault::LoseAnswers(0), Fault::FailCompletions(0)];
        times.contains(&self) || matches!(self, Fault::CutObjects(0) | Fault::GarbleObjects(0) | Fault::CutDownloads { times: 0, .. })
    }
}

/// The faults in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        if !fault.is_over() {
            self.lock().push(fault);
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// The first fault that `matters` here, one of its times used up.
    pub(super) fn strikes(&self, matters: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = self.lock();
        let at = faults.iter().position(matters)?;
        let fault = faults.remove(at);
        if let Some(left) = fault.used() {
            faults.insert(at, left);
        }
        Some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::SlowDown(2));
        faults.add(Fault::SlowDown(0));
        faults.add(Fault::FullDisk);
        let slow = |fault: &Fault| matches!(fault, Fault::SlowDown(_));
        assert_eq!(faults.strikes(slow), Some(Fault::SlowDown(2)));
        assert_eq!(faults.strikes(slow), Some(Fault::SlowDown(1)));
        assert_eq!(faults.strikes(slow), None);
        assert!(faults.strikes(|fault| *fault == Fault::FullDisk).is_some());
        assert!(faults.strikes(|fault| *fault == Fault::FullDisk).is_some(), "the disk stays full");
        faults.clear();
        assert!(faults.strikes(|_| true).is_none());
    }
}
