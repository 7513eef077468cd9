//! From the home screen into a dump, a run, a form; and what becomes of what was gathered.

use super::{Effect, notice};
use crate::report::{Report, Result};
use crate::run::overview::Overview;
use crate::runbook::Plan;
use crate::tui::form::Form;
use crate::tui::model::{Model, Row, Screen, Scroll, Sheet};

pub fn gathered(model: &mut Model, overview: Overview) {
    let before = model.row().map(|row| row_name(&model.overview, row));
    let first = before.is_none();
    model.refreshing = model.refreshing && overview.gathered_at == model.overview.gathered_at;
    model.overview = overview;
    let rows = model.rows();
    // The cursor stays on what it was on; at first it is on what somebody in trouble wants: an open run, else a runbook.
    let found = before.and_then(|name| rows.iter().position(|row| row_name(&model.overview, *row) == name));
    let wanted = rows.iter().position(|row| match row {
        Row::Run(at) => model.overview.runs[*at].verdict.is_none(),
        Row::Runbook(_) => true,
        Row::Shelf(_) => false,
    });
    let place = if first { wanted } else { found };
    model.cursor = place.unwrap_or(0).min(rows.len().saturating_sub(1));
}

fn row_name(overview: &Overview, row: Row) -> String {
    match row {
        Row::Run(at) => format!("run {}", overview.runs[at].id),
        Row::Shelf(at) => format!("shelf {}", overview.shelves[at].job),
        Row::Runbook(at) => format!("runbook {}", overview.runbooks[at].id),
    }
}

pub fn planned(model: &mut Model, plan: Result<Box<Plan>>) {
    match plan {
        Ok(plan) => {
            let dumps = model.overview.shelves.iter().filter_map(|shelf| shelf.dumps.as_ref().ok());
            let names: Vec<String> = dumps.flatten().map(|dump| dump.manifest.object.clone()).collect();
            model.screen = Screen::Form(Box::new(Form::new(*plan, &names)));
        }
        Err(report) => model.sheet = Some(Sheet::Trouble(report)),
    }
}

pub fn open(model: &mut Model) -> Vec<Effect> {
    if let Screen::Form(form) = &mut model.screen {
        if form.at < form.entries.len() {
            form.at += 1;
            return Vec::new();
        }
        return start(model);
    }
    match model.row() {
        Some(Row::Runbook(at)) => {
            model.busy = Some("reading the runbook".into());
            vec![Effect::Plan(model.overview.runbooks[at].id.clone())]
        }
        Some(Row::Shelf(at)) => {
            open_shelf(model, at);
            Vec::new()
        }
        Some(Row::Run(at)) => open_run(model, at),
        None => Vec::new(),
    }
}

fn open_shelf(model: &mut Model, at: usize) {
    let shelf = &model.overview.shelves[at];
    match shelf.dumps.as_ref().map(|dumps| dumps.first()) {
        Err(report) => model.sheet = Some(Sheet::Trouble(report.clone())),
        Ok(Some(dump)) => model.screen = Screen::Dump(Box::new(dump.clone()), Scroll::default()),
        Ok(None) => {
            let none = Report::refused(format!("{} has no dump in {}", shelf.job, shelf.store));
            model.sheet = Some(Sheet::Trouble(none.hint(format!("lifeboat backup {}", shelf.job))));
        }
    }
}

fn open_run(model: &mut Model, at: usize) -> Vec<Effect> {
    let card = &model.overview.runs[at];
    if model.follows(card) {
        model.screen = Screen::Run;
        return Vec::new();
    }
    let id = card.id.clone();
    if card.verdict.is_some() {
        notice(model, &format!("its report: lifeboat report {id}"));
        return Vec::new();
    }
    if let Some(report) = other_live(model) {
        model.sheet = Some(Sheet::Trouble(report));
        return Vec::new();
    }
    model.busy = Some("taking the run up again".into());
    vec![Effect::Resume(id)]
}

/// One screen follows one run.
fn other_live(model: &Model) -> Option<Report> {
    let run = model.run.as_ref().filter(|run| run.is_live())?;
    let report = Report::refused(format!("the run {} is being followed here and is not over", run.told.state.run));
    Some(report.hint("end it first, or open another terminal"))
}

pub fn start(model: &mut Model) -> Vec<Effect> {
    if let Some(report) = other_live(model) {
        model.sheet = Some(Sheet::Trouble(report));
        return Vec::new();
    }
    let Screen::Form(form) = &mut model.screen else { return Vec::new() };
    form.tried = true;
    if let Some(wrong) = form.wrong() {
        form.at = wrong;
        return Vec::new();
    }
    let effect = Effect::Start { runbook: form.plan.runbook.clone(), values: form.values() };
    model.busy = Some("starting the run".into());
    vec![effect]
}
