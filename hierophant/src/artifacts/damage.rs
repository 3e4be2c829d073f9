//! Proofs that were damaged on the disk after they were checked.
//!
//! Whoever is about to rely on the bytes of a finished proof looks here first. Damaged bytes are of no
//! use to anybody and are removed, so everybody else has only to ask whether a proof is there: if it is
//! not, it is made again.

use super::blobs::Blobs;
use super::short;
use crate::records::ArtifactRecord;

/// Proofs up to this size are digested: a few milliseconds for all but the largest Core proofs, whose
/// damage their client finds by itself.
const LARGEST: u64 = 64 << 20;

/// Whether a proof's bytes were damaged; they are gone then. Reads all of it, on the blocking pool.
pub async fn removed(blobs: &Blobs, proof: &ArtifactRecord) -> bool {
    let Some(info) = proof.blob.filter(|info| info.size <= LARGEST) else { return false };
    // Missing bytes are not damaged ones, and what cannot be read now may be readable later.
    let differs = matches!(blobs.verify(proof.id, info).await, Ok(false));
    if !differs || !blobs.is_there(proof.id).await {
        return false;
    }
    tracing::error!(artifact = %short(proof.id), "a proof was damaged on the disk and is removed");
    if let Err(error) = blobs.remove(proof.id).await {
        tracing::error!(%error, "a damaged proof could not be removed");
    }
    true
}
