//! Memory demand of jobs and memory of workers.
//!
//! Two facts are recorded. An attempt that ran out of memory shows that its job needs more than was available
//! ([`OomHistory`]): the job is not assigned to a machine with less for an hour, and to one with as much only while no
//! larger one is connected. Accepted proofs show how much main memory proofs of a program take ([`MemoryDemand`]): where
//! proofs share a machine, another one is assigned only if all of them fit.

use std::collections::{BTreeMap, BTreeSet};

use network_lib::handshake::Backend;
use network_lib::ids::{VkHash, WorkerId};
use network_lib::job::{JobSpec, Memory, OutOfMemory, ProofMode};

use super::lease::Worker;

/// Time for which a report of memory that ran out counts: an hour. A report is a worker's word; were it final, a false
/// one could keep a job from every machine until its deadline.
pub const SHORTAGE_LIMIT_MS: i64 = 3_600_000;

/// Maximum entries of [`MemoryDemand`].
const MAX_DEMANDS: usize = 4096;

/// Worker's memory compared with the amount that a job exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryFit {
    /// Less: the job would run out again.
    Less,
    /// Equal or unknown: acceptable if there is no better worker.
    Same,
    /// More, or the job never ran out.
    More,
}

/// Memory exhausted by a job's attempts.
#[derive(Debug, Clone, Default)]
pub struct OomHistory(Vec<OomRecord>);

/// Memory exhausted by attempts with one backend.
#[derive(Debug, Clone)]
struct OomRecord {
    backend: Backend,
    memory: Memory,
    /// Largest insufficient amount; 0 if unknown.
    bytes: u64,
    attempts: u32,
    workers: BTreeSet<WorkerId>,
}

impl OomHistory {
    /// Records an attempt that ran out of memory.
    pub fn record(&mut self, worker: WorkerId, backend: Backend, what: OutOfMemory) {
        let known = |it: &&mut OomRecord| it.backend == backend && it.memory == what.memory;
        let bytes = what.bytes.unwrap_or(0);
        if let Some(record) = self.0.iter_mut().find(known) {
            record.bytes = record.bytes.max(bytes);
            record.attempts = record.attempts.saturating_add(1);
            record.workers.insert(worker);
            return;
        }
        let workers = BTreeSet::from([worker]);
        self.0.push(OomRecord { backend, memory: what.memory, bytes, attempts: 1, workers });
    }

    /// Whether no attempt ran out of memory.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares a worker's memory with the exhausted amount.
    #[must_use]
    pub fn fit(&self, id: WorkerId, worker: &Worker) -> MemoryFit {
        let theirs = self.0.iter().filter(|record| record.backend == worker.backend());
        let fits = theirs.map(|record| match worker.memory(record.memory) {
            Some(bytes) if record.bytes > 0 && bytes < record.bytes => MemoryFit::Less,
            Some(bytes) if record.bytes > 0 && bytes > record.bytes => {
                // The worker may not give a proof all of its memory.
                if record.workers.contains(&id) { MemoryFit::Same } else { MemoryFit::More }
            }
            _ => MemoryFit::Same,
        });
        fits.min().unwrap_or(MemoryFit::More)
    }

    /// Explains why none of these workers, all of which have less, gets the job.
    #[must_use]
    pub fn explain(&self, workers: &[&Worker]) -> Option<String> {
        let of = |record: &OomRecord| {
            let theirs = workers.iter().filter(|worker| worker.backend() == record.backend);
            theirs.filter_map(|worker| worker.memory(record.memory)).max()
        };
        let mut sizes = self.0.iter().filter_map(|record| Some((record, of(record)?)));
        let (record, largest) = sizes.find(|(it, largest)| *largest < it.bytes)?;
        let what = match record.memory {
            Memory::Main => "main memory",
            Memory::Gpu => "GPU memory",
        };
        let (bytes, largest) = (gib(record.bytes), gib(largest));
        let attempts = match record.attempts {
            1 => "an attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        Some(format!(
            "needs more than {bytes} of {what}: {attempts} ran out; the largest connected \
                                        worker has {largest}"
        ))
    }
}

