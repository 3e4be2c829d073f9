//! A Contemplant with the Hierophant and executor that a test plays.

use std::path::PathBuf;
use std::sync::Arc;

use contemplant::config::Config;
use network_lib::ids::LeaseId;
use network_lib::signal::Shutdown;
use network_lib::task;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake_executor::{Call, Control, FakeExecutor};
use crate::fake_hierophant::{Connection, FakeHierophant};
use crate::waiting::{PATIENCE, until};

pub(crate) struct Setup {
    pub(crate) hierophant: FakeHierophant,
    pub(crate) executor: Control,
    pub(crate) shutdown: Shutdown,
    pub(crate) contemplant: JoinHandle<anyhow::Result<()>>,
    config: Config,
    process: Process,
    _data_dir: TempDir,
}

/// What one Contemplant runs on, so that it can die like a process: with all of its tasks.
struct Process(Option<Runtime>);

impl Process {
    fn start() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Self(Some(runtime.worker_threads(2).enable_all().build().unwrap()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
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
        let (process, executor, shutdown, contemplant) = run(&config);
        Self { hierophant, executor, shutdown, contemplant, config, process, _data_dir: data_dir }
    }

    /// Takes an order to prove to the point where the executor works on it.
    pub(crate) async fn begin(&mut self, connection: &Connection) -> (LeaseId, Call) {
        let (program, stdin) = uploads();
        let (lease, order) = self.hierophant.lease(&program, &stdin);
        connection.say(&order);
        (lease, self.executor.next_call().await)
    }

    /// Ends the Contemplant without a word, as SIGKILL does.
    pub(crate) async fn kill(&mut self) {
        assert!(!self.contemplant.is_finished(), "it ended before it was killed");
        self.process = Process(None);
        let contemplant = &mut self.contemplant;
        let ended = timeout(PATIENCE, contemplant).await.expect("it does not die");
        // Its parts die in any order: it may notice that its prover is gone, and end with that error.
        assert!(!matches!(ended, Ok(Ok(()))), "it ended well although it was killed");
    }

    /// Starts a Contemplant again on the same data folder.
    pub(crate) fn restart(&mut self) {
        (self.process, self.executor, self.shutdown, self.contemplant) = run(&self.config);
    }

    /// Waits until the Contemplant has ended well.
    pub(crate) async fn expect_end(&mut self) {
        let ended = timeout(PATIENCE, &mut self.contemplant).await.expect("it does not end");
        ended.unwrap().unwrap();
    }

    /// Where records and results of tasks are kept.
    pub(crate) fn depot_folder(&self) -> PathBuf {
        self.config.data_dir.join("depot")
    }

    /// Where finished proofs are kept.
    pub(crate) fn held_folder(&self) -> PathBuf {
        self.config.data_dir.join("held")
    }

    /// Waits until the finished proofs on disk are those of these attempts.
    pub(crate) async fn expect_on_disk(&self, leases: &[LeaseId]) {
        let mut wanted: Vec<String> = leases.iter().map(LeaseId::to_string).collect();
        wanted.sort_unstable();
        let waited = until(|| self.on_disk() == wanted).await;
        assert!(waited.is_ok(), "{:?} are on disk instead of {wanted:?}", self.on_disk());
    }

    fn on_disk(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.held_folder()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

fn run(config: &Config) -> (Process, Control, Shutdown, JoinHandle<anyhow::Result<()>>) {
    let process = Process::start();
    let (executor, control) = FakeExecutor::new();
    let shutdown = Shutdown::default();
    let run = contemplant::run(config.clone(), Arc::new(executor), shutdown.clone());
    let contemplant = {
        let _guard = process.0.as_ref().unwrap().enter();
        task::spawn("contemplant", run)
    };
    (process, control, shutdown, contemplant)
}

/// A program and an input as an SDK uploads them.
pub(crate) fn uploads() -> (Vec<u8>, Vec<u8>) {
    let program = bincode::serialize(&b"\x7fELF".to_vec()).unwrap();
    (zstd::encode_all(program.as_slice(), 3).unwrap(), zstd::encode_all(&b"input"[..], 3).unwrap())
}
