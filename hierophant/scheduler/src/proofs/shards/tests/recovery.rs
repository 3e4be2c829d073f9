//! What is made again, one case at a time.

use hierophant_model::records::TaskState;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};

use super::super::{Effect, JobEnd};
use super::fleet::{Program, events, info};
use super::refusals::{
    ATTEMPT, COMMON, EXECUTION, EXECUTOR, NOW, PROVER, announce, executing, offer,
};

#[test]
fn a_part_that_is_lost_after_the_end_is_made_again_although_the_end_has_stopped_an_execution() {
    let (again, retry) = (LeaseId([7; 16]), LeaseId([6; 16]));
    let (program, values, output) = (Program::new(1, 0, 0), info(b'p', 0), info(b'o', 0));
    let mut job = executing();
    let _ = announce(&mut job, &program.shards);
    assert_eq!(job.handed_in(EXECUTION, values), []);
    let _ = job.execute_ended(NOW, (EXECUTOR, EXECUTION), 1, values);

    // The shard's record is lost, and a second execution makes it.
    let shard = job.next_for(&offer(PROVER)).expect("the shard");
    assert!(!job.lease(NOW, (ATTEMPT, shard), &offer(PROVER), 1).is_empty());
    let failure = Failure::new(FailureClass::Infrastructure, "missing");
    let lost = [program.shards[0].record.sha256];
    let _ = job.task_failed(NOW, (PROVER, ATTEMPT), &failure, (&lost, &[]));
    let execution = job.next_for(&offer(EXECUTOR)).expect("the execution");
    assert!(!job.lease(NOW, (again, execution), &offer(EXECUTOR), 1).is_empty());
    let _ = job.shards(NOW, (EXECUTOR, again), COMMON, &program.shards);

    // The shard is done before that execution has ended, and is the last one.
    assert!(!job.lease(NOW, (retry, shard), &offer(PROVER), 1).is_empty());
    for blob in events(0).blobs().chain([&output]) {
        assert_eq!(job.handed_in(retry, *blob), []);
    }
    let _ = job.traced(NOW, (PROVER, retry), events(0));
    let effects = job.task_done(NOW, (PROVER, retry), output);
    let is_end = |effect: &Effect| matches!(effect, Effect::End(JobEnd::Finished { .. }));
    assert!(effects.iter().any(is_end), "{effects:?}");
    assert_eq!(job.task(execution).map(|task| task.state), Some(TaskState::Obsolete));

    let _ = job.part_lost(NOW, output.sha256).expect("the rows fit");
    assert_eq!(job.next_for(&offer(EXECUTOR)), Some(execution));
}

#[test]
fn lost_public_values_are_made_again_by_an_execution_alone() {
    let again = LeaseId([7; 16]);
    let (program, values, output) = (Program::new(1, 0, 0), info(b'p', 0), info(b'o', 0));
    let mut job = executing();
    let _ = announce(&mut job, &program.shards);
    let shard = job.next_for(&offer(PROVER)).expect("the shard");
    assert!(!job.lease(NOW, (ATTEMPT, shard), &offer(PROVER), 1).is_empty());
    for blob in events(0).blobs().chain([&output]) {
        assert_eq!(job.handed_in(ATTEMPT, *blob), []);
    }
    let _ = job.traced(NOW, (PROVER, ATTEMPT), events(0));
    let _ = job.task_done(NOW, (PROVER, ATTEMPT), output);
    assert_eq!(job.handed_in(EXECUTION, values), []);
    let effects = job.execute_ended(NOW, (EXECUTOR, EXECUTION), 1, values);
    let is_end = |effect: &Effect| matches!(effect, Effect::End(JobEnd::Finished { .. }));
    assert!(effects.iter().any(is_end), "{effects:?}");

    let effects = job.part_lost(NOW, values.sha256).expect("the rows fit");
    assert!(!effects.iter().any(is_end), "{effects:?}");
    let execution = job.next_for(&offer(EXECUTOR)).expect("the execution");
    assert!(!job.lease(NOW, (again, execution), &offer(EXECUTOR), 1).is_empty());
    let _ = job.shards(NOW, (EXECUTOR, again), COMMON, &program.shards);
    assert_eq!(job.next_for(&offer(PROVER)), None, "the shard is done");
    assert_eq!(job.handed_in(again, values), []);
    let effects = job.execute_ended(NOW, (EXECUTOR, again), 1, values);
    assert!(effects.iter().any(is_end), "{effects:?}");
}
