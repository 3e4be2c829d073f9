//! Jobs that are proved as tasks: what the rest of the core sees of them.

use hierophant_model::records::{
    Prover, ShardingRecord, TaskRecord, TaskState, UnfinishedJob, UnfinishedSharding,
};
use network_lib::ids::TaskId;
use network_lib::shard::{
    Named, NewShard, Sharding, Source, TaskFromWorker, TaskInput, TaskKind, TaskToWorker, TaskUsage,
};
use shard_plan::{Key, ShardKind, ShardRange};

use super::*;
use crate::proofs::shards::policy::ShardingMode;
use crate::proofs::{Assembly, AssemblyError, TaskBlob};

const COMMON: BlobInfo = BlobInfo { size: 3, sha256: Sha256Digest([0xcc; 32]) };
const VALUES: BlobInfo = BlobInfo { size: 4, sha256: Sha256Digest([0xdd; 32]) };
const EVENTS: BlobInfo = BlobInfo { size: 5, sha256: Sha256Digest([0xee; 32]) };

/// A core that divides every proof it can, with `workers` that take tasks.
pub(super) fn dividing(workers: u8) -> ProofsCore {
    let mut core = core_with(dividing_limits());
    for n in 1..=workers {
        join_with_tasks(&mut core, n, 1, &[]);
    }
    core
}

pub(super) fn dividing_limits() -> Limits {
    let mut limits = limits();
    limits.sharding.mode = ShardingMode::Always;
    limits
}

/// What a worker that takes tasks offers.
pub(super) fn sharding() -> Sharding {
    Sharding {
        engine: "sp1-test".into(),
        kinds: vec![TaskKind::Execute, TaskKind::ProveShard],
        recursion: false,
        prove_slots: 1,
        prefetch: 0,
        max_elements: 1 << 22,
        depot_bytes: 1 << 30,
        depot_port: None,
        depot_fingerprint: None,
    }
}

pub(super) fn join_with_tasks(
    core: &mut ProofsCore,
    n: u8,
    session: u64,
    held: &[LeaseId],
) -> Vec<Effect> {
    let mut joined = arrival(n, session, held);
    joined.capabilities.sharding = Some(sharding());
    core.worker_joined(START, joined)
}

/// The same with other capabilities.
pub(super) fn join_with(
    core: &mut ProofsCore,
    n: u8,
    change: impl FnOnce(&mut Capabilities),
) -> Vec<Effect> {
    let mut joined = arrival(n, 1, &[]);
    joined.capabilities.sharding = Some(sharding());
    change(&mut joined.capabilities);
    core.worker_joined(START, joined)
}

/// The tasks that the effects start: worker, lease and input.
pub(super) fn runs(effects: &[Effect]) -> Vec<(WorkerId, LeaseId, TaskInput)> {
    let runs = effects.iter().filter_map(|effect| match effect {
        Effect::Send(worker, ToWorker::Task(TaskToWorker::Run { lease_id, input, .. })) => {
            Some((*worker, *lease_id, input.clone()))
        }
        _ => None,
    });
    runs.collect()
}

pub(super) fn assembly(effects: &[Effect]) -> Option<Assembly> {
    effects.iter().find_map(|effect| match effect {
        Effect::Assemble(assembly) => Some((**assembly).clone()),
        _ => None,
    })
}

fn record(no: u32) -> BlobInfo {
    let mut digest = [0x10; 32];
    digest[0] = u8::try_from(no).expect("few");
    BlobInfo { size: 10, sha256: Sha256Digest(digest) }
}

pub(super) fn part(no: u32) -> BlobInfo {
    let mut digest = [0x20; 32];
    digest[0] = u8::try_from(no).expect("few");
    BlobInfo { size: 20, sha256: Sha256Digest(digest) }
}

