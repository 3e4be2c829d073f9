//! Sanitization of what workers say. Text is bounded in length and without control characters that could command a
//! terminal; none of it is ever used as a path, an address or a command. Numbers are bounded, so that sums of them
//! keep their meaning.

use network_lib::handshake::{Capabilities, GpuLoad};
use network_lib::job::{Failure, Progress};
use network_lib::shard::Sharding;

/// Maximum number of GPUs of a worker.
pub const MAX_GPUS: usize = 64;

/// Maximum number of circuit versions of a worker.
const MAX_VERSIONS: usize = 64;

/// Maximum number of slots of a worker.
const MAX_SLOTS: u32 = 1024;

/// Maximum memory in bytes: a pebibyte, more than any machine has.
pub const MAX_MEMORY_BYTES: u64 = 1 << 50;

/// Maximum number of cycles that is shown: the largest that every reader of JSON reads exactly.
const MAX_CYCLES: u64 = (1 << 53) - 1;

/// Maximum estimate of the remaining time: a year.
const MAX_ETA_SECONDS: u64 = 366 * 24 * 3600;

/// Maximum temperature in degrees Celsius.
const MAX_CELSIUS: u32 = 1000;

/// Attempts that a worker may list in addition to four for each slot and each task: those that stop, and finished proofs of an
/// earlier process.
const MAX_HELD_BESIDE: usize = 64;

/// Maximum length of a name in characters.
const MAX_NAME_CHARS: usize = 64;

/// Maximum length of a message in characters.
const MAX_MESSAGE_CHARS: usize = 1000;

/// Sanitizes the capabilities of a worker.
pub fn capabilities(capabilities: &mut Capabilities) {
    let Capabilities {
        vm,
        circuit_versions,
        modes,
        backend: _,
        slots,
        prefetch,
        memory_bytes,
        gpus,
        unavailable_reason,
        sharding,
    } = capabilities;
    *vm = name(vm);
    circuit_versions.truncate(MAX_VERSIONS);
    for version in circuit_versions {
        *version = name(version);
    }
    let mut seen = Vec::new();
    modes.retain(|mode| {
        let new = !seen.contains(mode);
        seen.extend(new.then_some(*mode));
        new
    });
    *slots = (*slots).min(MAX_SLOTS);
    // More would only keep jobs from other workers.
    *prefetch = (*prefetch).min(*slots);
    *memory_bytes = (*memory_bytes).min(MAX_MEMORY_BYTES);
    gpus.truncate(MAX_GPUS);
    for gpu in gpus {
        gpu.memory_bytes = gpu.memory_bytes.min(MAX_MEMORY_BYTES);
        gpu.model = name(&gpu.model);
        gpu.driver = gpu.driver.as_deref().map(name);
    }
    *unavailable_reason = unavailable_reason.as_deref().map(message);
    if let Some(sharding) = sharding {
        self::sharding(sharding);
    }
}

/// Sanitizes what a worker offers for tasks.
fn sharding(sharding: &mut Sharding) {
    let Sharding {
        engine,
        kinds,
        recursion: _,
        prove_slots,
        prefetch,
        max_elements: _,
        depot_bytes,
        depot_port: _,
        depot_fingerprint: _,
    } = sharding;
    *engine = name(engine);
    kinds.sort_unstable();
    kinds.dedup();
    *prove_slots = (*prove_slots).min(MAX_SLOTS);
    *prefetch = (*prefetch).min(*prove_slots);
    *depot_bytes = (*depot_bytes).min(MAX_MEMORY_BYTES);
}

/// Number of whole proofs and tasks that a worker makes at once.
#[must_use]
pub fn places(capabilities: &Capabilities) -> u32 {
    let prove_slots = capabilities.sharding.as_ref().map_or(0, |sharding| sharding.prove_slots);
    capabilities.slots.min(MAX_SLOTS) + prove_slots.min(MAX_SLOTS)
}

/// Maximum number of attempts that a worker with this number of [`places`] may list.
#[must_use]
pub fn max_held(places: u32) -> usize {
    4 * places.min(2 * MAX_SLOTS) as usize + MAX_HELD_BESIDE
}

/// Sanitizes the load of GPUs.
pub fn gpu_loads(loads: &mut Vec<GpuLoad>) {
    loads.truncate(MAX_GPUS);
    for load in loads {
        let GpuLoad { utilisation_percent, temperature_celsius, memory_used_bytes } = load;
        *utilisation_percent = utilisation_percent.map(|percent| percent.min(100));
        *temperature_celsius = temperature_celsius.map(|celsius| celsius.min(MAX_CELSIUS));
        *memory_used_bytes = memory_used_bytes.map(|bytes| bytes.min(MAX_MEMORY_BYTES));
    }
}

/// Sanitizes reported progress.
pub fn progress(progress: &mut Progress) {
    let Progress {
        phase: _,
        fraction,
        cycles_done,
        cycles_total,
        eta_seconds,
        estimated: _,
        memory_bytes,
        // Only compared.
        steps_done: _,
    } = progress;
    *fraction = fraction.filter(|done| done.is_finite()).map(|done| done.clamp(0.0, 1.0));
    for cycles in [cycles_done, cycles_total] {
        *cycles = cycles.map(|count| count.min(MAX_CYCLES));
    }
    *eta_seconds = eta_seconds.map(|seconds| seconds.min(MAX_ETA_SECONDS));
    *memory_bytes = memory_bytes.map(|bytes| bytes.min(MAX_MEMORY_BYTES));
}

