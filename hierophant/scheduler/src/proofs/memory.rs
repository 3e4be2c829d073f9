//! What is known of the memory that jobs need, and which worker has it.
//!
//! Two things are learnt. A job whose attempt ran out of memory needs more than there was ([`Shortages`]):
//! it never goes to a machine with less, and to one with as much only while none with more is connected.
//! And proofs of a program have been seen to take so much main memory ([`Needs`]): where several proofs
//! share a machine, another one goes there only if there is room for all of them.

use std::collections::{BTreeMap, BTreeSet};

use network_lib::handshake::Backend;
use network_lib::ids::{VkHash, WorkerId};
use network_lib::job::{JobSpec, Memory, OutOfMemory, ProofMode};

use super::lease::Worker;

/// Of how many programs it is remembered what their proofs need.
const MOST_NEEDS: usize = 4096;

/// How a worker's memory compares with what a job ran out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Less than that: the job would run out again.
    Less,
    /// As much, or nobody knows: worth another try where there is nothing better.
    Same,
    /// More than that, or the job never ran out.
    More,
}

/// What a job's attempts ran out of.
#[derive(Debug, Clone, Default)]
pub struct Shortages(Vec<Shortage>);

/// What a job ran out of with one kind of prover.
#[derive(Debug, Clone)]
struct Shortage {
    backend: Backend,
    memory: Memory,
    /// Most that did not suffice, 0 if nobody knows.
    bytes: u64,
    attempts: u32,
    workers: BTreeSet<WorkerId>,
}

impl Shortages {
    /// An attempt of this worker's ran out of memory.
    pub fn note(&mut self, worker: WorkerId, backend: Backend, what: OutOfMemory) {
        let known = |it: &&mut Shortage| it.backend == backend && it.memory == what.memory;
        let bytes = what.bytes.unwrap_or(0);
        if let Some(shortage) = self.0.iter_mut().find(known) {
            shortage.bytes = shortage.bytes.max(bytes);
            shortage.attempts += 1;
            shortage.workers.insert(worker);
            return;
        }
        let workers = BTreeSet::from([worker]);
        self.0.push(Shortage { backend, memory: what.memory, bytes, attempts: 1, workers });
    }

    /// How a worker compares.
    #[must_use]
    pub fn room(&self, id: WorkerId, worker: &Worker) -> Room {
        let theirs = self.0.iter().filter(|shortage| shortage.backend == worker.backend());
        let rooms = theirs.map(|shortage| match worker.memory(shortage.memory) {
            Some(bytes) if shortage.bytes > 0 && bytes < shortage.bytes => Room::Less,
            Some(bytes) if shortage.bytes > 0 && bytes > shortage.bytes => {
                // It may not give a proof all that it has.
                if shortage.workers.contains(&id) { Room::Same } else { Room::More }
            }
            _ => Room::Same,
        });
        rooms.min().unwrap_or(Room::More)
    }

    /// Why none of these workers, all of which have less, gets the job.
    #[must_use]
    pub fn why(&self, workers: &[&Worker]) -> Option<String> {
        let of = |shortage: &Shortage| {
            let theirs = workers.iter().filter(|worker| worker.backend() == shortage.backend);
            theirs.filter_map(|worker| worker.memory(shortage.memory)).max()
        };
        let mut sizes = self.0.iter().filter_map(|shortage| Some((shortage, of(shortage)?)));
        let (shortage, largest) = sizes.find(|(it, largest)| *largest < it.bytes)?;
        let what = match shortage.memory {
            Memory::Main => "main memory",
            Memory::Gpu => "GPU memory",
        };
        let (bytes, largest) = (gib(shortage.bytes), gib(largest));
        let attempts = match shortage.attempts {
            1 => "an attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        Some(format!(
            "needs more than {bytes} of {what}: {attempts} ran out; the largest connected has {largest}"
        ))
    }
}