/// Core shard number `no`.
fn shard(no: u32) -> NewShard {
    let clocks = (1 + u64::from(no) * 8, 9 + u64::from(no) * 8);
    let range = ShardRange { timestamp_range: clocks, ..ShardRange::PRECOMPILE };
    let key = Sha256Digest(Key::core("sp1-test", record(no).sha256.0).0);
    NewShard { no, key, kind: ShardKind::Core, range, record: record(no), named: vec![] }
}

pub(super) fn hand_in_blob(
    core: &mut ProofsCore,
    worker: WorkerId,
    lease: LeaseId,
    blob: BlobInfo,
) {
    let permission = core.may_hand_in(lease, worker, blob.sha256).expect("permitted");
    let (counts, _) = core.handed_in(START, (worker, lease), permission.job, blob);
    assert!(counts);
}

/// Lets the execution announce three shards and end.
pub(super) fn execute(core: &mut ProofsCore, worker: WorkerId, lease: LeaseId) -> Vec<Effect> {
    hand_in_blob(core, worker, lease, COMMON);
    let shards = (0..3).map(shard).collect();
    let word = TaskFromWorker::Shards { lease_id: lease, common: COMMON, shards };
    let mut effects = core.task_word(START, worker, word);
    hand_in_blob(core, worker, lease, VALUES);
    let ended = TaskFromWorker::ExecuteEnded {
        lease_id: lease,
        shards: 3,
        execution: execution(),
        public_values: VALUES,
    };
    effects.extend(core.task_word(START, worker, ended));
    effects
}

/// Lets a worker prove the shard that it holds.
pub(super) fn prove(core: &mut ProofsCore, run: &(WorkerId, LeaseId, TaskInput)) -> Vec<Effect> {
    prove_at(core, START, run)
}

/// The same at another time.
pub(super) fn prove_at(
    core: &mut ProofsCore,
    now: Millis,
    run: &(WorkerId, LeaseId, TaskInput),
) -> Vec<Effect> {
    let mut effects = trace(core, now, run);
    let output = hand_in_part(core, run);
    let used = TaskUsage::default();
    let done = TaskFromWorker::TaskDone { lease_id: run.1, output, used };
    effects.extend(core.task_word(now, run.0, done));
    effects
}

/// Lets a worker hand in the precompile events of the shard that it holds.
pub(super) fn trace(
    core: &mut ProofsCore,
    now: Millis,
    (worker, lease, _): &(WorkerId, LeaseId, TaskInput),
) -> Vec<Effect> {
    hand_in_blob(core, *worker, *lease, EVENTS);
    let index = Named { id: format!("{lease}-0"), blob: EVENTS };
    let traced = TaskFromWorker::Traced { lease_id: *lease, deferred: index, named: vec![] };
    core.task_word(now, *worker, traced)
}

/// Lets a worker hand in the proof of the shard that it holds.
pub(super) fn hand_in_part(
    core: &mut ProofsCore,
    (worker, lease, input): &(WorkerId, LeaseId, TaskInput),
) -> BlobInfo {
    let TaskInput::ProveShard { record, .. } = input else { panic!("not a shard: {input:?}") };
    let output = part(u32::from(record.info.sha256.0[0]));
    hand_in_blob(core, *worker, *lease, output);
    output
}

/// Submits a request and executes it. Returns the shards that run.
pub(super) fn executed(core: &mut ProofsCore) -> Vec<(WorkerId, LeaseId, TaskInput)> {
    executed_of(core, new_request(1, 1))
}

/// The same for another request.
pub(super) fn executed_of(
    core: &mut ProofsCore,
    request: NewRequest,
) -> Vec<(WorkerId, LeaseId, TaskInput)> {
    let (_, effects) = core.submit(START, request, StoreLookup::default());
    let [(executor, lease, TaskInput::Execute { .. })] = &runs(&effects)[..] else {
        panic!("no execution: {effects:?}");
    };
    runs(&execute(core, *executor, *lease))
}

