//! Fetches a proof into a file, which is there whole or not at all.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::caller::{CallError, Caller};
use hierophant_admin_model::DIGEST_HEADER;

/// A proof that was fetched.
#[derive(Debug, Serialize)]
pub(super) struct Saved {
    /// The file.
    pub(super) file: PathBuf,
    /// Its size.
    pub(super) bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub(super) sha256: String,
}

/// Streams the proof of a request into a new file, checks its digest, and only then gives it its name.
pub(super) async fn proof(
    caller: &Caller,
    id: &str,
    file: &Path,
    force: bool,
) -> Result<Saved, CallError> {
    let cannot = |error: std::io::Error| CallError::File(format!("{}: {error}", file.display()));
    let there = || {
        let words = format!("{} is there already; --force replaces it", file.display());
        CallError::File(words)
    };
    if !force && file.symlink_metadata().is_ok() {
        return Err(there());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut partial = tempfile::Builder::new()
        .prefix(".proof-")
        // As any new file: what the user's mask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(cannot)?;
    let (bytes, sha256) = tokio::select! {
        fetched = fetch(caller, id, &mut partial) => fetched?,
        _ = tokio::signal::ctrl_c() => return Err(CallError::File("interrupted".to_owned())),
    };
    partial.as_file().sync_all().map_err(cannot)?;
    if force {
        partial.persist(file).map_err(|error| cannot(error.error))?;
    } else {
        partial.persist_noclobber(file).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => there(),
            _ => cannot(error.error),
        })?;
    }
    Ok(Saved { file: file.to_owned(), bytes, sha256 })
}

async fn fetch(
    caller: &Caller,
    id: &str,
    partial: &mut NamedTempFile,
) -> Result<(u64, String), CallError> {
    let mut answer = caller.stream(&format!("/requests/{id}/proof")).await?;
    let promised = answer.headers().get(DIGEST_HEADER).and_then(|digest| digest.to_str().ok());
    let promised = promised.map(str::to_owned);
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    while let Some(chunk) = answer.chunk().await.map_err(|error| caller.unreadable(&error))? {
        hasher.update(&chunk);
        bytes += chunk.len() as u64;
        partial
            .write_all(&chunk)
            .map_err(|error| CallError::File(format!("the proof cannot be written: {error}")))?;
    }
    let sha256 = hex::encode(hasher.finalize());
    if promised.as_deref() != Some(&*sha256) {
        let promised = promised.unwrap_or_else(|| "unknown".to_owned());
        return Err(CallError::File(format!(
            "the proof arrived damaged: its SHA-256 is {sha256}, not {promised}; try again"
        )));
    }
    Ok((bytes, sha256))
}
