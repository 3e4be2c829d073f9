//! Finished proofs on disk, until Hierophant has stored them.
//!
//! A proof may have taken an hour, so it must not be lost with the process. It is written before its upload and removed
//! when Hierophant acknowledges the end of the attempt, or no longer wants it. Each attempt has a folder, named
//! by its lease, which is written under a temporary name and renamed when it is complete.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{BlobInfo, Execution};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Prefix of the names of incomplete folders.
const ASIDE: &str = "incomplete-";

/// The proof as it is uploaded.
const PROOF_FILE: &str = "proof";

/// The other data that an upload needs.
const ATTEMPT_FILE: &str = "attempt.json";

/// A finished proof that Hierophant has not acknowledged.
#[derive(Debug, Clone)]
pub struct FinishedProof {
    /// The attempt's lease.
    pub lease_id: LeaseId,
    /// Result of the execution.
    pub execution: Execution,
    /// Size and digest of the proof.
    pub proof: BlobInfo,
    pub(crate) bytes: KeptBytes,
}

/// Location of bytes that are kept until Hierophant has stored them.
#[derive(Debug, Clone)]
pub(crate) enum KeptBytes {
    File(PathBuf),
    /// They could not be written to disk.
    Memory(Bytes),
}

/// Bytes that are to be handed in.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Size and digest.
    pub(crate) info: BlobInfo,
    /// Location.
    pub(crate) bytes: KeptBytes,
}

/// The content of [`ATTEMPT_FILE`].
#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    lease_id: LeaseId,
    execution: Execution,
    proof: BlobInfo,
}

/// The folder of finished proofs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FinishedProofs {
    folder: Arc<Path>,
}

impl FinishedProofs {
    /// Opens the folder, creating it if necessary, and returns its proofs. Damaged entries are removed; foreign files
    /// are left alone.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or read.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<FinishedProof>)> {
        // A lease id gives access to an attempt's input, so only this user may list the folder.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let finished = Self { folder: folder.into() };
        let mut proofs = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(ASIDE) {
                tracing::warn!("an incomplete proof of a process that died is removed");
                clear(&path);
                continue;
            }
            let Ok(lease_id) = name.parse() else {
                tracing::warn!(path = %path.display(), "a foreign file in the data folder is left alone");
                continue;
            };
            match read(&path, lease_id) {
                Ok(proof) => proofs.push(proof),
                Err(error) if is_damage(&error) => {
                    tracing::warn!(%error, "a finished proof is damaged and is removed");
                    clear(&path);
                }
                Err(error) => {
                    tracing::warn!(%error, "a finished proof cannot be read now and is skipped");
                }
            }
        }
        Ok((finished, proofs))
    }

    /// Stores a proof: on disk, or in memory if it cannot be written. Blocks while it writes.
    #[must_use]
    pub fn keep(&self, lease_id: LeaseId, execution: Execution, bytes: Vec<u8>) -> FinishedProof {
        let sha256 = Sha256Digest(Sha256::digest(&bytes).into());
        let proof = BlobInfo { size: bytes.len() as u64, sha256 };
        let attempt = Attempt { lease_id, execution, proof };
        let bytes = match self.write(&attempt, &bytes) {
            Ok(path) => KeptBytes::File(path),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "a finished proof cannot be written to the data folder; it is kept in memory only"
                );
                KeptBytes::Memory(bytes.into())
            }
        };
        FinishedProof { lease_id, execution, proof, bytes }
    }

    /// Whether this attempt's proof is on disk.
    #[must_use]
    pub fn holds(&self, lease_id: LeaseId) -> bool {
        self.path(lease_id).exists()
    }

    /// Removes this attempt's proof, if any.
    pub fn remove(&self, lease_id: LeaseId) {
        let path = self.path(lease_id);
        if path.exists() {
            clear(&path);
        }
    }

    fn path(&self, lease_id: LeaseId) -> PathBuf {
        self.folder.join(lease_id.to_string())
    }

    fn write(&self, attempt: &Attempt, proof: &[u8]) -> io::Result<PathBuf> {
        let aside = tempfile::Builder::new().prefix(ASIDE).tempdir_in(&self.folder)?;
        write_synced(&aside.path().join(PROOF_FILE), proof)?;
        write_synced(&aside.path().join(ATTEMPT_FILE), &serde_json::to_vec(attempt)?)?;
        File::open(aside.path())?.sync_all()?;
        let path = self.path(attempt.lease_id);
        self.remove(attempt.lease_id);
        fs::rename(aside.path(), &path)?;
        // The temporary folder was renamed, so there is nothing left to clean up.
        let _ = aside.keep();
        File::open(&self.folder)?.sync_all()?;
        Ok(path.join(PROOF_FILE))
    }
}

pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(folder: &Path, lease_id: LeaseId) -> io::Result<FinishedProof> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let attempt: Attempt = serde_json::from_slice(&fs::read(folder.join(ATTEMPT_FILE))?)?;
    if attempt.lease_id != lease_id {
        return Err(damaged("it belongs to another attempt"));
    }
    let path = folder.join(PROOF_FILE);
    if describe(&path)? != attempt.proof {
        return Err(damaged("its bytes have changed since they were written"));
    }
    let Attempt { lease_id, execution, proof } = attempt;
    Ok(FinishedProof { lease_id, execution, proof, bytes: KeptBytes::File(path) })
}

/// Whether an entry is damaged, as opposed to a transient error of the disk.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | IsADirectory | NotADirectory | NotFound | UnexpectedEof)
}

/// Size and digest of a file.
pub(crate) fn describe(path: &Path) -> io::Result<BlobInfo> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(BlobInfo { size, sha256: Sha256Digest(digest.finalize().into()) });
        }
        size += read as u64;
        digest.update(&chunk[..read]);
    }
}

fn clear(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::warn!(%error, "a proof that is no longer needed cannot be removed");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn execution() -> Execution {
        Execution { cycles: 7, gas: Some(8), public_values_hash: Sha256Digest([9; 32]) }
    }

    fn on_disk(proof: &FinishedProof) -> PathBuf {
        match &proof.bytes {
            KeptBytes::File(path) => path.clone(),
            KeptBytes::Memory(_) => panic!("not on disk"),
        }
    }

    #[test]
    fn a_finished_proof_is_found_again_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let held = folder.path().join("held");
        let (finished, found) = FinishedProofs::open(&held).unwrap();
        assert!(found.is_empty());
        assert_eq!(fs::metadata(&held).unwrap().permissions().mode() & 0o777, 0o700);
        let lease = LeaseId::random();
        let kept = finished.keep(lease, execution(), b"a proof".to_vec());
        assert!(finished.holds(lease));

        let (finished, found) = FinishedProofs::open(&held).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].lease_id, found[0].proof), (lease, kept.proof));
        assert_eq!(found[0].execution, execution());
        assert_eq!(fs::read(on_disk(&found[0])).unwrap(), b"a proof");

        finished.remove(lease);
        assert!(!finished.holds(lease));
        assert!(FinishedProofs::open(&held).unwrap().1.is_empty());
    }

    #[test]
    fn what_is_damaged_or_half_written_goes_and_what_is_foreign_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (finished, _) = FinishedProofs::open(folder.path()).unwrap();
        let [cut, changed, no_attempt, misplaced, whole] = [(); 5].map(|()| LeaseId::random());
        let keep = |lease| on_disk(&finished.keep(lease, execution(), b"a proof".to_vec()));
        fs::write(keep(cut), b"a pro").unwrap();
        fs::write(keep(changed), b"a prooF").unwrap();
        fs::write(keep(no_attempt).with_file_name(ATTEMPT_FILE), b"{\"lease_id\":").unwrap();
        let other = keep(misplaced);
        let moved = folder.path().join(LeaseId::random().to_string());
        fs::rename(other.parent().unwrap(), &moved).unwrap();
        keep(whole);
        let aside = folder.path().join(format!("{ASIDE}abc"));
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join(PROOF_FILE), b"a p").unwrap();
        fs::write(folder.path().join("notes.txt"), b"mine").unwrap();

        let (_, found) = FinishedProofs::open(folder.path()).unwrap();
        assert_eq!(found.iter().map(|proof| proof.lease_id).collect::<Vec<_>>(), [whole]);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        let mut expected = ["notes.txt".to_owned(), whole.to_string()];
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_disk_that_takes_nothing_leaves_the_proof_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let held = folder.path().join("held");
        let (finished, _) = FinishedProofs::open(&held).unwrap();
        fs::remove_dir(&held).unwrap();
        fs::write(&held, b"no folder any more").unwrap();
        let lease = LeaseId::random();
        let kept = finished.keep(lease, execution(), b"a proof".to_vec());
        assert!(matches!(&kept.bytes, KeptBytes::Memory(bytes) if bytes.as_ref() == b"a proof"));
        assert_eq!(kept.proof.size, 7);
        assert!(!finished.holds(lease));
    }
}
