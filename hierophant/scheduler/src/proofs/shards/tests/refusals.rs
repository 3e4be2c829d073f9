//! Messages that are refused, and who is blamed.

use hierophant_model::records::{Millis, TaskState};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, Failure, FailureClass, ProofMode};
use network_lib::shard::{NewShard, TaskKind};

use super::super::{Effect, JobEnd, Limits, Offer, Peer, Reason, ShardedJob};
use super::fleet::{ENGINE, Program, digest, events, info};
use crate::proofs::core::IdSource;

pub(super) const COMMON: BlobInfo = BlobInfo { size: 10, sha256: Sha256Digest([b'c'; 32]) };
pub(super) const NOW: Millis = Millis(5);
pub(super) const EXECUTOR: WorkerId = WorkerId([1; 16]);
pub(super) const PROVER: WorkerId = WorkerId([2; 16]);
pub(super) const EXECUTION: LeaseId = LeaseId([9; 16]);
pub(super) const ATTEMPT: LeaseId = LeaseId([8; 16]);

pub(super) fn offer(worker: WorkerId) -> Offer<'static> {
    Offer {
        worker,
        engine: ENGINE,
        kinds: &TaskKind::ALL,
        max_elements: 100,
        slots: 1,
        others: &[],
    }
}

/// A Core job that `EXECUTOR` executes with a window of ten shards.
pub(super) fn executing() -> ShardedJob {
    let limits = Limits {
        max_attempts: 2,
        max_retries: 9,
        max_restarts: 1,
        race_after: 0.0,
        window_bytes: 1_000_000,
    };
    let spec = (ProofMode::Core, ENGINE, 100);
    let (mut job, _) = ShardedJob::begin(NOW, JobId([1; 16]), spec, limits, IdSource::counting());
    let task = job.next_for(&offer(EXECUTOR)).expect("the execution");
    assert!(!job.lease(NOW, (EXECUTION, task), &offer(EXECUTOR), 1).is_empty());
    job
}

/// Hands in the common input and announces shards.
pub(super) fn announce(job: &mut ShardedJob, shards: &[NewShard]) -> Vec<Effect> {
    let handed_in = job.handed_in(EXECUTION, COMMON);
    assert_eq!(handed_in, []);
    job.shards(NOW, (EXECUTOR, EXECUTION), COMMON, shards)
}

/// The same with three announced shards, of which `PROVER` has the first.
fn proving() -> (ShardedJob, TaskId) {
    let mut job = executing();
    let effects = announce(&mut job, &Program::new(3, 0, 0).shards);
    assert_eq!(strikes(&effects), []);
    let task = job.next_for(&offer(PROVER)).expect("a shard");
    assert!(!job.lease(NOW, (ATTEMPT, task), &offer(PROVER), 1).is_empty());
    (job, task)
}

fn strikes(effects: &[Effect]) -> Vec<(WorkerId, Reason)> {
    let strike = |effect: &Effect| match effect {
        Effect::Strike(worker, reason) => Some((*worker, *reason)),
        _ => None,
    };
    effects.iter().filter_map(strike).collect()
}

#[test]
fn shards_beyond_the_window_are_refused() {
    let mut job = executing();
    assert_eq!(job.window(), Some((10, 1_000_000)));
    let shards = Program::new(11, 0, 0).shards;
    assert_eq!(strikes(&announce(&mut job, &shards[..10])), []);
    let effects = announce(&mut job, &shards[10..]);
    assert_eq!(strikes(&effects), [(EXECUTOR, Reason::BeyondWindow)]);
    assert!(job.window().is_none(), "the execution continues");
}

#[test]
fn shards_out_of_order_are_refused_and_repeated_ones_are_not() {
    let shards = Program::new(4, 0, 0).shards;
    let mut job = executing();
    for _repeated in 0..2 {
        assert_eq!(strikes(&announce(&mut job, &shards[..2])), []);
    }
    assert_eq!(job.tasks().count(), 3);
    let effects = announce(&mut job, &shards[3..]);
    assert_eq!(strikes(&effects), [(EXECUTOR, Reason::OutOfOrder)]);
    let mut other = shards[1].clone();
    other.key = Sha256Digest([3; 32]);
    let mut job = executing();
    assert_eq!(strikes(&announce(&mut job, &shards[..2])), []);
    let effects = announce(&mut job, &[other]);
    assert_eq!(strikes(&effects), [(EXECUTOR, Reason::OutOfOrder)]);
}

