//! Starts a Hierophant with Contemplants that pretend to prove, to look at the dashboard and the commands:
//!
//! ```text
//! cargo run -p hierophant --example scene -- busy 9010
//! ```
//!
//! Scenes are `empty`, `busy`, `failing` and `large`; the port is that of the page, 9010 if none is given.

use anyhow::Context;
use axum::serve::Listener;
use hierophant::config::Config;
use hierophant::{Listeners, run};
use network_lib::task;
use test_peers::Addresses;
use test_peers::fleet::{Fleet, Scene};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let scene = arguments.next().unwrap_or_else(|| "busy".to_owned());
    let scene: Scene = scene.parse().map_err(anyhow::Error::msg)?;
    let port = arguments.next().map(|port| port.parse()).transpose().context("the port")?;
    let folder = tempfile::tempdir()?;
    let mut config = Config::for_test(folder.path().join("data"));
    config.mock_mode = true;
    config.http_port = port.unwrap_or(9010);
    config.dashboard.price_per_hour = 2.2;
    config.worker_registry.max_strikes = 0;

    let listeners = Listeners::bind(&config).await?;
    let http = listeners.http.local_addr()?;
    let network = Addresses { grpc: listeners.grpc.local_addr()?, http };
    let stop = CancellationToken::new();
    let running = task::spawn("hierophant", run(config, listeners, stop.clone()));
    let fleet = Fleet::play(&network, scene).await;
    println!("http://localhost:{} shows the scene `{scene}`; Ctrl-C ends it", http.port());
    tokio::signal::ctrl_c().await?;
    drop(fleet);
    stop.cancel();
    running.await?
}
