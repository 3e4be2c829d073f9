//! Jobs that are leased ahead of GPUs: executed while another is proved, and proved as soon as that is done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contemplant::attempt::JobEvent;
use contemplant::config::Config;
use contemplant::executor::Executor;
use contemplant::executor::keys::KeyFiles;
use contemplant::prover_server::external::ExternalServer;
use gpu_stand_in::Source;
use network_lib::ids::{LeaseId, VkHash};
use network_lib::job::{FailureClass, Phase, ProofMode};
use network_lib::signal::Shutdown;
use network_lib::task;
use network_lib::wire::{FromWorker, ToWorker};
use sp1_core_machine::io::SP1Stdin;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::cuda_stage::{Attempt, Stage};
use crate::fake_hierophant::{Connection, FakeHierophant, blob_info};
use crate::waiting::until_listening;

/// Long enough for an execution meanwhile, on a busy machine too.
const PROOF_TIME: Duration = Duration::from_secs(6);

/// Longest time for what takes milliseconds.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A prover server, which serves until it is dropped, and an executor with or without jobs ahead.
struct OneGpu {
    stage: Stage,
    serving: JoinHandle<anyhow::Result<()>>,
    _folder: TempDir,
}

impl OneGpu {
    async fn start(prefetch: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket: PathBuf = folder.path().join("server.sock");
        let listens_at = socket.clone();
        let serve = async move { gpu_stand_in::serve(&listens_at, Source::Recorded).await };
        let serving = task::spawn("server", serve);
        until_listening(&socket).await;
        let external = |_: &std::path::Path| ExternalServer::new(socket.clone());
        let stage =
            Stage::start_changed(|settings| settings.prefetch = prefetch, &socket, external).await;
        stage.ready().await;
        stage.behave(|behaviour| behaviour.proof_time = PROOF_TIME);
        Self { stage, serving, _folder: folder }
    }
}

impl Drop for OneGpu {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A whole Contemplant with that executor, and its Hierophant.
struct Network {
    hierophant: FakeHierophant,
    connection: Connection,
    shutdown: Shutdown,
    contemplant: JoinHandle<anyhow::Result<()>>,
    gpu: OneGpu,
}

impl Network {
    async fn start(prefetch: bool) -> Self {
        let gpu = OneGpu::start(prefetch).await;
        let mut hierophant = FakeHierophant::start().await;
        let address = format!("ws://{}/ws", hierophant.address);
        let config = Config::for_test(address, gpu.stage.data_dir());
        let shutdown = Shutdown::default();
        let executor = Arc::clone(&gpu.stage.executor);
        let run = contemplant::run(config, executor, shutdown.clone());
        let contemplant = task::spawn("contemplant", run);
        let connection = hierophant.welcome(&[]).await;
        Self { hierophant, connection, shutdown, contemplant, gpu }
    }

    /// Assigns a proof of this input.
    fn assign(&self, n: u32) -> LeaseId {
        let program = bincode::serialize(&fibonacci::ELF.to_vec()).unwrap();
        let program = zstd::encode_all(program.as_slice(), 3).unwrap();
        // Deriving it takes half a minute.
        let keys = KeyFiles::new(&self.gpu.stage.data_dir().join("keys"));
        keys.save(blob_info(&program).sha256, fibonacci::VERIFYING_KEY);
        let mut stdin = SP1Stdin::new();
        stdin.write(&n);
        let stdin = bincode::serialize(&stdin).unwrap();
        let stdin = zstd::encode_all(stdin.as_slice(), 3).unwrap();
        let (lease, mut order) = self.hierophant.lease(&program, &stdin);
        if let ToWorker::Prove { spec, .. } = &mut order {
            spec.vk_hash = VkHash(fibonacci::VK_HASH);
        }
        self.connection.say(&order);
        lease
    }

    /// All messages up to the proof of this attempt, with their times.
    async fn until_completed(&mut self, lease: LeaseId) -> Vec<(Instant, FromWorker)> {
        let mut messages = Vec::new();
        loop {
            let message = self.connection.expect(|message| Some(message.clone())).await;
            assert!(!matches!(message, FromWorker::Failed { .. }), "{message:?}");
            let is_last =
                matches!(&message, FromWorker::Completed { lease_id, .. } if *lease_id == lease);
            messages.push((Instant::now(), message));
            if is_last {
                return messages;
            }
        }
    }

