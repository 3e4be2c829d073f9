//! What waiting jobs cost, by how many there are: to enqueue, to assign, to cancel all, and memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{ask, rate, requesters};
use crate::database;
use crate::observe::Usage;
use crate::report::{Figure, Scenario, mebibytes};
use crate::requester::Numbers;
use crate::stage::{Fresh, Part, Stage};
use crate::workers::{Ledger, identity, join};

/// Clients that ask at once.
const CLIENTS: usize = 16;

/// Workers that join one after the other, and jobs that each takes: one event of Hierophant's gives out all
/// of these, so it shows the cost of the assignments alone.
const WORKERS: (usize, u32) = (7, 100);

/// Requests made and cancelled before anything counts, so that what a first use takes is there already.
const WARM_UP: usize = 500;

/// Longest wait for jobs.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let sizes: &[usize] = stage.scale.pick(&[1000, 10_000, 100_000], &[1000, 5000], &[800]);
    let mut costs = Vec::new();
    for queued in sizes {
        costs.push((*queued, of(stage, *queued, found).await?));
    }
    if let (Some((few, cheap)), Some((many, dear))) = (costs.first(), costs.last())
        && few < many
    {
        // No faster than log n: what the logarithms allow, and a third for what timings scatter.
        let allowed = (*many as f64).ln() / (*few as f64).ln() * 4.0 / 3.0;
        let name = format!("assignment with {many} queued against {few}");
        found.figure(Figure::cost(name, dear / cheap, "times").within(allowed));
    }
    Ok(())
}

/// Milliseconds of an assignment with this number of jobs waiting.
async fn of(stage: &Stage, queued: usize, found: &mut Scenario) -> Result<f64> {
    let fresh = stage.launch().await?;
    let clients = requesters(stage, &fresh.coordinator, CLIENTS, &Numbers::default()).await?;
    let warm_up = WARM_UP.min(queued);
    ask(&clients, warm_up).await?;
    clear(stage, &fresh, warm_up).await?;
    let empty = Usage::of(fresh.coordinator.pid()?)?.rss;

    let part = Part::begin(&fresh.coordinator)?;
    let requests = ask(&clients, queued).await?;
    let (usage, took) = part.end(&format!("enqueue {queued}"), found)?;
    found.figure(Figure::gain(format!("enqueued a second, {queued}"), rate(queued, took), "/s"));
    let grown = usage.rss.saturating_sub(empty);
    let memory =
        Figure::cost(format!("memory above empty, {queued} queued"), mebibytes(grown), "MiB");
    found.figure(if queued == 100_000 { memory.within(200.0) } else { memory });
    let each = grown as f64 / 1024.0 / queued as f64;
    found.figure(Figure::cost(format!("memory for each, {queued} queued"), each, "KiB"));

    let ledger = Ledger::default();
    let mut times = Vec::new();
    let mut sockets = Vec::new();
    let part = Part::begin(&fresh.coordinator)?;
    for number in 0..WORKERS.0 {
        let mut who = identity(number);
        who.capabilities.slots = WORKERS.1;
        let joined = Instant::now();
        let (mut worker, _) = join(fresh.coordinator.addresses(), &stage.http, who).await?;
        for _ in 0..WORKERS.1 {
            let job = timeout(LIMIT, worker.next_job()).await.context("no job came")??;
            ledger.note(&job);
        }
        times.push(joined.elapsed().as_secs_f64() * 1000.0 / f64::from(WORKERS.1));
        sockets.push(worker);
    }
    part.end(&format!("assign, {queued} queued"), found)?;
    ledger.check(WORKERS.0 * WORKERS.1 as usize)?;
    times.sort_by(f64::total_cmp);
    let cost = times[times.len() / 2];
    found.figure(Figure::cost(format!("assignment, {queued} queued"), cost, "ms"));

    let part = Part::begin(&fresh.coordinator)?;
    clear(stage, &fresh, queued).await?;
    let (_, took) = part.end(&format!("cancel {queued}"), found)?;
    found.figure(Figure::cost(format!("cancel all, {queued} queued"), took.as_secs_f64(), "s"));
    drop(sockets);
    ensure!(requests.len() == queued, "{} requests were accepted", requests.len());
    let cancelled = warm_up + queued;
    fresh.finish(async |database| database::check(database, "cancelled", cancelled).await).await?;
    Ok(cost)
}

/// Cancels everything, which must be this number of requests.
async fn clear(stage: &Stage, fresh: &Fresh, requests: usize) -> Result<()> {
    let url = fresh.coordinator.url("/api/v1/queue/clear");
    let answer = stage.http.post(url).json(&json!({ "all": true, "running": true })).send().await?;
    let status = answer.status();
    let cleared: Value = answer.json().await.context("clearing the queue")?;
    ensure!(status == 200, "clearing the queue was answered with {status}: {cleared}");
    let count = cleared["requests"].as_u64();
    ensure!(count == Some(requests as u64), "{count:?} requests were cancelled, not {requests}");
    Ok(())
}
