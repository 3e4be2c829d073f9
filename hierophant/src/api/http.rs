//! HTTP: artifacts for clients, leases for workers, status and the API for operators, on the public port and on the admin
//! listeners.

pub mod artifacts;
mod dashboard;
mod headers;
pub mod leases;
mod local;
pub mod metrics;
pub mod operate;
pub mod receive;
pub mod serve;
pub mod status;
mod task_blobs;
pub mod v1;
mod worker_auth;
pub mod worker_ws;

use axum::Extension;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use network_lib::task;
use network_lib::wire::WEBSOCKET_PATH;
use tokio_util::sync::CancellationToken;

use super::networks::{self, PortNetworks};
use super::{AdminContext, ClientContext, Contexts, WorkerContext, certificate, deadline};
use crate::listen::{Accept, Acceptor, AdminSocket, OverSocket, Port};

/// Listeners of HTTP.
#[derive(Debug)]
pub struct HttpListeners<L> {
    /// For clients, workers and, with `operators`, for operators.
    pub public: L,
    /// For operators.
    pub admin: Option<L>,
    /// For operators on this machine.
    pub socket: Option<AdminSocket>,
    /// Whether operators are served on the public port too.
    pub operators: bool,
}

/// Serves until `stop` is cancelled and the calls in progress have ended.
///
/// # Errors
///
/// When the event feed has panicked.
pub async fn serve(
    acceptor: Acceptor,
    listeners: HttpListeners<impl Accept>,
    contexts: Contexts,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let HttpListeners { public, admin, socket, operators } = listeners;
    let feed = task::spawn("feed", v1::events::feed(contexts.admin.clone(), stop.clone()));
    let for_admins = admin_router(contexts.admin.clone());
    let on_socket = for_admins.clone().layer(Extension(OverSocket));
    let public = acceptor.serve(public, Port::Http, router(contexts, operators), stop.clone());
    let admin = async {
        if let Some(listener) = admin {
            let is_local =
                listener.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback());
            let port = if is_local { Port::Local } else { Port::Http };
            acceptor.serve(listener, port, for_admins, stop.clone()).await;
        }
    };
    let socket = async {
        if let Some(socket) = socket {
            acceptor.serve(socket, Port::Local, on_socket, stop.clone()).await;
        }
    };
    tokio::join!(public, admin, socket);
    Ok(feed.await?)
}

const LIST_OF_PAGES: &str = "no such page: see / for the list";

/// Where the public port serves no operators.
const ADMIN_PAGES: &str = "no such page: pages of operators are expected at `operators.admin_address` and over \
                           admin.sock";

/// Routes of the public port.
fn router(contexts: Contexts, operators: bool) -> Router {
    let Contexts { client, worker, admin } = contexts;
    let on_request = if operators { for_operators(&admin) } else { Router::new() };
    Router::new()
        .merge(for_clients(client))
        .merge(for_workers(worker))
        .merge(probes(&admin).merge(on_request).with_state(admin))
        // Uploads are limited by `max_artifact_bytes` while they stream.
        .layer(DefaultBodyLimit::disable())
        .fallback(async move || not_found(if operators { LIST_OF_PAGES } else { ADMIN_PAGES }))
}

/// Routes of the admin listeners.
fn admin_router(context: AdminContext) -> Router {
    Router::new()
        .merge(probes(&context).merge(for_operators(&context)).with_state(context))
        .fallback(async || not_found(LIST_OF_PAGES))
}

fn for_clients(context: ClientContext) -> Router {
    Router::new()
        .route("/artifacts/{id}", put(artifacts::upload).get(artifacts::download))
        .route_layer(from_fn_with_state(
            PortNetworks::new(&context.calls.artifact_networks),
            networks::of_artifacts,
        ))
        .with_state(context)
}

fn for_workers(context: WorkerContext) -> Router {
    Router::new()
        .route("/leases/{id}/program", get(leases::program))
        .route("/leases/{id}/stdin", get(leases::stdin))
        .route("/leases/{id}/proof", put(leases::proof))
        .route("/leases/{id}/blobs/{sha256}", get(task_blobs::fetch).put(task_blobs::hand_in))
        .route(WEBSOCKET_PATH, get(worker_ws::upgrade))
        .route_layer(from_fn_with_state(context.clone(), certificate::of_workers))
        .route_layer(from_fn_with_state(context.metrics.clone(), local::of_workers))
        .with_state(context)
}

/// Whether it runs and is ready, for every caller.
fn probes(context: &AdminContext) -> Router<AdminContext> {
    Router::new()
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route_layer(from_fn_with_state(context.deadline, deadline::of_page))
}

fn for_operators(context: &AdminContext) -> Router<AdminContext> {
    // Names, addresses and load of workers and requesters: not public.
    let guarded = Router::new()
        .route("/contemplants", get(status::contemplants))
        .route("/contemplants/{id}/drain", post(operate::drain))
        .route("/dead-contemplants", get(status::dead_contemplants))
        .route("/proof-history", get(status::proof_history))
        .route("/metrics", get(metrics::metrics));
    Router::new()
        .merge(dashboard::router())
        .merge(v1::for_operators(guarded, context))
        .merge(v1::router(context))
        // Limits the time until a response begins, not the length of a stream.
        .route_layer(from_fn_with_state(context.deadline, deadline::of_page))
}

/// A response of plain text.
fn text_response(code: StatusCode, text: impl Into<String>) -> Response {
    (code, format!("{}\n", text.into())).into_response()
}

fn not_found(text: &str) -> Response {
    text_response(StatusCode::NOT_FOUND, text)
}

/// A response on which SDK clients retry: of all error codes they retry only 408 and 504 (contract,
/// section 4.3).
fn try_again(text: impl Into<String>) -> Response {
    text_response(StatusCode::GATEWAY_TIMEOUT, text)
}
