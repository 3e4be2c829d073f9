//! Programs with their verifying keys, of which the latest few are kept.
//!
//! Deriving a verifying key takes half a minute, and a rollup sends the same two or three programs all day: keys are
//! kept in memory, and in files for the next start. Hierophant has no prover and so cannot check the key that a
//! program was registered with; it is checked here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass};
use sp1_node::{LightNode, ProverRuntime};
use sp1_prover::{HashableKey, SP1VerifyingKey};

use super::ProveJob;
use super::keys::KeyFiles;

/// Number of programs that are kept. An ELF and its key take a few megabytes.
const KEPT: usize = 8;

/// A program whose verifying key is known.
pub(super) struct Program {
    pub(super) elf: Arc<Vec<u8>>,
    pub(super) key: SP1VerifyingKey,
    hash: VkHash,
}

/// Sets up programs and keeps the latest few.
pub(super) struct Programs {
    node: LightNode,
    keys: KeyFiles,
    recent: Mutex<VecDeque<(Sha256Digest, Arc<Program>)>>,
}

impl Programs {
    pub(super) async fn new(keys: KeyFiles) -> Self {
        Self { node: LightNode::start().await, keys, recent: Mutex::default() }
    }

    /// The node that executes programs.
    pub(super) fn node(&self) -> &LightNode {
        &self.node
    }

    /// The job's program, set up and checked against its registered key.
    pub(super) async fn prepare(
        &self,
        runtime: &ProverRuntime,
        job: &ProveJob,
    ) -> Result<Arc<Program>, Failure> {
        let program = match self.kept(job.program_digest) {
            Some(program) => program,
            None => {
                let elf = Arc::clone(&job.elf);
                let key = self.key(runtime, job.program_digest, Arc::clone(&elf)).await?;
                let hash = VkHash(key.hash_bytes());
                let program = Arc::new(Program { elf, key, hash });
                self.keep(job.program_digest, Arc::clone(&program));
                program
            }
        };
        if program.hash != job.spec.vk_hash {
            let message = format!(
                "the uploaded program does not match its registered verifying key; its own is {}",
                program.hash
            );
            return Err(Failure::new(FailureClass::Request, message));
        }
        Ok(program)
    }

    /// The program's verifying key, read from its file or derived.
    async fn key(
        &self,
        runtime: &ProverRuntime,
        digest: Sha256Digest,
        elf: Arc<Vec<u8>>,
    ) -> Result<SP1VerifyingKey, Failure> {
        if let Some(bytes) = self.keys.load(digest) {
            match bincode::deserialize(&bytes) {
                Ok(key) => return Ok(key),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "the file of a verifying key cannot be decoded; the key is derived again"
                    );
                }
            }
        }
        // SP1 panics on instructions that it cannot decode, so this runs where a panic is caught.
        let key = runtime
            .run(self.node.setup(elf))
            .await
            .and_then(|outcome| outcome.map_err(|error| format!("{error:#}")))
            .map_err(|reason| {
                Failure::new(
                    FailureClass::Guest,
                    format!("the program could not be loaded: {reason}"),
                )
            })?;
        match bincode::serialize(&key) {
            Ok(bytes) => self.keys.save(digest, &bytes),
            Err(error) => tracing::warn!(%error, "a verifying key cannot be encoded"),
        }
        Ok(key)
    }

    fn kept(&self, digest: Sha256Digest) -> Option<Arc<Program>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let position = recent.iter().position(|(kept, _)| *kept == digest)?;
        let entry = recent.remove(position)?;
        let program = Arc::clone(&entry.1);
        recent.push_front(entry);
        Some(program)
    }

    fn keep(&self, digest: Sha256Digest, program: Arc<Program>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_front((digest, program));
        recent.truncate(KEPT);
    }
}
