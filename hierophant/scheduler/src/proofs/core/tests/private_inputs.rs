//! Private inputs: which workers get them.

use network_lib::shard::TaskInput;

use super::ahead::preparing;
use super::divisions::{
    Rows, all_proved, assembly, check_ends, dividing_limits, execute, executed_of, join_with_tasks,
    prove, prove_at, runs, sharding,
};
use super::*;

/// A worker without the right to private inputs.
fn ordinary(joined: WorkerJoined) -> WorkerJoined {
    WorkerJoined { private_inputs: false, ..joined }
}

/// A request with a private input.
fn private(id: u8, input: u8) -> NewRequest {
    NewRequest { stdin_private: true, ..new_request(id, input) }
}

fn submit_private(core: &mut ProofsCore, id: u8, input: u8) -> Vec<Effect> {
    core.submit(START, private(id, input), StoreLookup::default()).1
}

fn job(core: &ProofsCore, request: u8) -> JobId {
    core.open.job(RequestId([request; 32])).expect("open")
}

fn why(core: &ProofsCore, request: u8) -> String {
    core.why(START, job(core, request)).expect("unfinished").reason
}

/// Lets a worker join without the right to private inputs.
fn join_as_ordinary(core: &mut ProofsCore, n: u8, session: u64, held: &[LeaseId]) -> Vec<Effect> {
    core.worker_joined(START, ordinary(arrival(n, session, held)))
}

#[test]
fn a_private_job_waits_beside_an_idle_worker_and_goes_to_one_with_the_right() {
    let mut core = core();
    join_as_ordinary(&mut core, 1, 1, &[]);
    assert_eq!(given_out(&submit_private(&mut core, 1, 1)), None);
    assert_eq!(given_out(&core.sweep(START)), None);
    assert_eq!(
        why(&core, 1),
        "its input is private: no connected worker that supports core of circuit v6.1.0 (1) has the right to private \
         inputs"
    );
    let other = given_out(&submit(&mut core, 2, 2)).expect("not private");
    assert_eq!(other.0, worker(1), "the private job blocks no other");
    let (to, lease) = given_out(&join(&mut core, 2, 2)).expect("given out");
    assert_eq!((to, core.job_of_lease(lease)), (worker(2), Some(job(&core, 1))));
    assert!(core.lease_access(lease, worker(2)).is_some_and(|access| access.stdin.is_some()));
    assert_eq!(given_out(&submit_private(&mut core, 3, 3)), None);
    hand_in(&mut core, 1, other.1);
    assert_eq!(given_out(&core.checked(START, other.1, Ok(()))), None, "worker 1 is idle again");
    let busy =
        "all capable workers with the right to its private input (1) are busy; jobs ahead of it: 0";
    assert_eq!(why(&core, 3), busy);
    core.worker_draining(START, worker(2), SessionId(2));
    let draining = "all workers that support core of circuit v6.1.0 and have the right to its private input are \
                    draining or disconnected";
    assert_eq!(why(&core, 3), draining);
    let effects = core.worker_removed(START, worker(2), SessionId(2), "gone");
    assert_eq!(given_out(&effects), None, "neither of both may go to worker 1");
    assert_eq!(core.queue.len(), 2);
}

#[test]
fn a_waiting_job_becomes_private_with_a_request_and_ordinary_without_it() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (answer, _) = core.submit(START, private(2, 1), StoreLookup::default());
    assert_eq!(answer.expect("accepted").job, job(&core, 1));
    assert_eq!(given_out(&join_as_ordinary(&mut core, 1, 1, &[])), None);
    let alice = core.limits.clients.of(ALICE, None);
    let (answer, effects) = core.cancel(START, RequestId([2; 32]), &alice);
    assert_eq!(answer, Ok(()));
    assert_eq!(given_out(&effects).map(|(to, _)| to), Some(worker(1)));
}

