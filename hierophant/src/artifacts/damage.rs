//! Detection of stored proofs that were damaged after their check.
//!
//! Code that relies on the bytes of a finished proof calls [`sound`] first. Damaged bytes are removed, so other
//! code only has to check that a proof exists; a missing proof is made again.

use std::io;

use hierophant_model::records::ArtifactRecord;
use hierophant_model::text::short_artifact_id;

use super::blobs::{BlobMetadata, Blobs};

/// Maximum size of proofs whose digest is checked, which takes a few milliseconds. Damage of larger Core proofs is
/// detected by the client.
const MAX_DIGESTED: u64 = 64 << 20;

/// Metadata of a proof that exists undamaged; damaged bytes are removed. Reads the whole proof unless it was found sound in
/// the last minutes.
///
/// # Errors
///
/// If the bytes cannot be read now; they are not lost.
pub async fn sound(blobs: &Blobs, proof: &ArtifactRecord) -> io::Result<Option<BlobMetadata>> {
    let Some(info) = proof.blob else { return Ok(None) };
    let sound = if info.size <= MAX_DIGESTED {
        blobs.verify_lately(proof.id, info).await?
    } else {
        blobs.of_size(proof.id, info.size).await?
    };
    if sound.is_some() || !blobs.is_there(proof.id).await? {
        return Ok(sound);
    }
    tracing::error!(artifact = %short_artifact_id(proof.id), "removed a damaged proof");
    blobs.remove(proof.id).await?;
    Ok(None)
}
