//! Metrics for Prometheus.
//!
//! Counters and histograms are updated when events happen; gauges are set from a [`GaugeSnapshot`] at each scrape.
//! Nothing is global, so that several Hierophants can run in one process. Labels contain no ids of requests, jobs
//! or workers, which bounds the number of series. `docs/metrics.md` lists all metrics.

mod families;
mod gpus;
mod labels;
mod rpc;
mod scrape;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::clients::OverQuota;
use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, Change, JobRecord, JobState, RequestRecord,
};
use hierophant_store::CallObserver;
use network_lib::ids::VkHash;
use network_lib::job::{Failure, ProofMode};
use network_lib::metrics::{Registrar, Registry};

use families::Families;
use labels::{
    AttemptLabels, BytesLabels, ClientLabels, JobLabels, KindLabels, ModeLabels, NoticeLabels,
    OutcomeLabels, PortLabels, ProofLabels, QuotaLabels, ReasonLabels, RequestLabels, StateLabels,
    StoreLabels, TaskEndLabels, VerificationLabels,
};
use parking_lot::Mutex;

pub use labels::{Cut, Direction, Paused, Peer, Refused};
pub use rpc::RpcLayer;
pub use scrape::{ActorSnapshot, GaugeSnapshot};

/// Maximum number of programs with their own series; further ones count as `other`.
const MAX_PROGRAMS: usize = 50;

/// Maximum number of GPU models with their own series; further ones count as `other`.
const MAX_MODELS: usize = 20;

/// Beginning of the page that lists all metrics.
const PAGE: &str = "\
# Metrics

Both programs serve metrics in the OpenMetrics text format, which Prometheus reads. Labels contain no ids of
requests, jobs or workers, which bounds the number of series. `deploy/prometheus` contains an example of a scrape
configuration and alert rules, `deploy/grafana` a dashboard.

## Hierophant

At `http://HOST:9010/metrics`; calls from other machines need a token with role `read`.

| Name | Kind | Meaning |
|---|---|---|
";