/// Peak main memory of accepted proofs, by program, mode and backend. Lost on restart; the next proof of each
/// program records it again.
#[derive(Debug, Default)]
pub struct MemoryDemand(BTreeMap<(VkHash, ProofMode, &'static str), u64>);

impl MemoryDemand {
    /// Records the peak of an accepted proof. Returns whether a known demand has changed.
    pub fn record(&mut self, spec: &JobSpec, backend: Backend, bytes: u64) -> bool {
        let kind = (spec.vk_hash, spec.mode, backend.as_str());
        if self.0.len() >= MAX_DEMANDS && !self.0.contains_key(&kind) {
            self.0.pop_first();
        }
        let known = self.0.get(&kind).copied();
        if known.is_some_and(|known| known >= bytes) {
            return false;
        }
        self.0.insert(kind, bytes);
        true
    }

    /// Peak of such proofs, if one was accepted.
    #[must_use]
    pub fn of(&self, spec: &JobSpec, backend: Backend) -> Option<u64> {
        self.of_program(spec.vk_hash, spec.mode, backend)
    }

    /// Peak of proofs of a program, if one was accepted.
    #[must_use]
    pub fn of_program(&self, program: VkHash, mode: ProofMode, backend: Backend) -> Option<u64> {
        self.0.get(&(program, mode, backend.as_str())).copied()
    }
}

/// Main memory that a worker has left for another proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Its running proofs already take more than there is.
    Exceeded,
    /// This number of bytes.
    Bytes(u64),
    /// Enough for any proof: none is running, or an amount is unknown.
    Any,
}

impl Room {
    /// Room of a worker beside running proofs that take `used` bytes, if that is known.
    #[must_use]
    pub fn beside(used: Option<u64>, worker: &Worker) -> Self {
        let (Some(used), Some(all)) = (used, worker.memory(Memory::Main)) else { return Self::Any };
        all.checked_sub(used).map_or(Self::Exceeded, Self::Bytes)
    }

    /// Whether a proof with this demand fits, if it is known.
    #[must_use]
    pub fn fits(self, demand: Option<u64>) -> bool {
        match (self, demand) {
            (Self::Any, _) | (_, None) => true,
            (Self::Bytes(left), Some(demand)) => demand <= left,
            (Self::Exceeded, Some(_)) => false,
        }
    }
}

/// Formats bytes, for example `24 GiB` or `15.5 GiB`.
#[allow(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
#[must_use]
pub fn gib(bytes: u64) -> String {
    let text = format!("{:.1}", bytes as f64 / f64::from(1 << 30));
    format!("{} GiB", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::{Capabilities, Gpu};

    use super::*;
    use crate::SessionId;

    const GIB: u64 = 1 << 30;

    fn worker(backend: Backend, main: u64, gpus: &[u64]) -> Worker {
        let gpu = |gib: &u64| Gpu { model: "L4".into(), memory_bytes: gib * GIB, driver: None };
        let capabilities = Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec![],
            modes: vec![],
            backend,
            slots: 2,
            prefetch: 0,
            memory_bytes: main * GIB,
            gpus: gpus.iter().map(gpu).collect(),
            unavailable_reason: None,
            sharding: None,
        };
        Worker::new(SessionId(1), "amos".into(), capabilities)
    }

    fn cuda(gpus: &[u64]) -> Worker {
        worker(Backend::Cuda, 64, gpus)
    }

    fn short(gib: Option<u64>) -> OomHistory {
        let mut oom = OomHistory::default();
        let what = OutOfMemory { memory: Memory::Gpu, bytes: gib.map(|gib| gib * GIB) };
        oom.record(WorkerId([1; 16]), Backend::Cuda, what);
        oom
    }

    #[test]
    fn a_machine_is_as_large_as_its_smallest_gpu_and_unknown_sizes_are_equal() {
        let other = WorkerId([2; 16]);
        let room = |worker| short(Some(24)).fit(other, &worker);
        assert_eq!(room(cuda(&[16])), MemoryFit::Less);
        assert_eq!(room(cuda(&[80, 16])), MemoryFit::Less);
        assert_eq!(room(cuda(&[24])), MemoryFit::Same);
        assert_eq!(room(cuda(&[])), MemoryFit::Same);
        assert_eq!(room(cuda(&[80, 40])), MemoryFit::More);
        assert_eq!(short(None).fit(other, &cuda(&[80])), MemoryFit::Same);
        // Another backend has a different demand.
        assert_eq!(room(worker(Backend::Cpu, 8, &[])), MemoryFit::More);
    }

    #[test]
    fn where_it_ran_out_there_is_not_more() {
        assert_eq!(short(Some(24)).fit(WorkerId([1; 16]), &cuda(&[80])), MemoryFit::Same);
    }

    #[test]
    fn a_shortage_is_told_with_what_there_is() {
        let mut oom = short(Some(24));
        let less = OutOfMemory { memory: Memory::Gpu, bytes: Some(GIB) };
        oom.record(WorkerId([2; 16]), Backend::Cuda, less);
        let (small, smaller) = (cuda(&[16]), cuda(&[8]));
        let words = "needs more than 24 GiB of GPU memory: 2 attempts ran out; the largest \
                                        connected worker has 16 GiB";
        assert_eq!(oom.explain(&[&smaller, &small]).as_deref(), Some(words));
        assert_eq!(gib(GIB * 31 / 2), "15.5 GiB");
    }

    #[test]
    fn another_proof_needs_room_beside_those_that_are_made() {
        let spec = JobSpec {
            vk_hash: VkHash([1; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: 0,
            gas_limit: 0,
        };
        let machine = cuda(&[24, 24]);
        let mut demand = MemoryDemand::default();
        let fits = |used: Option<u64>, demand: &MemoryDemand| {
            Room::beside(used, &machine).fits(demand.of(&spec, Backend::Cuda))
        };
        assert!(fits(Some(40 * GIB), &demand), "nothing is known of the proof");
        assert!(demand.record(&spec, Backend::Cuda, 30 * GIB));
        assert!(!demand.record(&spec, Backend::Cuda, 20 * GIB), "it is known to need more");
        assert!(!fits(Some(40 * GIB), &demand), "40 and 30 are more than 64");
        assert!(fits(Some(34 * GIB), &demand));
        assert!(!fits(Some(65 * GIB), &demand), "more than there is");
        assert!(fits(None, &demand), "it works on nothing");
    }
}
