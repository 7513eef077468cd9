//! Storing an object: all of it or nothing, never in another's place, and compared with what was sent before it counts.
//!
//! Parts are uploaded from memory: a body that streams is refused by some stores, cannot be sent again by any, and would be signed long
//! before it is sent (trap 17). A part is signed when it is full. While parts are on their way the next one is read; that, and no more, is held.
//!
//! Every upload carries a mark of its own in the object's metadata. When an answer is lost, or a store ignores the condition
//! "only if there is none yet", the mark tells whose object it is that stands there now.

use std::io::Read;
use std::time::Duration;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
    ServerSideEncryption, StorageClass,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::trouble::{Operation, Trouble};
use super::{Checksum, Encryption, LockMode, S3, ask, metadata};
use crate::port::{Context, Object, Stream, nonce};
use crate::report::{Explain, Report, Result};

/// S3's limits on a multipart upload.
const PARTS: u32 = 10_000;
const LARGEST_PART: u64 = 5 << 30;
const SMALLEST_PART: u64 = 5 << 20;

/// After so many parts the next ones are twice as large: 5 MiB at the start then reach 5 TiB within 10,000 parts (trap 15).
const PARTS_PER_SIZE: u32 = 950;

/// However small the first parts were, this much may always be held. Parts that outgrow it go one at a time, so that a dump of up to
/// 50 GiB stays within what a small machine has; beyond, S3's limit of 10,000 parts makes the parts themselves larger than this.
const MEMORY: u64 = 48 << 20;

/// What is done after a failure or a cancellation has this long, whatever else is cancelled (trap 16).
const LAST_WORDS: Duration = Duration::from_secs(20);

/// Smaller objects stay in the bucket's own storage class: the cheaper ones bill them as so many bytes.
const SMALLEST_BILLED: u64 = 128 << 10;

/// What is the store's own has to be replaced and removed again: it is never locked.
const OWN: &str = ".lifeboat/";

/// The metadata that says whose upload it was.
const MARK: &str = "lifeboat-upload";

pub(super) fn put(s3: &S3, key: &str, mut body: Stream, cx: &Context) -> Result<Object> {
    let mut upload = Upload::new(s3, key)?;
    // Sooner said is less work lost, and some stores know no condition; where they do, the condition decides.
    if s3.demand_look(&upload.full, cx)?.is_some() {
        return Err(upload.exists());
    }
    upload.trusts = s3.relies_on_condition(cx)?;
    let first = upload.read_part(&mut body, cx)?;
    let sent = if first.is_last { upload.put_whole(&first, cx) } else { upload.put_parts(first, &mut body, cx) };
    let failure = match sent.and_then(|()| upload.prove(cx)) {
        Ok(object) => return Ok(object),
        Err(failure) => failure,
    };
    // Not `cx.wait`: what is said last must be said although all else is cancelled (trap 16).
    cx.runtime.block_on(upload.end(failure))
}

/// How an object is to be kept, in S3's words.
struct Wish {
    encryption: Option<ServerSideEncryption>,
    key: Option<String>,
    lock: Option<ObjectLockMode>,
    until: Option<DateTime>,
}

/// Bytes to be sent in one request.
struct Part {
    bytes: Bytes,
    crc: crc32fast::Hasher,
    /// The body promised its end after these.
    is_last: bool,
}

/// Why an upload did not come to its end.
enum Failure {
    /// Something on our side: cancelled, the body failed, what is stored is not what was sent.
    Ours(Report),
    /// The store refused, or its answer never came.
    Asked(Operation, Trouble),
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Failure::Ours(report)
    }
}

/// A part that arrived: its number, and what the store said.
type Arrived = Result<(i32, UploadPartOutput), Trouble>;

/// One upload on its way.
struct Upload<'a> {
    s3: &'a S3,
    key: &'a str,
    full: String,
    mark: String,
    /// The store's name for it, once it is begun in parts.
    id: Option<String>,
    parts: Vec<CompletedPart>,
    size: u64,
    /// Of all bytes.
    whole: crc32fast::Hasher,
    /// Of the parts' checksums, which is what S3 calls composite.
    composite: crc32fast::Hasher,
    /// The store itself refuses to put it in another's place, as far as a single request goes.
    trusts: bool,
    /// The store was told to publish it: it may be there, whatever the answer was.
    told: bool,
}

