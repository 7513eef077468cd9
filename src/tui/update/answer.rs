//! Answering the open question: what is sent, and what must hold before it is.

use tui_textarea::TextArea;

use super::{Effect, notice};
use crate::run::{Answer, Question};
use crate::tui::form::Line;
use crate::tui::keys::Command;
use crate::tui::model::{Asking, Confirmed, Followed, Model, Purpose, Sheet};

pub fn yes(model: &mut Model) -> Vec<Effect> {
    let Some(Sheet::Confirm { then, .. }) = model.sheet.take() else { return Vec::new() };
    match then {
        Confirmed::Retry => send(model, Answer::Retry),
        Confirmed::Undo => send(model, Answer::Undo),
        Confirmed::Interrupt => vec![Effect::Interrupt],
    }
}

pub fn retry(model: &mut Model) -> Vec<Effect> {
    if let Some(Question::Unknown { repeatable: false, .. }) = model.open_question() {
        confirm(model, "It may have been done already, and doing it twice may harm. Do it again?".into(), Confirmed::Retry);
        return Vec::new();
    }
    answer(model, Answer::Retry)
}

/// Answers the open question, if it may be answered now.
pub fn answer(model: &mut Model, answer: Answer) -> Vec<Effect> {
    if model.open_question().is_none() { Vec::new() } else { send(model, answer) }
}

/// Sends an answer to the open question, once.
pub fn send(model: &mut Model, answer: Answer) -> Vec<Effect> {
    let Some(asking) = asking(model).filter(|asking| !asking.sent) else { return Vec::new() };
    asking.sent = true;
    asking.typing = false;
    vec![Effect::Answer(answer)]
}

/// Ctrl-Y: commits the typed name, or the reason.
pub fn commit(model: &mut Model) -> Vec<Effect> {
    if let Some(Sheet::Reason { purpose, text }) = &model.sheet {
        let reason = text.lines().iter().map(|line| crate::tui::text::clean(line)).collect::<Vec<_>>().join("\n").trim().to_owned();
        let purpose = *purpose;
        if reason.is_empty() {
            notice(model, "a reason is needed: whoever reads the report was not here");
            return Vec::new();
        }
        model.sheet = None;
        return give(model, purpose, reason);
    }
    let Some(Question::Danger { target, .. }) = model.open_question() else { return Vec::new() };
    let target = target.clone();
    let typed = asking(model).map(|asking| asking.typed.text().to_owned()).unwrap_or_default();
    if typed != target || typed.is_empty() {
        notice(model, "that is not the name: nothing was done");
        return Vec::new();
    }
    send(model, Answer::Typed { text: typed })
}

/// A reason goes to the open question; giving up may have to wait for the next one, with the action asked to stop.
fn give(model: &mut Model, purpose: Purpose, reason: String) -> Vec<Effect> {
    let waiting = asking(model).is_some_and(|asking| !asking.sent);
    match (purpose, waiting) {
        (_, true) => send(model, purpose.answer(reason)),
        (Purpose::Abort, false) => {
            notice(model, "the run is given up as soon as it asks again");
            if let Some(run) = &mut model.run {
                run.abort = Some(reason);
            }
            vec![Effect::Interrupt]
        }
        _ => Vec::new(),
    }
}

pub fn done(model: &mut Model) -> Vec<Effect> {
    let Some((question, asking)) = model.run.as_ref().and_then(Followed::question) else { return Vec::new() };
    match (asking.missing(question, model.now.wall), asking.done(question)) {
        (None, Some(done)) => answer(model, done),
        (missing, _) => {
            notice(model, &missing.unwrap_or_default());
            Vec::new()
        }
    }
}

