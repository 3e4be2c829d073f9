//! Races for the tasks of slow workers.

use super::divisions::{
    assembly, dividing_limits, executed, join_with_tasks, prove_at, runs, worker_fails,
};
use super::*;

const SECOND: i64 = 1_000;

fn after(seconds: i64) -> Millis {
    Millis(START.0 + seconds * SECOND)
}

/// Two workers with a proof of three shards, of which the first worker has proved two in a second each. Returns the
/// attempt of the other one.
fn one_left(core: &mut ProofsCore) -> (WorkerId, LeaseId) {
    for n in [1, 2] {
        join_with_tasks(core, n, 1, &[]);
    }
    let running = executed(core);
    let effects = prove_at(core, after(1), &running[0]);
    let [third] = <[_; 1]>::try_from(runs(&effects)).expect("the third shard");
    let effects = prove_at(core, after(2), &third);
    assert_eq!((runs(&effects), assembly(&effects)), (vec![], None));
    (running[1].0, running[1].1)
}

#[test]
fn a_worker_without_other_work_tries_the_task_of_a_slow_one_and_the_first_result_counts() {
    let mut core = core_with(dividing_limits());
    let (slow, lease) = one_left(&mut core);
    let effects = core.sweep(after(2));
    let [race] = <[_; 1]>::try_from(runs(&effects)).expect("a second attempt");
    assert_ne!(race.0, slow);
    assert_eq!(core.divisions.attempts[&race.1].task, core.divisions.attempts[&lease].task);
    assert_eq!(runs(&core.sweep(after(60))), [], "two attempts are enough");
    let effects = prove_at(&mut core, after(61), &race);
    assert!(assembly(&effects).is_some(), "{effects:?}");
    assert_eq!(cancels(&effects), [lease]);
    assert!(core.divisions.attempts.is_empty());
}

#[test]
fn a_task_is_not_tried_twice_before_it_is_late_or_if_races_are_off() {
    let mut core = core_with(dividing_limits());
    for n in [1, 2, 3] {
        join_with_tasks(&mut core, n, 1, &[]);
    }
    let running = executed(&mut core);
    let _ = prove_at(&mut core, after(10), &running[0]);
    assert_eq!(runs(&core.sweep(after(12))), [], "the others are as fast");
    assert_eq!(runs(&core.sweep(after(13))).len(), 1);
    let mut limits = dividing_limits();
    limits.sharding.job.race_after = 0.0;
    let mut core = core_with(limits);
    let _ = one_left(&mut core);
    assert_eq!(runs(&core.sweep(after(60))), []);
}

#[test]
fn a_failed_task_does_not_wait_for_a_worker_that_hangs() {
    let mut core = core_with(dividing_limits());
    for n in [1, 2] {
        join_with_tasks(&mut core, n, 1, &[]);
    }
    let running = executed(&mut core);
    let (hanging, failing) = (&running[0], &running[1]);
    let task = core.divisions.attempts[&failing.1].task;
    let next = worker_fails(&mut core, failing, failure(FailureClass::Worker));
    let [third] = <[_; 1]>::try_from(next).expect("the third shard");
    assert_eq!(runs(&prove_at(&mut core, after(1), &third)), []);
    let _ = core.held_leases(after(2), hanging.0, SessionId(1), &[hanging.1]);
    // Until then the other worker may still take it, and its own task is tried as well.
    let [race] = <[_; 1]>::try_from(runs(&core.sweep(after(9)))).expect("a race");
    assert_ne!(core.divisions.attempts[&race.1].task, task);
    let effects = prove_at(&mut core, after(11), &race);
    let [again] = <[_; 1]>::try_from(runs(&effects)).expect("the failed task");
    assert_eq!((again.0, core.divisions.attempts[&again.1].task), (failing.0, task));
}

#[test]
fn the_slow_attempt_goes_on_if_the_second_one_fails() {
    let mut core = core_with(dividing_limits());
    let (slow, lease) = one_left(&mut core);
    let effects = core.sweep(after(2));
    let [race] = <[_; 1]>::try_from(runs(&effects)).expect("a second attempt");
    let effects = core.worker_removed(after(3), race.0, SessionId(1), "gone");
    assert!(!cancels(&effects).contains(&lease));
    assert_eq!(core.divisions.attempts[&lease].record.prover.worker, slow);
    assert_eq!(core.divisions.attempts.len(), 1);
}
