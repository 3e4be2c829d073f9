//! How well fleets of many sizes prove divided jobs together: Hierophant's scheduler in virtual time.

mod blobs;
mod chart;
mod clock;
mod links;
mod machine;
mod outcome;
mod plan;
mod setup;
mod tables;
mod world;

use std::path::PathBuf;

use clap::Parser;

/// Simulates fleets with Hierophant's own scheduler, and prints how well they use their machines.
#[derive(Debug, Parser)]
struct Arguments {
    /// File for the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// File for a chart as SVG.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tables = tables::run()?;
    print!("{tables}");
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&tables)?)?;
    }
    if let Some(path) = arguments.svg {
        tables.draw(&path)?;
    }
    anyhow::ensure!(tables.missed() == 0, "targets missed: {}", tables.missed());
    Ok(())
}
