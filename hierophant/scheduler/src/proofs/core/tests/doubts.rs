//! Results of tasks that are false, or are said to be.

use network_lib::shard::{TaskFromWorker, TaskInput};

use super::divisions::{
    all_proved, check_ends, dividing, dividing_limits, execute, executed, part, prove, runs,
};
use super::joins::{JOINS, ROOT, Run, done, executed_for, join_prover, shards_proved};
use super::*;
use crate::proofs::{Doubt, PartCheck, PartKind, PartVerdict};

/// The results that are to be verified.
fn checks(effects: &[Effect]) -> Option<PartCheck> {
    effects.iter().find_map(|effect| match effect {
        Effect::CheckParts(check) => Some((**check).clone()),
        _ => None,
    })
}

/// Verifies results, of which those of `wrong` are false.
fn judge(core: &mut ProofsCore, check: PartCheck, wrong: &[BlobInfo]) -> Vec<Effect> {
    let verdict = |blob| if wrong.contains(blob) { PartVerdict::False } else { PartVerdict::Right };
    let verdicts: Vec<_> = check.parts.iter().map(|part| verdict(&part.blob)).collect();
    core.parts_checked(START, check, &verdicts)
}

fn strikes(core: &ProofsCore, n: u8) -> usize {
    core.stats.get(&worker(n)).map_or(0, |stats| stats.strikes.len())
}

/// A proof of three shards by two workers, whose check has failed.
fn rejected() -> (ProofsCore, PartCheck) {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let assembly = all_proved(&mut core, running);
    let _ = core.assembled(START, assembly.lease, Ok((ArtifactId([5; 16]), proof_blob())));
    let effects = core.checked(START, assembly.lease, Err(failure(FailureClass::Worker)));
    let check = checks(&effects).expect("its parts are verified");
    assert_eq!(given_out(&effects), None);
    assert!(matches!(check.doubt, Doubt::Rejected(lease, _) if lease == assembly.lease));
    assert!(check.parts.iter().all(|part| matches!(part.kind, PartKind::Shard(_))));
    (core, check)
}

#[test]
fn a_false_part_of_a_rejected_proof_is_made_again_and_its_maker_is_blamed() {
    let (mut core, check) = rejected();
    assert_eq!(check.parts.iter().map(|part| part.blob).collect::<Vec<_>>(), [0, 1, 2].map(part));
    let before = [strikes(&core, 1), strikes(&core, 2)];
    let tasks = &core.divisions.jobs[&check.job].tasks;
    let maker = tasks.task(check.parts[1].task).and_then(|task| task.maker).expect("known");
    let again = runs(&judge(&mut core, check, &[part(1)]));
    let [(executor, lease, TaskInput::Execute { .. })] = &again[..] else {
        panic!("no execution: {again:?}");
    };
    let after = [strikes(&core, 1), strikes(&core, 2)];
    assert_eq!(after.iter().sum::<usize>(), before.iter().sum::<usize>() + 1);
    let running = runs(&execute(&mut core, *executor, *lease));
    let [shard] = &running[..] else { panic!("more than the false one: {running:?}") };
    assert_ne!(shard.0, maker, "another worker gets it");
    let assembly = all_proved(&mut core, running);
    assert_eq!(assembly.parts, [0, 1, 2].map(part));
    let effects = check_ends(&mut core, &assembly);
    assert_eq!(job_state(&effects), Some(JobState::Proved));
}

#[test]
fn a_worker_gets_one_strike_for_all_false_parts_of_a_rejected_proof() {
    let (mut core, check) = rejected();
    let _ = judge(&mut core, check, &[0, 1, 2].map(part));
    assert_eq!((strikes(&core, 1), strikes(&core, 2)), (1, 1));
}

#[test]
fn a_rejected_proof_whose_parts_are_right_or_unknown_is_made_again_as_a_whole() {
    for verdict in [PartVerdict::Right, PartVerdict::Unknown] {
        let (mut core, check) = rejected();
        let verdicts = vec![verdict; check.parts.len()];
        let effects = core.parts_checked(START, check, &verdicts);
        assert!(given_out(&effects).is_some(), "{effects:?}");
        assert!(runs(&effects).is_empty() && core.divisions.jobs.is_empty());
        assert_eq!((strikes(&core, 1), strikes(&core, 2)), (0, 0));
    }
}

#[test]
fn a_check_that_says_nothing_about_the_proof_does_not_doubt_its_parts() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let assembly = all_proved(&mut core, running);
    let _ = core.assembled(START, assembly.lease, Ok((ArtifactId([5; 16]), proof_blob())));
    let failed = Err(failure(FailureClass::Infrastructure));
    assert_eq!(checks(&core.checked(START, assembly.lease, failed)), None);
}

