//! What is shown of jobs that are proved as tasks.

use hierophant_model::records::{Prover, TaskWait};
use network_lib::shard::{TaskInput, TaskKind};

use super::divisions::{
    all_proved, check_ends, dividing, execute, executed, hand_in_blob, prove, runs,
};
use super::*;
use crate::proofs::{TaskNumbers, WaitingTask};

fn job(core: &ProofsCore) -> JobId {
    *core.jobs.keys().next().expect("a job")
}

fn numbers(core: &ProofsCore) -> TaskNumbers {
    let overview = core.overview();
    let [divided] = &overview.divided[..] else { panic!("{overview:?}") };
    assert_eq!(divided.proof.job, job(core));
    divided.tasks
}

#[test]
fn a_divided_proof_is_shown_once_with_the_numbers_of_its_tasks() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    // Three shards and the execution, which is done.
    assert_eq!(numbers(&core), TaskNumbers { done: 1, all: 4, running: 2, workers: 2 });
    let overview = core.overview();
    assert!(overview.workers.iter().all(|worker| worker.running.is_empty()));
    let tasks: Vec<_> = overview.workers.iter().flat_map(|worker| &worker.tasks).collect();
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|task| task.kind == TaskKind::ProveShard && task.job == job(&core)));
    assert_eq!(overview.waiting_tasks, BTreeMap::from([(TaskKind::ProveShard, 1)]));
    let why = core.why(START, job(&core)).expect("it continues").reason;
    assert!(why.contains("0 of 3 shards are done, 2 tasks run on 2 workers"), "{why}");

    let effects = prove(&mut core, &running[0]);
    assert_eq!(numbers(&core), TaskNumbers { done: 2, all: 4, running: 2, workers: 2 });
    let mut left = running[1..].to_vec();
    left.extend(runs(&effects));
    let assembly = all_proved(&mut core, left);
    assert_eq!(numbers(&core), TaskNumbers { done: 4, all: 4, running: 0, workers: 2 });
    let why = core.why(START, job(&core)).expect("it continues").reason;
    assert!(why.starts_with("several workers proved its 3 shards in 0s"), "{why}");
    let _ = check_ends(&mut core, &assembly);
    assert!(core.overview().divided.is_empty());
    let tasks: u64 = core.stats.values().map(|stats| stats.tasks).sum();
    let proofs: u64 = core.stats.values().map(|stats| stats.completed).sum();
    assert_eq!((tasks, proofs), (4, 0), "workers are credited with their tasks");
    assert!(!core.stats.contains_key(&Prover::FLEET));
}

#[test]
fn the_attempt_says_why_and_among_whom_the_job_is_divided() {
    let mut core = dividing(2);
    let effects = submit(&mut core, 1, 1);
    let attempts = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Attempt(attempt)) if attempt.prover.is_fleet() => Some(attempt),
        _ => None,
    });
    let message = attempts.and_then(|attempt| attempt.message.as_deref());
    let expected = "tasks: `sharding.mode` is `always`; machines with engine sp1-test: 2";
    assert_eq!(message, Some(expected));
}

#[test]
fn each_unfinished_task_says_what_it_waits_for() {
    let mut core = dividing(2);
    let effects = submit(&mut core, 1, 1);
    assert_eq!(core.waiting_tasks_of(job(&core)), [], "the execution runs");
    let [(executor, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("the execution");
    let running = runs(&execute(&mut core, executor, lease));
    let far = running.iter().find(|(worker, ..)| *worker != executor).expect("another worker");
    let TaskInput::ProveShard { record: fetched, .. } = &far.2 else { panic!("{far:?}") };
    let mut waits = core.waiting_tasks_of(job(&core));
    waits.sort_by_key(|waiting| waiting.wait);
    // One has a record on the way, one waits for a worker, and one works with its own record.
    let [idle, fetching] = waits[..] else { panic!("{waits:?}") };
    let WaitingTask { wait, holder, .. } = idle;
    assert_eq!((wait, holder), (TaskWait::Worker, Some(executor)));
    let WaitingTask { wait, holder, .. } = fetching;
    assert_eq!((wait, holder), (TaskWait::Record, Some(executor)));
    hand_in_blob(&mut core, executor, far.1, fetched.info);
    let left = core.waiting_tasks_of(job(&core));
    assert_eq!(left, [idle], "the record has arrived");

    // The records of the executing worker are lost with it.
    let _ = core.worker_removed(START, executor, SessionId(1), "it is gone");
    let waits: Vec<_> =
        core.waiting_tasks_of(job(&core)).iter().map(|waiting| waiting.wait).collect();
    assert!(waits.contains(&TaskWait::Execution), "{waits:?}");
}
