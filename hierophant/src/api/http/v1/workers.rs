//! Workers.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use hierophant_admin_model::{Attempt, Refusal, WholeWorker, Worker};
use hierophant_scheduler::proofs::{Overview, WorkerWork};
use hierophant_scheduler::registry::KnownWorker;
use network_lib::ids::WorkerId;

use super::page::{
    ApiResult, DEFAULT_ENTRIES, actor_timeout, not_found, store_unavailable, worker_id,
};
use super::render;
use crate::api::AdminContext;

/// Workers that are connected or may reconnect.
#[utoipa::path(get, path = "/workers", tag = "workers", responses(
    (status = 200, body = Vec<Worker>),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn workers(State(context): State<AdminContext>) -> ApiResult<Vec<Worker>> {
    let known = context.registry.workers().await.map_err(actor_timeout)?;
    let scheduler = context.proofs.overview().await.map_err(actor_timeout)?;
    let both = known_with_work(&known, &scheduler);
    Ok(Json(both.map(|(known, work)| render::worker(known, work)).collect()))
}

/// The workers that both the registry and the scheduler know. One that has just joined may not be known to the
/// scheduler yet.
pub(in crate::api::http) fn known_with_work<'a>(
    known: &'a [KnownWorker],
    scheduler: &'a Overview,
) -> impl Iterator<Item = (&'a KnownWorker, &'a WorkerWork)> {
    let work: BTreeMap<WorkerId, &WorkerWork> =
        scheduler.workers.iter().map(|work| (work.worker, work)).collect();
    known.iter().filter_map(move |known| Some((known, *work.get(&known.worker)?)))
}

/// A worker with its latest attempts, including one that has left.
#[utoipa::path(get, path = "/workers/{id}", tag = "workers",
    params(("id" = String, Path, description = "worker id")), responses(
    (status = 200, body = WholeWorker),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "unknown worker", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn worker(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> ApiResult<WholeWorker> {
    let id = worker_id(&id)?;
    let Json(connected) = workers(State(context.clone())).await?;
    let worker = connected.into_iter().find(|worker| worker.id == id.to_string());
    let dead = context.registry.removed_workers().await.map_err(actor_timeout)?;
    let gone =
        dead.iter().find(|dead| dead.worker.worker == id && worker.is_none()).map(render::gone);
    let history =
        context.store.attempts_of(id, DEFAULT_ENTRIES).await.map_err(store_unavailable)?;
    let blocked = context.registry.blocked().await.map_err(actor_timeout)?;
    let blocked = blocked.into_iter().find(|blocked| blocked.subject == id.to_string());
    let blocked = blocked.map(|blocked| blocked.reason);
    let known = worker.is_some() || gone.is_some() || blocked.is_some();
    if !known && history.is_empty() {
        return Err(not_found("unknown worker: see /api/v1/workers for connected ones"));
    }
    let history = history.iter().map(Attempt::of).collect();
    Ok(Json(WholeWorker { worker, gone, blocked, history }))
}
