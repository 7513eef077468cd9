//! The box's object store: S3 on a loopback port, durable in a directory, with faults that can be switched on.
//!
//! The crate `s3s` speaks the protocol (signatures, XML, chunks); `service` is the operations, `receive` and `publish` what is behind two
//! of them; `shelf` keeps the objects and `blobs` their bytes; `fault` is what can be made to go wrong. Here is the server around them.

mod blobs;
mod disk;
mod fault;
mod publish;
mod receive;
mod service;
mod shelf;
mod sum;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse, S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::fault::Fault;
use self::fault::Faults;
use self::shelf::{Entry, Shelf};
use crate::port::{Context, nonce};
use crate::report::{Explain, Kind, Report, Result};
use crate::store::s3::{Conditional, Credentials, Settings};

/// The bucket that is made where no other name is given.
pub const DEFAULT_BUCKET: &str = "lifeboat-box";

/// How long a server that is going away may still hold its directory.
const HANDOVER: Duration = Duration::from_secs(5);

/// An S3 server on a loopback port. It stops when this is dropped; what was stored stays in its directory.
pub struct Bucket {
    address: SocketAddr,
    name: String,
    keys: Keys,
    root: PathBuf,
    shelf: Arc<Shelf>,
    faults: Faults,
    _stop: DropGuard,
}

/// What the credentials file of a bucket holds; the same as [`Credentials::File`] reads.
#[derive(Clone, Serialize, Deserialize)]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
}

impl Bucket {
    /// Starts a server that keeps its objects in `root`, with a bucket [`DEFAULT_BUCKET`]. Where there was one before, its objects and its
    /// keys are still there, and its port if nobody has taken it.
    pub fn start(root: &Path, cx: &Context) -> Result<Bucket> {
        Self::start_named(root, DEFAULT_BUCKET, cx)
    }

    /// The same with a bucket called `name`.
    pub fn start_named(root: &Path, name: &str, cx: &Context) -> Result<Bucket> {
        let starting = || format!("starting the object store in {}", root.display());
        fs::create_dir_all(root).explain(starting)?;
        let shelf = Arc::new(open(root, cx)?);
        shelf.create(name).explain(starting)?;
        let keys = Keys::of(&root.join(CREDENTIALS)).explain(starting)?;
        let listener = cx.wait(listen(root)).explain(starting)?;
        let address = listener.local_addr().explain(starting)?;
        fs::write(root.join("port"), address.port().to_string()).explain(starting)?;
        let faults = Faults::default();
        let mut service = S3ServiceBuilder::new(service::Service { shelf: Arc::clone(&shelf), faults: faults.clone() });
        service.set_auth(keys.clone());
        let door = Door { service: service.build(), faults: faults.clone() };
        let stop = CancellationToken::new();
        cx.runtime.spawn(serve(listener, door, stop.clone()));
        Ok(Bucket { address, name: name.into(), keys, root: root.into(), shelf, faults, _stop: stop.drop_guard() })
    }

    /// `http://127.0.0.1:…`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The access key.
    pub fn access_key(&self) -> &str {
        &self.keys.access_key_id
    }

    /// The secret key.
    pub fn secret_key(&self) -> &str {
        &self.keys.secret_access_key
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.name
    }

    /// A file of mode 0600 with both keys, as [`Credentials::File`] reads it.
    pub fn credentials_file(&self) -> PathBuf {
        self.root.join(CREDENTIALS)
    }

    /// How the S3 store is configured for this bucket.
    pub fn settings(&self) -> Settings {
        Settings {
            endpoint: Some(self.endpoint()),
            region: Some("us-east-1".into()),
            path_style: true,
            credentials: Credentials::File(self.credentials_file()),
            // The shelf refuses; nothing has to be asked.
            conditional: Conditional::Yes,
            ..Settings::of(&self.name)
        }
    }

    /// From now on this goes wrong.
    pub fn fault(&self, fault: Fault) {
        self.faults.add(fault);
    }

    /// From now on nothing goes wrong any more. What was damaged stays so.
    pub fn heal(&self) {
        self.faults.clear();
    }

    /// Disaster: of the object `key` only the first `size` bytes are left, and the store knows no better.
    pub fn truncate(&self, key: &str, size: u64) -> Result<()> {
        let drawer = self.shelf.bucket(&self.name).explain(|| "damaging an object".into())?;
        let mut entry = Entry::clone(&*self.entry(key)?);
        drawer.blobs.truncate(&mut entry.pieces, size).explain(|| format!("truncating {key}"))?;
        entry.size = entry.size.min(size);
        drawer.commit(entry, false).explain(|| format!("truncating {key}")).map(drop)
    }

    /// Disaster: one bit of byte `at` of the object `key` is another one, and the store knows no better.
    pub fn flip(&self, key: &str, at: u64) -> Result<()> {
        let drawer = self.shelf.bucket(&self.name).explain(|| "damaging an object".into())?;
        drawer.blobs.flip(&self.entry(key)?.pieces, at).explain(|| format!("damaging {key}"))
    }

    fn entry(&self, key: &str) -> Result<Arc<Entry>> {
        let drawer = self.shelf.bucket(&self.name).explain(|| "damaging an object".into())?;
        drawer.find(key).ok_or_else(|| Report::refused(format!("there is no {key} in {}", self.name)))
    }
}

/// The name of the file with both keys.
const CREDENTIALS: &str = "credentials.json";

