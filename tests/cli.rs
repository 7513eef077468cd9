//! The command line, proven with the real program against a real box.

mod bad_input;
mod journal;
mod secrets;
pub mod stand;
mod stock;
mod surface;
mod words;
