//! Logs: for people by default, JSON lines by switch, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One readable line for each event.
    #[default]
    Human,
    /// One JSON object for each event.
    Json,
}

/// Filter for SP1's crates. At level info they log every step and the public values of a program, which do not
/// belong in a log unless its reader asks for one of these crates by name.
const SP1_IS_QUIET: &str = "sp1_prover=warn,sp1_sdk=warn,sp1_core_executor=warn,\
    sp1_core_executor_runner=warn,sp1_core_machine=warn,sp1_hypercube=warn,\
    sp1_recursion_circuit=warn,sp1_recursion_compiler=warn,sp1_recursion_executor=warn,\
    sp1_recursion_machine=warn,sp1_recursion_gnark_ffi=warn";

/// Starts logging to standard error. `RUST_LOG` decides what is written; without it, `default_level`
/// does. Call it once, first thing in `main`; a second call does nothing.
pub fn init(format: LogFormat, default_level: &str) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| default_level.to_owned());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    drop(outcome);
}

/// What is written when this much is wanted.
fn filter(wanted: &str) -> EnvFilter {
    // Of two directives for the same crate the later one counts.
    EnvFilter::new(format!("{SP1_IS_QUIET},{wanted}"))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(wanted: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(wanted))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "contemplant::runner", "our own");
            tracing::info!(target: "sp1_core_executor::vm", "public values: 0x00");
            tracing::info!(target: "sp1_sdk", "public values: 0x01");
            tracing::warn!(target: "sp1_prover", "something is wrong");
        });
        String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text")
    }

    #[test]
    fn public_values_stay_out_of_the_log_unless_a_crate_is_asked_by_name() {
        let usual = written("info");
        assert!(usual.contains("our own") && usual.contains("something is wrong"), "{usual}");
        assert!(!usual.contains("public values"), "{usual}");
        let asked = written("info,sp1_sdk=info");
        assert!(asked.contains("0x01") && !asked.contains("0x00"), "{asked}");
    }
}
