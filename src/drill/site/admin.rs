//! What operators do to the site.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Json;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::index::Index;
use super::{DeployLock, Refusal, Shop, State, held, numbered, read};
use crate::report::{Explain, Result};

type Answer = Result<Json<Value>, Refusal>;

/// Longest mute: a day. Silence must end by itself.
const LONGEST_MUTE: SignedDuration = SignedDuration::from_hours(24);

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Progress {
    Running,
    Done,
    Failed,
}

/// A catch-up job of the search index.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CatchUp {
    pub(super) state: Progress,
    /// Documents in the new index so far.
    documents: u64,
    /// Documents of the old index that are not in the new one.
    removed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Wanted {
    state: State,
}

pub(super) async fn state(Shared(shop): Shared<Arc<Shop>>) -> Json<Wanted> {
    let state = *held(&shop.state);
    Json(Wanted { state })
}

// D13: an unknown name is refused.
pub(super) async fn set_state(Shared(shop): Shared<Arc<Shop>>, body: String) -> Result<Json<Wanted>, Refusal> {
    let wanted: Wanted = read(&body)?;
    *held(&shop.state) = wanted.state;
    Ok(Json(wanted))
}

pub(super) async fn lock(Shared(shop): Shared<Arc<Shop>>) -> Json<DeployLock> {
    let lock = held(&shop.lock).clone();
    Json(lock)
}

/// Taken by one at a time; the same one may take it again, and anybody may release it.
pub(super) async fn set_lock(Shared(shop): Shared<Arc<Shop>>, body: String) -> Result<Json<DeployLock>, Refusal> {
    let wanted: DeployLock = read(&body)?;
    if wanted.locked && wanted.by.as_deref().is_none_or(|by| by.trim().is_empty()) {
        return Err(Refusal(StatusCode::BAD_REQUEST, "who takes the lock? say it in \"by\"".into()));
    }
    let mut lock = held(&shop.lock);
    if lock.locked && wanted.locked && lock.by != wanted.by {
        let holder = lock.by.clone().unwrap_or_default();
        return Err(Refusal(StatusCode::CONFLICT, format!("{holder} holds the lock")));
    }
    *lock = if wanted.locked { wanted } else { DeployLock::default() };
    Ok(Json(lock.clone()))
}

#[derive(Deserialize)]
struct Mute {
    muted: bool,
    /// ISO 8601, `PT2H`.
    #[serde(rename = "for")]
    time: Option<SignedDuration>,
}

// D16: whoever mutes says for how long.
pub(super) async fn mute(Shared(shop): Shared<Arc<Shop>>, body: String) -> Answer {
    let mute: Mute = read(&body)?;
    let until = match (mute.muted, mute.time) {
        (false, _) => None,
        (true, Some(time)) if time.is_positive() && time <= LONGEST_MUTE => Some(Timestamp::now() + time),
        (true, Some(_)) => return Err(Refusal(StatusCode::BAD_REQUEST, "muted for longer than nothing and at most a day".into())),
        (true, None) => return Err(Refusal(StatusCode::BAD_REQUEST, "muted for how long? say \"for\": \"PT2H\"".into())),
    };
    *held(&shop.muted_until) = until;
    Ok(Json(muted(&shop, Timestamp::now())))
}

pub(super) async fn tests(Shared(shop): Shared<Arc<Shop>>) -> Json<Value> {
    Json(muted(&shop, Timestamp::now()))
}

/// Whether tests are muted at that moment, and until when.
fn muted(shop: &Shop, now: Timestamp) -> Value {
    let until = held(&shop.muted_until).filter(|until| *until > now);
    json!({ "muted": until.is_some(), "expires": until })
}

pub(super) async fn reindex(Shared(shop): Shared<Arc<Shop>>) -> (StatusCode, Json<Value>) {
    let job = catch_up(&shop);
    (StatusCode::ACCEPTED, Json(json!({ "job": job.to_string() })))
}

pub(super) async fn reindexed(Shared(shop): Shared<Arc<Shop>>, Path(id): Path<String>) -> Result<Json<CatchUp>, Refusal> {
    numbered(&shop.catch_ups, &id).map(Json)
}

/// Starts a catch-up job, unless one runs already; its number either way.
pub(super) fn catch_up(shop: &Arc<Shop>) -> usize {
    let mut jobs = held(&shop.catch_ups);
    if jobs.last().is_some_and(|job| job.state == Progress::Running) {
        return jobs.len();
    }
    jobs.push(CatchUp { state: Progress::Running, documents: 0, removed: 0, reason: None });
    let number = jobs.len();
    let shop = Arc::clone(shop);
    tokio::spawn(async move {
        let built = tokio::select! {
            () = shop.end.cancelled() => return,
            built = build(&shop, number) => built,
        };
        let outcome = built.map(|index| {
            let mut current = held(&shop.index);
            let removed = index.vanished(&current);
            *current = index;
            removed
        });
        update(&shop, number, |job| match outcome {
            Ok(removed) => (job.state, job.removed) = (Progress::Done, removed),
            Err(report) => (job.state, job.reason) = (Progress::Failed, Some(report.to_string())),
        });
    });
    number
}

fn update(shop: &Shop, number: usize, change: impl FnOnce(&mut CatchUp)) {
    if let Some(job) = held(&shop.catch_ups).get_mut(number - 1) {
        change(job);
    }
}

/// A new index from the rows there are, customer by customer.
async fn build(shop: &Shop, number: usize) -> Result<Index> {
    const ROWS: &str = "
        DECLARE customers NO SCROLL CURSOR FOR
        SELECT concat_ws(' ', c.name, c.email), array_agg(o.id)
        FROM shop.orders o LEFT JOIN shop.customers c ON c.id = o.customer_id GROUP BY c.id, c.name, c.email";
    let mut client = shop.base.another().await?;
    let reading = || "reading orders for the index".to_owned();
    let snapshot = client.transaction().await.explain(reading)?;
    snapshot.batch_execute(ROWS).await.explain(reading)?;
    let mut index = Index::default();
    loop {
        let rows = snapshot.query("FETCH 2000 FROM customers", &[]).await.explain(reading)?;
        for row in &rows {
            index.add(&row.get::<_, Vec<i64>>(1), row.get(0));
        }
        index.settle();
        update(shop, number, |job| job.documents = index.len());
        if rows.is_empty() {
            return Ok(index);
        }
    }
}
