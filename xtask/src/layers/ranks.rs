//! The order of crates, and of the rooms (top-level modules) of the two programs, from the bottom up.
//!
//! A line is a floor. A crate or room may import only from floors below its own.

/// The crates.
pub(crate) const CRATES: &[&[&str]] = &[
    &["network-lib", "hierophant-proto", "fibonacci", "xtask", "sp1-node", "test-harness"],
    &["hierophant-model"],
    &["hierophant-scheduler", "hierophant-admin-model", "hierophant-store"],
    &["hierophant", "contemplant", "gpu-stand-in", "test-peers", "request-proof"],
    &["fuzz", "integration-test", "bench-suite", "fault-suite"],
    &["gpu-suite"],
];

/// The rooms of a crate. `lib` and `main` are the files of these names.
pub(crate) const ROOMS: &[(&str, &[&[&str]])] = &[(
    "hierophant",
    &[
        &["records", "operate", "subscriber", "text", "sanitize"],
        &["config", "ask", "clock", "rate_limit", "session"],
        &["clients", "events", "traces"],
        &["metrics"],
        &["listen"],
        &["artifacts", "tokens", "webhooks"],
        &["operators", "verify"],
        &["proofs"],
        &["registry"],
        &["root", "scrape", "admission"],
        &["api"],
        &["lib", "cli"],
        &["main"],
    ],
)];
