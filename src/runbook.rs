//! A runbook file becomes a checked plan. Pure: reads text, touches nothing, asks nobody.
//!
//! The way of a runbook: [`library`] finds its text, `file` reads it, `lint` says what is wrong, [`draft`] lays its includes out flat
//! and, given values, makes a [`plan`] of it. [`template`] renders what a step says when the step starts; [`describe`] and [`doc`] say it
//! to people.
//!
//! # How a runbook is written
//!
//! One TOML file; its name without `.toml` is its id.
//!
//! ```toml
//! [runbook]                      # id, title, owner, review_by; summary, contacts
//! [objectives]                   # rto, rpo, recovered_by = "step" or "include.step"
//! [parameters.NAME]              # help; kind = text|integer|flag|duration|instant|database|dump|choice, choices, default
//! [[step]]
//! id = "close"                   # dashes here, underscores in templates: {{ steps.pick_dump.dump }}
//! title = "Close the site"
//! why = "Markdown."
//! http = { method = "PUT", url = "{{ vars.admin }}/state", body = '{"state": {{ params.state | json }}}' }   # exactly one action
//! verify = [{ title = "it is closed", within = "30s", http = { url = "{{ vars.www }}/", status = 503 } }]     # or "none: <reason>"
//! undo = { http = { … }, verify = [{ … }] }
//! danger = "{{ vars.database }}" # typed before it is done
//! expect = "5s"                  # and timeout, repeatable, drill = run|simulate|skip
//! ```
//!
//! | action | value |
//! |---|---|
//! | `manual` | `{ checklist = ["…"], ask = [{ name, label, kind, choices, sample }] }`; `kind = "coming-day"` takes `YYYY-MM-DD`, today or later; outputs: the names asked for |
//! | `command` | `["program", "argument"]`; output: `stdout` |
//! | `sql` | `{ system, database, statements }`; values as `{{ x \| sql_name }}` or `{{ x \| sql_text }}` |
//! | `http` | `{ method, url, body, status, outputs = { job = "/job" }, poll = { url, every, until = { "/state" = "done" }, fail = { "/state" = ["failed"] } } }` |
//! | `backup` `pick` `prove` `restore` | `{ job }`, `{ job, dump }`, `{ job, dump, level = "L4" }`, `{ job, dump, into }` |
//! | `swap` `unswap` | `{ system, live, staged, keep_as }`, `{ system, live, staged, kept }` |
//! | `pull` | `{ pull, dump = "latest", again = false }`; outputs: `dump`, `database`, `kept`, `state`, … |
//! | `wait` | `"30s"`, or `{ until = CHECK }` |
//! | `notify` | `{ channel, message }` |
//! | `include` | `"other-runbook"`, beside it `with = { parameter = "value" }` |
//!
//! A check is one of `http = { url, status, contains, expect = { "/pointer" = "value" } }`, `sql = { system, database, query, equals }`,
//! `command = […]` with `equals`, `restored = { job, dump, database }`, `pulled = { pull, dump }`, `proof = { job, dump, level }`.
//!
//! Templates are Jinja over `params.x`, `vars.x`, `env.name`, `env.production`, `run.id`, `run.started_at` and `steps.ID.OUTPUT` of earlier
//! steps, with the filters `default identifier in_words iso8601 json lower replace sql_name sql_text trim upper`. What an action *is* cannot be a template.

pub mod describe;
pub mod doc;
pub mod draft;
pub mod library;
pub mod plan;
pub mod template;

mod action;
mod file;
mod lint;
#[cfg(test)]
mod tests;

pub use draft::{Draft, load};
pub use library::{Library, is_runbook};
pub use lint::{Names, check};
pub use plan::{Action, Check, Plan, Step};