#[test]
fn an_attempt_that_runs_goes_on_if_a_private_request_joins_and_the_next_one_needs_the_right() {
    let mut core = core();
    join_as_ordinary(&mut core, 1, 1, &[]);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving));
    let later = Millis(START.0 + 1);
    let effects = core.submit(later, private(2, 1), StoreLookup::default()).1;
    assert_eq!(cancels(&effects), []);
    assert!(core.job_of_lease(lease).is_some());
    // Also over a new connection.
    let back = ordinary(arrival(1, 2, &[lease]));
    assert_eq!(resumed(&core.worker_joined(later, back)), Some(vec![lease]));
    join_as_ordinary(&mut core, 2, 2, &[]);
    let effects = core.failed(later, worker(1), lease, failure(FailureClass::Worker));
    assert_eq!(given_out(&effects), None, "two ordinary workers are idle");
    let (to, _) = given_out(&core.worker_joined(later, arrival(3, 3, &[]))).expect("given out");
    assert_eq!(to, worker(3));
}

#[test]
fn what_an_ordinary_worker_prepares_is_taken_from_it_when_a_private_request_joins() {
    let mut core = core();
    core.worker_joined(START, ordinary(preparing(1, 1, &[])));
    let (_, running) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    let (to, lease) = given_out(&submit(&mut core, 2, 2)).expect("leased ahead");
    assert_eq!((to, core.leases[&lease].is_ahead()), (worker(1), true));
    // Nothing else gives a reason to judge the worker again.
    assert_eq!((core.sweep(START), core.sweep(START)), (vec![], vec![]));
    let effects = submit_private(&mut core, 3, 2);
    assert_eq!((cancels(&effects), given_out(&effects)), (vec![lease], None));
    assert!(core.lease_access(lease, worker(1)).is_none());
    hand_in(&mut core, 1, running);
    assert_eq!(given_out(&core.checked(START, running, Ok(()))), None);
    core.worker_joined(START, preparing(2, 2, &[]));
    let (_, running) = given_out(&submit_private(&mut core, 4, 4)).expect("leased ahead");
    assert_eq!(core.leases[&running].attempt.prover.worker, worker(2));
}

#[test]
fn after_a_restart_a_private_job_goes_only_to_a_worker_with_the_right() {
    let (mut core, mut memory) = (core(), Memory::default());
    memory.save(&submit_private(&mut core, 1, 1));
    let (mut core, _) = memory.restart();
    assert_eq!(given_out(&join_as_ordinary(&mut core, 1, 1, &[])), None);
    let effects = join(&mut core, 2, 2);
    memory.save(&effects);
    let (to, lease) = given_out(&effects).expect("given out");
    assert_eq!(to, worker(2));
    memory.save(&core.progressed(START, to, lease, Progress::phase(Phase::Proving)));

    // It returns with the right and without it: after a restart, and after its connection has been lost for long.
    let (mut core, _) = memory.restart();
    assert_eq!(resumed(&join(&mut core, 2, 3)), Some(vec![]), "unlisted");
    let (mut core, _) = memory.restart();
    let effects = core.worker_joined(START, arrival(2, 3, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]));
    let (mut core, _) = memory.restart();
    let effects = join_as_ordinary(&mut core, 2, 3, &[lease]);
    assert_eq!((resumed(&effects), given_out(&effects)), (Some(vec![]), None));
    assert!(core.lease_access(lease, worker(2)).is_none());
    assert!(core.queue.contains(job(&core, 1)));

    let (mut core, _) = memory.restart();
    core.worker_joined(START, arrival(2, 3, &[lease]));
    core.worker_removed(START, worker(2), SessionId(3), "silent");
    let effects = join_as_ordinary(&mut core, 2, 4, &[lease]);
    assert_eq!((resumed(&effects), given_out(&effects)), (Some(vec![]), None));
    core.worker_removed(START, worker(2), SessionId(4), "silent");
    let effects = core.worker_joined(START, arrival(2, 5, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]), "with the right it continues");
}

