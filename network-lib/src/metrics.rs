//! Metrics for Prometheus, the same way in both programs: named by noun and unit behind the program's name,
//! and each described in a table row on the way, of which `docs/metrics.md` is made.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Unit};

pub use prometheus_client::encoding::EncodeLabelSet;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Registry;

/// What the text of [`text`] is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Histograms of seconds, by labels.
pub type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// A figure with a fraction.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// Seconds of a call, a commit or a check.
pub const SHORT: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Seconds of a proof, or of waiting for one.
pub const LONG: [f64; 14] =
    [0.01, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0, 14400.0];

/// Labels of a series.
pub trait Labels: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static {}

impl<L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static> Labels for L {}

/// All metrics of a registry, in the text format of OpenMetrics.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut text, registry);
    text
}

/// Builder of a registry.
#[derive(Debug)]
pub struct Registrar {
    prefix: &'static str,
    registry: Registry,
    rows: String,
}

impl Registrar {
    /// For metrics whose names begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, registry: Registry::with_prefix(prefix), rows: String::new() }
    }

    /// The registry, and a table row for each metric.
    #[must_use]
    pub fn finish(self) -> (Registry, String) {
        (self.registry, self.rows)
    }

    /// Counts.
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.describe(&format!("{name}_total"), "counter", help);
        self.register(name, help, None, Counter::default())
    }

    /// Registers a counter that exists already.
    pub fn known_counter(&mut self, name: &str, help: &str, counter: Counter) {
        self.describe(&format!("{name}_total"), "counter", help);
        self.register(name, help, None, counter);
    }

    /// Counts, by labels.
    pub fn counters<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Counter> {
        self.describe(&format!("{name}_total"), "counter", help);
        self.register(name, help, None, Family::default())
    }

    /// Bytes, by labels.
    pub fn byte_counters<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Counter> {
        self.describe(&format!("{name}_bytes_total"), "counter", help);
        self.register(name, help, Some(Unit::Bytes), Family::default())
    }

    /// How many there are now, by labels.
    pub fn gauges<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Gauge> {
        self.describe(name, "gauge", help);
        self.register(name, help, None, Family::default())
    }

    /// How many there are now.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.describe(name, "gauge", help);
        self.register(name, help, None, Gauge::default())
    }

    /// How many bytes there are now.
    pub fn byte_gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.describe(&format!("{name}_bytes"), "gauge", help);
        self.register(name, help, Some(Unit::Bytes), Gauge::default())
    }

    /// How many bytes there are now, by labels.
    pub fn byte_gauges<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Gauge> {
        self.describe(&format!("{name}_bytes"), "gauge", help);
        self.register(name, help, Some(Unit::Bytes), Family::default())
    }

    /// A figure with a fraction, by labels, in a unit of its own that the name ends with.
    pub fn float_gauges<L: Labels>(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
    ) -> Family<L, FloatGauge> {
        self.describe(&format!("{name}_{unit}"), "gauge", help);
        self.register(name, help, Some(Unit::Other(unit.to_owned())), Family::default())
    }

    /// How many seconds it is now.
    pub fn seconds_gauge(&mut self, name: &str, help: &str) -> FloatGauge {
        self.describe(&format!("{name}_seconds"), "gauge", help);
        self.register(name, help, Some(Unit::Seconds), FloatGauge::default())
    }

    /// How long things take, by labels.
    pub fn seconds<L: Labels>(
        &mut self,
        name: &str,
        help: &str,
        buckets: fn() -> Histogram,
    ) -> Seconds<L> {
        self.describe(&format!("{name}_seconds"), "histogram", help);
        let family = Seconds::<L>::new_with_constructor(buckets);
        self.register(name, help, Some(Unit::Seconds), family)
    }

    fn register<M: Metric + Clone>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: M,
    ) -> M {
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric.clone()),
            None => self.registry.register(name, help, metric.clone()),
        }
        metric
    }

    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        self.rows.push_str(&format!("| `{prefix}_{name}` | {kind} | {help} |\n"));
    }
}
