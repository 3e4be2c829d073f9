//! Ports of this worker: metrics and health over HTTP, and gRPC's health service.

use std::net::SocketAddr;

use anyhow::Context;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Json, Router};
use network_lib::handshake::GpuLoad;
use network_lib::{metrics, task};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::{Health, Metrics};

/// Name of gRPC's health service whose status is that of `/ready`.
const READY: &str = "ready";

/// Serves `GET /metrics`, `/health` and `/ready` at `address` until `stop` is cancelled.
///
/// # Errors
///
/// When nothing can listen there.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    health: Health,
    gpu_loads: watch::Receiver<Vec<GpuLoad>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = listen(address, "metrics_address").await?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics and health");
    let readiness = health.clone();
    let figures = async move || {
        metrics.set_gpus(&health.capabilities().gpus, &gpu_loads.borrow());
        ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render())
    };
    let router = Router::new()
        .route("/metrics", get(figures))
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/ready", get(async move || ready(&readiness)));
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    task::spawn("metrics", async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    });
    Ok(())
}

/// The answer of `GET /ready`.
fn ready(health: &Health) -> (StatusCode, Json<Value>) {
    match health.obstacle() {
        None => (StatusCode::OK, Json(json!({"status": "ready"}))),
        Some(reason) => {
            let body = json!({"status": "not_ready", "reason": reason});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

/// Serves gRPC's health service at `address` until `stop` is cancelled. The status of its service `""` is that of
/// `/health`, the status of its service `ready` that of `/ready`.
///
/// # Errors
///
/// When nothing can listen there.
pub async fn serve_grpc_health(
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = listen(address, "grpc_health_address").await?;
    tracing::info!(address = %listener.local_addr()?, "serving gRPC health");
    let (reporter, service) = tonic_health::server::health_reporter();
    report(&reporter, &health).await;
    let incoming = TcpIncoming::from(listener);
    let stopped = stop.clone().cancelled_owned();
    let serving = Server::builder().add_service(service);
    let serving = serving.serve_with_incoming_shutdown(incoming, stopped);
    task::spawn("gRPC health", async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "gRPC health is no longer served");
        }
    });
    task::spawn("gRPC readiness", async move {
        let mut changes = health.changes();
        let reports = async {
            loop {
                report(&reporter, &health).await;
                changes.next().await;
            }
        };
        stop.run_until_cancelled(reports).await;
    });
    Ok(())
}

/// Passes the readiness on to gRPC's health service.
async fn report(reporter: &HealthReporter, health: &Health) {
    let status = match health.obstacle() {
        None => ServingStatus::Serving,
        Some(_) => ServingStatus::NotServing,
    };
    reporter.set_service_status(READY, status).await;
}

async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}: choose another `{key}`, or stop the program that uses it"
        )
    })
}
