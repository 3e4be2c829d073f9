//! What takes bytes from strangers, as functions that take any bytes: none may panic, hang or take more
//! memory than the bytes warrant, and what they accept must hold together.
//!
//! The tests here try every seed and changed seeds for a moment; `cargo xtask fuzz` hands the same
//! functions to libFuzzer.

mod config;
mod headers;
mod ids;
mod messages;
mod proof;
mod record;
mod requests;
mod unpacked;

/// One decoder under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of the engine's program and of the folder of seeds.
    pub name: &'static str,
    /// Feeds it, and says whether it took the bytes for what it decodes.
    pub run: fn(&[u8]) -> bool,
}

/// Every decoder.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config::hierophant },
    Target { name: "coordinator_message", run: messages::to_worker },
    Target { name: "headers", run: headers::of_artifacts },
    Target { name: "ids", run: ids::every_kind },
    Target { name: "program", run: requests::program },
    Target { name: "proof", run: proof::handed_in },
    Target { name: "request_body", run: requests::request_body },
    Target { name: "signed_call", run: requests::signed_call },
    Target { name: "stored_record", run: record::every_kind },
    Target { name: "unpacked", run: unpacked::program },
    Target { name: "verifying_key", run: proof::verifying_key },
    Target { name: "worker_message", run: messages::from_worker },
];

/// Feeds the target of this name, and says whether it took the bytes for what it decodes.
///
/// # Panics
///
/// If there is none, or if the target breaks a promise.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.run)(bytes)
}
