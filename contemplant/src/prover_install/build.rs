//! `contemplant prover build`: compiles the program from crates.io, for one GPU architecture.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sp1_primitives::SP1_CRATE_VERSION;
use tempfile::TempPath;
use tokio::process::Command;

pub use super::prerequisites::{Architecture, Check, Machine};
use super::{fault, place, prerequisites, program};

/// Folder of the build in the program's folder. It is kept when the build fails, so that the next one continues.
const STAGING: &str = ".sp1-gpu-server-build";

/// A build of the program.
#[derive(Debug, Clone)]
pub struct Build {
    /// Folder of the program.
    pub folder: PathBuf,
    /// Architecture to build for. Default: that of this machine's GPUs.
    pub architecture: Option<Architecture>,
    /// Whether only the prerequisites are checked.
    pub dry_run: bool,
    /// The machine.
    pub machine: Machine,
}

impl Build {
    /// Checks every prerequisite, each reported by `report`, then builds and installs the program. Returns its path, or
    /// none after a dry run. `show` receives the command before it runs.
    ///
    /// # Errors
    ///
    /// When a prerequisite is missing or the build fails. A program that was there is unchanged.
    pub async fn run(
        &self,
        report: impl FnMut(&Check),
        show: impl FnOnce(&str),
    ) -> anyhow::Result<Option<PathBuf>> {
        let examined = prerequisites::examine(&self.machine, self.architecture, report).await;
        let (is_complete, architecture) = examined;
        let staging = self.folder.join(STAGING);
        show(&shown(&staging, architecture));
        let Some(architecture) = architecture.filter(|_| is_complete) else {
            bail!("prerequisites are missing: expected all of the above to be ok before the build");
        };
        if self.dry_run {
            return Ok(None);
        }
        std::fs::create_dir_all(&staging).map_err(|error| fault::write(error, &self.folder))?;
        let _lock = self.lock(&staging)?;
        self.compile(&staging, architecture).await?;
        let built = staging.join("root/bin").join(program::NAME);
        if !built.is_file() {
            bail!("cargo has succeeded without {}: expected the program there", built.display());
        }
        let target = self.folder.join(program::NAME);
        place::place(TempPath::try_from_path(built)?, &target).await?;
        // The program is installed, whatever is left beside it.
        if let Err(error) = std::fs::remove_dir_all(&staging) {
            tracing::warn!(%error, folder = %staging.display(), "the files of the build cannot be removed");
        }
        Ok(Some(target))
    }

    /// Makes sure that no other build uses the folder, which it would remove under this one.
    fn lock(&self, staging: &Path) -> anyhow::Result<File> {
        let path = staging.join("lock");
        let file = File::create(&path).map_err(|error| fault::write(error, &self.folder))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!("another process builds in {}: wait for its end", staging.display())
            }
            Err(TryLockError::Error(error)) => Err(fault::write(error, &self.folder)),
        }
    }

    async fn compile(&self, staging: &Path, architecture: Architecture) -> anyhow::Result<()> {
        let cargo = self.machine.find("cargo").context("cargo is missing")?;
        let mut command = Command::new(cargo);
        command.args(arguments(staging)).envs(variables(staging, architecture));
        command.env("PATH", &self.machine.path).kill_on_drop(true);
        // Where SP1's build looks for the compiler.
        if let Some(nvcc) = self.machine.find("nvcc").and_then(|nvcc| nvcc.canonicalize().ok()) {
            if std::env::var_os("CUDA_PATH").is_none()
                && let Some(folder) = nvcc.parent().and_then(Path::parent)
            {
                command.env("CUDA_PATH", folder);
            }
            if std::env::var_os("CUDACXX").is_none() {
                command.env("CUDACXX", nvcc);
            }
        }
        let status = command.status().await.context("cannot run cargo")?;
        if !status.success() {
            bail!(
                "cargo has failed ({status}): its last lines name the cause; run this command again to continue, or \
                 remove {} to start over",
                staging.display()
            );
        }
        Ok(())
    }
}

fn arguments(staging: &Path) -> Vec<OsString> {
    let package = format!("{}@={SP1_CRATE_VERSION}", program::NAME);
    let plain = ["install", "--locked", "--force", &package, "--root"];
    let root = staging.join("root").into_os_string();
    plain.into_iter().map(OsString::from).chain([root]).collect()
}

fn variables(staging: &Path, architecture: Architecture) -> [(&'static str, OsString); 2] {
    [
        ("CUDA_ARCHS", architecture.number().to_string().into()),
        // On the disk that was checked: by default cargo compiles in the temporary folder.
        ("CARGO_TARGET_DIR", staging.join("target").into_os_string()),
    ]
}

/// The command as a line of a shell.
fn shown(staging: &Path, architecture: Option<Architecture>) -> String {
    let mut words = Vec::new();
    match architecture {
        Some(architecture) => {
            for (name, value) in variables(staging, architecture) {
                words.push(format!("{name}={}", value.display()));
            }
        }
        None => words.push("CUDA_ARCHS=…".to_owned()),
    }
    words.push("cargo".to_owned());
    words.extend(arguments(staging).iter().map(|word| word.display().to_string()));
    words.join(" ")
}
