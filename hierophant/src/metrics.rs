//! What Hierophant tells Prometheus.
//!
//! Counters and histograms are fed where things happen; gauges are set from [`Figures`] when somebody
//! asks. Nothing is global, so that several Hierophants can run in one process. No label is an id of a
//! request, job or worker: the number of series stays small. `docs/metrics.md` lists them all.

mod gpus;
mod labels;
mod rpc;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hierophant_model::clients::OverQuota;
use hierophant_model::records::{
    AttemptRecord, Change, JobRecord, JobState, Millis, ReceiverState, RequestRecord, Usage,
};
use hierophant_scheduler::proofs::Overview;
use hierophant_scheduler::registry::KnownWorker;
use hierophant_store::CallObserver;
use network_lib::ids::VkHash;
use network_lib::job::{Failure, ProofMode};
use network_lib::metrics::{self, Counter, Family, FloatGauge, Gauge, Histogram, LONG, Registrar};
use network_lib::metrics::{Registry, SHORT, Seconds};

use labels::{
    AttemptLabels, BytesLabels, ClientLabels, JobLabels, ModeLabels, NoticeLabels, ProofLabels,
    QuotaLabels, ReadLabels, ReasonLabels, ReceiverLabels, RefusalLabels, RequestLabels, RpcLabels,
    StateLabels, StoreLabels, VerificationLabels, WorkerLabels,
};

use gpus::GpuGauges;

pub use labels::{Cut, Direction, Peer, Refused};
pub use rpc::RpcLayer;

/// Programs with a series of their own; those after them are counted as `other`.
const MOST_PROGRAMS: usize = 50;

/// Models of GPUs with a series of their own; the others are counted as `other`.
const MOST_MODELS: usize = 20;

/// How the page about all metrics begins.
const PAGE: &str = "\
# Metrics

Both programs serve their figures in the text format of OpenMetrics that Prometheus reads. No label is an id of a
request, job or Contemplant, so the number of series stays small. `deploy/prometheus` has an example of how to
scrape them, with alert rules, `deploy/grafana` a dashboard.

## Hierophant

At `http://HOST:9010/metrics`; from another machine with a token of role read.

| Name | Kind | What it is |
|---|---|---|
";

/// Everything that is measured. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Measures>);

struct Measures {
    registry: Registry,
    rows: String,
    programs: Mutex<BTreeSet<VkHash>>,
    requests_accepted: Family<RequestLabels, Counter>,
    requests_ended: Family<StateLabels, Counter>,
    client_requests: Family<ClientLabels, Counter>,
    over_quota: Family<QuotaLabels, Counter>,
    jobs_ended: Family<JobLabels, Counter>,
    job_wait: Seconds<ModeLabels>,
    proof: Seconds<ProofLabels>,
    attempts_ended: Family<AttemptLabels, Counter>,
    verification: Seconds<VerificationLabels>,
    store: Seconds<StoreLabels>,
    store_errors: Family<StoreLabels, Counter>,
    rpc: Seconds<RpcLabels>,
    bytes: Family<BytesLabels, Counter>,
    notices: Family<NoticeLabels, Counter>,
    operators_refused: Family<RefusalLabels, Counter>,
    notices_undelivered: Family<ReceiverLabels, Gauge>,
    connections: Gauge,
    connections_refused: Family<ReasonLabels, Counter>,
    connections_cut: Family<ReasonLabels, Counter>,
    certificates_read: Family<ReadLabels, Counter>,
    certificate_ends: FloatGauge,
    jobs_waiting: Family<ModeLabels, Gauge>,
    jobs_unfinished: Gauge,
    dispatch_paused: Gauge,
    oldest_wait: FloatGauge,
    attempts_running: Family<ModeLabels, Gauge>,
    workers: Family<WorkerLabels, Gauge>,
    slots: Gauge,
    gpus: GpuGauges,
    storage_used: Gauge,
    storage_free: Gauge,
}

