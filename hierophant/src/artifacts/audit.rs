//! Are the bytes that unfinished jobs need still there, and as they were? Asked once, at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;

use super::blobs::{Blobs, has_digest, has_size};
use crate::store::UnfinishedJob;

/// Blobs up to this size are digested here; whoever reads a larger one finds out then. A Contemplant
/// checks the digest of what it downloads, the verifier reads every proof.
const DIGEST_LIMIT: u64 = 64 << 20;

/// For how long digests are computed. A start must not take long, however much is unfinished.
const DIGEST_TIME: Duration = Duration::from_millis(500);

/// The artifacts of unfinished jobs (programs, inputs, proofs that were handed in) whose bytes are
/// missing or damaged. Sizes are compared for all, digests as far as size and time allow, those of
/// proofs first: an input can be sent again, a proof is hours of work. Blocks; call it on a thread of
/// the blocking pool.
#[must_use]
pub fn damaged(blobs: &Blobs, jobs: &[UnfinishedJob]) -> BTreeSet<ArtifactId> {
    damaged_within(blobs, jobs, DIGEST_TIME)
}

fn damaged_within(blobs: &Blobs, jobs: &[UnfinishedJob], time: Duration) -> BTreeSet<ArtifactId> {
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
    let needed = || proofs.iter().chain(&inputs).map(|(id, info)| (*id, *info));
    let bad = |id: ArtifactId, verdict: io::Result<bool>| match verdict {
        Ok(sound) => !sound,
        Err(error) => {
            tracing::error!(%error, artifact = %super::short(id), "an artifact cannot be read");
            true
        }
    };
    let mut damaged = BTreeSet::new();
    for (id, info) in needed() {
        if bad(id, has_size(&blobs.path(id), info)) {
            damaged.insert(id);
        }
    }
    let began = Instant::now();
    for (id, info) in needed().filter(|(_, info)| info.size <= DIGEST_LIMIT) {
        if began.elapsed() >= time {
            tracing::info!("not all artifacts were digested; the rest is checked when it is read");
            break;
        }
        if !damaged.contains(&id) && bad(id, has_digest(&blobs.path(id), info)) {
            damaged.insert(id);
        }
    }
    damaged
}

#[cfg(test)]
mod tests {
    use std::fs;

    use network_lib::handshake::Backend;
    use network_lib::ids::{JobId, LeaseId, Sha256Digest, VkHash, WorkerId};
    use network_lib::job::{JobSpec, ProofMode};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::records::{AttemptRecord, JobRecord, JobState, Millis, Prover, RequestRecord};

    /// A job whose program, input and handed-in proof are the given blobs.
    fn job(blobs: [(ArtifactId, BlobInfo); 3]) -> UnfinishedJob {
        let [(program, program_blob), (stdin, stdin_blob), proof] = blobs;
        let job = JobRecord {
            id: JobId([1; 16]),
            key: Sha256Digest([1; 32]),
            spec: JobSpec {
                vk_hash: VkHash([1; 32]),
                circuit_version: "v6.1.0".into(),
                mode: ProofMode::Core,
                cycle_limit: 1,
                gas_limit: 1,
            },
            program,
            program_blob,
            stdin,
            stdin_blob,
            state: JobState::Uploaded,
            priority: None,
            execution: None,
            failure: None,
            proof: None,
            prover: None,
            attempts: 1,
            created_at: Millis(0),
            updated_at: Millis(0),
            started_at: None,
            finished_at: None,
        };
        let prover =
            Prover { worker: WorkerId([1; 16]), name: "tobit".into(), backend: Backend::Cpu };
        let mut attempt = AttemptRecord::starting(LeaseId([1; 16]), job.id, prover, Millis(0));
        attempt.proof = Some(proof);
        UnfinishedJob { job, requests: Vec::<RequestRecord>::new(), attempts: vec![attempt] }
    }

    fn put(blobs: &Blobs, id: u8, bytes: &[u8]) -> (ArtifactId, BlobInfo) {
        let id = ArtifactId([id; 16]);
        let path = blobs.path(id);
        fs::create_dir_all(path.parent().expect("has a folder")).expect("creates");
        fs::write(path, bytes).expect("writes");
        let sha256 = Sha256Digest(Sha256::digest(bytes).into());
        (id, BlobInfo { size: bytes.len() as u64, sha256 })
    }

    #[test]
    fn missing_short_and_altered_bytes_are_found() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let sound = [1, 2, 3].map(|id| put(&blobs, id, b"some bytes"));
        let jobs = [job(sound)];
        assert!(damaged(&blobs, &jobs).is_empty());
        fs::remove_file(blobs.path(sound[0].0)).expect("removes");
        fs::write(blobs.path(sound[1].0), b"some").expect("writes");
        fs::write(blobs.path(sound[2].0), b"same bytes").expect("writes");
        assert_eq!(damaged(&blobs, &jobs), BTreeSet::from(sound.map(|(id, _)| id)));
        // Without time for digests, sizes still tell.
        let sizes = damaged_within(&blobs, &jobs, Duration::ZERO);
        assert_eq!(sizes, BTreeSet::from([sound[0].0, sound[1].0]));
    }
}
