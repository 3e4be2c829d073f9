//! Divisions of jobs into tasks, in each store.

use std::time::Duration;

use hierophant::history::{Deleted, History, Rules};
use hierophant_model::records::{
    AttemptRecord, AttemptTask, Change, DeferredEvents, JobRecord, JobState, Millis,
    ShardingRecord, TaskRecord, TaskState, UnfinishedSharding,
};
use hierophant_store::{JobStore, TaskCounts, TriedTask};
use network_lib::ids::{JobId, TaskId, WorkerId};
use network_lib::job::{FailureClass, ProofMode};
use network_lib::shard::{Named, TaskKind};
use shard_plan::{Key, ShardKind, ShardRange};

use super::Place;
use super::records::{attempt, blob, bytes, full_job, job};

const DAY: i64 = 24 * 3600 * 1000;

pub(crate) fn sharding(job: JobId) -> ShardingRecord {
    ShardingRecord {
        job,
        mode: ProofMode::Compressed,
        engine: "sp1-6.10.0 native".into(),
        max_elements: 1 << 28,
        common: None,
        public_values: None,
        executed_at: None,
        restarts: 0,
        created_at: Millis(1),
    }
}

/// An execution that waits.
pub(crate) fn task(number: u32, job: JobId) -> TaskRecord {
    let (id, key) = (TaskId(bytes(17, number)), Key(bytes(18, number)));
    TaskRecord::new(id, job, key, TaskKind::Execute, Millis(2))
}

/// A task with every field filled.
fn full_task(number: u32, job: JobId) -> TaskRecord {
    let named = |number: u32| Named { id: format!("artifact «{number}»"), blob: blob(number) };
    TaskRecord {
        kind: TaskKind::ProveShard,
        shard: Some(ShardKind::Core),
        range: Some(ShardRange { timestamp_range: (1, u64::MAX), ..ShardRange::deferred(2, 3) }),
        record: Some(blob(1)),
        named: vec![named(2), named(3)],
        children: vec![TaskId([1; 16]), TaskId([2; 16])],
        complete: true,
        state: TaskState::Done,
        output: Some(blob(4)),
        deferred: Some(DeferredEvents { index: named(5), events: vec![named(6), named(7)] }),
        failures: u32::MAX,
        maker: Some(WorkerId([9; 16])),
        ended_at: Some(Millis(3)),
        ..task(number, job)
    }
}

async fn commit(store: &dyn JobStore, changes: &[Change]) {
    store.commit(changes).await.expect("commits");
}

async fn unfinished(store: &dyn JobStore) -> Vec<UnfinishedSharding> {
    store.unfinished_shardings().await.expect("reads")
}

pub(crate) async fn tasks_read_back_as_they_were_written(place: Place) {
    let store = place.open().await;
    let proving = job(1, JobState::Proving);
    let bare = sharding(proving.id);
    let full = ShardingRecord {
        common: Some(blob(9)),
        public_values: Some(blob(8)),
        executed_at: Some(Millis(4)),
        restarts: 2,
        max_elements: u64::MAX,
        ..bare.clone()
    };
    let (first, second) = (task(1, proving.id), full_task(2, proving.id));
    let changes = [
        Change::Job(proving.clone()),
        Change::Sharding(bare.clone()),
        Change::Task(second.clone()),
        Change::Task(first.clone()),
    ];
    commit(&*store, &changes).await;
    let tasks = vec![first.clone(), second.clone()];
    assert_eq!(unfinished(&*store).await, [UnfinishedSharding { sharding: bare, tasks }]);
    // Every field but a task's job and key may change.
    let (now_full, now_bare) = (full_task(1, proving.id), task(2, proving.id));
    let changes = [
        Change::Sharding(full.clone()),
        Change::Task(now_full.clone()),
        Change::Task(now_bare.clone()),
    ];
    commit(&*store, &changes).await;
    store.close().await;
    let store = place.open().await;
    let tasks = vec![now_full, now_bare];
    assert_eq!(unfinished(&*store).await, [UnfinishedSharding { sharding: full, tasks }]);
}

