//! Finding the two programs under test, and building them where that is needed.
//!
//! They are taken from the folder this program was built into, so that they belong to the same
//! profile. `cargo run --bin integration-test` builds only that one binary; so that it works on its
//! own, missing programs, and programs older than their sources, are built here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// Folders whose change makes the programs out of date.
const SOURCES: [&str; 4] = ["hierophant", "contemplant", "network-lib", "proto"];

/// Paths of the programs under test.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The coordinator.
    pub hierophant: PathBuf,
    /// The worker.
    pub contemplant: PathBuf,
}

impl Binaries {
    /// Finds both programs beside this one, and has cargo build them if they are missing or older
    /// than their sources.
    ///
    /// # Errors
    ///
    /// When they cannot be built, or are not there after building.
    pub fn locate() -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let folder = profile_folder(&own).context("this program lies in no build folder")?;
        let binaries = Self {
            hierophant: folder.join(with_suffix("hierophant")),
            contemplant: folder.join(with_suffix("contemplant")),
        };
        if binaries.are_current() {
            return Ok(binaries);
        }
        build(folder)?;
        for program in [&binaries.hierophant, &binaries.contemplant] {
            if !program.exists() {
                bail!("{} is missing even after `cargo build`", program.display());
            }
        }
        Ok(binaries)
    }

    fn are_current(&self) -> bool {
        let Some(built) = [&self.hierophant, &self.contemplant]
            .into_iter()
            .map(|program| modified(program))
            .min()
            .flatten()
        else {
            return false;
        };
        // Away from the repository there is nothing to be older than.
        let Some(root) = workspace() else { return true };
        let newest = SOURCES.iter().filter_map(|folder| newest_in(&root.join(folder))).max();
        newest.is_none_or(|newest| newest <= built)
    }
}

/// The repository's root, where cargo started this program. It is asked for at run time, because one
/// build folder may serve several clones.
fn workspace() -> Option<PathBuf> {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    package.ancestors().find(|folder| folder.join("Cargo.lock").exists()).map(Path::to_owned)
}

fn with_suffix(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

/// `target/release` for both `target/release/integration-test` and `target/release/deps/integration-…`.
fn profile_folder(executable: &Path) -> Option<&Path> {
    let folder = executable.parent()?;
    if folder.ends_with("deps") { folder.parent() } else { Some(folder) }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn newest_in(path: &Path) -> Option<SystemTime> {
    if !path.is_dir() {
        return modified(path);
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.file_name() != "tests" && entry.file_name() != "target")
        .filter_map(|entry| newest_in(&entry.path()))
        .max()
}

fn build(profile_folder: &Path) -> Result<()> {
    let root = workspace().with_context(|| {
        format!(
            "hierophant and contemplant are not in {}: build them first",
            profile_folder.display()
        )
    })?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = profile_folder.parent().context("the build folder has no parent")?;
    let mut command = Command::new(cargo);
    command.current_dir(root).arg("build").arg("--target-dir").arg(target);
    // Cargo has set these to describe this package. Some build scripts watch them, and would have half
    // of the dependencies built anew.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    command.args(["--bin", "hierophant", "--bin", "contemplant"]);
    eprintln!("building hierophant and contemplant");
    let status =
        command.status().context("cannot run cargo to build hierophant and contemplant")?;
    if !status.success() {
        bail!("cargo could not build hierophant and contemplant ({status})");
    }
    Ok(())
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
