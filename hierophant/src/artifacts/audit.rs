//! Start-up check: the artifacts of unfinished jobs exist and are undamaged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hierophant_model::records::UnfinishedJob;
use hierophant_model::text::short_artifact_id;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;

use super::blobs::Blobs;

/// Maximum size of blobs whose digest is checked here. Damage of larger ones is detected on reading: a worker checks
/// the digest of its downloads, and the verifier reads every proof.
const DIGEST_LIMIT: u64 = 64 << 20;

/// Time limit for digests, so that a start is fast however many jobs are unfinished.
const DIGEST_TIME: Duration = Duration::from_millis(500);

/// Time limit for sizes from a distant store.
const SIZES_TIME: Duration = Duration::from_secs(1);

/// Missing or damaged artifacts of unfinished jobs: programs, inputs and uploaded proofs. Sizes are compared for all
/// on a disk, and in a bucket as far as time allows; digests as far as size and time allow, proofs first: an input
/// can be sent again, a proof is hours of work. An artifact that cannot be read now does not count as damaged.
pub async fn damaged(blobs: &Blobs, jobs: &[UnfinishedJob]) -> BTreeSet<ArtifactId> {
    damaged_within(blobs, jobs, DIGEST_TIME).await
}

async fn damaged_within(
    blobs: &Blobs,
    jobs: &[UnfinishedJob],
    time: Duration,
) -> BTreeSet<ArtifactId> {
    let proofs =
        jobs.iter().flat_map(|job| job.attempts.iter().filter_map(|attempt| attempt.proof));
    let proofs: BTreeMap<ArtifactId, BlobInfo> = proofs.collect();
    let inputs: BTreeMap<ArtifactId, BlobInfo> = jobs
        .iter()
        .flat_map(|job| {
            let job = &job.job;
            [(job.program, job.program_blob), (job.stdin, job.stdin_blob)]
        })
        .collect();
    let needed: Vec<_> = proofs.iter().chain(&inputs).map(|(id, info)| (*id, *info)).collect();
    let sizes = blobs.sizes(needed.iter().map(|(id, _)| *id).collect(), SIZES_TIME).await;
    let mut damaged = BTreeSet::new();
    let mut unread = 0;
    for (id, info) in &needed {
        match sizes.get(id) {
            Some(Ok(size)) if *size == Some(info.size) => {}
            Some(Ok(_)) => {
                damaged.insert(*id);
            }
            Some(Err(error)) => {
                unread += 1;
                tracing::error!(%error, artifact = %short_artifact_id(*id), "cannot get the size of an artifact");
            }
            None => unread += 1,
        }
    }
    let digesting = async {
        for (id, info) in needed.iter().filter(|(_, info)| info.size <= DIGEST_LIMIT) {
            if damaged.contains(id) {
                continue;
            }
            match blobs.verify(*id, *info).await {
                Ok(true) => {}
                Ok(false) => {
                    damaged.insert(*id);
                }
                Err(error) => {
                    tracing::error!(%error, artifact = %short_artifact_id(*id), "cannot read an artifact");
                }
            }
        }
    };
    if tokio::time::timeout(time, digesting).await.is_err() || unread > 0 {
        tracing::info!(unread, "not all digests were checked; the rest are checked on reading");
    }
    damaged
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::Backend;
    use network_lib::ids::{JobId, LeaseId, Sha256Digest, VkHash, WorkerId};
    use network_lib::job::{JobSpec, ProofMode};

    use super::*;
    use hierophant_model::records::{
        AttemptRecord, JobRecord, JobState, Millis, Prover, RequestRecord,
    };

    /// A job with the given program, input and uploaded proof.
    fn job(blobs: [(ArtifactId, BlobInfo); 3]) -> UnfinishedJob {
        let [program, stdin, proof] = blobs;
        let spec = JobSpec {
            vk_hash: VkHash([1; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: 1,
            gas_limit: 1,
        };
        let (id, key) = (JobId([1; 16]), Sha256Digest([1; 32]));
        let job = JobRecord::queued(id, key, spec, program, stdin, Millis(0));
        let job = JobRecord { state: JobState::Uploaded, attempts: 1, ..job };
        let prover =
            Prover { worker: WorkerId([1; 16]), name: "tobit".into(), backend: Backend::Cpu };
        let mut attempt = AttemptRecord::starting(LeaseId([1; 16]), job.id, prover, Millis(0));
        attempt.proof = Some(proof);
        UnfinishedJob { job, requests: Vec::<RequestRecord>::new(), attempts: vec![attempt] }
    }

    async fn put(blobs: &Blobs, id: u8, bytes: &'static [u8]) -> (ArtifactId, BlobInfo) {
        let id = ArtifactId([id; 16]);
        let mut writer = blobs.begin(None);
        writer.write(bytes.into()).await.expect("writes");
        let staged = writer.finish().await.expect("finishes");
        let info = staged.info();
        blobs.adopt(staged, id).await.expect("adopts");
        (id, info)
    }

    #[tokio::test]
    async fn missing_short_and_altered_bytes_are_found() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let mut sound =
            [(ArtifactId([0; 16]), BlobInfo { size: 0, sha256: Sha256Digest([0; 32]) }); 3];
        for (number, slot) in (1..).zip(&mut sound) {
            *slot = put(&blobs, number, b"some bytes").await;
        }
        let jobs = [job(sound)];
        assert!(damaged(&blobs, &jobs).await.is_empty());
        blobs.remove(sound[0].0).await.expect("removes");
        put(&blobs, 2, b"some").await;
        put(&blobs, 3, b"same bytes").await;
        assert_eq!(damaged(&blobs, &jobs).await, BTreeSet::from(sound.map(|(id, _)| id)));
        // Without time for digests, sizes are still compared.
        let sizes = damaged_within(&blobs, &jobs, Duration::ZERO).await;
        assert!(sizes.is_superset(&BTreeSet::from([sound[0].0, sound[1].0])));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_damaged() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let info = BlobInfo { size: 1, sha256: Sha256Digest([0; 32]) };
        let jobs = [job([1, 2, 3].map(|id| (ArtifactId([id; 16]), info)))];
        // A file where a shelf should be: the disk answers neither yes nor no.
        for id in ["01", "02", "03"] {
            std::fs::write(folder.path().join(id), b"in the way").expect("writes");
        }
        assert!(damaged(&blobs, &jobs).await.is_empty());
    }
}
