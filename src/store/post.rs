//! Storing with a ticket (D3): a worker that has no right on the bucket posts one dump and its manifest, and can do nothing else there.
//!
//! S3 wants to know the length before the first byte, so what comes is spooled first: a temporary file without a name, which the kernel
//! removes with us. What is spooled of a dump is ciphertext. The worker cannot look at what is stored; what it has is the answer to the post,
//! whose ETag is compared, and the checksum that goes with the form, which the store compares where it knows it.

mod answer;
mod send;

use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;

use jiff::Timestamp;
use md5::{Digest, Md5};

use self::answer::Answer;
use crate::port::{Context, Object, Store, Stream, Unfinished};
use crate::report::{Explain, Report, Result};
use crate::store::ticket::{Form, POST_LIMIT, Ticket};

/// What is read and written at once.
const CHUNK: usize = 1 << 18;

/// What the manifest's key has more than its dump's.
const MANIFEST: &str = ".manifest.json";

/// Attempts at one post: it is spooled, so it can be sent again.
const ATTEMPTS: u32 = 3;

/// A store that takes one dump and its manifest, for as long as a ticket says, and shows nothing.
#[derive(Debug)]
pub struct Post {
    ticket: Ticket,
    spool: PathBuf,
}

/// What is to be posted: a file without a name, and what is known of it.
struct Spooled {
    file: std::fs::File,
    size: u64,
    md5: [u8; 16],
    crc32: u32,
}

impl Post {
    /// A store by this ticket, spooling in the directory `spool`. A ticket that is over, or will be before the dump is done, is `Kind::Refused`.
    pub fn new(ticket: Ticket, spool: PathBuf, cx: &Context) -> Result<Self> {
        ticket.check(Timestamp::now())?;
        let limit = ticket.object.limit;
        let why = if limit == POST_LIMIT { "which is what S3 takes in one POST" } else { "as its ticket says" };
        let free = rustix::fs::statvfs(&spool).explain(|| format!("looking at the spool directory {}", spool.display()))?;
        let free = free.f_bavail * free.f_frsize;
        if let Some(size) = ticket.size.filter(|size| free < *size) {
            return Err(Report::refused(format!("{size} bytes are expected, and {} has room for {free}", spool.display()))
                .hint(format!("df -h {}", spool.display()))
                .hint("set `spool` in the store's configuration, or --spool DIR"));
        }
        cx.log.say("backup", &format!("{} may have up to {limit} bytes, {why}; it is spooled in {}", ticket.name, spool.display()));
        Ok(Post { ticket, spool })
    }

    fn form(&self, key: &str) -> Result<&Form> {
        match key.strip_prefix(&*self.ticket.name) {
            Some("") => Ok(&self.ticket.object),
            Some(MANIFEST) => Ok(&self.ticket.manifest),
            _ => Err(Report::refused(format!("the ticket is for {}, not for {key}", self.ticket.name))
                .hint(format!("lifeboat ticket {}", self.ticket.job))),
        }
    }

    fn blind(&self, what: &str) -> Report {
        Report::refused(format!("{} can be written to with a ticket, not {what}", self.ticket.store))
            .hint("ask where the rights are: the configuration with the store itself")
    }

