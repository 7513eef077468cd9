//! A ticket: what a worker without any right of its own needs to store one dump and its manifest (D3).
//!
//! Whoever has rights on the bucket makes it ([`super::s3::S3::form`]), a worker spends it ([`super::post::Post`]). It holds a signature for
//! exactly two keys, a size and an end, and nothing from which another could be made. Until its end it is as good as a key to those two
//! objects, so it is treated as a secret: never shown, logged or journaled, and refused from a file that everybody can read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::report::{Explain, Report, Result};

/// The layout of a ticket. Readers refuse a greater one.
pub const VERSION: u32 = 1;

/// What S3 takes in one POST.
pub const POST_LIMIT: u64 = 5 << 30;

/// Leave to store one dump and its manifest.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// [`VERSION`].
    pub version: u32,
    /// The job it is for.
    pub job: String,
    /// The environment it is for.
    pub environment: String,
    /// The dump's name, made once (D2).
    pub name: String,
    /// Not valid from here on.
    pub expires_at: Timestamp,
    /// How long the dump is expected to take, from history; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<SignedDuration>,
    /// How large it is expected to be, in bytes, from history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// For messages: `s3://bucket/prefix`.
    pub store: String,
    /// Stores the dump.
    pub object: Form,
    /// Stores its manifest.
    pub manifest: Form,
}

/// One signed form: an S3 POST with a policy ("Browser-based uploads using POST", AWS Signature Version 4).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Where it is sent.
    pub url: String,
    /// Its fields, in front of the file. One of them is the signature.
    pub fields: BTreeMap<String, String>,
    /// Most bytes the file may have.
    pub limit: u64,
}

impl Ticket {
    /// Reads a ticket. What the text says never appears in an error.
    pub fn parse(text: &str) -> Result<Ticket> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let wrong = |why: &str| Report::usage("the ticket cannot be used").cause(why).hint("make another: lifeboat ticket JOB");
        let place = |error: &serde_json::Error| match error.classify() {
            serde_json::error::Category::Data => format!("a field is missing or of another kind (line {})", error.line()),
            _ => format!("it is no JSON (line {}, column {})", error.line(), error.column()),
        };
        let Version { version } = serde_json::from_str(text).map_err(|error| wrong(&place(&error)))?;
        if version > VERSION {
            return Err(wrong("it was made by a newer lifeboat"));
        }
        let ticket: Ticket = serde_json::from_str(text).map_err(|error| wrong(&place(&error)))?;
        super::check_key(&ticket.name)?;
        let words = [&ticket.job, &ticket.environment, &ticket.store, &ticket.object.url, &ticket.manifest.url];
        if words.iter().any(|word| word.chars().any(char::is_control)) {
            return Err(wrong("it has control characters"));
        }
        Ok(ticket)
    }

    /// Reads a ticket from a file. One that everybody on this machine can read is refused: it is as good as a key.
    pub fn read(path: &Path) -> Result<Ticket> {
        let name = path.display();
        let mode = fs::metadata(path).explain(|| format!("looking at the ticket in {name}"))?.permissions().mode();
        if mode & 0o007 != 0 {
            let report = Report::usage(format!("everybody on this machine may read the ticket in {name}"));
            return Err(report.hint(format!("chmod 600 {}", shell_words::quote(&name.to_string()))));
        }
        Ticket::parse(&fs::read_to_string(path).explain(|| format!("reading the ticket in {name}"))?)
    }

    /// Refuses a ticket that is over, or will be before a dump of `expected` length is done: better now than after hours.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        let left = self.expires_at.duration_since(now);
        let another = format!("lifeboat ticket {}", self.job);
        if left <= SignedDuration::ZERO {
            return Err(Report::refused(format!("the ticket for {} expired {} ago", self.name, round(-left))).hint(another));
        }
        match self.expected {
            Some(expected) if left < expected => {
                let message = format!(
                    "the ticket for {} is valid for another {}, and the dump needs about {}",
                    self.name,
                    round(left),
                    round(expected)
                );
                Err(Report::refused(message)
                    .cause("a signature that ends before the upload does is refused after all the work")
                    .hint(another))
            }
            _ => Ok(()),
        }
    }
}

/// `1h 12m`, to the minute where it is longer than one.
pub fn round(time: SignedDuration) -> String {
    let unit = if time.as_secs() >= 120 { 60 } else { 1 };
    format!("{:#}", SignedDuration::from_secs(time.as_secs() / unit * unit))
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("name", &self.name).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("url", &self.url).field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kind;

    fn ticket() -> Ticket {
        let form = Form { url: "http://127.0.0.1:1/b".into(), fields: [("x-amz-signature".into(), "hunter2".into())].into(), limit: 10 };
        Ticket {
            version: VERSION,
            job: "orders".into(),
            environment: "prod".into(),
            name: "prod-202611210305.sql.gz.gpg".into(),
            expires_at: "2026-11-21T04:00:00Z".parse().unwrap(),
            expected: Some(SignedDuration::from_mins(30)),
            size: None,
            store: "s3://b/".into(),
            object: form.clone(),
            manifest: form,
        }
    }

    // D3
    #[test]
    fn a_ticket_that_will_be_over_too_early_is_refused_before_the_work() {
        let at = |time: &str| ticket().check(format!("2026-11-21T{time}Z").parse().unwrap());
        at("03:29:00").unwrap();
        let late = at("03:31:00").unwrap_err();
        assert_eq!((late.kind, late.hints.as_slice()), (Kind::Refused, &["lifeboat ticket orders".to_owned()][..]));
        assert!(late.message.contains("another 29m, and the dump needs about 30m"), "{late}");
        assert!(at("04:02:00").unwrap_err().message.contains("expired 2m ago"));
    }

    #[test]
    fn a_ticket_is_never_shown() {
        assert!(!format!("{:?}", ticket()).contains("hunter2"));
        assert!(!format!("{:?}", ticket().object).contains("hunter2"));
        for text in
            ["hunter2", "{\"version\": 1, \"name\": \"hunter2\"}", "{\"version\": \"hunter2\"}", "{\"version\": 9, \"a\": \"hunter2\"}"]
        {
            let report = Ticket::parse(text).unwrap_err();
            assert!(report.kind == Kind::Usage && !format!("{report:?}").contains("hunter2"), "{report:?}");
        }
        assert_eq!(Ticket::parse(&serde_json::to_string(&ticket()).unwrap()).unwrap(), ticket());
    }
}
