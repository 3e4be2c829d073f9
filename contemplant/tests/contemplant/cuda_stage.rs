//! A `cuda` executor and its prover servers, played by the stand-in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contemplant::attempt::JobEvent;
use contemplant::config::SelfTest;
use contemplant::executor::cuda::{CudaExecutor, CudaSettings};
use contemplant::executor::keys::KeyFiles;
use contemplant::executor::{EventSink, Executor, ProveJob, Proved};
use contemplant::prover_server::ProverServer;
use gpu_stand_in::Behaviour;
use gpu_stand_in::behaviour::{Fault, behaviour_file};
use network_lib::handshake::{Capabilities, Gpu};
use network_lib::ids::{LeaseId, Sha256Digest, VkHash};
use network_lib::job::{Failure, JobSpec, ProofMode};
use sp1_core_machine::io::SP1Stdin;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::mock_backend::helper;

/// Longer than anything here should take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Time limit for a server to start, and for each step of its self-test.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);

/// Memory of the GPU that there is said to be.
pub(crate) const GPU_MEMORY: u64 = 24 << 30;

/// Digest of the program that every job here has.
const PROGRAM: Sha256Digest = Sha256Digest([1; 32]);

/// An executor and where its server listens.
pub(crate) struct Stage {
    pub(crate) executor: Arc<CudaExecutor>,
    pub(crate) socket: PathBuf,
    folder: TempDir,
}

impl Stage {
    /// An executor for one server, which `server` makes from a data folder.
    pub(crate) async fn start<S: ProverServer + 'static>(
        socket: &Path,
        server: impl FnOnce(&Path) -> S,
    ) -> Self {
        Self::start_changed(|_| {}, socket, server).await
    }

    /// The same with this self-test and limit.
    pub(crate) async fn start_with<S: ProverServer + 'static>(
        self_test: SelfTest,
        start_limit: Duration,
        socket: &Path,
        server: impl FnOnce(&Path) -> S,
    ) -> Self {
        let change = |settings: &mut CudaSettings| {
            (settings.self_test, settings.start_limit) = (self_test, start_limit);
        };
        Self::start_changed(change, socket, server).await
    }

    /// The same with changed settings.
    pub(crate) async fn start_changed<S: ProverServer + 'static>(
        change: impl FnOnce(&mut CudaSettings),
        socket: &Path,
        server: impl FnOnce(&Path) -> S,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFiles::new(&folder.path().join("keys"));
        // Deriving it takes half a minute.
        keys.save(PROGRAM, fibonacci::VERIFYING_KEY);
        let gpu = Gpu { model: "NVIDIA L4".to_owned(), memory_bytes: GPU_MEMORY, driver: None };
        let mut settings = CudaSettings {
            servers: vec![Arc::new(server(folder.path()))],
            modes: ProofMode::ALL.to_vec(),
            start_limit: START_LIMIT,
            silence_limit: Duration::from_secs(2),
            self_test: SelfTest::Setup,
            prefetch: true,
            gpus: vec![gpu],
            loads: watch::channel(Vec::new()).1,
            helper: helper(folder.path()),
            keys,
        };
        change(&mut settings);
        let executor = Arc::new(CudaExecutor::new(settings));
        executor.start();
        Self { executor, socket: socket.to_owned(), folder }
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Has the server behave so from here on.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        behave(&self.socket, change);
    }

    /// Waits until the executor offers what `wanted` wants.
    pub(crate) async fn offers(&self, wanted: impl Fn(&Capabilities) -> bool) -> Capabilities {
        let mut capabilities = self.executor.capabilities();
        let found = timeout(PATIENCE, capabilities.wait_for(|offered| wanted(offered))).await;
        match found {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("never offered; now {:?}", self.executor.capabilities().borrow()),
        }
    }

    /// Waits until the server is ready.
    pub(crate) async fn ready(&self) {
        self.offers(|offered| offered.modes.len() == 4 && offered.unavailable_reason.is_none())
            .await;
    }

    /// Waits until the executor says why it cannot prove, and returns that.
    pub(crate) async fn unavailable_reason(&self, words: &str) -> String {
        let has_words = |offered: &Capabilities| {
            offered.modes.is_empty()
                && offered.unavailable_reason.as_ref().is_some_and(|reason| reason.contains(words))
        };
        self.offers(has_words).await.unavailable_reason.unwrap()
    }

    /// Proves input `n`, whatever comes of it.
    pub(crate) async fn prove(&self, n: u32, mode: ProofMode) -> Result<Proved, Failure> {
        self.begin(n, mode).outcome().await
    }

    /// Begins to prove.
    pub(crate) fn begin(&self, n: u32, mode: ProofMode) -> Attempt {
        let (sender, events) = mpsc::unbounded_channel();
        let sink = EventSink::new(LeaseId::random(), sender);
        let cancel = CancellationToken::new();
        let (executor, token) = (Arc::clone(&self.executor), cancel.clone());
        let job = job(n, mode);
        let proving =
            network_lib::task::spawn(
                "attempt",
                async move { executor.prove(job, sink, token).await },
            );
        Attempt { proving, events, cancel }
    }
}

/// A proof in progress.
pub(crate) struct Attempt {
    proving: tokio::task::JoinHandle<Result<Proved, Failure>>,
    events: mpsc::UnboundedReceiver<(LeaseId, JobEvent)>,
    pub(crate) cancel: CancellationToken,
}

impl Attempt {
    /// Waits for an event that `wanted` wants.
    pub(crate) async fn expect(&mut self, wanted: impl Fn(&JobEvent) -> bool) -> JobEvent {
        let wait = async {
            loop {
                let (_, event) = self.events.recv().await.expect("the attempt has ended");
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the event does not come")
    }

    /// Whether an event has come that was not expected yet.
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Waits until the server makes the proof.
    pub(crate) async fn is_proving(&mut self) {
        let proving = network_lib::job::Phase::Proving;
        self.expect(|event| matches!(event, JobEvent::Progress(told) if told.phase == proving))
            .await;
    }

    pub(crate) async fn outcome(self) -> Result<Proved, Failure> {
        timeout(PATIENCE, self.proving).await.expect("the attempt does not end").unwrap()
    }
}

/// Has the server on `socket` behave so from here on.
pub(crate) fn behave(socket: &Path, change: impl FnOnce(&mut Behaviour)) {
    let mut behaviour = Behaviour::default();
    change(&mut behaviour);
    behaviour.write(&behaviour_file(socket)).unwrap();
}

/// A fault and nothing else.
pub(crate) fn fault(fault: Fault) -> impl FnOnce(&mut Behaviour) {
    move |behaviour| behaviour.fault = Some(fault)
}

/// A number that no GPU has and no other test uses.
pub(crate) fn unused_gpu() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1_000_000 + std::process::id() % 100_000 * 64 + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn job(n: u32, mode: ProofMode) -> ProveJob {
    let mut stdin = SP1Stdin::new();
    stdin.write(&n);
    ProveJob {
        spec: JobSpec {
            vk_hash: VkHash(fibonacci::VK_HASH),
            circuit_version: "v6.1.0".to_owned(),
            mode,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program_digest: PROGRAM,
        elf: Arc::new(fibonacci::ELF.to_vec()),
        stdin: bincode::serialize(&stdin).unwrap(),
    }
}