    async fn stop(self) {
        self.shutdown.requested.cancel();
        self.connection.rest().await;
        self.contemplant.await.unwrap().unwrap();
    }
}

/// Index of the first message that `wanted` wants.
fn position(
    messages: &[(Instant, FromWorker)],
    wanted: impl Fn(&FromWorker) -> bool,
) -> Option<usize> {
    messages.iter().position(|(_, message)| wanted(message))
}

fn in_phase(lease: LeaseId, phase: Phase) -> impl Fn(&FromWorker) -> bool {
    move |message| {
        matches!(message, FromWorker::Progress { lease_id, progress }
            if *lease_id == lease && progress.phase == phase)
    }
}

#[tokio::test]
async fn the_gpu_proves_the_next_job_while_the_proof_of_the_last_is_uploaded() {
    let mut network = Network::start(true).await;
    let offered = &network.connection.hello.capabilities;
    assert_eq!((offered.slots, offered.prefetch), (1, 1));
    network.hierophant.store_slowly(Duration::from_secs(3));
    let first = network.assign(10);
    let is_proving = in_phase(first, Phase::Proving);
    network.connection.expect(|message| is_proving(message).then_some(())).await;
    let ahead = network.assign(11);
    let messages = network.until_completed(first).await;

    let is_executed = |message: &FromWorker| matches!(message, FromWorker::Executed { lease_id, .. } if *lease_id == ahead);
    let executed = position(&messages, is_executed).expect("it was not executed meanwhile");
    let uploading = position(&messages, in_phase(first, Phase::Uploading)).unwrap();
    assert!(executed < uploading, "{messages:?}");
    // Hierophant takes the first progress after that as the begin of its proof.
    let is_progress = |message: &FromWorker| matches!(message, FromWorker::Progress { lease_id, .. } if *lease_id == ahead);
    let begin = position(&messages[executed..], is_progress).expect("it waits for the upload");
    let (begin, progress) = &messages[executed + begin];
    assert!(in_phase(ahead, Phase::Proving)(progress), "{progress:?}");
    let ended = messages[uploading].0;
    let gap = begin.saturating_duration_since(ended).max(ended.saturating_duration_since(*begin));
    assert!(gap < AT_ONCE, "{gap:?}: {messages:?}");

    network.until_completed(ahead).await;
    network.stop().await;
}

#[tokio::test]
async fn without_prefetch_one_job_is_taken_for_each_slot() {
    let mut network = Network::start(false).await;
    assert_eq!(network.connection.hello.capabilities.prefetch, 0);
    assert_eq!(network.gpu.stage.executor.jobs_at_once(), 1);
    network.gpu.stage.behave(|_| {});
    let first = network.assign(10);
    let second = network.assign(11);
    let mut ends = Vec::new();
    for _ in 0..2 {
        let end = network.connection.expect(|message| match message {
            FromWorker::Failed { lease_id, failure } => {
                assert_eq!(failure.class, FailureClass::Infrastructure, "{failure}");
                Some((*lease_id, false))
            }
            FromWorker::Completed { lease_id, .. } => Some((*lease_id, true)),
            _ => None,
        });
        ends.push(end.await);
    }
    assert_eq!(ends, [(second, false), (first, true)]);
    network.stop().await;
}

/// Waits until a job is prepared, and says so.
async fn is_waiting(attempt: &mut Attempt) {
    attempt.expect(|event| matches!(event, JobEvent::Executed(_))).await;
    assert_eq!(attempt.expect(|_| true).await, JobEvent::Waiting);
}

#[tokio::test]
async fn prepared_jobs_are_proved_in_their_order() {
    let gpu = OneGpu::start(true).await;
    let mut first = gpu.stage.begin(10, ProofMode::Core);
    first.is_proving().await;
    let mut second = gpu.stage.begin(11, ProofMode::Core);
    is_waiting(&mut second).await;
    let mut third = gpu.stage.begin(12, ProofMode::Core);
    is_waiting(&mut third).await;
    gpu.stage.behave(|behaviour| behaviour.proof_time = Duration::from_secs(1));
    first.outcome().await.unwrap();
    second.is_proving().await;
    assert!(!third.has_event(), "the third is proved before the second");
    second.outcome().await.unwrap();
    third.outcome().await.unwrap();
}

#[tokio::test]
async fn a_prepared_job_that_is_cancelled_ends_at_once_and_the_gpu_goes_on() {
    let gpu = OneGpu::start(true).await;
    let mut first = gpu.stage.begin(10, ProofMode::Core);
    first.is_proving().await;
    let mut ahead = gpu.stage.begin(11, ProofMode::Core);
    is_waiting(&mut ahead).await;
    let start = Instant::now();
    ahead.cancel.cancel();
    assert_eq!(ahead.outcome().await.unwrap_err().message, "cancelled");
    assert!(start.elapsed() < AT_ONCE, "{:?}: it waited for the GPU", start.elapsed());
    first.outcome().await.unwrap();
    gpu.stage.executor.stop().await;
}
