//! The shop's site, standing in for the real one: a public page, an API on the real database, and what operators do to a site during an
//! incident: three states, a search index that is caught up, tests that are muted, a lock on deployments.
//!
//! | path | what |
//! |---|---|
//! | `GET /` | the public page: 200, 503 in maintenance |
//! | `GET` `POST /api/orders` | reads and places orders, in the database |
//! | `GET /api/_status` | asks the database, in every state |
//! | `GET /api/search?q=` · `/api/search/_count` | the index |
//! | `GET` `PUT /admin/state` | `live`, `maintenance`, `recovery` |
//! | `POST /admin/reindex` · `GET /admin/reindex/7` | the catch-up job |
//! | `GET /admin/tests` · `PUT …/mute` · `POST …/run` · `GET …/run/3` | the smoke tests |
//! | `GET` `PUT /admin/deploy-lock` | who holds deployments off |

mod admin;
mod base;
mod index;
mod public;
mod smoke;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::port::Context;
use crate::report::{Explain, Report, Result};
use base::Base;
use index::Index;

/// How long requests under way may take when the site ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a site needs.
#[derive(Clone)]
pub struct SiteSettings {
    /// Where its database is, by name: whatever bears that name is what the site works on.
    pub database: tokio_postgres::Config,
}

/// What visitors can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Everything.
    Live,
    /// Nothing.
    Maintenance,
    /// Look, but not order.
    Recovery,
}

/// A running site on a port of loopback. Dropping it ends it.
pub struct Site {
    address: SocketAddr,
    shop: Arc<Shop>,
    /// Behind a lock only so that a box can be shared between threads.
    ended: Mutex<mpsc::Receiver<()>>,
}

/// What all requests share.
struct Shop {
    base: Base,
    state: Mutex<State>,
    index: Mutex<Index>,
    catch_ups: Mutex<Vec<admin::CatchUp>>,
    runs: Mutex<Vec<smoke::Run>>,
    muted_until: Mutex<Option<Timestamp>>,
    lock: Mutex<DeployLock>,
    /// `http://127.0.0.1:port`, for the tests that look from outside.
    root: String,
    end: CancellationToken,
}

/// Who holds deployments off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct DeployLock {
    locked: bool,
    #[serde(default)]
    by: Option<String>,
}

impl Site {
    /// Opens the site, live, and begins to fill its search index; [`Site::caught_up`] waits for that.
    pub fn start(settings: SiteSettings, cx: &Context) -> Result<Site> {
        // The site's tests speak HTTP, whose client wants to know a TLS provider before it speaks anything. One that is there is fine.
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = cx.wait(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            listener.explain(|| "opening a port for the site".into())
        })?;
        let address = listener.local_addr().explain(|| "asking for the site's port".into())?;
        let shop = Arc::new(Shop {
            base: Base::new(settings.database),
            state: Mutex::new(State::Live),
            index: Mutex::default(),
            catch_ups: Mutex::default(),
            runs: Mutex::default(),
            muted_until: Mutex::default(),
            lock: Mutex::default(),
            root: format!("http://{address}"),
            end: CancellationToken::new(),
        });
        let (tell, ended) = mpsc::channel();
        let served = axum::serve(listener, routes(&shop)).with_graceful_shutdown(shop.end.clone().cancelled_owned());
        cx.runtime.spawn(async move {
            // It only ends when it is told to.
            served.await.ok();
            tell.send(()).ok();
        });
        let site = Site { address, shop, ended: Mutex::new(ended) };
        cx.wait(async { Ok(admin::catch_up(&site.shop)) })?;
        Ok(site)
    }

    /// Where visitors go: `http://127.0.0.1:port`.
    pub fn www(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where programs go.
    pub fn api(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Where operators go.
    pub fn admin(&self) -> String {
        format!("http://{}/admin", self.address)
    }

    /// Waits until no catch-up job runs, and gives the number of documents in the index. A job that failed is an error.
    pub fn caught_up(&self, cx: &Context) -> Result<u64> {
        loop {
            let last = held(&self.shop.catch_ups).last().cloned();
            match last {
                Some(job) if job.state == admin::Progress::Running => cx.pause(Duration::from_millis(5))?,
                Some(admin::CatchUp { reason: Some(reason), .. }) => {
                    return Err(Report::failed("the site's search index was not caught up").cause(reason));
                }
                _ => return Ok(held(&self.shop.index).len()),
            }
        }
    }

    /// A visitor orders something. Gives the order's number. In maintenance and recovery it is refused.
    pub fn place_order(&self, cx: &Context) -> Result<i64> {
        cx.wait(public::place(&self.shop)).map_err(|report| report.under("the site takes no order"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shop.end.cancel();
        // Whoever still waits for an answer after that will not get one: the database goes next.
        held(&self.ended).recv_timeout(FAREWELL).ok();
    }
}

fn routes(shop: &Arc<Shop>) -> Router {
    let api = Router::new()
        .route("/orders", get(public::orders).post(public::order))
        .route("/_status", get(public::status))
        .route("/search", get(public::search))
        .route("/search/_count", get(public::count));
    let admin = Router::new()
        .route("/state", get(admin::state).put(admin::set_state))
        .route("/reindex", post(admin::reindex))
        .route("/reindex/{id}", get(admin::reindexed))
        .route("/tests", get(admin::tests))
        .route("/tests/mute", put(admin::mute))
        .route("/tests/run", post(smoke::start))
        .route("/tests/run/{id}", get(smoke::result))
        .route("/deploy-lock", get(admin::lock).put(admin::set_lock));
    Router::new()
        .route("/", get(public::page))
        .nest("/api", api)
        .nest("/admin", admin)
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is nothing here".into()))
        .with_state(Arc::clone(shop))
}

/// What a request gets instead of what it wanted: `{"error": …}`.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// The database does not answer, or not as it should.
impl From<Report> for Refusal {
    fn from(report: Report) -> Self {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, report.to_string())
    }
}

/// A body as JSON, whatever its content type says.
fn read<T: DeserializeOwned>(body: &str) -> Result<T, Refusal> {
    serde_json::from_str(body).map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))
}

/// The n-th of a row of jobs, numbered from 1.
fn numbered<T: Clone>(jobs: &Mutex<Vec<T>>, id: &str) -> Result<T, Refusal> {
    let missing = || Refusal(StatusCode::NOT_FOUND, format!("there is no job {id}"));
    let at = id.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).ok_or_else(missing)?;
    held(jobs).get(at).cloned().ok_or_else(missing)
}

/// Never held across an await; a request that panicked does not take the site with it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
