//! The operations of S3 the bucket knows, in terms of the shelf. The others answer NotImplemented, which `s3s` does by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
#[allow(clippy::wildcard_imports, reason = "S3's shapes, four dozen of them")]
use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::sync::mpsc;

use super::disk::storage;
use super::fault::Faults;
use super::publish::{complete, number, publish};
use super::receive::{Claim, block, receive};
use super::shelf::{About, Drawer, Entry, Part as StoredPart, Shelf, Upload};
use super::sum::{Algorithm, given, say};
use crate::port::nonce;

/// The most AWS lists at once.
const PAGE: i32 = 1000;

/// The operations.
pub(super) struct Service {
    pub(super) shelf: Arc<Shelf>,
    pub(super) faults: Faults,
}

impl Service {
    fn find(&self, bucket: &str, key: &str) -> S3Result<(Arc<Drawer>, Arc<Entry>)> {
        let drawer = self.shelf.bucket(bucket)?;
        let entry = drawer.find(key).ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist"))?;
        Ok((drawer, entry))
    }
}

fn exclusive(condition: Option<&IfNoneMatch>) -> S3Result<bool> {
    match condition {
        None => Ok(false),
        Some(condition) if condition.is_any() => Ok(true),
        Some(_) => Err(s3_error!(NotImplemented, "If-None-Match with anything but * is not implemented")),
    }
}

fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn about(content_type: Option<String>, metadata: Option<Metadata>) -> About {
    About { content_type, metadata: metadata.into_iter().flatten().collect() }
}

/// `max-keys` and its kin.
fn page(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(PAGE).min(PAGE)).map_err(|_| s3_error!(InvalidArgument, "less than none cannot be listed"))
}