    /// All of `body`, on the disk. More than the form allows ends it at once: the rest would be dumped in vain.
    fn spool(&self, key: &str, mut body: Stream, limit: u64, cx: &Context) -> Result<Spooled> {
        let place = self.spool.display();
        let doing = || format!("spooling {key} in {place}");
        let mut file = tempfile::tempfile_in(&self.spool).explain(doing)?;
        let (mut size, mut md5, mut crc) = (0, Md5::new(), crc32fast::Hasher::new());
        let mut buffer = vec![0; CHUNK];
        loop {
            cx.check()?;
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Report::from_io(format!("reading what becomes {key}"), error)),
            };
            size += count as u64;
            if size > limit {
                return Err(self.too_large(key, limit));
            }
            md5.update(&buffer[..count]);
            crc.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(|error| self.no_space(doing(), error))?;
        }
        Ok(Spooled { file, size, md5: md5.finalize().into(), crc32: crc.finalize() })
    }

    fn too_large(&self, key: &str, limit: u64) -> Report {
        let report = Report::refused(format!("{key} is larger than the {limit} bytes its ticket allows"));
        if limit >= POST_LIMIT {
            report.cause("S3 takes no more in one POST").hint("give the worker credentials that may put, and a store of kind \"s3\"")
        } else {
            report.hint(format!("lifeboat ticket {} --max-size …", self.ticket.job))
        }
    }

    fn no_space(&self, doing: String, error: std::io::Error) -> Report {
        if error.kind() != std::io::ErrorKind::StorageFull {
            return Report::from_io(doing, error);
        }
        Report::failed(format!("no space left to spool in {}", self.spool.display()))
            .because(error)
            .hint(format!("df -h {}", self.spool.display()))
            .hint("set `spool` in the store's configuration, or --spool DIR")
    }

    fn send(&self, key: &str, form: &Form, spooled: &Spooled, cx: &Context) -> Result<Object> {
        for attempt in 1.. {
            // The ticket may have ended while the dump was made.
            let left = self.ticket.expires_at.duration_since(Timestamp::now());
            if left <= jiff::SignedDuration::ZERO {
                return Err(self.expired(key));
            }
            let answer = match send::send(form, spooled, key, cx) {
                Ok(answer) if answer.is_passing() && attempt < ATTEMPTS => answer.summary(),
                Ok(answer) => return self.judge(key, form, spooled, &answer),
                Err(report) if report.kind == crate::report::Kind::Cancelled || attempt == ATTEMPTS => return Err(report),
                Err(report) => report.to_string(),
            };
            // The same bytes under the same key: sent twice is stored once.
            cx.log.say("backup", &format!("{key} is sent again: {answer}"));
            cx.pause(std::time::Duration::from_secs(u64::from(attempt)))?;
        }
        Err(Report::failed(format!("{key} was not stored")))
    }

    fn judge(&self, key: &str, form: &Form, spooled: &Spooled, answer: &Answer) -> Result<Object> {
        if !answer.is_stored() {
            return Err(self.refusal(key, form, answer));
        }
        match answer.md5() {
            Some(md5) if md5 != hex::encode(spooled.md5) => {
                return Err(Report::failed(format!("{key} has another MD5 in the store than what was sent"))
                    .cause(format!("{md5} instead of {}", hex::encode(spooled.md5))));
            }
            _ => {}
        }
        Ok(Object { key: key.into(), size: spooled.size, modified: Timestamp::now() })
    }

    fn refusal(&self, key: &str, form: &Form, answer: &Answer) -> Report {
        let store = &self.ticket.store;
        let another = format!("lifeboat ticket {}", self.ticket.job);
        let report = if answer.is("EntityTooLarge") {
            self.too_large(key, form.limit)
        } else if answer.is("ExpiredToken") || answer.says("expired") {
            self.expired(key)
        } else if answer.is("RequestTimeTooSkewed") {
            Report::failed(format!("{store} finds the ticket too old, or a clock is wrong")).hint("timedatectl status").hint(another)
        } else if answer.is("SignatureDoesNotMatch") || answer.is("InvalidAccessKeyId") {
            Report::refused(format!("{store} does not accept the ticket's signature"))
                .hint(format!("{another}   (the key it was made with may be gone)"))
        } else if answer.is("NoSuchBucket") {
            Report::failed(format!("{store} does not exist")).hint(another)
        } else if answer.is("InvalidPolicyDocument") || answer.status == 403 {
            Report::refused(format!("{store} does not accept {key} by this ticket"))
                .hint("whoever made the ticket needs the right s3:PutObject")
                .hint(another)
        } else {
            Report::failed(format!("{store} failed while storing {key}"))
        };
        report.cause(answer.summary())
    }

    fn expired(&self, key: &str) -> Report {
        let Ticket { job, expires_at, .. } = &self.ticket;
        Report::refused(format!("the ticket ended at {expires_at}, before {key} was stored"))
            .hint(format!("lifeboat ticket {job} --for-minutes …"))
    }
}

impl Store for Post {
    fn describe(&self) -> String {
        format!("{} (by ticket)", self.ticket.store)
    }

    fn put(&self, key: &str, body: Stream, cx: &Context) -> Result<Object> {
        let form = self.form(key)?;
        let spooled = self.spool(key, body, form.limit, cx)?;
        self.send(key, form, &spooled, cx)
    }

    fn get(&self, _: &str, _: Option<Range<u64>>, _: &Context) -> Result<Stream> {
        Err(self.blind("read"))
    }

    fn head(&self, _: &str, _: &Context) -> Result<Option<Object>> {
        Err(self.blind("looked into"))
    }

    fn list(&self, _: &str, _: &Context) -> Result<Vec<Object>> {
        Err(self.blind("looked into"))
    }

    fn delete(&self, _: &str, _: &Context) -> Result<()> {
        Err(self.blind("cleared"))
    }

    fn unfinished(&self, _: &Context) -> Result<Vec<Unfinished>> {
        Err(self.blind("looked into"))
    }

    fn abort(&self, _: &Unfinished, _: &Context) -> Result<()> {
        Err(self.blind("cleared"))
    }

    fn reserved(&self) -> Option<&str> {
        Some(&self.ticket.name)
    }
}
