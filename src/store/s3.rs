//! S3 as a store: multipart upload from memory, checksums, conditional create, abort with its own deadline.
//!
//! Nothing here trusts an answer of 200: what was stored is asked for again and compared before it counts. `upload` says how.

mod client;
mod download;
pub(crate) mod form;
mod probe;
mod settings;
mod trouble;
mod upload;
mod versions;
mod watchdog;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumMode;
use jiff::Timestamp;

pub(crate) use self::probe::PROBE;
pub use self::settings::{Checksum, Conditional, Credentials, Encryption, Lock, LockMode, Settings};
use self::trouble::{Operation, Trouble};
use super::check_key;
use crate::port::{Context, Object, Store, Stream, Unfinished};
use crate::report::{Report, Result};

/// A bucket, or a prefix of it, as a store. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    client: Client,
    settings: Arc<Settings>,
    /// The bucket answered once; a 404 is about the key from then on.
    known: Arc<AtomicBool>,
    /// Whether the store refuses to replace, once that was asked.
    refuses: Arc<OnceLock<bool>>,
}

impl S3 {
    /// Finds region and credentials. Asks nothing of the store itself.
    pub fn new(settings: Settings, cx: &Context) -> Result<Self> {
        let client = cx.wait(client::build(&settings))?;
        Ok(S3 { client, settings: Arc::new(settings), known: Arc::default(), refuses: Arc::default() })
    }

    /// Where the service is, for messages.
    fn place(&self) -> String {
        let region = || self.client.config().region().map_or("AWS".into(), |region| format!("AWS {region}"));
        self.settings.endpoint.clone().unwrap_or_else(region)
    }

    fn full(&self, key: &str) -> Result<String> {
        check_key(key)?;
        Ok(format!("{}{key}", self.settings.prefix))
    }

    /// Asks; every refusal is an error.
    fn demand<T, E>(&self, operation: Operation, cx: &Context, request: impl Future<Output = Result<T, SdkError<E>>>) -> Result<T>
    where
        SdkError<E>: Into<Trouble>,
    {
        ask(cx, request)?.map_err(|trouble| self.report(operation, &trouble))
    }

    fn object(&self, key: &str, size: Option<i64>, modified: Option<&DateTime>) -> Result<Object> {
        Ok(Object { key: key.into(), size: self.size(key, size)?, modified: self.instant(key, modified)? })
    }

    fn size(&self, key: &str, size: Option<i64>) -> Result<u64> {
        let size = size.and_then(|size| u64::try_from(size).ok());
        size.ok_or_else(|| self.strange(format!("it does not say how large {} is", key.escape_debug())))
    }

