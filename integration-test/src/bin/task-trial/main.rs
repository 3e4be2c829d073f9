//! Real proofs that several Contemplants make together: how much faster they are than by one Contemplant, and what
//! becomes of them when processes are killed. Each proof is requested and verified by `sp1-sdk`. Prints JSON.

mod kill;
mod speed;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use network_lib::{logging, signal};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::trial::Size;

/// Makes real proofs by two Contemplants, each pinned to a core of this machine.
#[derive(Debug, Parser)]
#[command(name = "task-trial", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    size: Size,
    /// Write the results to this file too
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare the same proof by one and by two Contemplants; twenty minutes
    Speed {
        /// Single ways to make the proof
        ways: Vec<speed::Way>,
        /// The program of an earlier Contemplant, which makes the proof as well, as a whole
        #[arg(long, value_name = "FILE")]
        earlier: Option<PathBuf>,
    },
    /// Kill Contemplants and Hierophant with SIGKILL while they make proofs; twenty minutes
    Kill {
        /// Single stories
        stories: Vec<kill::Name>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::init(logging::LogFormat::Human, "warn");
    match start(&arguments) {
        Ok(report) => {
            println!("{report:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<Value> {
    let runtime = Runtime::new().context("cannot start a runtime")?;
    let report = runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        let run = async {
            match &arguments.command {
                Command::Speed { ways, earlier } => {
                    speed::run(arguments.size, ways, earlier.as_deref()).await
                }
                Command::Kill { stories } => kill::run(arguments.size, stories).await,
            }
        };
        shutdown.run_until_cancelled(run).await.unwrap_or_else(|| Err(anyhow!("interrupted")))
    });
    runtime.shutdown_background();
    let report = report?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report)
}
