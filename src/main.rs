//! Parse, call, turn a report into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeboat::cli::main()
}
