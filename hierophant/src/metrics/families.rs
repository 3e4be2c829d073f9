//! The metric families: names, labels and help texts.

use hierophant_model::records::JobState;
use network_lib::handshake::RefusalCode;
use network_lib::job::ProofMode;
use network_lib::metrics::{Counter, Family, FloatGauge, Gauge, Histogram, LONG, Registrar};
use network_lib::metrics::{SHORT, Seconds};
use network_lib::shard::TaskKind;

use super::gpus::GpuGauges;
use super::labels::{
    AttemptLabels, BytesLabels, ClientLabels, Cut, JobLabels, KindLabels, ModeLabels, NoticeLabels,
    OutcomeLabels, Paused, PortLabels, ProofLabels, QuotaLabels, ReasonLabels, ReceiverLabels,
    Refused, RequestLabels, RpcLabels, StateLabels, StoreLabels, TaskEndLabels, TaskLabels,
    VerificationLabels, WorkerLabels,
};

/// All metric families.
pub(super) struct Families {
    pub(super) requests_accepted: Family<RequestLabels, Counter>,
    pub(super) requests_ended: Family<StateLabels, Counter>,
    pub(super) client_requests: Family<ClientLabels, Counter>,
    pub(super) over_quota: Family<QuotaLabels, Counter>,
    pub(super) jobs_ended: Family<JobLabels, Counter>,
    pub(super) job_wait: Seconds<ModeLabels>,
    pub(super) proof: Seconds<ProofLabels>,
    pub(super) attempts_ended: Family<AttemptLabels, Counter>,
    pub(super) task_ends: Family<TaskEndLabels, Counter>,
    pub(super) task: Seconds<KindLabels>,
    pub(super) verification: Seconds<VerificationLabels>,
    pub(super) store: Seconds<StoreLabels>,
    pub(super) store_errors: Family<StoreLabels, Counter>,
    pub(super) rpc: Seconds<RpcLabels>,
    pub(super) bytes: Family<BytesLabels, Counter>,
    pub(super) notices: Family<NoticeLabels, Counter>,
    pub(super) operators_refused: Family<ReasonLabels, Counter>,
    pub(super) notices_undelivered: Family<ReceiverLabels, Gauge>,
    pub(super) connections: Gauge,
    pub(super) connections_refused: Family<ReasonLabels, Counter>,
    pub(super) connections_cut: Family<ReasonLabels, Counter>,
    pub(super) reads_paused: Family<PortLabels, Counter>,
    pub(super) certificates_read: Family<OutcomeLabels, Counter>,
    pub(super) certificate_ends: FloatGauge,
    pub(super) jobs_waiting: Family<ModeLabels, Gauge>,
    pub(super) jobs_ahead: Gauge,
    pub(super) jobs_unfinished: Gauge,
    pub(super) dispatch_paused: Gauge,
    pub(super) oldest_wait: FloatGauge,
    pub(super) tasks: Family<TaskLabels, Gauge>,
    pub(super) task_memory: Family<KindLabels, Gauge>,
    pub(super) attempts_running: Family<ModeLabels, Gauge>,
    pub(super) workers: Family<WorkerLabels, Gauge>,
    pub(super) workers_refused: Family<ReasonLabels, Counter>,
    pub(super) slots: Gauge,
    pub(super) gpus: GpuGauges,
    pub(super) storage_used: Gauge,
    pub(super) storage_tasks: Gauge,
    pub(super) storage_free: Gauge,
    pub(super) gauges_current: Gauge,
}

