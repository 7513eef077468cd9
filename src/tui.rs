//! The screen: what an on-call engineer sees and presses.
//!
//! A [`model::Model`] is what is shown; [`update::update`] turns a message into a new model and effects, and does no I/O;
//! [`screen::view`] draws it. [`run`] is the only place that touches the terminal and the [`bridge`] to the world below.
//! [`keys`] holds the one table that drives input, hints, help and palette.
//!
//! Three habits keep people safe: **Ctrl-Y is the only key that commits** anything dangerous (Enter never does), keys are dead while
//! their question has not been on screen for a moment, and which environment this is stays written in words in the first line.

pub mod bridge;
mod describe;
#[cfg(test)]
mod fixture;
mod followed;
pub mod form;
mod glyph;
pub mod keys;
mod r#loop;
mod measure;
pub mod model;
pub mod screen;
#[cfg(test)]
mod snapshot;
mod terminal;
mod text;
pub mod theme;
pub mod update;
mod widget;

pub use bridge::{Bridge, Exit, Follow, Options, Start};
pub use r#loop::run;
