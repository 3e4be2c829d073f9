//! Whatever happens at once, an event has some hundred effects, and a crash between two of them leaves nothing behind.

use super::*;

/// The most rows of one event: those of the limit, and of what was begun before it was reached.
const MOST: usize = MAX_EFFECTS + 20;

fn request_number(n: u16, input: u16) -> NewRequest {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    let mut digest = [1; 32];
    digest[..2].copy_from_slice(&input.to_be_bytes());
    let blob = BlobInfo { size: 10, sha256: Sha256Digest(digest) };
    let stdin_uri = format!("http://h/artifacts/{n}");
    NewRequest { id: RequestId(id), stdin_blob: blob, stdin_uri, ..new_request(1, 1) }
}

/// `count` requests; each for a job of its own, or all for one.
fn asked(count: u16, one_job: bool) -> (ProofsCore, Memory) {
    let mut core = core_with(Limits { max_waiting: usize::MAX, ..limits() });
    let mut memory = Memory::default();
    for n in 0..count {
        let new = request_number(n, if one_job { 0 } else { n });
        let (answer, effects) = core.submit(START, new, StoreLookup::default());
        answer.expect("accepted");
        memory.save(&effects);
    }
    (core, memory)
}

fn in_state(memory: &Memory, state: RequestState) -> usize {
    memory.requests.values().filter(|request| request.state == state).count()
}

/// Sweeps until nothing is left, or `most` times. Returns how often.
fn work_off(core: &mut ProofsCore, memory: &mut Memory, now: Millis, most: usize) -> usize {
    let mut sweeps = 0;
    while core.is_behind() && sweeps < most {
        let effects = core.sweep(now);
        assert!(effects.len() <= MOST, "{} effects at once", effects.len());
        memory.save(&effects);
        sweeps += 1;
    }
    sweeps
}

/// After the deadline.
const LATE: Millis = Millis(5_000_001);

#[test]
fn many_requests_that_expire_at_once_end_step_by_step_and_none_is_proved_meanwhile() {
    let (mut core, mut memory) = asked(3000, false);
    let effects = core.sweep(LATE);
    assert!(effects.len() <= MOST && core.is_behind());
    memory.save(&effects);
    let open = in_state(&memory, RequestState::Open);
    assert!(open > 2000, "{open} are left");
    // A worker comes: it gets none of those that are past their deadline.
    let joined = core.worker_joined(LATE, arrival(1, 1, &[]));
    assert_eq!(given_out(&joined), None);
    let sweeps = work_off(&mut core, &mut memory, LATE, usize::MAX);
    assert!(sweeps >= 10, "{sweeps}");
    assert_eq!(in_state(&memory, RequestState::Expired), 3000);
    assert!(memory.jobs.values().all(|job| job.state == JobState::Expired));
    assert!(core.jobs.is_empty() && core.queue.is_empty() && core.open.len() == 0);
    assert!(given_out(&core.submit(LATE, later(1), StoreLookup::default()).1).is_some());
}

fn later(id: u8) -> NewRequest {
    NewRequest { deadline: DEADLINE + 9999, ..new_request(id, id) }
}

#[test]
fn a_start_ends_many_requests_past_their_deadline_step_by_step_also_after_a_crash() {
    let (_, mut memory) = asked(3000, false);
    let mut starts = 0;
    loop {
        starts += 1;
        let (mut core, effects) = memory.restart_at(LATE);
        assert!(effects.len() <= MOST, "{} effects at once", effects.len());
        // It is killed after two more steps.
        work_off(&mut core, &mut memory, LATE, 2);
        if !core.is_behind() {
            break;
        }
        assert!(in_state(&memory, RequestState::Open) > 0);
    }
    assert!(starts >= 4, "{starts}");
    assert_eq!(in_state(&memory, RequestState::Expired), 3000);
    assert!(memory.jobs.values().all(|job| job.state == JobState::Expired));
}

type EndOf = fn(&mut ProofsCore, LeaseId) -> Vec<Effect>;

