//! Workers come, go away, come back, misbehave.

use super::*;

fn given() -> (ProofsCore, LeaseId) {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving));
    (core, lease)
}

#[test]
fn a_cut_keeps_the_attempt_and_gives_out_nothing_new() {
    let (mut core, lease) = given();
    assert_eq!(core.worker_away(START, worker(1), SessionId(1)), []);
    assert_eq!(given_out(&submit(&mut core, 2, 2)), None);
    assert_eq!(given_out(&join(&mut core, 2, 2)).map(|(to, _)| to), Some(worker(2)));
    let effects = core.worker_joined(START, arrival(1, 3, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]));
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn an_attempt_that_may_not_have_arrived_goes_elsewhere_at_once() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let effects = core.worker_away(START, worker(1), SessionId(1));
    assert_eq!(job_state(&effects), Some(JobState::Queued));
    // It had arrived, and no other worker has begun: it continues.
    let effects = core.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]));
    core.worker_away(START, worker(1), SessionId(2));
    assert_eq!(given_out(&join(&mut core, 2, 3)), None, "it has begun by now");
}

#[test]
fn reconnecting_has_four_right_answers() {
    // Idle.
    let mut idle = core();
    join(&mut idle, 1, 1);
    assert_eq!(resumed(&join(&mut idle, 1, 2)), Some(vec![]));
    // With an unknown attempt: it must stop, and occupies its slot until then.
    let unknown = LeaseId([0xee; 16]);
    let effects = idle.worker_joined(START, arrival(1, 3, &[unknown]));
    assert_eq!(resumed(&effects), Some(vec![]));
    assert_eq!(given_out(&submit(&mut idle, 1, 1)), None);
    assert!(given_out(&idle.held_leases(START, worker(1), SessionId(3), &[])).is_some());
    // With an attempt whose job has ended.
    let (mut ended, lease) = given();
    ended.cancel(START, RequestId([1; 32]), &Client::Address(ALICE)).0.expect("cancelled");
    let effects = ended.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![]));
    // With an attempt that goes on.
    let (mut active, lease) = given();
    let effects = active.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]));
}

#[test]
fn a_worker_resumes_nothing_of_another() {
    let (mut core, lease) = given();
    let effects = core.worker_joined(START, arrival(2, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![]));
    assert_eq!(core.leases.get(&lease).expect("held").attempt.prover.worker, worker(1));
}

#[test]
fn a_job_that_kills_its_workers_is_set_aside() {
    let mut core = core();
    let mut effects = submit(&mut core, 1, 1);
    for n in 1..=3 {
        effects.extend(join(&mut core, n, u64::from(n)));
    }
    for round in 1..=3 {
        let (victim, lease) = given_out(&effects).expect("given out");
        core.progressed(START, victim, lease, Progress::phase(Phase::Proving));
        let back = WorkerJoined { worker: victim, ..arrival(1, 10 + round, &[]) };
        effects = core.worker_joined(START, back);
    }
    assert_eq!(job_state(&effects), Some(JobState::Failed));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    assert!(core.stats.values().all(|stats| stats.strikes.is_empty()));
}

#[test]
fn workers_that_vanish_do_not_blame_the_job() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let mut now = START;
    for n in 1..=10 {
        let session = u64::from(n);
        let mut effects = core.worker_joined(now, arrival(n, session, &[]));
        now = Millis(now.0 + MINUTE);
        effects.extend(core.sweep(now));
        let (_, lease) = given_out(&effects).expect("given out");
        core.progressed(now, worker(n), lease, Progress::phase(Phase::Proving));
        let effects = core.worker_removed(now, worker(n), SessionId(session), "reset");
        assert_eq!(request_state(&effects, 1), None);
    }
}

#[test]
fn an_attempt_that_stands_still_goes_elsewhere_with_a_strike() {
    let (mut core, lease) = given();
    join(&mut core, 2, 2);
    let limit = START.0 + limits().stall_limit_ms;
    assert_eq!(core.sweep(Millis(limit)), []);
    let effects = core.sweep(Millis(limit + 1));
    assert_eq!(cancels(&effects), [lease]);
    assert_eq!(given_out(&effects).map(|(to, _)| to), Some(worker(2)));
    assert_eq!(core.stats[&worker(1)].strikes.len(), 1);
}

