//! A bundle for a machine with a GPU: the trial's programs, the prover server, and one script to start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::step::Steps;

/// The programs of a trial with SP1's server, and with the stand-in.
const PROGRAMS: [&str; 3] = ["hierophant", "contemplant", "gpu-suite"];

/// The program in place of the server, where the trial itself is tried.
const STAND_IN: &str = "gpu-stand-in";

/// Name of the server's program in the bundle.
const SERVER: &str = "sp1-gpu-server";

/// Starts the trial on the other machine.
const SCRIPT: &str = "deploy/gpu/run.sh";

/// Folder in the archive.
const FOLDER: &str = "gpu-trial";

/// The oldest processor that the programs run on: one with AVX2, as beside any GPU that SP1 supports.
const PROCESSOR: &str = "-C target-cpu=x86-64-v3";

/// Where programs for other machines are built.
const TARGET: &str = "target/gpu-trial";

/// What is done about a trial on a GPU.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Run the trial on this machine: `--server FILE`, `--fetch SHA256` or `--stand-in`; try `--help`.
    Run {
        /// Passed on to `gpu-suite trial`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Pack all that a machine with a GPU and without Rust needs for the trial into one archive.
    Bundle(Bundle),
    /// Put the figures of a trial, figures.json, into docs/gpu.md.
    Page {
        /// The file.
        figures: PathBuf,
    },
}

/// What goes into the archive.
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The prover server's program. Without it the other machine fetches SP1's release.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Take the stand-in in place of the server, to try the archive on a machine without a GPU.
    #[arg(long, conflicts_with = "server")]
    stand_in: bool,
    /// Take programs that were built before from this folder, for machines whose processor can run them.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// The archive; its ending chooses the compression.
    #[arg(long, value_name = "FILE", default_value = "target/gpu-trial.tar.xz")]
    out: PathBuf,
}

/// Packs the archive.
pub(crate) fn bundle(steps: &mut Steps, root: &Path, bundle: &Bundle) -> Result<()> {
    let mut names = PROGRAMS.to_vec();
    if bundle.stand_in {
        names.push(STAND_IN);
    }
    let programs = match &bundle.programs {
        Some(folder) => folder.clone(),
        None => build(steps, root, &names)?,
    };
    let mut files: Vec<(PathBuf, &str)> =
        names.iter().map(|name| (programs.join(name), *name)).collect();
    if let Some(server) = &bundle.server {
        files.push((server.clone(), SERVER));
    }
    let out = std::path::absolute(&bundle.out).context("no current folder")?;
    steps.here("archive", || pack(root, &files, &out))?;
    let bytes = out.metadata().context("the archive is missing")?.len();
    println!(
        "{}: {} MB. On the machine with the GPU: tar -xf {} && {FOLDER}/run.sh",
        out.display(),
        bytes / 1_000_000,
        out.file_name().unwrap_or_default().display()
    );
    Ok(())
}

/// Builds the programs for any processor with AVX2; returns their folder.
fn build(steps: &mut Steps, root: &Path, names: &[&str]) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--release", "--workspace", "--target-dir", TARGET];
    arguments.extend(names.iter().flat_map(|name| ["--bin", *name]));
    steps.cargo_with("programs for other machines", &arguments, &[("RUSTFLAGS", PROCESSOR)])?;
    Ok(root.join(TARGET).join("release"))
}

/// Lays the files and the script into a folder, and packs it.
fn pack(root: &Path, files: &[(PathBuf, &str)], out: &Path) -> Result<()> {
    let parent = out.parent().context("the archive needs a folder")?;
    std::fs::create_dir_all(parent)
        .with_context(|| format!("cannot create {}", parent.display()))?;
    let staging = parent.join("gpu-trial-staging");
    let folder = staging.join(FOLDER);
    let packed = lay_out(root, files, &folder).and_then(|()| {
        let mut tar = Command::new("tar");
        tar.arg("--auto-compress").arg("-cf").arg(out).arg("-C").arg(&staging).arg(FOLDER);
        // The programs have much of SP1 in common, which xz finds only with its largest dictionary: a fifth less.
        tar.env("XZ_OPT", "-9");
        succeeds(&mut tar)
    });
    let removed = std::fs::remove_dir_all(&staging);
    packed?;
    removed.with_context(|| format!("cannot remove {}", staging.display()))
}

fn lay_out(root: &Path, files: &[(PathBuf, &str)], folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for (file, name) in files {
        ensure!(file.is_file(), "{} is missing: expected the program {name}", file.display());
        // Symbols are two thirds of a program, and the archive is carried.
        succeeds(Command::new("strip").arg("-o").arg(folder.join(name)).arg(file))?;
    }
    let script = folder.join("run.sh");
    std::fs::copy(root.join(SCRIPT), &script).context("cannot copy run.sh").map(drop)
}

fn succeeds(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} has failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_programs_and_the_script() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let own = std::env::current_exe().expect("this program");
        let out = folder.path().join("new/bundle.tar.gz");
        let files = [(own.clone(), "gpu-suite"), (own, SERVER)];
        pack(&root, &files, &out).expect("packed");
        let listed = Command::new("tar").arg("-tzvf").arg(&out).output().expect("tar runs");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        for name in ["gpu-suite", SERVER, "run.sh"] {
            let suffix = format!(" {FOLDER}/{name}");
            let line = text.lines().find(|line| line.ends_with(&suffix));
            assert!(line.is_some_and(|line| line.starts_with("-rwx")), "{name} in {text}");
        }
        assert!(!folder.path().join("new/gpu-trial-staging").exists());
    }

    #[test]
    fn a_missing_program_is_named_and_leaves_no_archive() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let out = folder.path().join("bundle.tar.gz");
        let missing = folder.path().join("gpu-suite");
        let error = pack(&root, &[(missing, "gpu-suite")], &out).expect_err("must fail");
        assert!(error.to_string().contains("expected the program gpu-suite"), "{error}");
        assert!(!out.exists());
    }
}
