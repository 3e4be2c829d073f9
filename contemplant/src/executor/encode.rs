//! Encoding of what may be large, on a blocking thread.

use serde::Serialize;

/// Encodes a proof as clients decode it, or an input as prover servers do.
pub(super) async fn encode(what: impl Serialize + Send + 'static) -> Result<Vec<u8>, String> {
    tokio::task::spawn_blocking(move || bincode::serialize(&what))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("it could not be encoded: {error}"))
}
