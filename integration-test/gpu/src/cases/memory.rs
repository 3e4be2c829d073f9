//! Containers that want more memory than they have.

use anyhow::Result;
use gpu_stand_in::behaviour::Fault;
use integration_test::options::Mode;
use toml::Value;

use crate::bench::Bench;
use crate::engine::Engine;

/// Enough for the stand-in, and soon eaten.
const MEMORY: i64 = 1 << 30;

pub(super) async fn out_of_memory(engine: &Engine) -> Result<()> {
    let mut bench = Bench::ready(engine, &[("memory_bytes", Value::from(MEMORY))]).await?;
    bench.behave(|behaviour| behaviour.fault = Some(Fault::EatMemory))?;
    let request = bench.request(Mode::Core).await?;
    bench.logged("out of memory: the prover server's container was killed").await?;
    bench.behave(|_| {})?;
    bench.proved(request).await?;
    bench.stop().await
}
