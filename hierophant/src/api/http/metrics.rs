//! `GET /metrics`, for Prometheus.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hierophant_model::records::Millis;

use super::text_response;
use crate::api::AdminContext;
use crate::metrics::GaugeSnapshot;

/// `GET /metrics`: all metrics in the text format of Prometheus.
pub(super) async fn metrics(State(context): State<AdminContext>) -> Response {
    let (workers, overview) = tokio::join!(context.registry.workers(), context.proofs.overview());
    let (Ok(workers), Ok(overview)) = (workers, overview) else {
        return text_response(StatusCode::SERVICE_UNAVAILABLE, "actor timeout; try again later");
    };
    let (now, storage) = (Millis::now(), context.budget.usage());
    let webhooks = context.webhooks.states();
    let text = context.metrics.render(&GaugeSnapshot { now, overview, workers, storage, webhooks });
    ([(CONTENT_TYPE, network_lib::metrics::CONTENT_TYPE)], text).into_response()
}
