//! How long a job waits for a worker that is free: a new request's, and the next one's in a full queue.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use network_lib::handshake::Welcome;
use network_lib::task;
use test_peers::{Job, Worker};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{ask, requesters};
use crate::database;
use crate::measure::Latencies;
use crate::report::{Figure, Scenario};
use crate::requester::Numbers;
use crate::stage::{Part, Stage};
use crate::workers::{Ledger, heartbeat_interval, identity, join, prove, work_on};

/// Longest wait for a job.
const LIMIT: Duration = Duration::from_secs(30);

/// Interval of the requests, so that each of them finds the worker idle.
const PAUSE: Duration = Duration::from_millis(40);

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    idle(stage, found).await?;
    behind_a_queue(stage, found).await
}

/// One worker that is idle at every request.
async fn idle(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let requests = stage.scale.pick(1000, 200, 20);
    let fresh = stage.launch().await?;
    let numbers = Numbers::default();
    let mut client = requesters(stage, &fresh.coordinator, 1, &numbers).await?.remove(0);
    let network = fresh.coordinator.addresses();
    let (mut worker, _) = join(network, &stage.http, identity(0)).await?;
    let ledger = Ledger::default();
    let (arrived, mut arrivals) = mpsc::unbounded_channel::<Job>();
    let (free, mut freed) = mpsc::unbounded_channel::<()>();
    let book = ledger.clone();
    let working = task::spawn("worker", async move {
        for _ in 0..requests {
            let job = worker.next_job().await?;
            book.note(&job);
            arrived.send(job.clone())?;
            work_on(&mut worker, &job).await?;
            worker.settled(job.lease).await?;
            free.send(())?;
        }
        anyhow::Ok(worker)
    });
    let after_answer = Latencies::of("answer of RequestProof to prove message, worker idle");
    let whole = Latencies::of("RequestProof sent to prove message, worker idle");
    let part = Part::begin(&fresh.coordinator)?;
    for _ in 0..requests {
        let asked = Instant::now();
        client.ask().await?;
        let answered = Instant::now();
        let job = timeout(LIMIT, arrivals.recv()).await.context("no job came")?;
        let Some(job) = job else {
            working.await??;
            bail!("the worker ended early");
        };
        // A prove message may overtake the answer: then the delay is zero.
        after_answer.note(job.at.saturating_duration_since(answered));
        whole.note(job.at.saturating_duration_since(asked));
        timeout(LIMIT, freed.recv()).await.context("the worker did not get free")?;
        sleep_until(asked + PAUSE).await;
    }
    part.end("idle worker", found)?;
    let worker = working.await??;
    ledger.check(requests)?;
    let (answered, asked) = (after_answer.summary(), whole.summary());
    found
        .figure(Figure::cost("idle worker, after the answer, p50", answered.p50, "ms").within(2.0));
    found.figure(
        Figure::cost("idle worker, after the answer, p99", answered.p99, "ms").within(10.0),
    );
    found.figure(Figure::cost("idle worker, whole call, p50", asked.p50, "ms").within(2.0));
    found.figure(Figure::cost("idle worker, whole call, p99", asked.p99, "ms").within(10.0));
    found.latencies.extend([answered, asked]);
    drop(worker);
    database::reach(&fresh.coordinator.database(), "fulfilled", requests).await?;
    fresh.finish(async |database| database::check(database, "fulfilled", requests).await).await?;
    Ok(())
}

/// Many busy workers and a long queue: whenever a slot becomes free, the next job is given out.
async fn behind_a_queue(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let (workers, queued, freed) =
        stage.scale.pick((1000, 10_000, 6000), (100, 1000, 300), (4, 20, 10));
    let pause = Duration::from_micros(stage.scale.pick(5000, 10_000, 20_000));
    let fresh = stage.launch().await?;
    let numbers = Numbers::default();
    let clients = requesters(stage, &fresh.coordinator, 16, &numbers).await?;
    let ledger = Ledger::default();
    let waits = Arc::new(Latencies::of(format!(
        "completed sent to next prove message, {workers} workers, {queued} queued"
    )));
    let mut crew = Vec::new();
    for number in 0..workers {
        let joining = join(fresh.coordinator.addresses(), &stage.http, identity(number));
        let (worker, welcome) = joining.await?;
        let (turn, turns) = mpsc::unbounded_channel();
        let member = member(worker, welcome, turns, ledger.clone(), Arc::clone(&waits));
        crew.push((turn, task::spawn("worker", member)));
    }
    ask(&clients, workers + queued + freed).await?;
    let begun = async {
        while ledger.jobs() < workers {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, begun).await.context("not every worker got a job")?;
    let part = Part::begin(&fresh.coordinator)?;
    let mut clock = interval(pause);
    // Behind time, the turns come faster: what waits must be seen to wait.
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for turn in 0..freed {
        clock.tick().await;
        crew[turn % workers].0.send(()).context("a worker failed")?;
    }
    let (turns, tasks): (Vec<_>, Vec<_>) = crew.into_iter().unzip();
    drop(turns);
    let mut sockets = Vec::new();
    for task in tasks {
        sockets.push(timeout(LIMIT, task).await.context("a worker hangs")???);
    }
    let name = format!("{workers} workers, {queued} queued");
    part.end(&name, found)?;
    ensure!(waits.count() == freed as u64, "{} turns, not {freed}", waits.count());
    ledger.check(workers + freed)?;
    let told = waits.summary();
    found.figure(
        Figure::cost(format!("slot freed to next prove, {name}, p50"), told.p50, "ms").within(5.0),
    );
    found.figure(
        Figure::cost(format!("slot freed to next prove, {name}, p99"), told.p99, "ms").within(25.0),
    );
    found.latencies.push(told);
    drop(sockets);
    database::reach(&fresh.coordinator.database(), "fulfilled", freed).await?;
    fresh.finish(async |database| database::check(database, "fulfilled", freed).await).await?;
    Ok(())
}

/// A worker that holds a job until it is its turn; then it completes it and waits for the next one. It ends
/// when there are no more turns.
async fn member(
    mut worker: Worker,
    welcome: Welcome,
    mut turns: mpsc::UnboundedReceiver<()>,
    ledger: Ledger,
    waits: Arc<Latencies>,
) -> Result<Worker> {
    let mut job = worker.next_job().await?;
    ledger.note(&job);
    worker.progress(job.lease, 0.1).await?;
    let mut clock = interval(heartbeat_interval(&welcome));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let turn = tokio::select! {
            turn = turns.recv() => turn,
            _ = clock.tick() => {
                worker.heartbeat(vec![job.lease]).await?;
                continue;
            }
        };
        if turn.is_none() {
            return Ok(worker);
        }
        let completed = prove(&worker, &job).await?;
        let said = Instant::now();
        worker.send(&completed).await?;
        job = timeout(LIMIT, worker.next_job()).await.context("no next job came")??;
        waits.note(job.at - said);
        ledger.note(&job);
        worker.progress(job.lease, 0.1).await?;
    }
}
