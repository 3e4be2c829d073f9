//! Decisions of the core, event by event.

mod recovery;
mod workers;

use network_lib::handshake::{Backend, Capabilities, Welcome};
use network_lib::ids::VkHash;
use network_lib::job::{
    BlobInfo, Execution, ExecutionFailureCause, Failure, FailureClass, JobSpec, Phase, Progress,
};

use super::*;
use crate::proofs::message::{CancelError, NewRequest, SubmitError};
use crate::records::{NetworkMode, RequestState};

const START: Millis = Millis(1_000_000);
const DEADLINE: u64 = 5_000;
const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

const MINUTE: i64 = 60_000;

fn limits() -> Limits {
    Limits {
        max_attempts: 3,
        max_waiting: 4,
        urgent_modes: vec![ProofMode::Plonk],
        attempt_limit_ms: 100 * MINUTE,
        stall_limit_ms: 10 * MINUTE,
        unlisted_limit_ms: 20_000,
        return_limit_ms: 2 * MINUTE,
        max_strikes: 3,
        strike_decay_ms: 60 * MINUTE,
    }
}

fn core() -> ProofsCore {
    core_with(limits())
}

fn core_with(limits: Limits) -> ProofsCore {
    ProofsCore::restore(START, limits, IdSource::counting(), vec![], &BTreeSet::new()).0
}

/// A request for the input number `input`; the id is `id`.
fn new_request(id: u8, input: u8) -> NewRequest {
    let blob = |n| BlobInfo { size: 10, sha256: Sha256Digest([n; 32]) };
    NewRequest {
        id: RequestId([id; 32]),
        requester: ALICE,
        spec: JobSpec {
            vk_hash: VkHash([7; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program: ArtifactId([8; 16]),
        program_blob: blob(8),
        stdin: ArtifactId([input; 16]),
        stdin_blob: blob(input),
        network_mode: NetworkMode::Reserved,
        strategy: 1,
        version: "sp1-v6.1.0".into(),
        stdin_uri: format!("http://h/artifacts/{input}"),
        stdin_private: false,
        deadline: DEADLINE,
        min_auction_period: 0,
        whitelist: vec![],
    }
}

fn submit(core: &mut ProofsCore, id: u8, input: u8) -> Vec<Effect> {
    let (answer, effects) = core.submit(START, new_request(id, input), Known::default());
    assert_eq!(answer, Ok(RequestId([id; 32])));
    effects
}

fn capabilities(modes: Vec<ProofMode>) -> Capabilities {
    Capabilities {
        vm: "sp1".into(),
        circuit_versions: vec!["v6.1.0".into()],
        modes,
        backend: Backend::Cpu,
        slots: 1,
        memory_bytes: 0,
        gpus: vec![],
        obstacle: None,
    }
}

fn arrival(n: u8, session: u64, held: &[LeaseId]) -> Arrival {
    Arrival {
        worker: worker(n),
        session,
        name: "amos".into(),
        capabilities: capabilities(vec![ProofMode::Core]),
        held: held.to_vec(),
        welcome: Welcome {
            protocol: 1,
            software_version: "0.1.0".into(),
            heartbeat_interval_ms: 5000,
            resume: vec![],
        },
    }
}

fn join(core: &mut ProofsCore, n: u8, session: u64) -> Vec<Effect> {
    core.worker_joined(START, arrival(n, session, &[]))
}

/// The attempts that a welcome among the effects lets go on.
fn resumed(effects: &[Effect]) -> Option<Vec<LeaseId>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(_, ToWorker::Welcome(welcome)) => Some(welcome.resume.clone()),
        _ => None,
    })
}

fn worker(n: u8) -> WorkerId {
    WorkerId([n; 16])
}

/// The lease that the effects give out, and to whom.
fn given_out(effects: &[Effect]) -> Option<(WorkerId, LeaseId)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(worker, ToWorker::Prove { lease_id, .. }) => Some((*worker, *lease_id)),
        _ => None,
    })
}

fn cancels(effects: &[Effect]) -> Vec<LeaseId> {
    let cancelled = effects.iter().filter_map(|effect| match effect {
        Effect::Send(_, ToWorker::Cancel { lease_id, .. }) => Some(*lease_id),
        _ => None,
    });
    cancelled.collect()
}

/// The last saved state of a request.
fn request_state(effects: &[Effect], id: u8) -> Option<RequestState> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(Change::Request(request, _)) if request.id == RequestId([id; 32]) => {
            Some(request.state)
        }
        _ => None,
    })
}