/// Proves shards until the parts are complete.
pub(super) fn all_proved(
    core: &mut ProofsCore,
    mut running: Vec<(WorkerId, LeaseId, TaskInput)>,
) -> Assembly {
    while let Some(next) = running.pop() {
        let effects = prove(core, &next);
        running.extend(runs(&effects));
        if let Some(assembly) = assembly(&effects) {
            assert!(running.is_empty());
            return assembly;
        }
    }
    panic!("no assembly");
}

pub(super) fn check_ends(core: &mut ProofsCore, assembly: &Assembly) -> Vec<Effect> {
    let effects = core.assembled(START, assembly.lease, Ok((ArtifactId([5; 16]), proof_blob())));
    let check = effects.iter().find(|effect| matches!(effect, Effect::Check { .. }));
    assert!(check.is_some(), "{effects:?}");
    core.checked(START, assembly.lease, Ok(()))
}

#[test]
fn a_proof_of_two_workers_is_assembled_checked_and_ends_once() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let workers: BTreeSet<_> = running.iter().map(|(worker, ..)| *worker).collect();
    assert_eq!(workers, [worker(1), worker(2)].into());
    let assembly = all_proved(&mut core, running);
    assert_eq!(assembly.parts, [part(0), part(1), part(2)]);
    assert_eq!(assembly.public_values, VALUES);
    let effects = check_ends(&mut core, &assembly);
    assert_eq!(job_state(&effects), Some(JobState::Proved));
    assert_eq!(request_state(&effects, 1), Some(RequestState::Fulfilled));
    assert!(effects.contains(&Effect::Save(Change::ShardingEnded(assembly.job, START))));
    assert!(effects.contains(&Effect::FreeTaskBlobs(assembly.job)));
    assert!(core.divisions.jobs.is_empty() && core.divisions.attempts.is_empty());
    assert!(core.leases.is_empty() && core.jobs.is_empty());
    assert!(core.workers.values().all(Worker::is_idle));
}

#[test]
fn a_record_of_another_worker_is_requested_when_its_task_is_leased() {
    let mut core = dividing(2);
    let effects = submit(&mut core, 1, 1);
    let [(executor, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("the execution");
    let effects = execute(&mut core, executor, lease);
    let running = runs(&effects);
    let far = running.iter().find(|(worker, ..)| *worker != executor).expect("another worker");
    let TaskInput::ProveShard { record, common, defers, .. } = &far.2 else { panic!("{far:?}") };
    assert_eq!(
        (&record.from[..], &common.from[..]),
        (&[Source::Hierophant][..], &[Source::Hierophant][..])
    );
    assert!(*defers);
    let provide = TaskToWorker::Provide { lease_id: far.1, blob: record.info.sha256 };
    assert!(effects.contains(&Effect::Send(executor, ToWorker::Task(provide))));
    let job = *core.jobs.keys().next().expect("one");
    let blob = record.info.sha256;
    assert_eq!(core.task_blob(far.1, far.0, blob), TaskBlob::Expected { job });
    assert_eq!(core.task_blob(far.1, executor, blob), TaskBlob::Refused);
    hand_in_blob(&mut core, executor, far.1, record.info);
    let readable = TaskBlob::Readable { job, size: record.info.size };
    assert_eq!(core.task_blob(far.1, far.0, blob), readable);
    let near = running.iter().find(|(worker, ..)| *worker == executor).expect("its own shard");
    let TaskInput::ProveShard { record, .. } = &near.2 else { panic!("{near:?}") };
    assert_eq!(record.from, [Source::Own, Source::Hierophant]);
    assert!(core.may_hand_in(far.1, worker(9), blob).is_none());
}

#[test]
fn a_worker_with_tasks_gets_no_whole_proof_and_one_with_a_proof_no_task() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let mut small = new_request(2, 2);
    small.spec.mode = ProofMode::Compressed;
    for n in [1, 2] {
        let mut joined = capabilities(vec![ProofMode::Core, ProofMode::Compressed]);
        joined.sharding = Some(sharding());
        let _ = core.capabilities_changed(START, worker(n), SessionId(1), joined);
    }
    let (_, effects) = core.submit(START, small, StoreLookup::default());
    assert_eq!(given_out(&effects), None, "both have tasks");
    let assembly = all_proved(&mut core, running);
    // Its slot is free once the tasks are done, before the check.
    let (holder, whole) = core
        .leases
        .values()
        .find(|held| !held.attempt.prover.is_fleet())
        .map(|held| (held.attempt.prover.worker, held.attempt.lease))
        .expect("the whole proof has begun");
    let _ = check_ends(&mut core, &assembly);
    let running = runs(&submit(&mut core, 3, 3));
    assert!(running.iter().all(|(worker, ..)| *worker != holder), "{running:?}");
    let _ = core.failed(START, holder, whole, failure(FailureClass::Guest));
    assert!(core.workers.get(&holder).is_some_and(|worker| worker.leases.is_empty()));
}

#[test]
fn a_cancelled_request_stops_all_tasks_and_frees_all_bytes() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let job = *core.jobs.keys().next().expect("one");
    let (answer, effects) = core.command(START, &Command::CancelRequest(RequestId([1; 32])));
    assert!(answer.is_ok());
    let stopped = cancels(&effects);
    assert!(running.iter().all(|(_, lease, _)| stopped.contains(lease)));
    assert!(effects.contains(&Effect::FreeTaskBlobs(job)));
    assert!(core.divisions.jobs.is_empty() && core.divisions.attempts.is_empty());
    assert!(core.workers.values().all(Worker::has_tasks), "until they have stopped");
    for n in [1, 2] {
        let _ = core.held_leases(START, worker(n), SessionId(1), &[]);
    }
    assert!(core.workers.values().all(Worker::is_idle));
}

