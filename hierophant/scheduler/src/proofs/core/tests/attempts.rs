//! What becomes of an attempt, and of its job by that.

use super::*;

#[test]
fn a_request_goes_its_way_without_anybody_polling() {
    let mut core = core();
    let effects = submit(&mut core, 1, 1);
    assert_eq!(job_state(&effects), Some(JobState::Queued));
    let (to, lease) = given_out(&join(&mut core, 1, 1)).expect("given out on arrival");
    assert_eq!(to, worker(1));
    let progress = Progress::phase(Phase::Proving);
    let effects = core.progressed(START, worker(1), lease, progress);
    assert_eq!(job_state(&effects), Some(JobState::Proving));
    let effects = hand_in(&mut core, 1, lease);
    assert_eq!(job_state(&effects), Some(JobState::Verifying));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Check { .. })));
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(job_state(&effects), Some(JobState::Proved));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert_eq!(cancels(&effects), []);
    assert_eq!(core.overview().unfinished, 0);
    assert_eq!(core.overview().workers[0].stats.completed, 1);
}

#[test]
fn everything_is_saved_before_a_worker_is_told() {
    let mut core = core();
    join(&mut core, 1, 1);
    let effects = submit(&mut core, 1, 1);
    let first_send = effects.iter().position(|effect| matches!(effect, Effect::Send(..)));
    let last_save = effects.iter().rposition(|effect| matches!(effect, Effect::Save(_)));
    assert!(last_save < first_send, "{effects:?}");
}

#[test]
fn a_lost_worker_gives_its_job_back_and_a_late_word_changes_nothing() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, old) = given_out(&join(&mut core, 1, 1)).expect("given out");
    join(&mut core, 2, 2);
    let effects = core.worker_removed(START, worker(1), SessionId(1), "cut");
    let (to, new) = given_out(&effects).expect("given out again");
    assert_eq!(to, worker(2));
    assert_ne!(old, new);
    assert_eq!(core.completed(START, worker(1), old, execution(), proof_blob()), []);
    assert_eq!(core.failed(START, worker(1), old, failure(FailureClass::Guest)), []);
    let settled = Effect::Send(worker(2), ToWorker::Settled { lease_id: old });
    assert_eq!(core.failed(START, worker(2), old, failure(FailureClass::Guest)), [settled]);
    let opens = |lease, n| core.lease_access(lease, worker(n)).is_some();
    assert_eq!([opens(old, 1), opens(old, 2)], [false, false], "it is over");
    assert_eq!([opens(new, 1), opens(new, 2)], [false, true], "only its holder's");
    assert!(!core.proof_stored(START, old, ArtifactId([5; 16]), proof_blob()).0);
    hand_in(&mut core, 2, new);
    let effects = core.checked(START, new, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert_eq!(core.checked(START, new, Ok(())), []);
}

#[test]
fn a_proof_that_arrived_before_its_worker_left_counts() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    core.executed(START, worker(1), lease, execution());
    core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob());
    let effects = core.worker_removed(START, worker(1), SessionId(1), "cut");
    assert_eq!(job_state(&effects), Some(JobState::Verifying));
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn a_failing_guest_ends_the_request_with_its_cause_and_no_strike() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let cause = Some(ExecutionFailureCause::HaltWithNonZeroExitCode);
    let guest = Failure { cause, ..failure(FailureClass::Guest) };
    let effects = core.failed(START, worker(1), lease, guest);
    assert_eq!(job_state(&effects), Some(JobState::Unexecutable));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Unexecutable));
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 0);
    assert!(given_out(&submit(&mut core, 2, 2)).is_some(), "the worker goes on");
}

#[test]
fn a_malformed_request_fails_at_once_and_an_exceeded_limit_is_unexecutable() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let effects = core.failed(START, worker(1), lease, failure(FailureClass::Request));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    let (_, lease) = given_out(&submit(&mut core, 2, 2)).expect("given out");
    let cause = Some(ExecutionFailureCause::ExceededCycleLimit);
    let limit = Failure { cause, ..failure(FailureClass::Request) };
    let effects = core.failed(START, worker(1), lease, limit);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Unexecutable));
}

