use alloy_primitives::Address;
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change, NetworkMode};
use hierophant_store::sqlite;
use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{BlobInfo, JobSpec, ProofMode};

use super::*;

const BLOB: BlobInfo = BlobInfo { size: 1, sha256: Sha256Digest([1; 32]) };

fn spec() -> JobSpec {
    JobSpec {
        vk_hash: VkHash([9; 32]),
        circuit_version: "v6.1.0".into(),
        mode: ProofMode::Core,
        cycle_limit: 1,
        gas_limit: 1,
    }
}

fn proved(number: u8) -> JobRecord {
    let (id, key) = (JobId([number; 16]), Sha256Digest([7; 32]));
    let artifact = (ArtifactId([100; 16]), BLOB);
    let job = JobRecord::queued(id, key, spec(), artifact, artifact, Millis(number.into()));
    JobRecord {
        state: JobState::Proved,
        proof: Some(ArtifactId([number; 16])),
        finished_at: Some(Millis(number.into())),
        ..job
    }
}

fn request(number: u16, job: JobId, state: RequestState) -> RequestRecord {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    RequestRecord {
        id: RequestId(id),
        job,
        requester: Address::ZERO,
        client: None,
        token: None,
        stated_digest: None,
        network_mode: NetworkMode::Reserved,
        strategy: 0,
        version: "sp1-v6.1.0".into(),
        stdin_uri: number.to_string(),
        stdin_private: false,
        deadline: u64::from(u32::MAX),
        min_auction_period: 0,
        whitelist: vec![],
        state,
        created_at: Millis(number.into()),
        updated_at: Millis(1),
        fulfilled_at: Some(Millis(1)),
    }
}

#[tokio::test]
async fn a_lost_proof_that_was_made_again_moves_some_hundred_requests_at_a_time() {
    let folder = tempfile::tempdir().expect("temp dir");
    let store: Arc<dyn JobStore> =
        sqlite::open(&folder.path().join("db"), ()).await.expect("opens");
    let (old, newer) = (proved(1), proved(2));
    let (lost, proof) = (ArtifactId([1; 16]), ArtifactId([2; 16]));
    let stored = ArtifactRecord::ticket(proof, ArtifactKind::Proof, Address::ZERO, Millis(1));
    let mut changes = vec![
        Change::Job(old.clone()),
        Change::Job(newer.clone()),
        Change::Artifact(ArtifactRecord { blob: Some(BLOB), ..stored }),
    ];
    let of_old = |number| request(number, old.id, RequestState::Fulfilled);
    changes.extend((0..1200).map(|number| Change::Request(of_old(number), spec())));
    store.commit(&changes).await.expect("commits");
    let clients = Clients::default();
    let quarantine = Duration::from_secs(60);
    let blobs = Blobs::open(&folder.path().join("artifacts")).expect("opens");
    let stored = StoredDecisions::default();
    let lookups = Lookups::new(Arc::clone(&store), blobs, clients, quarantine, stored);
    let last = of_old(1199).id;
    let found = lookups.of_lost_proof(last, lost).await.expect("reads").expect("is needed").found;
    assert_eq!(found.newer, Some(newer));
    assert_eq!((found.requests.len(), found.requests[0].id), (MAX_MOVED, last));
}

#[test]
fn a_request_whose_job_is_queued_again_is_open_before_its_turn_to_be_saved() {
    let now = Millis::now();
    let view = |job: &JobRecord, state, deadline| {
        let request = RequestRecord { deadline, ..request(1, job.id, state) };
        RequestView { request, job: job.clone() }.as_reopened(now).request.state
    };
    let far = u64::from(u32::MAX);
    let again = JobRecord { state: JobState::Queued, proof: None, finished_at: None, ..proved(1) };
    let (fulfilled, cancelled) = (RequestState::Fulfilled, RequestState::Cancelled);
    assert_eq!(view(&again, fulfilled, far), RequestState::Open);
    assert_eq!(view(&again, cancelled, far), cancelled);
    assert_eq!(view(&again, fulfilled, 1), fulfilled, "it is not proved for this one");
    assert_eq!(view(&proved(1), fulfilled, far), fulfilled);
    let ending = JobRecord { state: JobState::Verifying, ..proved(1) };
    assert_eq!(view(&ending, fulfilled, far), fulfilled, "others follow");
}
