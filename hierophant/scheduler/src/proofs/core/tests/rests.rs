//! Workers whose infrastructure keeps failing.

use super::*;

const SECOND: i64 = 1000;

fn broken() -> Failure {
    Failure::new(FailureClass::Infrastructure, "no space left on device")
}

fn ask(core: &mut ProofsCore, now: Millis, n: u8) -> Vec<Effect> {
    let patient = NewRequest { deadline: u64::MAX, ..new_request(n, n) };
    core.submit(now, patient, StoreLookup::default()).1
}

fn obstacle(core: &ProofsCore, n: u8) -> Option<String> {
    core.stats.get(&worker(n))?.rest.obstacle()
}

/// The attempts that the effects give out, and to whom.
fn all_given_out(effects: &[Effect]) -> Vec<(WorkerId, LeaseId)> {
    let given = effects.iter().filter_map(|effect| match effect {
        Effect::Send(worker, ToWorker::Prove { lease_id, .. }) => Some((*worker, *lease_id)),
        _ => None,
    });
    given.collect()
}

/// Times in seconds of the attempts of worker 1, which fails each of them, during an hour in which workers 2 and 3 are
/// busy and sixty jobs wait.
fn attempts_of_a_broken_worker(slots: u32) -> (ProofsCore, Vec<i64>) {
    let mut core =
        core_with(Limits { max_waiting: 100, attempt_limit_ms: 0, stall_limit_ms: 0, ..limits() });
    for n in [2, 3] {
        join(&mut core, n, n.into());
        assert!(given_out(&ask(&mut core, START, n)).is_some());
    }
    for n in 10..70 {
        ask(&mut core, START, n);
    }
    let mut joined = arrival(1, 1, &[]);
    joined.capabilities.slots = slots;
    let mut given = all_given_out(&core.worker_joined(START, joined));
    let mut times = Vec::new();
    for second in 0..3600 {
        let now = Millis(START.0 + second * SECOND);
        given.extend(all_given_out(&core.sweep(now)));
        while let Some((to, lease)) = given.pop() {
            assert_eq!(to, worker(1), "the others are busy");
            times.push(second);
            given.extend(all_given_out(&core.failed(now, to, lease, broken())));
        }
    }
    (core, times)
}

#[test]
fn a_machine_with_a_full_disk_in_a_busy_fleet_gets_an_attempt_a_minute_at_most() {
    for slots in [1, 8] {
        let (core, times) = attempts_of_a_broken_worker(slots);
        let late: Vec<i64> = times.iter().copied().filter(|second| *second >= 300).collect();
        assert!(late.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{slots} slots: {late:?}");
        assert!(late.len() > 20, "it is tried again: {late:?}");
        assert!(times.len() < 70, "{slots} slots: {} attempts", times.len());
        let shown = obstacle(&core, 1).expect("shown");
        assert!(
            shown.starts_with("rests for 2m after ")
                && shown.ends_with("; last: no space left on device"),
            "{shown}"
        );
    }
}

#[test]
fn the_only_machine_is_tried_again_until_a_success_and_then_has_all_its_slots() {
    let mut core = core_with(Limits { max_waiting: 100, ..limits() });
    for n in 10..20 {
        ask(&mut core, START, n);
    }
    let mut joined = arrival(1, 1, &[]);
    joined.capabilities.slots = 2;
    let mut given = all_given_out(&core.worker_joined(START, joined));
    let mut now = START;
    for _ in 0..6 {
        while let Some((to, lease)) = given.pop() {
            core.failed(now, to, lease, broken());
        }
        let job = core.open.job(RequestId([10; 32])).expect("open");
        let why = core.why(now, job).expect("waits").reason;
        assert!(why.contains("amos rests for ") || why.contains("interrupted"), "{why}");
        while given.is_empty() {
            now = Millis(now.0 + SECOND);
            given = all_given_out(&core.sweep(now));
        }
    }
    assert_eq!(given.len(), 1, "one at a time");
    assert!(obstacle(&core, 1).expect("shown").starts_with("gets one job at a time after 6"));
    let (_, lease) = given[0];
    assert!(core.proof_stored(now, lease, ArtifactId([5; 16]), proof_blob()).0);
    let mut effects = core.completed(now, worker(1), lease, execution(), proof_blob());
    effects.extend(core.checked(now, lease, Ok(())));
    assert_eq!(all_given_out(&effects).len(), 2);
    assert_eq!(obstacle(&core, 1), None);
}

#[test]
fn a_rest_lasts_over_a_reconnection_and_a_clock_that_is_set() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&ask(&mut core, START, 1)).expect("given out");
    core.failed(START, worker(1), lease, broken());
    core.clock_set(30 * MINUTE);
    let now = Millis(START.0 + 30 * MINUTE);
    assert_eq!(given_out(&core.worker_joined(now, arrival(1, 2, &[]))), None, "it rests");
    assert_eq!(given_out(&core.sweep(Millis(now.0 + 999))), None);
    assert!(given_out(&core.sweep(Millis(now.0 + 1000))).is_some());
}