/// Sanitizes a reported failure.
pub fn failure(failure: &mut Failure) {
    failure.message = message(&failure.message);
    if let Some(what) = &mut failure.out_of_memory {
        what.bytes = what.bytes.map(|bytes| bytes.min(MAX_MEMORY_BYTES));
    }
}

/// Sanitized name or version.
#[must_use]
pub fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

/// Sanitized message in one line.
#[must_use]
pub fn message(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::{Backend, Gpu};
    use network_lib::job::{FailureClass, Memory, OutOfMemory, Phase, ProofMode};

    use super::*;

    #[test]
    fn text_of_a_worker_is_displayable_and_bounded() {
        let model = format!("L4\u{1b}[2J\n{}", "x".repeat(99));
        let mut capabilities = Capabilities {
            vm: "sp1\u{7}".repeat(1000),
            circuit_versions: vec!["v\u{1b}]0;title\u{7}".repeat(1000); 9999],
            modes: ProofMode::ALL.repeat(9999),
            backend: Backend::Cpu,
            slots: u32::MAX,
            prefetch: u32::MAX,
            memory_bytes: u64::MAX,
            gpus: vec![Gpu { model, memory_bytes: u64::MAX, driver: Some("5\r5".into()) }; 99],
            unavailable_reason: Some("no\r\n\u{1b}[31mGPU".repeat(9999)),
            sharding: None,
        };
        super::capabilities(&mut capabilities);
        assert_eq!(capabilities.gpus.len(), MAX_GPUS);
        assert_eq!(capabilities.memory_bytes, MAX_MEMORY_BYTES);
        assert_eq!(capabilities.gpus[0].memory_bytes, MAX_MEMORY_BYTES);
        assert_eq!(capabilities.gpus[0].driver.as_deref(), Some("55"));
        assert!(capabilities.gpus[0].model.starts_with("L4[2Jxx"));
        assert_eq!(capabilities.gpus[0].model.len(), 64);
        assert_eq!(capabilities.modes, ProofMode::ALL);
        assert_eq!((capabilities.slots, capabilities.prefetch), (MAX_SLOTS, MAX_SLOTS));
        (capabilities.slots, capabilities.prefetch) = (2, 9);
        super::capabilities(&mut capabilities);
        assert_eq!(capabilities.prefetch, 2);
        assert_eq!(capabilities.circuit_versions.len(), MAX_VERSIONS);
        let unavailable_reason = capabilities.unavailable_reason.unwrap_or_default();
        assert!(
            unavailable_reason.starts_with("no   [31mGPUno")
                && unavailable_reason.len() == MAX_MESSAGE_CHARS
        );
        let texts = [&capabilities.vm, &capabilities.circuit_versions[0], &unavailable_reason];
        assert!(texts.iter().all(|text| !text.contains(char::is_control)));
    }

    #[test]
    fn numbers_of_a_worker_are_bounded_and_honest_ones_stay() {
        let honest = Progress {
            fraction: Some(0.5),
            cycles_done: Some(7),
            eta_seconds: Some(60),
            memory_bytes: Some(1 << 30),
            ..Progress::steps(Phase::Proving, u64::MAX)
        };
        let mut reported = honest;
        progress(&mut reported);
        assert_eq!(reported, honest);
        for fraction in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut reported = Progress { fraction: Some(fraction), ..honest };
            progress(&mut reported);
            assert_eq!(reported.fraction, None);
        }
        let most = Some(u64::MAX);
        let mut reported = Progress {
            fraction: Some(-7.0),
            cycles_done: most,
            cycles_total: most,
            eta_seconds: most,
            memory_bytes: most,
            ..honest
        };
        progress(&mut reported);
        assert_eq!((reported.fraction, reported.cycles_done), (Some(0.0), Some(MAX_CYCLES)));
        assert_eq!(reported.eta_seconds, Some(MAX_ETA_SECONDS));
        assert_eq!(reported.memory_bytes, Some(MAX_MEMORY_BYTES));

        let what = OutOfMemory { memory: Memory::Gpu, bytes: most };
        let mut failed = Failure::new(FailureClass::Worker, "x\n".repeat(9999));
        failed.out_of_memory = Some(what);
        failure(&mut failed);
        assert_eq!(failed.out_of_memory.and_then(|what| what.bytes), Some(MAX_MEMORY_BYTES));
        assert_eq!(failed.message.len(), MAX_MESSAGE_CHARS);

        let load = GpuLoad {
            utilisation_percent: Some(u32::MAX),
            temperature_celsius: Some(u32::MAX),
            memory_used_bytes: most,
        };
        let mut loads = vec![load; 9999];
        gpu_loads(&mut loads);
        assert_eq!((loads.len(), loads[0].utilisation_percent), (MAX_GPUS, Some(100)));
        assert_eq!(loads[0].memory_used_bytes, Some(MAX_MEMORY_BYTES));
    }

    #[test]
    fn a_worker_may_list_some_attempts_for_each_slot() {
        assert_eq!([0, 1, 8].map(max_held), [64, 68, 96]);
        assert_eq!(max_held(u32::MAX), 8256);
    }
}
