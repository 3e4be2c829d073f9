//! `shard-trial survey`: the shards of a program, the sizes of their records, and whether another process finds the same.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sp1_node::{LightNode, ProverRuntime, SurveyedShard};

use crate::cost::Step;
use crate::options::Program;

/// Level of zstd whose effect on records is measured.
const LEVEL: i32 = 1;

pub(crate) async fn run(program: &Program, once: bool) -> anyhow::Result<Value> {
    let runtime = ProverRuntime::start()?;
    let node = runtime.run(LightNode::start()).await.map_err(anyhow::Error::msg)?;
    let loaded = program.load(&node).await?;
    let found: Arc<Mutex<Vec<SurveyedShard>>> = Arc::default();
    let list = Arc::clone(&found);
    let add = move |shard| list.lock().unwrap_or_else(PoisonError::into_inner).push(shard);
    let step = Step::begin()?;
    let survey = runtime.run(sp1_node::survey(loaded.elf, loaded.key, loaded.stdin, add));
    let survey = survey.await.map_err(anyhow::Error::msg)??;
    let cost = step.end()?;
    let mut shards = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    shards.sort_by_key(|shard| (shard.kind, shard.clocks, shard.key));
    let mut result = json!({
        "cycles": survey.cycles,
        "execution_seconds": survey.elapsed.as_secs_f64(),
        "cycles_per_second": survey.cycles as f64 / survey.elapsed.as_secs_f64(),
        "cost": cost,
        "waiting_peak_bytes": survey.peak_bytes,
        "compression": compression(&shards)?,
        "shards": shards.iter().map(described).collect::<Vec<_>>(),
    });
    if !once {
        let other = in_another_process(program)?;
        let same = other["shards"] == result["shards"];
        ensure!(same, "another process has found other shards: {}", other["shards"]);
        result["same_in_another_process"] = json!(same);
    }
    Ok(result)
}

fn described(shard: &SurveyedShard) -> Value {
    json!({
        "kind": shard.kind,
        "key": shard.key,
        "clocks": shard.clocks,
        "record_bytes": shard.record.len(),
    })
}

fn compression(shards: &[SurveyedShard]) -> anyhow::Result<Value> {
    let (mut before, mut after) = (0, 0);
    let start = Instant::now();
    for shard in shards {
        before += shard.record.len();
        after += zstd::encode_all(shard.record.as_slice(), LEVEL)?.len();
    }
    let rate = before as f64 / start.elapsed().as_secs_f64();
    Ok(json!({
        "zstd_level": LEVEL,
        "bytes": before,
        "compressed_bytes": after,
        "bytes_per_second": rate,
    }))
}

fn in_another_process(program: &Program) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["survey", "--once"]).args(program.options()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the result of the other process")
}
