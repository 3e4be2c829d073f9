//! The project's commands: `cargo xtask demo` shows the whole network at work, `cargo xtask test` is
//! what must pass, `cargo xtask faults` injects every fault. Each does its own set-up on a
//! machine with a Rust toolchain and a C compiler.

mod chromium;
mod docs;
mod faketime;
mod fuzz;
mod gpu_trial;
mod layers;
mod packages;
mod postgres;
mod protoc;
mod sbom;
mod step;
mod threats;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::step::Steps;

/// The program that compares proofs through the network with direct ones. It compiles SP1's prover into itself, for
/// minutes, so it is built only for its own command.
const OVERHEAD: &str = "overhead";

/// The program that measures how long a GPU is idle between the jobs of a queue, with the stand-in for SP1's server.
const GPU_IDLE: &str = "gpu-idle";

/// Has the program [`OVERHEAD`] built.
const WITH_OVERHEAD: [&str; 2] = ["--features", "integration-test/overhead"];

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Provide the protobuf compiler that SP1 needs to build. The other commands do it on their own.
    Setup {
        /// Also provide what tests and fault suite need of Debian's packages: a Postgres server, Chromium,
        /// libfaketime.
        #[arg(long)]
        tests: bool,
    },
    /// Build everything, start a network on this machine, and get one real proof from it.
    Demo {
        /// Passed on to `integration-test`; try `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the fault suite: every fault that the network must survive, with real processes and without a GPU.
    Faults {
        /// Names of cases or groups, `--list`, `--json FILE`; try `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure Hierophant: latencies, rates, CPU and memory under load, each with its target.
    Bench {
        /// Names of scenarios, `--quick`, `--json FILE`, `--html FILE`, `--postgres`; try `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the GPU suite: GPU Contemplants in a real Docker engine, without a GPU. Needs root, dockerd and Docker
    /// Compose.
    GpuSuite {
        /// Names of cases, `--list`; try `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Try a prover server on a real GPU, for ten minutes at most: here, or on another machine by an archive.
    GpuTrial {
        #[command(subcommand)]
        task: gpu_trial::Task,
    },
    /// Simulate fleets of 4 to 256 machines that prove jobs together, by Hierophant's scheduler in virtual time.
    Fleets {
        /// `--json FILE`, `--svg FILE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make real Core proofs by two Contemplants, each pinned to a core of this machine: how much faster they are than by
    /// one, and what is lost when processes are killed. Needs two cores and 12 GiB of memory.
    #[command(name = "task-trial")]
    Trial {
        /// `speed`, `kill`; try `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the decoders under libFuzzer. Needs a C++ compiler; installs cargo-fuzz for itself.
    Fuzz {
        /// Names of targets; all if none is named.
        targets: Vec<String>,
        /// How many executions of each.
        #[arg(long, default_value_t = 1_000_000)]
        runs: u64,
    },
    /// Write the bill of materials (CycloneDX, JSON) of both programs. Installs cargo-cyclonedx for itself.
    Sbom {
        /// The folder to write to.
        #[arg(long, default_value = "target/sbom")]
        out: PathBuf,
    },
    /// Run the tests that the threat model names, and print its rows with their verdicts.
    Threats,
    /// Check the documentation (links, names of files, table of contents, wording) and build the book.
    Docs(docs::Options),
    /// Print the layers of the workspace, and every import that goes up or closes a circle.
    Layers,
    /// Run every check: format, layers, wording, licences, lints, documentation, tests.
    Test {
        /// Only what an edit in the coordinator needs while it is made: format, layers, words and links, lints of
        /// the coordinator without prover crates, tests of the scheduler.
        #[arg(long)]
        quick: bool,
    },
    /// Simulate the coordinator under seeded crashes, lost connections and faulty workers: its decisions alone, and
    /// the whole program on a simulated network. A seed that violates an invariant is printed and can be replayed.
    Simulate {
        /// How many seeds of each.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 1)]
        first: u64,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ncargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = root()?;
    let protoc = protoc::set_up(&root).context("step \"protobuf compiler\" failed")?;
    println!("== protobuf compiler: {}", protoc.description);
    let mut steps = Steps::new(root.clone());
    if protoc.from_file {
        steps.do_not_inherit(protoc::VARIABLE);
    }
    match task {
        Task::Setup { tests: false } => Ok(()),
        Task::Setup { tests: true } => {
            provide_postgres(&mut steps)?;
            provide_chromium(&mut steps)?;
            provide_faketime(&mut steps)
        }
        Task::Demo { arguments } => demo(&mut steps, &arguments),
        Task::Faults { arguments } => faults(&mut steps, &arguments),
        Task::Bench { arguments } => bench(&mut steps, &arguments),
        Task::GpuSuite { arguments } => gpu_suite(&mut steps, &arguments),
        Task::GpuTrial { task } => match task {
            gpu_trial::Task::Run { arguments } => {
                gpu_suite(&mut steps, &[&["trial".to_owned()], &arguments[..]].concat())
            }
            gpu_trial::Task::Bundle(bundle) => gpu_trial::bundle(&mut steps, &root, &bundle),
            gpu_trial::Task::Page { figures } => {
                let figures = figures.display().to_string();
                gpu_suite(&mut steps, &["page".to_owned(), figures])
            }
        },
        Task::Trial { arguments } => {
            start(&mut steps, "task-trial", &["hierophant", "contemplant"], &arguments)
        }
        Task::Fleets { arguments } => start(&mut steps, "fleet-model", &[], &arguments),
        Task::Fuzz { targets, runs } => fuzz::run(&mut steps, &root, &targets, runs),
        Task::Sbom { out } => sbom::run(&mut steps, &root, &root.join(out)),
        Task::Threats => threats::run(&mut steps),
        Task::Layers => layers::run(&root),
        Task::Docs(options) => docs::run(&mut steps, &root, &options),
        Task::Test { quick } => {
            let outcome =
                if quick { quick_test(&mut steps, &root) } else { test(&mut steps, &root) };
            if outcome.is_err() {
                eprintln!("== times of the steps, of which the last failed\n{}", steps.table());
            }
            outcome
        }
        Task::Simulate { seeds, first } => simulate(&mut steps, first, seeds),
    }
}

/// The repository's root, asked for at run time: a build folder may serve several clones.
fn root() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
    let root = Path::new(&own).join("..").canonicalize();
    root.with_context(|| format!("{} has no parent folder", Path::new(&own).display()))
}

fn demo(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    start(steps, "integration-test", &["hierophant", "contemplant"], arguments)
}

fn faults(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    if !only_looks(arguments) {
        // Few cases need them; those say so themselves.
        for missing in
            [provide_postgres(steps), provide_faketime(steps)].into_iter().filter_map(Result::err)
        {
            println!("== some cases will fail: {missing:#}");
        }
    }
    start(steps, "fault-suite", &["hierophant", "contemplant", "gpu-stand-in"], arguments)
}

fn gpu_suite(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    let others = ["hierophant", "contemplant", "gpu-stand-in", "integration-test"];
    start(steps, "gpu-suite", &others, arguments)
}

fn bench(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    // These need workers with SP1, which everything else is measured without.
    match arguments.split_first() {
        Some((scenario, rest)) if scenario == OVERHEAD => {
            return start(steps, OVERHEAD, &["hierophant", "contemplant"], rest);
        }
        Some((scenario, rest)) if scenario == GPU_IDLE => {
            return start(steps, GPU_IDLE, &["hierophant", "contemplant", "gpu-stand-in"], rest);
        }
        _ => {}
    }
    if arguments.iter().any(|argument| argument == "--postgres") {
        provide_postgres(steps)?;
    }
    start(steps, "bench-suite", &["hierophant"], arguments)
}

/// Builds a program and those that it starts, and nothing else, and runs it.
fn start(steps: &mut Steps, program: &str, others: &[&str], arguments: &[String]) -> Result<()> {
    let features: &[&str] = if program == OVERHEAD { &WITH_OVERHEAD } else { &[] };
    if !only_looks(arguments) {
        // The whole workspace is named for its features: then SP1 is built once for all commands.
        let mut build = vec!["build", "--release", "--workspace", "--bin", program];
        build.extend(others.iter().flat_map(|other| ["--bin", *other]));
        build.extend(features);
        steps.cargo("build (about a quarter of an hour the first time)", &build)?;
    }
    let mut run = vec!["run", "--quiet", "--release", "--bin", program];
    run.extend(features);
    run.push("--");
    run.extend(arguments.iter().map(String::as_str));
    steps.cargo(program, &run)
}

/// Whether the command needs no program under test.
fn only_looks(arguments: &[String]) -> bool {
    let looks = ["--list", "--help", "-h", "--version", "--compare"];
    arguments.iter().any(|argument| looks.contains(&argument.as_str()))
}

/// Cheap checks first; lints before tests, because they need no code generation. Tests come last, so
/// that their summary is the last thing on the screen.
fn test(steps: &mut Steps, root: &Path) -> Result<()> {
    provide_postgres(steps)?;
    provide_chromium(steps)?;
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.here("layers", || layers::check_workspace(root))?;
    steps.here("words and links", || docs::check_texts(root))?;
    if has_cargo_deny() {
        let checks = ["deny", "check", "licenses", "bans", "sources"];
        steps.cargo("licences and sources of dependencies", &checks)?;
        // The list of known weaknesses is in a repository of its own, which not every machine can reach.
        match steps.cargo("list of known weaknesses", &["deny", "fetch", "db"]) {
            Ok(()) => {
                let known = ["deny", "--offline", "check", "advisories"];
                steps.cargo("known weaknesses of dependencies", &known)?;
            }
            Err(error) => println!("== left out: known weaknesses of dependencies: {error:#}"),
        }
    } else {
        println!("== left out: licences; `cargo install --locked cargo-deny` adds that check");
    }
    let everything = ["--release", "--workspace", "--all-targets"];
    let deny_warnings = ["--", "-D", "warnings"];
    steps
        .cargo("lints", &[&["clippy"], &everything[..], &WITH_OVERHEAD, &deny_warnings].concat())?;
    let documentation = ["doc", "--release", "--workspace", "--no-deps"];
    steps.cargo_with("documentation", &documentation, &[("RUSTDOCFLAGS", "-D warnings")])?;
    // The tests start the programs, so these must be there and up to date before.
    steps.cargo("programs and tests", &[&["build"], &everything[..]].concat())?;
    println!("== times of the steps before the tests\n{}", steps.table());
    steps.cargo("tests", &["test", "--release", "--workspace"])
}

/// What an edit in the coordinator needs: seconds, after the first time.
fn quick_test(steps: &mut Steps, root: &Path) -> Result<()> {
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.here("layers", || layers::check_workspace(root))?;
    steps.here("words and links", || docs::check_texts(root))?;
    // Without `--release` and without prover crates: a build of its own, of seconds where that one takes minutes.
    let lints = ["clippy", "-p", "hierophant", "--no-default-features", "--all-targets"];
    steps.cargo("lints of the coordinator", &[&lints[..], &["--", "-D", "warnings"]].concat())?;
    let scheduler = ["test", "-p", "hierophant-model", "-p", "hierophant-scheduler"];
    steps.cargo("tests of the scheduler", &scheduler)?;
    println!("== times of the steps\n{}", steps.table());
    Ok(())
}

fn simulate(steps: &mut Steps, first: u64, seeds: u64) -> Result<()> {
    let arguments =
        ["test", "--release", "--workspace", "--test", "simulation", "--", "--nocapture"];
    let (first, seeds) = (first.to_string(), seeds.to_string());
    let variables =
        [("SIMULATION_FIRST_SEED", first.as_str()), ("SIMULATION_SEEDS", seeds.as_str())];
    steps.cargo_with("simulation", &arguments, &variables)
}

fn provide_postgres(steps: &mut Steps) -> Result<()> {
    let folder = steps.here("Postgres server", postgres::set_up)?;
    println!("== Postgres server: {}", folder.display());
    Ok(())
}

fn provide_chromium(steps: &mut Steps) -> Result<()> {
    let program = steps.here("Chromium", chromium::set_up)?;
    println!("== Chromium: {}", program.display());
    Ok(())
}

fn provide_faketime(steps: &mut Steps) -> Result<()> {
    let library = steps.here("libfaketime", faketime::set_up)?;
    println!("== libfaketime: {}", library.display());
    Ok(())
}

fn has_cargo_deny() -> bool {
    let answer = Command::new(step::cargo_program()).args(["deny", "--version"]).output();
    answer.is_ok_and(|output| output.status.success())
}
