//! Stragglers, and who races them.

use super::*;

/// What the first proof took.
const USUAL: i64 = MINUTE;
const LIMIT: i64 = 2 * USUAL;

fn at(millis: i64) -> Millis {
    Millis(START.0 + millis)
}

fn racing() -> Limits {
    Limits { race_after: 2.0, ..limits() }
}

/// Worker 1 has proved request 1 in a minute and is at request 2 since `START`.
fn straggling_with(limits: Limits) -> (ProofsCore, Memory, LeaseId) {
    let (mut core, mut memory) = (core_with(limits), Memory::default());
    let before = at(-USUAL);
    memory.save(&core.worker_joined(before, arrival(1, 1, &[])));
    let effects = core.submit(before, new_request(1, 1), StoreLookup::default()).1;
    let (_, lease) = given_out(&effects).expect("given out");
    memory.save(&effects);
    memory.save(&hand_in(&mut core, 1, lease));
    memory.save(&core.checked(START, lease, Ok(())));
    let effects = submit(&mut core, 2, 2);
    let (_, lease) = given_out(&effects).expect("given out");
    memory.save(&effects);
    memory.save(&core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving)));
    (core, memory, lease)
}

fn straggling() -> (ProofsCore, Memory, LeaseId) {
    straggling_with(racing())
}

/// Worker 2 races worker 1; both have begun.
fn raced() -> (ProofsCore, Memory, [LeaseId; 2]) {
    let (mut core, mut memory, first) = straggling();
    memory.save(&join(&mut core, 2, 2));
    let effects = core.sweep(at(LIMIT + 1));
    memory.save(&effects);
    let (to, second) = given_out(&effects).expect("raced");
    assert_eq!(to, worker(2));
    memory.save(&core.progressed(START, worker(2), second, Progress::phase(Phase::Proving)));
    (core, memory, [first, second])
}

fn outcome(memory: &Memory, lease: LeaseId) -> AttemptOutcome {
    memory.attempts[&lease].outcome
}

#[test]
fn whoever_comes_first_wins_and_the_other_is_stopped_without_blame() {
    for winner in [0, 1] {
        let (mut core, mut memory, leases) = raced();
        let (won, lost) = (leases[winner], leases[1 - winner]);
        let [winner, loser] = if winner == 0 { [1, 2] } else { [2, 1] };
        memory.save(&hand_in(&mut core, winner, won));
        let effects = core.checked(at(LIMIT + 2), won, Ok(()));
        memory.save(&effects);
        assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
        assert_eq!(cancels(&effects), [lost]);
        assert_eq!(outcome(&memory, won), AttemptOutcome::Completed);
        assert_eq!(outcome(&memory, lost), AttemptOutcome::Cancelled);
        let job = memory.job_of(2);
        assert_eq!(job.prover.as_ref().map(|prover| prover.worker), Some(worker(winner)));
        assert_eq!(job.started_at, Some(memory.attempts[&won].started_at));
        assert_eq!(job.attempts, 2);
        let late = core.completed(at(LIMIT + 3), worker(loser), lost, execution(), proof_blob());
        let settled = Effect::Send(worker(loser), ToWorker::Settled { lease_id: lost });
        assert_eq!(late, [settled]);
        assert!(core.stats.values().all(|stats| stats.strikes.is_empty()));
    }
}

#[test]
fn nobody_is_raced_by_default_nor_before_the_time() {
    let (mut core, _, _) = straggling_with(limits());
    join(&mut core, 2, 2);
    assert_eq!(core.sweep(at(9 * MINUTE)), []);
    let (mut core, _, _) = straggling();
    join(&mut core, 2, 2);
    assert_eq!(core.sweep(at(LIMIT)), []);
    assert!(given_out(&core.sweep(at(LIMIT + 1))).is_some());
    assert_eq!(core.sweep(at(LIMIT + 2)), [], "once is enough");
}

