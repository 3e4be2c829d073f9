//! Engines that cannot do what they are asked, are not there, or go.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_test::options::Mode;
use toml::Value;

use crate::bench::{Bench, contemplant, docker};
use crate::engine::Engine;

pub(super) async fn no_gpu_driver(engine: &Engine) -> Result<()> {
    let settings = contemplant(docker(engine, &[("gpu_request", Value::from(true))]));
    let mut bench = Bench::start(engine, &settings).await?;
    let reason = bench.obstacle("could not select device driver").await?;
    ensure!(reason.contains("NVIDIA Container Toolkit"), "{reason}");
    bench.stop().await
}

pub(super) async fn image_missing(engine: &Engine) -> Result<()> {
    let missing = [("image", Value::from("no-such-image:1"))];
    let mut bench = Bench::start(engine, &contemplant(docker(engine, &missing))).await?;
    bench.obstacle("the image no-such-image:1 is missing, and `docker.pull` is off").await?;
    let pulled = [("image", Value::from("127.0.0.1:1/none:1")), ("pull", Value::from(true))];
    bench.crash(&contemplant(docker(engine, &pulled))).await?;
    bench.obstacle("the image 127.0.0.1:1/none:1 cannot be pulled").await?;
    bench.stop().await
}

pub(super) async fn engine_absent(engine: &Engine) -> Result<()> {
    engine.down().await?;
    let bench = Bench::start(engine, &contemplant(docker(engine, &[]))).await;
    let told = match bench {
        Ok(mut bench) => bench.obstacle("cannot be reached").await.map(|reason| (bench, reason)),
        Err(error) => Err(error),
    };
    engine.up().await?;
    let (mut bench, reason) = told?;
    let socket = engine.socket();
    ensure!(reason.contains(&socket.display().to_string()), "{reason}");
    bench.is_ready().await?;
    bench.stop().await
}

pub(super) async fn engine_restarted(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[]).await?;
    bench.behave(|behaviour| behaviour.proof_time = Duration::from_secs(3600))?;
    let request = bench.request(Mode::Core).await?;
    bench.is_proving().await?;
    bench.behave(|_| {})?;
    engine.down().await?;
    engine.up().await?;
    bench.proved(request).await?;
    bench.stop().await
}
