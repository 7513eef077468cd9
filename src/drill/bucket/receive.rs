//! Receiving bytes: to the disk as they come, and compared with what the client says they are.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use s3s::dto::{ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, TrailingHeaders, s3_error};
use tokio::sync::mpsc;

use super::blobs::Blob;
use super::shelf::Drawer;
use super::sum::{Algorithm, Hash, Sum};

/// What the client says its bytes are.
pub(super) struct Claim {
    length: Option<i64>,
    md5: Option<String>,
    sum: Option<Sum>,
    pub(super) algorithm: Option<Algorithm>,
    trailers: Option<TrailingHeaders>,
}

impl Claim {
    /// The checksum to compute: of the header that was sent, of the trailer that was announced, or as asked for.
    pub(super) fn new<T>(
        request: &S3Request<T>,
        length: Option<i64>,
        md5: Option<String>,
        sum: Option<Sum>,
        asked: Option<&ChecksumAlgorithm>,
    ) -> Self {
        let announced = request.headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
        let announced = announced.and_then(|names| names.split(',').find_map(Algorithm::of_header));
        let asked = asked.and_then(|name| Algorithm::named(name.as_str()));
        let algorithm = sum.as_ref().map(|sum| sum.algorithm).or(announced).or(asked);
        Claim { length, md5, sum, algorithm, trailers: request.trailing_headers.clone() }
    }

    /// What was received is what was claimed.
    fn hold(&self, blob: &Blob) -> S3Result {
        if self.length.is_some_and(|length| u64::try_from(length) != Ok(blob.size)) {
            return Err(s3_error!(IncompleteBody, "fewer or more bytes than announced"));
        }
        if self.md5.as_ref().is_some_and(|md5| *md5 != BASE64_STANDARD.encode(blob.md5)) {
            return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received"));
        }
        let trailers = self.trailers.as_ref().and_then(TrailingHeaders::take);
        let trailing = trailers.iter().flat_map(hyper::HeaderMap::iter).find_map(|(name, value)| {
            let algorithm = Algorithm::of_header(name.as_str())?;
            Some(Sum { algorithm, value: value.to_str().ok()?.to_owned() })
        });
        for claimed in self.sum.iter().chain(&trailing) {
            if blob.sum.as_ref().is_some_and(|sum| sum != claimed) {
                return Err(s3_error!(BadDigest, "The {} you specified did not match the calculated checksum", claimed.algorithm.name()));
            }
        }
        Ok(())
    }
}

/// Blocking work, off the runtime's threads.
pub(super) async fn block<T: Send + 'static>(work: impl FnOnce() -> S3Result<T> + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?
}

/// Receives a body, checks it against what was claimed and brings it to the disk. When this is given up, nothing stays.
pub(super) async fn receive(drawer: &Arc<Drawer>, body: Option<StreamingBlob>, claim: &Claim) -> S3Result<Blob> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    let (drawer, hash) = (Arc::clone(drawer), Hash::new(claim.algorithm));
    let writing = block(move || {
        let mut writer = drawer.blobs.receive(hash)?;
        while let Some(bytes) = receiver.blocking_recv() {
            writer.write(&bytes)?;
        }
        writer.finish()
    });
    let reading = async {
        let Some(mut body) = body else { return Ok::<(), S3Error>(()) };
        while let Some(bytes) = body.next().await {
            // When the writer has gone, its error is the one to tell; the client hears it after it has sent all.
            sender.send(bytes.map_err(|error| received(&*error))?).await.ok();
        }
        drop(sender);
        Ok::<(), S3Error>(())
    };
    let (read, written) = tokio::join!(reading, writing);
    let blob = written?;
    read?;
    claim.hold(&blob)?;
    Ok(blob)
}

/// Why a body could not be received. `s3s` keeps these kinds of error to itself, so they are told by what they say.
fn received(error: &(dyn std::error::Error + Send + Sync + 'static)) -> S3Error {
    let words = error.to_string();
    if words.contains("Sha256Mismatch") {
        let mut mismatch = S3Error::with_message(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), words);
        mismatch.set_status_code(hyper::StatusCode::BAD_REQUEST);
        return mismatch;
    }
    if words.contains("SignatureMismatch") {
        return s3_error!(SignatureDoesNotMatch, "a chunk's signature does not match");
    }
    s3_error!(IncompleteBody, "the body did not arrive: {words}")
}
