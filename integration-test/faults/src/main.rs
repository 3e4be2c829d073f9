//! The fault suite: every fault that the network must survive, as a named case with the real
//! `hierophant` as a process. `cargo xtask faults` builds the programs and runs it.

mod attackers;
mod case;
mod cases;
mod clock;
mod contemplant;
mod flood;
mod observer;
mod postgres;
mod program;
mod proofs;
mod prover;
mod proxy;
mod report;
mod run;
mod s3;
mod settings;
mod stage;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use crate::case::Case;
use crate::report::Report;

/// Runs every fault case, or those named, and prints what the clients saw.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask faults", version)]
struct Arguments {
    /// Cases or groups to run; all, if none is named.
    names: Vec<String>,
    /// Only list the cases.
    #[arg(long)]
    list: bool,
    /// Write the results to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run everything this many times.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    repeat: u32,
    /// Keep the folders of failed cases, and print their paths.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    flood: flood::Target,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(flood) = arguments.flood.flood {
        return match flood::run(flood, &arguments.flood).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("flood: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match run(&arguments).await {
        Ok(report) if report.all_held() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Report> {
    let chosen = choose(&arguments.names)?;
    let mut report = Report::default();
    if arguments.list {
        for case in &chosen {
            println!("{:<12} {:<44} {}", case.group, case.name, case.about);
        }
        return Ok(report);
    }
    let running = run::all(&chosen, arguments.repeat, arguments.keep, &mut report);
    let interrupted = tokio::select! {
        outcome = running => outcome.map(|()| false)?,
        signal = tokio::signal::ctrl_c() => signal.map(|()| true)?,
    };
    // The processes of the case that was going on ended with its stage.
    println!("\n{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json()?)?;
    }
    if interrupted {
        bail!("interrupted");
    }
    Ok(report)
}

fn choose(names: &[String]) -> Result<Vec<Case>> {
    let all = cases::all();
    for name in names {
        if !all.iter().any(|case| case.name == name || case.group == name) {
            bail!("there is no case or group {name:?}; `cargo xtask faults --list` shows them");
        }
    }
    let chosen = |case: &Case| {
        names.is_empty() || names.iter().any(|name| case.name == name || case.group == name)
    };
    Ok(all.into_iter().filter(chosen).collect())
}
