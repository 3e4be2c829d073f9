//! Which Contemplant gets a job.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use network_lib::ids::WorkerId;
use network_lib::job::JobSpec;

use super::lease::Workers;

/// On whom a job has failed already.
#[derive(Debug, Clone, Default)]
pub struct FailedOn {
    /// All those that are to blame for it.
    pub workers: BTreeSet<WorkerId>,
    /// The latest one, whoever was to blame.
    pub last: Option<WorkerId>,
}

/// The worker for a job: one that can prove it and has a free slot; of several, rather not the one of the
/// latest failure, then the one with most slots free, then the smallest id.
///
/// A job that has failed on a worker waits for another that could take it, even a busy one, and comes
/// back to the same worker twice in a row only if there is no other. Returns `None` when the job has to
/// wait.
#[must_use]
pub fn choose(spec: &JobSpec, failed_on: &FailedOn, workers: &Workers) -> Option<WorkerId> {
    let fitting: Vec<_> =
        workers.iter().filter(|(_, worker)| worker.takes_jobs() && worker.fits(spec)).collect();
    let distance = |id: &WorkerId| match () {
        () if !failed_on.workers.contains(id) => 0_u8,
        () if failed_on.last != Some(*id) => 1,
        () => 2,
    };
    let nearest = fitting.iter().map(|(id, _)| distance(id)).min()?;
    fitting
        .into_iter()
        .filter(|(id, worker)| distance(id) == nearest && worker.free_slots() > 0)
        .max_by_key(|(id, worker)| {
            (failed_on.last != Some(**id), worker.free_slots(), Reverse(**id))
        })
        .map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use arbtest::arbtest;
    use network_lib::handshake::{Backend, Capabilities};
    use network_lib::ids::{LeaseId, VkHash};
    use network_lib::job::ProofMode;

    use super::super::lease::Worker;
    use super::*;

    fn worker(slots: u32, modes: &[ProofMode], version: &str) -> Worker {
        let capabilities = Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec![version.into()],
            modes: modes.to_vec(),
            backend: Backend::Cpu,
            slots,
            memory_bytes: 0,
            gpus: vec![],
            obstacle: None,
        };
        Worker::new(1, "amos".into(), capabilities)
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

    fn failed_on(ids: &[u8]) -> FailedOn {
        FailedOn { workers: ids.iter().map(|n| id(*n)).collect(), last: ids.last().map(|n| id(*n)) }
    }

    /// Whatever the fleet and the history: a chosen worker is able and free, and nobody gets a job again
    /// on which it failed while there is somebody better, even a busy one.
    #[test]
    fn the_choice_is_always_able_and_free_and_never_worse_than_another() {
        arbtest(|input| {
            let mut workers = Workers::new();
            for n in 0..input.int_in_range(0..=6)? {
                let modes = *input.choose(&[&[ProofMode::Core][..], &[ProofMode::Plonk]])?;
                let mut worker = worker(input.int_in_range(0..=2)?, modes, "v6.1.0");
                (worker.draining, worker.away) = (input.ratio(1, 5)?, input.ratio(1, 5)?);
                worker.leases = (0..input.int_in_range(0..=2)?).map(|n| LeaseId([n; 16])).collect();
                workers.insert(id(n), worker);
            }
            let blamed: BTreeSet<_> = (0..6).filter(|n| n % 2 == 0 || *n > 3).map(id).collect();
            let failed_on = FailedOn {
                workers: if input.arbitrary()? { blamed } else { BTreeSet::new() },
                last: input.arbitrary::<bool>()?.then_some(id(input.int_in_range(0..=6)?)),
            };
            let able = |id: &WorkerId| {
                let worker = &workers[id];
                !worker.draining && !worker.away && worker.capabilities.modes == [ProofMode::Core]
            };
            let free =
                |id: &WorkerId| workers[id].leases.len() < workers[id].capabilities.slots as usize;
            let able: Vec<WorkerId> = workers.keys().filter(|id| able(id)).copied().collect();
            let blamed = |id: &WorkerId| failed_on.workers.contains(id);
            match choose(&spec(), &failed_on, &workers) {
                Some(chosen) => {
                    assert!(able.contains(&chosen) && free(&chosen));
                    assert!(!blamed(&chosen) || able.iter().all(blamed), "somebody is untried");
                    let twice = blamed(&chosen) && failed_on.last == Some(chosen);
                    assert!(!twice || able.len() == 1, "twice in a row on the same worker");
                    let again = failed_on.last == Some(chosen);
                    let other = able.iter().any(|it| *it != chosen && free(it) && !blamed(it));
                    assert!(!again || !other, "another is free");
                }
                None => {
                    let untried = able.iter().filter(|id| !blamed(id));
                    assert!(!untried.clone().any(free), "an untried worker is free");
                    // If it has failed everywhere, it may wait only for one that is not the latest.
                    let everywhere = untried.count() == 0;
                    let others = able.iter().filter(|id| failed_on.last != Some(**id));
                    assert!(!everywhere || !others.clone().any(free), "another one is free");
                    assert!(
                        !everywhere || others.count() > 0 || !able.iter().any(free),
                        "the only one is free"
                    );
                }
            }
            Ok(())
        });
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
        let mut away = worker(1, &[ProofMode::Core], "v6.1.0");
        away.away = true;
        workers.insert(id(5), away);
        assert_eq!(choose(&spec(), &failed_on(&[]), &workers), None);
        workers.insert(id(6), worker(1, &[ProofMode::Core], "v6.1.0"));
        assert_eq!(choose(&spec(), &failed_on(&[]), &workers), Some(id(6)));
    }

    #[test]
    fn after_nobodys_fault_another_worker_is_preferred_but_not_waited_for() {
        let mut workers = Workers::new();
        workers.insert(id(1), worker(8, &[ProofMode::Core], "v6.1.0"));
        workers.insert(id(2), worker(1, &[ProofMode::Core], "v6.1.0"));
        let failed_on = FailedOn { workers: BTreeSet::new(), last: Some(id(1)) };
        assert_eq!(choose(&spec(), &failed_on, &workers), Some(id(2)));
        workers.remove(&id(2));
        assert_eq!(choose(&spec(), &failed_on, &workers), Some(id(1)));
    }

    #[test]
    fn a_failed_job_waits_for_another_worker_and_comes_back_only_if_there_is_none() {
        let mut workers = Workers::new();
        workers.insert(id(1), worker(8, &[ProofMode::Core], "v6.1.0"));
        let mut busy = worker(1, &[ProofMode::Core], "v6.1.0");
        busy.leases.insert(LeaseId([1; 16]));
        workers.insert(id(2), busy);
        assert_eq!(choose(&spec(), &failed_on(&[1]), &workers), None);
        assert_eq!(choose(&spec(), &failed_on(&[1, 2]), &workers), Some(id(1)));
        assert_eq!(choose(&spec(), &failed_on(&[2, 1]), &workers), None);
        workers.remove(&id(2));
        assert_eq!(choose(&spec(), &failed_on(&[2, 1]), &workers), Some(id(1)));
    }
}
