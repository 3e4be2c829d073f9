//! Explanations for operators why a job waits.

use super::*;

fn reason(core: &ProofsCore, at: Millis, job: JobId) -> String {
    core.why(at, job).expect("unfinished").reason
}

/// The job of a request that waits or is worked on.
fn job_of(core: &ProofsCore, id: u8) -> JobId {
    core.open.job(RequestId([id; 32])).expect("open")
}

#[test]
fn a_waiting_job_says_what_is_missing() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    assert_eq!(reason(&core, START, job), "no worker is connected");
    let mut plonk = arrival(9, 9, &[]);
    plonk.capabilities = capabilities(vec![ProofMode::Plonk]);
    core.worker_joined(START, plonk);
    let words = "no connected worker (1) supports core of circuit v6.1.0";
    assert_eq!(reason(&core, START, job), words);
    let mut stopped = arrival(8, 8, &[]);
    stopped.name = "joel".into();
    stopped.capabilities =
        Capabilities { unavailable_reason: Some("no GPU".into()), ..capabilities(vec![]) };
    core.worker_joined(START, stopped);
    assert!(reason(&core, START, job).ends_with("supports core of circuit v6.1.0; joel: no GPU"));
    join(&mut core, 1, 1);
    assert!(reason(&core, START, job).starts_with("assigned to amos 0s ago"));
}

#[test]
fn a_waiting_job_says_how_many_go_before_it() {
    let mut core = core();
    join(&mut core, 1, 1);
    for id in 1..=3 {
        submit(&mut core, id, id);
    }
    let why = core.why(START, job_of(&core, 3)).expect("unfinished");
    assert_eq!(why.reason, "all capable workers (1) are busy; jobs ahead of it: 1");
    assert_eq!(why.ahead, Some(1));
    core.worker_away(START, worker(1), SessionId(1));
    let words = "all workers that support core of circuit v6.1.0 are draining or disconnected";
    assert_eq!(reason(&core, START, job_of(&core, 3)), words);
}

#[test]
fn a_job_that_failed_somewhere_says_where() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    submit(&mut core, 2, 2);
    let mut other = arrival(2, 2, &[]);
    other.name = "hosea".into();
    assert!(given_out(&core.worker_joined(START, other)).is_some(), "the other job");
    core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    core.held_leases(START, worker(1), SessionId(1), &[]);
    assert_eq!(
        reason(&core, START, job),
        "it failed on amos and waits for another worker, \
                                        which is busy"
    );
}

#[test]
fn a_job_in_work_says_who_is_at_it() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving));
    let later = Millis(START.0 + 200_000);
    assert_eq!(reason(&core, later, job), "amos has been proving for 3m 20s");
    hand_in(&mut core, 1, lease);
    assert_eq!(reason(&core, later, job), "the proof of amos is being verified");
    core.checked(later, lease, Ok(()));
    assert_eq!(core.why(later, job), None);
}

#[test]
fn a_job_that_rests_says_for_how_long() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    join(&mut core, 1, 1);
    join(&mut core, 2, 2);
    for n in [1, 2] {
        let lease = *core.jobs[&job].leases.first().expect("given out");
        core.failed(START, worker(n), lease, failure(FailureClass::Infrastructure));
    }
    let words = reason(&core, START, job);
    assert!(words.starts_with("interrupted; next attempt in 1s at the earliest"), "{words}");
    assert!(words.contains("it broke"), "{words}");
}
