//! The event stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use hierophant_admin_model::{Changes, Job, Overview, Refusal, Request};
use hierophant_model::clients::Clients;
use hierophant_model::records::{JobRecord, Millis, RequestRecord};
use hierophant_model::text::error_chain;
use hierophant_scheduler::proofs::Overview as Scheduler;
use hierophant_scheduler::registry::KnownWorker;
use network_lib::ids::{JobId, WorkerId};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::known_with_work;
use super::overview::overview_of;
use super::page::{ErrorResponse, unavailable};
use super::render;
use crate::api::AdminContext;
use crate::events::{Frame, Noted};
use crate::operators::Operator;

/// Interval of events.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two requests to reload everything because of too many changes: all listeners follow them at
/// once. Meanwhile only the overview is sent.
const RESET_INTERVAL: Duration = Duration::from_secs(10);

/// Time without an event after which a comment is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Interval at which the permission of a listener is checked.
const PERMISSION_INTERVAL: Duration = Duration::from_secs(1);

/// Changes, as server-sent events. The first event is `reset` with `{"at": MILLISECONDS}`: fetch all data again. It is
/// repeated whenever changes may have been missed, but at most every ten seconds if there are too many changes. Other events are `changes`, at most one per second, and only if
/// something has changed; their data are described here. Figures that change with time alone (age of the oldest
/// queued job, free bytes, time of a worker's last message) cause no event. A comment every 15 seconds keeps the
/// connection alive. The stream ends when the listener's token is revoked or its session ends.
#[utoipa::path(get, path = "/events", operation_id = "stream_events", tag = "events", responses(
    (status = 200, body = Changes, content_type = "text/event-stream"),
    (status = 503, description = "too many listeners", body = Refusal),
))]
pub(super) async fn events(
    State(context): State<AdminContext>,
    Extension(operator): Extension<Operator>,
) -> Result<Response, ErrorResponse> {
    let Some(listener) = context.events.listen() else {
        let max = context.events.max_listeners();
        let text = format!("too many listeners (at most {max}): close one, or try again later");
        return Err(unavailable(text));
    };
    let first = stream::once(async { Frame::Reset(Millis::now()) });
    let rest =
        stream::unfold(listener, |mut listener| async { Some((listener.next().await?, listener)) });
    let no_longer_permitted = async move {
        while context.operators.is_still_in(&operator) {
            sleep(PERMISSION_INTERVAL).await;
        }
    };
    let events = first.chain(rest).map(|frame| Ok::<_, Infallible>(event(frame)));
    let events = events.take_until(no_longer_permitted);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn event(frame: Frame) -> Event {
    match frame {
        Frame::Reset(at) => Event::default().event("reset").data(json!({ "at": at.0 }).to_string()),
        Frame::Changes(text) => Event::default().event("changes").data(&*text),
    }
}

/// Sends changes to all listeners until `stop` is cancelled, then ends their streams.
pub(in crate::api::http) async fn feed(context: AdminContext, stop: CancellationToken) {
    let mut ticks = interval(EVENT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_overview = None;
    let mut last_reset: Option<Instant> = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(mut noted) = context.events.take() else { continue };
        let at = Millis::now();
        if noted.too_many {
            if may_reset(&mut last_reset, Instant::now()) {
                context.events.send(Frame::Reset(at));
                continue;
            }
            let joined = std::mem::take(&mut noted.joined);
            context.events.restore(noted);
            noted = Noted { joined, ..Noted::default() };
        }
        match changes(&context, at, &noted, last_overview.as_ref()).await {
            Ok(None) => {}
            Ok(Some(changes)) => {
                let text = serde_json::to_string(&changes).unwrap_or_default();
                context.events.send(Frame::Changes(text.into()));
                last_overview = Some(changes.overview);
            }
            Err(error) => {
                tracing::debug!(error, "changes will be sent later");
                context.events.restore(noted);
            }
        }
    }
    context.events.close();
}

/// Whether listeners may be asked to reload everything now.
fn may_reset(last: &mut Option<Instant>, now: Instant) -> bool {
    let may = last.is_none_or(|sent| now.duration_since(sent) >= RESET_INTERVAL);
    if may {
        *last = Some(now);
    }
    may
}

/// The changes to send, if there are any since `last_overview` was sent.
async fn changes(
    context: &AdminContext,
    at: Millis,
    noted: &Noted,
    last_overview: Option<&Overview>,
) -> Result<Option<Changes>, String> {
    let (known, scheduler) = tokio::join!(context.registry.workers(), context.proofs.overview());
    let known = known.map_err(|error| error.to_string())?;
    let scheduler = scheduler.map_err(|error| error.to_string())?;
    let overview = overview_of(context, &scheduler, &known);
    let same = last_overview.is_some_and(|last| last.is_like(&overview));
    if same && noted.is_empty() && !noted.joined {
        return Ok(None);
    }
    let ids: Vec<JobId> = noted.jobs.iter().copied().collect();
    let found = context.store.jobs_by_id(&ids).await.map_err(|error| error_chain(&error))?;
    Ok(Some(assemble(at, overview, noted, &found, &context.clients, &known, &scheduler)))
}

/// The changes of the noted jobs, requests and workers, from the store and the reports of the actors.
fn assemble(
    at: Millis,
    overview: Overview,
    noted: &Noted,
    found: &[(JobRecord, Vec<RequestRecord>)],
    clients: &Clients,
    known: &[KnownWorker],
    scheduler: &Scheduler,
) -> Changes {
    let requests = found.iter().flat_map(|(_, requests)| requests);
    let requests = requests.filter(|request| noted.requests.contains(&request.id));
    let mut workers = Vec::new();
    let mut gone = noted.workers.clone();
    for (known, work) in known_with_work(known, scheduler) {
        if gone.remove(&known.worker) {
            workers.push(render::worker(known, work));
        }
    }
    Changes {
        at: at.0,
        overview,
        jobs: found.iter().map(|(job, requests)| Job::of(job, requests, clients)).collect(),
        requests: requests.map(|request| Request::of(request, clients)).collect(),
        workers,
        workers_gone: gone.iter().map(WorkerId::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use network_lib::handshake::{Backend, Capabilities};
    use network_lib::ids::VkHash;
    use network_lib::job::{Phase, Progress, ProofMode};

    use super::*;
    use hierophant_scheduler::SessionId;
    use hierophant_scheduler::proofs::lease::WorkerStats;
    use hierophant_scheduler::proofs::{RunningProof, WorkerWork};
    use hierophant_scheduler::registry::Credential;

    fn overview() -> Overview {
        Overview {
            version: String::new(),
            mock_mode: false,
            waiting: Default::default(),
            oldest_wait_seconds: None,
            running: 0,
            divided: vec![],
            unfinished: 0,
            workers: Default::default(),
            slots: 0,
            stored_bytes: 0,
            free_bytes: None,
            storage_low: None,
            paused: None,
            price: None,
            webhooks: vec![],
        }
    }

    fn known(worker: WorkerId) -> KnownWorker {
        KnownWorker {
            worker,
            session: SessionId(1),
            name: "tobit".into(),
            instance: None,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            credential: Credential::ThisMachine,
            version: "0.1.0".into(),
            joined_at: Millis(1),
            heard_at: Millis(2),
            draining: false,
            drained: None,
            gpus: vec![],
            disconnected: None,
        }
    }

    fn at_work(worker: WorkerId) -> WorkerWork {
        let progress = Progress {
            phase: Phase::Proving,
            fraction: Some(0.5),
            cycles_done: Some(1 << 20),
            cycles_total: Some(1 << 21),
            eta_seconds: Some(100),
            estimated: false,
            memory_bytes: None,
            steps_done: None,
        };
        WorkerWork {
            worker,
            backend: Backend::Cuda,
            capabilities: Capabilities {
                vm: "sp1".into(),
                circuit_versions: vec!["v6.1.0".into()],
                modes: ProofMode::ALL.to_vec(),
                backend: Backend::Cuda,
                slots: 1,
                prefetch: 0,
                memory_bytes: 0,
                gpus: vec![],
                unavailable_reason: None,
                sharding: None,
            },
            private_inputs: true,
            draining: false,
            stats: WorkerStats::default(),
            running: vec![RunningProof {
                job: JobId([1; 16]),
                requests: vec![],
                program: VkHash([1; 32]),
                mode: ProofMode::Compressed,
                started_at: Millis(1),
                progress: Some(progress),
                raced: false,
            }],
            ahead: vec![],
            tasks: vec![],
        }
    }

    #[test]
    fn a_storm_of_changes_asks_for_everything_at_most_every_ten_seconds() {
        let (began, mut last) = (tokio::time::Instant::now(), None);
        let asked: Vec<u64> = (0..35)
            .filter(|second| may_reset(&mut last, began + Duration::from_secs(*second)))
            .collect();
        assert_eq!(asked, [0, 10, 20, 30]);
    }

    /// With 500 workers that report progress every second, creating the events takes less than 5 % of a
    /// processor; five times as much without optimisations.
    #[test]
    fn five_hundred_workers_take_less_than_50_ms_a_second() {
        let limit = Duration::from_millis(if cfg!(debug_assertions) { 250 } else { 50 });
        let ids: Vec<WorkerId> =
            (0..500_u128).map(|number| WorkerId(number.to_be_bytes())).collect();
        let here: Vec<KnownWorker> = ids.iter().copied().map(known).collect();
        let scheduler = Scheduler {
            workers: ids.iter().copied().map(at_work).collect(),
            ..Scheduler::default()
        };
        let mut noted = Noted { workers: ids.into_iter().collect(), ..Noted::default() };
        let gone = WorkerId([0xff; 16]);
        noted.workers.insert(gone);
        // The fastest of several runs: other programs use the processor too.
        let took = (0..10).map(|_| {
            let started = Instant::now();
            let owned = (here.clone(), scheduler.clone());
            let changes = assemble(
                Millis(3),
                overview(),
                &noted,
                &[],
                &Clients::default(),
                &owned.0,
                &owned.1,
            );
            let text = serde_json::to_string(&changes).expect("JSON");
            assert_eq!(changes.workers.len(), 500);
            assert_eq!(changes.workers_gone, [gone.to_string()]);
            assert!(text.len() > 100_000);
            started.elapsed()
        });
        let least = took.min().unwrap_or_default();
        println!("an event of 500 workers takes {least:?}");
        assert!(least < limit, "{least:?}");
    }
}