#[test]
fn a_lost_worker_loses_its_tasks_to_the_other_and_nothing_that_is_done() {
    let mut core = dividing(2);
    let mut running = executed(&mut core);
    let of_one = running.iter().position(|(id, ..)| *id == worker(1)).expect("one");
    let first = running.remove(of_one);
    let mut effects = prove(&mut core, &first);
    effects.extend(core.worker_removed(START, worker(1), SessionId(1), "it is gone"));
    // Its records are lost with it: the program is executed again by the other.
    let again = runs(&effects);
    let executes = again.iter().find(|(_, _, input)| matches!(input, TaskInput::Execute { .. }));
    let (id, lease, _) = executes.expect("executed again");
    assert_eq!(*id, worker(2));
    hand_in_blob(&mut core, *id, *lease, COMMON);
    let shards = (0..3).map(shard).collect();
    let word = TaskFromWorker::Shards { lease_id: *lease, common: COMMON, shards };
    let effects = core.task_word(START, *id, word);
    let done = core.divisions.jobs.values().next().expect("one").tasks.shards_done();
    assert_eq!(done, (1, 3));
    running.extend(runs(&effects));
    hand_in_blob(&mut core, *id, *lease, VALUES);
    let ended = TaskFromWorker::ExecuteEnded {
        lease_id: *lease,
        shards: 3,
        execution: execution(),
        public_values: VALUES,
    };
    running.extend(runs(&core.task_word(START, *id, ended)));
    let assembly = all_proved(&mut core, running);
    assert_eq!(assembly.parts, [part(0), part(1), part(2)]);
}

#[test]
fn tasks_that_fail_too_often_leave_a_whole_proof() {
    let mut core = dividing(3);
    let mut running = executed(&mut core);
    let mut effects = Vec::new();
    while core.divisions.jobs.len() == 1 {
        let (id, lease_id, _) = running.remove(0);
        let word = TaskFromWorker::TaskFailed {
            lease_id,
            failure: failure(FailureClass::Worker),
            lost: vec![],
            suspect: vec![],
        };
        effects = core.task_word(START, id, word);
        running.extend(runs(&effects));
        let _ = core.held_leases(START, id, SessionId(1), &[]);
    }
    let job = core.jobs.values().next().expect("it continues");
    assert!(job.is_whole);
    for (id, ..) in running {
        effects.extend(core.held_leases(START, id, SessionId(1), &[]));
    }
    let strikes = core.stats.values().map(|stats| stats.strikes.len()).sum::<usize>();
    assert!(strikes >= 3, "{strikes}");
}

