//! Executing programs for real, and proofs that need no prover: the recorded one where there is one of
//! this kind with these public values, else SP1's mock proof.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use sp1_node::LightNode;
use sp1_prover_types::network_base_types::ProofMode;
use sp1_sdk::{
    ProofFromNetwork, SP1_CIRCUIT_VERSION, SP1Context, SP1ProofMode, SP1ProofWithPublicValues,
    SP1Stdin, SP1VerifyingKey,
};

/// Real proofs of `examples/fibonacci`; see the README beside them.
const RECORDED: [(ProofMode, &[u8]); 2] = [
    (ProofMode::Core, include_bytes!("../../hierophant/tests/proofs/core.zst")),
    (ProofMode::Compressed, include_bytes!("../../hierophant/tests/proofs/compressed.zst")),
];

/// What one connection's programs are proved with.
pub(crate) struct Prover {
    node: LightNode,
    programs: HashMap<[u8; 32], (Arc<Vec<u8>>, SP1VerifyingKey)>,
}

impl Prover {
    pub(crate) fn new(node: LightNode) -> Self {
        Self { node, programs: HashMap::new() }
    }

    /// Learns a program; returns its name and key.
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
            false => self.node.setup(Arc::clone(&elf)).await?,
        };
        self.programs.insert(id, (elf, key.clone()));
        Ok((id, key))
    }

    /// Forgets a program.
    pub(crate) fn destroy(&mut self, id: [u8; 32]) {
        self.programs.remove(&id);
    }

    /// Executes a program that is known, and makes a proof.
    pub(crate) async fn prove(
        &self,
        id: [u8; 32],
        mode: ProofMode,
        stdin: SP1Stdin,
    ) -> anyhow::Result<ProofFromNetwork> {
        let (elf, key) = self.programs.get(&id).context("Missing proving key")?;
        let context = SP1Context::builder().set_deferred_proof_verification(false).build();
        let (values, _, report) = self.node.execute(Arc::clone(elf), stdin, context).await?;
        ensure!(report.exit_code == 0, "the program ended with exit code {}", report.exit_code);
        if let Some(proof) = recorded(mode, values.as_slice())? {
            return Ok(proof);
        }
        let mode = match mode {
            ProofMode::Core => SP1ProofMode::Core,
            ProofMode::Compressed => SP1ProofMode::Compressed,
            ProofMode::Plonk => SP1ProofMode::Plonk,
            ProofMode::Groth16 => SP1ProofMode::Groth16,
            ProofMode::UnspecifiedProofMode => bail!("no kind of proof"),
        };
        let proof =
            SP1ProofWithPublicValues::create_mock_proof(key, values, mode, SP1_CIRCUIT_VERSION);
        let SP1ProofWithPublicValues { proof, public_values, sp1_version, .. } = proof;
        Ok(ProofFromNetwork { proof, public_values, sp1_version })
    }
}

fn recorded(mode: ProofMode, public_values: &[u8]) -> anyhow::Result<Option<ProofFromNetwork>> {
    let Some((_, packed)) = RECORDED.iter().find(|(recorded, _)| *recorded == mode) else {
        return Ok(None);
    };
    let proof: ProofFromNetwork = bincode::deserialize(&zstd::decode_all(*packed)?)?;
    Ok((proof.public_values.as_slice() == public_values).then_some(proof))
}
