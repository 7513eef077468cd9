//! Making tickets: for how long and how much, judged by what the job did before (D3).
//!
//! A signature of fixed length was right once, and then the database grew (trap 43). Here its life and its size come from the manifests of
//! the job's last dumps, and where there are none, that is said.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::engine::Engine;
use crate::config;
use crate::pipeline::catalogue;
use crate::pipeline::manifest::{MANIFEST_SUFFIX, Manifest, Member};
use crate::port::{Context, Store};
use crate::report::{Kind, Report, Result};
use crate::store::s3::S3;
use crate::store::ticket::{POST_LIMIT, Ticket, VERSION, round};

/// How many of the last dumps are looked at.
const HISTORY: usize = 10;

/// The longest and the largest of them, so many times: a bad night, and growth.
const TIMES: u32 = 2;

/// On top of it: between making a ticket and using it something waits or is deployed.
const MARGIN: SignedDuration = SignedDuration::from_mins(30);

/// And for a database that was nearly empty.
const ROOM: u64 = 64 << 20;

/// Without any history.
const FIRST_LIFE: SignedDuration = SignedDuration::from_hours(12);

/// Signatures of AWS are over by then, whatever their policy says.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A manifest of 100,000 tables fits.
const MANIFEST_LIMIT: u64 = 32 << 20;

/// Names that are given away, so that two tickets never have the same.
const RESERVED: &str = ".lifeboat/ticket/";

/// For how long and how much a ticket is good, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From now on.
    pub life: SignedDuration,
    /// Most bytes of the dump.
    pub limit: u64,
    /// The longest of the last dumps.
    pub expected: Option<SignedDuration>,
    /// The largest of the last dumps, in bytes.
    pub size: Option<u64>,
    /// One line for whoever asked.
    pub why: String,
}

/// What a ticket is to be good for, where somebody says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Instead of what history says.
    pub life: Option<SignedDuration>,
    /// Instead of what history says, in bytes.
    pub limit: Option<u64>,
}

/// The terms of a job's next dump, from its last ones (newest first).
pub fn terms<'a>(history: impl Iterator<Item = &'a Manifest>, wish: Wish) -> Result<Terms> {
    let last: Vec<&Manifest> = history.take(HISTORY).collect();
    let expected = last.iter().map(|dump| dump.ended_at.duration_since(dump.started_at)).max();
    let size = last.iter().map(|dump| dump.stored.bytes).max();
    if let Some(size) = size.filter(|size| *size > POST_LIMIT) {
        return Err(Report::refused(format!("a dump of this job has {size} bytes, and S3 takes {POST_LIMIT} in one POST"))
            .hint("give the worker credentials that may put, and a store of kind \"s3\""));
    }
    let enough = |longest: SignedDuration| longest * i32::try_from(TIMES).unwrap_or(i32::MAX) + MARGIN;
    let life = wish.life.unwrap_or_else(|| expected.map_or(FIRST_LIFE, enough)).min(LONGEST_LIFE);
    if let Some(expected) = expected.filter(|expected| *expected > life) {
        let message =
            format!("a ticket for {} would be over before the dump is done: the last ones took up to {}", round(life), round(expected));
        return Err(Report::refused(message).hint(format!("--for-minutes {}", enough(expected).as_mins())));
    }
    let limit = wish.limit.unwrap_or_else(|| size.map_or(POST_LIMIT, |largest| largest * u64::from(TIMES) + ROOM)).min(POST_LIMIT);
    let guess = || "as there is no dump of this job yet to judge by".to_owned();
    let longest = expected.map(|expected| format!("twice {} and {}, of the last {}", round(expected), round(MARGIN), dumps(last.len())));
    let largest = size.map(|size| format!("twice {size} bytes and {} MiB, of the last {}", ROOM >> 20, dumps(last.len())));
    let reason = |asked: bool, judged: Option<String>| if asked { "as asked for".to_owned() } else { judged.unwrap_or_else(guess) };
    let why = format!(
        "valid for {}, {}; for up to {limit} bytes, {}",
        round(life),
        reason(wish.life.is_some(), longest),
        reason(wish.limit.is_some(), largest)
    );
    Ok(Terms { life, limit, expected, size, why })
}

