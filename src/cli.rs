//! Words in, exit code out. One file per subcommand; this one is the table of them.
//!
//! Progress goes to stderr, results to stdout. Nothing here knows how anything is done.

mod backup;
mod check;
mod demo;
mod diff;
mod doc;
mod dumps;
mod home;
mod kept;
mod lease;
mod peek;
mod plain;
mod print;
mod prune;
mod pull;
mod replica;
mod runs;
mod schema;
mod swap;
mod sweep;
mod ticket;
mod verify;
mod walk;
mod world;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::report::Result;

/// Gets a database back: runbooks, rehearsals and backups through one engine.
///
/// Without a command it opens the screen; without a terminal it prints the status.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done and proven · 1 failed · 2 wrong usage or config · 3 refused or proof failed
            4 cancelled · 5 parked, waiting for a person · 10 the dumps differ (lifeboat diff)
            75 busy, another holds the lock

First steps:
  lifeboat demo              a disaster and its recovery, in a box that leaves nothing behind
  lifeboat check             every problem of the configuration and the runbooks, at once
  lifeboat run RUNBOOK       walk a runbook; lifeboat resume goes on where it stopped";

/// What every command takes.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The configuration; else $LIFEBOAT_CONFIG, ./lifeboat.toml, the user's, /etc/lifeboat/lifeboat.toml
    #[arg(long, global = true, value_name = "FILE", env = "LIFEBOAT_CONFIG")]
    config: Option<PathBuf>,
    /// Results as JSON on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A disaster and its recovery in a throwaway box: PostgreSQL, S3, keys and site, all real
    Demo(demo::Demo),
    /// Walk a runbook
    Run(walk::Run),
    /// Go on where a run stopped: after a question, a lost terminal, a reboot
    Resume(walk::Resume),
    /// The runs of this machine
    Runs,
    /// Follow a run that another process walks
    Watch(runs::Watch),
    /// What a run reached: recovery time and data loss against their targets, step by step
    Report(runs::Report),
    /// The journal of a run
    #[command(subcommand)]
    Journal(runs::Journal),
    /// Make a dump now, through the same engine that every runbook uses
    Backup(backup::Backup),
    /// Make a ticket: leave to store one dump, for a worker that has no rights of its own
    Ticket(ticket::Ticket),
    /// Is the copy of a store fresh? With --copy, what is missing is copied
    Replica(replica::Replica),
    /// What can be restored: dumps, their age, how far each was proven
    Dumps(dumps::Dumps),
    /// Prove dumps up to a level, a trial restore among them, and keep the record beside each
    Verify(verify::Verify),
    /// Look into a dump without restoring it: tables, columns, some rows (masked)
    Peek(peek::Peek),
    /// What changed from one dump to another: tables, rows, columns, schema
    Diff(diff::Diff),
    /// Find what killed backups left in a store; removes it only with --apply
    Sweep(sweep::Sweep),
    /// What a job's retention lets go, and why the rest stays; removes it only with --apply
    Prune(prune::Prune),
    /// Who is backing up which database now; take it away from one that is stuck
    Lease(lease::Lease),
    /// Restore a dump into a new database; never into one that exists
    Restore(backup::Restore),
    /// A clean copy of a dump for a lower environment: restored, sanitised, proven, then swapped in
    Pull(pull::Pull),
    /// A restored database takes the live one's name; the live one is kept under another
    Swap(swap::Swap),
    /// Take a swap back
    Unswap(swap::Unswap),
    /// Databases that swaps put aside; drop one whose day has come
    Kept(kept::Kept),
    /// Every problem of configuration and runbooks at once; touches nothing
    Check(check::Check),
    /// A runbook on paper: every step with its why, commands, checks and undo
    Doc(doc::Doc),
    /// Is there a good, young, proven dump of every job?
    Status,
    /// Completions for your shell
    Completions(schema::Completions),
    /// The manual page, in roff
    Man,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, not errors; clap knows which goes where. With stdout gone there is nobody to tell.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(report) => {
            plain::tell(&report);
            ExitCode::from(report.kind.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let common = &cli.common;
    let Some(command) = cli.command else {
        return if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() { home::open(common) } else { dumps::status(common) };
    };
    match command {
        Command::Demo(demo) => demo.run(common),
        Command::Run(run) => run.run(common),
        Command::Resume(resume) => resume.run(common),
        Command::Runs => runs::list(common),
        Command::Watch(watch) => watch.run(common),
        Command::Report(report) => report.run(common),
        Command::Journal(journal) => journal.run(common),
        Command::Backup(backup) => backup.run(common),
        Command::Ticket(ticket) => ticket.run(common),
        Command::Replica(replica) => replica.run(common),
        Command::Dumps(dumps) => dumps.run(common),
        Command::Verify(verify) => verify.run(common),
        Command::Peek(peek) => peek.run(common),
        Command::Diff(diff) => diff.run(common),
        Command::Sweep(sweep) => sweep.run(common),
        Command::Prune(prune) => prune.run(common),
        Command::Lease(lease) => lease.run(common),
        Command::Restore(restore) => restore.run(common),
        Command::Pull(pull) => pull.run(common),
        Command::Swap(swap) => swap.run(common),
        Command::Unswap(unswap) => unswap.run(common),
        Command::Kept(kept) => kept.run(common),
        Command::Check(check) => check.run(common),
        Command::Doc(doc) => doc.run(common),
        Command::Status => dumps::status(common),
        Command::Completions(completions) => completions.run(),
        Command::Man => schema::man(),
    }
}