#[test]
fn a_workers_fault_is_retried_elsewhere_and_given_up_after_three() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (first, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    join(&mut core, 2, 2);
    let effects = core.failed(START, first, lease, failure(FailureClass::Worker));
    let (second, lease) = given_out(&effects).expect("given out again");
    assert_eq!((first, second), (worker(1), worker(2)));
    join(&mut core, 3, 3);
    let effects = core.failed(START, second, lease, failure(FailureClass::Worker));
    let (third, lease) = given_out(&effects).expect("given out a third time");
    assert_eq!(third, worker(3));
    let effects = core.failed(START, third, lease, failure(FailureClass::Worker));
    assert_eq!(job_state(&effects), Some(JobState::Failed));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
}

#[test]
fn nobodys_fault_is_retried_without_end_but_with_rests() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, mut lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let mut now = START;
    for _ in 0..20 {
        let effects = core.failed(now, worker(1), lease, failure(FailureClass::Infrastructure));
        assert_eq!(request_state(&effects, 1), None);
        now = Millis(now.0 + 120_000);
        let again = given_out(&effects).or_else(|| given_out(&core.sweep(now)));
        lease = again.expect("given out again after a rest").1;
    }
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 0);
}

#[test]
fn a_proof_of_the_wrong_kind_strikes_the_worker_and_is_made_again() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Err(failure(FailureClass::Worker)));
    assert_eq!(request_state(&effects, 1), None);
    assert!(given_out(&effects).is_some());
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 1);
}

#[test]
fn an_announced_proof_that_was_not_handed_in_is_made_again() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let effects = core.completed(START, worker(1), lease, execution(), proof_blob());
    assert_eq!(request_state(&effects, 1), None);
    assert_ne!(given_out(&effects).map(|(_, new)| new), Some(lease));
}

#[test]
fn a_stopped_attempt_keeps_its_slot_until_the_worker_lets_go() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    assert_eq!(core.cancel(START, RequestId([1; 32]), &Client::Address(ALICE)).0, Ok(()));
    assert_eq!(given_out(&submit(&mut core, 2, 2)), None);
    assert_eq!(given_out(&core.held_leases(START, worker(1), SessionId(1), &[lease])), None);
    assert!(given_out(&core.held_leases(START, worker(1), SessionId(1), &[])).is_some());
}

#[test]
fn a_job_whose_input_is_gone_fails_with_a_clear_word() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let effects = core.input_lost(START, lease);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    assert_eq!(cancels(&effects), [lease]);
    assert_eq!(core.input_lost(START, lease), []);
}

#[test]
fn an_execution_beyond_the_requests_limits_is_its_workers_failure_and_charged_to_no_client() {
    let limited = || {
        let mut core = core();
        let mut new = new_request(1, 1);
        (new.spec.cycle_limit, new.spec.gas_limit) = (1000, 500);
        core.submit(START, new, StoreLookup::default()).0.expect("accepted");
        let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
        (core, lease)
    };
    let reports = [
        (1001, None, Some("1001 cycles: expected at most the request's limit of 1000")),
        (1000, Some(501), Some("501 gas: expected at most the request's limit of 500")),
        (1000, Some(500), None),
    ];
    for (cycles, gas, excess) in reports {
        let found = Execution { cycles, gas, ..execution() };
        let (mut core, lease) = limited();
        let executed = core.executed(START, worker(1), lease, found);
        let strikes = core.overview().workers[0].stats.strikes.len();
        let (mut core, lease) = limited();
        core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob());
        let completed = core.completed(START, worker(1), lease, found, proof_blob());
        for effects in [&executed, &completed] {
            let job = effects.iter().find_map(|effect| match effect {
                Effect::Save(Change::Job(job)) if job.failure.is_some() || excess.is_none() => {
                    Some(job)
                }
                _ => None,
            });
            let job = job.expect("saved");
            let said = job.failure.as_ref().map(|failure| failure.message.clone());
            assert_eq!(said, excess.map(|excess| format!("the worker reports {excess}")));
            assert_eq!(job.execution.is_some(), excess.is_none(), "nothing of it is recorded");
        }
        assert_eq!(cancels(&executed).contains(&lease), excess.is_some());
        assert_eq!(strikes, usize::from(excess.is_some()));
    }
}