impl Families {
    /// Registers all families, in the order in which they are served.
    pub(super) fn new(to: &mut Registrar) -> Self {
        let families = Self {
            requests_accepted: to.counters("requests_accepted", "requests accepted, by `mode` and `network_mode`"),
            requests_ended: to.counters("requests_ended", "requests that ended, by `state`"),
            client_requests: to.counters(
            "client_requests",
            "requests accepted, by `client` (its name in `[[clients]]`, else `other`)",
        ),
            over_quota: to.counters(
            "over_quota",
            "requests, tickets and programs refused because a quota was used up, by `client` and `quota`",
        ),
            jobs_ended: to.counters("jobs_ended", "jobs that ended, by `mode` and `state`"),
            job_wait: to.seconds(
            "job_wait",
            "time from the creation of a job to its first attempt, by `mode`",
            long,
        ),
            proof: to.seconds(
            "proof",
            "time from the start of the last attempt to the accepted proof, by `mode` and `program` (8 digits of \
             its id; `other` after the first 50 programs)",
            long,
        ),
            attempts_ended: to.counters(
            "attempts_ended",
            "attempts at whole jobs that ended, by `outcome` and, if they failed, `class` of the failure",
        ),
            task_ends: to.counters(
            "task_ends",
            "attempts at tasks of proofs that several workers make, by `kind` of the task and `outcome`",
        ),
            task: to.seconds(
            "task",
            "time from the start of an attempt at a task to its stored result, by `kind`",
            long,
        ),
            verification: to.seconds(
            "verification",
            "checks of uploaded proofs, including the wait for a processor, by `mode` and `verdict`",
            short,
        ),
            store: to.seconds("store", "database calls, by `operation` (`read`, `write`)", short),
            store_errors: to.counters("store_errors", "failed database calls, by `operation`"),
            rpc: to.seconds("rpc", "gRPC calls of clients, by `method` and `code`", short),
            bytes: to.byte_counters(
            "artifacts_transferred",
            "bytes of programs, inputs, proofs and results of tasks, by `direction` (`in`, `out`) and `peer` (`client`, \
             `contemplant`, `operator`)",
        ),
            notices: to.counters(
            "webhook_notices",
            "webhook notices, by `receiver` (host and port) and `outcome` (`delivered`, `failed`: will be retried, \
             `given_up`, `dropped`)",
        ),
            operators_refused: to.counters(
            "operator_calls_refused",
            "refused calls of the operator API, by `reason` (`no_token`, `wrong_token`, `too_many`: too many wrong \
             tokens from an address, `foreign_page`: a call from another origin, `not_allowed`: a valid token \
             without the required role)",
        ),
            notices_undelivered: to.gauges(
            "webhook_notices_undelivered",
            "webhook notices not yet delivered, by `receiver`",
        ),
            connections: to.gauge("connections", "open connections on both ports"),
            connections_refused: to.counters(
            "connections_refused",
            "connections refused on arrival, by `reason` (`connections`: too many in total, `address`: too many from \
             one address, `handshakes`: too many pending TLS handshakes, `hellos`: too many WebSockets without a \
             hello, `answers`: a request, because too many bytes of answers wait for their readers)",
        ),
            connections_cut: to.counters(
            "connections_cut",
            "connections closed by Hierophant, by `reason` (`handshake`: TLS handshake failed or timed out, `hello`: \
             WebSocket without a hello, `head`: request head timed out, `idle`: no request for a while, \
             `stalled`: HTTP/2 peer stopped reading an answer, `rate`: too many connections of an address beyond its \
             rate of calls)",
        ),
            reads_paused: to.counters(
            "reads_paused",
            "pauses of reading from a connection whose address is beyond its rate of calls, by `port` (`grpc`, `http`)",
        ),
            certificates_read: to.counters(
            "tls_certificates_read",
            "changed TLS certificates, by `outcome` (`used`, `refused`: certificate and key do not match)",
        ),
            certificate_ends: to.seconds_gauge(
            "tls_certificate_end",
            "expiry of the TLS certificate in use, in Unix time; 0 without TLS",
        ),
            jobs_waiting: to.gauges("jobs_waiting", "jobs waiting for a worker, by `mode`"),
            jobs_ahead: to.gauge(
            "jobs_ahead",
            "waiting jobs that are leased ahead: a worker prepares them while its slots are taken",
        ),
            jobs_unfinished: to.gauge("jobs_unfinished", "jobs that have not ended"),
            dispatch_paused: to.gauge("dispatch_paused", "1 if an operator has paused dispatch, else 0"),
            oldest_wait: to.seconds_gauge("oldest_wait", "age of the oldest waiting job, 0 if none waits"),
            tasks: to.gauges(
            "tasks",
            "unfinished tasks of proofs that several workers make, by `kind` and `state` (`running`: on a \
             worker, also while it fetches inputs, `waiting`)",
        ),
            task_memory: to.byte_gauges(
            "task_memory",
            "most main memory that a task of a proof that several workers make has taken since the start, by `kind`",
        ),
            attempts_running: to.gauges(
            "attempts_running",
            "proofs in progress, by `mode`; one that several workers make counts once",
        ),
            workers: to.gauges(
            "workers",
            "workers, by `state` (`ready`, `draining`, `away`) and `backend`",
        ),
            workers_refused: to.counters(
            "workers_refused",
            "workers refused at their handshake, by `reason` (`unauthorized`: token missing, wrong or revoked, \
             `full`: too many workers in total or by one token, `taken`, `blocked`, `suspended`, \
             `mock_not_allowed`, `protocol_version`, `malformed`, `browser`: a web page's call)",
        ),
            slots: to.gauge("slots", "slots of all workers: jobs that they can run at once"),
            gpus: GpuGauges::new(to),
            storage_used: to.byte_gauge("storage_used", "size of all kept programs, inputs and proofs"),
            storage_tasks: to.byte_gauge("storage_tasks", "size of all stored intermediate results of proofs that many workers make"),
            storage_free: to.byte_gauge("storage_free", "free space on the disk of the data folder"),
            gauges_current: to.gauge(
            "gauges_current",
            "whether the gauges of queue and workers are current: 0 while the scheduler does not answer, because it \
             waits for the store; they keep their last values then",
        ),
        };
        families.begin_at_zero();
        families
    }

