//! What a Contemplant tells Prometheus, and the port where it does, if `metrics_address` names one.
//!
//! As in Hierophant, counters and histograms are fed where things happen, the GPUs are shown as they were when
//! the driver was last asked (`gpu::watch`), and no label is an id of an attempt. `docs/metrics.md` lists them all.

mod labels;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use network_lib::handshake::{Capabilities, Gpu, GpuLoad};
use network_lib::job::{Phase, ProofMode};
use network_lib::metrics::{self, Counter, Family, FloatGauge, Gauge, Histogram, LONG, Registrar};
use network_lib::metrics::{Registry, Seconds};
use network_lib::task;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::labels::{AttemptLabels, DirectionLabels, GpuLabels, ModeLabels, PhaseLabels};
use crate::attempt::Outcome;

/// How this program's part of the page about all metrics begins.
const PAGE: &str = "
## Contemplant

At `http://ADDRESS/metrics`, where ADDRESS is `metrics_address` of `contemplant.toml`; without it no port is open.

| Name | Kind | What it is |
|---|---|---|
";

/// Everything that is measured. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Measures>);

struct Measures {
    registry: Registry,
    rows: String,
    attempts_ended: Family<AttemptLabels, Counter>,
    attempts_running: Gauge,
    phase: Seconds<PhaseLabels>,
    proof: Seconds<ModeLabels>,
    transferred: Family<DirectionLabels, Counter>,
    connected: Gauge,
    connections: Counter,
    gpu_memory: Family<GpuLabels, Gauge>,
    gpu_memory_used: Family<GpuLabels, Gauge>,
    gpu_utilisation: Family<GpuLabels, FloatGauge>,
    gpu_temperature: Family<GpuLabels, FloatGauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Everything at zero; the executor counts the prover servers that it starts in `server_starts`.
    #[must_use]
    pub fn new(server_starts: Counter) -> Self {
        let mut to = Registrar::new("contemplant");
        let attempts_ended = to.counters(
            "attempts_ended",
            "attempts that ended, by `outcome` (`completed`, `failed`, `abandoned`) and, if they failed, \
             `class` of the failure",
        );
        let attempts_running = to.gauge("attempts_running", "attempts in progress");
        let phase = to.seconds(
            "phase",
            "steps of attempts that are over, by `mode` and `phase` (`downloading`, `setting_up`, \
             `executing`, `proving`, `uploading`)",
            || Histogram::new(LONG),
        );
        let proof = to.seconds(
            "proof",
            "from the start of an attempt to its proof in Hierophant's hands, by `mode`",
            || Histogram::new(LONG),
        );
        let transferred = to.byte_counters(
            "transferred",
            "programs and inputs (`direction` `in`) and proofs (`out`)",
        );
        let connected = to.gauge("connected", "1 while connected to Hierophant, else 0");
        let connections = to.counter(
            "connections",
            "connections to Hierophant that were established; each but the first follows one that was lost",
        );
        to.known_counter(
            "prover_server_starts",
            "GPU prover servers that were started, or connected to if somebody else runs them; one for each \
             GPU is the least",
            server_starts,
        );
        let gpu_memory = to.byte_gauges(
            "gpu_memory",
            "memory of a GPU, by `gpu` (its place among those that are served)",
        );
        let gpu_memory_used =
            to.byte_gauges("gpu_memory_used", "memory of a GPU that is in use, by `gpu`");
        let gpu_utilisation = to.float_gauges(
            "gpu_utilisation",
            "ratio",
            "how busy a GPU is, 0 to 1, by `gpu`, where the driver tells",
        );
        let gpu_temperature = to.float_gauges(
            "gpu_temperature",
            "celsius",
            "how warm a GPU is, by `gpu`, where the driver tells",
        );
        let (registry, rows) = to.finish();
        let metrics = Self(Arc::new(Measures {
            registry,
            rows,
            attempts_ended,
            attempts_running,
            phase,
            proof,
            transferred,
            connected,
            connections,
            gpu_memory,
            gpu_memory_used,
            gpu_utilisation,
            gpu_temperature,
        }));
        metrics.begin_at_zero();
        metrics
    }

