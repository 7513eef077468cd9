//! Where people are told.

use std::fs::OpenOptions;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use jiff::Timestamp;

use super::http;
use super::secret::Secret;
use crate::port::{Context, Notifier};
use crate::process::Program;
use crate::report::{Explain, Report, Result};

/// A channel as configured, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// POST of `{"text": …}`, as Slack's incoming webhooks take it. The URL is a secret.
    Webhook {
        /// Where the URL comes from.
        url: Secret,
    },
    /// A program that gets the message on its standard input.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Lines at the end of a file.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A channel that people read.
#[derive(Clone, Debug)]
pub struct Channel {
    name: String,
    settings: Settings,
}

impl Channel {
    /// A channel by its name and settings.
    pub fn new(name: &str, settings: Settings) -> Self {
        Channel { name: name.into(), settings }
    }
}

impl Notifier for Channel {
    fn describe(&self) -> String {
        let kind = match &self.settings {
            Settings::Webhook { .. } => "webhook",
            Settings::Command { .. } => "command",
            Settings::File { .. } => "file",
        };
        format!("{kind} {}", self.name)
    }

    fn notify(&self, message: &str, cx: &Context) -> Result<()> {
        let told = match &self.settings {
            Settings::Webhook { url } => post(url, message, &self.name, cx),
            Settings::Command { argv } => {
                let [program, args @ ..] = argv.as_slice() else { return Err(Report::usage("a command needs a program")) };
                let input = Box::new(Cursor::new(message.as_bytes().to_vec()));
                Program::new(program).args(args).run_with(input, cx).map(drop)
            }
            Settings::File { path } => {
                let line = format!("{} {}\n", Timestamp::now(), message.replace('\n', " "));
                let file = OpenOptions::new().create(true).append(true).open(path);
                file.and_then(|mut file| file.write_all(line.as_bytes())).explain(|| format!("writing {}", path.display()))
            }
        };
        told.map_err(|error| error.under(format!("channel {} was not told", self.name)))
    }
}

/// Slack, "Sending messages using incoming webhooks": 200 and `ok`.
fn post(url: &Secret, message: &str, name: &str, cx: &Context) -> Result<()> {
    let url = url.read_text(&format!("URL of channel {name}"), cx)?;
    let body = serde_json::json!({ "text": message }).to_string();
    // The path of a webhook is its secret: what the request says of itself stays here.
    let answer = http::send("POST", &url, Some(&body), cx).map_err(|error| match error.kind {
        crate::report::Kind::Cancelled => error,
        _ => Report::failed("the webhook got no answer").cause(error.causes.last().cloned().unwrap_or_default()),
    })?;
    if answer.is(None) { Ok(()) } else { Err(Report::failed(format!("the webhook answered {}", answer.status))) }
}
