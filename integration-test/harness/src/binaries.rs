//! The programs under test: found, or built where that is needed.
//!
//! They are taken from the folder that this program was built into, so that they belong to the same profile.
//! `cargo run` and `cargo test` build only the suite itself; so that it works on its own, a program that is
//! missing, or older than its sources, is built here. A variable may name another file instead.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

/// A program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The coordinator; `HIEROPHANT_BIN`.
    Hierophant,
    /// The worker; `CONTEMPLANT_BIN`.
    Contemplant,
    /// The program that acts as SP1's GPU server; `GPU_STAND_IN_BIN`.
    GpuStandIn,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Hierophant => "hierophant",
            Self::Contemplant => "contemplant",
            Self::GpuStandIn => "gpu-stand-in",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Hierophant => "HIEROPHANT_BIN",
            Self::Contemplant => "CONTEMPLANT_BIN",
            Self::GpuStandIn => "GPU_STAND_IN_BIN",
        }
    }

    /// Folders of the repository whose change makes it out of date.
    const fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Hierophant => &["hierophant", "network-lib", "proto"],
            Self::Contemplant => &["contemplant", "network-lib", "shard-plan"],
            Self::GpuStandIn => {
                &["contemplant/gpu-stand-in", "contemplant/sp1-node", "network-lib", "shard-plan"]
            }
        }
    }

    /// Finds it, and has cargo build it if it is missing or older than its sources.
    ///
    /// # Errors
    ///
    /// When it cannot be built, or is not there after building.
    pub fn locate(self) -> Result<PathBuf> {
        if let Some(named) = std::env::var_os(self.variable()).map(PathBuf::from) {
            ensure!(named.is_file(), "{}: {} is missing", self.variable(), named.display());
            return Ok(named);
        }
        let folder = own_folder()?;
        let file = folder.join(format!("{}{}", self.name(), std::env::consts::EXE_SUFFIX));
        if !self.is_current(&file) {
            self.build(&folder)?;
            ensure!(file.is_file(), "{} is missing even after `cargo build`", file.display());
        }
        Ok(file)
    }

    fn is_current(self, file: &Path) -> bool {
        let Some(built) = modified(file) else { return false };
        // Away from the repository there is nothing to be older than.
        let Some(root) = workspace() else { return true };
        let newest = self.sources().iter().filter_map(|source| newest_in(&root.join(source))).max();
        newest.is_none_or(|newest| newest <= built)
    }

    fn build(self, folder: &Path) -> Result<()> {
        let name = self.name();
        let root = workspace().with_context(|| {
            format!(
                "{name} is missing in {}: build it first, start this suite by `cargo xtask`, or name the program \
                 in {}",
                folder.display(),
                self.variable()
            )
        })?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = folder.parent().context("the build folder has no parent")?;
        let mut command = Command::new(cargo);
        command.current_dir(root).args(["build", "--bin", name, "--target-dir"]).arg(target);
        // Cargo has set these to describe this package. Some build scripts watch them, and would have half of
        // the dependencies built again.
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
            command.env_remove(variable);
        }
        command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => {
                command.args(["--profile", profile]);
            }
        }
        eprintln!("building {name}");
        let status = command.status();
        let status = status.with_context(|| format!("cannot run cargo to build {name}"))?;
        if !status.success() {
            bail!("cargo could not build {name} ({status})");
        }
        Ok(())
    }
}

/// Paths of both programs under test.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The coordinator.
    pub hierophant: PathBuf,
    /// The worker.
    pub contemplant: PathBuf,
}

impl Binaries {
    /// Finds both programs, see [`Program::locate`].
    ///
    /// # Errors
    ///
    /// Those of [`Program::locate`].
    pub fn locate() -> Result<Self> {
        Ok(Self {
            hierophant: Program::Hierophant.locate()?,
            contemplant: Program::Contemplant.locate()?,
        })
    }
}

/// The folder of the programs of this build.
///
/// # Errors
///
/// When this program's own path is unknown.
pub fn own_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let folder = profile_folder(&own).context("this program is not in a build folder")?;
    Ok(folder.to_owned())
}

/// The repository's root, where cargo started this program. It is asked for at run time, because one
/// build folder may serve several clones.
fn workspace() -> Option<PathBuf> {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    package.ancestors().find(|folder| folder.join("Cargo.lock").exists()).map(Path::to_owned)
}

/// Build folder of an executable: `target/release` for `target/release/integration-test` and for
/// `target/release/deps/integration-…`.
fn profile_folder(executable: &Path) -> Option<&Path> {
    let folder = executable.parent()?;
    if folder.ends_with("deps") { folder.parent() } else { Some(folder) }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn newest_in(path: &Path) -> Option<SystemTime> {
    // No part of the programs.
    const OTHERS: [&str; 4] = ["tests", "target", "gpu-stand-in", "shard-trial"];
    if !path.is_dir() {
        return modified(path);
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries
        .flatten()
        .filter(|entry| OTHERS.iter().all(|other| entry.file_name() != *other))
        .filter_map(|entry| newest_in(&entry.path()))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_tests_share_one_profile_folder() {
        let folder = Path::new("/t/release");
        assert_eq!(profile_folder(Path::new("/t/release/integration-test")), Some(folder));
        assert_eq!(profile_folder(Path::new("/t/release/deps/integration-1f")), Some(folder));
    }
}
