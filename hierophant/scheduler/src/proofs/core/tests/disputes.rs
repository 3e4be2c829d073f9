//! Public values that a client has stated, and what proofs and failures say about a program.

use hierophant_model::records::ProgramState;
use network_lib::job::{PROGRAM_MISMATCH, PROGRAM_NOT_LOADED};

use super::*;

/// The digest that the scripted workers find.
const FOUND: Sha256Digest = Sha256Digest([3; 32]);

/// A digest that the program does not commit to.
const WRONG: Sha256Digest = Sha256Digest([4; 32]);

fn stating(id: u8, digest: Sha256Digest) -> NewRequest {
    NewRequest { stated_digest: Some(digest), ..new_request(id, 1) }
}

fn ask(core: &mut ProofsCore, new: NewRequest) -> Vec<Effect> {
    let (answer, effects) = core.submit(START, new, StoreLookup::default());
    answer.expect("accepted");
    effects
}

/// Hands in a proof of public values with this digest, and accepts it as valid.
fn prove(core: &mut ProofsCore, n: u8, lease: LeaseId, digest: Sha256Digest) -> Vec<Effect> {
    core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob());
    let found = Execution { public_values_hash: digest, ..execution() };
    let mut effects = core.completed(START, worker(n), lease, found, proof_blob());
    effects.extend(core.checked(START, lease, Ok(())));
    effects
}

/// The last saved outcome of each attempt.
fn outcomes(effects: &[Effect]) -> BTreeMap<LeaseId, AttemptOutcome> {
    let saved = effects.iter().filter_map(|effect| match effect {
        Effect::Save(Change::Attempt(attempt)) => Some((attempt.lease, attempt.outcome)),
        _ => None,
    });
    saved.collect()
}

fn strikes(core: &ProofsCore, n: u8) -> usize {
    core.stats.get(&worker(n)).map_or(0, |stats| stats.strikes.len())
}

fn program_states(effects: &[Effect]) -> Vec<ProgramState> {
    let states = effects.iter().filter_map(|effect| match effect {
        Effect::Save(Change::ProgramState(vk_hash, upload, state)) => {
            assert_eq!((*vk_hash, *upload), (VkHash([7; 32]), ArtifactId([8; 16])));
            Some(*state)
        }
        _ => None,
    });
    states.collect()
}

#[test]
fn a_proof_of_the_stated_public_values_is_accepted() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&ask(&mut core, stating(1, FOUND))).expect("given out");
    let effects = prove(&mut core, 1, lease, FOUND);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
}

#[test]
fn a_worker_that_proves_other_public_values_is_at_fault_once_another_proves_the_stated_ones() {
    let mut core = core();
    let mut memory = Memory::default();
    memory.save(&join(&mut core, 1, 1));
    let effects = ask(&mut core, stating(1, FOUND));
    memory.save(&effects);
    let (_, first) = given_out(&effects).expect("given out");
    memory.save(&join(&mut core, 2, 2));
    let effects = prove(&mut core, 1, first, WRONG);
    memory.save(&effects);
    assert_eq!(outcomes(&effects)[&first], AttemptOutcome::Disputed);
    assert_eq!(request_state(&effects, 1), None, "the request stays open");
    assert_eq!(strikes(&core, 1), 0, "it is not decided yet who is wrong");
    let (other, second) = given_out(&effects).expect("given out again");
    assert_eq!(other, worker(2));
    let effects = prove(&mut core, 2, second, FOUND);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert_eq!(outcomes(&effects)[&first], AttemptOutcome::Failed);
    assert_eq!((strikes(&core, 1), strikes(&core, 2)), (1, 0));
}

#[test]
fn a_request_is_at_fault_once_two_workers_agree_on_other_public_values() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, first) = given_out(&ask(&mut core, stating(1, WRONG))).expect("given out");
    join(&mut core, 2, 2);
    let (other, second) = given_out(&prove(&mut core, 1, first, FOUND)).expect("given out again");
    assert_eq!(other, worker(2));
    let effects = prove(&mut core, 2, second, FOUND);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    let failed = effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => job.failure.clone().zip(job.execution),
        _ => None,
    });
    let (failure, execution) = failed.expect("saved");
    assert_eq!(failure.class, FailureClass::Request);
    assert_eq!(execution.public_values_hash, FOUND);
    assert_eq!((strikes(&core, 1), strikes(&core, 2)), (0, 0), "no worker is at fault");
}

