//! What visitors and their programs see.

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, Shop, State, held};
use crate::drill::sample;
use crate::report::{Explain, Report, Result};

/// Most orders or hits in one answer.
const LIMIT: i64 = 100;

const NEWEST: &str = "
    SELECT coalesce(jsonb_agg(newest), '[]')
    FROM (SELECT id, status, placed_at, total FROM shop.orders ORDER BY id DESC LIMIT $1) newest";

const STATUS: &str =
    "SELECT current_database()::text, split_part(current_setting('server_version'), ' ', 1), (SELECT count(*) FROM shop.orders)";

type Answer = Result<Response, Refusal>;

/// Lets through only in the given states.
fn only_in(shop: &Shop, states: &[State]) -> Result<(), Refusal> {
    let now = *held(&shop.state);
    if states.contains(&now) {
        return Ok(());
    }
    let word = if now == State::Maintenance { "maintenance" } else { "recovery: read only" };
    Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, word.into()))
}

pub(super) async fn page(Shared(shop): Shared<Arc<Shop>>) -> Response {
    let state = *held(&shop.state);
    if state == State::Maintenance {
        return (StatusCode::SERVICE_UNAVAILABLE, Html(html("We are down for maintenance", "Back soon."))).into_response();
    }
    let products = shop.base.ask("SELECT count(*) FROM catalogue.products WHERE NOT withdrawn", &[]);
    match products.await.map(|row| row.get::<_, i64>(0)) {
        Ok(products) if state == State::Recovery => {
            let text = format!("In recovery: look at our {products} products, but do not order yet.");
            Html(html("Rope &amp; Oar (read only)", &text)).into_response()
        }
        Ok(products) => Html(html("Rope &amp; Oar", &format!("{products} things that float, and some that do not."))).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Html(html("Something went wrong", "Sorry."))).into_response(),
    }
}

/// `text` is ours, never a visitor's.
fn html(title: &str, text: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>\n"
    )
}

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default = "a_few")]
    limit: i64,
}

fn a_few() -> i64 {
    20
}

pub(super) async fn orders(Shared(shop): Shared<Arc<Shop>>, Query(page): Query<Page>) -> Answer {
    only_in(&shop, &[State::Live, State::Recovery])?;
    let limit = page.limit.clamp(0, LIMIT);
    let row = shop.base.ask(NEWEST, &[&limit]).await?;
    Ok(Json(json!({ "orders": row.get::<_, Value>(0) })).into_response())
}

pub(super) async fn order(Shared(shop): Shared<Arc<Shop>>) -> Answer {
    only_in(&shop, &[State::Live])?;
    let id = place(&shop).await?;
    Ok((StatusCode::CREATED, Json(json!({ "order": id }))).into_response())
}

/// Places an order and makes it findable. Never tried twice: it might be placed twice.
pub(super) async fn place(shop: &Shop) -> Result<i64> {
    only_in(shop, &[State::Live]).map_err(|Refusal(_, why)| Report::refused(why))?;
    let client = shop.base.client().await?;
    let id = sample::place_order(&client).await?;
    let who = "SELECT concat_ws(' ', name, email) FROM shop.orders o JOIN shop.customers c ON c.id = customer_id WHERE o.id = $1";
    let text: String = client.query_one(who, &[&id]).await.explain(|| format!("reading order {id}"))?.get(0);
    let mut index = held(&shop.index);
    index.add(&[id], &text);
    index.settle();
    Ok(id)
}

pub(super) async fn status(Shared(shop): Shared<Arc<Shop>>) -> Response {
    match shop.base.ask(STATUS, &[]).await {
        Ok(row) => {
            let (database, server, orders): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
            Json(json!({ "status": "ok", "database": database, "orders": orders, "server": format!("PostgreSQL {server}") }))
                .into_response()
        }
        Err(report) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "error", "reason": report.to_string() }))).into_response(),
    }
}

#[derive(Deserialize)]
pub(super) struct Search {
    q: String,
}

pub(super) async fn search(Shared(shop): Shared<Arc<Shop>>, Query(search): Query<Search>) -> Answer {
    only_in(&shop, &[State::Live, State::Recovery])?;
    let found = held(&shop.index).find(&search.q, 20);
    Ok(Json(json!({ "orders": found })).into_response())
}

pub(super) async fn count(Shared(shop): Shared<Arc<Shop>>) -> Response {
    let documents = held(&shop.index).len();
    Json(json!({ "documents": documents })).into_response()
}