#[test]
fn a_kind_of_proof_that_was_never_made_is_not_raced() {
    let mut core = core_with(racing());
    submit(&mut core, 1, 1);
    join(&mut core, 1, 1);
    join(&mut core, 2, 2);
    assert_eq!(core.sweep(at(9 * MINUTE)), []);
}

#[test]
fn a_worker_that_says_itself_that_it_will_take_long_is_raced_early() {
    let (mut core, _, lease) = straggling();
    join(&mut core, 2, 2);
    let tells =
        |seconds| Progress { eta_seconds: Some(seconds), ..Progress::phase(Phase::Proving) };
    core.progressed(at(1000), worker(1), lease, tells(120));
    assert_eq!(core.sweep(at(20_000)), []);
    core.progressed(at(20_000), worker(1), lease, tells(121));
    assert_eq!(core.sweep(at(9_999)), [], "too early to tell");
    assert!(given_out(&core.sweep(at(20_000))).is_some());
}

#[test]
fn only_an_idle_fitting_worker_races() {
    let (mut core, _, _) = straggling();
    let unable = capabilities(vec![ProofMode::Plonk]);
    core.worker_joined(START, WorkerJoined { capabilities: unable, ..arrival(2, 2, &[]) });
    core.worker_joined(START, arrival(3, 3, &[LeaseId([0xee; 16])]));
    join(&mut core, 4, 4);
    core.worker_draining(START, worker(4), SessionId(4));
    assert_eq!(core.sweep(at(LIMIT + 1)), []);
    core.held_leases(at(LIMIT + 1), worker(3), SessionId(3), &[]);
    assert_eq!(given_out(&core.sweep(at(LIMIT + 2))).map(|(to, _)| to), Some(worker(3)));
}

#[test]
fn a_worker_that_could_take_what_waits_does_not_race() {
    let (mut core, _, _) = straggling();
    join(&mut core, 2, 2);
    let (_, lease) = given_out(&submit(&mut core, 3, 3)).expect("given out");
    // The worker rests for a second.
    core.failed(at(LIMIT + 1), worker(2), lease, failure(FailureClass::Infrastructure));
    assert_eq!(core.sweep(at(LIMIT + 1)), []);
    let (_, lease) = given_out(&core.sweep(at(LIMIT + 1001))).expect("given out");
    assert_eq!(
        core.leases.get(&lease).expect("held").job,
        core.open.job(RequestId([3; 32])).expect("open")
    );
}

#[test]
fn an_attempt_of_an_absent_worker_is_not_raced() {
    let (mut core, _, _) = straggling();
    join(&mut core, 2, 2);
    core.worker_away(START, worker(1), SessionId(1));
    assert_eq!(core.sweep(at(LIMIT + 1)), []);
}

#[test]
fn who_is_known_to_be_slow_does_not_race_and_the_fastest_goes_first() {
    let (mut core, _, _) = straggling();
    // Worker 2 takes three minutes for such a proof, worker 3 half a minute.
    for (n, took) in [(3, MINUTE / 2), (2, 3 * MINUTE)] {
        core.worker_joined(at(-took), arrival(n, u64::from(n), &[]));
        let (_, effects) =
            core.submit(at(-took), new_request(n + 1, n + 1), StoreLookup::default());
        let (to, lease) = given_out(&effects).expect("given out");
        assert_eq!(to, worker(n));
        hand_in(&mut core, n, lease);
        core.checked(START, lease, Ok(()));
    }
    core.worker_draining(START, worker(3), SessionId(3));
    assert_eq!(core.sweep(at(LIMIT + 1)), [], "worker 2 would take longer");
    join(&mut core, 3, 4);
    join(&mut core, 4, 5);
    assert_eq!(given_out(&core.sweep(at(LIMIT + 1))).map(|(to, _)| to), Some(worker(3)));
}

