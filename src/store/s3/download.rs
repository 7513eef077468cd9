//! Reading an object: streamed as it is pulled, taken up again where a connection broke, an error where it ends early.

use std::io::{self, Read};
use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Buf, Bytes};

use super::trouble::{Operation, Trouble, clean};
use super::{S3, ask};
use crate::port::{Context, Stream};
use crate::report::{Report, Result};

/// A download that got this far since it last broke starts counting anew.
const PROGRESS: u64 = 1 << 20;

pub(super) fn get(s3: &S3, key: &str, range: Option<Range<u64>>, cx: &Context) -> Result<Stream> {
    let full = s3.full(key)?;
    if let Some(range) = range.as_ref().filter(|range| range.is_empty()) {
        return nothing(s3, key, &full, range.start, cx);
    }
    let mut body = Body {
        s3: s3.clone(),
        key: key.into(),
        full,
        etag: None,
        at: 0,
        end: 0,
        stream: None,
        chunk: Bytes::new(),
        failures: 0,
        mark: 0,
        cx: cx.clone(),
    };
    let asked = range.unwrap_or(0..u64::MAX);
    let answer = body.request(asked.clone())?;
    body.etag = answer.e_tag().map(Into::into);
    let length = s3.size(key, answer.content_length())?;
    if asked.end.checked_sub(asked.start).is_some_and(|wanted| length > wanted) {
        return Err(s3.strange(format!("more bytes of {key} than were asked for")));
    }
    body.at = asked.start;
    body.mark = asked.start;
    body.end = asked.start + length;
    body.stream = Some(answer.body);
    Ok(Box::new(body))
}

/// HTTP has no range without a byte: whether the object is there, and that long, is all there is to ask.
fn nothing(s3: &S3, key: &str, full: &str, at: u64, cx: &Context) -> Result<Stream> {
    let seen = s3.demand_look(full, cx)?.ok_or_else(|| missing(s3, key))?;
    let size = s3.size(key, seen.content_length())?;
    if at > size {
        return Err(beyond(key, at));
    }
    Ok(Box::new(io::empty()))
}

fn missing(s3: &S3, key: &str) -> Report {
    Report::refused(format!("there is no {key} in s3://{}/{}", s3.settings.bucket, s3.settings.prefix))
}

fn beyond(key: &str, at: u64) -> Report {
    Report::refused(format!("{key} has no byte at {at}"))
}

/// The bytes of an object from `at` to `end`, pulled.
struct Body {
    s3: S3,
    key: String,
    full: String,
    /// Of the object that was opened: another one must not be read on.
    etag: Option<String>,
    at: u64,
    end: u64,
    stream: Option<ByteStream>,
    chunk: Bytes,
    failures: u32,
    /// Where it last broke.
    mark: u64,
    cx: Context,
}

impl Body {
    /// Asks for a part of the object. The answer begins where it was asked to, or is an error.
    fn request(&self, range: Range<u64>) -> Result<GetObjectOutput> {
        let whole = range == (0..u64::MAX);
        let mut request = self.s3.client.get_object().bucket(&self.s3.settings.bucket).key(&self.full).set_if_match(self.etag.clone());
        if !whole {
            request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        }
        let answer = match ask(&self.cx, request.send())? {
            Ok(answer) => answer,
            Err(trouble) if trouble.is_missing() && !trouble.is("NoSuchBucket") => return Err(missing(&self.s3, &self.key)),
            Err(trouble) if trouble.is_beyond_end() => return Err(beyond(&self.key, range.start)),
            Err(trouble) if trouble.is_taken() => {
                return Err(Report::failed(format!("{} was replaced while it was read", self.key)));
            }
            Err(trouble) => return Err(self.s3.report(Operation::GetObject, &trouble)),
        };
        let begins = answer.content_range().map_or(Some(0), first_byte);
        if begins != Some(range.start) {
            return Err(self.s3.strange(format!("byte {} of {} was asked for, another one given", range.start, self.key)));
        }
        Ok(answer)
    }

    /// The next bytes; none at the end of the stream.
    fn pull(&mut self) -> Result<Option<Bytes>, Pull> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        // That it does not wait for ever is up to `watchdog`.
        match self.cx.wait(async { Ok(stream.next().await) }).map_err(Pull::Stopped)? {
            Some(Err(error)) => Err(Pull::Broken(innermost(&error))),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    /// Goes on where it broke, with a new connection, a few times.
    fn reopen(&mut self, why: &str) -> Result<()> {
        if self.at - self.mark >= PROGRESS {
            self.failures = 0;
        }
        self.mark = self.at;
        self.failures += 1;
        if self.failures >= self.s3.settings.attempts {
            let left = self.end - self.at;
            return Err(Report::failed(format!("{} ends {left} bytes early, at byte {}", self.key, self.at)).cause(why));
        }
        self.cx.log.say("s3", &format!("reading {} broke at byte {} ({why}); going on from there", self.key, self.at));
        self.cx.pause(self.s3.settings.backoff / 10 * 4u32.pow((self.failures - 1).min(4)))?;
        let answer = self.request(self.at..self.end)?;
        self.stream = Some(answer.body);
        Ok(())
    }
}

enum Pull {
    Stopped(Report),
    Broken(String),
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && self.at < self.end && !buffer.is_empty() {
            match self.pull() {
                Ok(Some(bytes)) if bytes.len() as u64 > self.end - self.at => {
                    return Err(self.s3.strange(format!("more bytes of {} than were announced", self.key)).into());
                }
                Ok(Some(bytes)) => self.chunk = bytes,
                Ok(None) => self.reopen("the connection ended")?,
                Err(Pull::Broken(why)) => self.reopen(&why)?,
                Err(Pull::Stopped(report)) => return Err(report.into()),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

/// What lies behind an error: its own headline is "streaming error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    clean(&error.to_string())
}

/// `bytes 5-9/100` → 5.
fn first_byte(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

impl S3 {
    /// What the store knows of an object; asking again after a refusal is not worth it.
    pub(super) fn demand_look(&self, full: &str, cx: &Context) -> Result<Option<aws_sdk_s3::operation::head_object::HeadObjectOutput>> {
        cx.wait(async { self.look(full).await.map_err(|trouble: Trouble| self.report(Operation::HeadObject, &trouble)) })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_content_range_tells_where_it_begins() {
        assert_eq!(super::first_byte("bytes 5-9/100"), Some(5));
        assert_eq!(super::first_byte("bytes */100"), None);
    }
}
