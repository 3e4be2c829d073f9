//! Tasks above the shards.

use contemplant::executor::tasks::{JoinFailure, JoinInputs, TaskProof};
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{Failure, FailureClass};
use network_lib::shard::{RangedBlob, TaskFromWorker, TaskInput};
use shard_plan::ShardRange;

use super::{COMMON, PROOF, run};
use crate::fake_hierophant::{Connection, FakeHierophant, blob_info};
use crate::fake_tasks::JoinCall;
use crate::setup::Setup;

const CHILDREN: [&[u8]; 2] = [b"the first proof", b"the second proof"];

const RANGES: [ShardRange; 2] = [ShardRange::deferred(0, 1), ShardRange::deferred(1, 2)];

/// A reduce of two proofs, whose inputs are in place.
fn reduce(hierophant: &FakeHierophant) -> (LeaseId, TaskInput) {
    let lease = LeaseId::random();
    let blob = |bytes: &[u8]| hierophant.serve_blob(lease, bytes, &[]);
    let child = |(range, bytes)| RangedBlob { range, blob: blob(bytes) };
    let children = RANGES.into_iter().zip(CHILDREN).map(child).collect();
    let (common, range) = (blob(COMMON), ShardRange::deferred(0, 2));
    (lease, TaskInput::Reduce { common, complete: true, range, children })
}

/// Takes the reduce to the point where the prover works on it.
async fn begin(setup: &mut Setup, connection: &Connection) -> (LeaseId, JoinCall) {
    let (lease, input) = reduce(&setup.hierophant);
    connection.say(&run(lease, input));
    (lease, setup.executor.tasks.next_join().await)
}

/// The next failure, which is that of this attempt: lost and suspect inputs.
async fn failed(
    connection: &mut Connection,
    lease: LeaseId,
) -> (Failure, Vec<Sha256Digest>, Vec<Sha256Digest>) {
    match connection.next_task().await {
        TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect } => {
            assert_eq!(lease_id, lease);
            (failure, lost, suspect)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn proofs_are_fetched_reduced_and_handed_in() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin(&mut setup, &connection).await;
    assert_eq!(call.task.common, COMMON);
    let JoinInputs::Reduce { complete, range, children } = &call.task.inputs else {
        panic!("{:?}", call.task.inputs)
    };
    assert!(*complete && *range == ShardRange::deferred(0, 2));
    let expected = RANGES.into_iter().zip(CHILDREN.map(<[u8]>::to_vec));
    assert_eq!(*children, expected.collect::<Vec<_>>());
    connection.expect_held(&[lease]).await;
    call.finish(Ok(TaskProof { bytes: PROOF.to_vec(), prove_ms: 7 }));
    let TaskFromWorker::TaskDone { lease_id, output, used } = connection.next_task().await else {
        panic!()
    };
    assert_eq!((lease_id, output, used.prove_ms), (lease, blob_info(PROOF), 7));
    assert_eq!(setup.hierophant.received(lease, PROOF), 1);
    connection.expect_held(&[]).await;
}

#[tokio::test]
async fn each_kind_of_task_reaches_the_prover_with_its_input() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    for number in 0..4_u8 {
        let (lease, bytes) = (LeaseId::random(), vec![number; 100]);
        let blob = |bytes: &[u8]| setup.hierophant.serve_blob(lease, bytes, &[]);
        let (common, proof) = (blob(COMMON), blob(&bytes));
        let input = match number {
            0 => TaskInput::Deferred { common, data: proof },
            1 => TaskInput::ShrinkWrap { common, proof },
            2 => TaskInput::Plonk { common, proof },
            _ => TaskInput::Groth16 { common, proof },
        };
        connection.say(&run(lease, input));
        let call = setup.executor.tasks.next_join().await;
        let found = match (number, &call.task.inputs) {
            (0, JoinInputs::Deferred(found))
            | (1, JoinInputs::ShrinkWrap(found))
            | (2, JoinInputs::Plonk(found))
            | (3, JoinInputs::Groth16(found)) => found.clone(),
            (_, other) => panic!("{other:?}"),
        };
        assert_eq!(found, bytes);
        call.finish(Ok(TaskProof { bytes: PROOF.to_vec(), prove_ms: 7 }));
        assert!(matches!(connection.next_task().await, TaskFromWorker::TaskDone { .. }));
        connection.expect_held(&[]).await;
    }
}

#[tokio::test]
async fn false_inputs_are_reported_by_their_digests() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin(&mut setup, &connection).await;
    let failure = Failure::new(FailureClass::Infrastructure, "input 1 is false");
    call.finish(Err(JoinFailure { failure, false_inputs: vec![1] }));
    let (failure, lost, suspect) = failed(&mut connection, lease).await;
    assert_eq!((failure.class, lost), (FailureClass::Infrastructure, vec![]));
    assert_eq!(suspect, [blob_info(CHILDREN[1]).sha256]);

    let (lease, call) = begin(&mut setup, &connection).await;
    let failure = Failure::new(FailureClass::Request, "they do not belong together");
    call.finish(Err(failure.into()));
    let (failure, lost, suspect) = failed(&mut connection, lease).await;
    assert_eq!((failure.class, lost, suspect), (FailureClass::Request, vec![], vec![]));
}

#[tokio::test]
async fn an_input_that_no_source_has_is_lost() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let lease = LeaseId::random();
    let common = setup.hierophant.serve_blob(lease, COMMON, &[]);
    let proof = crate::fake_hierophant::blobs::from_hierophant(b"gone");
    connection.say(&run(lease, TaskInput::ShrinkWrap { common, proof }));
    let (failure, lost, suspect) = failed(&mut connection, lease).await;
    assert_eq!((failure.class, suspect), (FailureClass::Infrastructure, vec![]));
    assert_eq!(lost, [blob_info(b"gone").sha256]);
}