impl Keys {
    /// The keys in the file, which is made with new ones where there is none.
    fn of(path: &Path) -> io::Result<Keys> {
        match fs::read(path) {
            Ok(text) => return Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let keys = Keys { access_key_id: format!("BOX{}", nonce(8)?.to_ascii_uppercase()), secret_access_key: nonce(20)? };
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&serde_json::to_vec(&keys)?)?;
        file.sync_all()?;
        Ok(keys)
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key_id {
            return Ok(self.secret_access_key.as_str().into());
        }
        Err(s3_error!(InvalidAccessKeyId, "The access key Id you provided does not exist in our records"))
    }
}

/// The one that was here before may need a moment to let go.
fn open(root: &Path, cx: &Context) -> Result<Shelf> {
    let until = std::time::Instant::now() + HANDOVER;
    loop {
        match Shelf::open(root) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if std::time::Instant::now() > until {
                    return Err(Report::new(Kind::Busy, format!("another object store runs in {}", root.display())));
                }
                cx.pause(Duration::from_millis(20))?;
            }
            shelf => return shelf.explain(|| format!("reading the object store in {}", root.display())),
        }
    }
}

/// On the port it had before, so that a configuration written once stays true, or on any.
async fn listen(root: &Path) -> Result<TcpListener> {
    let before = fs::read_to_string(root.join("port")).ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    match TcpListener::bind((Ipv4Addr::LOCALHOST, before)).await {
        Err(_) if before != 0 => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        listener => listener,
    }
    .explain(|| "listening on 127.0.0.1".into())
}

async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, door.clone(), stop.clone()))),
            // Out of descriptors: the connections that are there may end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: TcpStream, door: Door, stop: CancellationToken) {
    // Without it answers would wait for acknowledgements; with an error they do.
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { door.enter(request).await }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // How a connection ended is the client's to tell.
        _ = connection => {}
    }
}

/// Stands before `s3s`: what goes wrong on the wire goes wrong here.
#[derive(Clone)]
struct Door {
    service: S3Service,
    faults: Faults,
}

impl Door {
    async fn enter(&self, request: Request<Incoming>) -> io::Result<HttpResponse> {
        let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
        let named = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let stores = method == Method::PUT && !named("partNumber");
        let publishes = stores || (method == Method::POST && named("uploadId"));
        let request = request.map(Body::from);
        if let Some(refusal) = self.refusal(&method) {
            // A client that is still sending would not hear the answer.
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.next().await {}
            return refusal.to_http_response().map_err(io::Error::other);
        }
        if method == Method::PUT && self.faults.strikes(|fault| matches!(fault, Fault::CutUploads(_))).is_some() {
            // A part of it arrives.
            drop(request.into_body().next().await);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if publishes && !stores && self.faults.strikes(|fault| matches!(fault, Fault::FailCompletions(_))).is_some() {
            // What AWS does when it fails after it has begun to answer.
            let failed = s3_error!(InternalError, "We encountered an internal error. Please try again.");
            let mut answer = failed.to_http_response().map_err(io::Error::other)?;
            *answer.status_mut() = StatusCode::OK;
            return Ok(answer);
        }
        let answer =
            self.service.call(request).await.map_err(|error| io::Error::other(Box::<dyn std::error::Error + Send + Sync>::from(error)))?;
        if publishes && answer.status().is_success() && self.faults.strikes(|fault| matches!(fault, Fault::LoseAnswers(_))).is_some() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let is_download = method == Method::GET && !named("list-type") && !named("uploads") && answer.status().is_success();
        match self.faults.strikes(|fault| is_download && matches!(fault, Fault::CutDownloads { .. })) {
            Some(Fault::CutDownloads { after, .. }) => Ok(answer.map(|body| cut(body, after))),
            _ => Ok(answer),
        }
    }

    /// The answer without asking.
    fn refusal(&self, method: &Method) -> Option<S3Error> {
        let writes = *method == Method::PUT || *method == Method::POST;
        let fault = self.faults.strikes(|fault| match fault {
            Fault::RefuseWrites => writes || *method == Method::DELETE,
            Fault::FullDisk => writes,
            Fault::SkewedClock | Fault::SlowDown(_) => true,
            _ => false,
        })?;
        Some(match fault {
            Fault::RefuseWrites => s3_error!(AccessDenied, "Access Denied"),
            Fault::FullDisk => disk::full(),
            Fault::SkewedClock => {
                s3_error!(RequestTimeTooSkewed, "The difference between the request time and the current time is too large")
            }
            _ => s3_error!(SlowDown, "Please reduce your request rate"),
        })
    }
}

/// The first `after` bytes of a body, then a broken connection.
fn cut(mut body: Body, after: u64) -> Body {
    let mut left = usize::try_from(after).unwrap_or(usize::MAX);
    let mut flushed = false;
    let stream = futures_util::stream::poll_fn(move |cx| {
        if left == 0 && !flushed {
            // A server with nothing to send flushes what it has; an error now would take it along.
            flushed = true;
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        if left == 0 {
            return std::task::Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset))));
        }
        body.poll_next_unpin(cx).map(|chunk| {
            let mut chunk = chunk?.map_err(io::Error::other);
            if let Ok(bytes) = &mut chunk {
                bytes.truncate(left);
                left -= bytes.len();
            }
            Some(chunk)
        })
    });
    Body::from(s3s::dto::StreamingBlob::wrap(stream))
}