/// A worker fails a task. Returns the tasks that begin.
pub(super) fn worker_fails(
    core: &mut ProofsCore,
    (id, lease_id, _): &(WorkerId, LeaseId, TaskInput),
    failure: Failure,
) -> Vec<(WorkerId, LeaseId, TaskInput)> {
    let lease_id = *lease_id;
    let word = TaskFromWorker::TaskFailed { lease_id, failure, lost: vec![], suspect: vec![] };
    runs(&core.task_word(START, *id, word))
}

#[test]
fn a_failed_task_waits_for_a_busy_worker_and_returns_to_the_first_only_if_that_leaves() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let (busy, failing) = (running[0].0, &running[1]);
    let task = core.divisions.attempts[&failing.1].task;
    let fails =
        |core: &mut ProofsCore, run: &_| worker_fails(core, run, failure(FailureClass::Worker));
    let [second] = <[_; 1]>::try_from(fails(&mut core, failing)).expect("the third shard");
    assert_eq!(second.0, failing.0);
    assert_ne!(core.divisions.attempts[&second.1].task, task, "the same task again");
    assert_eq!(fails(&mut core, &second), [], "the other worker has not tried them");
    let again = runs(&core.worker_removed(START, busy, SessionId(1), "gone"));
    let [third] = <[_; 1]>::try_from(again).expect("a shard");
    assert_eq!(third.0, failing.0);
    assert_eq!(core.divisions.jobs.len(), 1, "it is still proved as tasks");
}

#[test]
fn a_guest_that_fails_ends_the_job() {
    let mut core = dividing(2);
    let effects = submit(&mut core, 1, 1);
    let [(id, lease_id, _)] = <[_; 1]>::try_from(runs(&effects)).expect("the execution");
    let word = TaskFromWorker::TaskFailed {
        lease_id,
        failure: failure(FailureClass::Guest),
        lost: vec![],
        suspect: vec![],
    };
    let effects = core.task_word(START, id, word);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Unexecutable));
    assert!(core.jobs.is_empty() && core.divisions.jobs.is_empty());
}

#[test]
fn a_fleet_of_one_proves_whole_proofs() {
    let mut limits = limits();
    limits.sharding.mode = ShardingMode::Auto;
    let mut core = core_with(limits);
    let _ = join_with_tasks(&mut core, 1, 1, &[]);
    let mut long = new_request(1, 1);
    long.spec.cycle_limit = 1_000_000;
    let (_, effects) = core.submit(START, long.clone(), StoreLookup::default());
    assert_eq!(given_out(&effects).map(|(id, _)| id), Some(worker(1)));
    // Two idle machines share the next one, but not a short one.
    for n in [2, 3] {
        let _ = join_with_tasks(&mut core, n, 1, &[]);
    }
    let mut short = new_request(2, 2);
    short.spec.cycle_limit = 5;
    let (_, effects) = core.submit(START, short, StoreLookup::default());
    assert!(given_out(&effects).is_some() && runs(&effects).is_empty());
    let _ = join_with_tasks(&mut core, 4, 1, &[]);
    long.id = RequestId([3; 32]);
    long.stdin = ArtifactId([3; 16]);
    long.stdin_blob.sha256 = Sha256Digest([3; 32]);
    let (_, effects) = core.submit(START, long, StoreLookup::default());
    assert_eq!(runs(&effects).len(), 1, "{effects:?}");
}

/// What the effects have stored.
#[derive(Default)]
pub(super) struct Rows {
    jobs: BTreeMap<JobId, JobRecord>,
    requests: BTreeMap<RequestId, RequestRecord>,
    attempts: BTreeMap<LeaseId, AttemptRecord>,
    shardings: BTreeMap<JobId, ShardingRecord>,
    tasks: BTreeMap<TaskId, TaskRecord>,
}

