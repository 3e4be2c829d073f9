//! Compares real proofs through the network with direct ones. See `--help` and
//! [`integration_test::overhead`].

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use integration_test::overhead::{self, Options, Report};
use network_lib::{logging, signal};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let options = Options::parse();
    logging::init(logging::LogFormat::Human, "warn");
    match run(&options) {
        Ok(report) => {
            println!("{report}");
            if options.strict && !report.holds() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Report> {
    let runtime = Runtime::new().context("cannot start a runtime")?;
    let outcome = runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        overhead::run(options, shutdown).await
    });
    // A prover may still compute something that nobody waits for any more.
    runtime.shutdown_background();
    outcome
}