/// Metrics of the program. Clones share their values.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    registry: Registry,
    /// Rows of the table of all metrics.
    rows: String,
    families: Families,
    /// Programs with their own series.
    programs: Mutex<BTreeSet<VkHash>>,
    /// Held during a scrape.
    scrape: Mutex<()>,
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
        self.0.families.store.get_or_create(&labels).observe(took.as_secs_f64());
        if !succeeded {
            self.0.families.store_errors.get_or_create(&labels).inc();
        }
    }
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut to = Registrar::new("hierophant");
        let families = Families::new(&mut to);
        let (registry, rows) = to.finish();
        let (programs, scrape) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { registry, rows, families, programs, scrape }))
    }

    /// Counts a committed change of the scheduler.
    pub fn changed(&self, change: &Change) {
        match change {
            Change::Request(request, spec) => self.request_changed(request, spec.mode),
            Change::Job(job) => self.job_changed(job),
            Change::Attempt(attempt) => self.attempt_changed(attempt),
            _ => {}
        }
    }

    /// Counts an accepted request, by the name of the client.
    pub fn client_asked(&self, client: Option<&str>) {
        self.0.families.client_requests.get_or_create(&ClientLabels::of(client)).inc();
    }

    /// Counts a refusal because of a quota, by the name of the client.
    pub fn over_quota(&self, client: Option<&str>, over: OverQuota) {
        let ClientLabels { client } = ClientLabels::of(client);
        self.0.families.over_quota.get_or_create(&QuotaLabels { client, quota: over.key() }).inc();
    }

    /// Counts the check of a proof.
    pub fn verified(&self, mode: ProofMode, verdict: &Result<(), Failure>, took: Duration) {
        let verdict = if verdict.is_ok() { "accepted" } else { "rejected" };
        let labels = VerificationLabels { mode: mode.as_str(), verdict };
        self.0.families.verification.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts transferred bytes.
    pub fn transferred(&self, direction: Direction, peer: Peer, bytes: u64) {
        let labels = BytesLabels { direction: direction.as_str(), peer: peer.as_str() };
        self.0.families.bytes.get_or_create(&labels).inc_by(bytes);
    }

    /// Counts a webhook notice by its outcome.
    pub fn notice(&self, receiver: &str, outcome: &'static str) {
        let labels = NoticeLabels { receiver: receiver.to_owned(), outcome };
        self.0.families.notices.get_or_create(&labels).inc();
    }

    /// Counts an accepted connection.
    pub fn connection_opened(&self) {
        self.0.families.connections.inc();
    }

    /// Counts the end of an accepted connection.
    pub fn connection_closed(&self) {
        self.0.families.connections.dec();
    }

    /// Counts a refused connection.
    pub fn connection_refused(&self, why: Refused) {
        let labels = ReasonLabels { reason: why.as_str() };
        self.0.families.connections_refused.get_or_create(&labels).inc();
    }

    /// Counts a connection closed by Hierophant.
    pub fn connection_cut(&self, why: Cut) {
        self.0.families.connections_cut.get_or_create(&ReasonLabels { reason: why.as_str() }).inc();
    }

    /// Counts a pause of reading from a connection.
    pub fn reading_paused(&self, port: Paused) {
        self.0.families.reads_paused.get_or_create(&PortLabels { port: port.as_str() }).inc();
    }

    /// Counts a reload of changed certificates.
    pub fn certificates_read(&self, used: bool) {
        let outcome = if used { "used" } else { "refused" };
        self.0.families.certificates_read.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Sets the expiry of the certificate in use, in Unix seconds.
    #[allow(clippy::cast_precision_loss, reason = "Unix seconds are far below 2^52")]
    pub fn certificate_ends(&self, unix_seconds: i64) {
        self.0.families.certificate_ends.set(unix_seconds as f64);
    }

    /// Counts a refused worker, by the code of the refusal or `browser`.
    pub fn worker_refused(&self, reason: &'static str) {
        self.0.families.workers_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a refused call of the operator API.
    pub fn operator_refused(&self, reason: &'static str) {
        self.0.families.operators_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Markdown page that lists all metrics.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{PAGE}{}", self.0.rows)
    }

    fn request_changed(&self, request: &RequestRecord, mode: ProofMode) {
        if request.state.is_terminal() {
            let labels = StateLabels { state: request.state.as_str() };
            self.0.families.requests_ended.get_or_create(&labels).inc();
        } else if request.created_at == request.updated_at {
            let network_mode = request.network_mode.as_str();
            let labels = RequestLabels { mode: mode.as_str(), network_mode };
            self.0.families.requests_accepted.get_or_create(&labels).inc();
        }
    }

    fn job_changed(&self, job: &JobRecord) {
        let mode = job.spec.mode.as_str();
        if job.state.is_terminal() {
            let labels = JobLabels { mode, state: job.state.as_str() };
            self.0.families.jobs_ended.get_or_create(&labels).inc();
        }
        match (job.state, job.started_at, job.finished_at) {
            (JobState::Leased, Some(started), _) if job.attempts == 1 => {
                let waited = seconds(started.since(job.created_at));
                self.0.families.job_wait.get_or_create(&ModeLabels { mode }).observe(waited);
            }
            (JobState::Proved, Some(started), Some(finished)) => {
                let labels = ProofLabels { mode, program: self.program(job.spec.vk_hash) };
                let took = seconds(finished.since(started));
                self.0.families.proof.get_or_create(&labels).observe(took);
            }
            _ => {}
        }
    }

    fn attempt_changed(&self, attempt: &AttemptRecord) {
        let Some(ended_at) = attempt.ended_at else { return };
        if let Some(task) = attempt.task {
            let (kind, outcome) = (task.kind.as_str(), attempt.outcome.as_str());
            self.0.families.task_ends.get_or_create(&TaskEndLabels { kind, outcome }).inc();
            if attempt.outcome == AttemptOutcome::Completed {
                let took = seconds(ended_at.since(attempt.started_at));
                self.0.families.task.get_or_create(&KindLabels { kind }).observe(took);
            }
            return;
        }
        let class = attempt.failure_class.map_or("", |class| class.as_str());
        let labels = AttemptLabels { outcome: attempt.outcome.as_str(), class };
        self.0.families.attempts_ended.get_or_create(&labels).inc();
    }

    /// Label of a program.
    fn program(&self, vk_hash: VkHash) -> String {
        let mut known = self.0.programs.lock();
        if !known.contains(&vk_hash) {
            if known.len() == MAX_PROGRAMS {
                return "other".to_owned();
            }
            known.insert(vk_hash);
        }
        hex::encode(&vk_hash.as_bytes()[..4])
    }
}

fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "durations in milliseconds are far below 2^52")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
