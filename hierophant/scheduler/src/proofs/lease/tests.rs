//! Reported progress, and rests of jobs.

use super::*;
use network_lib::handshake::Backend;

#[test]
fn rest_doubles_up_to_a_minute() {
    let rests: Vec<i64> = (0..12).map(|n| rest_after_interruptions(n).0).collect();
    assert_eq!(
        rests,
        [0, 0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000]
    );
}

fn lease() -> Lease {
    let prover = Prover { worker: WorkerId([1; 16]), name: "amos".into(), backend: Backend::Cpu };
    let (lease, job) = (LeaseId([1; 16]), JobId([1; 16]));
    Lease::new(Millis(0), AttemptRecord::starting(lease, job, prover, Millis(0)))
}

#[test]
fn an_estimate_that_grows_is_no_progress() {
    let mut lease = lease();
    let at = |fraction, estimated, cycles_done| Progress {
        fraction: Some(fraction),
        estimated,
        cycles_done: Some(cycles_done),
        ..Progress::phase(Phase::Proving)
    };
    lease.report(Millis(1), at(0.1, true, 5));
    lease.report(Millis(2), at(0.2, true, 5));
    assert_eq!(lease.last_progress_at, Millis(1));
    lease.report(Millis(3), at(0.3, true, 6));
    assert_eq!(lease.last_progress_at, Millis(3));
    lease.report(Millis(4), at(0.4, false, 6));
    lease.report(Millis(5), at(0.5, false, 6));
    assert_eq!(lease.last_progress_at, Millis(5));
}

#[test]
fn steps_that_increase_are_progress_and_steps_that_do_not_are_none() {
    let mut lease = lease();
    let estimated = |steps_done| Progress {
        fraction: Some(0.5),
        estimated: true,
        steps_done,
        ..Progress::phase(Phase::Proving)
    };
    let reports = [
        (estimated(None), 1),
        (estimated(Some(1)), 2),
        (estimated(Some(1)), 2),
        (estimated(Some(7)), 4),
        // Neither a counter that was reset nor one that is missing for a while.
        (estimated(Some(3)), 4),
        (estimated(None), 4),
        (estimated(Some(7)), 4),
        (estimated(Some(8)), 8),
    ];
    for (now, (progress, moved_at)) in (1..).zip(reports) {
        lease.report(Millis(now), progress);
        assert_eq!(lease.last_progress_at, Millis(moved_at), "{progress:?} at {now}");
    }
}

#[test]
fn each_phase_counts_its_own_steps() {
    let mut lease = lease();
    let reports = [
        (Progress::steps(Phase::Downloading, 1 << 30), 1),
        (Progress::steps(Phase::Proving, 1), 2),
        (Progress::steps(Phase::Proving, 2), 3),
        (Progress::steps(Phase::Proving, 2), 3),
    ];
    for (now, (progress, moved_at)) in (1..).zip(reports) {
        lease.report(Millis(now), progress);
        assert_eq!(lease.last_progress_at, Millis(moved_at), "{progress:?} at {now}");
    }
}
