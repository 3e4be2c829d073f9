//! Whether this machine can make PLONK and Groth16 proofs.
//!
//! SP1 finds out only at the very last step, after minutes of work, that circuit files or gnark are
//! missing. So a mode is offered only when both are there.

use network_lib::job::ProofMode;
use sp1_prover::build::{groth16_circuit_artifacts_dir, plonk_circuit_artifacts_dir};

/// Written by SP1 once a circuit's files are complete.
const COMPLETE: &str = ".complete";

/// Why `mode` cannot be proved here, or nothing if it can.
pub(super) fn missing(mode: ProofMode) -> Option<String> {
    let folder = match mode {
        ProofMode::Core | ProofMode::Compressed => return None,
        ProofMode::Plonk => plonk_circuit_artifacts_dir(),
        ProofMode::Groth16 => groth16_circuit_artifacts_dir(),
    };
    let folder = match folder {
        Ok(folder) => folder,
        Err(error) => return Some(format!("no folder for circuit files: {error:#}")),
    };
    if !folder.join(COMPLETE).is_file() {
        return Some(format!(
            "the circuit files are missing: {} does not exist",
            folder.join(COMPLETE).display()
        ));
    }
    if cfg!(feature = "enable-native-gnark") || docker_is_installed() {
        return None;
    }
    Some(
        "neither Docker nor gnark is there: install Docker, or build with the feature \
         enable-native-gnark"
            .to_owned(),
    )
}

fn docker_is_installed() -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("docker").is_file())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn plain_modes_need_nothing() {
        assert_eq!(missing(ProofMode::Core), None);
        assert_eq!(missing(ProofMode::Compressed), None);
    }
}
