//! One real proof from start to end: starts a network, requests a proof with `sp1-sdk`, verifies it
//! and stops everything. See `--help`; the steps are in [`integration_test::scenario`].

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use integration_test::options::Options;
use integration_test::scenario;
use network_lib::{logging, signal};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let options = Options::parse();
    logging::init(logging::LogFormat::Human, "warn");
    match run(&options) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<String> {
    let runtime = Runtime::new().context("cannot start a runtime")?;
    let outcome = runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        scenario::run(options, shutdown).await
    });
    // A prover may still compute something that is no longer needed.
    runtime.shutdown_background();
    outcome
}