    /// Creates the series that alerts read with value zero: Prometheus sees no increase in a series that starts at
    /// one.
    fn begin_at_zero(&self) {
        let classes = ["guest", "request", "worker", "infrastructure"];
        let failed = classes.map(|class| AttemptLabels { outcome: "failed", class });
        let others = [
            ("completed", ""),
            ("cancelled", ""),
            ("given_back", ""),
            ("lost", ""),
            ("lost", "worker"),
        ];
        let others = others.map(|(outcome, class)| AttemptLabels { outcome, class });
        for labels in failed.iter().chain(&others) {
            drop(self.attempts_ended.get_or_create(labels));
        }
        for kind in [TaskKind::Execute, TaskKind::ProveShard].map(TaskKind::as_str) {
            for outcome in ["completed", "failed", "lost", "cancelled"] {
                drop(self.task_ends.get_or_create(&TaskEndLabels { kind, outcome }));
            }
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
                drop(self.jobs_ended.get_or_create(&JobLabels { mode, state }));
            }
            for verdict in ["accepted", "rejected"] {
                drop(self.verification.get_or_create(&VerificationLabels { mode, verdict }));
            }
        }
        for reason in Refused::ALL.map(Refused::as_str) {
            drop(self.connections_refused.get_or_create(&ReasonLabels { reason }));
        }
        for reason in Cut::ALL.map(Cut::as_str) {
            drop(self.connections_cut.get_or_create(&ReasonLabels { reason }));
        }
        for port in Paused::ALL.map(Paused::as_str) {
            drop(self.reads_paused.get_or_create(&PortLabels { port }));
        }
        for outcome in ["used", "refused"] {
            drop(self.certificates_read.get_or_create(&OutcomeLabels { outcome }));
        }
        for reason in ["no_token", "wrong_token", "too_many", "foreign_page", "not_allowed"] {
            drop(self.operators_refused.get_or_create(&ReasonLabels { reason }));
        }
        for reason in RefusalCode::ALL.map(RefusalCode::as_str).into_iter().chain(["browser"]) {
            drop(self.workers_refused.get_or_create(&ReasonLabels { reason }));
        }
        for operation in ["read", "write"] {
            drop(self.store_errors.get_or_create(&StoreLabels { operation }));
        }
    }
}

/// Histogram of durations of proofs and of waiting.
fn long() -> Histogram {
    Histogram::new(LONG)
}

/// Histogram of durations of calls and checks.
fn short() -> Histogram {
    Histogram::new(SHORT)
}
