//! Lifeboat gets a database back.
//!
//! This page is the map. Read on with [`pipeline`] (how bytes move) and [`run`] (how a runbook is walked), and you can change something.
//!
//! # The rooms
//!
//! | room | what lives there |
//! |---|---|
//! | `cli` | one file per subcommand; words in, exit code out |
//! | [`tui`] | the screen: model, update (no I/O), view |
//! | [`drill`] | the box: throwaway PostgreSQL, S3, keys and site, and the disaster |
//! | [`run`] | **the door**: start, resume, follow; facts, journal, state, report |
//! | [`config`] | files → a validated inventory of jobs, stores, systems, environments |
//! | [`runbook`] | a runbook file → a checked plan; pure |
//! | [`pipeline`] | **the byte mover**: dump → compress → encrypt → store, and back |
//! | [`store`] | where dumps are kept: S3, a local directory |
//! | [`system`] | what is backed up or asked: PostgreSQL, HTTP, notifications, commands |
//! | [`port`] | the sockets in the walls: what a source, a filter, a store must be |
//! | [`process`] | child processes done right |
//! | [`report`] | what the user is told, and the exit code |
//!
//! # Who may import whom
//!
//! Imports go down only; `tests/walls.rs` reads the sources and fails when one goes up or sideways.
//!
//! ```text
//! cli → { tui, drill } → run → { config, runbook, pipeline }
//! config → { store, system, pipeline }      { store, system, pipeline } → port
//! only system, pipeline and drill use process; tui never sees a client; everybody may report
//! ```
//!
//! # The laws
//!
//! 1. **Nothing is called done that was not proven.** A step is done when its checks hold; a dump exists when its manifest does.
//! 2. **End of file is a promise.** A stream that ends without an error came from processes that all exited 0.
//! 3. **Facts are journaled, meters are sampled.** What happened is one fsynced line; how fast is an atomic someone may read.
//! 4. **State is a fold over facts**, live and on resume alike.
//! 5. **One engine, three doors.** The screen, the command line and the schedule all enter by [`run::start`].
//! 6. **Secrets travel by file descriptor or file**, never in arguments, environment, logs, journal or errors.

// Fuzzing needs only what reads hostile bytes, and nothing of what the others depend on.
#[cfg(not(fuzzing))]
pub mod cli;
#[cfg(not(fuzzing))]
pub mod config;
#[cfg(not(fuzzing))]
pub mod drill;
pub mod pipeline;
pub mod port;
pub mod process;
pub mod report;
#[cfg(not(fuzzing))]
pub mod run;
#[cfg(not(fuzzing))]
pub mod runbook;
#[cfg(not(fuzzing))]
pub mod store;
#[cfg(not(fuzzing))]
pub mod system;
#[cfg(not(fuzzing))]
pub mod tui;