impl<'a> Upload<'a> {
    fn new(s3: &'a S3, key: &'a str) -> Result<Self> {
        let (whole, composite) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
        let (full, mark) = (s3.full(key)?, nonce(8)?);
        Ok(Upload { s3, key, full, mark, id: None, parts: Vec::new(), size: 0, whole, composite, trusts: false, told: false })
    }

    /// 1, 2, 3 …
    fn next_number(&self) -> u32 {
        u32::try_from(self.parts.len() + 1).unwrap_or(u32::MAX)
    }

    /// The next part: full, or the last one.
    fn read_part(&self, body: &mut Stream, cx: &Context) -> Result<Part> {
        cx.check()?;
        let limit = part_size(self.s3.settings.part_size, self.next_number());
        let mut bytes = Vec::with_capacity(usize::try_from(limit).explain(|| "a part larger than the memory".into())?);
        let read = body.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Report::from_io(format!("reading what becomes {}", self.key), error))?;
        cx.check()?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        Ok(Part { is_last: (bytes.len() as u64) < limit, bytes: bytes.into(), crc })
    }

    /// Counts a part that is about to be sent, and gives its checksum where checksums are sent.
    fn count(&mut self, part: &Part) -> Option<String> {
        self.size += part.bytes.len() as u64;
        self.whole.combine(&part.crc);
        let crc = part.crc.clone().finalize().to_be_bytes();
        self.composite.update(&crc);
        (self.s3.settings.checksum == Checksum::Crc32).then(|| BASE64_STANDARD.encode(crc))
    }

    /// In a single request.
    fn put_whole(&mut self, part: &Part, cx: &Context) -> Result<(), Failure> {
        let checksum = self.count(part);
        if !self.trusts {
            self.look_again(cx)?;
        }
        self.told = true;
        let wish = self.wish();
        let request = |condition: Option<String>| {
            let put = self.s3.client.put_object().bucket(&self.s3.settings.bucket).key(&self.full).metadata(MARK, &self.mark);
            let put = put.set_if_none_match(condition).set_checksum_crc32(checksum.clone());
            let put = put.set_storage_class(self.storage_class()).set_server_side_encryption(wish.encryption.clone());
            let put = put.set_ssekms_key_id(wish.key.clone()).set_object_lock_mode(wish.lock.clone());
            put.set_object_lock_retain_until_date(wish.until).body(part.bytes.clone().into()).send()
        };
        match ask(cx, request(self.s3.condition()))? {
            Err(trouble) if trouble.is_not_implemented() => ask(cx, request(None))?.map(drop),
            answer => answer.map(drop),
        }
        .map_err(|trouble| Failure::Asked(Operation::PutObject, trouble))
    }

    /// In many requests, and one that makes them an object.
    fn put_parts(&mut self, first: Part, body: &mut Stream, cx: &Context) -> Result<(), Failure> {
        self.begin(cx)?;
        let mut sending = JoinSet::new();
        let sent = self.send_all(first, body, &mut sending, cx);
        // A part that is still on its way after an abort would be kept, and billed.
        cx.runtime.block_on(sending.shutdown());
        sent?;
        self.complete(cx)
    }

    fn begin(&mut self, cx: &Context) -> Result<()> {
        let (bucket, wish) = (&self.s3.settings.bucket, self.wish());
        let request = self.s3.client.create_multipart_upload().bucket(bucket).key(&self.full).metadata(MARK, &self.mark);
        let request = request.set_storage_class(self.s3.settings.storage_class.as_deref().map(Into::into));
        let request = request.set_server_side_encryption(wish.encryption).set_ssekms_key_id(wish.key);
        let mut request = request.set_object_lock_mode(wish.lock).set_object_lock_retain_until_date(wish.until);
        if self.s3.settings.checksum == Checksum::Crc32 {
            request = request.checksum_algorithm(ChecksumAlgorithm::Crc32);
        }
        let begun = self.s3.demand(Operation::CreateUpload, cx, request.send())?;
        self.id = Some(begun.upload_id.ok_or_else(|| self.s3.strange("an upload was begun and has no id".into()))?);
        Ok(())
    }

    /// Sends part after part while reading the next, until the body promised its end and every part has arrived.
    fn send_all(&mut self, first: Part, body: &mut Stream, sending: &mut JoinSet<Arrived>, cx: &Context) -> Result<(), Failure> {
        let mut part = first;
        loop {
            let number = self.next_number();
            if number > PARTS {
                return Err(Report::failed(format!("{} is larger than S3 can keep: more than {PARTS} parts", self.key)).into());
            }
            let size = part_size(self.s3.settings.part_size, number);
            while sending.len() >= in_flight(self.s3.settings.concurrency, self.s3.settings.part_size, size) {
                self.collect(sending, cx)?;
            }
            let is_last = part.is_last;
            // A body whose size is a multiple of the part's ends in an empty one.
            if !part.bytes.is_empty() {
                let part = self.send(part, i32::try_from(number).unwrap_or(i32::MAX));
                sending.spawn_on(part, &cx.runtime);
            }
            if is_last {
                break;
            }
            part = self.read_part(body, cx)?;
        }
        while !sending.is_empty() {
            self.collect(sending, cx)?;
        }
        Ok(())
    }

    /// The request for one part, to be run on its own; it is signed when it is run, and again whenever it is tried again.
    fn send(&mut self, part: Part, number: i32) -> impl Future<Output = Arrived> + Send + use<> {
        let checksum = self.count(&part);
        self.parts.push(CompletedPart::builder().part_number(number).set_checksum_crc32(checksum.clone()).build());
        let request = self.s3.client.upload_part().bucket(&self.s3.settings.bucket).key(&self.full).set_upload_id(self.id.clone());
        let request = request.part_number(number).set_checksum_crc32(checksum);
        async move {
            let answer = request.body(part.bytes.into()).send().await?;
            Ok((number, answer))
        }
    }

    /// Waits for the next part to arrive.
    fn collect(&mut self, sending: &mut JoinSet<Arrived>, cx: &Context) -> Result<(), Failure> {
        let arrived = cx.wait(async { Ok(sending.join_next().await) })?;
        let Some(arrived) = arrived else { return Ok(()) };
        let arrived = arrived.explain(|| "a part's upload ended without an answer".into())?;
        let (number, answer) = arrived.map_err(|trouble| Failure::Asked(Operation::UploadPart, trouble))?;
        let part = usize::try_from(number - 1).ok().and_then(|index| self.parts.get_mut(index));
        let part = part.ok_or_else(|| Report::failed("a part arrived that was not sent"))?;
        if answer.e_tag.is_none() {
            return Err(self.s3.strange(format!("part {number} was stored and has no ETag")).into());
        }
        part.e_tag = answer.e_tag;
        Ok(())
    }

    fn complete(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.check()?;
        // Stores that keep the condition for a single request may ignore it here.
        self.look_again(cx)?;
        self.told = true;
        let request = |condition: Option<String>| {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
            let request = self.s3.client.complete_multipart_upload().bucket(&self.s3.settings.bucket).key(&self.full);
            let request = request.set_upload_id(self.id.clone()).multipart_upload(parts).set_if_none_match(condition);
            request.send()
        };
        match ask(cx, request(self.s3.condition()))? {
            Err(trouble) if trouble.is_not_implemented() => ask(cx, request(None))?.map(drop),
            answer => answer.map(drop),
        }
        .map_err(|trouble| Failure::Asked(Operation::CompleteUpload, trouble))
    }

    /// Reading the body took its time: somebody may have stored another object meanwhile.
    fn look_again(&self, cx: &Context) -> Result<()> {
        if self.s3.demand_look(&self.full, cx)?.is_some() { Err(self.exists()) } else { Ok(()) }
    }

    /// Of an object in a single request.
    fn storage_class(&self) -> Option<StorageClass> {
        let class = self.s3.settings.storage_class.as_deref().filter(|_| self.size >= SMALLEST_BILLED);
        class.map(Into::into)
    }

    /// How the object is to be kept.
    fn wish(&self) -> Wish {
        let settings = &self.s3.settings;
        let (encryption, key) = match &settings.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms(key)) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        };
        let Some(lock) = settings.lock.filter(|_| !self.key.starts_with(OWN)) else {
            return Wish { encryption, key, lock: None, until: None };
        };
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        };
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * i64::from(lock.days));
        let until = DateTime::from_secs(until.as_second());
        Wish { encryption, key, lock: Some(mode), until: Some(until) }
    }

    /// The store said that it is done. What it has is looked at all the same (trap 14).
    fn prove(&self, cx: &Context) -> Result<Object, Failure> {
        let seen = self.s3.demand_look(&self.full, cx)?;
        let seen = seen.ok_or_else(|| self.s3.strange(format!("{} was stored and is not there", self.key)))?;
        let object = self.compare(&seen)?;
        if self.wish().lock.is_some() && seen.object_lock_mode().is_none() {
            self.lock(&seen, cx)?;
        }
        Ok(object)
    }

    /// A store may take the lock of an object in parts when the upload begins and forget it (radosgw 16 does). Then it is asked for again.
    fn lock(&self, seen: &HeadObjectOutput, cx: &Context) -> Result<()> {
        let wish = self.wish();
        let retention = ObjectLockRetention::builder()
            .set_mode(wish.lock.map(|mode| ObjectLockRetentionMode::from(mode.as_str())))
            .set_retain_until_date(wish.until)
            .build();
        let request = self.s3.client.put_object_retention().bucket(&self.s3.settings.bucket).key(&self.full).retention(retention);
        let asked = ask(cx, request.set_version_id(seen.version_id().map(str::to_owned)).send())?;
        let is_locked = asked.is_ok() && self.s3.demand_look(&self.full, cx)?.is_some_and(|seen| seen.object_lock_mode().is_some());
        if !is_locked {
            // Not an error: whoever writes need not have the right to see locks. But it was asked for, and is not proven.
            let words = format!("{} does not say that {} is locked: the lock is not proven", self.s3.place(), self.key);
            cx.log.say("s3", &format!("{words} (the bucket needs object lock, the writer s3:GetObjectRetention to see it)"));
        }
        Ok(())
    }

    /// What is stored is what was sent, by us.
    fn compare(&self, seen: &HeadObjectOutput) -> Result<Object> {
        if self.is_anothers(seen) {
            return Err(Report::refused(format!("{} was replaced by another upload at the same moment", self.key))
                .cause(format!("{} lets one upload replace another", self.s3.place())));
        }
        let object = self.s3.object(self.key, seen.content_length(), seen.last_modified())?;
        if object.size != self.size {
            return Err(Report::failed(format!("{} has {} bytes in the store where {} were sent", self.key, object.size, self.size)));
        }
        // Some stores give none; what they give must be right. `-3` at the end of a composite one is the number of parts.
        let given = seen.checksum_crc32().map(|sum| sum.split('-').next().unwrap_or_default());
        let sums = [&self.whole, &self.composite].map(|sum| BASE64_STANDARD.encode(sum.clone().finalize().to_be_bytes()));
        if let Some(given) = given.filter(|given| !sums.iter().any(|sum| sum == given)) {
            let expected = if self.id.is_some() { &sums[1] } else { &sums[0] };
            return Err(Report::failed(format!("{} has another checksum in the store than what was sent", self.key))
                .cause(format!("CRC-32 {} instead of {expected}", given.escape_debug())));
        }
        Ok(object)
    }

    fn is_ours(&self, seen: &HeadObjectOutput) -> bool {
        metadata(seen, MARK) == Some(&self.mark)
    }

    /// A store that keeps no metadata at all leaves it open.
    fn is_anothers(&self, seen: &HeadObjectOutput) -> bool {
        metadata(seen, MARK).is_some() && !self.is_ours(seen)
    }

    fn exists(&self) -> Report {
        Report::refused(format!("{} exists already in s3://{}/{}", self.key, self.s3.settings.bucket, self.s3.settings.prefix))
    }

    /// After a failure: takes back what was begun, unless it turns out that only the answer was lost and all is well.
    async fn end(&self, failure: Failure) -> Result<Object> {
        let limit = LAST_WORDS.min(self.s3.settings.stuck_after * 4);
        let last_words = tokio::time::timeout(limit, self.last_words(&failure)).await;
        let (report, left) = match (failure, last_words) {
            (_, Ok(Ok(Ended::Stored(object)))) => return Ok(object),
            (Failure::Asked(_, trouble), Ok(Ok(Ended::Anothers))) if trouble.is_taken() => return Err(self.exists()),
            (Failure::Asked(operation, trouble), left) => (self.s3.report(operation, &trouble), left),
            (Failure::Ours(report), left) => (report, left),
        };
        let why = match left {
            Ok(Ok(_)) => return Err(report),
            Ok(Err(left)) => left.to_string(),
            Err(_) => format!("no answer within {} seconds", limit.as_secs()),
        };
        let (bucket, full) = (&self.s3.settings.bucket, &self.full);
        Err(report.cause(format!("what was begun of {} could not be taken back: {why}", self.key))).map_err(|report| match &self.id {
            Some(id) => report.hint(format!("aws s3api abort-multipart-upload --bucket {bucket} --key '{full}' --upload-id '{id}'")),
            None => report,
        })
    }

    async fn last_words(&self, failure: &Failure) -> Result<Ended> {
        if let Some(id) = &self.id {
            let request = self.s3.client.abort_multipart_upload().bucket(&self.s3.settings.bucket).key(&self.full).upload_id(id);
            match request.send().await.map_err(Trouble::from) {
                // It was completed, or somebody was quicker.
                Err(trouble) if trouble.is("NoSuchUpload") => {}
                answer => drop(answer.map_err(|trouble| self.s3.report(Operation::AbortUpload, &trouble))?),
            }
        }
        if !self.told {
            return Ok(Ended::Gone);
        }
        let seen = self.s3.look(&self.full).await.map_err(|trouble| self.s3.report(Operation::HeadObject, &trouble))?;
        let Some(seen) = seen else { return Ok(Ended::Gone) };
        if !self.is_ours(&seen) {
            return Ok(Ended::Anothers);
        }
        if matches!(failure, Failure::Asked(..))
            && let Ok(object) = self.compare(&seen)
        {
            return Ok(Ended::Stored(object));
        }
        let removed = self.s3.client.delete_object().bucket(&self.s3.settings.bucket).key(&self.full).send().await;
        removed.map_err(|error| self.s3.report(Operation::DeleteObject, &error.into()))?;
        Ok(Ended::Gone)
    }
}

