//! Verifying keys on disk, so that a restarted Contemplant need not derive them again.
//!
//! One small file for each program, in the folder of its circuit version. Each ends with a digest of its name and
//! content, so that a damaged, truncated or moved file is ignored. A missing file only costs time, so faults are
//! only logged.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use network_lib::ids::Sha256Digest;
use sha2::{Digest, Sha256};
use sp1_prover::SP1_CIRCUIT_VERSION;
use tempfile::NamedTempFile;

/// Size limit of a file, larger than any key.
const MAX_BYTES: u64 = 1 << 20;

/// The files of verifying keys of one circuit version.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    folder: PathBuf,
    circuit_version: String,
}

impl KeyFiles {
    /// Files for keys of this build's circuit version below `folder`, which is created with the first key.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self::of_version(folder, SP1_CIRCUIT_VERSION)
    }

    fn of_version(folder: &Path, circuit_version: &str) -> Self {
        Self { folder: folder.join(circuit_version), circuit_version: circuit_version.to_owned() }
    }

    /// The encoded key of the program with this digest, if its file exists and is intact.
    #[must_use]
    pub fn load(&self, program: Sha256Digest) -> Option<Vec<u8>> {
        let mut bytes = match self.read(program) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "the file of a verifying key cannot be read");
                return None;
            }
        };
        let seal = bytes.split_off(bytes.len().saturating_sub(Sha256Digest::LEN));
        if seal != self.seal(program, &bytes) {
            tracing::warn!("the file of a verifying key is damaged; the key is derived again");
            return None;
        }
        Some(bytes)
    }

    /// Writes the encoded key of the program with this digest.
    pub fn save(&self, program: Sha256Digest, key: &[u8]) {
        if let Err(error) = self.write(program, key) {
            tracing::warn!(%error, "a verifying key cannot be written; the next start derives it again");
        }
    }

    fn path(&self, program: Sha256Digest) -> PathBuf {
        self.folder.join(program.to_string())
    }

    fn read(&self, program: Sha256Digest) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(program))?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, program: Sha256Digest, key: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(key)?;
        file.write_all(&self.seal(program, key))?;
        file.persist(self.path(program))?;
        Ok(())
    }

    fn seal(&self, program: Sha256Digest, key: &[u8]) -> Vec<u8> {
        let mut digest = Sha256::new();
        digest.update((self.circuit_version.len() as u64).to_le_bytes());
        digest.update(&self.circuit_version);
        digest.update(program.as_bytes());
        digest.update(key);
        digest.finalize().to_vec()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PROGRAM: Sha256Digest = Sha256Digest([5; 32]);

    #[test]
    fn a_key_is_found_again_for_its_program_and_version_only() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFiles::of_version(folder.path(), "v6.1.0");
        assert_eq!(keys.load(PROGRAM), None);
        keys.save(PROGRAM, b"a key");
        let again = KeyFiles::of_version(folder.path(), "v6.1.0");
        assert_eq!(again.load(PROGRAM).unwrap(), b"a key");
        assert_eq!(again.load(Sha256Digest([6; 32])), None);
        assert_eq!(KeyFiles::of_version(folder.path(), "v7.0.0").load(PROGRAM), None);
        keys.save(PROGRAM, b"another");
        assert_eq!(again.load(PROGRAM).unwrap(), b"another");
    }

    #[test]
    fn a_damaged_cut_or_moved_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFiles::of_version(folder.path(), "v6.1.0");
        keys.save(PROGRAM, b"a key");
        let path = keys.path(PROGRAM);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(keys.load(PROGRAM), None, "cut to {length} bytes");
        }
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, changed).unwrap();
            assert_eq!(keys.load(PROGRAM), None, "byte {position} changed");
        }
        let other = Sha256Digest([6; 32]);
        fs::write(keys.path(other), &whole).unwrap();
        assert_eq!(keys.load(other), None);
        let newer = KeyFiles::of_version(folder.path(), "v7.0.0");
        fs::create_dir_all(&newer.folder).unwrap();
        fs::write(newer.path(PROGRAM), &whole).unwrap();
        assert_eq!(newer.load(PROGRAM), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_only_costs_time() {
        let file = NamedTempFile::new().unwrap();
        let keys = KeyFiles::of_version(file.path(), "v6.1.0");
        keys.save(PROGRAM, b"a key");
        assert_eq!(keys.load(PROGRAM), None);
    }
}
