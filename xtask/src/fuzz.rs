//! Runs the decoders under libFuzzer, each for a given number of executions, and reports the counts.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::step::{self, Steps};

/// A target that needs more memory than this, in MiB, has failed.
const MOST_MEMORY: u64 = 256;

/// An execution that takes longer, in seconds, has failed.
const LONGEST: u64 = 10;

/// The engine's workspace.
const ENGINE: &str = "fuzz/engine";

/// Runs the named targets, or all.
pub(crate) fn run(steps: &mut Steps, root: &Path, named: &[String], runs: u64) -> Result<()> {
    let all = targets(root)?;
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("unknown target {unknown}: expected one of {}", all.join(", "));
    }
    let chosen = if named.is_empty() { &all } else { named };
    let cargo_fuzz = cargo_fuzz(steps, root)?;
    let mut done = Vec::new();
    for target in chosen {
        let outcome = fuzz(root, &cargo_fuzz, target, runs);
        done.push((target, outcome.with_context(|| format!("target {target} failed"))?));
    }
    println!("\n{:<22} {:>12} {:>14}", "target", "executions", "memory in MiB");
    for (target, Outcome { executions, memory }) in &done {
        println!("{target:<22} {executions:>12} {memory:>14}");
    }
    let total: u64 = done.iter().map(|(_, outcome)| outcome.executions).sum();
    println!("{:<22} {total:>12}", "all");
    Ok(())
}

/// What libFuzzer says at its end.
struct Outcome {
    executions: u64,
    memory: u64,
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(ENGINE).join("fuzz_targets");
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The program `cargo-fuzz`, installed into the engine's build folder.
fn cargo_fuzz(steps: &mut Steps, root: &Path) -> Result<PathBuf> {
    let folder = root.join(ENGINE).join("target/tools");
    let program = folder.join("bin/cargo-fuzz");
    if !program.exists() {
        let into = folder.to_string_lossy().into_owned();
        steps.cargo(
            "cargo-fuzz",
            &["install", "cargo-fuzz", "--version", "^0.13", "--locked", "--root", &into],
        )?;
    }
    Ok(program)
}

fn fuzz(root: &Path, cargo_fuzz: &Path, target: &str, runs: u64) -> Result<Outcome> {
    println!("== {target}");
    let found = root.join(ENGINE).join("corpus").join(target);
    std::fs::create_dir_all(&found)?;
    let mut command = Command::new(cargo_fuzz);
    command.current_dir(root).args(["fuzz", "run", "--fuzz-dir", ENGINE]);
    // No sanitizer: the project has no `unsafe` of its own, and a stable compiler has none to offer.
    command.args(["--sanitizer", "none", target]);
    command.arg(&found).arg(root.join("fuzz/seeds").join(target));
    command.args(["--", "-print_final_stats=1", "-verbosity=0"]);
    command.args([format!("-runs={runs}"), format!("-timeout={LONGEST}")]);
    command.arg(format!("-rss_limit_mb={MOST_MEMORY}"));
    // The engine is built in a folder of its own, whatever the project is built in.
    command.env_remove("CARGO_TARGET_DIR").env("CARGO", step::cargo_program());
    let mut child = command.stderr(Stdio::piped()).spawn().context("cannot run cargo-fuzz")?;
    let lines = BufReader::new(child.stderr.take().context("no output")?).lines();
    let (mut executions, mut memory) = (None, None);
    for line in lines {
        let line = line?;
        match line.strip_prefix("stat::").and_then(|stat| stat.split_once(':')) {
            Some(("number_of_executed_units", number)) => executions = number.trim().parse().ok(),
            Some(("peak_rss_mb", number)) => memory = number.trim().parse().ok(),
            Some(_) => {}
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "libFuzzer found something; the input is named above ({status})");
    let (Some(executions), Some(memory)) = (executions, memory) else {
        bail!("libFuzzer printed no statistics");
    };
    ensure!(executions >= runs, "only {executions} of {runs} executions");
    Ok(Outcome { executions, memory })
}