#[test]
fn shards_that_overlap_are_refused() {
    let mut shards = Program::new(2, 0, 0).shards;
    shards[1].range = shards[0].range;
    let mut job = executing();
    let effects = announce(&mut job, &shards);
    assert_eq!(strikes(&effects), [(EXECUTOR, Reason::Ranges)]);
}

#[test]
fn an_execution_that_ends_early_is_refused() {
    let (mut job, _) = proving();
    let values = info(b'p', 0);
    let ends = |job: &mut ShardedJob, count| {
        strikes(&job.execute_ended(NOW, (EXECUTOR, EXECUTION), count, values))
    };
    assert_eq!(ends(&mut job, 2), [(EXECUTOR, Reason::Count)]);
    let (mut job, _) = proving();
    assert_eq!(ends(&mut job, 3), [(EXECUTOR, Reason::WrongResult)]);
    let (mut job, _) = proving();
    assert_eq!(job.handed_in(EXECUTION, values), []);
    assert_eq!(ends(&mut job, 3), []);
}

#[test]
fn a_result_of_another_digest_or_size_is_refused() {
    for (handed_in, said) in [(1, 2), (1, 8)] {
        let (mut job, task) = proving();
        for blob in events(0).blobs() {
            assert_eq!(job.handed_in(ATTEMPT, *blob), []);
        }
        assert!(!job.traced(NOW, (PROVER, ATTEMPT), events(0)).is_empty());
        assert_eq!(job.handed_in(ATTEMPT, info(b'o', handed_in)), []);
        let effects = job.task_done(NOW, (PROVER, ATTEMPT), info(b'o', said));
        assert_eq!(strikes(&effects), [(PROVER, Reason::WrongResult)]);
        assert!(effects.contains(&Effect::Free(digest(b'o', handed_in))));
        assert_eq!(job.task(task).map(|task| task.state), Some(TaskState::Waiting));
        // It gets the same task again only if there is no other worker that may succeed.
        let others = [Peer { worker: EXECUTOR, kinds: vec![TaskKind::ProveShard] }];
        let other = job.next_for(&Offer { others: &others, ..offer(PROVER) });
        assert_ne!(other.expect("another shard"), task);
        assert_eq!(job.next_for(&offer(PROVER)), Some(task));
        let others = [Peer { worker: EXECUTOR, kinds: vec![TaskKind::Execute] }];
        assert_eq!(job.next_for(&Offer { others: &others, ..offer(PROVER) }), Some(task));
    }
}

#[test]
fn a_core_shard_needs_its_precompile_events() {
    let (mut job, _) = proving();
    assert_eq!(job.handed_in(ATTEMPT, info(b'o', 1)), []);
    let effects = job.task_done(NOW, (PROVER, ATTEMPT), info(b'o', 1));
    assert_eq!(strikes(&effects), [(PROVER, Reason::NotTraced)]);
    let (mut job, _) = proving();
    let effects = job.traced(NOW, (PROVER, ATTEMPT), events(0));
    assert_eq!(strikes(&effects), [(PROVER, Reason::WrongResult)]);
}

#[test]
fn messages_of_the_wrong_kind_are_refused() {
    let (mut job, _) = proving();
    let effects = job.shards(NOW, (PROVER, ATTEMPT), COMMON, &[]);
    assert_eq!(strikes(&effects), [(PROVER, Reason::WrongKind)]);
    let (mut job, _) = proving();
    let effects = job.task_done(NOW, (EXECUTOR, EXECUTION), info(b'o', 1));
    assert_eq!(strikes(&effects), [(EXECUTOR, Reason::WrongKind)]);
}

#[test]
fn messages_about_leases_of_others_have_no_effect() {
    let (mut job, _) = proving();
    assert_eq!(job.shards(NOW, (PROVER, EXECUTION), COMMON, &Program::new(4, 0, 0).shards), []);
    assert_eq!(job.traced(NOW, (EXECUTOR, ATTEMPT), events(0)), []);
    let settled = vec![Effect::Settle(EXECUTOR, ATTEMPT)];
    assert_eq!(job.task_done(NOW, (EXECUTOR, ATTEMPT), info(b'o', 1)), settled);
    let failure = Failure::new(FailureClass::Worker, "no");
    let nothing: (&[Sha256Digest], &[Sha256Digest]) = (&[], &[]);
    assert_eq!(job.task_failed(NOW, (EXECUTOR, ATTEMPT), &failure, nothing), settled);
}

