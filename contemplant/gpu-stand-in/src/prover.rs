//! Real executions, and proofs: real ones made on the CPU, or none. Without a prover the proof is a recorded one
//! of this kind with these public values if there is one, else SP1's mock proof.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use sha2::{Digest, Sha256};
use sp1_core_executor::SP1Context;
use sp1_core_machine::io::SP1Stdin;
use sp1_node::{Assignment, LightNode, Node, ProverRuntime, Scope, Settings, Tally, mock_proof};
use sp1_prover::SP1VerifyingKey;
use sp1_prover_types::network_base_types::ProofMode;
use sp1_verifier::{ProofFromNetwork, SP1ProofMode};
use tokio_util::sync::CancellationToken;

/// Real proofs of `examples/fibonacci`; see the README beside them.
const RECORDED: [(SP1ProofMode, &[u8]); 2] = [
    (SP1ProofMode::Core, include_bytes!("../../../hierophant/tests/proofs/core.zst")),
    (SP1ProofMode::Compressed, include_bytes!("../../../hierophant/tests/proofs/compressed.zst")),
];

/// Where proofs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Recorded proofs of the example program, mock proofs of everything else; at once.
    Recorded,
    /// SP1's own prover on the CPU: real proofs, which take minutes and gigabytes.
    Cpu,
}

/// The provers, shared by all connections.
#[derive(Clone)]
pub(crate) struct Engine {
    light: LightNode,
    /// SP1's prover on threads of its own, so that pings are answered meanwhile.
    cpu: Option<(Arc<ProverRuntime>, Arc<Node>)>,
}

impl Engine {
    /// Takes two minutes for [`Source::Cpu`].
    pub(crate) async fn start(source: Source) -> anyhow::Result<Self> {
        let cpu = match source {
            Source::Recorded => None,
            Source::Cpu => {
                let runtime = Arc::new(ProverRuntime::start()?);
                let node = runtime
                    .run(Node::build(Settings::of_sp1(Scope::Every)))
                    .await
                    .map_err(anyhow::Error::msg)??;
                Some((runtime, node))
            }
        };
        Ok(Self { light: LightNode::start().await, cpu })
    }
}

/// The programs of one connection, with the shared provers.
pub(crate) struct Prover {
    engine: Engine,
    programs: HashMap<[u8; 32], (Arc<Vec<u8>>, SP1VerifyingKey)>,
}

impl Prover {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, programs: HashMap::new() }
    }

    /// Adds a program; returns its name and key.
    pub(crate) async fn set_up(
        &mut self,
        elf: Vec<u8>,
    ) -> anyhow::Result<([u8; 32], SP1VerifyingKey)> {
        let id: [u8; 32] = Sha256::digest(&elf).into();
        if let Some((_, key)) = self.programs.get(&id) {
            return Ok((id, key.clone()));
        }
        let elf = Arc::new(elf);
        // Deriving a key takes half a minute.
        let key = match elf.as_slice() == fibonacci::ELF {
            true => bincode::deserialize(fibonacci::VERIFYING_KEY)?,
            false => self.engine.light.setup(Arc::clone(&elf)).await?,
        };
        self.programs.insert(id, (elf, key.clone()));
        Ok((id, key))
    }

    /// Forgets a program.
    pub(crate) fn destroy(&mut self, id: [u8; 32]) {
        self.programs.remove(&id);
    }

    /// Executes a program that was set up, and makes a proof.
    pub(crate) async fn prove(
        &self,
        id: [u8; 32],
        mode: ProofMode,
        stdin: SP1Stdin,
    ) -> anyhow::Result<ProofFromNetwork> {
        let (elf, key) = self.programs.get(&id).context("Missing proving key")?;
        let context = SP1Context::builder().set_deferred_proof_verification(false).build();
        let executed = self.engine.light.execute(Arc::clone(elf), stdin.clone(), context);
        let (values, _, report) = executed.await?;
        ensure!(report.exit_code == 0, "the program ended with exit code {}", report.exit_code);
        let mode = sp1_mode(mode)?;
        if let Some((runtime, node)) = &self.engine.cpu {
            let cycles = report.total_instruction_count();
            let tally = Tally::new(mode, cycles, cycles, None);
            let (elf, key) = (Arc::clone(elf), key.clone());
            let assignment = Assignment { elf, key, stdin, mode, tally, kept: None };
            let proving = runtime.run(node.prove(assignment, CancellationToken::new()));
            return proving.await.and_then(|proof| proof).map_err(anyhow::Error::msg);
        }
        if let Some(proof) = recorded(mode, values.as_slice())? {
            return Ok(proof);
        }
        Ok(mock_proof(key, values, mode))
    }
}

fn sp1_mode(mode: ProofMode) -> anyhow::Result<SP1ProofMode> {
    Ok(match mode {
        ProofMode::Core => SP1ProofMode::Core,
        ProofMode::Compressed => SP1ProofMode::Compressed,
        ProofMode::Plonk => SP1ProofMode::Plonk,
        ProofMode::Groth16 => SP1ProofMode::Groth16,
        ProofMode::UnspecifiedProofMode => bail!("unspecified proof mode"),
    })
}

fn recorded(mode: SP1ProofMode, public_values: &[u8]) -> anyhow::Result<Option<ProofFromNetwork>> {
    let Some((_, packed)) = RECORDED.iter().find(|(recorded, _)| *recorded == mode) else {
        return Ok(None);
    };
    let proof: ProofFromNetwork = bincode::deserialize(&zstd::decode_all(*packed)?)?;
    Ok((proof.public_values.as_slice() == public_values).then_some(proof))
}
