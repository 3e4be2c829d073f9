//! The same proof by one Contemplant and by two.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use integration_test::network::ContemplantSettings;
use integration_test::options::Mode;
use serde_json::{Value, json};

use crate::trial::{Size, Trial, name, pinned};

/// Wanted: two Contemplants are faster than one by at least this factor.
const SPEED_UP: f64 = 1.8;

/// Wanted: the time of one Contemplant is at most this multiple of that of an earlier version.
const OF_EARLIER: f64 = 1.05;

/// Seconds of a proof, and who has made how many of its shards.
struct Measured {
    seconds: f64,
    cycles: u64,
    shards: Vec<usize>,
}

impl Measured {
    fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "cycles": self.cycles,
            "shards_by_contemplant": self.shards,
        })
    }
}

/// A way to make the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// By one Contemplant, as tasks.
    One,
    /// By two Contemplants, as tasks.
    Two,
    /// By one Contemplant, as a whole.
    Whole,
    /// By one Contemplant of an earlier version, as a whole.
    Earlier,
}

pub(crate) async fn run(size: Size, ways: &[Way], earlier: Option<&Path>) -> Result<Value> {
    let all = Way::value_variants();
    let ways = if ways.is_empty() { all } else { ways };
    let mut found = BTreeMap::new();
    for way in ways {
        let alone = ContemplantSettings { core: Some(0), ..whole(size.mode) };
        let (mode, contemplants) = match (way, earlier) {
            (Way::One, _) => ("always", vec![pinned(0, size.mode)]),
            (Way::Two, _) => ("always", vec![pinned(0, size.mode), pinned(1, size.mode)]),
            (Way::Whole, _) => ("never", vec![alone]),
            (Way::Earlier, Some(program)) => {
                let program = Some(program.to_owned());
                ("never", vec![ContemplantSettings { program, ..alone }])
            }
            (Way::Earlier, None) => continue,
        };
        let measured =
            measure(size, mode, &contemplants).await.with_context(|| format!("{way:?}"))?;
        eprintln!("{way:?}: {:.1} s", measured.seconds);
        found.insert(format!("{way:?}").to_lowercase(), measured);
    }
    let ratio = |of: &str, to: &str| Some(found.get(of)?.seconds / found.get(to)?.seconds);
    let speed_up = ratio("one", "two");
    Ok(json!({
        "about": "one proof by one Contemplant and by two, each pinned to a core; seconds from the start of the \
                  work to the verified proof, by Hierophant's clock; the first proof of each network does not count",
        "mode": size.mode.as_str(),
        "n": size.n,
        "shard_cells": size.shard_cells,
        "ways": found.iter().map(|(way, found)| (way, found.json())).collect::<BTreeMap<_, _>>(),
        "speed_up": speed_up.map(|found| {
            json!({ "found": found, "wanted": SPEED_UP, "held": found >= SPEED_UP })
        }),
        "tasks_against_earlier": against(ratio("one", "earlier")),
        "whole_against_earlier": against(ratio("whole", "earlier")),
    }))
}

/// How often the time of an earlier version.
fn against(found: Option<f64>) -> Value {
    found.map_or(
        Value::Null,
        |found| json!({ "found": found, "wanted": OF_EARLIER, "held": found <= OF_EARLIER }),
    )
}

/// Settings of a Contemplant that makes whole proofs as it does by default.
fn whole(mode: Mode) -> ContemplantSettings {
    ContemplantSettings::cpu(name(0), mode)
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
