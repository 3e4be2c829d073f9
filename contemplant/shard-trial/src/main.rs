//! The program `shard-trial`: real proofs of small programs, shard by shard, with what they cost. Each command prints
//! JSON. `ELEMENT_THRESHOLD=4194304` cuts even a small program into several shards.

mod cost;
mod prove;
mod resume;
mod survey;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sp1_core_machine::io::SP1Stdin;
use sp1_node::LightNode;
use sp1_prover::SP1VerifyingKey;
use sp1_verifier::SP1ProofMode;

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
}

/// What is proved.
#[derive(Debug, Clone, Args)]
struct Program {
    /// Steps of the example program; 14 cycles each
    #[arg(long, default_value_t = 1000)]
    n: u32,
    /// Another program, without input
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
}

/// How it is proved.
#[derive(Debug, Clone, Args)]
struct Proof {
    /// Kind of proof
    #[arg(long, value_enum, default_value_t = Mode::Core)]
    mode: Mode,
    /// Build the prover for proofs of every kind, also where Core would do
    #[arg(long)]
    whole_prover: bool,
    /// Most shards at the same time
    #[arg(long, default_value_t = 4)]
    shards_at_once: u32,
}

/// A kind of proof that needs no circuit files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Core,
    Compressed,
}

impl Mode {
    const fn of_sp1(self) -> SP1ProofMode {
        match self {
            Self::Core => SP1ProofMode::Core,
            Self::Compressed => SP1ProofMode::Compressed,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
        }
    }
}

/// A program with its key and input.
struct Loaded {
    elf: Arc<Vec<u8>>,
    key: SP1VerifyingKey,
    stdin: SP1Stdin,
}

impl Program {
    /// Reads the program. The key of another one than the example is derived, which takes half a minute.
    async fn load(&self, node: &LightNode) -> anyhow::Result<Loaded> {
        let mut stdin = SP1Stdin::new();
        let Some(path) = &self.elf else {
            stdin.write(&self.n);
            let key = bincode::deserialize(fibonacci::VERIFYING_KEY)?;
            return Ok(Loaded { elf: Arc::new(fibonacci::ELF.to_vec()), key, stdin });
        };
        let elf = std::fs::read(path)
            .with_context(|| format!("the program {} cannot be read", path.display()))?;
        let elf = Arc::new(elf);
        let key = node.setup(Arc::clone(&elf)).await?;
        Ok(Loaded { elf, key, stdin })
    }

    /// The options that name it.
    fn options(&self) -> Vec<String> {
        let mut options = vec!["--n".to_owned(), self.n.to_string()];
        if let Some(elf) = &self.elf {
            options.extend(["--elf".to_owned(), elf.display().to_string()]);
        }
        options
    }
}

impl Proof {
    /// The options that name it.
    fn options(&self) -> Vec<String> {
        let mut options = vec!["--mode".to_owned(), self.mode.name().to_owned()];
        options.extend(["--shards-at-once".to_owned(), self.shards_at_once.to_string()]);
        if self.whole_prover {
            options.push("--whole-prover".to_owned());
        }
        options
    }
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
    };
    println!("{}", serde_json::to_string_pretty(&result)?);
    Ok(())
}