#[test]
fn when_one_fails_the_other_goes_on() {
    let classes = [FailureClass::Worker, FailureClass::Infrastructure];
    for (fails, class) in [(0, classes[0]), (1, classes[0]), (0, classes[1]), (1, classes[1])] {
        let (mut core, mut memory, leases) = raced();
        let other = worker(if fails == 0 { 2 } else { 1 });
        let failed = worker(if fails == 0 { 1 } else { 2 });
        let effects = core.failed(at(LIMIT + 2), failed, leases[fails], failure(class));
        memory.save(&effects);
        assert_eq!((given_out(&effects), request_state(&effects, 2)), (None, None));
        let job = memory.job_of(2);
        assert_eq!(job.state, JobState::Proving);
        assert_eq!(job.prover.as_ref().map(|prover| prover.worker), Some(other));
        assert_eq!(job.failure.as_ref().map(|failure| failure.class), Some(class));
        let strikes = usize::from(class == FailureClass::Worker);
        let counted = core.stats.get(&failed).map_or(0, |stats| stats.strikes.len());
        assert_eq!(counted, strikes);
        core.held_leases(
            at(LIMIT + 3),
            failed,
            if fails == 0 { SessionId(1) } else { SessionId(2) },
            &[],
        );
        assert_eq!(given_out(&core.sweep(at(5 * MINUTE))), None, "not twice on one worker");
        let n = if fails == 0 { 2 } else { 1 };
        hand_in(&mut core, n, leases[1 - fails]);
        let effects = core.checked(at(5 * MINUTE), leases[1 - fails], Ok(()));
        assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
        assert_eq!(cancels(&effects), []);
    }
}

#[test]
fn a_third_worker_may_race_after_the_second_has_failed() {
    let (mut core, _, [_, second]) = raced();
    join(&mut core, 3, 3);
    core.failed(at(LIMIT + 2), worker(2), second, failure(FailureClass::Worker));
    assert_eq!(given_out(&core.sweep(at(LIMIT + 3))).map(|(to, _)| to), Some(worker(3)));
}

#[test]
fn a_race_stays_within_the_retry_budget() {
    let (mut core, _, [first, second]) = raced();
    core.failed(at(LIMIT + 2), worker(2), second, failure(FailureClass::Worker));
    let effects = core.failed(at(LIMIT + 3), worker(1), first, failure(FailureClass::Worker));
    assert_eq!(request_state(&effects, 2), None);
    join(&mut core, 3, 3);
    join(&mut core, 4, 4);
    let live = &core.jobs[&core.open.job(RequestId([2; 32])).expect("open")];
    assert_eq!((live.leases.len(), live.failures.workers.len()), (1, 2));
    assert_eq!(core.sweep(at(9 * MINUTE)), [], "one of three is left, a race may cost two");
}

#[test]
fn a_rejected_proof_does_not_stop_the_other_attempt() {
    let (mut core, mut memory, [first, second]) = raced();
    memory.save(&hand_in(&mut core, 2, second));
    assert_eq!(memory.job_of(2).state, JobState::Verifying);
    memory.save(&core.checked(START, second, Err(failure(FailureClass::Worker))));
    assert_eq!(memory.job_of(2).state, JobState::Proving);
    assert_eq!(core.stats[&worker(2)].strikes.len(), 1);
    hand_in(&mut core, 1, first);
    let effects = core.checked(START, first, Ok(()));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
}

#[test]
fn both_proofs_may_be_in_check_and_one_counts() {
    let (mut core, mut memory, [first, second]) = raced();
    memory.save(&hand_in(&mut core, 1, first));
    memory.save(&hand_in(&mut core, 2, second));
    let effects = core.checked(START, second, Ok(()));
    memory.save(&effects);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
    assert_eq!(core.checked(START, first, Ok(())), []);
    assert_eq!(outcome(&memory, first), AttemptOutcome::Cancelled);
}