impl Rows {
    pub(super) fn store(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Save(Change::Job(job)) => drop(self.jobs.insert(job.id, job.clone())),
                Effect::Save(Change::Request(request, _)) => {
                    drop(self.requests.insert(request.id, request.clone()));
                }
                Effect::Save(Change::Attempt(attempt)) => {
                    drop(self.attempts.insert(attempt.lease, attempt.clone()));
                }
                Effect::Save(Change::Sharding(sharding)) => {
                    drop(self.shardings.insert(sharding.job, sharding.clone()));
                }
                Effect::Save(Change::Task(task)) => drop(self.tasks.insert(task.id, task.clone())),
                _ => {}
            }
        }
    }

    pub(super) fn restored(&self, stored: &[BlobInfo]) -> RestoredState {
        let unfinished = self.jobs.values().map(|job| UnfinishedJob {
            job: job.clone(),
            requests: self.requests.values().cloned().collect(),
            attempts: self.attempts.values().cloned().collect(),
        });
        let stored: Vec<_> = stored.iter().map(|blob| blob.sha256).collect();
        let shardings = self.shardings.values().map(|sharding| {
            let (sharding, tasks) = (sharding.clone(), self.tasks.values().cloned().collect());
            (UnfinishedSharding { sharding, tasks }, stored.clone())
        });
        RestoredState {
            unfinished: unfinished.collect(),
            shardings: shardings.collect(),
            ..RestoredState::default()
        }
    }
}

