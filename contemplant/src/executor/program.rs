//! Programs made ready: ELF checked, verifying key derived, the last few kept.
//!
//! Deriving a verifying key takes seconds, and a rollup sends the same two or three programs all day.
//! Hierophant takes a program's registered key on trust, as it holds no prover; here it is checked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass};
use sp1_node::{LightNode, ProverRuntime};
use sp1_sdk::{HashableKey, SP1VerifyingKey};

use super::{ProveJob, failure};

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
    recent: Mutex<VecDeque<(Sha256Digest, Arc<Program>)>>,
}

impl Programs {
    pub(super) async fn new() -> Self {
        Self { node: LightNode::start().await, recent: Mutex::default() }
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
                let program = self.derive(runtime, Arc::clone(&job.elf)).await?;
                self.keep(job.program_digest, Arc::clone(&program));
                program
            }
        };
        if program.hash != job.spec.vk_hash {
            let message = format!(
                "the uploaded program does not match its registered verifying key; its own is {}",
                program.hash
            );
            return Err(failure(FailureClass::Request, message));
        }
        Ok(program)
    }

    async fn derive(
        &self,
        runtime: &ProverRuntime,
        elf: Arc<Vec<u8>>,
    ) -> Result<Arc<Program>, Failure> {
        // SP1 panics on instructions that it cannot decode, so this runs where a panic is caught.
        let key = runtime
            .run(self.node.setup(Arc::clone(&elf)))
            .await
            .and_then(|outcome| outcome.map_err(|error| format!("{error:#}")))
            .map_err(|reason| {
                failure(FailureClass::Guest, format!("the program could not be loaded: {reason}"))
            })?;
        let hash = VkHash(key.hash_bytes());
        Ok(Arc::new(Program { elf, key, hash }))
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
