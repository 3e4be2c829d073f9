//! A Contemplant and its surroundings.

use std::sync::Arc;

use contemplant::config::Config;
use network_lib::task;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_executor::{Control, FakeExecutor};
use crate::fake_hierophant::FakeHierophant;

pub(crate) struct Setup {
    pub(crate) hierophant: FakeHierophant,
    pub(crate) executor: Control,
    pub(crate) shutdown: CancellationToken,
    pub(crate) contemplant: JoinHandle<anyhow::Result<()>>,
    _data_dir: TempDir,
}

impl Setup {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let hierophant = FakeHierophant::start().await;
        let data_dir = tempfile::tempdir().unwrap();
        let address = format!("ws://{}/ws", hierophant.address);
        let mut config = Config::for_test(address, data_dir.path());
        change(&mut config);
        let (executor, control) = FakeExecutor::new();
        let shutdown = CancellationToken::new();
        let run = contemplant::run(config, Arc::new(executor), shutdown.clone());
        let contemplant = task::spawn("contemplant", run);
        Self { hierophant, executor: control, shutdown, contemplant, _data_dir: data_dir }
    }
}

/// A program and an input as an SDK uploads them.
pub(crate) fn uploads() -> (Vec<u8>, Vec<u8>) {
    let program = bincode::serialize(&b"\x7fELF".to_vec()).unwrap();
    (zstd::encode_all(program.as_slice(), 3).unwrap(), zstd::encode_all(&b"input"[..], 3).unwrap())
}
