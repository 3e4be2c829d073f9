//! The waiting jobs in their order, and when each may be proved.

use super::*;

fn places(core: &ProofsCore, at: Millis) -> Vec<(JobId, Option<u64>)> {
    core.queue_snapshot(at, 0, 10)
        .into_iter()
        .map(|waiting| (waiting.record.id, waiting.eta_ms))
        .collect()
}

fn job_of(core: &ProofsCore, id: u8) -> JobId {
    core.open.job(RequestId([id; 32])).expect("open")
}

/// A core that has seen one proof of ten seconds, by the worker that is there.
fn after_one_proof() -> ProofsCore {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("a lease");
    let end = Millis(START.0 + 10_000);
    core.proof_stored(end, lease, ArtifactId([5; 16]), proof_blob());
    core.completed(end, worker(1), lease, execution(), proof_blob());
    core.checked(end, lease, Ok(()));
    core
}

#[test]
fn places_are_those_that_why_tells() {
    let mut core = core();
    join(&mut core, 1, 1);
    for id in 1..=4 {
        submit(&mut core, id, id);
    }
    let line = places(&core, START);
    assert_eq!(line.len(), 3);
    for (place, (job, eta)) in line.iter().enumerate() {
        assert_eq!(core.why(START, *job).expect("waits").ahead, Some(place));
        assert_eq!(*eta, None, "nothing is known of such proofs yet");
    }
    let second = core.queue_snapshot(START, 1, 1);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].record.id, line[1].0);
    assert!(core.queue_snapshot(START, 3, 10).is_empty());
}

#[test]
fn a_slot_is_expected_to_be_free_when_its_proof_is_usually_done() {
    let mut core = after_one_proof();
    for id in 2..=4 {
        submit(&mut core, id, id);
    }
    // The second job runs since the start and should take ten seconds, as the first one did.
    let line = places(&core, Millis(START.0 + 4_000));
    assert_eq!(line, [(job_of(&core, 3), Some(16_000)), (job_of(&core, 4), Some(26_000))]);
    // The worker's own word counts more.
    let lease = *core.leases.iter().next().expect("a lease").0;
    let progress = Progress { eta_seconds: Some(60), ..Progress::phase(Phase::Proving) };
    core.progressed(START, worker(1), lease, progress);
    let etas: Vec<_> = places(&core, START).into_iter().map(|(_, eta)| eta).collect();
    assert_eq!(etas, [Some(70_000), Some(80_000)]);
}

#[test]
fn what_nobody_takes_has_no_time() {
    let mut core = after_one_proof();
    for id in 2..=3 {
        submit(&mut core, id, id);
    }
    let mut plonk = new_request(9, 9);
    plonk.spec.mode = ProofMode::Plonk;
    let (answer, _) = core.submit(START, plonk, StoreLookup::default());
    assert!(answer.is_ok());
    let line = places(&core, START);
    assert_eq!(line[0], (job_of(&core, 9), None), "urgent, but no worker offers it");
    assert_eq!(line[1].1, Some(20_000));
    core.worker_draining(START, worker(1), SessionId(1));
    assert!(places(&core, START).iter().all(|(_, eta)| eta.is_none()));
}
