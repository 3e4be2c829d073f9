//! Several divided jobs at once: which of them gets a free worker.

use super::divisions::{dividing, execute, prove, runs};
use super::*;

/// A request of a requester with a deadline in Unix seconds.
fn submit_of(core: &mut ProofsCore, id: u8, requester: Address, deadline: u64) -> Vec<Effect> {
    let new = NewRequest { requester, deadline, ..new_request(id, id) };
    core.submit(START, new, StoreLookup::default()).1
}

/// Two jobs of three shards each, on two workers, which prove shards of the first one. Returns the job that gets the
/// first worker that is free again.
fn next_job(first: (Address, u64), second: (Address, u64)) -> u8 {
    let mut core = dividing(2);
    let ids = [1, 2].map(|id| RequestId([id; 32]));
    let executions = [(1, first), (2, second)].map(|(id, (requester, deadline))| {
        let effects = submit_of(&mut core, id, requester, deadline);
        let [(worker, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("an execution");
        (worker, lease)
    });
    let jobs = ids.map(|id| core.open.job(id).expect("open"));
    let mut running = Vec::new();
    for (worker, lease) in executions {
        running.extend(runs(&execute(&mut core, worker, lease)));
    }
    assert_eq!(running.len(), 2, "a shard for each worker");
    assert!(
        running.iter().all(|(_, lease, _)| core.divisions.attempts[lease].record.job == jobs[0])
    );
    let effects = prove(&mut core, &running[0]);
    let [(worker, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("a shard");
    assert_eq!(worker, running[0].0);
    let job = core.divisions.attempts[&lease].record.job;
    u8::try_from(jobs.iter().position(|it| *it == job).expect("one of them") + 1).expect("few")
}

#[test]
fn of_one_requester_the_job_with_the_nearer_deadline_is_first() {
    let (near, far) = (10_000_000_000, 20_000_000_000);
    assert_eq!(next_job((ALICE, near), (ALICE, far)), 1);
    assert_eq!(next_job((ALICE, far), (ALICE, near)), 2);
    assert_eq!(next_job((ALICE, near), (ALICE, near)), 1, "the older one");
}

#[test]
fn requesters_share_the_workers() {
    let (near, far) = (10_000_000_000, 20_000_000_000);
    assert_eq!(next_job((ALICE, near), (BOB, far)), 2);
    assert_eq!(next_job((ALICE, far), (BOB, near)), 2);
}
