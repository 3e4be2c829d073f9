//! The `hierophant` program: arguments, configuration, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use hierophant::Listeners;
use hierophant::cli::{self, AdminCommand, Options};
use hierophant::config::{Config, DEFAULT_FILE, TEMPLATE};
use hierophant::verify;
use mimalloc::MiMalloc;
use network_lib::trace::KeyValue;
use network_lib::{config, logging, signal, trace};

/// The default allocator took nearly a tenth of the processor time under load.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Coordinator of a self-hosted SP1 prover network.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file [default: hierophant.toml in this folder, if it exists].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the coordinator (the default).
    Run,
    /// Write a commented configuration file.
    Init,
    /// Print a completion script for a shell.
    Completions {
        /// Shell to complete commands for.
        shell: Shell,
    },
    /// Check proofs for a running coordinator, which starts this itself.
    #[command(hide = true)]
    VerifyProofs,
    #[command(flatten)]
    Admin(AdminCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run(arguments.config),
        Command::Init => init(arguments.config),
        Command::VerifyProofs => return verify::run_child(),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "hierophant", &mut std::io::stdout());
            Ok(())
        }
        Command::Admin(command) => match read(arguments.config) {
            Ok(config) => return cli::run(&command, &arguments.options, &config),
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hierophant: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init(file: Option<PathBuf>) -> anyhow::Result<()> {
    let file = file.unwrap_or_else(|| DEFAULT_FILE.into());
    config::write_template(&file, TEMPLATE)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

fn read(file: Option<PathBuf>) -> anyhow::Result<Config> {
    let file = config::choose_file(file, DEFAULT_FILE);
    Ok(config::load(file.as_deref(), std::env::vars())?)
}

fn run(file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = read(file.clone())?;
    logging::init(config.log_format, "info");
    if let Some(file) = config::choose_file(file, DEFAULT_FILE)
        && config.exposes_secrets(&file)
    {
        let file = file.display();
        tracing::warn!(%file, "other users of this machine can read the secrets in {file}: expected mode 600, set by \
            chmod");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        trace::init("hierophant", [KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))]);
        let listeners = Listeners::bind(&config).await?;
        let outcome = hierophant::run(config, listeners, shutdown).await;
        trace::finish().await;
        outcome
    })
}
