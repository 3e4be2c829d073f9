//! Failures by a worker's fault: the retry budget counts machines, and one of them does not end a job.

use hierophant_model::commands::Command;

use super::*;

fn after(millis: i64) -> Millis {
    Millis(START.0 + millis)
}

/// Worker 1 has failed request 1 `times` times; each attempt starts as soon as it may.
fn failed_on_one(core: &mut ProofsCore, times: usize) -> (Millis, Vec<Effect>) {
    submit(core, 1, 1);
    let mut effects = join(core, 1, 1);
    let mut now = START;
    for _ in 0..times {
        while given_out(&effects).is_none() {
            now = Millis(now.0 + 1000);
            effects = core.sweep(now);
        }
        let (to, lease) = given_out(&effects).expect("given out");
        assert_eq!(to, worker(1));
        effects = core.failed(now, worker(1), lease, failure(FailureClass::Worker));
    }
    (now, effects)
}

fn reason(core: &ProofsCore, now: Millis) -> String {
    core.why(now, core.open.job(RequestId([1; 32])).expect("open")).expect("unfinished").reason
}

#[test]
fn one_machine_that_fails_five_times_is_suspended_and_the_job_waits_for_another() {
    let mut core = core_with(Limits { max_strikes: 5, ..limits() });
    let (now, effects) = failed_on_one(&mut core, 5);
    let why = "suspended after 5 strikes: it broke".to_owned();
    assert!(effects.contains(&Effect::Drop(worker(1), why)), "{effects:?}");
    assert_eq!((job_state(&effects), request_state(&effects, 1)), (Some(JobState::Queued), None));
    core.worker_removed(now, worker(1), SessionId(1), "suspended");
    assert_eq!(
        reason(&core, now),
        "no worker is connected; 5 attempts failed on 1 worker; last failure: worker failure: it broke"
    );
    let refused = core.worker_joined(now, arrival(1, 2, &[]));
    assert!(matches!(refused[..], [Effect::Send(_, ToWorker::Refused(_)), Effect::Drop(..)]));

    let effects = core.worker_joined(now, arrival(2, 3, &[]));
    let (to, lease) = given_out(&effects).expect("another machine gets it without a rest");
    assert_eq!(to, worker(2));
    hand_in(&mut core, 2, lease);
    let effects = core.checked(now, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn the_only_machine_gets_the_job_again_when_its_suspension_is_over() {
    let mut core = core();
    let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
    core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
    let mut effects = join(&mut core, 1, 1);
    let mut now = START;
    for _ in 0..3 {
        while given_out(&effects).is_none() {
            now = Millis(now.0 + 1000);
            effects = core.sweep(now);
        }
        let (_, lease) = given_out(&effects).expect("given out");
        effects = core.failed(now, worker(1), lease, failure(FailureClass::Worker));
    }
    core.worker_removed(now, worker(1), SessionId(1), "suspended");
    let later = Millis(now.0 + limits().strike_decay_ms + 1);
    let (_, lease) = given_out(&core.worker_joined(later, arrival(1, 2, &[]))).expect("given out");
    hand_in(&mut core, 1, lease);
    let effects = core.checked(later, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn a_job_whose_only_machine_keeps_failing_ends_at_its_deadline() {
    let mut core = core_with(Limits { max_strikes: 0, ..limits() });
    let (_, effects) = failed_on_one(&mut core, 8);
    assert_eq!(request_state(&effects, 1), None);
    let effects = core.sweep(Millis(Millis::from_seconds(DEADLINE).0 + 1));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Expired));
}

#[test]
fn failures_by_turns_on_two_machines_count_as_two() {
    let mut core = core_with(Limits { max_strikes: 0, ..limits() });
    submit(&mut core, 1, 1);
    let mut effects = join(&mut core, 2, 2);
    join(&mut core, 1, 1);
    let (mut now, mut by_turns) = (START, Vec::new());
    for _ in 0..6 {
        while given_out(&effects).is_none() {
            now = Millis(now.0 + 1000);
            effects = core.sweep(now);
        }
        let (to, lease) = given_out(&effects).expect("given out");
        by_turns.push(to);
        effects = core.failed(now, to, lease, failure(FailureClass::Worker));
        assert_eq!(request_state(&effects, 1), None);
    }
    assert_eq!(by_turns, [2, 1, 2, 1, 2, 1].map(worker));
    let effects = core.worker_joined(now, arrival(3, 3, &[]));
    let (_, lease) = given_out(&effects).expect("given out at once");
    let effects = core.failed(now, worker(3), lease, failure(FailureClass::Worker));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    let message = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.failure.clone()?.message),
        _ => None,
    });
    let words = "set aside after 7 failed attempts on 3 workers; last failure: it broke";
    assert_eq!(message.as_deref(), Some(words));
}

