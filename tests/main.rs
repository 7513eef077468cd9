//! Behaviour on real components, in one binary. Each file is a room or a story; names are sentences.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unit_arg,
    reason = "tests may stop at once"
)]

mod bench;
mod r#box;
mod cli;
mod corpus;
mod demo;
mod fuzz;
mod hashes;
mod jobs;
mod kills;
mod lease;
mod look;
mod memory;
mod peers;
mod picture;
mod pipeline;
mod postgres;
mod proof;
mod pull;
mod resume;
mod samples;
mod soak;
mod stage;
mod store;
mod traps;
mod tui;
mod victim;
mod walls;