#[test]
fn what_is_told_is_what_the_winner_executed() {
    let (mut core, mut memory, [first, second]) = raced();
    let other = Execution { cycles: 99, ..execution() };
    let found = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Check { claim, .. } => Some(claim.clone()),
            _ => None,
        })
    };
    memory.save(&core.executed(START, worker(1), first, execution()));
    core.proof_stored(START, first, ArtifactId([5; 16]), proof_blob());
    memory.save(&core.executed(START, worker(2), second, other));
    let effects = core.completed(START, worker(1), first, execution(), proof_blob());
    let spec = &memory.job_of(2).spec;
    let expected = hierophant_model::records::Claim::new(spec, &execution(), Backend::Cpu);
    assert_eq!(found(&effects), Some(expected));
    memory.save(&core.checked(START, first, Ok(())));
    assert_eq!(memory.job_of(2).execution, Some(execution()));
}

#[test]
fn a_missing_input_ends_the_attempt_that_wants_it_and_not_the_other() {
    let (mut core, mut memory, [first, second]) = raced();
    let effects = core.input_lost(START, second);
    memory.save(&effects);
    assert_eq!(request_state(&effects, 2), None);
    assert_eq!(cancels(&effects), [second]);
    assert_eq!(outcome(&memory, first), AttemptOutcome::Running);
    assert_eq!(memory.job_of(2).prover.as_ref().map(|prover| prover.worker), Some(worker(1)));
    memory.save(&hand_in(&mut core, 1, first));
    let effects = core.checked(START, first, Ok(()));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));

    // With the other attempt, the job fails.
    let (mut core, _, [first, second]) = raced();
    core.input_lost(START, second);
    let effects = core.failed(START, worker(1), first, failure(FailureClass::Worker));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Failed));
}

#[test]
fn a_failure_of_the_program_ends_both() {
    let (mut core, mut memory, [first, second]) = raced();
    let effects = core.failed(START, worker(2), second, failure(FailureClass::Guest));
    memory.save(&effects);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Unexecutable));
    assert_eq!(cancels(&effects), [first]);
    assert_eq!(memory.job_of(2).prover.as_ref().map(|prover| prover.worker), Some(worker(2)));
}

#[test]
fn cancelling_and_deadlines_stop_both() {
    let (mut core, _, leases) = raced();
    let (answer, effects) = core.cancel(START, RequestId([2; 32]), &Client::Address(ALICE));
    assert_eq!((answer, cancels(&effects)), (Ok(()), leases.to_vec()));
    let (mut core, _, leases) = raced();
    let effects = core.sweep(Millis(Millis::from_seconds(DEADLINE).0 + 1));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Expired));
    assert_eq!(cancels(&effects), leases);
}

#[test]
fn a_lost_worker_leaves_the_job_to_the_other_and_the_last_to_go_may_come_back() {
    let (mut core, mut memory, [first, second]) = raced();
    memory.save(&core.worker_removed(at(LIMIT + 2), worker(1), SessionId(1), "cut"));
    assert_eq!(memory.job_of(2).state, JobState::Proving);
    let effects = core.worker_joined(at(LIMIT + 3), arrival(1, 3, &[first]));
    assert_eq!(resumed(&effects), Some(vec![]), "another worker has it");
    core.worker_removed(at(LIMIT + 4), worker(1), SessionId(3), "cut");
    memory.save(&core.worker_removed(at(LIMIT + 5), worker(2), SessionId(2), "cut"));
    assert_eq!(memory.job_of(2).state, JobState::Queued);
    for mut core in [core, memory.restart_with(racing(), &[]).0] {
        let effects = core.worker_joined(at(LIMIT + 6), arrival(1, 4, &[first]));
        assert_eq!(resumed(&effects), Some(vec![]));
        let effects = core.worker_joined(at(LIMIT + 6), arrival(2, 5, &[second]));
        assert_eq!(resumed(&effects), Some(vec![second]));
    }
}

