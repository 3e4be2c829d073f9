//! What Hierophant costs: the real program on loopback, driven over real sockets by generated clients and
//! mock Contemplants, and watched from outside. `cargo xtask bench` builds and runs it;
//! `docs/performance.md` says what was found.
//!
//! A figure counts only if what it counts is right: every scenario checks that each request was fulfilled
//! once, that no job was given out twice and that bytes are what they should be.

pub mod compare;
pub mod coordinator;
pub mod database;
pub mod html;
pub mod machine;
pub mod measure;
pub mod observe;
pub mod program;
pub mod report;
pub mod requester;
pub mod scenarios;
pub mod stage;
pub mod workers;
