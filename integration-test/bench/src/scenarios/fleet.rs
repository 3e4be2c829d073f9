//! What connected workers cost: CPU and memory for each, idle and at work, and all of them coming back at
//! once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use network_lib::handshake::Hello;
use network_lib::ids::LeaseId;
use network_lib::task;
use test_peers::{Job, Worker};
use tokio::time::{Instant, sleep_until, timeout};

use super::{ask, requesters};
use crate::database;
use crate::observe::Usage;
use crate::report::{Figure, Scenario, mebibytes};
use crate::requester::Numbers;
use crate::stage::{Fresh, Part, Stage};
use crate::workers::{self, Ledger, heartbeat_interval, identity, prove};

/// Tasks that the workers are spread over.
const SHARDS: usize = 32;

/// Interval of a worker's reports of progress.
const REPORT: Duration = Duration::from_secs(5);

/// Longest wait for a job.
const LIMIT: Duration = Duration::from_secs(60);

/// A worker that may be connected, and what it works on.
struct Member {
    hello: Hello,
    worker: Option<Worker>,
    /// Pause between two heartbeats, once it was welcome.
    beat: Duration,
    job: Option<Job>,
}

impl Member {
    fn connected(&mut self) -> Result<&mut Worker> {
        self.worker.as_mut().context("not connected")
    }

    fn held(&self) -> Vec<LeaseId> {
        self.job.iter().map(|job| job.lease).collect()
    }
}

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let sizes: &[usize] = stage.scale.pick(&[100, 1000, 10_000], &[100, 500], &[10]);
    for workers in sizes {
        of(stage, *workers, found).await?;
    }
    Ok(())
}

async fn of(stage: &Stage, workers: usize, found: &mut Scenario) -> Result<()> {
    let idle = Duration::from_secs(stage.scale.pick(30, 8, 1));
    let fresh = stage.launch().await?;
    let clients = requesters(stage, &fresh.coordinator, 16, &Numbers::default()).await?;
    let empty = Usage::of(fresh.coordinator.pid()?)?.rss;
    let members: Vec<Member> = (0..workers)
        .map(|number| Member {
            hello: identity(number),
            worker: None,
            beat: Duration::ZERO,
            job: None,
        })
        .collect();
    let mut shards = shards(members);

    let began = Instant::now();
    shards = each(stage, &fresh, shards, join).await?;
    let joined = began.elapsed().as_secs_f64();
    found.figure(Figure::cost(format!("all connected, {workers} workers"), joined, "s"));

    let part = Part::begin(&fresh.coordinator)?;
    shards = beat(shards, idle, false).await?;
    let name = format!("{workers} idle workers");
    let (usage, took) = part.end(&name, found)?;
    let cores = 100.0 * usage.cpu_seconds / took.as_secs_f64();
    let is_target = workers == 10_000;
    let figure = Figure::cost(format!("CPU, {name}"), cores, "% of a core");
    found.figure(if is_target { figure.within(20.0) } else { figure });
    let figure = Figure::cost(format!("memory, {name}"), mebibytes(usage.peak_rss), "MiB");
    found.figure(if is_target { figure.within(500.0) } else { figure });
    let each_kib = usage.rss.saturating_sub(empty) as f64 / 1024.0 / workers as f64;
    found.figure(Figure::cost(format!("memory for each, {name}"), each_kib, "KiB"));

    let requests = ask(&clients, workers).await?;
    shards = each(stage, &fresh, shards, begin).await?;
    let part = Part::begin(&fresh.coordinator)?;
    shards = beat(shards, idle, true).await?;
    let name = format!("{workers} workers at work");
    let (usage, took) = part.end(&name, found)?;
    let cores = 100.0 * usage.cpu_seconds / took.as_secs_f64();
    found.figure(Figure::cost(format!("CPU, {name}"), cores, "% of a core"));
    found.figure(Figure::cost(format!("memory, {name}"), mebibytes(usage.peak_rss), "MiB"));

    // All connections break at once, and all come back at once with what they hold.
    let part = Part::begin(&fresh.coordinator)?;
    for member in shards.iter_mut().flatten() {
        member.worker = None;
    }
    let began = Instant::now();
    shards = each(stage, &fresh, shards, join).await?;
    let served = began.elapsed().as_secs_f64();
    part.end(&format!("storm of {workers}"), found)?;
    let figure = Figure::cost(format!("all served again after a storm of {workers}"), served, "s");
    found.figure(if workers == 1000 { figure.within(5.0) } else { figure });

    shards = each(stage, &fresh, shards, complete).await?;
    let ledger = Ledger::default();
    shards
        .iter()
        .flatten()
        .filter_map(|member| member.job.as_ref())
        .for_each(|job| ledger.note(job));
    ledger.check(workers)?;
    ensure!(requests.len() == workers, "{} requests were accepted", requests.len());
    drop(shards);
    database::reach(&fresh.coordinator.database(), "fulfilled", workers).await?;
    fresh.finish(async |database| database::check(database, "fulfilled", workers).await).await?;
    Ok(())
}

