//! Who answers: a person at a screen, a person at a plain terminal, or nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::fact::{Answer, Question};
use crate::runbook::plan::{Field, Step};

/// What is asked, and about what.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The step, as planned.
    pub step: &'a Step,
    /// Where and what it is by now.
    pub known: Known<'a>,
    /// What exactly will be done, rendered; empty for a manual step.
    pub action: &'a [String],
    /// The question.
    pub question: &'a Question,
    /// The answers of the manual step before can still be corrected.
    pub back: bool,
}

/// A step as far as it is known when something is asked about it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// 1, 2 …
    pub number: usize,
    /// Its title, filled in.
    pub title: &'a str,
    /// What its action will take, where that could be looked up.
    pub foreseen: Option<&'a str>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// An answer, and whose.
    Answer(Answer, String),
    /// Nobody is there: the run parks.
    Nobody,
}

/// Someone who can be asked. Blocks until there is an answer or nobody is there any more.
pub trait Person: Send {
    /// Asks.
    fn ask(&mut self, asking: Asking<'_>) -> Said;
}

/// A command that is one piece of work: whoever typed it has said all there is to say. Answers what [`Unattended`] would, in the command's name.
#[derive(Clone, Copy, Debug)]
pub struct Commanded;

/// By whom the answers of [`Commanded`] are.
pub const COMMAND: &str = "the command";

impl Person for Commanded {
    fn ask(&mut self, asking: Asking<'_>) -> Said {
        let answer = Unattended { boxed: false }.answer(asking.question);
        answer.map_or(Said::Nobody, |answer| Said::Answer(answer, COMMAND.into()))
    }
}

/// Nobody is at the keyboard: `--yes`. Answers only what is safe to answer.
#[derive(Clone, Copy, Debug)]
pub struct Unattended {
    /// Everything happens in a box made for it: danger may be confirmed, and samples may be given for answers.
    pub boxed: bool,
}

impl Person for Unattended {
    fn ask(&mut self, asking: Asking<'_>) -> Said {
        match self.answer(asking.question) {
            Some(answer) => Said::Answer(answer, "--yes".into()),
            None => Said::Nobody,
        }
    }
}

impl Unattended {
    fn answer(self, question: &Question) -> Option<Answer> {
        match question {
            Question::Ready => Some(Answer::Go),
            Question::AlreadyTrue => Some(Answer::Record),
            Question::Unknown { repeatable: true, .. } => Some(Answer::Retry),
            Question::Danger { target, .. } if self.boxed => Some(Answer::Typed { text: target.clone() }),
            Question::Manual { fields, .. } if self.boxed => {
                let good = |field: &Field| field.sample.clone().filter(|sample| field.wrong(sample, Timestamp::now()).is_none());
                let samples: Option<BTreeMap<_, _>> = fields.iter().map(|field| Some((field.name.clone(), good(field)?))).collect();
                samples.map(|fields| Answer::Done { fields })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unattended_never_confirms_danger_outside_the_box() {
        let danger = Question::Danger { target: "orders".into(), consequence: "is replaced".into() };
        assert_eq!(Unattended { boxed: false }.answer(&danger), None);
        assert_eq!(Unattended { boxed: true }.answer(&danger), Some(Answer::Typed { text: "orders".into() }));
    }

    #[test]
    fn a_sample_that_is_no_answer_any_more_is_not_given() {
        let field = |sample: &str| Field {
            name: "until".into(),
            label: "Until".into(),
            kind: crate::runbook::plan::FieldKind::ComingDay,
            choices: Vec::new(),
            sample: Some(sample.into()),
        };
        let manual = |sample: &str| Question::Manual { checklist: Vec::new(), fields: vec![field(sample)] };
        assert_eq!(Unattended { boxed: true }.answer(&manual("2020-01-01")), None);
        assert!(Unattended { boxed: true }.answer(&manual("2099-12-31")).is_some());
    }

    #[test]
    fn unattended_never_speaks_for_a_person_outside_the_box() {
        let manual = Question::Manual { checklist: vec!["look".into()], fields: Vec::new() };
        assert_eq!(Unattended { boxed: false }.answer(&manual), None);
        let unknown = Question::Unknown { repeatable: false, undo: true };
        assert_eq!(Unattended { boxed: true }.answer(&unknown), None);
    }
}