fn job_state(effects: &[Effect]) -> Option<JobState> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.state),
        _ => None,
    })
}

fn execution() -> Execution {
    Execution { cycles: 5, gas: Some(6), public_values_hash: Sha256Digest([3; 32]) }
}

fn proof_blob() -> BlobInfo {
    BlobInfo { size: 99, sha256: Sha256Digest([9; 32]) }
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, cause: None, message: "it broke".into() }
}

fn hand_in(core: &mut ProofsCore, n: u8, lease: LeaseId) -> Vec<Effect> {
    let (counts, _) = core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob());
    assert!(counts);
    core.completed(START, worker(n), lease, execution(), proof_blob())
}

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
fn the_same_content_shares_one_attempt_and_both_are_fulfilled() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    assert_eq!(given_out(&submit(&mut core, 2, 1)), None);
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
}

#[test]
fn content_that_is_proved_already_is_fulfilled_at_once() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    let proved = core.checked(START, lease, Ok(())).into_iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job),
        _ => None,
    });
    let known = Known { earlier: None, ended: proved };
    let (answer, effects) = core.submit(START, new_request(2, 1), known);
    assert_eq!(answer, Ok(RequestId([2; 32])));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
    assert_eq!(given_out(&effects), None);
}

#[test]
fn a_retried_call_gets_the_earlier_request_and_changes_nothing() {
    let mut core = core();
    let known = Known { earlier: Some(RequestId([1; 32])), ended: None };
    let (answer, effects) = core.submit(START, new_request(2, 1), known);
    assert_eq!(answer, Ok(RequestId([1; 32])));
    assert_eq!(effects, []);
}

#[test]
fn a_full_queue_turns_new_work_away_but_not_shared_work() {
    let mut core = core();
    for n in 1..=4 {
        submit(&mut core, n, n);
    }
    let (answer, effects) = core.submit(START, new_request(5, 5), Known::default());
    assert_eq!(answer, Err(SubmitError::Busy { waiting: 4 }));
    assert_eq!(effects, []);
    submit(&mut core, 6, 1);
}

#[test]
fn a_lost_worker_gives_its_job_back_and_a_late_word_changes_nothing() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, old) = given_out(&join(&mut core, 1, 1)).expect("given out");
    join(&mut core, 2, 2);
    let effects = core.worker_lost(START, worker(1), 1, "cut");
    let (to, new) = given_out(&effects).expect("given out again");
    assert_eq!(to, worker(2));
    assert_ne!(old, new);
    assert_eq!(core.completed(START, worker(1), old, execution(), proof_blob()), []);
    assert_eq!(core.failed(START, worker(1), old, failure(FailureClass::Guest)), []);
    let settled = Effect::Send(worker(2), ToWorker::Settled { lease_id: old });
    assert_eq!(core.failed(START, worker(2), old, failure(FailureClass::Guest)), [settled]);
    assert_eq!(core.lease_access(old), None);
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
    let effects = core.worker_lost(START, worker(1), 1, "cut");
    assert_eq!(job_state(&effects), Some(JobState::Verifying));
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn a_word_about_an_older_connection_is_ignored() {
    let mut core = core();
    join(&mut core, 1, 1);
    join(&mut core, 1, 2);
    assert_eq!(core.worker_lost(START, worker(1), 1, "late"), []);
    assert_eq!(core.overview().workers.len(), 1);
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
    let effects = core.failed(START, second, lease, failure(FailureClass::Worker));
    let (third, lease) = given_out(&effects).expect("given out a third time");
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
        now = Millis(now.0 + 60_000);
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
fn cancelling_stops_the_work_and_sticks() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let id = RequestId([1; 32]);
    assert_eq!(core.cancel(START, id, BOB).0, Err(CancelError::NotYours));
    let (answer, effects) = core.cancel(START, id, ALICE);
    assert_eq!(answer, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Cancelled));
    assert_eq!(cancels(&effects), [lease]);
    let late = core.completed(START, worker(1), lease, execution(), proof_blob());
    assert_eq!(request_state(&late, 1), None);
    assert_eq!(core.cancel(START, id, ALICE).0, Err(CancelError::NotFound));
}

#[test]
fn a_shared_job_goes_on_for_the_other_request() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    submit(&mut core, 2, 1);
    let (_, effects) = core.cancel(START, RequestId([1; 32]), ALICE);
    assert_eq!(cancels(&effects), []);
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), None);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Fulfilled));
}

