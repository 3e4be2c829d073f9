//! The subcommands of `contemplant prover`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use network_lib::ids::{IdError, Sha256Digest};

use super::build::{Architecture, Build, Check, Machine};
use super::fetch::Fetch;

/// Folder of programs in the data folder.
const PROGRAMS: &str = "bin";

/// A subcommand of `contemplant prover`.
#[derive(Debug, Subcommand)]
pub enum ProverCommand {
    /// Fetches the program that SP1's SDK downloads, for x86-64
    ///
    /// The SHA-256 of the archive is verified before anything is unpacked, and the version of the program before it is
    /// installed. An interrupted download is continued by the next call.
    Fetch {
        /// Folder of the program [default: `bin` in the data folder]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// SHA-256 of the archive. It is shown beside the file at SP1's release on GitHub. Needed where this Contemplant
        /// does not know it
        #[arg(long, value_name = "HEX", value_parser = digest)]
        sha256: Option<Sha256Digest>,
        /// Another address of the archive, such as a mirror of your own
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Builds the program from crates.io, for this machine's GPU
    ///
    /// Every prerequisite is checked first: nvcc, g++, CMake, clang, Go, protoc, memory and disk.
    Build {
        /// Folder of the program [default: `bin` in the data folder]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// GPU architecture, such as sm_90 [default: that of this machine's GPUs]
        #[arg(long, value_name = "ARCH")]
        arch: Option<Architecture>,
        /// Only check the prerequisites and print the command
        #[arg(long)]
        dry_run: bool,
    },
}

impl ProverCommand {
    /// Runs it. Without `--to`, `data_dir` names the data folder.
    ///
    /// # Errors
    ///
    /// What went wrong, with the remedy.
    pub async fn run(
        self,
        data_dir: impl FnOnce() -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<()> {
        let folder = |to: Option<PathBuf>| {
            let folder = match to {
                Some(folder) => folder,
                None => data_dir()?.join(PROGRAMS),
            };
            std::path::absolute(&folder).with_context(|| format!("cannot use {}", folder.display()))
        };
        let installed = match self {
            Self::Fetch { to, sha256, url } => {
                let fetch = Fetch { sha256, url, ..Fetch::new(folder(to)?) };
                Some(fetch.run(|step| println!("{step}")).await?)
            }
            Self::Build { to, arch, dry_run } => {
                let folder = folder(to)?;
                let machine = Machine::this(&folder);
                let build = Build { folder, architecture: arch, dry_run, machine };
                build.run(print_check, |command| println!("{command}")).await?
            }
        };
        if let Some(program) = installed {
            println!("installed {}; in contemplant.toml:", program.display());
            println!(
                "  backend = \"cuda\"\n  prover_command = [{:?}]",
                program.display().to_string()
            );
        }
        Ok(())
    }
}

fn print_check(check: &Check) {
    let (word, text) = match &check.outcome {
        Ok(text) => ("ok", text),
        Err(text) => ("FAIL", text),
    };
    println!("{word:<4}  {:<12}  {text}", check.what);
}

/// Accepts GitHub's notation, too, which begins with `sha256:`.
fn digest(text: &str) -> Result<Sha256Digest, String> {
    let text = text.trim();
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.parse().map_err(|error: IdError| format!("{error}: expected 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_github_shows_it() {
        let hex = "ab".repeat(32);
        assert_eq!(digest(&hex), Ok(Sha256Digest([0xab; 32])));
        assert_eq!(digest(&format!("sha256:{hex}")), Ok(Sha256Digest([0xab; 32])));
        let reason = digest("ab").expect_err("too short");
        assert!(reason.contains("expected 64 hexadecimal digits"), "{reason}");
        assert!(digest("z").is_err());
    }
}
