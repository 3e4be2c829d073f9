//! Tests of sharded jobs: refusals one by one, and a simulation of a whole fleet.

mod fleet;
mod recovery;
mod reference;
mod refusals;
mod world;

use world::World;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// `SHARDS_SEEDS` and `SHARDS_FIRST_SEED` choose the seeds.
#[test]
fn every_seeded_run_ends_exactly_once_with_all_bytes_freed() {
    let (first, seeds) = (number("SHARDS_FIRST_SEED", 1), number("SHARDS_SEEDS", 1_000));
    let mut sum = world::Tally::default();
    for seed in first..first + seeds {
        let tally = World::new(seed).run();
        sum.add(&tally.unwrap_or_else(|fault| panic!("seed {seed}: {fault}")));
    }
    println!("{seeds} seeds from {first}: {sum:?}");
    assert!(seeds < 100 || sum.has_tried_everything(), "not everything was tried: {sum:?}");
}