/// A worker that reduces has found the first of three shards false.
fn accused() -> (ProofsCore, Run, PartCheck) {
    let mut core = core_with(dividing_limits());
    join_prover(&mut core, 1, &[]);
    join_prover(&mut core, 2, &JOINS);
    let running = executed_for(&mut core, ProofMode::Compressed);
    let reduce = shards_proved(&mut core, running);
    let effects = fail(&mut core, &reduce, FailureClass::Infrastructure, vec![part(0).sha256]);
    let check = checks(&effects).expect("it is verified");
    assert_eq!(check.doubt, Doubt::Accused(worker(2)));
    assert_eq!(runs(&effects), [], "the reduce waits for the verdict");
    (core, reduce, check)
}

fn fail(
    core: &mut ProofsCore,
    (id, lease_id, _): &Run,
    class: FailureClass,
    suspect: Vec<Sha256Digest>,
) -> Vec<Effect> {
    let (failure, lost, lease_id) = (failure(class), vec![], *lease_id);
    core.task_word(START, *id, TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect })
}

#[test]
fn a_result_that_is_false_is_made_again_and_its_maker_is_blamed() {
    let (mut core, _, check) = accused();
    let [accused] = check.parts[..] else { panic!("one: {check:?}") };
    assert!(matches!(accused.kind, PartKind::Recursive(_)) && accused.blob == part(0));
    let tasks = &core.divisions.jobs[&check.job].tasks;
    let maker = tasks.task(accused.task).and_then(|task| task.maker).expect("known");
    let again = judge(&mut core, check, &[part(0)]);
    assert_eq!(core.stats[&maker].strikes.len(), 1);
    assert!(
        again.iter().any(
            |effect| matches!(effect, Effect::FreeTaskBlob(_, blob) if *blob == part(0).sha256)
        )
    );
    let again = runs(&again);
    let executes = |run: &&Run| matches!(run.2, TaskInput::Execute { .. });
    let (executor, lease, _) = again.iter().find(executes).expect("its record is freed");
    let running = runs(&execute(&mut core, *executor, *lease));
    let [shard] = &running[..] else { panic!("more than the false one: {running:?}") };
    let reduce = runs(&prove(&mut core, shard));
    let [reduce] = &reduce[..] else { panic!("no reduce: {reduce:?}") };
    assert!(super::divisions::assembly(&done(&mut core, reduce, ROOT)).is_some());
}

#[test]
fn a_result_that_is_right_costs_the_one_who_accused_it() {
    let (mut core, _, check) = accused();
    let again = runs(&judge(&mut core, check, &[]));
    assert_eq!((strikes(&core, 1), strikes(&core, 2)), (0, 1));
    assert!(matches!(again[..], [(_, _, TaskInput::Reduce { .. })]), "{again:?}");
}

#[test]
fn a_result_that_could_not_be_verified_is_made_again_without_blame() {
    let (mut core, _, check) = accused();
    let again = runs(&core.parts_checked(START, check, &[PartVerdict::Unknown]));
    assert!(again.iter().any(|run| matches!(run.2, TaskInput::Execute { .. })));
    assert_eq!((strikes(&core, 1), strikes(&core, 2)), (0, 0));
}

#[test]
fn a_result_that_can_never_be_verified_leaves_a_whole_proof_and_costs_nobody() {
    let (mut core, _, mut check) = accused();
    for _ in 1..core.limits.sharding.job.max_attempts {
        let again = runs(&core.parts_checked(START, check, &[PartVerdict::Unknown]));
        let executes = |run: &&Run| matches!(run.2, TaskInput::Execute { .. });
        let (executor, lease, _) = again.iter().find(executes).expect("its record is freed");
        let running = runs(&execute(&mut core, *executor, *lease));
        let reduce = shards_proved(&mut core, running);
        let suspect = vec![part(0).sha256];
        let effects = fail(&mut core, &reduce, FailureClass::Infrastructure, suspect);
        check = checks(&effects).expect("it is verified");
    }
    let _ = core.parts_checked(START, check, &[PartVerdict::Unknown]);
    assert!(core.divisions.jobs.is_empty(), "it is not proved as tasks");
    assert_eq!((strikes(&core, 1), strikes(&core, 2)), (0, 0));
}

#[test]
fn results_that_do_not_belong_together_leave_a_whole_proof_and_cost_nobody() {
    let mut core = core_with(dividing_limits());
    join_prover(&mut core, 1, &JOINS);
    let running = executed_for(&mut core, ProofMode::Compressed);
    let mut reduce = shards_proved(&mut core, running);
    let job = *core.divisions.jobs.keys().next().expect("one");
    for _ in 0..core.limits.sharding.job.max_attempts {
        assert!(core.divisions.jobs.contains_key(&job));
        let effects = fail(&mut core, &reduce, FailureClass::Request, vec![]);
        if let Some(next) = runs(&effects).pop() {
            reduce = next;
        }
    }
    assert!(core.divisions.jobs.is_empty(), "it is not proved as tasks");
    assert_eq!(strikes(&core, 1), 0);
}
