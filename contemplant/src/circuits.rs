//! The circuit files of PLONK and Groth16: several gigabytes that SP1 publishes for each circuit version.

use std::path::{Path, PathBuf};

use network_lib::job::ProofMode;
use sp1_prover::SP1_CIRCUIT_VERSION;

/// Written by SP1 once a circuit's files are complete.
pub(crate) const COMPLETE: &str = ".complete";

/// SP1's name of the circuit that `mode` needs; none if it needs none.
fn circuit_of(mode: ProofMode) -> Option<&'static str> {
    match mode {
        ProofMode::Core | ProofMode::Compressed => None,
        ProofMode::Plonk => Some("plonk"),
        ProofMode::Groth16 => Some("groth16"),
    }
}

/// Folder of the circuit files that `mode` needs in a home folder; none if it needs none.
pub(crate) fn folder_below(home: &Path, mode: ProofMode) -> Option<PathBuf> {
    Some(home.join(".sp1/circuits").join(circuit_of(mode)?).join(SP1_CIRCUIT_VERSION))
}

/// Whether the circuit files in `folder` are complete.
pub(crate) fn are_complete(folder: &Path) -> bool {
    folder.join(COMPLETE).is_file()
}

/// Fetches the files of `circuit` into `folder`, from the address that SP1 has built in.
///
/// # Errors
///
/// When they cannot be fetched or unpacked; then nothing is left in `folder`.
pub(crate) async fn fetch(folder: PathBuf, circuit: &'static str) -> anyhow::Result<()> {
    sp1_prover::build::install_circuit_artifacts(folder, circuit).await
}

/// Has `fetch` provide the files that `modes` need and that are missing in the home folder `home`.
///
/// # Errors
///
/// Which files are missing and why, with the remedy.
pub(crate) async fn provide<F>(
    home: &Path,
    modes: &[ProofMode],
    fetch: impl Fn(PathBuf, &'static str) -> F,
) -> Result<(), String>
where
    F: Future<Output = anyhow::Result<()>>,
{
    for mode in modes {
        let Some((circuit, folder)) = circuit_of(*mode).zip(folder_below(home, *mode)) else {
            continue;
        };
        if are_complete(&folder) {
            continue;
        }
        tracing::info!(
            circuit,
            folder = %folder.display(),
            "fetching circuit files of several gigabytes; this may take minutes"
        );
        fetch(folder.clone(), circuit).await.map_err(|error| {
            format!(
                "the circuit files of {circuit} are missing in {} and cannot be fetched ({error:#}): copy them from \
                 a machine that has them, or remove {circuit} from `modes`",
                folder.display()
            )
        })?;
        tracing::info!(circuit, "circuit files fetched");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn only_files_that_are_missing_and_needed_are_fetched() {
        let home = tempfile::tempdir().unwrap();
        let fetched = Mutex::new(Vec::new());
        let fetch = |folder: PathBuf, circuit: &'static str| {
            fetched.lock().unwrap().push(circuit);
            async move {
                std::fs::create_dir_all(&folder)?;
                Ok(std::fs::write(folder.join(COMPLETE), "")?)
            }
        };
        let plain = [ProofMode::Core, ProofMode::Compressed];
        provide(home.path(), &plain, fetch).await.unwrap();
        provide(home.path(), &[ProofMode::Core, ProofMode::Plonk], fetch).await.unwrap();
        provide(home.path(), &ProofMode::ALL, fetch).await.unwrap();
        assert_eq!(*fetched.lock().unwrap(), ["plonk", "groth16"]);
    }

    #[tokio::test]
    async fn files_that_cannot_be_fetched_are_named_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        let fetch = |_: PathBuf, _: &'static str| async { anyhow::bail!("no route to host") };
        let reason = provide(home.path(), &[ProofMode::Plonk], fetch).await.unwrap_err();
        let folder = home.path().join(".sp1/circuits/plonk").join(SP1_CIRCUIT_VERSION);
        for part in [&*folder.to_string_lossy(), "no route to host", "remove plonk from `modes`"] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn the_folder_is_the_one_that_sp1_looks_into() {
        // SP1 takes the home folder from the environment, as a server in a container does.
        let Some(home) = std::env::var_os("HOME") else { return };
        if std::env::var_os("SP1_PLONK_CIRCUIT_PATH").is_none() {
            let folder = sp1_prover::build::plonk_circuit_artifacts_dir().unwrap();
            assert_eq!(folder_below(Path::new(&home), ProofMode::Plonk), Some(folder));
        }
        if std::env::var_os("SP1_GROTH16_CIRCUIT_PATH").is_none() {
            let folder = sp1_prover::build::groth16_circuit_artifacts_dir().unwrap();
            assert_eq!(folder_below(Path::new(&home), ProofMode::Groth16), Some(folder));
        }
    }
}
