//! Unit tests of the modules that need no prover. They are compiled here on their own, because a test build of
//! the library would compile SP1's prover a second time.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "the modules serve the library")]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/depot.rs"]
mod depot;
#[path = "../src/events.rs"]
mod events;
#[path = "../src/kept.rs"]
mod kept;
#[path = "../src/link.rs"]
mod link;
#[path = "../src/record.rs"]
mod record;
#[path = "../src/runtime.rs"]
mod runtime;
#[path = "../src/tally.rs"]
mod tally;
