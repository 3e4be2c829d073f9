//! Requirements of PLONK and Groth16 proofs on this machine.
//!
//! SP1 detects missing circuit files or a missing gnark only in the last step, after minutes of work. So a mode is
//! offered only if both are installed.

use std::path::PathBuf;

use network_lib::job::ProofMode;
use sp1_prover::build::{groth16_circuit_artifacts_dir, plonk_circuit_artifacts_dir};

use crate::circuits::{COMPLETE, are_complete};

/// Folder of the circuit files that `mode` needs; none if it needs none.
///
/// # Errors
///
/// When the home folder is unknown.
pub fn folder(mode: ProofMode) -> Option<Result<PathBuf, String>> {
    let folder = match mode {
        ProofMode::Core | ProofMode::Compressed => return None,
        ProofMode::Plonk => plonk_circuit_artifacts_dir(),
        ProofMode::Groth16 => groth16_circuit_artifacts_dir(),
    };
    Some(
        folder.map_err(|error| {
            format!("the folder of circuit files cannot be determined: {error:#}")
        }),
    )
}

/// Why `mode` cannot be proved on this machine; none if it can.
#[must_use]
pub fn missing(mode: ProofMode) -> Option<String> {
    let folder = match folder(mode)? {
        Ok(folder) => folder,
        Err(reason) => return Some(reason),
    };
    if !are_complete(&folder) {
        return Some(format!(
            "the circuit files are missing: {} does not exist",
            folder.join(COMPLETE).display()
        ));
    }
    if cfg!(feature = "enable-native-gnark") || docker_is_installed() {
        return None;
    }
    Some(
        "gnark is missing: expected Docker, or a build with the feature enable-native-gnark"
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

    #[test]
    fn files_are_complete_once_sp1_has_said_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!are_complete(folder.path()));
        std::fs::write(folder.path().join(COMPLETE), "").unwrap();
        assert!(are_complete(folder.path()));
    }
}