fn dumps(count: usize) -> String {
    if count == 1 { "dump".to_owned() } else { format!("{count} dumps") }
}

/// The name a ticket brings, where it ends as this job's own do: people and programs open a dump by its ending.
pub(super) fn fitting(reserved: &str, own: Member, dumps: usize) -> Result<Member> {
    let ending = |name: &str| name.rsplit('.').take(3).map(str::to_owned).collect::<Vec<_>>();
    if dumps != 1 {
        return Err(Report::usage(format!("the ticket is for one dump, and this job makes {dumps}")).hint("a job for each database"));
    }
    if ending(reserved) != ending(&own.object) {
        return Err(Report::usage(format!("the ticket is for {reserved}, and this job makes dumps like {}", own.object))
            .hint("make both sides agree on `format` and `compression` of the job"));
    }
    Ok(Member { object: reserved.to_owned(), ..own })
}

impl Engine {
    /// A ticket for the job's next dump, and its terms. Needs the job's store to be S3, and the rights to list and to put there.
    pub fn ticket(&self, job: &str, wish: Wish, cx: &Context) -> Result<(Ticket, Terms)> {
        let inventory = self.inventory();
        let job = inventory.job(job)?;
        if job.is_grouped() {
            let report = Report::usage(format!("the job {} makes several dumps, and a ticket is for one", job.name));
            return Err(report.hint("a job for each database"));
        }
        let config::Store::S3(settings) = inventory.store(&job.store)? else {
            return Err(Report::usage(format!("the store {} of job {} is not S3: only S3 takes signed posts", job.store, job.name)));
        };
        let s3 = S3::new(settings.clone(), cx)?;
        let listing = catalogue::list(&s3, Some(&job.name), cx)?;
        let terms = terms(listing.dumps.iter().map(|dump| &dump.manifest), wish)?;
        let expires_at = Timestamp::now() + terms.life;
        let name = self.reserve(job, &s3, expires_at, cx)?;
        let form = |key: &str, limit| s3.form(key, limit, expires_at, cx);
        let ticket = Ticket {
            version: VERSION,
            job: job.name.clone(),
            environment: inventory.environment.name.clone(),
            object: form(&name, terms.limit)?,
            manifest: form(&format!("{name}{MANIFEST_SUFFIX}"), MANIFEST_LIMIT)?,
            name,
            expires_at,
            expected: terms.expected,
            size: terms.size,
            store: s3.describe(),
        };
        Ok((ticket, terms))
    }

    /// A name nobody has and nobody was promised.
    fn reserve(&self, job: &config::Job, s3: &S3, expires_at: Timestamp, cx: &Context) -> Result<String> {
        forget_old_promises(s3, cx)?;
        let mut told = None;
        loop {
            let name = self.free_name(job, s3, cx)?;
            let promise = std::io::Cursor::new(expires_at.to_string().into_bytes());
            match s3.put(&format!("{RESERVED}{name}.promise"), Box::new(promise), cx) {
                Ok(_) => return Ok(name),
                Err(report) if report.kind == Kind::Refused => {
                    if told.as_ref() != Some(&name) {
                        cx.log.say("backup", &format!("{name} was promised to another ticket: waiting until the time gives another name"));
                        told = Some(name);
                    }
                    cx.pause(Duration::from_secs(1))?;
                }
                Err(report) => return Err(report),
            }
        }
    }
}

