//! Registers metrics, and writes the page about them on the way.

use std::fmt::Debug;
use std::hash::Hash;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::{FloatGauge, Seconds};

const PREFIX: &str = "hierophant";

/// Labels of a series.
pub(super) trait Labels:
    Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static
{
}

impl<L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static> Labels for L {}

/// A registry in the making.
pub(super) struct Registrar {
    registry: Registry,
    rows: String,
}

impl Registrar {
    pub(super) fn new() -> Self {
        Self { registry: Registry::with_prefix(PREFIX), rows: String::new() }
    }

    /// The registry, and a table row for each metric.
    pub(super) fn finish(self) -> (Registry, String) {
        (self.registry, self.rows)
    }

    /// Counts, by labels.
    pub(super) fn counters<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Counter> {
        self.describe(&format!("{name}_total"), "counter", help);
        self.register(name, help, None, Family::default())
    }

    /// Bytes, by labels.
    pub(super) fn byte_counters<L: Labels>(
        &mut self,
        name: &str,
        help: &str,
    ) -> Family<L, Counter> {
        self.describe(&format!("{name}_bytes_total"), "counter", help);
        self.register(name, help, Some(Unit::Bytes), Family::default())
    }

    /// How many there are now, by labels.
    pub(super) fn gauges<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Gauge> {
        self.describe(name, "gauge", help);
        self.register(name, help, None, Family::default())
    }

    /// How many bytes there are now, by labels.
    pub(super) fn byte_gauges<L: Labels>(&mut self, name: &str, help: &str) -> Family<L, Gauge> {
        self.describe(&format!("{name}_bytes"), "gauge", help);
        self.register(name, help, Some(Unit::Bytes), Family::default())
    }

    /// How many there are now.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.describe(name, "gauge", help);
        self.register(name, help, None, Gauge::default())
    }

    /// How many bytes there are now.
    pub(super) fn byte_gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.describe(&format!("{name}_bytes"), "gauge", help);
        self.register(name, help, Some(Unit::Bytes), Gauge::default())
    }

    /// How many seconds it is now.
    pub(super) fn seconds_gauge(&mut self, name: &str, help: &str) -> FloatGauge {
        self.describe(&format!("{name}_seconds"), "gauge", help);
        self.register(name, help, Some(Unit::Seconds), FloatGauge::default())
    }

    /// How long things take, by labels.
    pub(super) fn seconds<L: Labels>(
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
        self.rows.push_str(&format!("| `{PREFIX}_{name}` | {kind} | {help} |\n"));
    }
}