#[test]
fn a_stopped_attempt_keeps_its_slot_until_the_worker_lets_go() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    assert_eq!(core.cancel(START, RequestId([1; 32]), ALICE).0, Ok(()));
    assert_eq!(given_out(&submit(&mut core, 2, 2)), None);
    assert_eq!(given_out(&core.held(START, worker(1), 1, &[lease])), None);
    assert!(given_out(&core.held(START, worker(1), 1, &[])).is_some());
}

#[test]
fn a_passed_deadline_ends_the_request_and_stops_the_work() {
    let mut core = core_with(Limits { stall_limit_ms: 0, ..limits() });
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let deadline = Millis::from_seconds(DEADLINE);
    assert_eq!(core.sweep(deadline), []);
    let effects = core.sweep(Millis(deadline.0 + 1));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Expired));
    assert_eq!(job_state(&effects), Some(JobState::Expired));
    assert_eq!(cancels(&effects), [lease]);
}

#[test]
fn a_draining_worker_gets_nothing_new() {
    let mut core = core();
    join(&mut core, 1, 1);
    core.worker_draining(worker(1), 1);
    assert_eq!(given_out(&submit(&mut core, 1, 1)), None);
}

#[test]
fn a_mode_that_becomes_ready_is_used_at_once() {
    let mut core = core();
    let warming = Arrival { capabilities: capabilities(vec![]), ..arrival(1, 1, &[]) };
    core.worker_joined(START, warming);
    assert_eq!(given_out(&submit(&mut core, 1, 1)), None);
    let ready = capabilities(vec![ProofMode::Core]);
    assert!(given_out(&core.capabilities_changed(START, worker(1), 1, ready)).is_some());
}

#[test]
fn a_requester_with_a_backlog_does_not_hold_up_another() {
    let mut core = core();
    for n in 1..=3 {
        submit(&mut core, n, n);
    }
    let bobs = NewRequest { requester: BOB, ..new_request(4, 4) };
    core.submit(START, bobs, Known::default()).0.expect("accepted");
    let (_, first) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let (_, second) = given_out(&join(&mut core, 2, 2)).expect("given out");
    let requester = |lease| core.jobs[&core.leases[&lease].job].requester();
    assert_eq!([requester(first), requester(second)], [ALICE, BOB]);
}

#[test]
fn urgent_modes_go_first() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let mut urgent = new_request(2, 2);
    urgent.spec.mode = ProofMode::Plonk;
    core.submit(START, urgent, Known::default()).0.expect("accepted");
    let both = Arrival {
        capabilities: capabilities(vec![ProofMode::Core, ProofMode::Plonk]),
        ..arrival(1, 1, &[])
    };
    let effects = core.worker_joined(START, both);
    let (_, lease) = given_out(&effects).expect("given out");
    assert_eq!(core.leases[&lease].job, core.by_request[&RequestId([2; 32])]);
}

#[test]
fn content_that_was_set_aside_fails_at_once_while_in_quarantine() {
    let mut core = core();
    join(&mut core, 1, 1);
    let mut effects = submit(&mut core, 1, 1);
    for _ in 0..3 {
        let (_, lease) = given_out(&effects).expect("given out");
        effects = core.failed(START, worker(1), lease, failure(FailureClass::Worker));
    }
    let set_aside = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.clone()),
        _ => None,
    });
    let set_aside = set_aside.expect("saved");
    let message = &set_aside.failure.as_ref().expect("says why").message;
    assert_eq!(message, "set aside after 3 failed attempts on 1 Contemplant; the last: it broke");
    let known = Known { earlier: None, ended: Some(set_aside) };
    let (answer, effects) = core.submit(START, new_request(2, 1), known);
    assert_eq!(answer, Ok(RequestId([2; 32])));
    assert_eq!(request_state(&effects, 2), Some(RequestState::Failed));
    assert_eq!(given_out(&effects), None);
}

#[test]
fn a_finished_proof_that_is_gone_is_made_again_for_those_who_wait() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    let job = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.clone()),
        _ => None,
    });
    let request = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::Request(request, _)) => Some(request.clone()),
        _ => None,
    });
    let (job, request) = (job.expect("saved"), request.expect("saved"));
    let effects = core.reopen(START, job.clone(), vec![request.clone()]);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Open));
    let (_, lease) = given_out(&effects).expect("given out again");
    assert_eq!(given_out(&core.reopen(START, job, vec![request])), None, "once is enough");
    hand_in(&mut core, 1, lease);
    let effects = core.checked(START, lease, Ok(()));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
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
