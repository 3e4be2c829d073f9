//! Proofs that were damaged where they lie after they were checked.
//!
//! Whoever is about to rely on the bytes of a finished proof looks here first. Damaged bytes are of no
//! use to anybody and are removed, so everybody else has only to ask whether a proof is there: if it is
//! not, it is made again.

use std::io;

use hierophant_model::records::ArtifactRecord;
use hierophant_model::text::short_artifact_id;

use super::blobs::Blobs;

/// Proofs up to this size are digested: a few milliseconds for all but the largest Core proofs, whose
/// damage their client finds by itself.
const LARGEST: u64 = 64 << 20;

/// Whether a proof is there, undamaged; damaged bytes are removed. Reads all of it.
///
/// # Errors
///
/// When the bytes cannot be asked for now. They are not lost then.
pub async fn is_sound(blobs: &Blobs, proof: &ArtifactRecord) -> io::Result<bool> {
    let Some(info) = proof.blob else { return Ok(false) };
    let sound = if info.size <= LARGEST {
        blobs.verify(proof.id, info).await?
    } else {
        blobs.holds(proof.id, info.size).await?
    };
    if sound || !blobs.is_there(proof.id).await? {
        return Ok(sound);
    }
    tracing::error!(artifact = %short_artifact_id(proof.id), "a proof was damaged where it lay and is removed");
    blobs.remove(proof.id).await?;
    Ok(false)
}
