//! Cuts a request that no longer moves: no byte sent, no byte of an answer, for as long as the store's `stuck_after` says.
//!
//! The SDK's own protection against stalled streams does not see uploads from memory: it counts a body as sent once hyper has taken it, in
//! one piece, and a socket that takes nothing any more looks like a store that thinks. So the bodies go out in small pieces here, each one
//! pulled only when there was room for it, and what counts is when the last one was (trap 43: progress, not the clock).
//! A request that is cut is an error like a broken connection, and tried again like one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::{ConfigBag, RuntimeComponents};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// What is handed to the connection at once.
const PIECE: usize = 64 << 10;

/// What the kernel may still hold of a body when the last piece was pulled: the usual limit of a socket's buffer.
const BUFFERED: u32 = 4 << 20;

/// So much of it is taken to leave within `stuck_after`, before the answer's own time begins: 50 kB/s with the default of a minute.
const PACE: u32 = 3_000_000;

/// Completing an upload lets some stores put all parts together before they say a word; an answer that is no object is small and
/// need not last. Both have this many times `stuck_after`.
const LONG: u32 = 10;

/// Nothing moved.
#[derive(Debug, thiserror::Error)]
#[error("no byte moved for {:.0?}", .0)]
pub(super) struct Stuck(Duration);

/// A client whose requests cannot be stuck.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) inner: SharedHttpClient,
    pub(super) stuck_after: Duration,
}

impl HttpClient for Watchdog {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Watched { inner: self.inner.http_connector(settings, components), stuck_after: self.stuck_after })
    }

    fn validate_base_client_config(&self, components: &RuntimeComponentsBuilder, bag: &ConfigBag) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, bag)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, bag: &ConfigBag) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, bag)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    stuck_after: Duration,
}

impl HttpConnector for Watched {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let stuck_after = self.stuck_after;
        let is_download = request.method() == "GET" && request.uri().contains("x-id=GetObject");
        let completes = request.method() == "POST" && request.uri().contains("uploadId=");
        let length = request.body().content_length().unwrap_or(0);
        let progress = Arc::new(Progress::new(length > 0));
        if length > 0 {
            let body = std::mem::replace(request.body_mut(), SdkBody::taken());
            *request.body_mut() =
                SdkBody::from_body_1_x(Pieces { body, rest: Bytes::new(), left: length, progress: Arc::clone(&progress) });
        }
        let answering = if completes { stuck_after * LONG } else { stuck_after + draining(stuck_after, length) };
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = tokio::select! {
                answer = answer => answer?,
                stuck = progress.stuck(stuck_after, answering) => return Err(ConnectorError::timeout(stuck.into())),
            };
            let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
            // How long an object takes is up to whoever reads it.
            let until = (!is_download).then(|| Instant::now() + stuck_after * LONG);
            *answer.body_mut() = SdkBody::from_body_1_x(Arriving { body, stuck_after, until, timer: None });
            Ok(answer)
        })
    }
}

/// What lies in the kernel's buffers still has to leave: no piece is pulled in that time.
fn draining(stuck_after: Duration, length: u64) -> Duration {
    stuck_after * u32::try_from(length).unwrap_or(BUFFERED).min(BUFFERED) / PACE
}

/// When a request last moved.
struct Progress(Mutex<(Instant, bool)>);

impl Progress {
    fn new(sends: bool) -> Self {
        Progress(Mutex::new((Instant::now(), sends)))
    }

    fn read(&self) -> (Instant, bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, sends: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), sends);
    }

    /// Ends when nothing has moved: `sending` without a piece being pulled, or `answering` after the last one.
    async fn stuck(&self, sending: Duration, answering: Duration) -> Stuck {
        loop {
            let (last, sends) = self.read();
            let patience = if sends { sending } else { answering };
            sleep_until(last + patience).await;
            if self.read() == (last, sends) {
                return Stuck(patience);
            }
        }
    }
}

/// A body in small pieces, which says when each is pulled.
struct Pieces {
    body: SdkBody,
    rest: Bytes,
    left: u64,
    progress: Arc<Progress>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => this.rest = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        this.left = this.left.saturating_sub(piece.len() as u64);
        this.progress.moved(this.left > 0);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The body of an answer: an error when it is waited for and nothing comes.
struct Arriving {
    body: SdkBody,
    stuck_after: Duration,
    /// When it must have ended, whatever moved.
    until: Option<Instant>,
    /// Runs while it is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer = None;
            return match this.until.filter(|until| frame.is_some() && Instant::now() > *until) {
                Some(_) => Poll::Ready(Some(Err("the answer has not come to its end".into()))),
                None => Poll::Ready(frame),
            };
        }
        let stuck_after = this.stuck_after;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(stuck_after)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Stuck(stuck_after).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_buffers_has_time_to_leave() {
        let minute = Duration::from_mins(1);
        assert_eq!(draining(minute, 0), Duration::ZERO);
        assert_eq!(draining(minute, u64::from(PACE)), minute);
        assert_eq!(draining(minute, 5 << 30), draining(minute, u64::from(BUFFERED)), "more than a socket holds was seen to leave");
    }
}
