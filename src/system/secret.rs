//! Where secrets come from. A secret is read when it is needed, held as short as can be, and never printed.

use std::fs;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::port::{Context, Log};
use crate::process::Program;
use crate::report::{Explain, Kind, Report, Result};

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The content of a file, without its last newline.
    File(PathBuf),
    /// What a program prints, without its last newline: `sops -d …`, `pass show …`.
    Command(Vec<String>),
    /// An environment variable of this process.
    Env(String),
}

/// A secret in memory, wiped when dropped.
pub type Bytes = Zeroizing<Vec<u8>>;

impl Secret {
    /// Reads it. `what` is for messages: `password of system orders`.
    pub fn read(&self, what: &str, cx: &Context) -> Result<Bytes> {
        let mut bytes = Zeroizing::new(match self {
            Secret::File(path) => {
                let read = fs::read(path).explain(|| format!("the {what} cannot be read from {}", path.display()));
                // The configuration names a file that is not there for us: nothing was tried with it yet.
                let wrong = |error: Report| {
                    Report { kind: Kind::Usage, ..error }.hint(format!("ls -l {}", shell_words::quote(&path.to_string_lossy())))
                };
                read.map_err(wrong)?
            }
            Secret::Command(argv) => {
                let [program, args @ ..] = argv.as_slice() else { return Err(Report::usage(format!("the {what} has an empty command"))) };
                // A secret command may say anything on stderr; it is kept for an error, not written to the log.
                let quiet = Context { log: Log::default(), ..cx.clone() };
                let output = Program::new(program).args(args).run(&quiet);
                output.map_err(|error| error.under(format!("the command for the {what} failed")))?
            }
            Secret::Env(name) => {
                let value = std::env::var(name).ok().filter(|value| !value.is_empty());
                let missing = || Report::usage(format!("the {what} is missing")).hint(format!("export {name}=…"));
                value.ok_or_else(missing)?.into_bytes()
            }
        });
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(Report::usage(format!("the {what} is empty")).hint(format!("look at {}", self.origin())));
        }
        Ok(bytes)
    }

    /// Reads it as text.
    pub fn read_text(&self, what: &str, cx: &Context) -> Result<Zeroizing<String>> {
        let bytes = self.read(what, cx)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Report::usage(format!("the {what} is not UTF-8 text")))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Where it comes from, for messages.
    pub fn origin(&self) -> String {
        match self {
            Secret::File(path) => path.display().to_string(),
            Secret::Command(argv) => format!("the command {}", argv.first().map_or("", String::as_str)),
            Secret::Env(name) => format!("${name}"),
        }
    }
}
