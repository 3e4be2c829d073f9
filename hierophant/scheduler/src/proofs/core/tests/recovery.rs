//! Going on after a restart of Hierophant, state by state.

use super::*;

/// One request that worker 1 has leased, and what the store knows of it.
fn leased() -> (ProofsCore, Memory, LeaseId) {
    let mut memory = Memory::default();
    let mut core = core();
    memory.save(&submit(&mut core, 1, 1));
    let effects = join(&mut core, 1, 1);
    memory.save(&effects);
    let (_, lease) = given_out(&effects).expect("given out");
    (core, memory, lease)
}

fn begun() -> (ProofsCore, Memory, LeaseId) {
    let (mut core, mut memory, lease) = leased();
    memory.save(&core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving)));
    memory.save(&core.executed(START, worker(1), lease, execution()));
    (core, memory, lease)
}

fn finish(core: &mut ProofsCore, lease: LeaseId) {
    hand_in(core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn what_waited_waits_again_without_a_write() {
    let mut memory = Memory::default();
    let mut before = core();
    memory.save(&submit(&mut before, 1, 1));
    let (mut core, effects) = memory.restart();
    assert_eq!(effects, []);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    finish(&mut core, lease);
}

#[test]
fn a_worker_that_comes_back_goes_on_with_the_same_attempt() {
    for (_, mut memory, lease) in [leased(), begun()] {
        let (mut core, effects) = memory.restart();
        assert_eq!(effects, []);
        assert_eq!(given_out(&join(&mut core, 2, 1)), None, "not for another worker");
        let effects = core.worker_joined(START, arrival(1, 2, &[lease]));
        assert_eq!(resumed(&effects), Some(vec![lease]));
        assert_eq!(given_out(&effects), None);
        finish(&mut core, lease);
    }
}

#[test]
fn a_worker_that_comes_back_without_the_attempt_frees_the_job() {
    let (_, mut memory, old) = begun();
    let (mut core, _) = memory.restart();
    join(&mut core, 2, 1);
    let effects = core.worker_joined(START, arrival(1, 2, &[]));
    assert_eq!(resumed(&effects), Some(vec![]));
    let (to, new) = given_out(&effects).expect("given out again");
    assert_eq!(to, worker(2), "not to the one on which it died");
    assert_ne!(new, old);
}

#[test]
fn a_worker_that_does_not_come_back_loses_the_job_after_the_limit() {
    let (_, mut memory, lease) = begun();
    let (mut core, _) = memory.restart();
    join(&mut core, 2, 1);
    let limit = START.0 + limits().return_limit_ms;
    assert_eq!(core.sweep(Millis(limit)), []);
    let effects = core.sweep(Millis(limit + 1));
    let (to, new) = given_out(&effects).expect("given out again");
    assert_eq!(to, worker(2));
    // Too late now: another one has it.
    let effects = core.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![]));
    assert!(core.leases.get(&new).is_some());
}

#[test]
fn a_late_worker_goes_on_if_nobody_else_has_begun() {
    let (_, mut memory, lease) = begun();
    let (mut core, _) = memory.restart();
    memory.save(&core.sweep(Millis(START.0 + limits().return_limit_ms + 1)));
    assert_eq!(memory.attempts[&lease].outcome, AttemptOutcome::Lost);
    for mut core in [core, memory.restart().0] {
        let effects = core.worker_joined(START, arrival(1, 2, &[lease]));
        assert_eq!(resumed(&effects), Some(vec![lease]));
        assert_eq!(given_out(&effects), None);
        finish(&mut core, lease);
    }
}

#[test]
fn a_proof_that_was_handed_in_is_checked_at_the_start() {
    let (mut core, mut memory, lease) = begun();
    memory.save(&core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob()).1);
    // Killed in state Uploaded, and again in state Verifying.
    for _ in 0..2 {
        let (mut core, effects) = memory.restart();
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Check { .. })), "{effects:?}");
        assert_eq!(memory.job_of(1).state, JobState::Verifying);
        let effects = core.checked(START, lease, Ok(()));
        assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    }
}

#[test]
fn a_damaged_proof_is_handed_in_again() {
    let (mut core, mut memory, lease) = begun();
    memory.save(&core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob()).1);
    let (mut core, effects) = memory.restart_with(limits(), &[ArtifactId([5; 16])]);
    assert_eq!(job_state(&effects), Some(JobState::Proving));
    let effects = core.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]));
    finish(&mut core, lease);
}

/// The program of every request.
const PROGRAM: ArtifactId = ArtifactId([1; 16]);

#[test]
fn a_waiting_job_whose_bytes_are_damaged_fails_at_the_start() {
    let mut memory = Memory::default();
    memory.save(&submit(&mut core(), 1, 1));
    let (core, effects) = memory.restart_with(limits(), &[PROGRAM]);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    assert_eq!(core.overview().unfinished, 0);
}

#[test]
fn damaged_inputs_end_neither_a_handed_in_proof_nor_a_running_attempt() {
    let (mut core, mut memory, lease) = begun();
    // The attempt continues, and its proof counts.
    let (mut restarted, effects) = memory.restart_with(limits(), &[PROGRAM]);
    assert_eq!(request_state(&effects, 1), None);
    let effects = restarted.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]));
    finish(&mut restarted, lease);

    // A proof that was handed in is checked.
    memory.save(&core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob()).1);
    let (mut restarted, effects) = memory.restart_with(limits(), &[PROGRAM]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Check { .. })), "{effects:?}");
    let effects = restarted.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn a_job_with_damaged_inputs_fails_with_its_last_attempt() {
    for class in [FailureClass::Worker, FailureClass::Infrastructure] {
        let (_, mut memory, lease) = begun();
        let (mut core, _) = memory.restart_with(limits(), &[PROGRAM]);
        core.worker_joined(START, arrival(1, 2, &[lease]));
        let effects = core.failed(START, worker(1), lease, failure(class));
        assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
        assert_eq!(core.overview().unfinished, 0);
    }
    let (_, mut memory, _) = begun();
    let (mut core, _) = memory.restart_with(limits(), &[PROGRAM]);
    let effects = core.sweep(Millis(START.0 + limits().return_limit_ms + 1));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
}

#[test]
fn failures_before_the_restart_count() {
    let (mut core, mut memory, lease) = leased();
    memory.save(&join(&mut core, 2, 2));
    let mut effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    memory.save(&effects);
    let (to, lease) = given_out(&effects).expect("given out again");
    assert_eq!(to, worker(2));
    effects = core.failed(START, worker(2), lease, failure(FailureClass::Worker));
    memory.save(&effects);
    let (mut core, _) = memory.restart();
    // The attempt that was going on died with the worker's program before it had begun.
    let effects = core.worker_joined(START, arrival(1, 2, &[]));
    assert_eq!(request_state(&effects, 1), None);
    let (_, lease) = given_out(&effects).expect("given out again");
    join(&mut core, 3, 3);
    let effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    assert_eq!(request_state(&effects, 1), None, "two machines so far");
    let (to, lease) = given_out(&effects).expect("given out again");
    assert_eq!(to, worker(3));
    let effects = core.failed(START, worker(3), lease, failure(FailureClass::Worker));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
}