#[test]
fn an_attempt_that_has_not_begun_does_not_hold_up_the_one_that_has() {
    let (mut core, mut memory, first) = straggling();
    memory.save(&join(&mut core, 2, 2));
    let effects = core.sweep(at(LIMIT + 1));
    memory.save(&effects);
    let (_, second) = given_out(&effects).expect("raced");
    assert_eq!(memory.job_of(2).state, JobState::Proving);
    memory.save(&core.worker_away(at(LIMIT + 2), worker(2), SessionId(2)));
    assert_eq!(outcome(&memory, second), AttemptOutcome::Lost);
    assert_eq!(outcome(&memory, first), AttemptOutcome::Running);
    assert_eq!(memory.job_of(2).state, JobState::Proving);
}

#[test]
fn both_attempts_go_on_after_a_restart() {
    let (_, mut memory, leases) = raced();
    let (mut core, effects) = memory.restart_with(racing(), &[]);
    assert_eq!(effects, []);
    for (n, lease) in [(1, leases[0]), (2, leases[1])] {
        let effects = core.worker_joined(START, arrival(n, u64::from(n), &[lease]));
        assert_eq!(resumed(&effects), Some(vec![lease]));
    }
    let live = &core.jobs[&core.open.job(RequestId([2; 32])).expect("open")];
    assert_eq!(live.leases, BTreeSet::from(leases));
    assert!(core.overview().workers.iter().all(|worker| worker.running[0].raced));
    hand_in(&mut core, 2, leases[1]);
    let effects = core.checked(START, leases[1], Ok(()));
    assert_eq!(cancels(&effects), [leases[0]]);
}

#[test]
fn each_proof_is_checked_by_its_own_word_after_a_restart() {
    let (mut core, mut memory, [first, second]) = raced();
    let lie = Execution { public_values_hash: Sha256Digest([0xbb; 32]), ..execution() };
    for (n, lease, reported) in [(1, first, execution()), (2, second, lie)] {
        memory.save(&core.executed(START, worker(n), lease, reported));
        let proof = ArtifactId([n; 16]);
        memory.save(&core.proof_stored(START, lease, proof, proof_blob()).1);
    }
    let (_, effects) = memory.restart_with(racing(), &[]);
    let claims = effects.iter().filter_map(|effect| match effect {
        Effect::Check { lease, claim, .. } => Some((*lease, claim.clone())),
        _ => None,
    });
    let spec = &memory.job_of(2).spec;
    let claim = |reported| hierophant_model::records::Claim::new(spec, &reported, Backend::Cpu);
    let expected = BTreeMap::from([(first, claim(execution())), (second, claim(lie))]);
    assert_eq!(claims.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn what_is_usual_is_known_after_a_restart() {
    let (_, mut memory, lease) = straggling();
    let (mut core, _) = memory.restart_with(racing(), &[]);
    core.worker_joined(START, arrival(1, 1, &[lease]));
    join(&mut core, 2, 2);
    assert_eq!(core.sweep(at(LIMIT)), []);
    assert!(given_out(&core.sweep(at(LIMIT + 1))).is_some());
}

#[test]
fn a_race_costs_its_requester_no_turn() {
    let (mut core, _, _) = raced();
    let bobs = NewRequest { requester: BOB, ..new_request(3, 3) };
    join(&mut core, 3, 3);
    core.submit(START, bobs, StoreLookup::default()).0.expect("accepted");
    // One job each is being worked on now, so the earlier deadline decides.
    let later = NewRequest { requester: BOB, deadline: DEADLINE + 1, ..new_request(4, 4) };
    core.submit(START, later, StoreLookup::default()).0.expect("accepted");
    submit(&mut core, 5, 5);
    let (_, lease) = given_out(&join(&mut core, 4, 4)).expect("given out");
    assert_eq!(
        core.leases.get(&lease).expect("held").job,
        core.open.job(RequestId([5; 32])).expect("open")
    );
}
