//! Proofs that are joined from their shards, and wrapped.

use network_lib::shard::{TaskFromWorker, TaskInput, TaskKind, TaskUsage};

use super::divisions::{
    assembly, check_ends, dividing_limits, execute, hand_in_blob, join_with, part, prove, runs,
};
use super::*;
use crate::proofs::TaskBlob;

/// A task that runs.
pub(super) type Run = (WorkerId, LeaseId, TaskInput);

/// Lets a worker take these kinds of tasks, in addition to executions and shards, of all kinds of proof.
pub(super) fn join_prover(core: &mut ProofsCore, n: u8, kinds: &[TaskKind]) {
    let _ = join_with(core, n, |capabilities| {
        capabilities.modes = ProofMode::ALL.to_vec();
        if let Some(sharding) = &mut capabilities.sharding {
            sharding.kinds.extend(kinds);
            sharding.recursion = true;
        }
    });
}

pub(super) const JOINS: [TaskKind; 2] = [TaskKind::Deferred, TaskKind::Reduce];

/// Submits a request for a proof of this kind, and executes it.
pub(super) fn executed_for(core: &mut ProofsCore, mode: ProofMode) -> Vec<Run> {
    let mut request = new_request(1, 1);
    request.spec.mode = mode;
    let (_, effects) = core.submit(START, request, StoreLookup::default());
    let [(executor, lease, TaskInput::Execute { .. })] = &runs(&effects)[..] else {
        panic!("no execution: {effects:?}");
    };
    runs(&execute(core, *executor, *lease))
}

/// Lets a worker hand in this result of the task that it holds.
pub(super) fn done(core: &mut ProofsCore, run: &Run, output: BlobInfo) -> Vec<Effect> {
    hand_in_blob(core, run.0, run.1, output);
    let (lease_id, used) = (run.1, TaskUsage::default());
    core.task_word(START, run.0, TaskFromWorker::TaskDone { lease_id, output, used })
}

/// Proves shards until something else runs.
pub(super) fn shards_proved(core: &mut ProofsCore, mut running: Vec<Run>) -> Run {
    while let Some(next) = running.pop() {
        if !matches!(next.2, TaskInput::ProveShard { .. }) {
            assert!(running.is_empty(), "{running:?}");
            return next;
        }
        running.extend(runs(&prove(core, &next)));
    }
    panic!("nothing runs");
}

pub(super) const ROOT: BlobInfo = BlobInfo { size: 7, sha256: Sha256Digest([0xa0; 32]) };
/// Tasks that are done of the only job, and all that it needs.
fn steps(core: &ProofsCore) -> (usize, usize) {
    let division = core.divisions.jobs.values().next().expect("one");
    let held = core.leases.get(&division.attempt).expect("it runs");
    let reported = held.progress.as_ref().and_then(|progress| progress.steps_done);
    assert_eq!(reported, Some(division.tasks.steps().0 as u64), "it is reported as progress");
    division.tasks.steps()
}

const WRAPPED: BlobInfo = BlobInfo { size: 8, sha256: Sha256Digest([0xa1; 32]) };
const LAST: BlobInfo = BlobInfo { size: 9, sha256: Sha256Digest([0xa2; 32]) };