    /// What alerts are made of is there before it first happens: Prometheus sees no increase in a series that
    /// begins at one.
    fn begin_at_zero(&self) {
        let ended = |outcome, class| {
            drop(self.0.attempts_ended.get_or_create(&AttemptLabels { outcome, class }));
        };
        for outcome in ["completed", "abandoned"] {
            ended(outcome, "");
        }
        for class in ["guest", "request", "worker", "infrastructure"] {
            ended("failed", class);
        }
    }

    /// An attempt has begun.
    pub fn attempt_began(&self) {
        self.0.attempts_running.inc();
    }

    /// An attempt has ended.
    pub fn attempt_ended(&self, outcome: &Outcome) {
        let (outcome, class) = match outcome {
            Outcome::Completed { .. } => ("completed", ""),
            Outcome::Failed(failure) => ("failed", failure.class.as_str()),
            Outcome::Abandoned => ("abandoned", ""),
        };
        self.0.attempts_running.dec();
        self.0.attempts_ended.get_or_create(&AttemptLabels { outcome, class }).inc();
    }

    /// A step of an attempt is over.
    pub fn phase_ended(&self, mode: ProofMode, phase: Phase, took: Duration) {
        let labels = PhaseLabels { mode: mode.as_str(), phase: phase.as_str() };
        self.0.phase.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A proof is in Hierophant's hands.
    pub fn proved(&self, mode: ProofMode, took: Duration) {
        let labels = ModeLabels { mode: mode.as_str() };
        self.0.proof.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Bytes have arrived.
    pub fn received(&self, bytes: u64) {
        self.transferred("in", bytes);
    }

    /// Bytes have gone out.
    pub fn sent(&self, bytes: u64) {
        self.transferred("out", bytes);
    }

    /// A connection to Hierophant stands, until the answer is dropped.
    #[must_use]
    pub fn connected(&self) -> Connected {
        self.0.connections.inc();
        self.0.connected.set(1);
        Connected(self.clone())
    }

    /// The part of the page about all metrics that is this program's, as Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{PAGE}{}", self.0.rows)
    }

    /// All of it as text.
    #[must_use]
    pub fn render(&self) -> String {
        metrics::text(&self.0.registry)
    }

    /// The GPUs and what they are doing, in the same order; what is not known of them is not shown.
    pub fn set_gpus(&self, gpus: &[Gpu], loads: &[GpuLoad]) {
        let measures = &*self.0;
        measures.gpu_memory.clear();
        measures.gpu_memory_used.clear();
        measures.gpu_utilisation.clear();
        measures.gpu_temperature.clear();
        for (gpu, known) in (0_u32..).zip(gpus) {
            measures.gpu_memory.get_or_create(&GpuLabels { gpu }).set(whole(known.memory_bytes));
        }
        for (gpu, load) in (0_u32..).zip(loads) {
            let labels = GpuLabels { gpu };
            if let Some(bytes) = load.memory_used_bytes {
                measures.gpu_memory_used.get_or_create(&labels).set(whole(bytes));
            }
            if let Some(percent) = load.utilisation_percent {
                let ratio = f64::from(percent) / 100.0;
                measures.gpu_utilisation.get_or_create(&labels).set(ratio);
            }
            if let Some(celsius) = load.temperature_celsius {
                measures.gpu_temperature.get_or_create(&labels).set(f64::from(celsius));
            }
        }
    }

    fn transferred(&self, direction: &'static str, bytes: u64) {
        self.0.transferred.get_or_create(&DirectionLabels { direction }).inc_by(bytes);
    }
}

/// A connection that stands.
#[derive(Debug)]
pub struct Connected(Metrics);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.connected.set(0);
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Serves `GET /metrics` at `address` until `stop` is cancelled; what an executor tells of its GPUs is shown
/// as it was told last.
///
/// # Errors
///
/// When nothing can listen there.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    capabilities: watch::Receiver<Capabilities>,
    gpu_loads: watch::Receiver<Vec<GpuLoad>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another `metrics_address` or stop what uses it")
    })?;
    tracing::info!(address = %listener.local_addr()?, "figures for Prometheus are served");
    let answer = async move || {
        metrics.set_gpus(&capabilities.borrow().gpus, &gpu_loads.borrow());
        ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render())
    };
    let router = Router::new().route("/metrics", get(answer));
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    task::spawn("metrics", async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "figures for Prometheus are not served any more");
        }
    });
    Ok(())
}
