//! The `cuda` backend against an external prover server on a real socket: its answers, and every wrong answer that it
//! may give.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contemplant::attempt::JobEvent;
use contemplant::executor::Executor;
use contemplant::prover_server::external::ExternalServer;
use gpu_stand_in::Source;
use gpu_stand_in::behaviour::Fault;
use network_lib::job::{FailureClass, Memory, OutOfMemory, Phase, ProofMode};
use network_lib::task;
use sp1_verifier::{ProofFromNetwork, SP1Proof};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::cuda_stage::{GPU_MEMORY, Stage, fault};
use crate::waiting::until_listening;

/// An external prover server.
struct Server {
    socket: PathBuf,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _folder: TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server.sock");
        let mut server = Self { socket, running: None, _folder: folder };
        server.come_back().await;
        server
    }

    async fn come_back(&mut self) {
        let socket = self.socket.clone();
        let serve = async move { gpu_stand_in::serve(&socket, Source::Recorded).await };
        self.running = Some(task::spawn("server", serve));
        until_listening(&self.socket).await;
    }

    /// Ends listening. Connections go on: they are tasks of their own.
    fn stop_listening(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        std::fs::remove_file(&self.socket).unwrap();
    }
}

async fn stage(socket: &Path) -> Stage {
    Stage::start(socket, |_| ExternalServer::new(socket.to_owned())).await
}

/// A server and an executor that has found it.
async fn ready() -> (Server, Stage) {
    let server = Server::start().await;
    let stage = stage(&server.socket).await;
    stage.ready().await;
    (server, stage)
}

#[tokio::test]
async fn proofs_of_every_kind_come_from_the_server_with_true_public_values() {
    let (_server, stage) = ready().await;
    for mode in ProofMode::ALL {
        let proved = stage.prove(10, mode).await.unwrap();
        let proof: ProofFromNetwork = bincode::deserialize(&proved.proof).unwrap();
        assert_eq!(proof.public_values.as_slice(), fibonacci::public_values(10), "{mode}");
        assert!(proved.execution.cycles > 1_000 && proved.execution.gas.is_some());
    }
    // One that Hierophant would believe: the stand-in has a recorded proof of this input.
    let proved = stage.prove(1000, ProofMode::Core).await.unwrap();
    let proof: ProofFromNetwork = bincode::deserialize(&proved.proof).unwrap();
    assert!(matches!(proof.proof, SP1Proof::Core(shards) if !shards.is_empty()));
    // A program that fails never gets to the server.
    stage.behave(fault(Fault::Close));
    let failed = stage.prove(fibonacci::PANICKING_INPUT, ProofMode::Core).await.unwrap_err();
    assert_eq!(failed.class, FailureClass::Guest);
}

#[tokio::test]
async fn a_server_that_answers_wrongly_is_this_machine_s_failure_and_costs_no_memory() {
    let (_server, stage) = ready().await;
    let before = resident_bytes();
    let faults = [
        (Fault::Garbage, "expected the protocol of sp1-gpu-server"),
        (Fault::FourGib, "announces an answer of 4294967295 bytes"),
        (Fault::Close, "closed the connection"),
        (Fault::OutOfGpuMemory, "out of memory: the prover server reports: out of GPU memory"),
    ];
    for (one, words) in faults {
        stage.behave(fault(one));
        let failure = stage.prove(10, ProofMode::Core).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Worker, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        let short = OutOfMemory { memory: Memory::Gpu, bytes: Some(GPU_MEMORY) };
        let ran_out = (one == Fault::OutOfGpuMemory).then_some(short);
        assert_eq!(failure.out_of_memory, ran_out, "{failure}");
        // The executor connects again and continues.
        stage.behave(|_| {});
        stage.ready().await;
        stage.prove(10, ProofMode::Core).await.unwrap();
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 1 << 30, "{grown} bytes more than before");
}

#[tokio::test]
async fn a_server_of_another_version_is_told_by_its_keys_and_its_proofs() {
    for (one, words) in [
        (Fault::OtherKey, "derives another verifying key"),
        (Fault::OtherCircuit, "makes proofs of circuit version v6.0.0"),
    ] {
        let (_server, stage) = ready().await;
        stage.behave(fault(one));
        let failure = stage.prove(10, ProofMode::Core).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Worker);
        assert!(failure.message.contains(words), "{failure}");
        // It is not offered again at once: an operator has to replace the server.
        stage.unavailable_reason(words).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_server_is_named_and_found_once_it_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let stage = stage(&path).await;
    stage.unavailable_reason("there is no prover server at").await;
    std::fs::write(&path, "a plain file").unwrap();
    stage.unavailable_reason("is not a socket").await;
    let failure = stage.prove(10, ProofMode::Core).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Infrastructure, "{failure}");
    std::fs::remove_file(&path).unwrap();
    let mut server = Server { socket: path, running: None, _folder: folder };
    server.come_back().await;
    stage.ready().await;
}

#[tokio::test]
async fn a_server_that_vanishes_fails_its_proof_at_once_and_is_found_when_it_is_back() {
    let (mut server, stage) = ready().await;
    stage.behave(|behaviour| {
        behaviour.proof_time = Duration::from_secs(1);
        behaviour.fault = Some(Fault::Close);
    });
    let mut attempt = stage.begin(10, ProofMode::Core);
    attempt.is_proving().await;
    server.stop_listening();
    let failure = attempt.outcome().await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Worker, "{failure}");
    stage.unavailable_reason("there is no prover server at").await;
    stage.behave(|_| {});
    server.come_back().await;
    stage.ready().await;
    stage.prove(10, ProofMode::Core).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_proof_occupies_a_server_that_cannot_be_stopped() {
    let (_server, stage) = ready().await;
    stage.behave(|behaviour| behaviour.proof_time = Duration::from_secs(2));
    let mut attempt = stage.begin(10, ProofMode::Core);
    attempt.is_proving().await;
    let cancelled = Instant::now();
    attempt.cancel.cancel();
    // Its outcome is not read.
    let _ = attempt.outcome().await;
    assert!(cancelled.elapsed() > Duration::from_secs(1), "the slot is free while the GPU is not");
    stage.behave(|_| {});
    stage.prove(10, ProofMode::Core).await.unwrap();
}

/// Its tasks are not visible, and the first proof of a program has no estimate.
#[tokio::test]
async fn a_busy_server_shows_by_its_answers_that_a_long_proof_goes_on() {
    let (_server, stage) = ready().await;
    stage.behave(|behaviour| behaviour.proof_time = Duration::from_secs(20));
    let mut attempt = stage.begin(10, ProofMode::Core);
    let mut last = None;
    for _ in 0..2 {
        let event = attempt
            .expect(|event| match event {
                JobEvent::Progress(report) => {
                    report.phase == Phase::Proving && report.steps_done > last
                }
                _ => false,
            })
            .await;
        let JobEvent::Progress(report) = event else { unreachable!("as expected above") };
        assert_eq!((report.fraction, report.cycles_done), (None, None), "{report:?}");
        last = report.steps_done;
    }
    assert!(last > Some(0), "{last:?}");
    attempt.cancel.cancel();
}

#[tokio::test]
async fn a_server_that_says_nothing_any_more_is_given_up() {
    let (_server, stage) = ready().await;
    stage.behave(fault(Fault::Hang));
    let failure = stage.prove(10, ProofMode::Core).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Worker);
    assert!(failure.message.contains("has stopped answering"), "{failure}");
    assert!(stage.offers(|offered| offered.modes.is_empty()).await.modes.is_empty());
    stage.executor.stop().await;
}

/// Main memory that this process has in use.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
