//! Submissions a second, and what they cost all processes together: ticket, upload and request, without workers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use network_lib::task;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{rate, requesters};
use crate::coordinator::Coordinator;
use crate::database;
use crate::measure::Latencies;
use crate::observe::{Usage, cpu_of_family};
use crate::report::{Figure, Scenario};
use crate::requester::Numbers;
use crate::stage::{Part, Stage};

/// Callers that submit at once.
const CALLERS: usize = 32;

/// Bytes of each input.
const INPUT: usize = 1024;

/// Least submissions a second on Postgres.
const A_SECOND: f64 = 600.0;

/// Most seconds of CPU time of all processes for 1,000 submissions on Postgres.
const CPU: f64 = 1.7;

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let name = format!("{CALLERS} callers");
    let _data = at_once(stage, &name, false, found).await?;
    // Plans that are made for tables with hardly a row must be good when these have grown.
    let name = format!("{name}, after ANALYZE of near-empty tables");
    let _data = at_once(stage, &name, true, found).await?;
    Ok(())
}

async fn at_once(
    stage: &Stage,
    name: &str,
    is_analyzed: bool,
    found: &mut Scenario,
) -> Result<TempDir> {
    let time = Duration::from_millis(stage.scale.pick(15_000, 4000, 500));
    let fresh = stage.launch().await?;
    let all = requesters(stage, &fresh.coordinator, CALLERS, &Numbers::default()).await?;
    if is_analyzed {
        database::analyze(&fresh.coordinator.database()).await?;
    }
    let latencies = Arc::new(Latencies::of(format!("ticket, upload and request, {name}")));
    let before = Cpu::now(stage, &fresh.coordinator)?;
    let part = Part::begin(&fresh.coordinator)?;
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for mut requester in all {
        let latencies = Arc::clone(&latencies);
        tasks.push(task::spawn("caller", async move {
            while Instant::now() < end {
                let began = Instant::now();
                requester.submit(INPUT).await?;
                latencies.note(began.elapsed());
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await?.context("a submission failed")?;
    }
    let (_, took) = part.end(name, found)?;
    let used = Cpu::now(stage, &fresh.coordinator)?.since(before);
    let done = usize::try_from(latencies.count())?;
    ensure!(done > 0, "nothing was submitted");

    let is_on_a_server = stage.store.server().is_some();
    let wanted = |figure: Figure, bound| if is_on_a_server { figure.within(bound) } else { figure };
    let figure = Figure::gain(format!("submissions a second, {name}"), rate(done, took), "/s");
    found.figure(wanted(figure, A_SECOND));
    let for_1000 = |seconds: f64| seconds * 1000.0 / done as f64;
    let all = for_1000(used.all());
    let figure = Figure::cost(format!("CPU of all processes for 1,000, {name}"), all, "s");
    found.figure(wanted(figure, CPU));
    let mut parts = vec![("Hierophant", used.hierophant), ("the generator", used.generator)];
    parts.extend(used.server.map(|seconds| ("the database server", seconds)));
    for (process, seconds) in parts {
        let figure = format!("of which {process}, {name}");
        found.figure(Figure::cost(figure, for_1000(seconds), "s"));
    }
    found.latencies.push(latencies.summary());
    let judge = async |database: &str| {
        database::check(database, "open", done).await?;
        // No two requests share a job.
        database::check_jobs(database, "queued", done).await
    };
    fresh.finish(judge).await
}

/// Seconds of CPU time that processes have used.
#[derive(Debug, Clone, Copy)]
struct Cpu {
    hierophant: f64,
    /// This process.
    generator: f64,
    /// All processes of the database server, also ended ones, if there is a server.
    server: Option<f64>,
}

impl Cpu {
    fn now(stage: &Stage, coordinator: &Coordinator) -> Result<Self> {
        let server = stage.store.server().map(|server| cpu_of_family(server.pid())).transpose()?;
        Ok(Self {
            hierophant: cpu_of_family(coordinator.pid()?)?,
            generator: Usage::of(std::process::id())?.cpu_seconds,
            server,
        })
    }

    fn since(self, earlier: Self) -> Self {
        let server = self.server.zip(earlier.server).map(|(now, then)| now - then);
        Self {
            hierophant: self.hierophant - earlier.hierophant,
            generator: self.generator - earlier.generator,
            server,
        }
    }

    fn all(self) -> f64 {
        self.hierophant + self.generator + self.server.unwrap_or_default()
    }
}
