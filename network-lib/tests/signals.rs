//! Signals to a process; in a file of its own because they reach the whole process.

use std::process::Command;
use std::time::Duration;

use network_lib::signal;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn send(name: &str) {
    let target = std::process::id().to_string();
    let status = Command::new("kill").args(["-s", name, &target]).status().expect("kill runs");
    assert!(status.success());
}

#[tokio::test]
async fn the_first_signal_asks_and_the_second_insists() {
    let shutdown = signal::shutdown().expect("handlers can be installed");
    assert!(!shutdown.requested.is_cancelled());
    send("TERM");
    timeout(PATIENCE, shutdown.requested.cancelled()).await.expect("the first signal is noticed");
    assert!(!shutdown.at_once.is_cancelled());
    send("INT");
    timeout(PATIENCE, shutdown.at_once.cancelled()).await.expect("the second signal is noticed");
}
