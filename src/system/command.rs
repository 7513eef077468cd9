//! Programs as steps and checks, without a shell.

use crate::port::Context;
use crate::process::Program;
use crate::report::{Report, Result};

/// Runs a program to its end and gives its standard output, trimmed. Exit other than 0 is an error with the tail of its stderr.
pub fn run(argv: &[String], cx: &Context) -> Result<String> {
    let [program, args @ ..] = argv else { return Err(Report::usage("a command needs a program")) };
    let output = Program::new(program).args(args).run(cx)?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}