/// Moves in a checklist, ticks, opens and closes text fields.
pub fn item(model: &mut Model, command: Command) {
    let choices = choices(model);
    let open = open_fields(model);
    let wrong = wrong_here(model);
    let Some(asking) = asking(model) else { return };
    let boxes = asking.ticks.len();
    let is_open = |row: usize| row >= boxes && open.get(row - boxes).copied().unwrap_or_default();
    let last = (boxes + asking.fields.len()).saturating_sub(1);
    match command {
        Command::ItemUp => asking.at = asking.at.saturating_sub(1),
        Command::ItemDown => asking.at = (asking.at + 1).min(last),
        Command::Type => asking.typing = true,
        Command::StopTyping => {
            asking.typing = false;
            // A half-typed name is not kept for an accident.
            asking.typed.clear();
        }
        Command::NextAnswer => {
            asking.typing = false;
            // What is wrong with it stands below it now; one more Enter corrects it.
            if !wrong && asking.at < last {
                asking.at += 1;
                asking.typing = is_open(asking.at) && asking.fields.get(asking.at - boxes).is_some_and(|line| line.text().is_empty());
            }
        }
        _ if asking.at < boxes => {
            let (at, next) = (asking.at, command == Command::TickNext);
            // Only Space takes a tick back.
            asking.ticks[at] = next || !asking.ticks[at];
            if next {
                asking.at = (at + 1).min(last);
            }
        }
        _ if choices.is_empty() => asking.typing = !asking.fields.is_empty(),
        _ => cycle_field(model, true),
    }
}

/// What is written in the field under the cursor cannot be taken.
fn wrong_here(model: &Model) -> bool {
    let Some((Question::Manual { fields, checklist }, asking)) = model.run.as_ref().and_then(Followed::question) else { return false };
    let at = asking.at.checked_sub(checklist.len());
    let here = at.and_then(|at| fields.get(at).zip(asking.fields.get(at)));
    here.is_some_and(|(field, line)| asking.wrong(field, line, model.now.wall).is_some())
}

/// Which fields of a manual step are written and not chosen.
fn open_fields(model: &Model) -> Vec<bool> {
    match model.run.as_ref().and_then(Followed::question) {
        Some((Question::Manual { fields, .. }, _)) => fields.iter().map(|field| field.choices.is_empty()).collect(),
        _ => Vec::new(),
    }
}

pub fn cycle_field(model: &mut Model, forward: bool) {
    let choices = choices(model);
    let Some(line) = field(model).filter(|_| !choices.is_empty()) else { return };
    let here = choices.iter().position(|choice| choice == line.text());
    let next = match (here, forward) {
        (None, true) => 0,
        (None, false) => choices.len() - 1,
        (Some(at), true) => (at + 1) % choices.len(),
        (Some(at), false) => (at + choices.len() - 1) % choices.len(),
    };
    *line = Line::new(&choices[next]);
}

/// The choices of the field under the cursor.
fn choices(model: &Model) -> Vec<String> {
    let Some((Question::Manual { fields, checklist }, asking)) = model.run.as_ref().and_then(Followed::question) else { return Vec::new() };
    asking.at.checked_sub(checklist.len()).and_then(|at| fields.get(at)).map(|field| field.choices.clone()).unwrap_or_default()
}

/// The text of the field under the cursor.
pub fn field(model: &mut Model) -> Option<&mut Line> {
    let asking = asking(model)?;
    let at = asking.at.checked_sub(asking.ticks.len())?;
    asking.fields.get_mut(at)
}

pub fn asking(model: &mut Model) -> Option<&mut Asking> {
    model.run.as_mut()?.asking.as_mut()
}

pub fn reason(model: &mut Model, purpose: Purpose) {
    let mut text = TextArea::default();
    text.set_wrap_mode(tui_textarea::WrapMode::Word);
    text.set_cursor_line_style(ratatui::style::Style::new());
    model.sheet = Some(Sheet::Reason { purpose, text: Box::new(text) });
}

pub fn confirm(model: &mut Model, what: String, then: Confirmed) {
    model.sheet = Some(Sheet::Confirm { what, then });
}
