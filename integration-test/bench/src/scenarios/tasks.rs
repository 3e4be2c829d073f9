//! One proof by many workers: how busy they are while records pass through Hierophant, and how many tasks it manages in a
//! second. The workers are pseudo workers of this process: their work is waiting.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use test_harness::config::key;
use test_peers::Reach;
use test_peers::task_worker::{TaskWorker, Work};
use tokio::time::{Instant, timeout};

use crate::measure::Latencies;
use crate::report::{Figure, Scenario, mebibytes};
use crate::requester::{Numbers, Requester};
use crate::stage::{Part, Stage};
use crate::workers::identity;

/// Longest proof.
const LIMIT: Duration = Duration::from_secs(300);

/// Time of a shard.
const SHARD: Duration = Duration::from_secs(1);

/// Greatest share by which a shard takes more or less time: shards of one proof differ, so workers do not end in lockstep.
const SPREAD: f64 = 0.2;

/// Shards that a worker's machine may fetch ahead.
const PREFETCH: u32 = 1;

/// A fleet and its proof.
struct Fleet {
    workers: usize,
    shards: u32,
    record_bytes: usize,
    prove: Duration,
}

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let scale = stage.scale;
    let prove = scale.pick(SHARD, SHARD, Duration::from_millis(20));
    let fleet = |(workers, shards, record_bytes)| Fleet { workers, shards, record_bytes, prove };
    let heavy = fleet(scale.pick((64, 2_000, 1 << 20), (64, 640, 1 << 20), (4, 20, 10_000)));
    let busy = of(stage, &heavy, found).await?.0;
    let share =
        format!("busy, {} workers, records of {} KiB", heavy.workers, heavy.record_bytes >> 10);
    found.figure(Figure::gain(share, 100.0 * busy, "%").within(95.0));
    let wide = fleet(scale.pick((512, 10_000, 64 << 10), (512, 5_000, 64 << 10), (8, 40, 1_000)));
    let rate = of(stage, &wide, found).await?.1;
    let name =
        format!("tasks, {} workers, records of {} KiB", wide.workers, wide.record_bytes >> 10);
    found.figure(Figure::gain(name, rate, "/s").within(400.0));
    Ok(())
}

/// Share of the time in which the provers work, and shards a second, of one proof.
async fn of(stage: &Stage, fleet: &Fleet, found: &mut Scenario) -> Result<(f64, f64)> {
    let mut fresh = stage.prepare().await?;
    let mut keys = toml::Table::new();
    keys.insert("sharding".into(), key("mode", "always").into());
    fresh.coordinator.configure(&keys)?;
    fresh.coordinator.start().await?;
    let work = Work {
        shards: fleet.shards,
        record_bytes: fleet.record_bytes,
        part_bytes: 1 << 10,
        cut: Duration::ZERO,
        prove: fleet.prove,
        spread: SPREAD,
    };
    let http = fresh.coordinator.http();
    let workers: Vec<_> = (0..fleet.workers)
        .map(|number| {
            let slots = (1, PREFETCH);
            TaskWorker::start(http, identity(number), slots, work, stage.http.clone())
        })
        .collect();
    let connected = async {
        while workers.iter().any(|worker| worker.done().connections == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, connected).await.context("the workers do not connect")?;
    let mut client =
        Requester::connect(&fresh.coordinator, &stage.http, 0, &Numbers::default()).await?;
    client.prepare().await?;
    let name = format!("{} workers, {} shards", fleet.workers, fleet.shards);
    let part = Part::begin(&fresh.coordinator)?;
    let began = Instant::now();
    let id = client.ask().await?;
    let _ = timeout(LIMIT, client.until_fulfilled(&id)).await.context("no proof in time")??;
    let took = began.elapsed();
    let (usage, _) = part.end(&name, found)?;
    let done: u64 = workers.iter().map(|worker| worker.done().shards).sum();
    let fetched: u64 = workers.iter().map(|worker| worker.done().fetched).sum();
    ensure!(
        done == u64::from(fleet.shards),
        "{done} shards were proved: expected {}",
        fleet.shards
    );
    let settled = Latencies::of(format!("settled, {name}"));
    let assigned = Latencies::of(format!("assigned, {name}"));
    let (mut first, mut last, mut busy) = (None::<Instant>, None::<Instant>, Duration::ZERO);
    for worker in &workers {
        let times = worker.times();
        times.settled.iter().for_each(|took| settled.note(*took));
        times.assigned.iter().for_each(|took| assigned.note(*took));
        busy += worker.done().busy;
        if let Some((from, until)) = times.proving {
            first = Some(first.map_or(from, |first| first.min(from)));
            last = last.max(Some(until));
        }
    }
    let proving =
        last.zip(first).map(|(last, first)| last - first).context("nothing was proved")?;
    let share = busy.as_secs_f64() / proving.as_secs_f64() / fleet.workers as f64;
    let summary = settled.summary();
    let p99 = Figure::cost(format!("p99 of a result's settlement, {name}"), summary.p99, "ms");
    found.figure(p99.within(10.0));
    found.latencies.push(summary);
    let summary = assigned.summary();
    let p99 = Figure::cost(format!("p99 of an assignment, {name}"), summary.p99, "ms");
    found.figure(p99.within(10.0));
    found.latencies.push(summary);
    found.figure(Figure::cost(format!("proof, {name}"), took.as_secs_f64(), "s"));
    found.figure(Figure::gain(format!("records relayed, {name}"), fetched as f64, ""));
    let cores = usage.cpu_seconds / took.as_secs_f64() * 100.0;
    found.figure(Figure::cost(format!("CPU, {name}"), cores, "% of a core"));
    let memory = Figure::cost(format!("memory, {name}"), mebibytes(usage.peak_rss), "MiB");
    found.figure(memory.within(512.0));
    drop(workers);
    fresh.finish(async |_| Ok(())).await?;
    Ok((share, f64::from(fleet.shards) / proving.as_secs_f64()))
}
