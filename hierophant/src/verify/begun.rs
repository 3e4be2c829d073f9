//! Checks that have begun, as files: a proof that ends Hierophant while it is checked must not do so at every start.
//!
//! A file exists while its proof is checked, from before the first byte is decoded. One that a start finds was left by
//! a Hierophant that ended during the check. A proof for which that happened [`MAX_INTERRUPTED`] times is not checked
//! again. A file survives the end of the process but need not survive the end of the machine, which no proof causes;
//! so it is not synced, and costs no transaction.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hierophant_model::text::short_artifact_id;
use network_lib::ids::ArtifactId;

use crate::private_files;

/// Number of interrupted checks after which a proof is not checked again. The first may be a coincidence: an operator
/// may have killed Hierophant.
const MAX_INTERRUPTED: u32 = 2;

/// Age of a file after which it is removed at a start: its proof is no longer waiting for a check.
const MAX_AGE: Duration = Duration::from_secs(31 * 24 * 3600);

/// The folder of begun checks.
#[derive(Debug)]
pub(super) struct BegunChecks(PathBuf);

/// A check in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct BegunCheck(PathBuf);

impl BegunChecks {
    /// Opens or creates the folder.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        private_files::create_folder(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > MAX_AGE && is_mark(&entry.path()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self(folder))
    }

    /// Begins the check of a proof; `None` if too many checks of it were interrupted.
    pub(super) fn begin(&self, proof: ArtifactId) -> Option<BegunCheck> {
        let path = self.0.join(proof.to_string());
        let interrupted = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let check = BegunCheck(path);
        let interrupted = interrupted.unwrap_or(0);
        if interrupted >= MAX_INTERRUPTED {
            return None;
        }
        if let Err(error) = fs::write(&check.0, (interrupted + 1).to_string()) {
            let artifact = short_artifact_id(proof);
            tracing::warn!(%error, artifact, "cannot note that the check of a proof has begun");
        }
        Some(check)
    }
}

impl Drop for BegunCheck {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove the note of a checked proof");
        }
    }
}

fn is_mark(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.parse::<ArtifactId>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_whose_check_was_interrupted_twice_is_not_checked_again() {
        let folder = tempfile::tempdir().expect("temp dir");
        let proof = ArtifactId([7; 16]);
        let opened = || BegunChecks::open(folder.path().join("checks")).expect("opens");
        for _ in 0..MAX_INTERRUPTED {
            let check = opened().begin(proof).expect("checked again");
            // The process ends.
            std::mem::forget(check);
        }
        assert!(opened().begin(proof).is_none());
        // The attempt has failed, so the note is gone.
        assert!(opened().begin(proof).is_some());
    }

    #[test]
    fn a_check_that_ends_leaves_nothing() {
        let folder = tempfile::tempdir().expect("temp dir");
        let checks = BegunChecks::open(folder.path().to_owned()).expect("opens");
        let files = || fs::read_dir(folder.path()).expect("reads").count();
        for _ in 0..5 {
            let check = checks.begin(ArtifactId([7; 16])).expect("begins");
            assert_eq!(files(), 1);
            drop(check);
            assert_eq!(files(), 0);
        }
    }
}