#[test]
fn repeated_failures_on_a_machine_cost_a_rest_that_other_machines_do_not_wait_for() {
    let mut core = core_with(Limits { max_strikes: 0, ..limits() });
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    let (_, lease) = given_out(&effects).expect("the first failure costs no rest");
    let effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    assert_eq!(given_out(&effects), None);
    assert_eq!(
        reason(&core, START),
        "it waits for another worker; next attempt on amos in 1s at the earliest; 2 attempts failed on \
         1 worker; last failure: worker failure: it broke"
    );
    assert_eq!(given_out(&core.sweep(after(999))), None);
    let (_, lease) = given_out(&core.sweep(after(1000))).expect("the rest is over");
    let effects = core.failed(after(1000), worker(1), lease, failure(FailureClass::Worker));
    assert_eq!(given_out(&effects), None);
    // Other jobs do not wait meanwhile.
    let (_, other) = given_out(&submit(&mut core, 2, 2)).expect("given out");
    assert_eq!(core.job_of_lease(other), core.open.job(RequestId([2; 32])));
    let effects = core.worker_joined(after(1001), arrival(2, 2, &[]));
    assert_eq!(given_out(&effects).map(|(to, _)| to), Some(worker(2)));
}

#[test]
fn a_rest_lasts_over_a_restart_and_a_clock_that_is_set() {
    let mut memory = Memory::default();
    let mut core = core();
    memory.save(&submit(&mut core, 1, 1));
    let mut effects = join(&mut core, 1, 1);
    for _ in 0..2 {
        memory.save(&effects);
        let (_, lease) = given_out(&effects).expect("given out");
        effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    }
    memory.save(&effects);
    let (mut core, _) = memory.restart();
    assert_eq!(given_out(&join(&mut core, 1, 2)), None);
    core.clock_set(30 * MINUTE);
    let now = 30 * MINUTE;
    assert_eq!(given_out(&core.sweep(after(now + 999))), None);
    assert!(given_out(&core.sweep(after(now + 1000))).is_some());
}

#[test]
fn an_operator_ends_a_rest() {
    let mut core = core_with(Limits { max_strikes: 0, ..limits() });
    let (now, effects) = failed_on_one(&mut core, 4);
    assert_eq!(given_out(&effects), None);
    let job = core.open.job(RequestId([1; 32])).expect("open");
    let (answer, effects) = core.command(now, &Command::Requeue(job));
    assert!(answer.expect("executed").changed);
    assert!(given_out(&effects).is_some());
}

#[test]
fn a_job_that_ends_its_only_machine_again_and_again_rests_and_stays_open() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let mut effects = join(&mut core, 1, 1);
    let mut now = START;
    let mut rests = Vec::new();
    for session in 2..=6 {
        let before = now;
        while given_out(&effects).is_none() {
            now = Millis(now.0 + 1000);
            effects = core.sweep(now);
        }
        rests.push(now.0 - before.0);
        let (_, lease) = given_out(&effects).expect("given out");
        core.progressed(now, worker(1), lease, Progress::phase(Phase::Proving));
        effects = core.worker_joined(now, arrival(1, session, &[]));
        assert_eq!(request_state(&effects, 1), None);
    }
    assert_eq!(rests, [0, 0, 1000, 2000, 4000]);
    assert!(core.stats.values().all(|stats| stats.strikes.is_empty()));
}
