//! The plans that are simulated, their targets, and what came out.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use comfy_table::Table;
use serde::Serialize;

use crate::chart::{self, Line};
use crate::outcome::Outcome;
use crate::plan::{Plan, Proof, Work};
use crate::world::World;

/// Numbers of machines.
const MACHINES: [usize; 7] = [4, 8, 16, 32, 64, 128, 256];

/// What all simulations have found.
#[derive(Debug, Serialize)]
pub(crate) struct Tables {
    rows: Vec<Row>,
    targets: Vec<Target>,
}

/// One proof on fleets of all sizes.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    fleets: Vec<(usize, Outcome)>,
}

/// Something that must hold.
#[derive(Debug, Serialize)]
struct Target {
    name: String,
    found: f64,
    at_least: f64,
    detail: String,
}

impl Target {
    fn is_held(&self) -> bool {
        self.found >= self.at_least
    }
}

impl Tables {
    /// Number of targets that are missed.
    pub(crate) fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.is_held()).count()
    }

    /// Draws the efficiency of fleets with GPUs.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn draw(&self, path: &Path) -> Result<()> {
        let rows = self.rows.iter().filter_map(|row| Some((row.name.strip_prefix("GPU, ")?, row)));
        let lines = rows.map(|(name, row)| {
            let point = |(machines, outcome): &(usize, Outcome)| {
                (*machines as f64, 100.0 * outcome.efficiency)
            };
            Line { name: name.to_owned(), points: row.fleets.iter().map(point).collect() }
        });
        let title = "One proof on GPUs, 4 s a shard, records of 45 MB through Hierophant";
        chart::draw(path, title, &lines.collect::<Vec<_>>())
    }
}

/// Runs all simulations.
///
/// # Errors
///
/// Those of [`World::run`].
pub(crate) fn run() -> Result<Tables> {
    let mut rows = Vec::new();
    for (work, name) in [(Work::GPU, "GPU"), (Work::CPU, "CPU")] {
        for gigabits in [10.0, 1.0] {
            for shards in [60, 200, 600] {
                let name = format!("{name}, {shards} shards, {gigabits} Gbit/s");
                let fleets = MACHINES.into_iter().map(|machines| {
                    Ok((machines, World::run(&Plan::one(machines, shards, gigabits, work))?))
                });
                rows.push(Row { name, fleets: fleets.collect::<Result<_>>()? });
            }
        }
    }
    Ok(Tables { rows, targets: targets()? })
}

fn targets() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for (shards, at_least) in [(600, 0.90), (200, 0.80)] {
        let outcome = World::run(&Plan::one(32, shards, 10.0, Work::GPU))?;
        targets.push(Target {
            name: format!("efficiency of 32 machines, 10 Gbit/s, {shards} shards"),
            found: outcome.efficiency,
            at_least,
            detail: outcome.wall.as_str().to_owned(),
        });
    }
    targets.push(four_at_once()?);
    targets.push(straggler()?);
    targets.extend(deadlines()?);
    Ok(targets)
}

/// Four proofs of four requesters on 64 machines.
fn four_at_once() -> Result<Target> {
    let mut plan = Plan::one(64, 600, 10.0, Work::GPU);
    plan.proofs = (1..=4).map(|requester| Proof { shards: 600, requester, deadline: 24 }).collect();
    let outcome = World::run(&plan)?;
    Ok(Target {
        name: "efficiency of 64 machines, 10 Gbit/s, four proofs of 600 shards".into(),
        found: outcome.efficiency,
        at_least: 0.85,
        detail: outcome.wall.as_str().to_owned(),
    })
}

/// One machine of 16 takes ten times as long. It must cost less than one shard in comparison with a fleet without it.
fn straggler() -> Result<Target> {
    let without = World::run(&Plan::one(15, 200, 10.0, Work::GPU))?;
    let mut plan = Plan::one(16, 200, 10.0, Work::GPU);
    plan.slow = 1;
    let with = World::run(&plan)?;
    let lost = with.ended() as f64 - without.ended() as f64;
    let shards = lost / Work::GPU.prove as f64;
    Ok(Target {
        name: "time of a shard less what a straggler costs 15 others, in shards".into(),
        found: 1.0 - shards,
        at_least: 0.0,
        detail: format!(
            "{:.1} s with it, {:.1} s without; {} shards proved twice",
            with.seconds(),
            without.seconds(),
            with.raced
        ),
    })
}

/// Two proofs of one requester: the nearer deadline ends as if it were alone, and both as soon as possible.
fn deadlines() -> Result<[Target; 2]> {
    let alone = World::run(&Plan::one(16, 200, 10.0, Work::GPU))?;
    let mut plan = Plan::one(16, 200, 10.0, Work::GPU);
    // The later one has the nearer deadline.
    plan.proofs = [24, 12].map(|deadline| Proof { shards: 200, requester: 1, deadline }).into();
    let both = World::run(&plan)?;
    let target = |name: &str, ideal: f64, found: u64| Target {
        name: name.into(),
        found: ideal / found as f64,
        at_least: 1.0 / 1.1,
        detail: format!("ideal {:.1} s, found {:.1} s", ideal / 1e6, found as f64 / 1e6),
    };
    let ideal = alone.ended() as f64;
    Ok([
        target(
            "of two proofs the one with the nearer deadline, against alone",
            ideal,
            both.proofs[1],
        ),
        target("both of them, against twice one", 2.0 * ideal, both.ended()),
    ])
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        let sizes = MACHINES.iter().map(|machines| format!("{machines} machines"));
        table.set_header(std::iter::once("one proof".to_owned()).chain(sizes));
        for row in &self.rows {
            let fleets = row.fleets.iter().map(|(_, outcome)| {
                format!("{:.0} % ({})", 100.0 * outcome.efficiency, outcome.wall.as_str())
            });
            table.add_row(std::iter::once(row.name.clone()).chain(fleets));
        }
        writeln!(f, "{table}")?;
        let mut table = Table::new();
        table.set_header(["target", "at least", "found", "", ""]);
        for target in &self.targets {
            let verdict = if target.is_held() { "held" } else { "missed" };
            table.add_row([
                target.name.clone(),
                format!("{:.2}", target.at_least),
                format!("{:.2}", target.found),
                verdict.to_owned(),
                target.detail.clone(),
            ]);
        }
        writeln!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_held() {
        for target in targets().expect("all proofs end") {
            assert!(target.is_held(), "{target:?}");
        }
    }

    #[test]
    fn a_plan_has_one_outcome() {
        let plan = Plan::one(8, 60, 1.0, Work::GPU);
        let outcome = World::run(&plan).expect("ends");
        assert_eq!(World::run(&plan).expect("ends"), outcome);
    }

    #[test]
    fn what_bounds_a_fleet_is_named() {
        use crate::outcome::Wall;
        let mut slow_execution = Work::GPU;
        slow_execution.cut = slow_execution.prove;
        for (plan, wall) in [
            (Plan::one(4, 200, 10.0, Work::GPU), Wall::Provers),
            (Plan::one(4, 5, 10.0, Work::GPU), Wall::Tail),
            (Plan::one(4, 60, 10.0, slow_execution), Wall::Execution),
            (Plan::one(64, 200, 1.0, Work::GPU), Wall::HierophantLink),
        ] {
            let outcome = World::run(&plan).expect("ends");
            assert_eq!(outcome.wall, wall, "{plan:?}: {outcome:?}");
        }
    }
}