fn check_match(condition: Option<&IfMatch>, entry: &Entry) -> S3Result {
    let holds = condition.is_none_or(|condition| condition.is_any() || condition.as_etag().is_some_and(|etag| etag.value() == entry.etag));
    if holds { Ok(()) } else { Err(s3_error!(PreconditionFailed, "the object is another one")) }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let (buckets, bucket) = (Arc::clone(&self.shelf), request.input.bucket);
        let location = Some(format!("/{bucket}"));
        if !block(move || buckets.create(&bucket).map_err(storage)).await? {
            return Err(s3_error!(BucketAlreadyOwnedByYou, "you have a bucket of that name"));
        }
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.shelf.bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(&self, _request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket =
            |(name, made): (String, SystemTime)| Bucket { name: Some(name), creation_date: Some(made.into()), ..Default::default() };
        let buckets = Some(self.shelf.names().into_iter().map(bucket).collect());
        Ok(S3Response::new(ListBucketsOutput { buckets, ..Default::default() }))
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let body = request.input.body.take();
        let input = &request.input;
        let claim = Claim::new(&request, input.content_length, input.content_md5.clone(), given!(input), input.checksum_algorithm.as_ref());
        let (drawer, exclusive) = (self.shelf.bucket(&input.bucket)?, exclusive(input.if_none_match.as_ref())?);
        let blob = receive(&drawer, body, &claim).await?;
        let (etag, sum) = (hex::encode(blob.md5), blob.sum.clone());
        let mut entry = Entry {
            key: input.key.clone(),
            size: blob.size,
            etag,
            modified: SystemTime::now(),
            about: about(input.content_type.clone(), input.metadata.clone()),
            sum,
            pieces: Vec::new(),
        };
        let faults = self.faults.clone();
        let entry = block(move || {
            let piece = blob.keep()?;
            entry.pieces.push(piece.clone());
            publish(&drawer, entry, exclusive, &faults).inspect_err(|_| drawer.blobs.discard([&piece]))
        })
        .await?;
        let mut output = PutObjectOutput { e_tag: Some(ETag::Strong(entry.etag.clone())), ..Default::default() };
        say!(output, &entry.sum);
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let (_, entry) = self.find(&input.bucket, &input.key)?;
        check_match(input.if_match.as_ref(), &entry)?;
        let mut output = HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(length(entry.size)),
            content_type: entry.about.content_type.clone(),
            e_tag: Some(ETag::Strong(entry.etag.clone())),
            last_modified: Some(entry.modified.into()),
            metadata: Some(entry.about.metadata.clone().into_iter().collect()),
            ..Default::default()
        };
        if input.checksum_mode.is_some() {
            say!(output, &entry.sum);
        }
        Ok(S3Response::new(output))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let (drawer, entry) = self.find(&input.bucket, &input.key)?;
        check_match(input.if_match.as_ref(), &entry)?;
        let range = input.range.map(|range| range.check(entry.size)).transpose()?;
        let content_range = range.as_ref().map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, entry.size));
        let whole = range.is_none();
        let range = range.unwrap_or(0..entry.size);
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(length(range.end - range.start)),
            content_range,
            content_type: entry.about.content_type.clone(),
            e_tag: Some(ETag::Strong(entry.etag.clone())),
            last_modified: Some(entry.modified.into()),
            metadata: Some(entry.about.metadata.clone().into_iter().collect()),
            ..Default::default()
        };
        if whole && input.checksum_mode.is_some() {
            say!(output, &entry.sum);
        }
        let (sender, mut receiver) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            drawer.blobs.read(&entry.pieces, range, |chunk| sender.blocking_send(chunk.map(Bytes::from)).is_ok());
        });
        output.body = Some(StreamingBlob::wrap(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))));
        Ok(S3Response::new(output))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (drawer, key) = (self.shelf.bucket(&request.input.bucket)?, request.input.key);
        block(move || drawer.remove(&key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let drawer = self.shelf.bucket(&request.input.bucket)?;
        let mut output = DeleteObjectsOutput::default();
        for object in request.input.delete.objects {
            let (drawer, key) = (Arc::clone(&drawer), object.key.clone());
            match block(move || drawer.remove(&key)).await {
                Ok(()) => output.deleted.get_or_insert_default().push(DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(error) => output.errors.get_or_insert_default().push(Error {
                    code: Some(error.code().as_str().into()),
                    key: Some(object.key),
                    message: error.message().map(Into::into),
                    ..Default::default()
                }),
            }
        }
        Ok(S3Response::new(output))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let drawer = self.shelf.bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let limit = page(input.max_keys)?;
        // The token is what was listed last.
        let token = input.continuation_token.as_ref().map(|token| hex::decode(token).ok().and_then(|token| String::from_utf8(token).ok()));
        let after = match token {
            Some(None) => return Err(s3_error!(InvalidArgument, "the continuation token is none of ours")),
            Some(Some(token)) => token,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let (mut contents, mut folders, mut last, mut truncated) = (Vec::new(), Vec::<String>::new(), String::new(), false);
        for entry in drawer.objects(&prefix, &after) {
            let rest = &entry.key[prefix.len()..];
            let folder =
                delimiter.as_ref().and_then(|delimiter| Some(format!("{prefix}{}", &rest[..rest.find(&**delimiter)? + delimiter.len()])));
            if folder.as_ref().is_some_and(|folder| folders.last() == Some(folder) || after.starts_with(&**folder)) {
                continue;
            }
            if contents.len() + folders.len() == limit {
                truncated = true;
                break;
            }
            last = folder.clone().unwrap_or_else(|| entry.key.clone());
            match folder {
                Some(folder) => folders.push(folder),
                None => contents.push(Object {
                    key: Some(entry.key.clone()),
                    size: Some(length(entry.size)),
                    e_tag: Some(ETag::Strong(entry.etag.clone())),
                    last_modified: Some(entry.modified.into()),
                    ..Default::default()
                }),
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(contents.len() + folders.len()).ok(),
            is_truncated: Some(truncated),
            next_continuation_token: truncated.then(|| hex::encode(last)),
            contents: Some(contents),
            common_prefixes: Some(folders.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect()),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let drawer = self.shelf.bucket(&input.bucket)?;
        let id = nonce(16).map_err(S3Error::internal_error)?;
        let upload = Upload {
            key: input.key.clone(),
            begun: SystemTime::now(),
            about: about(input.content_type, input.metadata),
            algorithm: input.checksum_algorithm.as_ref().and_then(|name| Algorithm::named(name.as_str())),
            whole: input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() == ChecksumType::FULL_OBJECT),
            parts: BTreeMap::new(),
        };
        let upload_id = Some(id.clone());
        block(move || drawer.begin(&id, upload)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            upload_id,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, mut request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let body = request.input.body.take();
        let input = &request.input;
        let drawer = self.shelf.bucket(&input.bucket)?;
        let (number, upload) = (number(input.part_number)?, drawer.upload(&input.upload_id, &input.key)?);
        let mut claim =
            Claim::new(&request, input.content_length, input.content_md5.clone(), given!(input), input.checksum_algorithm.as_ref());
        claim.algorithm = claim.algorithm.or(upload.algorithm);
        let blob = receive(&drawer, body, &claim).await?;
        let mut output = UploadPartOutput { e_tag: Some(ETag::Strong(hex::encode(blob.md5))), ..Default::default() };
        say!(output, &blob.sum);
        let (id, key) = (input.upload_id.clone(), input.key.clone());
        let (md5, sum) = (blob.md5, blob.sum.clone());
        block(move || {
            let part = StoredPart { md5, sum, modified: SystemTime::now(), piece: blob.keep()? };
            let piece = part.piece.clone();
            drawer.add_part(&id, &key, number, part).inspect_err(|_| drawer.blobs.discard([&piece]))
        })
        .await?;
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let (drawer, exclusive) = (self.shelf.bucket(&input.bucket)?, exclusive(input.if_none_match.as_ref())?);
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let (id, key, faults) = (input.upload_id, input.key.clone(), self.faults.clone());
        let entry = block(move || complete(&drawer, &id, &key, &parts, exclusive, &faults)).await?;
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(entry.etag.clone())),
            ..Default::default()
        };
        say!(output, &entry.sum);
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        let drawer = self.shelf.bucket(&input.bucket)?;
        block(move || {
            let upload = drawer.take_upload(&input.upload_id, &input.key)?;
            drawer.end_upload(&input.upload_id, &upload, &[])
        })
        .await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "ListMultipartUploads with a delimiter is not implemented"));
        }
        let (prefix, limit) = (input.prefix.clone().unwrap_or_default(), page(input.max_uploads)?);
        let mut uploads = self.shelf.bucket(&input.bucket)?.uploads();
        uploads.retain(|(_, upload)| upload.key.starts_with(&prefix));
        uploads.sort_by(|(a_id, a), (b_id, b)| (&a.key, a_id).cmp(&(&b.key, b_id)));
        if let Some(key) = &input.key_marker {
            // Without an id the whole key is behind us.
            uploads.retain(|(id, upload)| match &input.upload_id_marker {
                Some(marker) => (&upload.key, id) > (key, marker),
                None => upload.key > *key,
            });
        }
        let truncated = uploads.len() > limit;
        uploads.truncate(limit);
        let next = uploads.last().filter(|_| truncated).map(|(id, upload)| (upload.key.clone(), id.clone())).unzip();
        let upload = |(id, upload): (String, Upload)| MultipartUpload {
            key: Some(upload.key),
            upload_id: Some(id),
            initiated: Some(upload.begun.into()),
            ..Default::default()
        };
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            max_uploads: i32::try_from(limit).ok(),
            is_truncated: Some(truncated),
            next_key_marker: next.0,
            next_upload_id_marker: next.1,
            uploads: Some(uploads.into_iter().map(upload).collect()),
            ..Default::default()
        }))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let upload = self.shelf.bucket(&input.bucket)?.upload(&input.upload_id, &input.key)?;
        let (after, limit) = (u32::try_from(input.part_number_marker.unwrap_or(0)).unwrap_or(0), page(input.max_parts)?);
        let mut parts: Vec<(u32, StoredPart)> = upload.parts.into_iter().filter(|(number, _)| *number > after).collect();
        let truncated = parts.len() > limit;
        parts.truncate(limit);
        let next = parts.last().filter(|_| truncated).and_then(|(number, _)| i32::try_from(*number).ok());
        let part = |(number, part): (u32, StoredPart)| {
            let mut output = Part {
                part_number: i32::try_from(number).ok(),
                e_tag: Some(ETag::Strong(hex::encode(part.md5))),
                size: Some(length(part.piece.size)),
                last_modified: Some(part.modified.into()),
                ..Default::default()
            };
            say!(output, &part.sum);
            output
        };
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: i32::try_from(limit).ok(),
            part_number_marker: input.part_number_marker,
            is_truncated: Some(truncated),
            next_part_number_marker: next,
            parts: Some(parts.into_iter().map(part).collect()),
            ..Default::default()
        }))
    }
}
