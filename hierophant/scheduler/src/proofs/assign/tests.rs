//! Which worker gets a job.

use std::collections::BTreeMap;

use arbtest::arbtest;
use network_lib::handshake::{Backend, Capabilities};
use network_lib::ids::{LeaseId, VkHash};
use network_lib::job::{Memory, OutOfMemory, ProofMode};

use super::*;
use crate::SessionId;
use crate::proofs::memory::Room;

const NOW: Millis = Millis(1_000_000);

/// Chooses without any known memory demand.
fn choose(spec: &JobSpec, failures: &FailureHistory, workers: &mut Workers) -> Option<WorkerId> {
    workers.update(|_| Room::Any);
    let wanted = Wanted { spec, private: false };
    let (workers, demand) = (&*workers, MemoryDemand::default());
    let chosen = super::choose(NOW, wanted, failures, Fleet { workers, demand: &demand });
    let free = |_, worker: &Worker| Some(worker.free_slots()).filter(|free| *free > 0);
    assert_eq!(chosen, choose_by(NOW, wanted, failures, workers, free), "as by a walk");
    chosen
}

fn worker(slots: u32, modes: &[ProofMode], version: &str) -> Worker {
    let capabilities = Capabilities {
        vm: "sp1".into(),
        circuit_versions: vec![version.into()],
        modes: modes.to_vec(),
        backend: Backend::Cpu,
        slots,
        prefetch: 0,
        memory_bytes: 0,
        gpus: vec![],
        unavailable_reason: None,
        sharding: None,
    };
    Worker::new(SessionId(1), "amos".into(), capabilities)
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

fn failed_on(ids: &[u8]) -> FailureHistory {
    FailureHistory {
        workers: ids.iter().map(|n| id(*n)).collect(),
        last: ids.last().map(|n| id(*n)),
        ..FailureHistory::default()
    }
}

/// For any fleet and history: the chosen worker is capable and free, and no worker gets a job on which it
/// failed while a better one exists, even a busy one.
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
        let failures = FailureHistory {
            workers: if input.arbitrary()? { blamed } else { BTreeSet::new() },
            last: input.arbitrary::<bool>()?.then_some(id(input.int_in_range(0..=6)?)),
            not_before: Millis(NOW.0 + input.int_in_range(-1..=1)?),
            ..FailureHistory::default()
        };
        let chosen = choose(&spec(), &failures, &mut workers);
        let resting = failures.not_before > NOW;
        let able = |id: &WorkerId| {
            let worker = &workers[id];
            !worker.draining && !worker.away && worker.capabilities.modes == [ProofMode::Core]
        };
        let free =
            |id: &WorkerId| workers[id].leases.len() < workers[id].capabilities.slots as usize;
        let able: Vec<WorkerId> = workers.keys().filter(|id| able(id)).copied().collect();
        let blamed = |id: &WorkerId| failures.workers.contains(id);
        match chosen {
            Some(chosen) => {
                assert!(able.contains(&chosen) && free(&chosen));
                assert!(!blamed(&chosen) || able.iter().all(blamed), "a worker is untried");
                assert!(!blamed(&chosen) || !resting, "it returns too early");
                let twice = blamed(&chosen) && failures.last == Some(chosen);
                assert!(!twice || able.len() == 1, "twice in a row on the same worker");
                let again = failures.last == Some(chosen);
                let other = able.iter().any(|it| *it != chosen && free(it) && !blamed(it));
                assert!(!again || !other, "another is free");
            }
            None => {
                let untried = able.iter().filter(|id| !blamed(id));
                assert!(!untried.clone().any(free), "an untried worker is free");
                // A job that failed on every worker may wait only for one that was not the latest.
                let everywhere = untried.count() == 0 && !resting;
                let others = able.iter().filter(|id| failures.last != Some(**id));
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
    assert_eq!(choose(&spec(), &failed_on(&[]), &mut workers), None);
    workers.insert(id(6), worker(1, &[ProofMode::Core], "v6.1.0"));
    assert_eq!(choose(&spec(), &failed_on(&[]), &mut workers), Some(id(6)));
}

#[test]
fn after_nobodys_fault_another_worker_is_preferred_but_not_waited_for() {
    let mut workers = Workers::new();
    workers.insert(id(1), worker(8, &[ProofMode::Core], "v6.1.0"));
    workers.insert(id(2), worker(1, &[ProofMode::Core], "v6.1.0"));
    let failures = FailureHistory { last: Some(id(1)), ..FailureHistory::default() };
    assert_eq!(choose(&spec(), &failures, &mut workers), Some(id(2)));
    workers.remove(&id(2));
    assert_eq!(choose(&spec(), &failures, &mut workers), Some(id(1)));
}

#[test]
fn a_failed_job_waits_for_another_worker_and_comes_back_only_if_there_is_none() {
    let mut workers = Workers::new();
    workers.insert(id(1), worker(8, &[ProofMode::Core], "v6.1.0"));
    let mut busy = worker(1, &[ProofMode::Core], "v6.1.0");
    busy.leases.insert(LeaseId([1; 16]));
    workers.insert(id(2), busy);
    assert_eq!(choose(&spec(), &failed_on(&[1]), &mut workers), None);
    assert_eq!(choose(&spec(), &failed_on(&[1, 2]), &mut workers), Some(id(1)));
    assert_eq!(choose(&spec(), &failed_on(&[2, 1]), &mut workers), None);
    workers.remove(&id(2));
    assert_eq!(choose(&spec(), &failed_on(&[2, 1]), &mut workers), Some(id(1)));
}

#[test]
fn a_rest_doubles_to_ten_minutes_and_only_repeated_failures_cost_one() {
    let mut failures = FailureHistory::default();
    let mut rests = Vec::new();
    for worker in [1, 2, 1, 1, 2, 3].into_iter().chain([1; 8]) {
        failures.not_before = NOW;
        failures.blame(NOW, id(worker));
        rests.push((failures.not_before.0 - NOW.0) / 1000);
    }
    assert_eq!(rests, [0, 0, 1, 2, 4, 0, 8, 16, 32, 64, 128, 256, 512, 600]);
    assert_eq!((failures.workers.len(), failures.count()), (3, 14));
    failures.repeats = u32::MAX;
    failures.blame(Millis(i64::MAX), id(1));
    assert_eq!(failures.not_before, Millis(i64::MAX));
}

#[test]
fn a_resting_job_goes_to_no_worker_on_which_it_failed_and_to_any_other_at_once() {
    let mut workers = Workers::new();
    workers.insert(id(1), worker(8, &[ProofMode::Core], "v6.1.0"));
    let mut failures = failed_on(&[2, 1]);
    failures.not_before = Millis(NOW.0 + 1);
    assert_eq!(choose(&spec(), &failures, &mut workers), None);
    workers.insert(id(2), worker(8, &[ProofMode::Core], "v6.1.0"));
    assert_eq!(choose(&spec(), &failures, &mut workers), None);
    workers.insert(id(3), worker(1, &[ProofMode::Core], "v6.1.0"));
    assert_eq!(choose(&spec(), &failures, &mut workers), Some(id(3)));
    workers.remove(&id(3));
    failures.not_before = NOW;
    assert_eq!(choose(&spec(), &failures, &mut workers), Some(id(2)), "the rest is over");
}

/// For any fleet: a job that ran out of memory is never assigned to a worker with less, to one with as much
/// only if no available worker has more, and never beside running proofs that leave too little.
#[test]
fn memory_that_did_not_suffice_is_not_tried_again_while_there_is_more() {
    arbtest(|input| {
        let mut workers = Workers::new();
        let mut in_use = BTreeMap::new();
        for n in 0..input.int_in_range(1..=6)? {
            let mut worker = worker(input.int_in_range(0..=3)?, &[ProofMode::Core], "v6.1.0");
            worker.capabilities.memory_bytes = input.int_in_range(0..=4)?;
            (worker.draining, worker.away) = (input.ratio(1, 5)?, input.ratio(1, 5)?);
            worker.leases = (0..input.int_in_range(0..=2)?).map(|n| LeaseId([n; 16])).collect();
            if !worker.leases.is_empty() {
                worker.name = n.to_string();
                in_use.insert(worker.name.clone(), input.int_in_range(0..=3)?);
            }
            workers.insert(id(n), worker);
        }
        let mut failures = FailureHistory::default();
        let mut tried = 0;
        for _ in 0..input.int_in_range(0..=2)? {
            let bytes = input.int_in_range(1..=4)?;
            let what = OutOfMemory { memory: Memory::Main, bytes: Some(bytes) };
            failures.oom.record(id(99), Backend::Cpu, what);
            tried = bytes.max(tried);
        }
        let mut demand = MemoryDemand::default();
        demand.record(&spec(), Backend::Cpu, input.int_in_range(0..=3)?);
        let used = |worker: &Worker| {
            in_use.get(&worker.name).copied().filter(|_| !worker.leases.is_empty())
        };
        workers.update(|worker| Room::beside(used(worker), worker));
        let fleet = Fleet { workers: &workers, demand: &demand };
        let spec_of_job = spec();
        let wanted = Wanted { spec: &spec_of_job, private: false };
        let chosen = super::choose(NOW, wanted, &failures, fleet);
        let by_walk = choose_by(NOW, wanted, &failures, &workers, |_, worker| {
            let need = demand.of(&spec(), Backend::Cpu).unwrap_or(0);
            let all = worker.capabilities.memory_bytes;
            let full = all > 0 && used(worker).is_some_and(|used| used + need > all);
            Some(worker.free_slots()).filter(|free| *free > 0 && !full)
        });
        assert_eq!(chosen, by_walk);
        let Some(chosen) = chosen else { return Ok(()) };
        let has = |id: &WorkerId| workers[id].capabilities.memory_bytes;
        let (worker, all) = (&workers[&chosen], has(&chosen));
        assert!(all == 0 || all >= tried, "less than what did not suffice");
        let more = |(id, worker): (&WorkerId, &Worker)| worker.takes_jobs() && has(id) > tried;
        assert!(tried == 0 || all > tried || !workers.iter().any(more), "a worker has more");
        let need = demand.of(&spec(), Backend::Cpu).unwrap_or(0);
        let used = in_use.get(&worker.name).copied();
        assert!(all == 0 || used.is_none_or(|used| used + need <= all), "no room: {worker:?}");
        Ok(())
    });
}

#[test]
fn a_job_that_ran_out_of_memory_waits_for_a_larger_machine_but_not_for_one_that_is_not_there() {
    let sized = |bytes, busy: bool| {
        let mut worker = worker(1, &[ProofMode::Core], "v6.1.0");
        worker.capabilities.memory_bytes = bytes;
        worker.leases.extend(busy.then_some(LeaseId([1; 16])));
        worker
    };
    let mut failures = failed_on(&[1]);
    let what = OutOfMemory { memory: Memory::Main, bytes: Some(24) };
    failures.oom.record(id(1), Backend::Cpu, what);
    let mut workers = Workers::new();
    workers.insert(id(1), sized(24, false));
    workers.insert(id(2), sized(16, false));
    assert_eq!(choose(&spec(), &failures, &mut workers), Some(id(1)), "as much is all there is");
    workers.insert(id(3), sized(80, true));
    assert_eq!(choose(&spec(), &failures, &mut workers), None, "the larger one is busy");
    workers.insert(id(3), sized(80, false));
    assert_eq!(choose(&spec(), &failures, &mut workers), Some(id(3)));
    let mut only_smaller = Workers::new();
    only_smaller.insert(id(2), sized(16, false));
    assert_eq!(choose(&spec(), &failures, &mut only_smaller), None);
}
