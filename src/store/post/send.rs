//! One post on the wire: the form's fields, the file behind them, and an eye on whether it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use reqwest::multipart::{Form as Multipart, Part};
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;

use super::Spooled;
use super::answer::Answer;
use crate::port::Context;
use crate::report::{Explain, Report, Result};
use crate::store::s3::form::CHECKSUM_FIELD;
use crate::store::ticket::Form;

/// Nothing moved for so long: it never will (trap 43: progress is watched, not the clock).
const STALLED: Duration = Duration::from_mins(1);

/// After the last byte the store may take as long as storing them does, at this many bytes a second.
const STORING: u64 = 30_000_000;

/// How much of an answer is read.
const ANSWER_LIMIT: usize = 64 << 10;

/// Sends a form with a file. What goes wrong before there is an answer is an error; an answer, whatever it says, is not.
pub(super) fn send(form: &Form, spooled: &Spooled, key: &str, cx: &Context) -> Result<Answer> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be quicker; then theirs is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let file = spooled.file.try_clone().explain(|| "reading what was spooled".into())?;
    cx.wait(async {
        let moved = Arc::new(AtomicU64::new(0));
        let body = multipart(form, file, spooled, Arc::clone(&moved)).await?;
        let client =
            reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.explain(|| "preparing HTTP".into())?;
        // Without the address: a server name is enough, and a form has no secret in its address, but others' redirects may.
        let failed =
            |error: reqwest::Error| Report::failed(format!("{} got no answer for {key}", place(&form.url))).because(error.without_url());
        let request = async {
            let mut response = client.post(&form.url).multipart(body).send().await.map_err(failed)?;
            let header = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            let (status, mut text) = (response.status().as_u16(), Vec::new());
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                text.extend_from_slice(&chunk);
                if text.len() > ANSWER_LIMIT {
                    break;
                }
            }
            Ok(Answer { status, etag: header, body: String::from_utf8_lossy(&text).into_owned() })
        };
        tokio::select! {
            answer = request => answer,
            stalled = watch(&moved, spooled.size) => Err(Report::failed(format!("{} {stalled} of {key}", place(&form.url)))),
        }
    })
}

async fn multipart(form: &Form, file: std::fs::File, spooled: &Spooled, moved: Arc<AtomicU64>) -> Result<Multipart> {
    let mut file = tokio::fs::File::from_std(file);
    file.rewind().await.explain(|| "reading what was spooled".into())?;
    let stream = ReaderStream::with_capacity(file, super::CHUNK).inspect(move |chunk| {
        moved.fetch_add(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64), Ordering::Relaxed);
    });
    let fields = form.fields.iter().map(|(name, value)| (name.clone(), value.clone()));
    let checksum = BASE64_STANDARD.encode(spooled.crc32.to_be_bytes());
    let fields = fields.chain([(CHECKSUM_FIELD.to_owned(), checksum)]);
    let multipart = fields.fold(Multipart::new(), |multipart, (name, value)| multipart.text(name, value));
    // The last field: what comes behind the file is not read.
    let part = Part::stream_with_length(reqwest::Body::wrap_stream(stream), spooled.size).file_name("dump");
    Ok(multipart.part("file", part))
}

/// Ends when nothing moves any more, with the words for it.
async fn watch(moved: &AtomicU64, size: u64) -> String {
    let mut before = u64::MAX;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if now == before && now < size {
            return format!("took no byte for {} seconds, after {now} of {size}", STALLED.as_secs());
        }
        if now == before {
            tokio::time::sleep(Duration::from_secs(size / STORING)).await;
            return format!("did not answer after the last byte, {size}");
        }
        before = now;
        tokio::time::sleep(STALLED).await;
    }
}

/// Scheme and host.
fn place(url: &str) -> String {
    reqwest::Url::parse(url).map_or_else(|_| "the store".into(), |url| url.origin().ascii_serialization())
}
