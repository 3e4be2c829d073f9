//! Containers that die, hang or are the wrong ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_test::options::Mode;
use test_harness::wait;

use crate::bench::{Bench, STEP, contemplant, docker};
use crate::engine::Engine;

/// Long enough for a case to act while the proof is being made.
const SLOW: Duration = Duration::from_secs(3600);

pub(super) async fn container_killed(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[]).await?;
    bench.behave(0, |behaviour| behaviour.proof_time = SLOW)?;
    let request = bench.request(Mode::Core).await?;
    bench.is_proving().await?;
    let container = engine.container().await?;
    bench.behave(0, |_| {})?;
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

pub(super) async fn socket_vanishes(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[]).await?;
    bench.behave(0, |behaviour| behaviour.proof_time = Duration::from_secs(5))?;
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
    bench.behave(0, |behaviour| behaviour.version = Some("6.0.0".to_owned()))?;
    bench.crash(&settings).await?;
    let reason = bench.obstacle("is sp1-gpu-server 6.0.0").await?;
    ensure!(reason.contains("expected 6."), "{reason}");
    bench.stop().await
}