/// The ends that a job with many requests can have, with the states of job and requests.
const ENDS: [(EndOf, JobState, RequestState); 4] = [
    (
        |core, lease| {
            let mut effects = core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob()).1;
            effects.extend(core.completed(START, worker(1), lease, execution(), proof_blob()));
            effects.extend(core.checked(START, lease, Ok(())));
            effects
        },
        JobState::Proved,
        RequestState::Fulfilled,
    ),
    (
        |core, lease| {
            let guest = failure(FailureClass::Guest);
            core.failed(START, worker(1), lease, guest)
        },
        JobState::Unexecutable,
        RequestState::Unexecutable,
    ),
    (|core, lease| core.input_lost(START, lease), JobState::Failed, RequestState::Failed),
    (
        |core, lease| {
            let job = core.job_of_lease(lease).expect("held");
            core.command(START, &Command::CancelJob(job)).1
        },
        JobState::Cancelled,
        RequestState::Cancelled,
    ),
];

#[test]
fn the_end_of_a_job_with_many_requests_is_stored_step_by_step() {
    for (end, state, of_requests) in ENDS {
        let (mut core, mut memory) = asked(2100, true);
        let begun = join(&mut core, 1, 1);
        memory.save(&begun);
        let (_, lease) = given_out(&begun).expect("leased");
        let effects = end(&mut core, lease);
        assert!(effects.len() <= MOST, "{} effects at once", effects.len());
        memory.save(&effects);
        assert!(core.is_behind());
        assert_eq!(memory.jobs.values().filter(|job| job.state.is_terminal()).count(), 0);
        let sweeps = work_off(&mut core, &mut memory, START, usize::MAX);
        assert!(sweeps >= 4, "{sweeps}");
        assert_eq!(in_state(&memory, of_requests), 2100);
        assert!(memory.jobs.values().all(|job| job.state == state), "{state}");
        assert!(core.jobs.is_empty() && core.by_key.is_empty() && core.open.len() == 0);
        assert!(core.queue.running_by_requester().is_empty());
    }
}

#[test]
fn a_crash_within_the_end_of_a_job_changes_nothing_of_it() {
    for (end, state, of_requests) in ENDS {
        let (mut core, mut memory) = asked(2100, true);
        let begun = join(&mut core, 1, 1);
        memory.save(&begun);
        let (_, lease) = given_out(&begun).expect("leased");
        memory.save(&end(&mut core, lease));
        let mut starts = 0;
        loop {
            starts += 1;
            let (mut core, _) = memory.restart_at(START);
            assert_eq!(given_out(&join(&mut core, 2, 2)), None, "it is not made again");
            work_off(&mut core, &mut memory, START, 1);
            if !core.is_behind() {
                break;
            }
        }
        assert!(starts >= 2, "{starts}");
        assert_eq!(in_state(&memory, of_requests), 2100, "{state}");
        assert!(memory.jobs.values().all(|job| job.state == state), "{state}");
        if state == JobState::Proved {
            assert!(memory.jobs.values().all(|job| job.proof == Some(ArtifactId([5; 16]))));
        }
    }
}

/// A proved job with this number of requests, and what the store holds.
fn proved(count: u16) -> (ProofsCore, Memory, JobRecord) {
    let (mut core, mut memory) = asked(count, true);
    let begun = join(&mut core, 1, 1);
    memory.save(&begun);
    let (_, lease) = given_out(&begun).expect("leased");
    memory.save(&ENDS[0].0(&mut core, lease));
    work_off(&mut core, &mut memory, START, usize::MAX);
    memory.save(&core.worker_removed(START, worker(1), SessionId(1), "gone"));
    assert_eq!(in_state(&memory, RequestState::Fulfilled), usize::from(count));
    let job = memory.jobs.values().next().expect("stored").clone();
    (core, memory, job)
}

