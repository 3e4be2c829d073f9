//! `GET /metrics`, for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hierophant_model::records::Millis;
use tokio::time::timeout;

use crate::api::AdminContext;
use crate::metrics::{ActorSnapshot, GaugeSnapshot};

/// Time within which the actors must answer for their gauges.
const GAUGE_LIMIT: Duration = Duration::from_secs(1);

/// `GET /metrics`: all metrics in the text format of Prometheus. Counters are always served, so that the failures of a
/// store are counted also while the scheduler waits for it; gauges of the actors keep their last values then.
pub(super) async fn metrics(State(context): State<AdminContext>) -> Response {
    let asked = async { tokio::join!(context.registry.workers(), context.proofs.overview()) };
    let actors = match timeout(GAUGE_LIMIT, asked).await {
        Ok((Ok(workers), Ok(overview))) => Some(ActorSnapshot { workers, overview }),
        _ => None,
    };
    let (now, storage) = (Millis::now(), context.budget.usage());
    let (webhooks, tasks) = (context.webhooks.states(), context.tasks.total());
    let text = context.metrics.render(&GaugeSnapshot { now, actors, storage, tasks, webhooks });
    ([(CONTENT_TYPE, network_lib::metrics::CONTENT_TYPE)], text).into_response()
}