    fn instant(&self, key: &str, time: Option<&DateTime>) -> Result<Timestamp> {
        let time = time.and_then(|time| Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).unwrap_or_default()).ok());
        time.ok_or_else(|| self.strange(format!("it does not say when {} was made", key.escape_debug())))
    }

    /// What the store knows of an object; a 404 is `None`, for the key or for the bucket.
    async fn look(&self, full: &str) -> Result<Option<HeadObjectOutput>, Trouble> {
        let mut request = self.client.head_object().bucket(&self.settings.bucket).key(full);
        if self.settings.checksum == Checksum::Crc32 {
            request = request.checksum_mode(ChecksumMode::Enabled);
        }
        match request.send().await.map_err(Trouble::from) {
            Ok(seen) => Ok(Some(seen)),
            Err(trouble) if trouble.is_missing() => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// The answer to HEAD has no body: whether the keys are wrong or a right is missing, 403 does not say. A listing that is refused does.
    async fn why_refused(&self, trouble: Trouble) -> Report {
        if trouble.is_refused() && trouble.is_without_reason() {
            let listing = self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(&self.settings.prefix).max_keys(1);
            if let Err(reason) = listing.send().await.map_err(Trouble::from) {
                return self.report(Operation::HeadObject, &reason);
            }
        }
        self.report(Operation::HeadObject, &trouble)
    }

    /// The answer to HEAD has no body: whether the key is missing or the bucket, 404 does not say. Asked once.
    async fn know_bucket(&self) -> Result<()> {
        if self.known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let asked = self.client.head_bucket().bucket(&self.settings.bucket).send().await.map_err(Trouble::from);
        match asked {
            Err(trouble) if trouble.is_missing() => Err(self.no_bucket()),
            // Being refused a look at the bucket says that there is one.
            Err(trouble) if !trouble.is_refused() => Err(self.report(Operation::HeadBucket, &trouble)),
            _ => {
                self.known.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Store for S3 {
    fn describe(&self) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.settings.prefix)
    }

    fn put(&self, key: &str, body: Stream, cx: &Context) -> Result<Object> {
        upload::put(self, key, body, cx)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, cx: &Context) -> Result<Stream> {
        download::get(self, key, range, cx)
    }

    fn head(&self, key: &str, cx: &Context) -> Result<Option<Object>> {
        let full = self.full(key)?;
        cx.wait(async {
            match self.look(&full).await {
                Ok(Some(seen)) => self.object(key, seen.content_length(), seen.last_modified()).map(Some),
                Ok(None) => self.know_bucket().await.map(|()| None),
                Err(trouble) => Err(self.why_refused(trouble).await),
            }
        })
    }

    fn list(&self, prefix: &str, cx: &Context) -> Result<Vec<Object>> {
        let full = format!("{}{prefix}", self.settings.prefix);
        let mut objects: Vec<Object> = Vec::new();
        let mut seen = HashSet::new();
        let mut token: Option<String> = None;
        loop {
            let before = token.clone();
            let request = self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(&full).set_continuation_token(token.take());
            let page = self.demand(Operation::ListObjects, cx, request.send())?;
            for entry in page.contents() {
                let full = entry.key().unwrap_or_default();
                let Some(key) = full.strip_prefix(&self.settings.prefix) else {
                    return Err(self.strange(format!("a listing of `{prefix}` holds `{}`", full.escape_debug())));
                };
                // What other tools make to show a folder is not an object of ours.
                if key.is_empty() || key.ends_with('/') {
                    continue;
                }
                if !seen.insert(key.to_owned()) {
                    return Err(self.strange(format!("a listing names `{}` twice", key.escape_debug())));
                }
                objects.push(self.object(key, entry.size(), entry.last_modified())?);
            }
            // What a body that was cut says is read without complaint: as far as it goes, it is right.
            let told = page.key_count().and_then(|count| usize::try_from(count).ok()).unwrap_or(page.contents().len());
            if told != page.contents().len() {
                return Err(self.strange(format!("a listing holds {} of {told} objects", page.contents().len())));
            }
            match page.is_truncated() {
                Some(false) => break,
                Some(true) => {}
                None => return Err(self.strange("a listing does not say whether it is all".into())),
            }
            token = page.next_continuation_token;
            if token.is_none() || token == before {
                return Err(self.strange("a listing is cut and does not say where to go on".into()));
            }
        }
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn delete(&self, key: &str, cx: &Context) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.settings.bucket).key(self.full(key)?);
        match ask(cx, request.send())? {
            // AWS says 204 for what is not there; some others say this. A missing bucket is something else.
            Err(trouble) if trouble.is_missing() && !trouble.is("NoSuchBucket") => Ok(()),
            Err(trouble) => Err(self.report(Operation::DeleteObject, &trouble)),
            Ok(_) => Ok(()),
        }
    }

    fn erase(&self, key: &str, cx: &Context) -> Result<()> {
        versions::erase(self, key, cx)
    }

    fn unfinished(&self, cx: &Context) -> Result<Vec<Unfinished>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker): (Option<String>, Option<String>) = (None, None);
        loop {
            let before = (key_marker.clone(), id_marker.clone());
            let request = self.client.list_multipart_uploads().bucket(&self.settings.bucket).prefix(&self.settings.prefix);
            let request = request.set_key_marker(key_marker.take()).set_upload_id_marker(id_marker.take());
            let page = self.demand(Operation::ListUploads, cx, request.send())?;
            for upload in page.uploads() {
                let (Some(full), Some(id)) = (upload.key(), upload.upload_id()) else {
                    return Err(self.strange("an unfinished upload has no key or no id".into()));
                };
                if let Some(key) = full.strip_prefix(&self.settings.prefix) {
                    found.push(Unfinished { key: key.into(), id: id.into(), since: self.instant(key, upload.initiated())? });
                }
            }
            if page.is_truncated() != Some(true) {
                return Ok(found);
            }
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            if key_marker.is_none() || (&key_marker, &id_marker) == (&before.0, &before.1) {
                return Err(self.strange("a listing of uploads is cut and does not say where to go on".into()));
            }
        }
    }

    fn abort(&self, upload: &Unfinished, cx: &Context) -> Result<()> {
        let full = self.full(&upload.key)?;
        let request = self.client.abort_multipart_upload().bucket(&self.settings.bucket).key(full).upload_id(&upload.id);
        match ask(cx, request.send())? {
            Err(trouble) if trouble.is("NoSuchUpload") => Ok(()),
            Err(trouble) => Err(self.report(Operation::AbortUpload, &trouble)),
            Ok(_) => Ok(()),
        }
    }
}

/// Asks, and keeps what the store said for whoever knows what it means. The outer error is a cancellation.
fn ask<T, E>(cx: &Context, request: impl Future<Output = Result<T, SdkError<E>>>) -> Result<Result<T, Trouble>>
where
    SdkError<E>: Into<Trouble>,
{
    cx.wait(async { Ok(request.await.map_err(Into::into)) })
}

fn metadata<'a>(seen: &'a HeadObjectOutput, name: &str) -> Option<&'a str> {
    seen.metadata().and_then(|metadata: &HashMap<_, _>| metadata.get(name)).map(String::as_str)
}