/// As an external prover server, a long recursion or a long execution looks: nothing but an estimate and steps.
#[test]
fn an_attempt_that_finishes_steps_is_left_alone_until_they_stop() {
    let mut core = core();
    let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
    core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let report = |fraction, steps_done| Progress {
        fraction: Some(fraction),
        estimated: true,
        steps_done: Some(steps_done),
        ..Progress::phase(Phase::Proving)
    };
    let mut now = START;
    for step in 1..=8 {
        now = Millis(now.0 + limits().stall_limit_ms);
        assert_eq!(core.sweep(now), [], "at step {step}");
        core.progressed(now, worker(1), lease, report(0.99, step));
    }
    let over = now.0 + limits().stall_limit_ms + 1;
    for (minute, fraction) in [(1, 0.991), (5, 0.995)] {
        let later = Millis(now.0 + minute * MINUTE);
        core.progressed(later, worker(1), lease, report(fraction, 8));
    }
    assert_eq!(core.sweep(Millis(over - 1)), []);
    assert_eq!(cancels(&core.sweep(Millis(over))), [lease]);
}

#[test]
fn an_attempt_that_takes_too_long_goes_elsewhere_however_it_moves() {
    let mut core = core();
    let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
    core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    core.executed(START, worker(1), lease, execution());
    let mut now = START;
    let mut effects = vec![];
    while effects.is_empty() {
        now = Millis(now.0 + MINUTE);
        let done = Some(u64::try_from(now.0).expect("positive"));
        let progress = Progress { cycles_done: done, ..Progress::phase(Phase::Proving) };
        core.progressed(now, worker(1), lease, progress);
        effects = core.sweep(now);
    }
    assert_eq!(now, Millis(START.0 + limits().attempt_limit_ms + MINUTE));
    assert_eq!(cancels(&effects), [lease]);
}

#[test]
fn a_clock_that_is_set_ends_no_attempt_and_hides_none_that_stands_still() {
    for by in [70 * MINUTE, -70 * MINUTE] {
        let mut core = core();
        let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
        core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
        let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
        core.clock_set(by);
        let limit = START.0 + by + limits().stall_limit_ms;
        assert_eq!(core.sweep(Millis(limit)), []);
        assert_eq!(cancels(&core.sweep(Millis(limit + 1))), [lease]);
        // The strike that this costs moves along, too.
        core.clock_set(-by);
        let struck = limit - by + 1;
        let stats = core.stats.get_mut(&worker(1)).expect("known");
        assert_eq!(stats.strikes_since(Millis(struck)), 1);
        assert_eq!(stats.strikes_since(Millis(struck + 1)), 0);
    }
}

#[test]
fn a_rest_lasts_as_long_as_it_should_whatever_the_clock_says() {
    for by in [70 * MINUTE, -70 * MINUTE] {
        let mut core = core();
        let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
        core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
        // Interrupted twice: the second time it rests for a second.
        for round in [1, 2] {
            let (_, lease) = given_out(&join(&mut core, 1, round)).expect("given out");
            core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving));
            core.worker_removed(START, worker(1), SessionId(round), "reset");
        }
        core.clock_set(by);
        let now = Millis(START.0 + by);
        assert_eq!(given_out(&core.worker_joined(now, arrival(1, 3, &[]))), None);
        assert!(given_out(&core.sweep(Millis(now.0 + 1000))).is_some());
    }
}

#[test]
fn limits_of_zero_are_none() {
    let mut core = core_with(Limits { stall_limit_ms: 0, attempt_limit_ms: 0, ..limits() });
    let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
    core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
    given_out(&join(&mut core, 1, 1)).expect("given out");
    assert_eq!(core.sweep(Millis(START.0 + 1000 * 60 * MINUTE)), []);
}

#[test]
fn an_absent_worker_is_not_judged_by_its_progress() {
    let (mut core, _) = given();
    assert_eq!(core.worker_away(START, worker(1), SessionId(1)), []);
    assert_eq!(core.sweep(Millis(START.0 + limits().stall_limit_ms + 1)), []);
}

#[test]
fn strikes_suspend_and_are_forgotten() {
    let mut core = core();
    join(&mut core, 1, 1);
    let mut effects = vec![];
    for n in 1..=3 {
        let (_, lease) = given_out(&submit(&mut core, n, n)).expect("given out");
        effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
        core.cancel(START, RequestId([n; 32]), &Client::Address(ALICE)).0.expect("cancelled");
        core.held_leases(START, worker(1), SessionId(1), &[]);
    }
    let dropped = effects.iter().any(|effect| {
        matches!(effect, Effect::Drop(id, why)
        if *id == worker(1) && why == "suspended after 3 strikes: it broke")
    });
    assert!(dropped, "{effects:?}");
    core.worker_removed(START, worker(1), SessionId(1), "suspended");
    let refused = join(&mut core, 1, 2);
    assert_eq!(resumed(&refused), None);
    assert!(matches!(refused[..], [Effect::Send(_, ToWorker::Refused(_)), Effect::Drop(..),]));
    assert_eq!(given_out(&submit(&mut core, 4, 4)), None);
    let later = Millis(START.0 + limits().strike_decay_ms + 1);
    let effects = core.worker_joined(later, arrival(1, 3, &[]));
    assert!(given_out(&effects).is_some());
}

