//! SP1's light node, which is ready at once: verifying keys and executions.

use std::sync::Arc;

use sp1_core_executor::{ExecutionReport, SP1Context};
use sp1_core_machine::io::SP1Stdin;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::SP1VerifyingKey;
use sp1_prover::worker::SP1LightNode;
use sp1_verifier::SP1Proof;

use crate::BoxFuture;

/// SP1 without a prover.
#[derive(Clone)]
pub struct LightNode(SP1LightNode);

/// Public values, their digest as committed, and the report.
pub type Run = (SP1PublicValues, [u8; 32], ExecutionReport);

impl LightNode {
    /// Takes less than a second.
    pub fn start() -> BoxFuture<Self> {
        Box::pin(async { Self(SP1LightNode::new().await) })
    }

    /// Derives a program's verifying key. Panics inside on an ELF that SP1 cannot decode.
    pub fn setup(&self, elf: Arc<Vec<u8>>) -> BoxFuture<anyhow::Result<SP1VerifyingKey>> {
        let node = self.0.clone();
        Box::pin(async move { node.setup(&elf).await })
    }

    /// Verifies a proof. Computes for seconds.
    ///
    /// # Errors
    ///
    /// Why it does not verify.
    pub fn verify(&self, key: &SP1VerifyingKey, proof: &SP1Proof) -> anyhow::Result<()> {
        self.0.verify(key, proof)
    }

    /// Runs a program as the SDK's own `execute` does. Panics inside on an ELF that SP1 cannot decode.
    pub fn execute(
        &self,
        elf: Arc<Vec<u8>>,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> BoxFuture<anyhow::Result<Run>> {
        let node = self.0.clone();
        Box::pin(async move { node.execute(&elf, stdin, context).await })
    }
}