#[test]
fn a_fleet_of_one_worker_proves_a_wrong_statement_a_bounded_number_of_times() {
    let mut core = core();
    join(&mut core, 1, 1);
    let mut effects = ask(&mut core, stating(1, WRONG));
    let mut now = START;
    for _ in 0..limits().max_attempts {
        let (_, lease) = given_out(&effects).expect("given out");
        effects = prove(&mut core, 1, lease, FOUND);
        now = Millis(now.0 + 5_000);
        if request_state(&effects, 1).is_none() && given_out(&effects).is_none() {
            effects = core.sweep(now);
        }
    }
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
    assert_eq!(strikes(&core, 1), 0);
}

#[test]
fn a_wrong_statement_affects_no_request_that_states_another_digest_or_none() {
    let mut core = core();
    let by_bob = NewRequest { requester: BOB, ..stating(2, WRONG) };
    for new in [stating(1, FOUND), by_bob, new_request(3, 1)] {
        ask(&mut core, new);
    }
    let jobs: BTreeSet<JobId> =
        [1, 2, 3].map(|id| core.open.job(RequestId([id; 32])).expect("open")).into();
    assert_eq!(jobs.len(), 3, "none joins the job of another statement");
    ask(&mut core, stating(4, FOUND));
    assert_eq!(core.open.job(RequestId([4; 32])), core.open.job(RequestId([1; 32])));
}

#[test]
fn a_restart_remembers_what_the_first_worker_found() {
    let mut core = core();
    let mut memory = Memory::default();
    memory.save(&join(&mut core, 1, 1));
    let effects = ask(&mut core, stating(1, WRONG));
    memory.save(&effects);
    let (_, first) = given_out(&effects).expect("given out");
    memory.save(&join(&mut core, 2, 2));
    let effects = prove(&mut core, 1, first, FOUND);
    memory.save(&effects);
    let (_, second) = given_out(&effects).expect("given out again");
    let (mut core, _) = memory.restart();
    core.worker_joined(START, arrival(2, 9, &[second]));
    let effects = prove(&mut core, 2, second, FOUND);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Failed));
}

#[test]
fn an_accepted_proof_confirms_a_program_and_a_workers_word_refutes_it() {
    let mut core = core();
    join(&mut core, 1, 1);
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    assert_eq!(program_states(&prove(&mut core, 1, lease, FOUND)), [ProgramState::Confirmed]);
    let known = NewRequest { program_confirmed: true, ..new_request(2, 2) };
    let (_, lease) = given_out(&ask(&mut core, known)).expect("given out");
    assert_eq!(program_states(&prove(&mut core, 1, lease, FOUND)), [], "nothing new");
    for (number, class, text) in [
        (3, FailureClass::Request, format!("{PROGRAM_MISMATCH}; its own is 00")),
        (4, FailureClass::Guest, format!("{PROGRAM_NOT_LOADED}: no segments")),
    ] {
        let (_, lease) = given_out(&submit(&mut core, number, number)).expect("given out");
        let effects = core.failed(START, worker(1), lease, Failure::new(class, text));
        assert_eq!(program_states(&effects), [ProgramState::Refuted]);
    }
    let (_, lease) = given_out(&submit(&mut core, 5, 5)).expect("given out");
    let failed = failure(FailureClass::Guest);
    assert_eq!(program_states(&core.failed(START, worker(1), lease, failed)), []);
}

#[test]
fn a_mock_proof_confirms_no_program() {
    let mut core = core();
    let mock = Capabilities { backend: Backend::Mock, ..capabilities(vec![ProofMode::Core]) };
    core.worker_joined(START, WorkerJoined { capabilities: mock, ..arrival(1, 1, &[]) });
    let (_, lease) = given_out(&submit(&mut core, 1, 1)).expect("given out");
    let effects = prove(&mut core, 1, lease, FOUND);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert_eq!(program_states(&effects), []);
}
