//! Keeping a proof in the form in which Hierophant's own tests read it.

use std::path::Path;

use anyhow::{Context, Result};
use sp1_sdk::proof::ProofFromNetwork;
use sp1_sdk::{SP1ProofWithPublicValues, SP1VerifyingKey};

use crate::options::Mode;

/// Strongest level that needs no extra memory to unpack. Proofs are mostly noise: about 60 % remain.
const LEVEL: i32 = 19;

/// Writes the proof as the network served it to `<mode>.zst`, and the program's key to
/// `verifying-key.zst`, both below `folder`.
///
/// # Errors
///
/// When a file cannot be written.
pub fn keep(
    folder: &Path,
    mode: Mode,
    proof: &SP1ProofWithPublicValues,
    key: &SP1VerifyingKey,
) -> Result<()> {
    let SP1ProofWithPublicValues { proof, public_values, sp1_version, .. } = proof.clone();
    let served = bincode::serialize(&ProofFromNetwork { proof, public_values, sp1_version })?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, bytes) in [(mode.as_str(), served), ("verifying-key", bincode::serialize(key)?)] {
        let path = folder.join(format!("{name}.zst"));
        let compressed = zstd::encode_all(bytes.as_slice(), LEVEL)?;
        std::fs::write(&path, compressed)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
