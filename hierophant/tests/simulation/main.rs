//! Deterministic simulation of the coordinator under crashes, cuts, black holes, delays and workers that
//! fail, lie or hang.
//!
//! This simulates decisions alone; [`programs`] runs the whole program on a simulated network.
//!
//! The decisions are the real ones (`ProofsCore`, `RegistryCore`, the restore from a store). Clock, network, disk,
//! clients and workers are simulated by a single thread from one seed. Invariants are checked after every commit.
//! Every run ends in a calm period in which everything accepted must end as expected. The same seed gives the same
//! run:
//!
//! ```text
//! cargo xtask simulate --first 17 --seeds 1
//! ```

#![allow(missing_docs, unreachable_pub, reason = "a test of several files")]

mod clients;
mod invariants;
mod memory;
mod programs;
mod tasks;
mod workers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_seeded_run_keeps_every_promise() {
    let first = number("SIMULATION_FIRST_SEED", 1);
    let seeds = number("SIMULATION_SEEDS", 100);
    let mut sum = world::Tally::default();
    for seed in first..first + seeds {
        let mut world = World::new(seed);
        match catch_unwind(AssertUnwindSafe(|| world.run())) {
            Ok(tally) => sum.add(&tally),
            Err(_) => panic!(
                "seed {seed} broke a promise; its last events:\n{}\nplay it again: cargo xtask \
                 simulate --first {seed} --seeds 1",
                world.story()
            ),
        }
    }
    println!("{seeds} seeds from {first}: {sum}");
    assert!(sum.fulfilled > 0 && sum.crashes > 0, "nothing was tried: {sum}");
    assert!(seeds < 20 || sum.starved > 0, "no attempt ran out of memory: {sum}");
    assert!(seeds < 20 || sum.given_back > 0, "nothing was given back: {sum}");
    let divided = sum.assembled > 0 && sum.shards > sum.assembled && sum.provided > 0;
    let judged = sum.accusations > 0 && sum.parts_checked > sum.accusations;
    assert!(seeds < 20 || divided && sum.lost_blobs > 0, "no proof was made as tasks: {sum}");
    assert!(seeds < 20 || judged, "no result of a task was false: {sum}");
    assert!(seeds < 20 || (sum.races > 0 && sum.won_by_racer > 0), "no attempt was raced: {sum}");
}

#[test]
fn a_store_that_stalls_for_45_seconds_under_load_costs_no_attempt_and_no_proof() {
    let first = number("SIMULATION_FIRST_SEED", 1);
    let seeds = number("SIMULATION_SEEDS", 100);
    let mut sum = world::Tally::default();
    for seed in first..first + seeds {
        let mut world = World::stalling(seed);
        match catch_unwind(AssertUnwindSafe(|| world.run_stalls())) {
            Ok(tally) => sum.add(&tally),
            Err(_) => panic!("seed {seed}; its last events:\n{}", world.story()),
        }
    }
    println!("{seeds} seeds from {first}: {sum}");
    assert!(sum.stalls > 0 && sum.given_out_late > 0, "nothing was tried: {sum}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(7);
        let tally = world.run();
        (world.story(), tally.to_string())
    };
    let (story, tally) = run();
    assert!(story.lines().count() > 100, "hardly anything happened: {story}");
    assert_eq!(run(), (story, tally));
}
