//! The program `shard-trial`: real proofs of small programs, shard by shard, with what they cost. Each command prints
//! JSON. `ELEMENT_THRESHOLD=4194304` cuts even a small program into several shards.

mod cost;
mod options;
mod prove;
mod resume;
mod survey;
mod tasks;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::options::{Program, Proof};

/// Measures how a proof is made of shards.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut a program into shards, in two processes, without proving any
    Survey {
        #[command(flatten)]
        program: Program,
        /// Do it in this process alone
        #[arg(long)]
        once: bool,
    },
    /// Make and verify a proof
    Prove {
        #[command(flatten)]
        program: Program,
        #[command(flatten)]
        proof: Proof,
        /// Where finished shards are kept, and found again [default: they are not kept]
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
    },
    /// Begin a proof in another process, kill it with SIGKILL, and go on from its shards
    Resume {
        #[command(flatten)]
        program: Program,
        #[command(flatten)]
        proof: Proof,
        /// Number of finished shards after which the process is killed
        #[arg(long, default_value_t = 1)]
        kill_after: usize,
    },
    /// Make a Core proof by tasks, as several workers do, and execute again for the same shards
    Tasks {
        #[command(flatten)]
        program: Program,
        /// Most shards at the same time
        #[arg(long, default_value_t = 2)]
        shards_at_once: u32,
        /// Trace area at which shards are cut, in cells
        #[arg(long, default_value_t = 4_194_304)]
        max_elements: u64,
        /// The worker's program, which executes programs [default: `contemplant` beside this program]
        #[arg(long, value_name = "FILE")]
        worker: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let result = match Arguments::parse().command {
        Command::Survey { program, once } => survey::run(&program, once).await?,
        Command::Prove { program, proof, keep } => {
            prove::run(&program, &proof, keep.as_deref()).await?
        }
        Command::Resume { program, proof, kill_after } => {
            resume::run(&program, &proof, kill_after)?
        }
        Command::Tasks { program, shards_at_once, max_elements, worker } => {
            tasks::run(&program, shards_at_once, max_elements, worker).await?
        }
    };
    println!("{}", serde_json::to_string_pretty(&result)?);
    Ok(())
}
