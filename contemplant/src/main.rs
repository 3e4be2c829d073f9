//! The program `contemplant`: reads arguments and configuration, then works until it is stopped.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use contemplant::config::{Config, MIN_EXIT_WHEN_IDLE, TEMPLATE};
use contemplant::doctor::{self, Finding, TestProofs, Verdict};
use contemplant::executor::helper;
use contemplant::identity;
use contemplant::prover_install::commands::ProverCommand;
use network_lib::job::ProofMode;
use network_lib::logging::LogFormat;
use network_lib::trace::{self, KeyValue};
use network_lib::{config, logging, processor, signal};

/// The file that is read without `--config`, if it exists.
const DEFAULT_FILE: &str = "contemplant.toml";

/// The worker of a Hierophant: proves the jobs that it receives.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration file [default: contemplant.toml in the working folder, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave Hierophant and end with exit code 0 after this time without an attempt, such as 10m
    #[arg(long, value_name = "TIME", value_parser = idle_limit)]
    exit_when_idle: Option<Duration>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a commented configuration file
    Init,
    /// Checks what this machine needs to work, and names the remedy of each fault
    Doctor {
        /// Also make a proof; no other Contemplant may use the same data folder
        #[arg(long)]
        prove: bool,
        /// Kind of proof to make, such as plonk [default: the first that is offered]
        #[arg(long, requires = "prove", value_name = "MODE")]
        mode: Option<ProofMode>,
        /// Make one proof of each kind in `modes`
        #[arg(long, requires = "prove", conflicts_with = "mode")]
        all: bool,
    },
    /// Executes a program for the Contemplant that has started this process
    #[command(hide = true)]
    Execute,
    /// Installs SP1's GPU prover server, for `backend = "cuda"` without Docker
    #[command(subcommand)]
    Prover(ProverCommand),
}

fn main() -> ExitCode {
    if let Err(error) = processor::run_faster_build() {
        eprintln!(
            "contemplant: the build for this processor cannot be started ({error}); this one is slower"
        );
    }
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Execute) => return helper::run(),
        Some(Command::Init) => init(arguments.config),
        Some(Command::Doctor { prove, mode, all }) => {
            let proofs = match mode {
                Some(mode) => TestProofs::Of(mode),
                None if all => TestProofs::All,
                None if prove => TestProofs::First,
                None => TestProofs::None,
            };
            examine(arguments.config, proofs)
        }
        Some(Command::Prover(command)) => install(arguments.config, command),
        None => work(arguments.config, arguments.exit_when_idle),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("contemplant: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init(file: Option<PathBuf>) -> anyhow::Result<()> {
    let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    config::write_template(&file, TEMPLATE)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

fn examine(file: Option<PathBuf>, proofs: TestProofs) -> anyhow::Result<()> {
    let file = config::choose_file(file, DEFAULT_FILE);
    let settings: Config = config::load(file.as_deref(), std::env::vars())?;
    if proofs != TestProofs::None {
        use_own_temp_folder(&settings)?;
    }
    logging::init(settings.log_format, "error");
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let mut failed = 0;
    let report = |finding: &Finding| {
        let word = match finding.verdict {
            Verdict::Passed => "ok",
            Verdict::Warning => "WARN",
            Verdict::Failed => {
                failed += 1;
                "FAIL"
            }
        };
        println!("{word:<4}  {:<12}  {}", finding.what, finding.text);
    };
    runtime.block_on(doctor::examine(&settings, proofs, report));
    runtime.shutdown_background();
    anyhow::ensure!(
        failed == 0,
        "{failed} checks failed: this Contemplant cannot work until they pass"
    );
    Ok(())
}

fn install(file: Option<PathBuf>, command: ProverCommand) -> anyhow::Result<()> {
    logging::init(LogFormat::Human, "warn");
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(command.run(|| {
        let file = config::choose_file(file, DEFAULT_FILE);
        let settings: Config = config::load(file.as_deref(), std::env::vars())?;
        Ok(settings.data_dir)
    }))
}

/// Parses the value of `--exit-when-idle`.
fn idle_limit(text: &str) -> Result<Duration, String> {
    let limit = humantime::parse_duration(text)
        .map_err(|error| format!("{error}: expected a time such as 10m"))?;
    match limit < MIN_EXIT_WHEN_IDLE {
        true => Err("too short: expected at least 1s".to_owned()),
        false => Ok(limit),
    }
}

fn work(file: Option<PathBuf>, exit_when_idle: Option<Duration>) -> anyhow::Result<()> {
    let file = config::choose_file(file, DEFAULT_FILE);
    let mut settings: Config = config::load(file.as_deref(), std::env::vars())?;
    settings.exit_when_idle = exit_when_idle.or(settings.exit_when_idle);
    use_own_temp_folder(&settings)?;
    logging::init(settings.log_format, "info");
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let shutdown = signal::shutdown().context("cannot listen for signals")?;
        trace::init("contemplant", attributes(&settings));
        let executor = contemplant::build_executor(&settings).await?;
        let outcome = contemplant::run(settings, executor, shutdown).await;
        trace::finish().await;
        outcome
    });
    // Computations that still run are not waited for.
    runtime.shutdown_background();
    outcome
}

/// Starts this program again, in the same process, if its temporary files are not in the data folder yet. SP1 writes a
/// program there and runs it, and trusts one that it finds: in a folder of all users, another could have put it there.
fn use_own_temp_folder(settings: &Config) -> anyhow::Result<()> {
    const VARIABLE: &str = "TMPDIR";
    let folder = std::path::absolute(&settings.data_dir).context("the working folder is gone")?;
    let folder = identity::temp_folder(&folder);
    if std::env::var_os(VARIABLE).is_some_and(|current| current == *folder) {
        return Ok(());
    }
    let arguments = std::env::args_os().skip(1);
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let error = std::process::Command::new(program).args(arguments).env(VARIABLE, folder).exec();
    Err(error).context("cannot start again with temporary files in the data folder")
}

/// Attributes of this process in traces.
fn attributes(settings: &Config) -> Vec<KeyValue> {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let name = settings.name.clone().map(|name| KeyValue::new("service.instance.id", name));
    [version].into_iter().chain(name).collect()
}
