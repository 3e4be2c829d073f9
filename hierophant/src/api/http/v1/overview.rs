//! Summary of the network's state.

use axum::Json;
use axum::extract::State;
use hierophant_admin_model::{Overview, Paused, Refusal};
use hierophant_model::records::Millis;
use hierophant_scheduler::proofs::Overview as Scheduler;
use hierophant_scheduler::registry::KnownWorker;

use super::page::{ApiResult, actor_timeout};
use super::render;
use crate::api::AdminContext;

/// Maximum number of proofs of several workers that are shown: the oldest.
const MAX_DIVIDED: usize = 100;

/// State of the network at a glance.
#[utoipa::path(get, path = "/overview", tag = "overview", responses(
    (status = 200, body = Overview),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn overview(State(context): State<AdminContext>) -> ApiResult<Overview> {
    let scheduler = context.proofs.overview().await.map_err(actor_timeout)?;
    let known = context.registry.workers().await.map_err(actor_timeout)?;
    Ok(Json(overview_of(&context, &scheduler, &known)))
}

/// The overview from the reports of the actors.
pub(super) fn overview_of(
    context: &AdminContext,
    scheduler: &Scheduler,
    known: &[KnownWorker],
) -> Overview {
    let storage = context.budget.usage();
    let slots = scheduler.workers.iter().map(|work| work.capabilities.slots);
    let whole: usize = scheduler.workers.iter().map(|work| work.running.len()).sum();
    let mut overview = Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mock_mode: context.mock_mode,
        waiting: Default::default(),
        oldest_wait_seconds: scheduler.oldest_waiting.map(|at| Millis::now().since(at) / 1000),
        running: whole + scheduler.divided.len(),
        divided: scheduler.divided.iter().take(MAX_DIVIDED).map(render::divided).collect(),
        unfinished: scheduler.unfinished,
        workers: Default::default(),
        slots: slots.fold(0, u32::saturating_add),
        price: context.price.clone(),
        stored_bytes: storage.stored,
        free_bytes: storage.free,
        storage_low: storage.low.map(|low| low.to_string()),
        paused: scheduler.paused.as_ref().map(Paused::of),
        webhooks: context.webhooks.states().into_iter().map(render::webhook).collect(),
    };
    for (mode, count) in &scheduler.waiting_by_mode {
        overview.waiting.insert((*mode).into(), *count);
    }
    for worker in known {
        *overview.workers.entry(worker.state().into()).or_default() += 1;
    }
    overview
}
