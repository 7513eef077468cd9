//! An S3 server that plays a script: the box's bucket behind a wire that breaks on demand.
//!
//! It speaks in raw bytes, so that a connection can be reset in the middle of a head, a body can be cut, and an answer can lie.
//! What a script does not mention goes to the bucket and back unchanged.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lifeboat::port::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is asked of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    HeadBucket,
    Head,
    Get,
    List,
    Uploads,
    Put,
    Create,
    Part,
    Complete,
    Abort,
    Delete,
}

/// What happens to a request.
#[derive(Clone)]
pub enum Act {
    /// Answered, and the store never sees it.
    Answer(Answer),
    /// The store does it, and this is what is said.
    Instead(Answer),
    /// The store does it, and its answer is changed.
    Edit(fn(&mut Answer)),
    /// The connection is reset when the head has come.
    ResetAtHead,
    /// … when half of the body has come.
    ResetInBody,
    /// … when the store has done it, and nothing was said.
    ResetDone,
    /// … and a few bytes of the answer's head were said.
    ResetInAnswer,
    /// … and half of the answer's body was said.
    ResetInAnswersBody,
    /// The answer ends, orderly, in the middle of its body.
    EndInAnswersBody,
    /// Everything is read, nothing done, nothing said.
    Stuck,
    /// Everything is done, and nothing said.
    StuckDone,
    /// After the first bytes nothing is read any more.
    StuckReading,
    /// The body is taken in sips, each after a pause: slower as a whole than anybody waits for silence.
    Sip,
    /// The answer begins, half of it comes, and no more.
    StuckInAnswer,
    /// The answer's body comes byte by byte, each after so many milliseconds.
    Drip(u64),
    /// White space for ever.
    DripForever,
    /// These bytes, whatever was asked.
    Bytes(&'static [u8]),
}

/// For the requests of one kind about keys that end in `key`: after the first `skip`, the next `times`.
#[derive(Clone)]
pub struct Rule {
    pub ask: Ask,
    pub key: &'static str,
    pub skip: usize,
    pub times: usize,
    pub act: Act,
}

impl Rule {
    pub fn skip(self, skip: usize) -> Rule {
        Rule { skip, ..self }
    }

    pub fn of(self, key: &'static str) -> Rule {
        Rule { key, ..self }
    }
}

/// The first time.
pub fn once(ask: Ask, act: Act) -> Rule {
    Rule { ask, key: "", skip: 0, times: 1, act }
}

/// Whenever.
pub fn always(ask: Ask, act: Act) -> Rule {
    Rule { ask, key: "", skip: 0, times: usize::MAX, act }
}

/// An answer of HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: String,
    pub head: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Its length is said as it is, whatever the head says.
    pub tells_length: bool,
}

impl Answer {
    pub fn new(status: &str, body: &str) -> Answer {
        let head = vec![("content-type".into(), "application/xml".into())];
        Answer { status: status.into(), head, body: body.into(), tells_length: true }
    }

    /// As S3 says that something went wrong.
    pub fn error(status: &str, code: &str) -> Answer {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>scripted</Message><RequestId>1</RequestId></Error>");
        Answer::new(status, &body)
    }

    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.set(name, Some(value));
        self
    }

    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.head.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.head.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// In the body, as text.
    pub fn replace(&mut self, from: &str, to: &str) {
        let text = String::from_utf8(self.body.clone()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.body = text.replace(from, to).into_bytes();
    }

    fn parse(raw: &[u8]) -> io::Result<Answer> {
        let mut rest = raw;
        loop {
            let end = position(rest, b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            let mut lines = text.split("\r\n");
            let status = lines.next().unwrap_or_default().strip_prefix("HTTP/1.1 ").unwrap_or_default().to_owned();
            let head: Vec<(String, String)> =
                lines.filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))).collect();
            rest = &rest[end + 4..];
            if status.starts_with("100") {
                continue;
            }
            let chunked = head.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
            let body = if chunked { unchunk(rest) } else { rest.to_vec() };
            let mut answer = Answer { status, head, body, tells_length: chunked || !rest.is_empty() };
            answer.set("transfer-encoding", None);
            answer.set("connection", None);
            return Ok(answer);
        }
    }

    fn bytes(&self) -> (Vec<u8>, &[u8]) {
        let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", self.status);
        for (name, value) in self.head.iter().filter(|(name, _)| !self.tells_length || name != "content-length") {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if self.tells_length {
            write!(head, "content-length: {}\r\n", self.body.len()).unwrap();
        }
        head.push_str("\r\n");
        (head.into_bytes(), &self.body)
    }
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = position(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok()).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}

/// The server. It stops when this is dropped.
pub struct Scripted {
    address: SocketAddr,
    script: Arc<Script>,
    _stop: DropGuard,
}

struct Script {
    bucket: String,
    rules: Vec<(Rule, AtomicUsize)>,
    heads: std::sync::Mutex<Vec<(Ask, String)>>,
}