#[test]
fn a_compressed_proof_is_the_reduce_of_its_shards() {
    let mut core = core_with(dividing_limits());
    join_prover(&mut core, 1, &[]);
    join_prover(&mut core, 2, &JOINS);
    let running = executed_for(&mut core, ProofMode::Compressed);
    assert_eq!(running.len(), 2);
    let reduce = shards_proved(&mut core, running);
    assert_eq!(steps(&core), (3, 4), "three shards and their reduce");
    let job = *core.jobs.keys().next().expect("one");
    let why = core.why(START, job).expect("it continues").reason;
    assert!(why.contains("its 3 shards are done, and their proofs are joined by 1 tasks"), "{why}");
    let TaskInput::Reduce { complete: true, common, children, .. } = &reduce.2 else {
        panic!("not the last reduce: {reduce:?}");
    };
    for input in [common].into_iter().chain(children.iter().map(|child| &child.blob)) {
        let found = core.task_blob(reduce.1, reduce.0, input.info.sha256);
        assert!(matches!(found, TaskBlob::Readable { .. }), "{input:?}: {found:?}");
    }
    let children: Vec<_> = children.iter().map(|child| child.blob.info).collect();
    assert_eq!((reduce.0, children), (worker(2), vec![part(0), part(1), part(2)]));
    let assembly = assembly(&done(&mut core, &reduce, ROOT)).expect("complete");
    assert_eq!((assembly.mode, &assembly.parts[..]), (ProofMode::Compressed, &[ROOT][..]));
    let effects = check_ends(&mut core, &assembly);
    assert_eq!(job_state(&effects), Some(JobState::Proved));
}

#[test]
fn each_wrap_goes_to_a_worker_that_takes_it() {
    for (mode, kind) in
        [(ProofMode::Plonk, TaskKind::Plonk), (ProofMode::Groth16, TaskKind::Groth16)]
    {
        let mut core = core_with(dividing_limits());
        join_prover(&mut core, 1, &JOINS);
        join_prover(&mut core, 2, &[TaskKind::ShrinkWrap]);
        join_prover(&mut core, 3, &[kind]);
        let running = executed_for(&mut core, mode);
        let reduce = shards_proved(&mut core, running);
        let [wrap] = <[_; 1]>::try_from(runs(&done(&mut core, &reduce, ROOT))).expect("a wrap");
        assert!(matches!(&wrap.2, TaskInput::ShrinkWrap { proof, .. } if proof.info == ROOT));
        let [last] = <[_; 1]>::try_from(runs(&done(&mut core, &wrap, WRAPPED))).expect("the last");
        assert_eq!(steps(&core), (5, 6));
        assert!(matches!(
            &last.2,
            TaskInput::Plonk { proof, .. } | TaskInput::Groth16 { proof, .. }
                if proof.info == WRAPPED
        ));
        assert_eq!((reduce.0, wrap.0, last.0), (worker(1), worker(2), worker(3)));
        let assembly = assembly(&done(&mut core, &last, LAST)).expect("complete");
        assert_eq!((assembly.mode, &assembly.parts[..]), (mode, &[LAST][..]));
        let effects = check_ends(&mut core, &assembly);
        assert_eq!(job_state(&effects), Some(JobState::Proved));
    }
}

#[test]
fn a_worker_without_recursion_executes_and_proves_shards_of_core_proofs_alone() {
    let mut core = core_with(dividing_limits());
    let _ = join_with(&mut core, 1, |_| ());
    join_prover(&mut core, 2, &JOINS);
    let running = executed_for(&mut core, ProofMode::Compressed);
    let [shard] = <[_; 1]>::try_from(running).expect("one that can prove it");
    assert_eq!(shard.0, worker(2));
    let running = runs(&submit(&mut core, 2, 2));
    assert!(running.iter().all(|(id, ..)| *id == worker(1)) && !running.is_empty());
}

#[test]
fn a_proof_of_which_nobody_takes_a_task_is_not_divided() {
    for (mode, kinds) in [
        (ProofMode::Compressed, &[TaskKind::Deferred][..]),
        (ProofMode::Compressed, &[TaskKind::Reduce]),
        (ProofMode::Plonk, &[TaskKind::Deferred, TaskKind::Reduce, TaskKind::Plonk]),
        (ProofMode::Groth16, &[TaskKind::Deferred, TaskKind::Reduce, TaskKind::ShrinkWrap]),
    ] {
        let mut core = core_with(dividing_limits());
        join_prover(&mut core, 1, kinds);
        let mut request = new_request(1, 1);
        request.spec.mode = mode;
        let (_, effects) = core.submit(START, request, StoreLookup::default());
        assert_eq!(runs(&effects), [], "{mode}");
        assert!(core.divisions.jobs.is_empty());
    }
}
