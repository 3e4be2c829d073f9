//! Programs with their verifying keys, of which the latest few are kept.
//!
//! Deriving a verifying key takes half a minute, and a rollup sends the same two or three programs all day: keys are
//! kept in memory, and in files for the next start. Hierophant has no prover and so cannot check the key that a
//! program was registered with; it is checked here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass, PROGRAM_MISMATCH};
use sp1_prover::{HashableKey, SP1VerifyingKey};

use super::keys::KeyFiles;

/// Number of programs that are kept. An ELF and its key take a few megabytes.
const KEPT: usize = 8;

/// A program whose verifying key is known.
pub(super) struct Program {
    pub(super) elf: Arc<Vec<u8>>,
    pub(super) key: SP1VerifyingKey,
    hash: VkHash,
}

impl Program {
    /// A program with its verifying key.
    pub(super) fn new(elf: Arc<Vec<u8>>, key: SP1VerifyingKey) -> Arc<Self> {
        let hash = VkHash(key.hash_bytes());
        Arc::new(Self { elf, key, hash })
    }

    /// Checks that the program is the one that was registered.
    pub(super) fn check(&self, registered: VkHash) -> Result<(), Failure> {
        if self.hash == registered {
            return Ok(());
        }
        let message = format!("{PROGRAM_MISMATCH}; its own is {}", self.hash);
        Err(Failure::new(FailureClass::Request, message))
    }
}

/// The latest few programs.
pub(super) struct Programs {
    keys: KeyFiles,
    recent: Mutex<VecDeque<(Sha256Digest, Arc<Program>)>>,
}

impl Programs {
    pub(super) fn new(keys: KeyFiles) -> Self {
        Self { keys, recent: Mutex::default() }
    }

    /// The program, if its key is in memory or in a file.
    pub(super) fn find(&self, digest: Sha256Digest, elf: &Arc<Vec<u8>>) -> Option<Arc<Program>> {
        if let Some(program) = self.kept(digest) {
            return Some(program);
        }
        match bincode::deserialize(&self.keys.load(digest)?) {
            Ok(key) => Some(self.keep(digest, Program::new(Arc::clone(elf), key))),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the file of a verifying key cannot be decoded; the key is derived again"
                );
                None
            }
        }
    }

    /// Adds a program whose key was derived.
    pub(super) fn add(
        &self,
        digest: Sha256Digest,
        elf: Arc<Vec<u8>>,
        key: SP1VerifyingKey,
    ) -> Arc<Program> {
        match bincode::serialize(&key) {
            Ok(bytes) => self.keys.save(digest, &bytes),
            Err(error) => tracing::warn!(%error, "a verifying key cannot be encoded"),
        }
        self.keep(digest, Program::new(elf, key))
    }

    fn kept(&self, digest: Sha256Digest) -> Option<Arc<Program>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let position = recent.iter().position(|(kept, _)| *kept == digest)?;
        let entry = recent.remove(position)?;
        let program = Arc::clone(&entry.1);
        recent.push_front(entry);
        Some(program)
    }

    fn keep(&self, digest: Sha256Digest, program: Arc<Program>) -> Arc<Program> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_front((digest, Arc::clone(&program)));
        recent.truncate(KEPT);
        program
    }
}