impl Scripted {
    /// In front of the server at `bucket` (`http://127.0.0.1:…`).
    pub fn start(bucket: &str, rules: Vec<Rule>, cx: &Context) -> Scripted {
        let bucket = bucket.strip_prefix("http://").unwrap().to_owned();
        let rules = rules.into_iter().map(|rule| (rule, AtomicUsize::new(0))).collect();
        let script = Arc::new(Script { bucket, rules, heads: std::sync::Mutex::default() });
        let listener = cx.wait(async { Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()) }).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        cx.runtime.spawn(serve(listener, Arc::clone(&script), stop.clone()));
        Scripted { address, script, _stop: stop.drop_guard() }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often each rule was met.
    pub fn met(&self) -> Vec<usize> {
        self.script.rules.iter().map(|(rule, seen)| seen.load(Ordering::SeqCst).saturating_sub(rule.skip)).collect()
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<(Ask, String)> {
        self.script.heads.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (script, stop) = (Arc::clone(&script), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // How it ended is the client's to tell.
                _ = converse(stream, &script) => {}
            }
        });
    }
}

/// One request, one answer, and the connection is closed.
async fn converse(mut client: TcpStream, script: &Script) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut head = Vec::new();
    let end = loop {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if let Some(end) = position(&head, b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut body = head.split_off(end);
    let text = String::from_utf8_lossy(&head).into_owned();
    let (ask, key) = what(&text);
    script.heads.lock().unwrap().push((ask, text.clone()));
    let length: usize = field(&text, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let act = script.act(ask, &key);
    match act {
        Some(Act::ResetAtHead) => return reset(client),
        Some(Act::StuckReading) => return std::future::pending().await,
        Some(Act::Bytes(bytes)) => {
            client.write_all(bytes).await?;
            return client.shutdown().await;
        }
        _ => {}
    }
    if field(&text, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let wanted = if matches!(act, Some(Act::ResetInBody)) { length / 2 } else { length };
    while body.len() < wanted {
        if matches!(act, Some(Act::Sip)) {
            tokio::time::sleep(Duration::from_millis(120)).await;
            let mut sip = vec![0; 128 << 10];
            let count = client.read(&mut sip).await?;
            body.extend_from_slice(&sip[..count]);
            if count == 0 {
                return Ok(());
            }
            continue;
        }
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    match act {
        Some(Act::ResetInBody) => return reset(client),
        Some(Act::Stuck) => return std::future::pending().await,
        Some(Act::Answer(answer)) => return say(client, &answer).await,
        Some(Act::DripForever) => {
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\n\r\n").await?;
            loop {
                client.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        _ => {}
    }
    let mut answer = forward(&script.bucket, &head, &body).await?;
    let (first, rest) = answer.bytes();
    match act {
        None | Some(Act::Sip) => say(client, &answer).await,
        Some(Act::Instead(answer)) => say(client, &answer).await,
        Some(Act::Edit(edit)) => {
            edit(&mut answer);
            say(client, &answer).await
        }
        Some(Act::ResetInAnswer) => {
            client.write_all(&first[..first.len() / 2]).await?;
            reset(client)
        }
        Some(Act::ResetInAnswersBody | Act::EndInAnswersBody) => {
            client.write_all(&first).await?;
            client.write_all(&rest[..rest.len() / 2]).await?;
            client.flush().await?;
            if matches!(act, Some(Act::EndInAnswersBody)) { client.shutdown().await } else { reset(client) }
        }
        Some(Act::StuckInAnswer) => {
            client.write_all(&first).await?;
            client.write_all(&rest[..rest.len() / 2]).await?;
            std::future::pending().await
        }
        Some(Act::Drip(pause)) => {
            client.write_all(&first).await?;
            for byte in rest {
                client.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            client.shutdown().await
        }
        Some(Act::StuckDone) => std::future::pending().await,
        _ => reset(client),
    }
}

impl Script {
    fn act(&self, ask: Ask, key: &str) -> Option<Act> {
        let mut found = None;
        for (rule, seen) in self.rules.iter().filter(|(rule, _)| rule.ask == ask && key.ends_with(rule.key)) {
            let number = seen.fetch_add(1, Ordering::SeqCst);
            if found.is_none() && number >= rule.skip && number - rule.skip < rule.times {
                found = Some(rule.act.clone());
            }
        }
        found
    }
}

/// The client sees a reset, not an end.
fn reset(client: TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    drop(client);
    Ok(())
}

async fn say(mut client: TcpStream, answer: &Answer) -> io::Result<()> {
    let (head, body) = answer.bytes();
    client.write_all(&head).await?;
    client.write_all(body).await?;
    client.shutdown().await
}

async fn forward(bucket: &str, head: &[u8], body: &[u8]) -> io::Result<Answer> {
    let mut server = TcpStream::connect(bucket).await?;
    server.write_all(&head[..head.len() - 2]).await?;
    server.write_all(b"connection: close\r\n\r\n").await?;
    server.write_all(body).await?;
    let mut raw = Vec::new();
    server.read_to_end(&mut raw).await?;
    Answer::parse(&raw)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// What is asked, and of which key.
fn what(head: &str) -> (Ask, String) {
    let mut words = head.split(' ');
    let (method, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let named = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let ask = match method {
        "HEAD" if key.is_empty() => Ask::HeadBucket,
        "HEAD" => Ask::Head,
        "GET" if named("uploads") => Ask::Uploads,
        "GET" if key.is_empty() => Ask::List,
        "GET" => Ask::Get,
        "PUT" if named("partNumber") => Ask::Part,
        "PUT" => Ask::Put,
        "POST" if named("uploads") => Ask::Create,
        "POST" => Ask::Complete,
        "DELETE" if named("uploadId") => Ask::Abort,
        _ => Ask::Delete,
    };
    (ask, key.to_owned())
}