#[test]
fn the_loss_of_a_proof_with_many_requests_is_stored_step_by_step() {
    let (mut core, mut memory, job) = proved(2100);
    let fulfilled = memory.requests.values().cloned().collect();
    let effects = core.reopen(START, job, fulfilled);
    assert!(effects.len() <= MOST, "{} effects at once", effects.len());
    memory.save(&effects);
    assert!(core.is_behind());
    // One is cancelled before its turn: it stays so.
    let waiting = memory.requests.values().find(|it| it.state == RequestState::Fulfilled);
    let cancelled = waiting.expect("left for the next step").id;
    let (answer, effects) = core.cancel(START, cancelled, &Client::Address(ALICE));
    assert_eq!(answer, Ok(()));
    memory.save(&effects);
    let sweeps = work_off(&mut core, &mut memory, START, usize::MAX);
    assert!(sweeps >= 4, "{sweeps}");
    assert_eq!(in_state(&memory, RequestState::Open), 2099);
    assert_eq!(memory.requests[&cancelled].state, RequestState::Cancelled);
    // A job that failed is created again in the same way.
    let effects = core.worker_joined(START, arrival(2, 2, &[]));
    let (_, lease) = given_out(&effects).expect("leased");
    memory.save(&ENDS[2].0(&mut core, lease));
    work_off(&mut core, &mut memory, START, usize::MAX);
    let failed = memory.requests.values().filter(|it| it.state == RequestState::Failed);
    let failed: Vec<_> = failed.cloned().collect();
    assert_eq!(failed.len(), 2099);
    let job = memory.jobs[&failed[0].job].clone();
    let effects = core.recreate(START, job, failed).1;
    assert!(effects.len() <= MOST, "{} effects at once", effects.len());
    memory.save(&effects);
    work_off(&mut core, &mut memory, START, usize::MAX);
    assert_eq!(in_state(&memory, RequestState::Open), 2099);
}

#[test]
fn a_crash_while_many_requests_are_reopened_leaves_none_without_a_proof() {
    let (mut core, mut memory, job) = proved(2100);
    let fulfilled = memory.requests.values().cloned().collect();
    memory.save(&core.reopen(START, job, fulfilled));
    assert!(in_state(&memory, RequestState::Fulfilled) > 1000);
    let (mut restored, effects) = memory.restart_at(START);
    assert!(effects.len() <= MOST, "{} effects at once", effects.len());
    // A crash within the end of the job, too.
    let begun = join(&mut restored, 2, 2);
    memory.save(&begun);
    let (_, lease) = given_out(&begun).expect("leased");
    memory.save(&ENDS[3].0(&mut restored, lease));
    loop {
        let (mut core, _) = memory.restart_at(START);
        work_off(&mut core, &mut memory, START, 1);
        if !core.is_behind() {
            break;
        }
    }
    assert_eq!(in_state(&memory, RequestState::Cancelled), 2100);
    assert!(memory.jobs.values().all(|job| job.state == JobState::Cancelled));
}

#[test]
fn a_request_that_joins_a_job_while_it_ends_gets_its_proof_and_a_cancelled_one_another_job() {
    for (number, (end, ..)) in ENDS.into_iter().enumerate().filter(|(n, _)| *n == 0 || *n == 3) {
        let (mut core, mut memory) = asked(1100, true);
        let begun = join(&mut core, 1, 1);
        let (_, lease) = given_out(&begun).expect("leased");
        end(&mut core, lease);
        let (answer, effects) = core.submit(START, request_number(5000, 0), StoreLookup::default());
        memory.save(&effects);
        let joined = answer.expect("accepted");
        work_off(&mut core, &mut memory, START, usize::MAX);
        let state = memory.requests[&joined.request].state;
        let expected = if number == 0 { RequestState::Fulfilled } else { RequestState::Open };
        assert_eq!(state, expected);
        assert_eq!(core.jobs.len(), usize::from(number == 3));
    }
}

