//! Checks that have begun, as files: a proof that ends Hierophant while it is checked must not do so at every start.
//!
//! A file exists while its proof is checked, from before the first byte is decoded. One that a start finds was left by
//! a Hierophant that ended during the check, for which the proof need not be the cause: others were checked as well, or
//! an operator has killed Hierophant. So the proof is checked once more, without any other beside it, and only the file
//! of that check refuses it. A file of an earlier start of the machine says nothing: no proof ends the machine. Therefore
//! the files are not synced, and cost no transaction.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hierophant_model::text::short_artifact_id;
use network_lib::ids::ArtifactId;

use crate::private_files;

/// Age of a file after which it is removed at a start: its proof is no longer waiting for a check.
const MAX_AGE: Duration = Duration::from_secs(31 * 24 * 3600);

/// The folder of begun checks.
#[derive(Debug)]
pub(super) struct BegunChecks {
    folder: PathBuf,
    /// Id of this start of the machine; empty if it is unknown.
    boot: String,
}

/// A check in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct BegunCheck(PathBuf);

/// How a proof is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Possibly beside others.
    Shared,
    /// Without any other.
    Alone,
}

impl Mark {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Alone => "alone",
        }
    }
}

impl BegunChecks {
    /// Opens or creates the folder.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        // Where the system has none, every file counts.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in(folder, boot.trim().to_owned())
    }

    fn open_in(folder: PathBuf, boot: String) -> io::Result<Self> {
        private_files::create_folder(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > MAX_AGE && is_mark(&entry.path()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder, boot })
    }

    /// The check of a proof that was interrupted, if one was. One without any other beside it is removed, because the
    /// proof is refused now.
    pub(super) fn left(&self, proof: ArtifactId) -> Option<Mark> {
        let path = self.folder.join(proof.to_string());
        let text = fs::read_to_string(&path).ok()?;
        let (mark, boot) = text.split_once(' ')?;
        let mark = [Mark::Shared, Mark::Alone].into_iter().find(|it| it.as_str() == mark);
        let mark = mark.filter(|_| boot == self.boot)?;
        if mark == Mark::Alone {
            drop(BegunCheck(path));
        }
        Some(mark)
    }

    /// Begins the check of a proof.
    pub(super) fn begin(&self, proof: ArtifactId, mark: Mark) -> BegunCheck {
        let check = BegunCheck(self.folder.join(proof.to_string()));
        if let Err(error) = fs::write(&check.0, format!("{} {}", mark.as_str(), self.boot)) {
            let artifact = short_artifact_id(proof);
            tracing::warn!(%error, artifact, "cannot note that the check of a proof has begun");
        }
        check
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

    const PROOF: ArtifactId = ArtifactId([7; 16]);

    #[test]
    fn a_check_that_was_interrupted_is_found_until_the_proof_is_refused() {
        let folder = tempfile::tempdir().expect("temp dir");
        let opened = || BegunChecks::open(folder.path().join("checks")).expect("opens");
        assert_eq!(opened().left(PROOF), None);
        for mark in [Mark::Shared, Mark::Alone] {
            // The process ends.
            std::mem::forget(opened().begin(PROOF, mark));
            assert_eq!(opened().left(ArtifactId([8; 16])), None);
            assert_eq!(opened().left(PROOF), Some(mark));
        }
        assert_eq!(opened().left(PROOF), None, "it is refused now");
    }

    #[test]
    fn the_end_of_the_machine_is_blamed_on_no_proof() {
        let folder = tempfile::tempdir().expect("temp dir");
        let opened = |boot: &str| {
            BegunChecks::open_in(folder.path().join("checks"), boot.into()).expect("opens")
        };
        std::mem::forget(opened("monday").begin(PROOF, Mark::Alone));
        assert_eq!(opened("tuesday").left(PROOF), None);
        std::mem::forget(opened("tuesday").begin(PROOF, Mark::Alone));
        assert_eq!(opened("tuesday").left(PROOF), Some(Mark::Alone));
    }

    #[test]
    fn a_check_that_ends_leaves_nothing() {
        let folder = tempfile::tempdir().expect("temp dir");
        let checks = BegunChecks::open(folder.path().to_owned()).expect("opens");
        let files = || fs::read_dir(folder.path()).expect("reads").count();
        for _ in 0..5 {
            let check = checks.begin(PROOF, Mark::Shared);
            assert_eq!(files(), 1);
            drop(check);
            assert_eq!(files(), 0);
        }
    }
}
