//! Which Contemplant gets a job.

use std::collections::BTreeSet;

use network_lib::ids::WorkerId;
use network_lib::job::JobSpec;

use super::lease::Workers;

/// The worker for a job: one that can prove it and has a free slot; rather one on which the job has not
/// failed yet, then the one with most slots free, then the smallest id.
///
/// Returns `None` when none fits now.
#[must_use]
pub fn choose(
    spec: &JobSpec,
    failed_on: &BTreeSet<WorkerId>,
    workers: &Workers,
) -> Option<WorkerId> {
    workers
        .iter()
        .filter(|(_, worker)| worker.free_slots() > 0 && worker.fits(spec))
        .max_by_key(|(id, worker)| {
            (!failed_on.contains(id), worker.free_slots(), std::cmp::Reverse(**id))
        })
        .map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::{Backend, Capabilities};
    use network_lib::ids::VkHash;
    use network_lib::job::ProofMode;

    use super::super::lease::Worker;
    use super::*;

    fn worker(slots: u32, modes: &[ProofMode], version: &str) -> Worker {
        Worker {
            session: 1,
            name: "amos".into(),
            capabilities: Capabilities {
                vm: "sp1".into(),
                circuit_versions: vec![version.into()],
                modes: modes.to_vec(),
                backend: Backend::Cpu,
                slots,
                memory_bytes: 0,
                gpus: vec![],
            },
            draining: false,
            leases: BTreeSet::new(),
        }
    }

    fn spec() -> JobSpec {
        JobSpec {
            vk_hash: VkHash([1; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: 0,
            gas_limit: 0,
        }
    }

    fn id(n: u8) -> WorkerId {
        WorkerId([n; 16])
    }

    #[test]
    fn only_fitting_workers_with_a_free_slot_are_chosen() {
        let mut workers = Workers::new();
        workers.insert(id(1), worker(1, &[ProofMode::Compressed], "v6.1.0"));
        workers.insert(id(2), worker(1, &[ProofMode::Core], "v5.0.0"));
        workers.insert(id(3), worker(0, &[ProofMode::Core], "v6.1.0"));
        let mut draining = worker(1, &[ProofMode::Core], "v6.1.0");
        draining.draining = true;
        workers.insert(id(4), draining);
        assert_eq!(choose(&spec(), &BTreeSet::new(), &workers), None);
        workers.insert(id(5), worker(1, &[ProofMode::Core], "v6.1.0"));
        assert_eq!(choose(&spec(), &BTreeSet::new(), &workers), Some(id(5)));
    }

    #[test]
    fn a_worker_that_failed_the_job_is_the_last_resort() {
        let mut workers = Workers::new();
        workers.insert(id(1), worker(8, &[ProofMode::Core], "v6.1.0"));
        workers.insert(id(2), worker(1, &[ProofMode::Core], "v6.1.0"));
        let failed_on = BTreeSet::from([id(1)]);
        assert_eq!(choose(&spec(), &failed_on, &workers), Some(id(2)));
        workers.remove(&id(2));
        assert_eq!(choose(&spec(), &failed_on, &workers), Some(id(1)));
    }
}