pub(crate) async fn only_divisions_that_go_on_are_loaded_at_a_start(place: Place) {
    let store = place.open().await;
    let (divided, whole, alone) =
        (job(1, JobState::Proving), job(2, JobState::Queued), job(3, JobState::Queued));
    let proved = full_job(4);
    let mut changes =
        [&divided, &whole, &alone, &proved].map(|job| Change::Job(job.clone())).to_vec();
    for (number, job) in (1..).zip([&divided, &whole, &proved]) {
        changes.push(Change::Sharding(sharding(job.id)));
        changes.push(Change::Task(task(number, job.id)));
    }
    // One job is proved as a whole after all.
    changes.push(Change::ShardingEnded(whole.id, Millis(5)));
    commit(&*store, &changes).await;
    let loaded = unfinished(&*store).await;
    let jobs: Vec<JobId> = loaded.iter().map(|found| found.sharding.job).collect();
    assert_eq!(jobs, [divided.id]);
    assert_eq!(loaded[0].tasks, [task(1, divided.id)]);
}

pub(crate) async fn a_job_is_divided_again_without_its_earlier_tasks(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let first = [
        Change::Job(queued.clone()),
        Change::Sharding(sharding(queued.id)),
        Change::Task(task(1, queued.id)),
        Change::Task(task(2, queued.id)),
        Change::ShardingEnded(queued.id, Millis(5)),
    ];
    commit(&*store, &first).await;
    assert_eq!(unfinished(&*store).await, []);
    // The new task has the key of an earlier one.
    let again = TaskRecord { id: TaskId([3; 16]), ..task(2, queued.id) };
    let second = [
        Change::TasksRemoved(queued.id),
        Change::Sharding(sharding(queued.id)),
        Change::Task(again.clone()),
    ];
    commit(&*store, &second).await;
    let loaded = unfinished(&*store).await;
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].tasks, [again]);
}

pub(crate) async fn no_two_tasks_of_a_job_have_the_same_key(place: Place) {
    let store = place.open().await;
    let (one, other) = (job(1, JobState::Proving), job(2, JobState::Proving));
    let of = |number, job| TaskRecord { key: Key([1; 32]), ..task(number, job) };
    let changes = [
        Change::Job(one.clone()),
        Change::Job(other.clone()),
        Change::Task(of(1, one.id)),
        Change::Task(of(2, other.id)),
    ];
    commit(&*store, &changes).await;
    store.commit(&[Change::Task(of(3, one.id))]).await.expect_err("the key is taken");
}

pub(crate) async fn old_tasks_are_deleted_by_the_end_of_their_division(place: Place) {
    const NOW: i64 = 100 * DAY;
    let store = place.open().await;
    // More than one transaction deletes; the last two are recent, and one remains.
    let jobs: Vec<_> = (0..48).map(|number| job(number, JobState::Proving)).collect();
    let mut changes = Vec::new();
    for (number, job) in (0..).zip(&jobs) {
        changes.push(Change::Job(job.clone()));
        changes.push(Change::Sharding(sharding(job.id)));
        changes.extend((0..3).map(|part| Change::Task(task(number * 3 + part, job.id))));
        let age = if number < 45 { 8 } else { 6 };
        if number < 47 {
            changes.push(Change::ShardingEnded(job.id, Millis(NOW - age * DAY)));
        }
    }
    commit(&*store, &changes).await;
    let rules = Rules { records: None, audit: Duration::from_secs(1), archive: None };
    let history = History::new(store.clone(), rules);
    let deleted = history.run(Millis(NOW)).await.expect("runs");
    assert_eq!(deleted, Deleted { divisions: 45, ..Deleted::default() });
    assert_eq!(history.run(Millis(NOW)).await.expect("runs"), Deleted::default());
    // A division that begins under the same keys finds no earlier task of the deleted ones.
    for (number, is_left) in [(0, false), (45, true)] {
        let job = &jobs[number as usize];
        let id = TaskId(bytes(19, number));
        let again = TaskRecord { id, ..task(number * 3, job.id) };
        let is_taken = store.commit(&[Change::Task(again)]).await.is_err();
        assert_eq!(is_taken, is_left, "{job:?}");
    }
    assert_eq!(unfinished(&*store).await[0].tasks.len(), 3);
}