#[test]
fn a_worker_of_another_engine_or_with_a_smaller_prover_gets_nothing() {
    let (mut job, _) = proving();
    assert!(job.next_for(&offer(EXECUTOR)).is_some());
    assert_eq!(job.next_for(&Offer { engine: "sp1-other", ..offer(EXECUTOR) }), None);
    assert_eq!(job.next_for(&Offer { max_elements: 99, ..offer(EXECUTOR) }), None);
    assert_eq!(job.next_for(&Offer { kinds: &[TaskKind::Reduce], ..offer(EXECUTOR) }), None);
    assert_eq!(job.next_for(&offer(PROVER)), None, "its slot is taken");
}

#[test]
fn only_inputs_of_the_task_can_be_lost() {
    let (mut job, _) = proving();
    let failure = Failure::new(FailureClass::Infrastructure, "missing");
    let foreign = [digest(b'r', 2)];
    let effects = job.task_failed(NOW, (PROVER, ATTEMPT), &failure, (&foreign, &[]));
    assert_eq!(strikes(&effects), [(PROVER, Reason::ForeignInput)]);
    let (mut job, task) = proving();
    let lost = [job.task(task).and_then(|task| task.record).expect("a record").sha256];
    let effects = job.task_failed(NOW, (PROVER, ATTEMPT), &failure, (&lost, &[]));
    assert_eq!(strikes(&effects), []);
}

#[test]
fn an_older_attempt_does_not_lose_a_record_that_was_made_again() {
    let (other, again, later) = (WorkerId([3; 16]), LeaseId([7; 16]), Millis(6));
    let (mut job, task) = proving();
    assert_eq!(strikes(&job.worker_lost(NOW, EXECUTOR)), []);
    let execution = job.next_for(&offer(other)).expect("the execution");
    assert!(!job.lease(later, (again, execution), &offer(other), 1).is_empty());
    let effects = job.shards(later, (other, again), COMMON, &Program::new(3, 0, 0).shards);
    assert_eq!(strikes(&effects), []);
    let failure = Failure::new(FailureClass::Infrastructure, "missing");
    let lost = [job.task(task).and_then(|task| task.record).expect("a record").sha256];
    let effects = job.task_failed(Millis(7), (PROVER, ATTEMPT), &failure, (&lost, &[]));
    let stopped =
        |effect: &Effect| matches!(effect, Effect::Cancel(worker, ..) if *worker == other);
    assert!(!effects.iter().any(stopped), "the second execution continues: {effects:?}");
    // The next attempt gets the record from there, and its report counts.
    let attempt = LeaseId([6; 16]);
    assert!(!job.lease(later, (attempt, task), &offer(PROVER), 1).is_empty());
    let effects = job.task_failed(Millis(8), (PROVER, attempt), &failure, (&lost, &[]));
    assert!(effects.iter().any(stopped), "its record is lost as well: {effects:?}");
}

#[test]
fn a_task_that_fails_too_often_ends_the_job_for_a_whole_proof() {
    let (mut job, task) = proving();
    let failure = Failure::new(FailureClass::Worker, "no");
    let fails = |job: &mut ShardedJob, worker, lease| {
        job.task_failed(NOW, (worker, lease), &failure, (&[], &[]))
    };
    assert_eq!(strikes(&fails(&mut job, PROVER, ATTEMPT)), [(PROVER, Reason::WorkerFailed)]);
    let again = LeaseId([7; 16]);
    assert_eq!(job.next_for(&offer(EXECUTOR)), Some(task));
    assert!(!job.lease(NOW, (again, task), &offer(EXECUTOR), 1).is_empty());
    let effects = fails(&mut job, EXECUTOR, again);
    assert!(effects.contains(&Effect::End(JobEnd::FallBack(Reason::TooManyAttempts))));
    assert!(job.has_ended());
}

#[test]
fn a_failure_of_the_guest_counts_only_from_the_execution() {
    let failure = Failure::new(FailureClass::Guest, "exit code 1");
    let (mut job, _) = proving();
    let effects = job.task_failed(NOW, (PROVER, ATTEMPT), &failure, (&[], &[]));
    assert_eq!(strikes(&effects), [(PROVER, Reason::WorkerFailed)]);
    let effects = job.task_failed(NOW, (EXECUTOR, EXECUTION), &failure, (&[], &[]));
    assert!(effects.contains(&Effect::End(JobEnd::Failed(failure))));
}

#[test]
fn a_cancelled_job_stops_every_worker() {
    let (mut job, _) = proving();
    let effects = job.cancel();
    let stops = effects.iter().filter(|effect| matches!(effect, Effect::Cancel(..))).count();
    assert_eq!(stops, 2);
    assert!(effects.contains(&Effect::ForgetAll(EXECUTOR)));
    assert_eq!(job.cancel(), []);
}
