//! What is proved and how, by the options of the command line.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use sp1_core_machine::io::SP1Stdin;
use sp1_node::LightNode;
use sp1_prover::SP1VerifyingKey;
use sp1_verifier::SP1ProofMode;

/// What is proved.
#[derive(Debug, Clone, Args)]
pub(crate) struct Program {
    /// Steps of the example program; 14 cycles each
    #[arg(long, default_value_t = 1000)]
    pub(crate) n: u32,
    /// Another program, without input
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
}

/// How it is proved.
#[derive(Debug, Clone, Args)]
pub(crate) struct Proof {
    /// Kind of proof
    #[arg(long, value_enum, default_value_t = Mode::Core)]
    pub(crate) mode: Mode,
    /// Build the prover for proofs of every kind, also where Core would do
    #[arg(long)]
    pub(crate) whole_prover: bool,
    /// Most shards at the same time
    #[arg(long, default_value_t = 4)]
    pub(crate) shards_at_once: u32,
}

/// A kind of proof that needs no circuit files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Core,
    Compressed,
}

impl Mode {
    pub(crate) const fn of_sp1(self) -> SP1ProofMode {
        match self {
            Self::Core => SP1ProofMode::Core,
            Self::Compressed => SP1ProofMode::Compressed,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
        }
    }
}

/// A program with its key and input.
pub(crate) struct Loaded {
    pub(crate) elf: Arc<Vec<u8>>,
    pub(crate) key: SP1VerifyingKey,
    pub(crate) stdin: SP1Stdin,
}

impl Program {
    /// Reads the program. The key of another one than the example is derived, which takes half a minute.
    pub(crate) async fn load(&self, node: &LightNode) -> anyhow::Result<Loaded> {
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
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = vec!["--n".to_owned(), self.n.to_string()];
        if let Some(elf) = &self.elf {
            options.extend(["--elf".to_owned(), elf.display().to_string()]);
        }
        options
    }
}

impl Proof {
    /// The options that name it.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = vec!["--mode".to_owned(), self.mode.name().to_owned()];
        options.extend(["--shards-at-once".to_owned(), self.shards_at_once.to_string()]);
        if self.whole_prover {
            options.push("--whole-prover".to_owned());
        }
        options
    }
}
