//! Starts Hierophant with workers that pretend to prove, to look at the dashboard and the commands:
//!
//! ```text
//! cargo build -p hierophant --no-default-features
//! cargo run -p test-peers --bin scene -- busy 9010
//! ```
//!
//! Scenes are `empty`, `busy`, `failing` and `large`; the port is that of the dashboard, 9010 by default.

use anyhow::{Context, Result};
use test_harness::Hierophant;
use test_harness::binaries::Program;
use test_harness::config::{key, merge};
use test_peers::fleet::{Fleet, Scene};
use toml::{Table, Value};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let scene = arguments.next().unwrap_or_else(|| "busy".to_owned());
    let scene: Scene = scene.parse().map_err(anyhow::Error::msg)?;
    let port = arguments.next().map_or(Ok(9010), |port| port.parse()).context("invalid port")?;
    let binary = Program::Hierophant.locate()?;
    let folder = tempfile::tempdir()?;
    let hierophant = Hierophant::start(&binary, folder.path(), &configuration(port), &[]).await?;
    let fleet = Fleet::play(&hierophant, scene).await;
    println!("{} shows the scene `{scene}`; Ctrl-C ends it", hierophant.url("/"));
    tokio::signal::ctrl_c().await?;
    drop(fleet);
    Ok(())
}

/// Mock proofs and any number of requests are accepted, and workers that fail stay.
fn configuration(port: u16) -> Table {
    let mut keys = key("mock_mode", true);
    for (name, value) in [
        ("http_port", Value::from(i64::from(port))),
        ("dashboard.price_per_hour", Value::from(2.2)),
        ("worker_registry.max_strikes", Value::from(0)),
        ("quotas.requests_per_minute", Value::from(0)),
        ("quotas.strangers_requests_per_minute", Value::from(0)),
        ("calls.per_ip_per_second", Value::from(0)),
        ("quotas.open_requests", Value::from(0)),
        // A part of it is reserved for named clients.
        ("proofs.max_waiting", Value::from(20_000)),
        ("storage.min_free_bytes", Value::from(0)),
    ] {
        merge(&mut keys, &key(name, value));
    }
    keys
}