/// A promise holds until no ticket can be valid any more.
fn forget_old_promises(s3: &S3, cx: &Context) -> Result<()> {
    let now = Timestamp::now();
    for promise in s3.list(RESERVED, cx)?.iter().filter(|promise| now.duration_since(promise.modified) > LONGEST_LIFE) {
        // Who may put need not be allowed to delete; then they stay.
        s3.delete(&promise.key, cx).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::manifest::Digest;

    fn dump(minutes: i64, bytes: u64) -> Manifest {
        let text = r#"{"version":1,"id":"0","job":"a","environment":"e","object":"o","format":"plain","compression":"gzip","recipients":[],
            "origin":{"database":"d","system_identifier":"1","server_version":"15","client_version":"15"},
            "snapshot_at":"2026-11-21T03:00:00Z","started_at":"2026-11-21T03:00:00Z","ended_at":"2026-11-21T03:00:00Z",
            "plain":{"bytes":0,"sha256":""},"stored":{"bytes":0,"sha256":""},"tables":{},
            "schema":{"constraints":0,"indexes":0,"views":0,"sequences":0,"triggers":0,"large_objects":0},"stages":[],"tool":"t"}"#;
        let dump: Manifest = serde_json::from_str(text).unwrap();
        let stored = Digest { bytes, ..Digest::default() };
        Manifest { ended_at: dump.started_at + SignedDuration::from_mins(minutes), stored, ..dump }
    }

    // D3: not 600 s from before the deploy.
    #[test]
    fn a_ticket_lives_as_long_as_history_says_and_some() {
        let history = [dump(20, 100), dump(50, 300), dump(10, 200)];
        let terms = terms(history.iter(), Wish::default()).unwrap();
        assert_eq!((terms.life, terms.limit), (SignedDuration::from_mins(130), 600 + ROOM));
        assert!(terms.why.contains("twice 50m and 30m, of the last 3 dumps"), "{}", terms.why);
        assert!(terms.why.contains("twice 300 bytes and 64 MiB, of the last 3 dumps"), "{}", terms.why);
    }

    #[test]
    fn without_history_a_ticket_says_that_it_guesses() {
        let terms = terms([].iter(), Wish::default()).unwrap();
        assert_eq!((terms.life, terms.limit), (FIRST_LIFE, POST_LIMIT));
        assert!(terms.why.contains("no dump of this job yet"), "{}", terms.why);
    }

    #[test]
    fn a_ticket_says_of_itself_what_was_asked_for_and_what_was_judged() {
        let history = [dump(50, 300)];
        let why = |life, limit| terms(history.iter(), Wish { life, limit }).unwrap().why;
        let size = why(None, Some(100));
        assert!(size.contains("100 bytes, as asked for") && size.contains("twice 50m and 30m") && !size.contains("twice 300"), "{size}");
        let life = why(Some(SignedDuration::from_mins(90)), None);
        assert!(life.contains("1h 30m, as asked for") && life.contains("twice 300 bytes") && !life.contains("twice 50m"), "{life}");
        let both = why(Some(SignedDuration::from_mins(90)), Some(400));
        assert!(!both.contains("twice"), "{both}");
    }

    #[test]
    fn a_ticket_that_cannot_last_is_not_made() {
        let history = [dump(50, 300)];
        let short = Wish { life: Some(SignedDuration::from_mins(40)), limit: None };
        let report = terms(history.iter(), short).unwrap_err();
        assert_eq!((report.kind, report.hints.as_slice()), (Kind::Refused, &["--for-minutes 130".to_owned()][..]));
        let large = [dump(50, POST_LIMIT + 1)];
        assert!(terms(large.iter(), Wish::default()).unwrap_err().message.contains("in one POST"));
        let slow = [dump(6 * 24 * 60, 1)];
        assert_eq!(terms(slow.iter(), Wish::default()).unwrap().life, LONGEST_LIFE);
    }

    #[test]
    fn a_ticket_for_another_kind_of_dump_is_refused() {
        let own = Member { database: None, object: "c.sql.gz.gpg".into() };
        assert_eq!(fitting("a/b.sql.gz.gpg", own.clone(), 1).unwrap().object, "a/b.sql.gz.gpg");
        assert_eq!(fitting("a.dump.gz.gpg", own.clone(), 1).unwrap_err().kind, Kind::Usage);
        assert_eq!(fitting("a/b.sql.gz.gpg", own, 2).unwrap_err().kind, Kind::Usage);
    }
}
