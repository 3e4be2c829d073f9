//! GPU Contemplants in a real Docker engine, without a GPU: everything that can happen to containers,
//! with the real programs, an unmodified SDK client and a stand-in for SP1's GPU server.
//!
//! The suite starts an engine of its own, so that it can also stop it; that needs root and `dockerd`. The shipped compose
//! files run in another engine, with Docker Compose.
//!
//! Two other commands concern real servers: `--server` runs the cases of the protocol, and `trial` measures on a machine
//! with a GPU.

mod bench;
mod case;
mod cases;
mod dockerfile;
mod engine;
mod image;
mod server;
mod trial;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use tokio::time::timeout;

use crate::case::Case;
use crate::engine::Engine;

/// GPU Contemplants in a real Docker engine, without a GPU.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Cases to run [default: all]
    names: Vec<String>,
    /// Only say which cases there are
    #[arg(long)]
    list: bool,
    /// Instead of a Docker engine, try the prover server that listens here, such as
    /// unix:///tmp/sp1-cuda-0.sock
    #[arg(long, value_name = "ENDPOINT")]
    server: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Try a prover server on a real GPU: the protocol, Core and Compressed proofs directly and through a network. Writes
    /// the figures
    Trial(trial::Options),
    /// Put the figures of a trial into docs/gpu.md
    Page(trial::Page),
}

fn main() -> ExitCode {
    let outcome = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(Arguments::parse())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpu-suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    match &arguments.task {
        Some(Task::Trial(options)) => return trial::run(options).await,
        Some(Task::Page(page)) => return trial::publish(page),
        None => {}
    }
    if let Some(endpoint) = &arguments.server {
        if arguments.list {
            server::all().iter().for_each(|case| println!("{:<24} {}", case.name, case.about));
            return Ok(());
        }
        let socket = Path::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
        return server::run(socket, &arguments.names).await;
    }
    let cases = chosen(&arguments.names)?;
    if arguments.list {
        cases.iter().for_each(|case| println!("{:<24} {}", case.name, case.about));
        return Ok(());
    }
    let engine = Engine::start().await?;
    image::provide(&engine).await?;
    let mut fell_short = 0;
    for case in &cases {
        let start = Instant::now();
        let played = timeout(case.limit, (case.play)(&engine)).await;
        let outcome =
            played.unwrap_or_else(|_| bail!("not over within {} s", case.limit.as_secs()));
        let outcome = match outcome {
            Ok(()) => engine.is_clean().await,
            failed => failed,
        };
        let verdict = if outcome.is_ok() { "held" } else { "FELL SHORT" };
        println!("{:<24} {verdict:<10} {:>6.1} s", case.name, start.elapsed().as_secs_f64());
        if let Err(error) = outcome {
            fell_short += 1;
            println!("    {error:#}");
            engine.clean().await?;
        }
    }
    println!("{} cases, {fell_short} fell short", cases.len());
    if fell_short > 0 {
        bail!("{fell_short} cases fell short");
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Case>> {
    let all = cases::all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|case| case.name != **name)) {
        bail!("there is no case {unknown}; --list says which there are");
    }
    let wanted = |case: &Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(all.into_iter().filter(wanted).collect())
}
