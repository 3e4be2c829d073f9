//! One task above the shards of a proof that several workers make.
//!
//! Its inputs are proofs of other workers. They are verified first. So a false one is found together with its maker, and
//! does not reach SP1's engine, which panics at some of them.

use std::borrow::Borrow;

use anyhow::{Context, anyhow, ensure};
use shard_plan::ShardRange;
use slop_algebra::AbstractField;
use sp1_hypercube::{HashableKey, MachineProof, SP1PcsProofInner, SP1PcsProofOuter};
use sp1_hypercube::{SP1RecursionProof, SP1WrapProof};
use sp1_primitives::{SP1Field, SP1GlobalContext, SP1OuterGlobalContext};
use sp1_prover::SP1VerifyingKey;
use sp1_prover::utils::is_recursion_public_values_valid;
use sp1_prover::verify::SP1Verifier;
use sp1_prover::worker::{
    CommonProverInput, RangeProofs, RawTaskRequest, RecursionDeferredTaskRequest, RecursionProof,
    ReduceTaskRequest, TaskMetadata,
};
use sp1_prover_types::{Artifact, TaskType};
use sp1_recursion_executor::RecursionPublicValues;

use super::single::{ProvedTask, Single};
use super::tasks;
use crate::attempt::TaskFailure;
use crate::execution::context;
use crate::record::{range_of, to_sp1};
use crate::runtime::panic_message;

/// A task above the shards.
#[derive(Debug)]
pub struct RecursionAssignment {
    /// Bincode of SP1's `CommonProverInput`.
    pub common: Vec<u8>,
    /// What it joins or wraps.
    pub inputs: RecursionInputs,
}

/// What a task above the shards works on. All proofs are bincode.
#[derive(Debug)]
pub enum RecursionInputs {
    /// SP1's `SP1DeferredData`: proofs of the program's input, which are verified inside a proof.
    Deferred(Vec<u8>),
    /// Proofs that are reduced to one.
    Reduce {
        /// Whether the result is the whole proof.
        complete: bool,
        /// Range of all children.
        range: ShardRange,
        /// SP1's `SP1RecursionProof`s, in the order of their ranges.
        children: Vec<(ShardRange, Vec<u8>)>,
    },
    /// The complete `SP1RecursionProof`, which is shrunk and wrapped.
    ShrinkWrap(Vec<u8>),
    /// The `SP1WrapProof` of a PLONK proof.
    Plonk(Vec<u8>),
    /// The `SP1WrapProof` of a Groth16 proof.
    Groth16(Vec<u8>),
}

/// Why a task above the shards has no result.
#[derive(Debug, thiserror::Error)]
pub enum RecursionError {
    /// Inputs do not prove what they should.
    #[error("{reason}")]
    False {
        /// Their numbers, in the order of the task's inputs.
        inputs: Vec<usize>,
        /// What is wrong with the first of them.
        reason: String,
    },
    /// Each input is right, but they do not belong together.
    #[error("the inputs do not belong together: {0}")]
    Unfit(String),
    /// The prover has failed, or the task was cancelled.
    #[error("{0}")]
    Failed(String),
}

impl From<TaskFailure> for RecursionError {
    fn from(failure: TaskFailure) -> Self {
        match failure.is_rejection {
            true => Self::Unfit(failure.reason),
            false => Self::Failed(failure.reason),
        }
    }
}

impl From<anyhow::Error> for RecursionError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl Single {
    /// Does the task.
    pub(super) async fn join(
        &self,
        assignment: RecursionAssignment,
    ) -> Result<ProvedTask, RecursionError> {
        let RecursionAssignment { common, inputs } = assignment;
        let output = self.name();
        let (kind, request) = self.request(common, inputs, &output).await?;
        let TaskMetadata { gpu_ms } = tasks::run(self.worker(), kind, &request).await?;
        let proof = self.depot().bytes(&output)?;
        self.depot().free(&output);
        let proof = std::sync::Arc::unwrap_or_clone(proof);
        Ok(ProvedTask { proof, prove_ms: gpu_ms.unwrap_or(0) })
    }

