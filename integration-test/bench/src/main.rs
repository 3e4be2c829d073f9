//! The benchmark: `cargo xtask bench` builds the programs and runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bench_suite::compare::{Verdict, compare};
use bench_suite::coordinator::Store;
use bench_suite::report::Report;
use bench_suite::stage::{Scale, Stage};
use bench_suite::{html, machine, scenarios};
use clap::Parser;
use test_harness::binaries::{Program, own_folder};
use test_peers::postgres::Server;

/// Measures Hierophant: all scenarios, or those named. What is counted is checked; a wrong count ends with
/// an error.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", version)]
struct Arguments {
    /// Scenarios to run; all, if none is named.
    scenarios: Vec<String>,
    /// Smaller numbers: a few minutes instead of twenty.
    #[arg(long)]
    quick: bool,
    /// The least that still shows that everything works, for a debug build: seconds. Measures nothing.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Keep records in a Postgres database, on a server started for that.
    #[arg(long)]
    postgres: bool,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results to this file as a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// End with an error if a target is missed, too.
    #[arg(long)]
    strict: bool,
    /// Folder for data, on the disk to be measured [default: beside the program].
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Only compare two JSON files of earlier runs; ends with an error if something got worse.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    compare: Option<Vec<PathBuf>>,
    /// Only list the scenarios.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool> {
    if let Some(files) = &arguments.compare {
        return show_changes(&files[0], &files[1]);
    }
    if arguments.list {
        for (name, about) in scenarios::ALL {
            println!("{name:<10} {about}");
        }
        return Ok(true);
    }
    let chosen = choose(&arguments.scenarios)?;
    let binary = Program::Hierophant.locate()?;
    let root = match &arguments.dir {
        Some(folder) => folder.clone(),
        None => own_folder()?.join("bench-data"),
    };
    let (scale, named) = match (arguments.quick, arguments.smoke) {
        (true, _) => (Scale::Quick, "quick"),
        (_, true) => (Scale::Smoke, "smoke"),
        _ => (Scale::Full, "full"),
    };
    let (store, kept) = if arguments.postgres {
        let server = tokio::task::spawn_blocking(Server::start_durable).await?;
        (Store::Postgres(Arc::new(server)), "postgres")
    } else {
        (Store::Sqlite, "sqlite")
    };
    let stage = Stage::new(binary, root, store, scale)?;
    let mut report = Report {
        commit: machine::commit(),
        begun: machine::now(),
        machine: machine::this(),
        scale: named.into(),
        store: kept.into(),
        scenarios: Vec::new(),
    };
    for name in chosen {
        println!("… {name}");
        let scenario = tokio::select! {
            scenario = scenarios::run(name, &stage) => scenario,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        };
        println!("{scenario}");
        report.scenarios.push(scenario);
        // After each one, so that a run that is cut off has not been for nothing.
        write(arguments, &report)?;
    }
    Ok(report.is_sound() && (report.holds() || !arguments.strict))
}

fn choose(names: &[String]) -> Result<Vec<&'static str>> {
    let all = scenarios::ALL.map(|(name, _)| name);
    for name in names {
        ensure!(all.contains(&name.as_str()), "there is no scenario {name:?}: {}", all.join(", "));
    }
    let wanted = |name: &&str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(all.into_iter().filter(wanted).collect())
}

fn write(arguments: &Arguments, report: &Report) -> Result<()> {
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(report)? + "\n")?;
    }
    if let Some(file) = &arguments.html {
        std::fs::write(file, html::page(report)?)?;
    }
    Ok(())
}

fn show_changes(before: &Path, after: &Path) -> Result<bool> {
    let read = |file: &Path| -> Result<Report> {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a report of this program", file.display()))
    };
    let (before, after) = (read(before)?, read(after)?);
    println!("{} → {}", before.commit, after.commit);
    let changes = compare(&before, &after);
    ensure!(!changes.is_empty(), "the two runs have no figure in common");
    changes.iter().for_each(|change| println!("{change}"));
    Ok(changes.iter().all(|change| change.verdict != Verdict::Worse))
}
