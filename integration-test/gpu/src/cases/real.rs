//! A real proof, made inside a container.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_test::options::Mode;
use toml::Value;

use crate::bench::{Bench, contemplant, docker};
use crate::engine::Engine;
use crate::image;

/// Building SP1's prover takes two minutes on two free cores, a Core proof two more; here it is both twice, on
/// a machine that may be busy.
pub(super) const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Longest time until a container is ready, or a proof is made.
const STEP: Duration = Duration::from_secs(20 * 60);

/// How long a proof is being made before its container is killed.
const MID_PROOF: Duration = Duration::from_secs(20);

pub(super) async fn real_proof(engine: &Engine) -> Result<()> {
    let real = [("image", Value::from(image::REAL))];
    let settings = contemplant(docker(engine, &real)).with("prover_start_limit", "20m");
    let mut bench = Bench::start(engine, &settings).await?;
    bench.network.wait_for_mode(Mode::Core, STEP).await?;
    let request = bench.request_within(Mode::Core, STEP * 2).await?;
    bench.is_proving().await?;
    tokio::time::sleep(MID_PROOF).await;
    let container = engine.container().await?;
    engine.docker(&["kill", "--signal", "KILL", &container]).await?;
    bench.logged("the prover server's container was killed").await?;
    bench.proved(request).await?;
    let second = engine.container().await.context("no container made the proof")?;
    ensure!(second != container, "the killed container is still there");
    // It has not ended: that would be seen here.
    bench.network.check_alive()?;
    bench.stop().await
}
