//! Completions and the manual page, from the same table as the parser.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};
use crate::report::{Explain, Result};

/// Completions for a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lifeboat", &mut text);
        out(&text)
    }
}

pub fn man() -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text).explain(|| "writing the manual page".into())?;
    out(&text)
}

fn out(text: &[u8]) -> Result<ExitCode> {
    print::text(&String::from_utf8_lossy(text))?;
    Ok(ExitCode::SUCCESS)
}