#[test]
fn an_attempt_that_no_heartbeat_lists_is_given_out_again() {
    let (mut core, lease) = given();
    core.jobs_sent(&[lease]);
    join(&mut core, 2, 2);
    let at = |seconds: i64| Millis(START.0 + seconds * 1000);
    let beat = |core: &mut ProofsCore, seconds, held: &[LeaseId]| {
        core.held_leases(at(seconds), worker(1), SessionId(1), held)
    };
    // However many come at once: they may all have been on their way.
    for seconds in [0, 0, 0, 0, 19] {
        assert_eq!(beat(&mut core, seconds, &[]), []);
    }
    assert_eq!(beat(&mut core, 20, &[lease]), []);
    assert_eq!(beat(&mut core, 21, &[]), []);
    assert_eq!(beat(&mut core, 41, &[]), []);
    assert!(given_out(&beat(&mut core, 42, &[])).is_some());
}

#[test]
fn a_word_about_an_older_connection_is_ignored() {
    let mut core = core();
    join(&mut core, 1, 1);
    join(&mut core, 1, 2);
    assert_eq!(core.worker_removed(START, worker(1), SessionId(1), "late"), []);
    assert_eq!(core.overview().workers.len(), 1);
}

#[test]
fn a_draining_worker_gets_nothing_new() {
    let mut core = core();
    join(&mut core, 1, 1);
    core.worker_draining(START, worker(1), SessionId(1));
    assert_eq!(given_out(&submit(&mut core, 1, 1)), None);
}

#[test]
fn a_mode_that_becomes_ready_is_used_at_once() {
    let mut core = core();
    let warming = WorkerJoined { capabilities: capabilities(vec![]), ..arrival(1, 1, &[]) };
    core.worker_joined(START, warming);
    assert_eq!(given_out(&submit(&mut core, 1, 1)), None);
    let ready = capabilities(vec![ProofMode::Core]);
    assert!(given_out(&core.capabilities_changed(START, worker(1), SessionId(1), ready)).is_some());
}

#[test]
fn strikes_last_over_a_restart() {
    let mut memory = Memory::default();
    let mut core = core();
    memory.save(&join(&mut core, 1, 1));
    for n in 1..=3 {
        let effects = submit(&mut core, n, n);
        let (_, lease) = given_out(&effects).expect("given out");
        memory.save(&effects);
        memory.save(&core.failed(START, worker(1), lease, failure(FailureClass::Worker)));
        memory.save(&core.cancel(START, RequestId([n; 32]), &Client::Address(ALICE)).1);
        core.held_leases(START, worker(1), SessionId(1), &[]);
    }
    let (mut core, _) = memory.restart();
    assert_eq!(resumed(&join(&mut core, 1, 1)), None, "still suspended");
    let later = Millis(START.0 + limits().strike_decay_ms + 1);
    let effects = core.worker_joined(later, arrival(1, 2, &[]));
    assert_eq!(resumed(&effects), Some(vec![]));
}

#[test]
fn what_died_with_its_worker_is_no_strike_after_a_restart_either() {
    let mut memory = Memory::default();
    let (mut core, _) = given();
    memory.save(&core.worker_joined(START, arrival(1, 2, &[])));
    let (mut core, _) = memory.restart();
    join(&mut core, 1, 1);
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 0);
}

#[test]
fn strikes_are_shown_only_while_they_count() {
    let (mut core, lease) = given();
    core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    core.cancel(START, RequestId([1; 32]), &Client::Address(ALICE)).0.expect("cancelled");
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 1);
    core.sweep(Millis(START.0 + limits().strike_decay_ms));
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 1);
    core.sweep(Millis(START.0 + limits().strike_decay_ms + 1));
    assert_eq!(core.overview().workers[0].stats.strikes.len(), 0);
}

#[test]
fn a_worker_is_forgotten_a_day_after_it_went() {
    let (mut core, lease) = given();
    hand_in(&mut core, 1, lease);
    core.checked(START, lease, Ok(()));
    let day = 24 * 60 * MINUTE;
    let gone = Millis(START.0 + 10 * day);
    core.sweep(gone);
    core.worker_removed(gone, worker(1), SessionId(1), "cut");
    core.sweep(Millis(gone.0 + day));
    assert_eq!(core.stats[&worker(1)].completed, 1);
    core.sweep(Millis(gone.0 + day + 1));
    assert_eq!(core.stats.len(), 0);
}