/// How things stand after a failure.
enum Ended {
    /// All was well, only the answer was lost.
    Stored(Object),
    /// Another's object is there.
    Anothers,
    /// Nothing of ours is left.
    Gone,
}

/// Bytes of part `number` (1, 2, 3 …).
fn part_size(first: u64, number: u32) -> u64 {
    let doublings = number.saturating_sub(1) / PARTS_PER_SIZE;
    (first.max(SMALLEST_PART) << doublings.min(16)).min(LARGEST_PART)
}

/// How many parts of `size` may be on their way while another is read: as many as configured, fewer once parts have grown large.
fn in_flight(concurrency: usize, first: u64, size: u64) -> usize {
    let concurrency = concurrency.max(1);
    let memory = (first.max(SMALLEST_PART) * (concurrency as u64 + 1)).max(MEMORY);
    usize::try_from(memory / size).unwrap_or(usize::MAX).saturating_sub(1).clamp(1, concurrency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_tebibytes_fit_into_ten_thousand_parts() {
        for first in [SMALLEST_PART, 16 << 20, 1 << 30, LARGEST_PART] {
            let whole: u64 = (1..=PARTS).map(|number| part_size(first, number)).sum();
            assert!(whole >= 5 << 40, "{first}: {whole}");
            assert!((1..=PARTS).all(|number| (SMALLEST_PART..=LARGEST_PART).contains(&part_size(first, number))));
        }
    }

    #[test]
    fn the_first_parts_are_as_configured_and_later_ones_twice_as_large() {
        assert_eq!(part_size(16 << 20, 1), 16 << 20);
        assert_eq!(part_size(16 << 20, 950), 16 << 20);
        assert_eq!(part_size(16 << 20, 951), 32 << 20);
        assert_eq!(part_size(1, 1), SMALLEST_PART, "S3 refuses smaller ones");
    }

    #[test]
    fn large_parts_are_sent_one_by_one_so_that_memory_stays_bounded() {
        assert_eq!(in_flight(4, 16 << 20, 16 << 20), 4);
        assert_eq!(in_flight(4, 16 << 20, 32 << 20), 1);
        assert_eq!(in_flight(4, 16 << 20, 64 << 20), 1);
        assert_eq!(in_flight(4, 16 << 20, 1 << 30), 1);
        assert_eq!(in_flight(4, 1 << 30, 1 << 30), 4, "whoever asks for large parts gets them");
        assert_eq!(in_flight(0, 16 << 20, 16 << 20), 1);
    }
}
