//! Options of the program `integration-test`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sp1_sdk::SP1ProofMode;
use sp1_sdk::network::NetworkMode;

/// Starts a Hierophant and a Contemplant on this machine, requests one SP1 proof with an unmodified
/// sp1-sdk client, verifies it, and stops everything.
#[derive(Debug, Clone, Parser)]
#[command(name = "integration-test", version)]
pub struct Options {
    /// Kind of proof to request.
    #[arg(long, value_enum, default_value_t = Mode::Core)]
    pub mode: Mode,

    /// What the Contemplant proves with. `mock` makes SP1's mock proofs, which prove nothing.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,

    /// Which of the SDK's two protocols the client speaks.
    #[arg(long, value_enum, default_value_t = Network::Reserved)]
    pub network_mode: Network,

    /// Use the running network at this RPC URL instead of starting one. `--backend` then says what
    /// its Contemplants prove with.
    #[arg(long, value_name = "URL")]
    pub rpc_url: Option<String>,

    /// Status pages of that running network, such as http://host:9010. Without it the report cannot
    /// say who proved.
    #[arg(long, value_name = "URL", requires = "rpc_url")]
    pub http_url: Option<String>,

    /// Input of the Fibonacci program; the work grows with it.
    #[arg(long, default_value_t = 1000)]
    pub n: u32,

    /// Number of Contemplants. Several make the proof together, each some of its shards. With `cpu` the first one alone joins
    /// the shards of a proof beyond Core.
    #[arg(long, default_value_t = 1, conflicts_with = "rpc_url",
        value_parser = clap::value_parser!(u32).range(1..=8))]
    pub contemplants: u32,

    /// Trace area at which the Contemplants cut shards, in cells: a smaller one makes more shards. Without it SP1's own.
    #[arg(long, value_name = "CELLS", conflicts_with = "rpc_url")]
    pub shard_cells: Option<u64>,

    /// Most seconds for the whole run, building aside.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub timeout: u64,

    /// Keep the folder with the programs' data and logs, and print its path.
    #[arg(long, conflicts_with = "rpc_url")]
    pub keep_logs: bool,

    /// Keep the verified proof and its verifying key in this folder, zstd-compressed.
    #[arg(long, value_name = "FOLDER")]
    pub keep_proof: Option<PathBuf>,
}

impl Options {
    /// [`Self::timeout`] as a duration.
    #[must_use]
    pub const fn time_limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Kind of proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A list of shard proofs.
    Core,
    /// One recursive STARK of constant size.
    Compressed,
    /// A PLONK proof for on-chain verification.
    Plonk,
    /// A Groth16 proof for on-chain verification.
    Groth16,
}

impl Mode {
    /// Every mode, in the SDK's order.
    pub const ALL: [Self; 4] = [Self::Core, Self::Compressed, Self::Plonk, Self::Groth16];

    /// The SDK's word for it.
    #[must_use]
    pub const fn sdk(self) -> SP1ProofMode {
        match self {
            Self::Core => SP1ProofMode::Core,
            Self::Compressed => SP1ProofMode::Compressed,
            Self::Plonk => SP1ProofMode::Plonk,
            Self::Groth16 => SP1ProofMode::Groth16,
        }
    }

    /// Lower-case name, as on the status pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
            Self::Plonk => "plonk",
            Self::Groth16 => "groth16",
        }
    }
}

/// What a Contemplant proves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// SP1's prover in the Contemplant's own process.
    Cpu,
    /// No prover: true execution, then SP1's mock proof.
    Mock,
}

impl Backend {
    /// Lower-case name, as on the status pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Mock => "mock",
        }
    }
}

/// The SDK's network modes: two dialects of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// Reserved capacity, strategy hosted or reserved.
    Reserved,
    /// Auction.
    Mainnet,
}

impl Network {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Reserved, Self::Mainnet];

    /// The SDK's word for it.
    #[must_use]
    pub const fn sdk(self) -> NetworkMode {
        match self {
            Self::Reserved => NetworkMode::Reserved,
            Self::Mainnet => NetworkMode::Mainnet,
        }
    }

    /// Lower-case name, as on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Mainnet => "mainnet",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn without_options_a_core_proof_is_made_on_cpu() {
        let options = Options::parse_from(["integration-test"]);
        assert_eq!(options.mode, Mode::Core);
        assert_eq!(options.backend, Backend::Cpu);
        assert_eq!(options.network_mode, Network::Reserved);
        assert_eq!(options.n, 1000);
    }
}
