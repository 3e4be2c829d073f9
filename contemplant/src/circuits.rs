//! The circuit files of PLONK and Groth16: several gigabytes that SP1 publishes for each circuit version.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use network_lib::job::ProofMode;
use sp1_prover::SP1_CIRCUIT_VERSION;
use tokio::time::sleep;

/// Written by SP1 once a circuit's files are complete.
pub(crate) const COMPLETE: &str = ".complete";

/// After the name of a circuit's folder, in the names of folders beside it in which SP1 collects its files.
const INCOMPLETE: &str = ".incomplete.";

/// How long a fetch may bring nothing. SP1's own sets no limit, and a connection may be lost without an error.
const STALL_LIMIT: Duration = Duration::from_secs(10 * 60);

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
        let fetched = async {
            remove_incomplete(&folder)
                .context("what a killed process has left cannot be removed")?;
            let minutes = STALL_LIMIT.as_secs() / 60;
            tokio::select! {
                fetched = fetch(folder.clone(), circuit) => fetched,
                () = stalled(&folder) => Err(anyhow!("nothing has arrived for {minutes} min")),
            }
        };
        fetched.await.map_err(|error| {
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

/// Folders beside `folder` in which its files are collected.
fn incomplete(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(Vec::new());
    };
    let start = format!("{}{INCOMPLETE}", name.to_string_lossy());
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&start) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes what killed processes have left: gigabytes that no one would use.
fn remove_incomplete(folder: &Path) -> io::Result<()> {
    incomplete(folder)?.into_iter().try_for_each(fs::remove_dir_all)
}

/// Returns when the incomplete files of `folder` have not grown for [`STALL_LIMIT`].
async fn stalled(folder: &Path) {
    let bytes = || incomplete(folder).unwrap_or_default().iter().map(|part| size_of(part)).sum();
    let mut before: u64 = bytes();
    loop {
        sleep(STALL_LIMIT).await;
        let now = bytes();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Bytes of all files below a folder, as far as they can be read.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_of(&entry.path()),
        _ => entry.metadata().map_or(0, |file| file.len()),
    });
    sizes.sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn only_files_that_are_missing_and_needed_are_fetched() {
        let home = tempfile::tempdir().unwrap();
        let fetched = Mutex::new(Vec::new());
        let fetch = |folder: PathBuf, circuit: &'static str| {
            fetched.lock().unwrap().push(circuit);
            async move {
                fs::create_dir_all(&folder)?;
                Ok(fs::write(folder.join(COMPLETE), "")?)
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

    #[tokio::test(start_paused = true)]
    async fn a_fetch_may_be_slow_but_must_bring_something() {
        let home = tempfile::tempdir().unwrap();
        let slow = |folder: PathBuf, _: &'static str| async move {
            let part = folder.with_file_name(format!("{SP1_CIRCUIT_VERSION}{INCOMPLETE}1"));
            fs::create_dir_all(part.join("below"))?;
            let mut file = File::create(part.join("below/archive"))?;
            for _ in 0..20 {
                sleep(STALL_LIMIT - Duration::from_secs(60)).await;
                file.write_all(b"bytes")?;
            }
            fs::write(part.join(COMPLETE), "")?;
            Ok(fs::rename(part, folder)?)
        };
        provide(home.path(), &[ProofMode::Plonk], slow).await.unwrap();
        assert!(are_complete(&folder_below(home.path(), ProofMode::Plonk).unwrap()));
        let silent = |_: PathBuf, _: &'static str| std::future::pending();
        let reason = provide(home.path(), &[ProofMode::Groth16], silent).await.unwrap_err();
        assert!(reason.contains("nothing has arrived for 10 min"), "{reason}");
    }

    #[tokio::test]
    async fn what_a_killed_fetch_has_left_is_removed_by_the_next_one() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_below(home.path(), ProofMode::Plonk).unwrap();
        let parent = folder.parent().unwrap();
        let left = parent.join(format!("{SP1_CIRCUIT_VERSION}{INCOMPLETE}x7"));
        let other = parent.join("v0.0.1");
        fs::create_dir_all(&left).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(left.join("artifacts.tar.gz"), "half").unwrap();
        let fetch = |_: PathBuf, _: &'static str| async { anyhow::bail!("no route to host") };
        provide(home.path(), &[ProofMode::Plonk], fetch).await.unwrap_err();
        assert!(!left.exists() && other.exists());
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
