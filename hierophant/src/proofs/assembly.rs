//! Assembly of a proof's file from the results of its tasks.
//!
//! The file is what the worker of a whole proof hands in: bincode of `ProofFromNetwork` of sp1-verifier 6.10.0
//! (`src/proof.rs`), which has the fields `proof: SP1Proof`, `public_values: SP1PublicValues` and `sp1_version: String`.
//! In bincode 1 with fixed-size integers, as `bincode::serialize` writes it, that is:
//!
//! | Bytes | What | Source |
//! |---|---|---|
//! | 4 | number of the variant: `SP1Proof::Core` 0, `Compressed` 1, `Plonk` 2, `Groth16` 3 | sp1-verifier `src/proof.rs` |
//! | 8 | only of a Core proof: number of shard proofs | `SP1Proof::Core(Vec<ShardProof<…>>)` |
//! | parts | the shard proofs, each in bincode, in the order of their ranges; of all others the proof, in bincode | the same; `Compressed(Box<…>)` has no bytes of its own |
//! | 8 + n | length, and bytes of the public values | sp1-primitives `src/io.rs`, and `src/types.rs`: `Buffer` skips its `ptr` |
//! | 8 + n | length, and text of the circuit version | sp1-verifier `src/proof.rs`; sp1-prover `src/worker/controller/mod.rs` writes its `SP1_CIRCUIT_VERSION` |
//!
//! All integers are little-endian. No type of SP1 is needed, and no part is held in memory.

use std::io;

use bytes::Bytes;
use futures_util::TryStreamExt;
use hierophant_scheduler::proofs::{Assembly, AssemblyError};
use network_lib::ids::{ArtifactId, JobId, Sha256Digest};
use network_lib::job::{BlobInfo, ProofMode};
use sha2::{Digest, Sha256};

use crate::artifacts::ArtifactsHandle;
use crate::artifacts::blobs::{BlobWriter, Blobs, StagedBlob};
use crate::artifacts::task_blobs::TaskBlobs;

/// Number of the variant of `SP1Proof`.
const fn variant(mode: ProofMode) -> u32 {
    match mode {
        ProofMode::Core => 0,
        ProofMode::Compressed => 1,
        ProofMode::Plonk => 2,
        ProofMode::Groth16 => 3,
    }
}

/// Assembles proofs.
#[derive(Debug, Clone)]
pub(super) struct Assembler {
    pub(super) tasks: TaskBlobs,
    /// Where the assembled proofs are staged.
    pub(super) blobs: Blobs,
    pub(super) artifacts: ArtifactsHandle,
}

impl Assembler {
    /// Assembles a proof and keeps it as an artifact.
    ///
    /// # Errors
    ///
    /// [`AssemblyError`]; a damaged part is removed.
    pub(super) async fn assemble(
        &self,
        assembly: &Assembly,
    ) -> Result<(ArtifactId, BlobInfo), AssemblyError> {
        let staged = self.staged(assembly).await?;
        let info = staged.info();
        let artifact = self.artifacts.keep_proof(staged).await.map_err(unavailable)?;
        Ok((artifact, info))
    }

    /// The file of a proof, staged.
    async fn staged(&self, assembly: &Assembly) -> Result<StagedBlob, AssemblyError> {
        let Assembly { job, mode, parts, public_values, circuit_version, is_mock, .. } = assembly;
        let is_core = *mode == ProofMode::Core;
        // A mock Core proof has no shards.
        let parts: &[BlobInfo] = if *is_mock && is_core { &[] } else { parts };
        let mut file = self.blobs.begin(None);
        write(&mut file, variant(*mode).to_le_bytes().to_vec()).await?;
        if is_core {
            write(&mut file, (parts.len() as u64).to_le_bytes().to_vec()).await?;
        }
        for part in parts {
            self.copy(*job, *part, &mut file).await?;
        }
        write(&mut file, public_values.size.to_le_bytes().to_vec()).await?;
        self.copy(*job, *public_values, &mut file).await?;
        let version = circuit_version.as_bytes();
        write(&mut file, [&(version.len() as u64).to_le_bytes(), version].concat()).await?;
        file.finish().await.map_err(unavailable)
    }

    /// Copies a part, and compares its size and digest.
    async fn copy(
        &self,
        job: JobId,
        part: BlobInfo,
        file: &mut BlobWriter,
    ) -> Result<(), AssemblyError> {
        let lost = AssemblyError::Lost(part.sha256);
        let mut bytes = match self.tasks.read(job, part.sha256).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost),
            Err(error) => return Err(unavailable(error)),
        };
        let (mut size, mut hasher) = (0, Sha256::new());
        while let Some(chunk) = bytes.try_next().await.map_err(unavailable)? {
            size += chunk.len() as u64;
            hasher.update(&chunk);
            file.write(chunk).await.map_err(unavailable)?;
        }
        let sha256 = Sha256Digest(hasher.finalize().into());
        if (BlobInfo { size, sha256 }) == part {
            return Ok(());
        }
        tracing::error!(job_id = %job, blob = %part.sha256, "a part of a proof is damaged");
        self.tasks.remove(job, part.sha256).await.map_err(unavailable)?;
        Err(lost)
    }
}

async fn write(file: &mut BlobWriter, bytes: Vec<u8>) -> Result<(), AssemblyError> {
    file.write(Bytes::from(bytes)).await.map_err(unavailable)
}

fn unavailable(error: impl std::error::Error) -> AssemblyError {
    tracing::error!(%error, "a proof cannot be assembled for the time being");
    AssemblyError::Unavailable
}

#[cfg(test)]
pub(super) mod tests;