fn shards(members: Vec<Member>) -> Vec<Vec<Member>> {
    let mut shards: Vec<Vec<Member>> = (0..SHARDS).map(|_| Vec::new()).collect();
    for (place, member) in members.into_iter().enumerate() {
        shards[place % SHARDS].push(member);
    }
    shards
}

/// Has every member take the same step, the shards at the same time.
async fn each<F>(
    stage: &Stage,
    fresh: &Fresh,
    shards: Vec<Vec<Member>>,
    step: impl Fn(Step, Member) -> F + Copy + Send + 'static,
) -> Result<Vec<Vec<Member>>>
where
    F: Future<Output = Result<Member>> + Send + 'static,
{
    let context = Step { network: fresh.coordinator.addresses(), http: stage.http.clone() };
    let stepping = shards.into_iter().map(|shard| {
        let context = context.clone();
        task::spawn("fleet", async move {
            let mut done = Vec::with_capacity(shard.len());
            for member in shard {
                done.push(step(context.clone(), member).await?);
            }
            anyhow::Ok(done)
        })
    });
    try_join_all(stepping).await?.into_iter().collect()
}

/// What a step needs.
#[derive(Clone)]
struct Step {
    network: test_peers::Addresses,
    http: reqwest::Client,
}

/// Connects; what it holds must go on.
async fn join(step: Step, mut member: Member) -> Result<Member> {
    let held = member.held();
    let hello = Hello { held: held.clone(), ..member.hello.clone() };
    let (worker, welcome) = workers::join(step.network, &step.http, hello).await?;
    let resumed = &welcome.resume;
    ensure!(*resumed == held, "{resumed:?} are resumed, but it holds {held:?}");
    member.beat = heartbeat_interval(&welcome);
    member.worker = Some(worker);
    Ok(member)
}

/// Takes a job and begins it.
async fn begin(_: Step, mut member: Member) -> Result<Member> {
    let worker = member.connected()?;
    let job = timeout(LIMIT, worker.next_job()).await.context("no job came")??;
    worker.progress(job.lease, 0.0).await?;
    member.job = Some(job);
    Ok(member)
}

/// Hands in what it holds; waits until that is stored.
async fn complete(_: Step, mut member: Member) -> Result<Member> {
    let job = member.job.clone().context("nothing to hand in")?;
    let worker = member.connected()?;
    let completed = prove(worker, &job).await?;
    worker.send(&completed).await?;
    worker.settled(job.lease).await?;
    Ok(member)
}

/// For this time every member sends heartbeats at the interval of its welcome, evenly spread, and reports
/// progress if it is `at_work`.
async fn beat(shards: Vec<Vec<Member>>, time: Duration, at_work: bool) -> Result<Vec<Vec<Member>>> {
    let end = Instant::now() + time;
    let beating = shards.into_iter().map(|mut shard| {
        task::spawn("heartbeats", async move {
            let Some(interval) = shard.first().map(|member| member.beat) else {
                sleep_until(end).await;
                return anyhow::Ok(shard);
            };
            let step = interval / u32::try_from(shard.len())?;
            let mut next = Instant::now();
            let rounds_of_reports = (REPORT.as_secs_f64() / interval.as_secs_f64()).max(1.0);
            let (mut turn, length) = (0_usize, shard.len());
            while next < end {
                sleep_until(next).await;
                next += step;
                let round = turn / length;
                let member = &mut shard[turn % length];
                turn += 1;
                let held = member.held();
                let lease = held.first().copied();
                let worker = member.connected()?;
                worker.heartbeat(held).await?;
                let reports = at_work && round.is_multiple_of(rounds_of_reports as usize);
                if let Some(lease) = lease.filter(|_| reports) {
                    worker.progress(lease, round as f32 / 100.0).await?;
                }
            }
            sleep_until(end).await;
            Ok(shard)
        })
    });
    try_join_all(beating).await?.into_iter().collect()
}
