//! Programs made ready: ELF checked, verifying key derived, the last few kept.
//!
//! Deriving a verifying key takes half a minute, and a rollup sends the same two or three programs all
//! day: keys are kept in memory, and in files for the next start. Hierophant takes a program's
//! registered key on trust, as it holds no prover; here it is checked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass};
use sp1_node::{LightNode, ProverRuntime};
use sp1_prover::{HashableKey, SP1VerifyingKey};

use super::ProveJob;
use super::keys::KeyFiles;

/// How many programs are kept. An ELF and its key take a few megabytes.
const KEPT: usize = 8;

/// A program whose verifying key is known.
pub(super) struct Program {
    pub(super) elf: Arc<Vec<u8>>,
    pub(super) key: SP1VerifyingKey,
    hash: VkHash,
}

/// Makes programs ready and keeps the last few.
pub(super) struct Programs {
    node: LightNode,
    keys: KeyFiles,
    recent: Mutex<VecDeque<(Sha256Digest, Arc<Program>)>>,
}

impl Programs {
    pub(super) async fn new(keys: KeyFiles) -> Self {
        Self { node: LightNode::start().await, keys, recent: Mutex::default() }
    }

    /// What runs programs.
    pub(super) fn node(&self) -> &LightNode {
        &self.node
    }

    /// The job's program, ready to run, and certainly the one that was registered.
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

    /// The program's verifying key, from its file or derived.
    async fn key(
        &self,
        runtime: &ProverRuntime,
        digest: Sha256Digest,
        elf: Arc<Vec<u8>>,
    ) -> Result<SP1VerifyingKey, Failure> {
        if let Some(bytes) = self.keys.load(digest) {
            match bincode::deserialize(&bytes) {
                Ok(key) => return Ok(key),
                Err(error) => tracing::warn!(%error, "a kept verifying key is derived anew"),
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
            Err(error) => tracing::warn!(%error, "a verifying key cannot be kept"),
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