#[test]
fn what_a_worker_hands_back_as_it_leaves_costs_it_no_rest() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&ask(&mut core, START, 1)).expect("given out");
    core.worker_draining(START, worker(1), SessionId(1));
    let stopped = Failure::new(FailureClass::Infrastructure, "this worker is shutting down");
    core.failed(START, worker(1), lease, stopped);
    core.worker_removed(START, worker(1), SessionId(1), "left");
    assert!(given_out(&join(&mut core, 1, 2)).is_some());
    assert_eq!(obstacle(&core, 1), None);
}

#[test]
fn what_was_leased_ahead_to_a_worker_that_rests_is_given_back() {
    let mut core = core();
    let preparing = Capabilities { prefetch: 1, ..capabilities(vec![ProofMode::Core]) };
    core.worker_joined(START, WorkerJoined { capabilities: preparing, ..arrival(1, 1, &[]) });
    let (_, first) = given_out(&ask(&mut core, START, 1)).expect("given out");
    let (_, ahead) = given_out(&ask(&mut core, START, 2)).expect("given out ahead");
    assert_eq!(cancels(&core.failed(START, worker(1), first, broken())), [ahead]);
}

#[test]
fn a_job_that_twice_failed_on_a_workers_infrastructure_waits_for_another_worker() {
    let mut core = core();
    ask(&mut core, START, 1);
    let mut effects = join(&mut core, 1, 1);
    let mut now = START;
    for _ in 0..2 {
        while given_out(&effects).is_none() {
            now = Millis(now.0 + SECOND);
            effects = core.sweep(now);
        }
        let (_, lease) = given_out(&effects).expect("given out");
        effects = core.failed(now, worker(1), lease, broken());
    }
    join(&mut core, 2, 2);
    let (to, _) = given_out(&ask(&mut core, now, 2)).expect("given out");
    assert_eq!(to, worker(2), "worker 1 rests");
    // Worker 1 is free again, and worker 2 is busy.
    let later = Millis(now.0 + 10 * SECOND);
    assert_eq!(given_out(&core.sweep(later)), None);
    let job = core.open.job(RequestId([1; 32])).expect("open");
    let why = core.why(later, job).expect("waits").reason;
    assert_eq!(why, "it failed on amos and waits for another worker, which is busy");
    assert!(given_out(&ask(&mut core, later, 3)).is_some(), "other jobs go to worker 1");
    core.cancel(later, RequestId([3; 32]), &Client::Address(ALICE)).0.expect("cancelled");
    core.held_leases(later, worker(1), SessionId(1), &[]);
    let effects = core.worker_removed(later, worker(2), SessionId(2), "left");
    let given: Vec<WorkerId> = all_given_out(&effects).into_iter().map(|(to, _)| to).collect();
    assert_eq!(given, [worker(1)], "without another one it returns");
}

#[test]
fn a_worker_on_probation_adds_no_places_ahead() {
    let mut core = core_with(limits());
    for n in [1, 2] {
        let mut joined = arrival(n, n.into(), &[]);
        joined.capabilities.prefetch = 1;
        core.worker_joined(START, joined);
    }
    core.update_index();
    assert_eq!(core.workers.places_ahead(), 2);
    let mut now = START;
    for _ in 0..3 {
        core.rest_worker(now, worker(1), "no space left on device");
        now = Millis(now.0 + 60 * SECOND);
        core.end_rests(now);
    }
    core.update_index();
    assert_eq!(core.workers.places_ahead(), 1);
}