#[test]
fn what_was_prepared_before_a_restart_is_taken_from_a_worker_that_has_lost_the_right() {
    let (mut core, mut memory) = (core(), Memory::default());
    memory.save(&core.worker_joined(START, preparing(1, 1, &[])));
    memory.save(&submit(&mut core, 1, 1));
    let effects = submit_private(&mut core, 2, 2);
    memory.save(&effects);
    let (_, ahead) = given_out(&effects).expect("leased ahead");
    let running = memory.attempts.keys().copied().find(|lease| *lease != ahead).expect("one");
    let (mut core, _) = memory.restart();
    let effects = core.worker_joined(START, ordinary(preparing(1, 2, &[running, ahead])));
    assert_eq!(resumed(&effects), Some(vec![running]));
    assert!(core.lease_access(ahead, worker(1)).is_none());
    assert!(core.jobs[&job(&core, 2)].ahead.is_none());
}

#[test]
fn a_straggler_with_a_private_input_is_raced_only_by_a_worker_with_the_right() {
    let mut core = core_with(Limits { race_after: 2.0, ..limits() });
    let at = |minutes: i64| Millis(START.0 + minutes * MINUTE);
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    core.checked(at(1), lease, Ok(()));
    let effects = core.submit(at(1), private(2, 2), StoreLookup::default()).1;
    let (_, lease) = given_out(&effects).expect("given out");
    core.progressed(at(1), worker(1), lease, Progress::phase(Phase::Proving));
    join_as_ordinary(&mut core, 2, 2, &[]);
    assert_eq!(given_out(&core.sweep(at(5))), None);
    join(&mut core, 3, 3);
    assert_eq!(given_out(&core.sweep(at(5))).map(|(to, _)| to), Some(worker(3)));
}

#[test]
fn a_disputed_private_proof_waits_for_another_worker_with_the_right() {
    let mut core = core();
    let stated = Some(Sha256Digest([0x77; 32]));
    join(&mut core, 1, 1);
    let request = NewRequest { stated_digest: stated, ..private(1, 1) };
    let (_, lease) =
        given_out(&core.submit(START, request, StoreLookup::default()).1).expect("given out");
    join_as_ordinary(&mut core, 2, 2, &[]);
    hand_in(&mut core, 1, lease);
    let (to, _) = given_out(&core.checked(START, lease, Ok(()))).expect("tried again");
    assert_eq!(to, worker(1), "the only one with the right");
}

#[test]
fn a_job_that_was_set_aside_is_tried_again_for_a_private_request_only_if_a_worker_may_get_it() {
    let mut core = core();
    join_as_ordinary(&mut core, 1, 1, &[]);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    let ended = JobRecord {
        state: JobState::Failed,
        finished_at: Some(Millis(START.0 - 1)),
        ..core.jobs[&job(&core, 1)].record.clone()
    };
    core.failed(START, worker(1), lease, failure(FailureClass::Guest));
    let again = |core: &mut ProofsCore, id| {
        let known = StoreLookup { ended: Some(ended.clone()), ..StoreLookup::default() };
        request_state(&core.submit(START, private(id, 1), known).1, id)
    };
    assert_eq!(again(&mut core, 2), Some(RequestState::Failed));
    join(&mut core, 2, 2);
    assert_eq!(again(&mut core, 3), Some(RequestState::Open));
}

/// Workers that take tasks: those of `with_right`, and those of `without`.
fn dividing(with_right: &[u8], without: &[u8]) -> ProofsCore {
    let mut core = core_with(dividing_limits());
    for n in without {
        join_without_right(&mut core, *n);
    }
    for n in with_right {
        join_with_tasks(&mut core, *n, 1, &[]);
    }
    core
}

fn join_without_right(core: &mut ProofsCore, n: u8) -> Vec<Effect> {
    let mut joined = ordinary(arrival(n, 1, &[]));
    joined.capabilities.sharding = Some(sharding());
    core.worker_joined(START, joined)
}

fn workers_of(effects: &[Effect]) -> BTreeSet<WorkerId> {
    runs(effects).iter().map(|(worker, ..)| *worker).collect()
}

