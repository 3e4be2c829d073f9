//! Temp folder of a prover server: `gpu-N` in the data folder.
//!
//! SP1 writes its own executor there, and for PLONK and Groth16 gigabytes of witnesses. A killed server removes nothing.

use std::io;
use std::path::{Path, PathBuf};

/// The folder for the server of `gpu`.
pub(super) fn folder(data_dir: &Path, gpu: u32) -> PathBuf {
    data_dir.join(format!("gpu-{gpu}"))
}

/// Removes everything in the folder. No server may be using it. What cannot be removed only costs disk space, so it is
/// logged.
pub(super) async fn empty(folder: &Path) {
    let path = folder.to_owned();
    // Gigabytes take a while to remove.
    let emptied = tokio::task::spawn_blocking(move || remove_entries(&path)).await;
    if let Ok(Err(error)) = emptied {
        let folder = folder.display();
        tracing::warn!(%folder, %error, "a prover server's temp folder cannot be emptied");
    }
}

/// Removes all entries that can be removed. The error is that of the last one that cannot.
fn remove_entries(folder: &Path) -> io::Result<()> {
    let mut outcome = Ok(());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link is removed, and not what it leads to.
        let removed = match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
        outcome = removed.and(outcome);
    }
    outcome
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_emptied_and_what_its_links_lead_to_is_left() {
        let data = tempfile::tempdir().unwrap();
        let outside = data.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        let folder = folder(data.path(), 3);
        std::fs::create_dir_all(folder.join("gnark/deep")).unwrap();
        std::fs::write(folder.join("gnark/deep/witness"), "").unwrap();
        std::fs::write(folder.join("socket"), "").unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
        empty(&folder).await;
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
        // A second time changes nothing.
        empty(&folder).await;
    }
}
