//! The execution of a program, which cuts it into shards.

use std::sync::Arc;

use anyhow::bail;
use slop_algebra::PrimeField32;
use sp1_core_executor::{ExecutionRecord, Program, SP1CoreOpts, SplitOpts};
use sp1_core_machine::executor::trace_chunk;
use sp1_core_machine::io::SP1Stdin;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::air::PROOF_NONCE_NUM_WORDS;
use sp1_jit::TraceChunk;
use sp1_primitives::SP1Field;
use sp1_prover::SP1VerifyingKey;
use sp1_prover::worker::{
    CommonProverInput, CoreExecuteTaskRequest, DeferredEvents, DeferredInputs, ProofId,
    RequesterId, TaskContext, TraceData,
};
use sp1_prover_types::network_base_types::ProofMode;
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType};
use sp1_verifier::SP1ProofMode;

use crate::depot::Depot;

/// The number that distinguishes proofs of the same statement: always zero, as in the SDK.
const NONCE: [u32; PROOF_NONCE_NUM_WORDS] = [0; PROOF_NONCE_NUM_WORDS];

/// The precompile events of a shard that defers none: bincode of an empty map.
pub(crate) const NO_EVENTS: [u8; 8] = [0; 8];

/// What is executed.
pub(crate) struct Executable {
    pub(crate) elf: Arc<Vec<u8>>,
    pub(crate) key: SP1VerifyingKey,
    pub(crate) stdin: SP1Stdin,
    pub(crate) mode: SP1ProofMode,
}

/// Puts what an execution needs into the depot, and returns its order.
pub(crate) async fn prepared(
    depot: &Depot,
    proof: &ProofId,
    executable: Executable,
) -> anyhow::Result<CoreExecuteTaskRequest> {
    let [elf, stdin, common_input, execution_output] = [(); 4].map(|()| depot.name());
    for artifact in [&elf, &stdin, &common_input, &execution_output] {
        depot.hold(artifact);
    }
    let proofs = executable.stdin.proofs.iter().map(|(proof, _)| proof.clone());
    let deferred = DeferredInputs::new(proofs);
    let common = CommonProverInput {
        vk: executable.key,
        mode: wire_mode(executable.mode),
        deferred_digest: deferred.deferred_digest().map(|word| word.as_canonical_u32()),
        num_deferred_proofs: deferred.num_deferred_proofs(),
        nonce: NONCE,
    };
    depot.upload_program(&elf, executable.elf.to_vec()).await?;
    depot.upload_with_type(&stdin, ArtifactType::Stdin, executable.stdin).await?;
    depot.upload(&common_input, common).await?;
    Ok(CoreExecuteTaskRequest {
        elf,
        stdin,
        common_input,
        execution_output,
        num_deferred_proofs: deferred.num_deferred_proofs(),
        cycle_limit: None,
        context: context(proof),
        machine: RiscvAir::machine(),
        stdin_private: false,
    })
}

/// The context of every task of a proof.
pub(crate) fn context(proof: &ProofId) -> TaskContext {
    TaskContext {
        proof_id: proof.clone(),
        parent_id: None,
        parent_context: None,
        requester_id: RequesterId::new("contemplant"),
    }
}

/// Traces a core shard again, for the precompile events that it defers to other shards.
pub(crate) async fn retrace(
    depot: &Depot,
    opts: SP1CoreOpts,
    elf: &Artifact,
    record: &Artifact,
    events: &Artifact,
) -> anyhow::Result<()> {
    let elf: Vec<u8> = depot.download_program(elf).await?;
    let record = depot.bytes(record)?;
    let traced = tokio::task::spawn_blocking(move || traced(&elf, &record, &opts));
    let (deferred, split) = traced.await??;
    let deferred = DeferredEvents::defer_record(deferred, depot, split).await?;
    depot.upload(events, &deferred).await
}

/// The events that a core shard defers, and how they are split.
fn traced(
    elf: &[u8],
    record: &[u8],
    opts: &SP1CoreOpts,
) -> anyhow::Result<(ExecutionRecord, SplitOpts)> {
    let program = match Program::from(elf) {
        Ok(program) => Arc::new(program),
        Err(error) => bail!("the program cannot be read: {error}"),
    };
    let TraceData::Core(chunk) = bincode::deserialize(record)? else {
        bail!("a core shard's record is that of another kind");
    };
    let chunk: TraceChunk = bincode::deserialize(&chunk)?;
    let empty = ExecutionRecord::new_preallocated(
        Arc::clone(&program),
        NONCE,
        opts.global_dependencies_opt,
        // As SP1 does: at most an eighth of a shard's events are of one kind.
        opts.shard_size >> 3,
    );
    let (_, mut full, _) =
        trace_chunk::<SP1Field>(Arc::clone(&program), opts.clone(), chunk, NONCE, empty)?;
    let deferred = full.defer(&opts.retained_events_presets);
    let split = SplitOpts::new(opts, program.instructions.len(), program.enable_untrusted_programs);
    Ok((deferred, split))
}

/// The mode as SP1's tasks read it.
pub(crate) const fn wire_mode(mode: SP1ProofMode) -> ProofMode {
    match mode {
        SP1ProofMode::Core => ProofMode::Core,
        SP1ProofMode::Compressed => ProofMode::Compressed,
        SP1ProofMode::Plonk => ProofMode::Plonk,
        SP1ProofMode::Groth16 => ProofMode::Groth16,
    }
}
