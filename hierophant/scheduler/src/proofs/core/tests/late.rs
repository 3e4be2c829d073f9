//! Jobs whose message comes late, because the store stalled or a link did: no attempt is made twice, and no slot that is
//! taken counts as free.

use super::*;

fn at(seconds: i64) -> Millis {
    Millis(START.0 + seconds * 1000)
}

/// A heartbeat of worker 1.
fn beat(core: &mut ProofsCore, seconds: i64, held: &[LeaseId]) -> Vec<Effect> {
    core.held_leases(at(seconds), worker(1), SessionId(1), held)
}

/// A job of request 1 that worker 1 was given.
fn given() -> (ProofsCore, LeaseId) {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    (core, lease)
}

#[test]
fn while_a_job_waits_for_the_store_no_heartbeat_can_list_it() {
    let (mut core, lease) = given();
    for seconds in 0..600 {
        assert_eq!(beat(&mut core, seconds, &[]), []);
    }
    core.jobs_sent(&[lease]);
    assert_eq!(beat(&mut core, 600, &[]), []);
    assert_eq!(beat(&mut core, 620, &[]), []);
    let effects = beat(&mut core, 621, &[]);
    assert_eq!(cancels(&effects), [lease], "it may run it nevertheless");
    assert!(given_out(&effects).is_some());
}

#[test]
fn an_attempt_that_does_not_count_is_cancelled_once_and_keeps_its_slot_until_it_has_stopped() {
    let (mut core, late) = given();
    core.jobs_sent(&[late]);
    beat(&mut core, 0, &[]);
    join(&mut core, 2, 2);
    let (to, new) = given_out(&beat(&mut core, 21, &[])).expect("given out again");
    assert_eq!(to, worker(2), "to another one, because it was not taken here");
    submit(&mut core, 2, 2);
    hand_in(&mut core, 2, new);
    // Request 2 went to the free worker 1; its message and the first one arrive together.
    let second = core.leases_of(worker(1)).first().copied().expect("given out");
    core.jobs_sent(&[second]);
    assert_eq!(cancels(&beat(&mut core, 25, &[late, second])), [late]);
    assert_eq!(beat(&mut core, 30, &[late, second]), [], "once");
    core.failed(at(31), worker(1), second, failure(FailureClass::Guest));
    assert_eq!(given_out(&submit(&mut core, 3, 3)).map(|(to, _)| to), Some(worker(2)));
    let effects = submit(&mut core, 4, 4);
    assert_eq!(given_out(&effects), None, "the late one has the slot");
    assert_eq!(given_out(&beat(&mut core, 35, &[late])), None);
    let freed = given_out(&beat(&mut core, 40, &[])).expect("the slot is free");
    assert_eq!(freed.0, worker(1));
}

#[test]
fn what_a_worker_makes_up_occupies_its_own_slots_and_nothing_else() {
    let mut core = core();
    join(&mut core, 1, 1);
    join(&mut core, 2, 2);
    let (to, theirs) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    assert_eq!(to, worker(1));
    let made_up = LeaseId([0xee; 16]);
    let lies = [made_up, theirs];
    let effects = core.held_leases(START, worker(2), SessionId(2), &lies);
    assert_eq!(cancels(&effects), [theirs, made_up], "neither is its own");
    assert!(core.leases.contains_key(&theirs), "another one's attempt continues");
    assert_eq!(given_out(&submit(&mut core, 2, 2)), None);
    let effects = core.worker_joined(START, arrival(2, 3, &lies));
    assert_eq!(resumed(&effects), Some(vec![]));
    assert_eq!(given_out(&effects), None);
    assert!(core.leases.contains_key(&theirs));
}

#[test]
fn what_was_given_back_takes_no_slot_while_it_is_still_listed() {
    let mut core = core();
    let preparing = Capabilities { prefetch: 1, ..capabilities(vec![ProofMode::Core]) };
    core.worker_joined(START, WorkerJoined { capabilities: preparing, ..arrival(1, 1, &[]) });
    let (_, first) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    let (_, ahead) = given_out(&submit(&mut core, 2, 2)).expect("given out ahead");
    core.jobs_sent(&[first, ahead]);
    // Another worker is free for it.
    assert_eq!(cancels(&join(&mut core, 2, 2)), [ahead]);
    assert_eq!(beat(&mut core, 1, &[first, ahead]), [], "neither cancelled again nor counted");
    let effects = core.failed(at(2), worker(1), first, failure(FailureClass::Guest));
    assert_eq!(given_out(&effects), None);
    assert!(given_out(&submit(&mut core, 3, 3)).is_some(), "the slot is free");
}

/// The store stalls while a slot is free: what was decided meanwhile leaves together afterwards.
#[test]
fn a_stalled_store_costs_no_attempt() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, first) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    core.jobs_sent(&[first]);
    submit(&mut core, 2, 2);
    let effects = core.failed(START, worker(1), first, failure(FailureClass::Guest));
    let (_, decided) = given_out(&effects).expect("decided and not stored");
    for seconds in (0..=60).step_by(5) {
        let effects = beat(&mut core, seconds, &[]);
        assert_eq!(given_out(&effects), None, "given out twice after {seconds} s");
    }
    core.jobs_sent(&[decided]);
    assert_eq!(beat(&mut core, 61, &[decided]), []);
    hand_in(&mut core, 1, decided);
    let effects = core.checked(at(62), decided, Ok(()));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
}

#[test]
fn a_coordinator_that_slept_judges_no_attempt_by_its_own_sleep() {
    let mut core = core();
    let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
    core.submit(START, patient, StoreLookup::default()).0.expect("accepted");
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    core.jobs_sent(&[lease]);
    core.progressed(START, worker(1), lease, Progress::phase(Phase::Proving));
    beat(&mut core, 5, &[]);
    let asleep = limits().stall_limit_ms + limits().attempt_limit_ms;
    let now = Millis(at(5).0 + asleep);
    core.excuse(now, asleep);
    assert_eq!(core.sweep(now), []);
    assert_eq!(core.held_leases(now, worker(1), SessionId(1), &[]), [], "unlisted for 0 s");
    let later = Millis(now.0 + 20_001);
    assert!(given_out(&core.held_leases(later, worker(1), SessionId(1), &[])).is_some());
}
