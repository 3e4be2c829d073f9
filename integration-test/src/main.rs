//! One real proof from start to end: starts a network, requests a proof with `sp1-sdk`, verifies it
//! and stops everything. See `--help`; the story itself is in [`integration_test::scenario`], the comparison
//! with direct proofs in [`integration_test::overhead`].

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use integration_test::options::{Command, CommandLine};
use integration_test::{overhead, scenario};
use network_lib::{logging, signal};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    logging::init(logging::LogFormat::Human, "warn");
    match run(&command_line) {
        Ok((report, is_good)) => {
            println!("{report}");
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be told, and whether it is what was wanted.
fn run(CommandLine { options, command }: &CommandLine) -> Result<(String, bool)> {
    let runtime = Runtime::new().context("cannot start a runtime")?;
    let outcome = runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        match command {
            None => Ok((scenario::run(options, shutdown).await?, true)),
            Some(Command::Overhead(options)) => {
                let report = overhead::run(options, shutdown).await?;
                Ok((report.to_string(), report.holds() || !options.strict))
            }
        }
    });
    // A prover may still compute something that nobody waits for any more.
    runtime.shutdown_background();
    outcome
}
