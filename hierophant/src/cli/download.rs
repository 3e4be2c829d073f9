//! Download of a proof to a file, which appears only when it is complete.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hierophant_admin_model::DIGEST_HEADER;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::client::{ApiClient, CallError};

/// A downloaded proof.
#[derive(Debug, Serialize)]
pub(super) struct SavedProof {
    /// File that was written.
    pub(super) file: PathBuf,
    /// Size in bytes.
    pub(super) bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub(super) sha256: String,
}

/// Streams the proof of a request to a temporary file, verifies its digest, and renames it.
pub(super) async fn proof(
    client: &ApiClient,
    id: &str,
    file: &Path,
    force: bool,
) -> Result<SavedProof, CallError> {
    let failed = |error: std::io::Error| {
        CallError::File(format!("cannot write {}: {error}", file.display()))
    };
    let exists =
        || CallError::File(format!("{} already exists: --force replaces it", file.display()));
    if !force && file.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut partial = tempfile::Builder::new()
        .prefix(".proof-")
        // Like any new file: restricted only by the umask.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    let (bytes, sha256) = tokio::select! {
        fetched = fetch(client, id, &mut partial) => fetched?,
        _ = tokio::signal::ctrl_c() => return Err(CallError::File("interrupted".to_owned())),
    };
    partial.as_file().sync_all().map_err(failed)?;
    if force {
        partial.persist(file).map_err(|error| failed(error.error))?;
    } else {
        partial.persist_noclobber(file).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(),
            _ => failed(error.error),
        })?;
    }
    Ok(SavedProof { file: file.to_owned(), bytes, sha256 })
}

/// Downloads a proof; returns its size and its verified SHA-256.
async fn fetch(
    client: &ApiClient,
    id: &str,
    partial: &mut NamedTempFile,
) -> Result<(u64, String), CallError> {
    let mut response = client.stream(&format!("/requests/{id}/proof")).await?;
    let expected = response.headers().get(DIGEST_HEADER).and_then(|digest| digest.to_str().ok());
    let expected = expected.map(str::to_owned);
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    while let Some(chunk) = response.chunk().await.map_err(|error| client.unreadable(&error))? {
        hasher.update(&chunk);
        bytes += chunk.len() as u64;
        partial
            .write_all(&chunk)
            .map_err(|error| CallError::File(format!("cannot write the proof: {error}")))?;
    }
    let sha256 = hex::encode(hasher.finalize());
    if expected.as_deref() != Some(&*sha256) {
        let expected = expected.unwrap_or_else(|| "the digest in the response".to_owned());
        return Err(CallError::File(format!(
            "proof damaged in transfer (SHA-256 {sha256}): expected {expected}; try again"
        )));
    }
    Ok((bytes, sha256))
}
