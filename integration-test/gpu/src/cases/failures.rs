//! Containers that die, hang or are the wrong ones.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gpu_stand_in::behaviour::Fault;
use integration_test::options::Mode;
use test_harness::wait;

use crate::bench::{Bench, STEP, contemplant, docker};
use crate::engine::Engine;

/// Long enough for a case to act while the proof is being made.
const SLOW: Duration = Duration::from_secs(3600);

/// Longest time from the beginning of a proof of two seconds, which fails, to the end of the attempt.
const FAULT_LIMIT: Duration = Duration::from_secs(15);

pub(super) async fn container_killed(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[]).await?;
    bench.behave(|behaviour| behaviour.proof_time = SLOW)?;
    let request = bench.request(Mode::Core).await?;
    bench.is_proving().await?;
    let container = engine.container().await?;
    bench.behave(|_| {})?;
    engine.docker(&["kill", "--signal", "KILL", &container]).await?;
    bench.proved(request).await?;
    ensure!(engine.container().await? != container, "the killed container is still there");
    // It has not ended: that would be seen here.
    bench.network.check_alive()?;
    bench.stop().await
}

pub(super) async fn container_frozen(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[]).await?;
    let container = engine.container().await?;
    engine.docker(&["pause", &container]).await?;
    wait::until("another container", STEP, async || {
        let now = engine.containers().await?;
        Ok((now.len() == 1 && now[0] != container).then_some(()))
    })
    .await?;
    bench.is_ready().await?;
    let request = bench.request(Mode::Core).await?;
    bench.proved(request).await?;
    bench.stop().await
}

pub(super) async fn task_panics(engine: &Engine) -> Result<()> {
    let words = "the prover server cannot finish the proof";
    fails_while_proving(engine, Fault::PanicInTask, words).await
}

pub(super) async fn gpu_memory_exhausted(engine: &Engine) -> Result<()> {
    let words = "out of memory: the prover server cannot finish the proof";
    fails_while_proving(engine, Fault::AllocError, words).await
}

pub(super) async fn server_hangs(engine: &Engine) -> Result<()> {
    fails_while_proving(engine, Fault::Hang, "the prover server has stopped answering").await
}

/// A server with this fault makes a proof: the attempt ends in time with these words in Contemplant's log, the container
/// is replaced, and the proof is made.
async fn fails_while_proving(engine: &Engine, fault: Fault, words: &str) -> Result<()> {
    let settings = contemplant(docker(engine, &[])).with("prover_silence_limit", "6s");
    let mut bench = Bench::start(engine, &settings).await?;
    bench.is_ready().await?;
    bench.behave(|behaviour| {
        behaviour.fault = Some(fault);
        behaviour.proof_time = Duration::from_secs(2);
    })?;
    let container = engine.container().await?;
    let request = bench.request(Mode::Core).await?;
    bench.is_proving().await?;
    let began = Instant::now();
    bench.logged(words).await?;
    ensure!(began.elapsed() < FAULT_LIMIT, "it took {} s", began.elapsed().as_secs());
    bench.behave(|_| {})?;
    bench.proved(request).await?;
    ensure!(engine.container().await? != container, "the container was not replaced");
    bench.stop().await
}

pub(super) async fn socket_vanishes(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[]).await?;
    bench.behave(|behaviour| behaviour.proof_time = Duration::from_secs(5))?;
    let container = engine.container().await?;
    let request = bench.request(Mode::Core).await?;
    bench.is_proving().await?;
    std::fs::remove_file(bench.sockets(0).join("sp1-cuda-0.sock"))?;
    bench.proved(request).await?;
    ensure!(engine.container().await? == container, "the container was replaced without need");
    bench.stop().await
}

pub(super) async fn other_version(engine: &Engine) -> Result<()> {
    let settings = contemplant(docker(engine, &[]));
    let mut bench = Bench::ready(engine, &[]).await?;
    bench.behave(|behaviour| behaviour.version = Some("6.0.0".to_owned()))?;
    bench.crash(&settings).await?;
    let reason = bench.obstacle("is sp1-gpu-server 6.0.0").await?;
    ensure!(reason.contains("expected 6."), "{reason}");
    bench.stop().await
}
