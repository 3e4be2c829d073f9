//! Unit tests of the modules that only count. They are compiled here on their own, because a test build of
//! the library would compile SP1's prover a second time.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "the modules serve the library")]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/tally.rs"]
mod tally;
