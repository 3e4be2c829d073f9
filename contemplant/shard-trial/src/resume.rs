//! `shard-trial resume`: a process that is killed during a proof, and another one that goes on from its shards.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::options::{Program, Proof};

/// Interval between two looks at the kept shards.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(program: &Program, proof: &Proof, kill_after: usize) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let command = || -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("prove").args(program.options()).args(proof.options());
        command.arg("--keep").arg(folder.path());
        Ok(command)
    };
    let start = Instant::now();
    let mut first = command()?.stdout(Stdio::null()).spawn()?;
    while finished_shards(folder.path()) < kill_after {
        if let Some(status) = first.try_wait()? {
            bail!("the first process ended before it was killed: {status}");
        }
        std::thread::sleep(LOOK);
    }
    // SIGKILL.
    first.kill()?;
    first.wait()?;
    let killed_after = start.elapsed().as_secs_f64();
    let kept = finished_shards(folder.path());
    let second = command()?.stderr(Stdio::inherit()).output()?;
    ensure!(second.status.success(), "the second process ended with {}", second.status);
    let second: Value = serde_json::from_slice(&second.stdout).context("the second process")?;
    let found = second["shards_found"].as_u64();
    ensure!(found == Some(kept as u64), "expected {kept} found shards: {second}");
    Ok(json!({
        "killed_after_seconds": killed_after,
        "shards_kept": kept,
        "second": second,
    }))
}

/// Number of complete files of kept shards.
fn finished_shards(folder: &Path) -> usize {
    let jobs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = jobs.flat_map(|job| std::fs::read_dir(job.path()).into_iter().flatten().flatten());
    let is_complete = |name: &str| name.parse::<shard_plan::Key>().is_ok();
    files.filter(|file| file.file_name().to_str().is_some_and(is_complete)).count()
}
