//! The site's smoke tests: they look from outside, over HTTP, as a visitor would.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Json;
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::Progress;
use super::{Refusal, Shop, held, numbered};

/// How long one test may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// One run of all tests.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    state: Progress,
    passed: usize,
    failed: usize,
    /// What was found instead, test by test.
    failures: Vec<String>,
}

/// Why a test did not pass.
type Finding = Result<(), String>;

pub(super) async fn start(Shared(shop): Shared<Arc<Shop>>) -> (StatusCode, Json<Value>) {
    let mut runs = held(&shop.runs);
    runs.push(Run { state: Progress::Running, passed: 0, failed: 0, failures: Vec::new() });
    let number = runs.len();
    let testing = Arc::clone(&shop);
    tokio::spawn(async move {
        let findings = tokio::select! {
            () = testing.end.cancelled() => return,
            findings = all(&testing.root) => findings,
        };
        let failures: Vec<String> = findings.iter().filter_map(|finding| finding.clone().err()).collect();
        let (passed, failed) = (findings.len() - failures.len(), failures.len());
        if let Some(run) = held(&testing.runs).get_mut(number - 1) {
            *run = Run { state: Progress::Done, passed, failed, failures };
        }
    });
    (StatusCode::ACCEPTED, Json(json!({ "run": number.to_string() })))
}

pub(super) async fn result(Shared(shop): Shared<Arc<Shop>>, Path(id): Path<String>) -> Result<Json<Run>, Refusal> {
    numbered(&shop.runs, &id).map(Json)
}

async fn all(root: &str) -> Vec<Finding> {
    // Loopback is never behind a proxy, whatever the environment says.
    let visitor = match Client::builder().no_proxy().timeout(PATIENCE).build() {
        Ok(visitor) => Visitor { client: visitor, root },
        Err(error) => return vec![Err(error.to_string())],
    };
    vec![
        visitor.sees_the_page().await,
        visitor.reads_orders().await,
        visitor.sees_a_good_status().await,
        visitor.finds_the_newest_order().await,
        visitor.is_not_the_first_customer().await,
    ]
}

struct Visitor<'a> {
    client: Client,
    root: &'a str,
}

impl Visitor<'_> {
    async fn get(&self, path: &str) -> Result<String, String> {
        let told = |error: reqwest::Error| format!("GET {path}: {error}");
        let answer = self.client.get(format!("{}{path}", self.root)).send().await.map_err(told)?;
        let status = answer.status();
        let text = answer.text().await.map_err(told)?;
        if status == StatusCode::OK { Ok(text) } else { Err(format!("GET {path} answers {status}")) }
    }

    async fn json(&self, path: &str) -> Result<Value, String> {
        serde_json::from_str(&self.get(path).await?).map_err(|error| format!("GET {path}: {error}"))
    }

    async fn sees_the_page(&self) -> Finding {
        let page = self.get("/").await?;
        if page.contains("<title>") && !page.contains("read only") { Ok(()) } else { Err("GET /: not the shop's page".into()) }
    }

    async fn newest_order(&self) -> Result<i64, String> {
        let answer = self.json("/api/orders?limit=1").await?;
        answer["orders"][0]["id"].as_i64().ok_or_else(|| "GET /api/orders: there are no orders".into())
    }

    async fn reads_orders(&self) -> Finding {
        self.newest_order().await.map(|_| ())
    }

    async fn sees_a_good_status(&self) -> Finding {
        let status = self.json("/api/_status").await?;
        if status["status"] == "ok" { Ok(()) } else { Err(format!("GET /api/_status: {status}")) }
    }

    async fn finds_the_newest_order(&self) -> Finding {
        let newest = self.newest_order().await?;
        let found = self.json(&format!("/api/search?q={newest}")).await?;
        let is_found = found["orders"].as_array().is_some_and(|orders| orders.contains(&newest.into()));
        if is_found { Ok(()) } else { Err(format!("GET /api/search: order {newest} is not found")) }
    }

    async fn is_not_the_first_customer(&self) -> Finding {
        let status = self.json("/api/_status").await?;
        if status["orders"].as_i64() > Some(0) { Ok(()) } else { Err("GET /api/_status: there are no orders".into()) }
    }
}
