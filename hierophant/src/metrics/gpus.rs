//! Gauges of the workers' GPUs, by model.

use std::collections::BTreeMap;

use network_lib::handshake::{Gpu, GpuLoad};
use network_lib::metrics::{Family, Gauge, Registrar};

use super::labels::ModelLabels;
use super::{MAX_MODELS, whole};

/// Families of GPU gauges.
pub(super) struct GpuGauges {
    count: Family<ModelLabels, Gauge>,
    memory: Family<ModelLabels, Gauge>,
    memory_used: Family<ModelLabels, Gauge>,
    utilisation: Family<ModelLabels, Gauge>,
    temperature: Family<ModelLabels, Gauge>,
}

/// Sums over all GPUs of a model.
#[derive(Debug, Default)]
struct Model {
    count: u64,
    memory: u64,
    memory_used: Option<u64>,
    /// Sum and number of the reported utilisations.
    utilisation: Option<(u64, u64)>,
    hottest: Option<u32>,
}

impl GpuGauges {
    pub(super) fn new(to: &mut Registrar) -> Self {
        Self {
            count: to.gauges(
                "gpus",
                "GPUs of the workers, by `model` (`other` after the first 20 models)",
            ),
            memory: to.byte_gauges("gpu_memory", "memory of the GPUs, by `model`"),
            memory_used: to.byte_gauges("gpu_memory_used", "used memory of the GPUs, by `model`"),
            utilisation: to.gauges(
                "gpu_utilisation_percent",
                "recent utilisation of the GPUs, mean by `model`",
            ),
            temperature: to
                .gauges("gpu_temperature_celsius", "temperature of the hottest GPU, by `model`"),
        }
    }

    /// Sets the gauges from each worker's GPUs and their loads, which are in the same order. A value that no worker
    /// reports has no series.
    pub(super) fn set<'a>(&self, workers: impl Iterator<Item = (&'a [Gpu], &'a [GpuLoad])>) {
        let mut models = BTreeMap::<&str, Model>::new();
        for (gpus, loads) in workers {
            for (number, gpu) in gpus.iter().enumerate() {
                let is_full = models.len() >= MAX_MODELS;
                let is_new = !models.contains_key(gpu.model.as_str());
                let name = if is_full && is_new { "other" } else { &gpu.model };
                let load = loads.get(number).copied().unwrap_or_default();
                models.entry(name).or_default().add(gpu, load);
            }
        }
        let all =
            [&self.count, &self.memory, &self.memory_used, &self.utilisation, &self.temperature];
        for family in all {
            family.clear();
        }
        for (name, model) in models {
            let set = |family: &Family<ModelLabels, Gauge>, value: Option<i64>| {
                if let Some(value) = value {
                    let labels = ModelLabels { model: name.to_owned() };
                    family.get_or_create(&labels).set(value);
                }
            };
            set(&self.count, Some(whole(model.count)));
            set(&self.memory, Some(whole(model.memory)));
            set(&self.memory_used, model.memory_used.map(whole));
            set(&self.utilisation, model.utilisation.map(|(sum, count)| whole(sum / count)));
            set(&self.temperature, model.hottest.map(whole));
        }
    }
}

impl Model {
    fn add(&mut self, gpu: &Gpu, load: GpuLoad) {
        self.count += 1;
        self.memory = self.memory.saturating_add(gpu.memory_bytes);
        if let Some(used) = load.memory_used_bytes {
            self.memory_used = Some(self.memory_used.unwrap_or(0).saturating_add(used));
        }
        if let Some(percent) = load.utilisation_percent {
            let (sum, count) = self.utilisation.unwrap_or((0, 0));
            self.utilisation = Some((sum + u64::from(percent), count + 1));
        }
        self.hottest = self.hottest.max(load.temperature_celsius);
    }
}
