//! The real program on a simulated network.
//!
//! `hierophant::run_on` runs completely (servers, sessions, actors, SQLite store, files) beside clients that use
//! gRPC and HTTP and workers that use the worker protocol. turmoil gives each of them a machine with its own clock
//! and connects the machines. Links are cut, held and slowed down, machines crash, and stores fail, all drawn from
//! one seed. Answers to clients are checked as they arrive. Every run ends in a calm period in which everything
//! accepted must end as expected.
//!
//! Unlike TCP, turmoil never retransmits a lost packet: a connection that has lost one stays half-dead, which
//! keepalives and timeouts must detect.
//!
//! Drawn from the seed: peers, their plans, all faults, the path of every packet and of every call to the store.
//! Not drawn from it: ids, the branch that a `tokio::select!` tries first, and the order in which threads of the
//! blocking pool finish at the same instant of simulated time. A few runs in a hundred therefore differ from their
//! repetition, usually by some milliseconds.

mod cases;
pub mod clients;
pub mod contemplants;
pub mod content;
pub mod ends;
pub mod faults;
mod hanging;
pub mod machine;
pub mod network;
pub mod operator;
pub mod store;
pub mod story;
pub mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use world::{Tally, World};

use super::number;

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// A panic ends only its task; here every panic counts.
fn watch_for_panics() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            usual(panic);
        }));
    });
    PANICKED.set(false);
}

fn assert_no_panic() {
    assert!(!PANICKED.get(), "a task has panicked");
}

/// Maximum number of lines of a story that are shown.
const LINES: usize = 150;

#[test]
fn every_seeded_run_of_the_program_keeps_every_promise() {
    if std::env::var_os("RUST_LOG").is_some() {
        network_lib::logging::init(network_lib::logging::LogFormat::Human, "info");
    }
    let first = number("SIMULATION_FIRST_SEED", 1);
    let seeds = number("SIMULATION_SEEDS", 8);
    let mut sum = Tally::default();
    for seed in first..first + seeds {
        watch_for_panics();
        let mut world = World::new(seed);
        match catch_unwind(AssertUnwindSafe(|| world.run())) {
            Ok(tally) => sum.add(&tally),
            Err(_) => panic!(
                "seed {seed} broke a promise; the end of its story:\n{}\nplay it again: cargo \
                 xtask simulate --first {seed} --seeds 1",
                world.story.last(LINES)
            ),
        }
    }
    println!("{seeds} seeds of the program from {first}: {sum}");
    assert!(sum.ends.fulfilled > 0 && sum.faults > 0, "nothing was tried: {sum}");
}

#[test]
fn the_same_seed_gives_the_same_run_of_the_program() {
    let run = || {
        let mut world = World::new(7);
        world.run();
        world.story.last(usize::MAX)
    };
    let story = run();
    // See above for what may differ occasionally.
    assert!((0..3).any(|_| run() == story), "no two runs are the same:\n{story}\n{}", run());
}
