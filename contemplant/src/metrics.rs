//! Metrics for Prometheus, served with the health of this worker at `metrics_address` if it is set.
//!
//! As in Hierophant, counters and histograms are updated where things happen, the GPUs are shown as of the last read of
//! the driver (`gpu::watch`), and no label is an id of an attempt. `docs/metrics.md` lists all metrics.

mod health;
mod labels;
mod serve;
mod tasks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use network_lib::handshake::{Gpu, GpuLoad};
use network_lib::job::{Phase, ProofMode};
use network_lib::metrics::{self, Counter, Family, FloatGauge, Gauge, Histogram, LONG, Registrar};
use network_lib::metrics::{Registry, Seconds};

pub use self::health::{Connection, Health, obstacle_of};
use self::labels::{AttemptLabels, DirectionLabels, GpuLabels, ModeLabels, PhaseLabels};
pub use self::serve::{serve, serve_grpc_health};
use self::tasks::TaskFamilies;
use crate::attempt::Outcome;

/// Name of the time in which an attempt waits for a slot, where the phases have theirs.
pub const WAITING: &str = "waiting";

/// Head of this program's part of `docs/metrics.md`.
const PAGE: &str = "
## Contemplant

At `http://ADDRESS/metrics`, where ADDRESS is `metrics_address` of `contemplant.toml`; without it no port is open.

| Name | Kind | Meaning |
|---|---|---|
";

/// All metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    rows: String,
    attempts_ended: Family<AttemptLabels, Counter>,
    attempts_running: Gauge,
    phase: Seconds<PhaseLabels>,
    proof: Seconds<ModeLabels>,
    tasks: TaskFamilies,
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
    /// All metrics at zero; `server_starts` is the executor's counter of prover servers that it starts.
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
            "finished phases of attempts, by `mode` and `phase` (`downloading`, `setting_up`, \
             `executing`, `proving`, `uploading`), and the time of prepared ones until a slot is free (`waiting`)",
            || Histogram::new(LONG),
        );
        let proof = to.seconds(
            "proof",
            "from the start of an attempt to its uploaded proof, by `mode`",
            || Histogram::new(LONG),
        );
        let tasks = TaskFamilies::new(&mut to);
        let transferred = to.byte_counters(
            "transferred",
            "programs, inputs and blobs of tasks (`direction` `in`), proofs, results and records (`out`)",
        );
        let connected = to.gauge("connected", "1 while connected to Hierophant, else 0");
        let connections = to.counter(
            "connections",
            "established connections to Hierophant; each but the first follows a lost one",
        );
        to.known_counter(
            "prover_server_starts",
            "GPU prover servers that were started, or connected to if they are external; at least one for each GPU",
            server_starts,
        );
        let gpu_memory = to
            .byte_gauges("gpu_memory", "memory of a GPU, by `gpu` (its index among those in use)");
        let gpu_memory_used = to.byte_gauges("gpu_memory_used", "memory of a GPU in use, by `gpu`");
        let gpu_utilisation = to.float_gauges(
            "gpu_utilisation",
            "ratio",
            "utilisation of a GPU, 0 to 1, by `gpu`, where the driver reports it",
        );
        let gpu_temperature = to.float_gauges(
            "gpu_temperature",
            "celsius",
            "temperature of a GPU, by `gpu`, where the driver reports it",
        );
        let (registry, rows) = to.finish();
        let metrics = Self(Arc::new(Families {
            registry,
            rows,
            attempts_ended,
            attempts_running,
            phase,
            proof,
            tasks,
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

    /// Creates the series that alerts read at zero: Prometheus sees no increase in a series that begins at one.
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
        self.0.tasks.begin_at_zero();
    }

    /// Counts the start of an attempt.
    pub fn attempt_started(&self) {
        self.0.attempts_running.inc();
    }

    /// Counts the end of an attempt.
    pub fn attempt_ended(&self, outcome: &Outcome) {
        let (outcome, class) = match outcome {
            Outcome::Completed { .. } => ("completed", ""),
            Outcome::Failed(failure) => ("failed", failure.class.as_str()),
            Outcome::Abandoned => ("abandoned", ""),
        };
        self.0.attempts_running.dec();
        self.0.attempts_ended.get_or_create(&AttemptLabels { outcome, class }).inc();
    }

    /// Measures a phase of an attempt.
    pub fn phase_ended(&self, mode: ProofMode, phase: Phase, took: Duration) {
        self.step_ended(mode, phase.as_str(), took);
    }

    /// Measures how long a prepared attempt has waited for a slot.
    pub fn waited(&self, mode: ProofMode, took: Duration) {
        self.step_ended(mode, WAITING, took);
    }

    fn step_ended(&self, mode: ProofMode, phase: &'static str, took: Duration) {
        let labels = PhaseLabels { mode: mode.as_str(), phase };
        self.0.phase.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Measures an attempt from its start to its uploaded proof.
    pub fn proved(&self, mode: ProofMode, took: Duration) {
        let labels = ModeLabels { mode: mode.as_str() };
        self.0.proof.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts downloaded bytes.
    pub fn received(&self, bytes: u64) {
        self.transferred("in", bytes);
    }

    /// Counts uploaded bytes.
    pub fn sent(&self, bytes: u64) {
        self.transferred("out", bytes);
    }

    /// Counts a connection to Hierophant, which is shown as open until the guard is dropped.
    #[must_use]
    pub fn connected(&self) -> Connected {
        self.0.connections.inc();
        self.0.connected.set(1);
        Connected(self.clone())
    }

    /// This program's part of `docs/metrics.md`.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{PAGE}{}", self.0.rows)
    }

    /// All metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        metrics::text(&self.0.registry)
    }

    /// Sets the gauges of the GPUs from models and loads in the same order; unknown values are not shown.
    pub fn set_gpus(&self, gpus: &[Gpu], loads: &[GpuLoad]) {
        let families = &*self.0;
        families.gpu_memory.clear();
        families.gpu_memory_used.clear();
        families.gpu_utilisation.clear();
        families.gpu_temperature.clear();
        for (gpu, known) in (0_u32..).zip(gpus) {
            families.gpu_memory.get_or_create(&GpuLabels { gpu }).set(whole(known.memory_bytes));
        }
        for (gpu, load) in (0_u32..).zip(loads) {
            let labels = GpuLabels { gpu };
            if let Some(bytes) = load.memory_used_bytes {
                families.gpu_memory_used.get_or_create(&labels).set(whole(bytes));
            }
            if let Some(percent) = load.utilisation_percent {
                let ratio = f64::from(percent) / 100.0;
                families.gpu_utilisation.get_or_create(&labels).set(ratio);
            }
            if let Some(celsius) = load.temperature_celsius {
                families.gpu_temperature.get_or_create(&labels).set(f64::from(celsius));
            }
        }
    }

    fn transferred(&self, direction: &'static str, bytes: u64) {
        self.0.transferred.get_or_create(&DirectionLabels { direction }).inc_by(bytes);
    }
}

/// Guard of an open connection.
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
