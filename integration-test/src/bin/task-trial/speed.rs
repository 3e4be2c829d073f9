//! The same proof by one Contemplant and by two.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use integration_test::network::ContemplantSettings;
use integration_test::options::Mode;
use serde_json::{Value, json};

use crate::Size;
use crate::trial::{Trial, name, pinned};

/// Wanted: two Contemplants are at least so much faster than one.
const SPEED_UP: f64 = 1.8;

/// Wanted: one Contemplant takes at most so many times what an earlier version takes.
const OF_EARLIER: f64 = 1.05;

/// Seconds of a proof, and who has made how many of its shards.
struct Measured {
    seconds: f64,
    cycles: u64,
    shards: Vec<usize>,
}

impl Measured {
    fn json(&self) -> Value {
        json!({ "seconds": self.seconds, "shards_by_contemplant": self.shards })
    }
}

pub(crate) async fn run(size: Size, earlier: Option<&Path>) -> Result<Value> {
    eprintln!("by one Contemplant, as tasks");
    let one = measure(size, "always", &[pinned(0)]).await?;
    eprintln!("{:.1} s\nby two Contemplants", one.seconds);
    let two = measure(size, "always", &[pinned(0), pinned(1)]).await?;
    eprintln!("{:.1} s\nby one Contemplant, as a whole", two.seconds);
    let settings = ContemplantSettings { core: Some(0), ..whole() };
    let whole_proof = measure(size, "never", &[settings]).await?;
    eprintln!("{:.1} s", whole_proof.seconds);
    let before = match earlier {
        None => None,
        Some(program) => {
            eprintln!("by the earlier Contemplant, as a whole");
            let program = Some(program.to_owned());
            let settings = ContemplantSettings { core: Some(0), program, ..whole() };
            Some(measure(size, "never", &[settings]).await?)
        }
    };
    let speed_up = one.seconds / two.seconds;
    let of_earlier = |measured: &Measured| Some(measured.seconds / before.as_ref()?.seconds);
    Ok(json!({
        "about": "one Core proof by one Contemplant and by two, each pinned to a core; seconds from the start of the \
                  work to the verified proof, by Hierophant's clock; the first proof of each network does not count",
        "n": size.n,
        "shard_cells": size.shard_cells,
        "cycles": one.cycles,
        "tasks_by_one": one.json(),
        "tasks_by_two": two.json(),
        "whole_by_one": whole_proof.json(),
        "whole_by_earlier": before.as_ref().map(Measured::json),
        "speed_up": { "found": speed_up, "wanted": SPEED_UP, "held": speed_up >= SPEED_UP },
        "tasks_against_earlier": ratio(of_earlier(&one)),
        "whole_against_earlier": ratio(of_earlier(&whole_proof)),
    }))
}

fn ratio(found: Option<f64>) -> Value {
    found.map_or(
        Value::Null,
        |found| json!({ "found": found, "wanted": OF_EARLIER, "held": found <= OF_EARLIER }),
    )
}

/// Settings of a Contemplant that makes whole proofs as it does by default.
fn whole() -> ContemplantSettings {
    ContemplantSettings::cpu(name(0), Mode::Core)
}

async fn measure(size: Size, mode: &str, contemplants: &[ContemplantSettings]) -> Result<Measured> {
    let trial = Trial::begin(size, mode, contemplants).await?;
    let measured = async {
        let proof = trial.request(size.n).await?;
        let entry = trial.proof(&proof).await?;
        let seconds = entry.proof_seconds.context("/proof-history gives no time")?;
        let cycles = Trial::cycles(&proof);
        if mode == "never" {
            return Ok(Measured { seconds, cycles, shards: Vec::new() });
        }
        let tasks = trial.tasks(&proof).await?;
        let by = |number| {
            let made = tasks.iter().filter(|task| task.is_proved_shard());
            made.filter(|task| task.contemplant.as_deref() == Some(name(number))).count()
        };
        let shards: Vec<usize> = (0..contemplants.len()).map(by).collect();
        ensure!(shards.iter().all(|made| *made > 0), "shards by Contemplant: {shards:?}");
        Ok(Measured { seconds, cycles, shards })
    }
    .await;
    trial.end(measured).await
}