/// Most main memory that proofs have been seen to take. Forgotten with the process: the next proof of
/// each program tells it anew.
#[derive(Debug, Default)]
pub struct Needs(BTreeMap<(VkHash, ProofMode, &'static str), u64>);

impl Needs {
    /// An accepted proof took so many bytes.
    pub fn note(&mut self, spec: &JobSpec, backend: Backend, bytes: u64) {
        let kind = (spec.vk_hash, spec.mode, backend.as_str());
        if self.0.len() >= MOST_NEEDS && !self.0.contains_key(&kind) {
            self.0.pop_first();
        }
        let known = self.0.entry(kind).or_default();
        *known = bytes.max(*known);
    }

    /// What such a proof needs, if one was seen.
    #[must_use]
    pub fn of(&self, spec: &JobSpec, backend: Backend) -> Option<u64> {
        self.0.get(&(spec.vk_hash, spec.mode, backend.as_str())).copied()
    }

    /// Whether anything is known of such proofs.
    #[must_use]
    pub fn knows(&self, spec: &JobSpec) -> bool {
        let mut backends = [Backend::Cpu, Backend::Cuda, Backend::Mock].into_iter();
        backends.any(|backend| self.of(spec, backend).is_some())
    }
}

/// What is in use where several proofs share a machine.
#[derive(Debug, Default)]
pub struct InUse(pub BTreeMap<WorkerId, u64>);

impl InUse {
    /// Whether a worker has room for such a proof beside what it works on. It always has if it works on
    /// nothing, or if anything that counts is not known.
    #[must_use]
    pub fn leaves_room(
        &self,
        id: WorkerId,
        worker: &Worker,
        spec: &JobSpec,
        needs: &Needs,
    ) -> bool {
        let need = needs.of(spec, worker.backend());
        let (Some(used), Some(need)) = (self.0.get(&id), need) else { return true };
        let all = worker.memory(Memory::Main);
        all.is_none_or(|all| used.saturating_add(need) <= all)
    }
}

/// Such as `24 GiB` or `15.5 GiB`.
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
            memory_bytes: main * GIB,
            gpus: gpus.iter().map(gpu).collect(),
            obstacle: None,
        };
        Worker::new(SessionId(1), "amos".into(), capabilities)
    }

    fn cuda(gpus: &[u64]) -> Worker {
        worker(Backend::Cuda, 64, gpus)
    }

    fn short(gib: Option<u64>) -> Shortages {
        let mut shortages = Shortages::default();
        let what = OutOfMemory { memory: Memory::Gpu, bytes: gib.map(|gib| gib * GIB) };
        shortages.note(WorkerId([1; 16]), Backend::Cuda, what);
        shortages
    }

    #[test]
    fn a_machine_is_as_large_as_its_smallest_gpu_and_unknown_sizes_are_equal() {
        let other = WorkerId([2; 16]);
        let room = |worker| short(Some(24)).room(other, &worker);
        assert_eq!(room(cuda(&[16])), Room::Less);
        assert_eq!(room(cuda(&[80, 16])), Room::Less);
        assert_eq!(room(cuda(&[24])), Room::Same);
        assert_eq!(room(cuda(&[])), Room::Same);
        assert_eq!(room(cuda(&[80, 40])), Room::More);
        assert_eq!(short(None).room(other, &cuda(&[80])), Room::Same);
        // Another kind of prover needs other memory.
        assert_eq!(room(worker(Backend::Cpu, 8, &[])), Room::More);
    }

    #[test]
    fn where_it_ran_out_there_is_not_more() {
        assert_eq!(short(Some(24)).room(WorkerId([1; 16]), &cuda(&[80])), Room::Same);
    }

    #[test]
    fn a_shortage_is_told_with_what_there_is() {
        let mut shortages = short(Some(24));
        let less = OutOfMemory { memory: Memory::Gpu, bytes: Some(GIB) };
        shortages.note(WorkerId([2; 16]), Backend::Cuda, less);
        let (small, smaller) = (cuda(&[16]), cuda(&[8]));
        let words = "needs more than 24 GiB of GPU memory: 2 attempts ran out; the largest connected \
                     has 16 GiB";
        assert_eq!(shortages.why(&[&smaller, &small]).as_deref(), Some(words));
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
        let (id, machine) = (WorkerId([1; 16]), cuda(&[24, 24]));
        let (mut needs, mut in_use) = (Needs::default(), InUse::default());
        let leaves_room =
            |in_use: &InUse, needs: &Needs| in_use.leaves_room(id, &machine, &spec, needs);
        in_use.0.insert(id, 40 * GIB);
        assert!(leaves_room(&in_use, &needs), "nothing is known of the proof");
        needs.note(&spec, Backend::Cuda, 30 * GIB);
        needs.note(&spec, Backend::Cuda, 20 * GIB);
        assert!(!leaves_room(&in_use, &needs), "40 and 30 are more than 64");
        in_use.0.insert(id, 34 * GIB);
        assert!(leaves_room(&in_use, &needs));
        assert!(leaves_room(&InUse::default(), &needs), "it works on nothing");
    }
}