#[test]
fn after_a_restart_tasks_go_on_and_what_is_done_stays_done() {
    let (mut core, mut rows) = (dividing(2), Rows::default());
    let effects = submit(&mut core, 1, 1);
    rows.store(&effects);
    let [(executor, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("the execution");
    let effects = execute(&mut core, executor, lease);
    rows.store(&effects);
    let running = runs(&effects);
    let (first, second) = (&running[0], &running[1]);
    let effects = prove(&mut core, first);
    rows.store(&effects);
    let third = runs(&effects).pop().expect("the third shard");

    let stored = rows.restored(&[COMMON, VALUES, EVENTS, part(0), part(1), part(2)]);
    let (mut core, effects) =
        ProofsCore::restore(START, dividing_limits(), IdSource::counting_from(1_000), stored);
    assert_eq!(runs(&effects), []);
    assert_eq!(core.divisions.attempts.len(), 2);
    for (id, lease, _) in [second, &third] {
        let n = id.0[0];
        let effects = join_with_tasks(&mut core, n, 2, &[*lease]);
        assert_eq!(resumed(&effects), Some(vec![*lease]));
    }
    let left = vec![second.clone(), third];
    let assembly = all_proved(&mut core, left);
    assert_eq!(assembly.parts, [part(0), part(1), part(2)]);
    let effects = check_ends(&mut core, &assembly);
    assert_eq!(job_state(&effects), Some(JobState::Proved));
    let execution = rows.attempts.values().find(|it| it.prover.worker == Prover::FLEET);
    assert_eq!(execution.and_then(|it| it.execution), Some(self::execution()));
}

#[test]
fn a_part_that_a_restart_misses_is_made_again() {
    let (mut core, mut rows) = (dividing(1), Rows::default());
    let effects = submit(&mut core, 1, 1);
    rows.store(&effects);
    let [(executor, lease, _)] = <[_; 1]>::try_from(runs(&effects)).expect("the execution");
    let mut effects = execute(&mut core, executor, lease);
    rows.store(&effects);
    while let Some(next) = runs(&effects).pop() {
        effects = prove(&mut core, &next);
        rows.store(&effects);
    }
    assert!(assembly(&effects).is_some());
    let complete = rows.restored(&[COMMON, VALUES, EVENTS, part(0), part(1), part(2)]);
    let limits = dividing_limits();
    let (_, effects) =
        ProofsCore::restore(START, limits.clone(), IdSource::counting_from(1_000), complete);
    assert_eq!(assembly(&effects).map(|it| it.parts), Some(vec![part(0), part(1), part(2)]));
    let damaged = rows.restored(&[COMMON, VALUES, EVENTS, part(0), part(2)]);
    let (core, effects) =
        ProofsCore::restore(START, limits, IdSource::counting_from(1_000), damaged);
    assert_eq!(assembly(&effects), None);
    let tasks = &core.divisions.jobs.values().next().expect("one").tasks;
    let waiting = tasks.tasks().filter(|task| task.state == TaskState::Waiting);
    assert_eq!(waiting.map(|task| task.record).collect::<Vec<_>>(), [Some(record(1))]);
}

#[test]
fn a_part_that_is_lost_before_the_assembly_is_made_again_and_no_other() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let first = all_proved(&mut core, running);
    let lost = Err(AssemblyError::Lost(part(1).sha256));
    let again = runs(&core.assembled(START, first.lease, lost));
    let [(executor, lease, TaskInput::Execute { .. })] = &again[..] else {
        panic!("no execution: {again:?}");
    };
    let running = runs(&execute(&mut core, *executor, *lease));
    assert_eq!(running.len(), 1, "{running:?}");
    let second = all_proved(&mut core, running);
    assert_eq!(second, first);
    let effects = check_ends(&mut core, &second);
    assert_eq!(job_state(&effects), Some(JobState::Proved));
}

#[test]
fn a_proof_that_cannot_be_assembled_for_a_while_is_assembled_later() {
    let mut core = dividing(2);
    let running = executed(&mut core);
    let first = all_proved(&mut core, running);
    let effects = core.assembled(START, first.lease, Err(AssemblyError::Unavailable));
    assert_eq!(effects, []);
    let after = |seconds: i64| Millis(START.0 + 1_000 * seconds);
    assert_eq!(assembly(&core.sweep(after(9))), None);
    assert_eq!(assembly(&core.sweep(after(10))), Some(first.clone()));
    assert_eq!(assembly(&core.sweep(after(30))), None, "it is being assembled");
    let effects = check_ends(&mut core, &first);
    assert_eq!(job_state(&effects), Some(JobState::Proved));
}

#[test]
fn one_attempt_hands_in_no_more_than_the_limit_and_a_record_no_more_than_its_size() {
    let mut limits = dividing_limits();
    limits.sharding.max_blob_bytes = 12;
    let mut core = core_with(limits);
    for n in 1..=2 {
        let _ = join_with_tasks(&mut core, n, 1, &[]);
    }
    let running = executed(&mut core);
    let (id, lease, input) = running.iter().find(|(id, ..)| *id == worker(2)).expect("a shard");
    let most = |core: &ProofsCore, by, blob: BlobInfo| {
        core.may_hand_in(*lease, by, blob.sha256).map(|permission| permission.most_bytes)
    };
    assert_eq!(most(&core, *id, EVENTS), Some(12));
    hand_in_blob(&mut core, *id, *lease, EVENTS);
    assert_eq!(most(&core, *id, part(0)), Some(7), "of 12 bytes 5 are used");
    assert_eq!(most(&core, *id, EVENTS), Some(12), "a repetition");
    let TaskInput::ProveShard { record, .. } = input else { panic!("{input:?}") };
    assert_eq!(most(&core, worker(1), record.info), Some(10));
    assert_eq!(most(&core, worker(1), EVENTS), None);
}

#[test]
fn a_worker_that_takes_only_tiny_shards_does_not_shape_the_proofs_of_others() {
    let mut core = dividing(2);
    let mut tiny = arrival(3, 1, &[]);
    tiny.capabilities.sharding = Some(Sharding { max_elements: 1, ..sharding() });
    let _ = core.worker_joined(START, tiny);
    let [(id, _, TaskInput::Execute { max_elements, .. })] = &runs(&submit(&mut core, 1, 1))[..]
    else {
        panic!("no execution");
    };
    assert_ne!(*id, worker(3));
    assert_eq!(*max_elements, 1 << 22);
}