#[test]
fn many_jobs_that_can_start_at_once_are_assigned_step_by_step() {
    let (mut core, mut memory) = asked(2000, false);
    core.command(START, &Command::Pause(String::new())).0.expect("paused");
    for n in 1..=200 {
        let capabilities =
            Capabilities { slots: 8, prefetch: 2, ..capabilities(vec![ProofMode::Core]) };
        core.worker_joined(START, WorkerJoined { capabilities, ..arrival(n, n.into(), &[]) });
    }
    let effects = core.command(START, &Command::Resume).1;
    assert!(effects.len() <= MOST && core.is_behind(), "{}", effects.len());
    let sweeps = work_off(&mut core, &mut memory, START, usize::MAX);
    assert!(sweeps >= 8, "{sweeps}");
    assert_eq!(core.prepared.iter().count(), 400);
    assert_eq!(core.queue.len(), 400, "all others run");
    let effects = core.command(START, &Command::Pause(String::new())).1;
    assert!(effects.len() <= MOST && core.is_behind(), "{}", effects.len());
    work_off(&mut core, &mut memory, START, usize::MAX);
    assert_eq!((core.prepared.iter().count(), core.queue.len()), (0, 400));
}

#[test]
fn a_restart_keeps_the_rest_of_a_job() {
    let (mut core, mut memory) = asked(1, false);
    let mut now = START;
    for n in 1..=4 {
        let begun = core.worker_joined(now, arrival(n, n.into(), &[]));
        let (to, lease) = given_out(&begun).expect("leased");
        memory.save(&begun);
        memory.save(&core.failed(now, to, lease, failure(FailureClass::Infrastructure)));
        memory.save(&core.worker_removed(now, to, SessionId(n.into()), "gone"));
        now = core.jobs.values().next().expect("it waits").not_before;
    }
    let (restored, _) = memory.restart_at(Millis(now.0 - 2000));
    let rest = |core: &ProofsCore| {
        core.jobs.values().map(|it| (it.interruptions, it.not_before)).collect::<Vec<_>>()
    };
    assert_eq!(rest(&restored), rest(&core));
    assert!(rest(&restored).iter().all(|(count, until)| *count >= 4 && *until == now));
}

#[test]
fn a_restart_forgets_the_failures_before_a_proof_that_was_lost() {
    let (mut core, mut memory) = asked(1, false);
    let mut lease = None;
    for n in 1..=2 {
        let begun = join(&mut core, n, n.into());
        memory.save(&begun);
        let (_, begun) = given_out(&begun).expect("leased");
        if n == 1 {
            memory.save(&core.failed(START, worker(1), begun, failure(FailureClass::Worker)));
            memory.save(&core.worker_removed(START, worker(1), SessionId(1), "gone"));
        }
        lease = Some(begun);
    }
    let lease = lease.expect("leased");
    memory.save(&hand_in(&mut core, 2, lease));
    memory.save(&core.checked(START, lease, Ok(())));
    let proved = memory.jobs.values().next().expect("stored").clone();
    assert_eq!(proved.state, JobState::Proved);
    memory.save(&core.worker_removed(START, worker(2), SessionId(2), "gone"));
    let fulfilled = memory.requests.values().cloned().collect();
    memory.save(&core.reopen(START, proved, fulfilled));
    let (restored, _) = memory.restart_at(START);
    let failures = |core: &ProofsCore| {
        core.jobs.values().map(|it| (it.failures.count(), it.tried.len())).collect::<Vec<_>>()
    };
    assert_eq!((failures(&restored), failures(&core)), (vec![(0, 0)], vec![(0, 0)]));
}

#[test]
fn an_overdue_attempt_whose_proof_was_handed_in_is_checked() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("leased");
    core.executed(START, worker(1), lease, execution());
    core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob());
    let effects = core.sweep(Millis(START.0 + 11 * MINUTE));
    let is_check = |effect: &Effect| matches!(effect, Effect::Check { .. });
    assert!(effects.iter().any(is_check), "{effects:?}");
    assert_eq!(cancels(&effects), []);
    assert!(core.stats.get(&worker(1)).is_none_or(|stats| stats.strikes.is_empty()));
}

#[test]
fn a_hello_is_answered_without_a_look_at_jobs_that_wait() {
    let (mut core, _) = asked(50, false);
    let effects = core.worker_joined(START, arrival(1, 1, &[]));
    let (_, lease) = given_out(&effects).expect("a free slot");
    core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving));
    core.worker_removed(START, worker(1), SessionId(1), "silent");
    assert_eq!(core.interrupted.len(), 1);
    let effects = core.worker_joined(START, arrival(1, 2, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]), "it continues");
    assert!(core.interrupted.is_empty());
}
