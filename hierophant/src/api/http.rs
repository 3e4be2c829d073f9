//! The HTTP port: uploads and proofs for clients, leases for Contemplants, status for people.

pub mod artifacts;
mod dashboard;
pub mod leases;
pub mod metrics;
pub mod operate;
pub mod receive;
pub mod serve;
pub mod status;
pub mod v1;
pub mod worker_ws;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt;
use network_lib::task;
use network_lib::wire::WEBSOCKET_PATH;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::Accept;

/// Serves until `stop` is cancelled and the calls in progress have ended.
///
/// # Errors
///
/// When the transport fails.
pub async fn serve(
    listener: impl Accept,
    context: Context,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Only through a tap does axum tell handlers the caller's address, whatever the kind of listener.
    let listener = listener.tap_io(|_| {});
    let feed = task::spawn("feed", v1::events::feed(context.clone(), stop.clone()));
    let service = router(context).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(feed.await?)
}

fn router(context: Context) -> Router {
    // Who proves where, who asks for what, how much and how fast: nothing of that is for strangers.
    let pages = Router::new()
        .route("/contemplants", get(status::contemplants))
        .route("/contemplants/{id}/drain", post(operate::drain))
        .route("/dead-contemplants", get(status::dead_contemplants))
        .route("/proof-history", get(status::proof_history))
        .route("/metrics", get(metrics::metrics));
    Router::new()
        .merge(dashboard::router())
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .merge(v1::for_operators(pages, &context))
        .route("/artifacts/{id}", put(artifacts::upload).get(artifacts::download))
        .route("/leases/{id}/program", get(leases::program))
        .route("/leases/{id}/stdin", get(leases::stdin))
        .route("/leases/{id}/proof", put(leases::proof))
        .route(WEBSOCKET_PATH, get(worker_ws::upgrade))
        .merge(v1::router(&context))
        // Uploads are limited by `max_artifact_bytes` while they stream.
        .layer(DefaultBodyLimit::disable())
        .fallback(async || not_found("no such page; see / for the list"))
        .with_state(context)
}

/// An answer in words.
fn answer(code: StatusCode, text: impl Into<String>) -> Response {
    (code, format!("{}\n", text.into())).into_response()
}

fn not_found(text: &str) -> Response {
    answer(StatusCode::NOT_FOUND, text)
}

/// An answer that makes an SDK client try again: of all error codes it retries only 408 and 504
/// (contract, section 4.3).
fn try_again(text: impl Into<String>) -> Response {
    answer(StatusCode::GATEWAY_TIMEOUT, text)
}