    /// SP1's request, once the inputs are verified and in the depot.
    async fn request(
        &self,
        common: Vec<u8>,
        inputs: RecursionInputs,
        output: &Artifact,
    ) -> Result<(TaskType, RawTaskRequest), RecursionError> {
        let decoded: CommonProverInput =
            bincode::deserialize(&common).context("the common input cannot be decoded")?;
        let subject = Subject::of(&decoded);
        let vk = decoded.vk;
        let kind = match &inputs {
            RecursionInputs::Deferred(_) => TaskType::RecursionDeferred,
            RecursionInputs::Reduce { .. } => TaskType::RecursionReduce,
            RecursionInputs::ShrinkWrap(_) => TaskType::ShrinkWrap,
            RecursionInputs::Plonk(_) => TaskType::PlonkWrap,
            RecursionInputs::Groth16(_) => TaskType::Groth16Wrap,
        };
        let context = context(self.proof());
        let output = output.clone();
        let request = match inputs {
            RecursionInputs::Deferred(data) => {
                let (common_input, deferred_data) = (self.put(common)?, self.put(data)?);
                RecursionDeferredTaskRequest { common_input, deferred_data, output, context }
                    .into_raw()
            }
            RecursionInputs::Reduce { complete, range, children } => {
                let checks = children.iter().map(|(range, bytes)| {
                    let (range, bytes) = (*range, bytes.clone());
                    move |verifier: &SP1Verifier| subject.check(verifier, range, &bytes)
                });
                self.verify(checks).await?;
                let child = |(range, bytes)| {
                    let (shard_range, proof) = (to_sp1(range), self.put(bytes)?);
                    Ok(RecursionProof { shard_range, proof })
                };
                let children = children.into_iter().map(child).collect::<anyhow::Result<_>>()?;
                let range_proofs = RangeProofs::new(to_sp1(range), children);
                ReduceTaskRequest { range_proofs, is_complete: complete, output, context }
                    .into_raw()
            }
            RecursionInputs::ShrinkWrap(proof) => {
                let bytes = proof.clone();
                let check = move |verifier: &SP1Verifier| check_complete(verifier, &vk, &bytes);
                self.verify([check]).await?;
                let (inputs, outputs) = (vec![self.put(proof)?], vec![output]);
                Ok(RawTaskRequest { inputs, outputs, context })
            }
            RecursionInputs::Plonk(proof) | RecursionInputs::Groth16(proof) => {
                let bytes = proof.clone();
                let check = move |verifier: &SP1Verifier| check_wrapped(verifier, &vk, &bytes);
                self.verify([check]).await?;
                let (inputs, outputs) = (vec![self.put(proof)?], vec![output]);
                Ok(RawTaskRequest { inputs, outputs, context })
            }
        };
        let request = request.map_err(TaskFailure::from)?;
        Ok((kind, request))
    }

    /// Verifies all inputs, at the same time.
    async fn verify<C>(&self, checks: impl IntoIterator<Item = C>) -> Result<(), RecursionError>
    where
        C: FnOnce(&SP1Verifier) -> anyhow::Result<()> + Send + 'static,
    {
        let started = checks.into_iter().map(|check| {
            let worker = self.worker().clone();
            tokio::task::spawn_blocking(move || check(worker.verifier()))
        });
        let started: Vec<_> = started.collect();
        let (mut inputs, mut reason) = (Vec::new(), None);
        for (number, checked) in started.into_iter().enumerate() {
            // SP1's verifiers panic at some malformed proofs.
            let checked = checked.await.unwrap_or_else(|error| Err(anyhow!(panic_message(error))));
            if let Err(error) = checked {
                inputs.push(number);
                reason.get_or_insert_with(|| format!("input {number} is false: {error:#}"));
            }
        }
        match reason {
            Some(reason) => Err(RecursionError::False { inputs, reason }),
            None => Ok(()),
        }
    }

    /// Puts an input into the depot.
    fn put(&self, bytes: Vec<u8>) -> anyhow::Result<Artifact> {
        let name = self.name();
        self.depot().put(&name, bytes)?;
        Ok(name)
    }
}

/// What all parts of a proof are about.
#[derive(Clone, Copy)]
struct Subject {
    program: [SP1Field; 8],
    nonce: [SP1Field; 4],
}

impl Subject {
    fn of(common: &CommonProverInput) -> Self {
        Self {
            program: common.vk.hash_koalabear(),
            nonce: common.nonce.map(SP1Field::from_canonical_u32),
        }
    }

    /// Checks a proof of a part of the execution.
    fn check(&self, verifier: &SP1Verifier, range: ShardRange, bytes: &[u8]) -> anyhow::Result<()> {
        let proof: SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner> =
            bincode::deserialize(bytes).context("it cannot be decoded")?;
        let SP1RecursionProof { vk, proof, vk_merkle_proof } = proof;
        {
            let values: &RecursionPublicValues<SP1Field> = proof.public_values.as_slice().borrow();
            ensure!(is_recursion_public_values_valid(values), "its public values are invalid");
            let is_about = values.sp1_vk_digest == self.program && values.proof_nonce == self.nonce;
            ensure!(is_about, "it is about another program");
            ensure!(values.vk_root == verifier.recursion_vks.root(), "it has other recursion keys");
            ensure!(range_of(values.range()) == range, "it proves another range");
        }
        let is_known =
            !verifier.vk_verification() || verifier.recursion_vks.verify(&vk_merkle_proof, &vk);
        ensure!(is_known, "its key is not one of SP1's");
        let verified = verifier.compress.verify(&vk, &MachineProof::from(vec![proof]));
        verified.map_err(|error| anyhow!("{error}"))
    }
}

/// Checks a complete recursive proof.
fn check_complete(
    verifier: &SP1Verifier,
    vk: &SP1VerifyingKey,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let proof: SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner> =
        bincode::deserialize(bytes).context("it cannot be decoded")?;
    verifier.verify_compressed(&proof, vk).map_err(|error| anyhow!("{error}"))
}

/// Checks a wrapped proof.
fn check_wrapped(verifier: &SP1Verifier, vk: &SP1VerifyingKey, bytes: &[u8]) -> anyhow::Result<()> {
    let proof: SP1WrapProof<SP1OuterGlobalContext, SP1PcsProofOuter> =
        bincode::deserialize(bytes).context("it cannot be decoded")?;
    verifier.verify_wrap_bn254(&proof, vk).map_err(|error| anyhow!("{error}"))
}
