//! HTTP as steps and checks: one request, one bounded answer.

use std::time::Duration;

use reqwest::{Client, Method, Url, redirect};

use crate::port::Context;
use crate::report::{Explain, Report, Result};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How much of a body is read.
const BODY_LIMIT: usize = 1 << 20;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The first mebibyte of the body, as text.
    pub body: String,
}

/// Sends one request and reads its answer. `body` is JSON text. Redirects are not followed: a probe wants to see them.
pub fn send(method: &str, url: &str, body: Option<&str>, cx: &Context) -> Result<Answer> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Report::usage(format!("{method:?} is not an HTTP method")))?;
    let url = Url::parse(url).explain(|| format!("{url:?} is not a URL"))?;
    let shown = format!("{method} {}", without_secrets(&url));
    super::install_tls();
    cx.wait(async {
        let client = Client::builder().timeout(ANSWER_TIMEOUT).redirect(redirect::Policy::none()).build();
        let client = client.explain(|| "preparing HTTP".into())?;
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let failed = |error: reqwest::Error| Report::failed(format!("{shown} got no answer")).because(error.without_url());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() >= BODY_LIMIT {
                bytes.truncate(BODY_LIMIT);
                break;
            }
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&bytes).into_owned() })
    })
}

impl Answer {
    /// Whether the status is the wanted one, or any 2xx where none is.
    pub fn is(&self, wanted: Option<u16>) -> bool {
        wanted.map_or((200..300).contains(&self.status), |wanted| wanted == self.status)
    }

    /// The value at a JSON pointer (RFC 6901), as text: strings bare, everything else as JSON.
    pub fn at(&self, pointer: &str) -> Option<String> {
        let json: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        json.pointer(pointer).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Status and the beginning of the body, on one line.
    pub fn summary(&self) -> String {
        let line: String = self.body.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = line.chars().filter(|c| !c.is_control()).take(120).collect();
        let dots = if short.len() < line.len() { " …" } else { "" };
        format!("{} {short}{dots}", self.status).trim_end().to_owned()
    }
}

/// The URL without user, password and query: those may hold secrets.
fn without_secrets(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_give_text() {
        let answer = Answer { status: 200, body: r#"{"state":"live","orders":12,"list":[true]}"#.into() };
        assert_eq!(answer.at("/state").as_deref(), Some("live"));
        assert_eq!(answer.at("/orders").as_deref(), Some("12"));
        assert_eq!(answer.at("/list/0").as_deref(), Some("true"));
        assert_eq!(answer.at("/nothing"), None);
    }

    #[test]
    fn a_shown_url_holds_no_secret() {
        let url = Url::parse("https://me:secret@example.org:8443/path?token=secret").unwrap();
        assert_eq!(without_secrets(&url), "https://example.org:8443/path");
    }
}
