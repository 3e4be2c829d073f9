//! Whole requests a second: ticket, upload, nonce, request, polls, download, with a durable store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use network_lib::task;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{rate, requesters};
use crate::database;
use crate::measure::Latencies;
use crate::report::{Figure, Scenario};
use crate::requester::Numbers;
use crate::stage::{Part, Stage};
use crate::workers::Fleet;

/// Workers that prove at once whatever comes.
const WORKERS: usize = 32;

/// Bytes of each input.
const INPUT: usize = 1024;

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let steps: &[usize] = stage.scale.pick(&[1, 8, 64, 512], &[1, 32], &[3]);
    let time = Duration::from_millis(stage.scale.pick(15_000, 3000, 500));
    let mut best = 0.0_f64;
    let mut kept = Vec::new();
    for clients in steps {
        let (a_second, data) = at_once(stage, *clients, time, found).await?;
        best = best.max(a_second);
        kept.push(data);
    }
    found.figure(Figure::gain("lifecycles a second, best", best, "/s").within(500.0));
    Ok(())
}

async fn at_once(
    stage: &Stage,
    clients: usize,
    time: Duration,
    found: &mut Scenario,
) -> Result<(f64, TempDir)> {
    let fresh = stage.launch().await?;
    let numbers = Numbers::default();
    let all = requesters(stage, &fresh.coordinator, clients, &numbers).await?;
    let network = fresh.coordinator.addresses();
    let fleet = Fleet::start(network, &stage.http, WORKERS).await?;
    let latencies = Arc::new(Latencies::of(format!("whole lifecycle, {clients} clients")));
    let part = Part::begin(&fresh.coordinator)?;
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for mut requester in all {
        let latencies = Arc::clone(&latencies);
        tasks.push(task::spawn("client", async move {
            let mut polls = 0;
            while Instant::now() < end {
                let lifecycle = requester.whole_lifecycle(INPUT).await?;
                latencies.note(lifecycle.whole);
                polls += lifecycle.polls;
            }
            anyhow::Ok(polls)
        }));
    }
    let mut polls = 0;
    for task in tasks {
        polls += task.await?.context("a lifecycle failed")?;
    }
    let name = format!("{clients} clients");
    let (usage, took) = part.end(&name, found)?;
    let done = usize::try_from(latencies.count())?;
    let a_second = rate(done, took);
    found.figure(Figure::gain(format!("lifecycles a second, {name}"), a_second, "/s"));
    let cpu = usage.cpu_seconds * 1000.0 / done as f64;
    found.figure(Figure::cost(format!("Hierophant's CPU for each, {name}"), cpu, "ms"));
    let disk = usage.disk_written as f64 / 1024.0 / done as f64;
    found.figure(Figure::cost(format!("written to disk for each, {name}"), disk, "KiB"));
    found.figure(Figure::cost(
        format!("polls for each, {name}"),
        f64::from(polls) / done as f64,
        "",
    ));
    found.latencies.push(latencies.summary());
    fleet.check(done)?;
    let data =
        fresh.finish(async |database| database::check(database, "fulfilled", done).await).await?;
    Ok((a_second, data))
}
