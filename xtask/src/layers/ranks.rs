//! The order of crates, and of the top-level modules of both programs, from the bottom up.
//!
//! The entries of a line have equal rank. An import may only lead to a lower rank. `ARCHITECTURE.md` shows the same lists.

/// The crates.
pub(crate) const CRATES: &[&[&str]] = &[
    &["shard-plan"],
    &[
        "network-lib",
        "hierophant-proto",
        "aggregation",
        "fibonacci",
        "xtask",
        "sp1-node",
        "test-harness",
    ],
    &["hierophant-model"],
    &["hierophant-scheduler", "hierophant-admin-model", "hierophant-store"],
    &["hierophant", "contemplant", "gpu-stand-in", "test-peers", "request-proof"],
    &["fuzz", "shard-trial", "integration-test", "bench-suite", "fault-suite", "fleet-model"],
    &["gpu-suite"],
];

/// The modules of crates. `lib` and `main` are the files of these names.
pub(crate) const MODULES: &[(&str, &[&[&str]])] = &[
    (
        "hierophant",
        &[
            &["ask", "clock", "private_files", "rate_limit", "session"],
            &["config", "denials", "events", "traces"],
            &["metrics"],
            &["listen"],
            &["artifacts", "history", "tokens", "webhooks"],
            &["access", "operators", "verify"],
            &["proofs", "admission"],
            &["registry"],
            &["root"],
            &["api"],
            &["lib", "cli"],
            &["main"],
        ],
    ),
    (
        "contemplant",
        &[
            &[
                "attempt",
                "circuits",
                "finished",
                "gpu",
                "identity",
                "kept",
                "names",
                "processes",
                "prover_install",
            ],
            &["config", "depot", "metrics", "shared_memory"],
            &["machine", "observer", "prover_server", "trust"],
            &["executor"],
            &["runner"],
            &["link"],
            &["lib"],
            &["doctor"],
            &["main"],
        ],
    ),
];