/// Attempt `number` at a task.
fn attempt_at(number: u32, task: &TaskRecord, of: &JobRecord) -> AttemptRecord {
    AttemptRecord {
        task: Some(AttemptTask { id: task.id, kind: task.kind }),
        started_at: Millis(i64::from(number) * 10),
        ended_at: Some(Millis(i64::from(number) * 10 + 5)),
        proof: None,
        ..attempt(number, of)
    }
}

pub(crate) async fn tasks_are_listed_with_their_latest_attempts(place: Place) {
    let store = place.open().await;
    let (divided, other) = (job(1, JobState::Proving), job(2, JobState::Proving));
    let execution = TaskRecord { created_at: Millis(1), ..task(1, divided.id) };
    let shard = full_task(2, divided.id);
    let unneeded =
        TaskRecord { state: TaskState::Obsolete, created_at: Millis(3), ..task(3, divided.id) };
    let elsewhere = task(4, other.id);
    let whole = attempt(10, &divided);
    let tried: Vec<_> = [1, 3, 2].map(|number| attempt_at(number, &shard, &divided)).into();
    let mut changes = vec![
        Change::Job(divided.clone()),
        Change::Job(other.clone()),
        Change::Sharding(sharding(divided.id)),
        Change::Sharding(sharding(other.id)),
        Change::ShardingEnded(divided.id, Millis(9)),
        Change::Attempt(whole.clone()),
        Change::Attempt(attempt_at(11, &elsewhere, &other)),
    ];
    changes.extend([&execution, &shard, &unneeded, &elsewhere].map(|it| Change::Task(it.clone())));
    changes.extend(tried.iter().cloned().map(Change::Attempt));
    commit(&*store, &changes).await;

    let listed = |limit| store.divided_job(divided.id, limit);
    let found = listed(100).await.expect("reads").expect("is divided");
    assert_eq!((found.sharding, found.ended_at), (sharding(divided.id), Some(Millis(9))));
    let untried = |task: &TaskRecord| TriedTask { task: task.clone(), attempts: 0, latest: None };
    let latest = Some(tried[1].clone());
    let shards = TriedTask { task: shard.clone(), attempts: 3, latest };
    assert_eq!(found.tasks, [untried(&execution), shards.clone(), untried(&unneeded)]);
    let few = listed(2).await.expect("reads").expect("is divided");
    assert_eq!(few.tasks, [untried(&execution), shards]);
    assert_eq!(store.divided_job(JobId([9; 16]), 100).await.expect("reads"), None);

    let counts = async |job| store.task_counts(job).await.expect("reads");
    assert_eq!(counts(divided.id).await, TaskCounts { done: 1, all: 2, workers: 1 });
    assert_eq!(counts(JobId([9; 16])).await, TaskCounts::default());
}

pub(crate) async fn attempts_at_tasks_count_for_their_workers_and_not_as_attempts_at_the_job(
    place: Place,
) {
    let store = place.open().await;
    let divided = job(1, JobState::Proving);
    let (whole, shard) = (attempt(1, &divided), full_task(2, divided.id));
    let failed = AttemptRecord {
        failure_class: Some(FailureClass::Worker),
        ended_at: Some(Millis(25)),
        ..attempt_at(2, &shard, &divided)
    };
    let worker = failed.prover.worker;
    let changes = [
        Change::Job(divided.clone()),
        Change::Attempt(whole.clone()),
        Change::Attempt(failed.clone()),
    ];
    commit(&*store, &changes).await;
    assert_eq!(store.attempts(divided.id).await.expect("reads"), std::slice::from_ref(&whole));
    let of_worker = store.attempts_of(worker, 10).await.expect("reads");
    assert!(of_worker.contains(&failed), "{of_worker:?}");
    assert_eq!(of_worker.len(), 2);
    let archived = store.attempts_of_jobs(&[divided.id], 10).await.expect("reads");
    assert_eq!(archived.len(), 2);
    let strikes = store.strikes(Millis(20), Millis(30)).await.expect("reads");
    assert_eq!(strikes, [(worker, Millis(25))]);
}
