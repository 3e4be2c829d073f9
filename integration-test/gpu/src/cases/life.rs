//! From the first container to the last.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_test::options::Mode;
use test_harness::wait;
use toml::Value;

use crate::bench::{Bench, STEP, contemplant, docker};
use crate::engine::Engine;

pub(super) async fn whole_path(engine: &Engine) -> Result<()> {
    let bench = Bench::ready(engine, &[]).await?;
    let container = engine.container().await?;
    for mode in [Mode::Core, Mode::Compressed] {
        let request = bench.request(mode).await?;
        bench.proved(request).await?;
    }
    ensure!(engine.container().await? == container, "the container was replaced without need");
    bench.stop().await
}

pub(super) async fn two_gpus(engine: &Engine) -> Result<()> {
    let both = vec![Value::from(0), Value::from(1)];
    let settings = contemplant(docker(engine, &[])).with("gpus", both);
    let mut bench = Bench::start(engine, &settings).await?;
    bench.page("two slots", |one| one.slots == 2 && one.modes.len() == 2).await?;
    bench.behave(|behaviour| behaviour.proof_time = Duration::from_secs(20))?;
    let requests = [bench.request(Mode::Core).await?, bench.request(Mode::Compressed).await?];
    bench.page("two proofs at a time", |one| one.current_proofs.len() == 2).await?;
    let containers = engine.containers().await?;
    ensure!(containers.len() == 2, "{containers:?}");
    engine.docker(&["kill", &containers[0]]).await?;
    for request in requests {
        bench.proved(request).await?;
    }
    ensure!(engine.containers().await?.contains(&containers[1]), "the other container is gone");
    bench.page("two slots again", |one| one.slots == 2 && one.modes.len() == 2).await?;
    bench.stop().await
}

pub(super) async fn contemplant_killed(engine: &Engine) -> Result<()> {
    let two = vec![Value::from(0), Value::from(1)];
    let settings = contemplant(docker(engine, &[])).with("gpus", two);
    let mut bench = Bench::start(engine, &settings).await?;
    bench.page("two slots", |one| one.slots == 2 && one.modes.len() == 2).await?;
    let old = engine.containers().await?;
    ensure!(old.len() == 2, "{old:?}");
    // The next one has a GPU less: containers of a GPU that is no longer served must be removed, too.
    bench.crash(&contemplant(docker(engine, &[]))).await?;
    wait::until("the old containers' end", STEP, async || {
        let now = engine.containers().await?;
        Ok((now.len() == 1 && !old.contains(&now[0])).then_some(()))
    })
    .await?;
    bench.is_ready().await?;
    let request = bench.request(Mode::Core).await?;
    bench.proved(request).await?;
    bench.stop().await
}