#[test]
fn tasks_of_a_private_job_go_only_to_workers_with_the_right() {
    let mut core = dividing(&[1, 2], &[3, 4]);
    let running = executed_of(&mut core, private(1, 1));
    let workers: BTreeSet<_> = running.iter().map(|(worker, ..)| *worker).collect();
    assert_eq!(workers, [worker(1), worker(2)].into());
    // Another job gets the others.
    let others = executed_of(&mut core, new_request(2, 2));
    let workers: BTreeSet<_> = others.iter().map(|(worker, ..)| *worker).collect();
    assert_eq!(workers, [worker(3), worker(4)].into());
    let assembly = all_proved(&mut core, running);
    assert_eq!(job_state(&check_ends(&mut core, &assembly)), Some(JobState::Proved));
}

#[test]
fn tasks_of_a_private_job_wait_when_the_last_worker_with_the_right_leaves() {
    let mut core = dividing(&[1, 2], &[3, 4]);
    assert_eq!(executed_of(&mut core, private(1, 1)).len(), 2);
    let mut effects = core.worker_removed(START, worker(1), SessionId(1), "gone");
    assert!(workers_of(&effects).is_subset(&[worker(2)].into()), "{effects:?}");
    effects = core.worker_removed(START, worker(2), SessionId(1), "gone");
    assert_eq!(runs(&effects), []);
    assert_eq!(runs(&core.sweep(Millis(START.0 + MINUTE))), []);
    let why = why(&core, 1);
    let words = "; its input is private, and no worker that takes its tasks has the right to private inputs";
    assert!(why.ends_with(words), "{why}");
    // One of them returns without the right, and then with it.
    assert_eq!(runs(&join_without_right(&mut core, 1)), []);
    let effects = join_with_tasks(&mut core, 2, 2, &[]);
    assert!(!runs(&effects).is_empty(), "{effects:?}");
    assert_eq!(workers_of(&effects), [worker(2)].into());
}

#[test]
fn tasks_that_run_go_on_if_a_private_request_joins_and_further_ones_need_the_right() {
    let mut core = dividing(&[], &[1, 2]);
    let running = executed_of(&mut core, new_request(1, 1));
    assert_eq!(running.len(), 2);
    let effects = core.submit(Millis(START.0 + 1), private(2, 1), StoreLookup::default()).1;
    assert_eq!((cancels(&effects), runs(&effects)), (vec![], vec![]));
    for run in &running {
        assert_eq!(runs(&prove(&mut core, run)), [], "the third shard waits");
    }
    let effects = join_with_tasks(&mut core, 3, 1, &[]);
    assert_eq!(workers_of(&effects), [worker(3)].into());
    let [third] = <[_; 1]>::try_from(runs(&effects)).expect("the third shard");
    assert!(assembly(&prove(&mut core, &third)).is_some());
}

#[test]
fn a_divided_job_that_no_worker_with_the_right_can_continue_is_proved_as_a_whole() {
    let mut core = dividing(&[], &[1, 2]);
    let running = executed_of(&mut core, new_request(1, 1));
    let _ = core.submit(Millis(START.0 + 1), private(2, 1), StoreLookup::default());
    join(&mut core, 3, 3);
    let late = Millis(START.0 + limits().return_limit_ms + 1);
    let effects = core.sweep(late);
    assert_eq!((cancels(&effects), given_out(&effects)), (vec![], None), "two tasks still run");
    for run in &running {
        let _ = prove(&mut core, run);
    }
    let (to, _) = given_out(&core.sweep(late)).expect("the whole proof");
    assert_eq!(to, worker(3));
    assert!(core.divisions.jobs.is_empty());
}

