//! Tasks and the main memory of their workers.

use network_lib::job::{Memory as MemoryKind, OutOfMemory};
use network_lib::shard::{TaskFromWorker, TaskInput, TaskKind, TaskUsage};

use super::divisions::{
    dividing_limits, executed, hand_in_part, join_with, prove_at, runs, trace, worker_fails,
};
use super::*;
use crate::proofs::fleet::TaskShape;

const GIB: u64 = 1 << 30;

/// Workers that take `slots` tasks at once, with these sizes of main memory in GiB.
fn fleet(slots: u32, memory: &[u64]) -> ProofsCore {
    let mut core = core_with(dividing_limits());
    for (n, gib) in (1..).zip(memory) {
        let _ = join_with(&mut core, n, |capabilities| {
            capabilities.memory_bytes = gib * GIB;
            if let Some(sharding) = &mut capabilities.sharding {
                sharding.prove_slots = slots;
            }
        });
    }
    core
}

fn ran_out() -> Failure {
    let what = OutOfMemory { memory: MemoryKind::Main, bytes: None };
    Failure { out_of_memory: Some(what), ..failure(FailureClass::Worker) }
}

/// A worker proves a shard that has taken `bytes` of memory. Returns the tasks that begin.
fn prove_with(
    core: &mut ProofsCore,
    run: &(WorkerId, LeaseId, TaskInput),
    bytes: u64,
) -> Vec<(WorkerId, LeaseId, TaskInput)> {
    let mut effects = trace(core, START, run);
    let output = hand_in_part(core, run);
    let used = TaskUsage { peak_bytes: Some(bytes), ..TaskUsage::default() };
    let done = TaskFromWorker::TaskDone { lease_id: run.1, output, used };
    effects.extend(core.task_word(START, run.0, done));
    runs(&effects)
}

#[test]
fn a_machine_gets_as_many_tasks_at_once_as_its_memory_is_enough_for() {
    let mut core = fleet(4, &[16]);
    let first = executed(&mut core);
    assert_eq!(first.len(), 3, "nothing is known of their memory");
    assert_eq!(prove_with(&mut core, &first[0], 7 * GIB), []);
    assert_eq!(core.overview().task_memory, BTreeMap::from([(TaskKind::ProveShard, 7 * GIB)]));
    // The next job of the same engine has three shards again, of which two fit.
    let _ = prove_at(&mut core, START, &first[1]);
    let _ = prove_at(&mut core, START, &first[2]);
    let effects = submit(&mut core, 2, 2);
    let [(executor, lease, TaskInput::Execute { .. })] = &runs(&effects)[..] else {
        panic!("no execution: {effects:?}");
    };
    let running = runs(&super::divisions::execute(&mut core, *executor, *lease));
    assert_eq!(running.len(), 2);
    // A report of less changes nothing, and one of more than there is leaves one task at once.
    let next = prove_with(&mut core, &running[0], GIB);
    assert_eq!(next.len(), 1);
    let _ = prove_with(&mut core, &next[0], u64::MAX);
    assert_eq!(core.overview().task_memory, BTreeMap::from([(TaskKind::ProveShard, 16 * GIB)]));
}

#[test]
fn a_machine_that_proves_one_task_at_once_fetches_the_next_one_whatever_it_takes() {
    let mut core = core_with(dividing_limits());
    let _ = join_with(&mut core, 1, |capabilities| {
        capabilities.memory_bytes = 16 * GIB;
        if let Some(sharding) = &mut capabilities.sharding {
            sharding.prefetch = 1;
        }
    });
    let running = executed(&mut core);
    assert_eq!(running.len(), 2);
    assert_eq!(prove_with(&mut core, &running[0], 9 * GIB).len(), 1, "it has one and gets one");
}

#[test]
fn the_report_of_another_machine_does_not_limit_one_that_has_ended_a_task() {
    let mut core = fleet(2, &[16, 1 << 20]);
    let running = executed(&mut core);
    let of = |n| running.iter().find(|(id, ..)| *id == worker(n)).expect("one each");
    let _ = prove_with(&mut core, of(1), GIB);
    let _ = prove_with(&mut core, of(2), u64::MAX);
    let mode = ProofMode::Core;
    let job = TaskShape { engine: "sp1-test", max_elements: 1 << 22, mode, private: false };
    let kinds = &[TaskKind::ProveShard];
    let limit =
        |n| core.divisions.demand.limit(2, (worker(n), &core.workers[&worker(1)]), job, kinds);
    assert_eq!(limit(1), 2);
    assert_eq!(limit(3), 1, "a machine of which nothing is known");
}

#[test]
fn a_kind_that_ran_out_of_memory_goes_to_the_larger_machine_while_there_is_one() {
    let mut core = fleet(1, &[16, 64]);
    let running = executed(&mut core);
    let of = |n| running.iter().find(|(id, ..)| *id == worker(n)).expect("one each");
    // Its own task and the third one wait for the larger machine, which is busy.
    assert_eq!(worker_fails(&mut core, of(1), ran_out()), []);
    let next = runs(&prove_at(&mut core, START, of(2)));
    let [(id, ..)] = <[_; 1]>::try_from(next).expect("one of them");
    assert_eq!(id, worker(2));
    let next = runs(&core.worker_removed(START, worker(2), SessionId(1), "switched off"));
    let [(id, ..)] = <[_; 1]>::try_from(next).expect("one of them");
    assert_eq!(id, worker(1), "there is no larger one");
}

#[test]
fn a_task_that_failed_on_the_only_machine_with_enough_memory_returns_to_it() {
    let mut core = fleet(1, &[16, 64]);
    let running = executed(&mut core);
    let of = |n| running.iter().find(|(id, ..)| *id == worker(n)).expect("one each");
    assert_eq!(worker_fails(&mut core, of(1), ran_out()), []);
    // The smaller one has not tried this task, and does not get it.
    let mut next = worker_fails(&mut core, of(2), failure(FailureClass::Worker));
    let mut done = 0;
    while let Some(run) = next.pop() {
        assert_eq!(run.0, worker(2));
        next = runs(&prove_at(&mut core, START, &run));
        done += 1;
    }
    assert_eq!(done, 3, "the others, and then the one that has failed");
}