/// What the gauges are set from.
#[derive(Debug)]
pub struct Figures {
    /// Now.
    pub now: Millis,
    /// The scheduler.
    pub overview: Overview,
    /// Who is connected.
    pub workers: Vec<KnownWorker>,
    /// The disk.
    pub storage: Usage,
    /// Receivers of webhooks.
    pub webhooks: Vec<ReceiverState>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl CallObserver for Metrics {
    fn call_ended(&self, operation: &'static str, succeeded: bool, took: Duration) {
        let labels = StoreLabels { operation };
        self.0.store.get_or_create(&labels).observe(took.as_secs_f64());
        if !succeeded {
            self.0.store_errors.get_or_create(&labels).inc();
        }
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut to = Registrar::new("hierophant");
        let requests_accepted =
            to.counters("requests_accepted", "requests accepted, by `mode` and `network_mode`");
        let requests_ended = to.counters("requests_ended", "requests that ended, by `state`");
        let client_requests = to.counters(
            "client_requests",
            "requests accepted, by `client` (its name in `[[clients]]`, else `other`)",
        );
        let over_quota = to.counters(
            "over_quota",
            "requests, tickets and programs refused because a quota was used up, by `client` and `quota`",
        );
        let jobs_ended = to.counters("jobs_ended", "jobs that ended, by `mode` and `state`");
        let job_wait = to.seconds(
            "job_wait",
            "from the acceptance of a job to its first attempt, by `mode`",
            || Histogram::new(LONG),
        );
        let proof = to.seconds(
            "proof",
            "from the start of the last attempt to the accepted proof, by `mode` and `program` (8 \
             digits of its id; those after the first 50 are `other`)",
            || Histogram::new(LONG),
        );
        let attempts_ended = to.counters(
            "attempts_ended",
            "attempts that ended, by `outcome` and, if they failed, `class` of the failure",
        );
        let verification = to.seconds(
            "verification",
            "checks of proofs that were handed in, waiting for a processor included, by `mode` and \
             `verdict`",
            || Histogram::new(SHORT),
        );
        let store =
            to.seconds("store", "calls of the database, by `operation` (`read`, `write`)", || {
                Histogram::new(SHORT)
            });
        let store_errors =
            to.counters("store_errors", "calls of the database that failed, by `operation`");
        let rpc = to.seconds("rpc", "gRPC calls of clients, by `method` and `code`", || {
            Histogram::new(SHORT)
        });
        let bytes = to.byte_counters(
            "artifacts_transferred",
            "programs, inputs and proofs, by `direction` (`in`, `out`) and `peer` (`client`, \
             `contemplant`, `operator`)",
        );
        let notices = to.counters(
            "webhook_notices",
            "notices to receivers of webhooks, by `receiver` (host and port) and `outcome` \
             (`delivered`, `failed`: to be tried again, `given_up`, `dropped`)",
        );
        let operators_refused = to.counters(
            "operator_calls_refused",
            "calls of operators' pages that were refused, by `reason` (`no_token`, `wrong_token`, `too_many` \
             wrong tokens from an address, `foreign_page`, `not_allowed`: a good token without the right)",
        );
        let notices_undelivered = to.gauges(
            "webhook_notices_undelivered",
            "notices that receivers of webhooks have yet to take, by `receiver`",
        );
        let connections = to.gauge("connections", "open connections on both ports");
        let connections_refused = to.counters(
            "connections_refused",
            "connections that were closed at once, by `reason` (`connections`: too many in all, `address`: \
             too many from one address, `handshakes`: too many TLS handshakes, `hellos`: too many \
             WebSockets that have not said who they are)",
        );
        let connections_cut = to.counters(
            "connections_cut",
            "connections that were ended, by `reason` (`handshake`: no TLS handshake, or not in time, \
             `hello`: a WebSocket that did not say who it is, `head`: no request in time, `idle`: no \
             request for a while, `stalled`: nothing of an answer was taken over HTTP/2)",
        );
        let certificates_read = to.counters(
            "tls_certificates_read",
            "changed TLS certificates, by `outcome` (`used`, `refused`: they do not fit together)",
        );
        let certificate_ends = to.seconds_gauge(
            "tls_certificate_end",
            "when the TLS certificate in use ends, in Unix time; 0 without TLS",
        );
        let jobs_waiting = to.gauges("jobs_waiting", "jobs that wait for a Contemplant, by `mode`");
        let jobs_unfinished = to.gauge("jobs_unfinished", "jobs that have not ended");
        let dispatch_paused =
            to.gauge("dispatch_paused", "1 if an operator has paused dispatch, else 0");
        let oldest_wait =
            to.seconds_gauge("oldest_wait", "age of the oldest job that waits, 0 if none does");
        let attempts_running = to.gauges("attempts_running", "attempts in progress, by `mode`");
        let workers = to.gauges(
            "workers",
            "Contemplants, by `state` (`ready`, `draining`, `away`) and `backend`",
        );
        let slots = to.gauge("slots", "jobs that all Contemplants together take at once");
        let gpus = GpuGauges::new(&mut to);
        let storage_used =
            to.byte_gauge("storage_used", "all programs, inputs and proofs that are kept");
        let storage_free = to.byte_gauge("storage_free", "free space where the data folder lies");
        let (registry, rows) = to.finish();
        let metrics = Self(Arc::new(Measures {
            registry,
            rows,
            programs: Mutex::default(),
            requests_accepted,
            requests_ended,
            client_requests,
            over_quota,
            jobs_ended,
            job_wait,
            proof,
            attempts_ended,
            verification,
            store,
            store_errors,
            rpc,
            bytes,
            notices,
            operators_refused,
            notices_undelivered,
            connections,
            connections_refused,
            connections_cut,
            certificates_read,
            certificate_ends,
            jobs_waiting,
            jobs_unfinished,
            dispatch_paused,
            oldest_wait,
            attempts_running,
            workers,
            slots,
            gpus,
            storage_used,
            storage_free,
        }));
        metrics.begin_at_zero();
        metrics
    }

    /// What alerts are made of is there before it first happens: Prometheus sees no increase in a series that
    /// begins at one.
    fn begin_at_zero(&self) {
        let measures = &*self.0;
        let classes = ["guest", "request", "worker", "infrastructure"];
        let failed = classes.map(|class| AttemptLabels { outcome: "failed", class });
        let others = [("completed", ""), ("cancelled", ""), ("lost", ""), ("lost", "worker")];
        let others = others.map(|(outcome, class)| AttemptLabels { outcome, class });
        for labels in failed.iter().chain(&others) {
            drop(measures.attempts_ended.get_or_create(labels));
        }
        let jobs = [
            JobState::Proved,
            JobState::Unexecutable,
            JobState::Failed,
            JobState::Cancelled,
            JobState::Expired,
        ];
        for mode in ProofMode::ALL.map(ProofMode::as_str) {
            for state in jobs.map(JobState::as_str) {
                drop(measures.jobs_ended.get_or_create(&JobLabels { mode, state }));
            }
            for verdict in ["accepted", "rejected"] {
                drop(measures.verification.get_or_create(&VerificationLabels { mode, verdict }));
            }
        }
        for reason in Refused::ALL.map(Refused::as_str) {
            drop(measures.connections_refused.get_or_create(&ReasonLabels { reason }));
        }
        for reason in Cut::ALL.map(Cut::as_str) {
            drop(measures.connections_cut.get_or_create(&ReasonLabels { reason }));
        }
        for outcome in ["used", "refused"] {
            drop(measures.certificates_read.get_or_create(&ReadLabels { outcome }));
        }
        for reason in ["no_token", "wrong_token", "too_many", "foreign_page", "not_allowed"] {
            drop(measures.operators_refused.get_or_create(&RefusalLabels { reason }));
        }
        for operation in ["read", "write"] {
            drop(measures.store_errors.get_or_create(&StoreLabels { operation }));
        }
    }

    /// A change of the scheduler's that is in the store now.
    pub fn changed(&self, change: &Change) {
        match change {
            Change::Request(request, spec) => self.request_changed(request, spec.mode),
            Change::Job(job) => self.job_changed(job),
            Change::Attempt(attempt) => self.attempt_changed(attempt),
            _ => {}
        }
    }

    /// A new request was accepted from a client of this name.
    pub fn client_asked(&self, client: Option<&str>) {
        self.0.client_requests.get_or_create(&ClientLabels::of(client)).inc();
    }

    /// A client of this name was refused something because of a quota.
    pub fn over_quota(&self, client: Option<&str>, over: OverQuota) {
        let ClientLabels { client } = ClientLabels::of(client);
        self.0.over_quota.get_or_create(&QuotaLabels { client, quota: over.key() }).inc();
    }

    /// A proof was checked.
    pub fn verified(&self, mode: ProofMode, verdict: &Result<(), Failure>, took: Duration) {
        let verdict = if verdict.is_ok() { "accepted" } else { "rejected" };
        let labels = VerificationLabels { mode: mode.as_str(), verdict };
        self.0.verification.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Bytes have gone in or out.
    pub fn transferred(&self, direction: Direction, peer: Peer, bytes: u64) {
        self.0.bytes.get_or_create(&BytesLabels { direction, peer }).inc_by(bytes);
    }

    /// What became of a notice to a receiver of webhooks.
    pub fn notice(&self, receiver: &str, outcome: &'static str) {
        let labels = NoticeLabels { receiver: receiver.to_owned(), outcome };
        self.0.notices.get_or_create(&labels).inc();
    }

    /// A connection was let in.
    pub fn connection_opened(&self) {
        self.0.connections.inc();
    }

    /// A connection that was let in is gone.
    pub fn connection_closed(&self) {
        self.0.connections.dec();
    }

    /// A connection was not taken.
    pub fn connection_refused(&self, why: Refused) {
        let labels = ReasonLabels { reason: why.as_str() };
        self.0.connections_refused.get_or_create(&labels).inc();
    }

    /// A connection was ended.
    pub fn connection_cut(&self, why: Cut) {
        self.0.connections_cut.get_or_create(&ReasonLabels { reason: why.as_str() }).inc();
    }

    /// Changed certificates were read.
    pub fn certificates_read(&self, used: bool) {
        let outcome = if used { "used" } else { "refused" };
        self.0.certificates_read.get_or_create(&ReadLabels { outcome }).inc();
    }

    /// The certificate in use ends then, in Unix seconds.
    #[allow(clippy::cast_precision_loss, reason = "Unix seconds are far below 2^52")]
    pub fn certificate_ends(&self, unix_seconds: i64) {
        self.0.certificate_ends.set(unix_seconds as f64);
    }

    /// A call of an operator's page was refused.
    pub fn operator_refused(&self, reason: &'static str) {
        self.0.operators_refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// All of it as text, with the gauges as `figures` say.
    #[must_use]
    pub fn render(&self, figures: &Figures) -> String {
        self.set_gauges(figures);
        metrics::text(&self.0.registry)
    }

    /// The page about all metrics, as Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{PAGE}{}", self.0.rows)
    }

    fn request_changed(&self, request: &RequestRecord, mode: ProofMode) {
        if request.state.is_terminal() {
            let labels = StateLabels { state: request.state.as_str() };
            self.0.requests_ended.get_or_create(&labels).inc();
        } else if request.created_at == request.updated_at {
            let network_mode = request.network_mode.as_str();
            let labels = RequestLabels { mode: mode.as_str(), network_mode };
            self.0.requests_accepted.get_or_create(&labels).inc();
        }
    }

    fn job_changed(&self, job: &JobRecord) {
        let mode = job.spec.mode.as_str();
        if job.state.is_terminal() {
            let labels = JobLabels { mode, state: job.state.as_str() };
            self.0.jobs_ended.get_or_create(&labels).inc();
        }
        match (job.state, job.started_at, job.finished_at) {
            (JobState::Leased, Some(started), _) if job.attempts == 1 => {
                let waited = in_seconds(started.since(job.created_at));
                self.0.job_wait.get_or_create(&ModeLabels { mode }).observe(waited);
            }
            (JobState::Proved, Some(started), Some(finished)) => {
                let labels = ProofLabels { mode, program: self.program(job.spec.vk_hash) };
                let took = in_seconds(finished.since(started));
                self.0.proof.get_or_create(&labels).observe(took);
            }
            _ => {}
        }
    }

    fn attempt_changed(&self, attempt: &AttemptRecord) {
        if attempt.ended_at.is_none() {
            return;
        }
        let class = attempt.failure_class.map_or("", |class| class.as_str());
        let labels = AttemptLabels { outcome: attempt.outcome.as_str(), class };
        self.0.attempts_ended.get_or_create(&labels).inc();
    }

    /// A program's label.
    fn program(&self, vk_hash: VkHash) -> String {
        let mut known = self.0.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&vk_hash) {
            if known.len() == MOST_PROGRAMS {
                return "other".to_owned();
            }
            known.insert(vk_hash);
        }
        hex::encode(&vk_hash.as_bytes()[..4])
    }

    fn set_gauges(&self, figures: &Figures) {
        let measures = &*self.0;
        let overview = &figures.overview;
        for mode in ProofMode::ALL {
            let labels = ModeLabels { mode: mode.as_str() };
            let waiting = overview.waiting_by_mode.get(&mode).copied().unwrap_or(0);
            measures.jobs_waiting.get_or_create(&labels).set(whole(waiting));
            let running = overview.workers.iter().flat_map(|worker| &worker.running);
            let running = running.filter(|proof| proof.mode == mode).count();
            measures.attempts_running.get_or_create(&labels).set(whole(running));
        }
        measures.jobs_unfinished.set(whole(overview.unfinished));
        measures.dispatch_paused.set(i64::from(overview.paused.is_some()));
        let oldest = overview.oldest_waiting.map_or(0, |created| figures.now.since(created));
        measures.oldest_wait.set(in_seconds(oldest));
        let slots: usize =
            overview.workers.iter().map(|worker| worker.capabilities.slots as usize).sum();
        measures.slots.set(whole(slots));
        measures.storage_used.set(whole(figures.storage.stored));
        if let Some(free) = figures.storage.free {
            measures.storage_free.set(whole(free));
        }
        for state in &figures.webhooks {
            let labels = ReceiverLabels { receiver: state.receiver.clone() };
            measures.notices_undelivered.get_or_create(&labels).set(whole(state.undelivered));
        }
        measures.workers.clear();
        let work: BTreeMap<_, _> =
            overview.workers.iter().map(|work| (work.worker, work)).collect();
        for known in &figures.workers {
            let Some(work) = work.get(&known.worker) else { continue };
            let labels =
                WorkerLabels { state: known.state().as_str(), backend: work.backend.as_str() };
            measures.workers.get_or_create(&labels).inc();
        }
        measures.gpus.set(figures.workers.iter().filter_map(|known| {
            let work = work.get(&known.worker)?;
            Some((work.capabilities.gpus.as_slice(), known.gpus.as_slice()))
        }));
    }
}

fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a wait are far below 2^52")]
fn in_seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