#[test]
fn a_late_task_of_a_private_job_is_tried_again_only_by_a_worker_with_the_right() {
    let mut core = dividing(&[1, 2], &[]);
    let after = |seconds: i64| Millis(START.0 + seconds * 1_000);
    let running = executed_of(&mut core, private(1, 1));
    let effects = prove_at(&mut core, after(1), &running[0]);
    let [third] = <[_; 1]>::try_from(runs(&effects)).expect("the third shard");
    let _ = prove_at(&mut core, after(2), &third);
    // The second worker is slow; the first one leaves before it can race.
    core.worker_draining(after(2), third.0, SessionId(1));
    join_without_right(&mut core, 3);
    assert_eq!(runs(&core.sweep(after(60))), []);
    join_with_tasks(&mut core, 4, 1, &[]);
    assert_eq!(workers_of(&core.sweep(after(60))), [worker(4)].into());
}

#[test]
fn workers_without_the_right_do_not_decide_how_a_private_job_is_divided() {
    let mut core = dividing(&[], &[1, 2]);
    let effects = submit_private(&mut core, 1, 1);
    assert_eq!((runs(&effects), given_out(&effects)), (vec![], None));
    // The one with the right takes no tasks: it gets the whole proof.
    let effects = join(&mut core, 3, 3);
    assert_eq!(given_out(&effects).map(|(to, _)| to), Some(worker(3)));
    assert_eq!(runs(&effects), []);
}

#[test]
fn after_a_restart_tasks_of_a_private_job_continue_only_on_workers_with_the_right() {
    let (mut core, mut rows) = (dividing(&[1, 2], &[]), Rows::default());
    let effects = submit_private(&mut core, 1, 1);
    rows.store(&effects);
    let [(executor, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("the execution");
    let effects = execute(&mut core, executor, lease);
    rows.store(&effects);
    let running = runs(&effects);
    for has_right in [true, false] {
        let stored = rows.restored(&[]);
        let (mut core, _) =
            ProofsCore::restore(START, dividing_limits(), IdSource::counting_from(1_000), stored);
        let (id, lease, input) = &running[0];
        assert!(matches!(input, TaskInput::ProveShard { .. }));
        let mut joined = arrival(id.0[0], 2, &[*lease]);
        joined.capabilities.sharding = Some(sharding());
        joined.private_inputs = has_right;
        let effects = core.worker_joined(START, joined);
        let kept = if has_right { vec![*lease] } else { vec![] };
        assert_eq!(resumed(&effects), Some(kept));
        assert_eq!(runs(&effects).is_empty(), !has_right, "{effects:?}");
        assert_eq!(core.divisions.held(*id, *lease).is_some(), has_right);
    }
}

#[test]
fn what_a_full_event_leaves_to_the_next_sweep_does_not_begin_without_the_right() {
    let mut core = core();
    core.worker_joined(START, ordinary(preparing(1, 1, &[])));
    let (_, running) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    let (_, ahead) = given_out(&submit(&mut core, 2, 2)).expect("leased ahead");
    let [first, second] = [1, 2].map(|request| core.jobs[&job(&core, request)].record.clone());
    let template = core.jobs[&first.id].requests.values().next().expect("one").clone();
    let many = |byte: u8| -> Vec<RequestRecord> {
        let request = |n: u16| {
            let mut id = [byte; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let (state, stdin_private) = (RequestState::Fulfilled, byte == 0xb0);
            RequestRecord { id: RequestId(id), state, stdin_private, ..template.clone() }
        };
        (0..600).map(request).collect()
    };
    core.reopen(START, first, many(0xa0));
    core.sweep(START);
    let effects = core.reopen(START, second, many(0xb0));
    assert_eq!(cancels(&effects), [], "the event was full before");
    // This one is full as well, and a slot is free.
    let effects = core.failed(START, worker(1), running, failure(FailureClass::Guest));
    assert!(effects.len() >= MAX_EFFECTS && core.leases[&ahead].is_ahead());
    let effects = core.sweep(START);
    let waiting = (0..10).map(|_| core.sweep(START)).fold(effects, |mut all, more| {
        all.extend(more);
        all
    });
    assert_eq!((cancels(&waiting), given_out(&waiting)), (vec![ahead], None));
}
