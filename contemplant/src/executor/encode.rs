//! Encoding of proofs.

use sp1_verifier::ProofFromNetwork;

/// Encodes a proof as clients decode it, on a blocking thread: large proofs take a while.
pub(super) async fn encode(proof: ProofFromNetwork) -> Result<Vec<u8>, String> {
    tokio::task::spawn_blocking(move || bincode::serialize(&proof))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("it could not be encoded: {error}"))
}
