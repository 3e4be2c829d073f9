//! The `cuda` backend with prover servers as child processes.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use contemplant::attempt::JobEvent;
use contemplant::executor::Executor;
use contemplant::prover_server::command::CommandServer;
use gpu_stand_in::Behaviour;
use gpu_stand_in::behaviour::{Fault, behaviour_file};
use network_lib::job::{Failure, FailureClass, Memory, OutOfMemory, Phase, ProofMode};

use crate::cuda_stage::{GPU_MEMORY, Stage, behave, fault, unused_gpu};

/// A proof time that no test waits for.
const FOREVER: Duration = Duration::from_secs(3600);

/// Longest time from the fault of a server to the end of its attempt.
const FAULT_LIMIT: Duration = Duration::from_secs(15);

/// An executor that runs the stand-in, and the traces to be removed.
struct OwnServer {
    stage: Stage,
    gpu: u32,
}

impl OwnServer {
    async fn start(change: impl FnOnce(&mut Behaviour)) -> Self {
        let program = stand_in().to_str().unwrap().to_owned();
        Self::start_program(program, change).await
    }

    async fn start_program(program: String, change: impl FnOnce(&mut Behaviour)) -> Self {
        let gpu = unused_gpu();
        let socket = PathBuf::from(format!("/tmp/sp1-cuda-{gpu}.sock"));
        behave(&socket, change);
        let server = |data_dir: &std::path::Path| {
            CommandServer::new(&[program], &BTreeMap::new(), gpu, &[gpu], data_dir)
        };
        Self { stage: Stage::start(&socket, server).await, gpu }
    }

    /// Ids of the server's processes, of which there should be one at most.
    fn processes(&self) -> Vec<String> {
        processes_of(self.gpu)
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(behaviour_file(&self.stage.socket));
    }
}

/// Ids of the processes that serve a GPU.
pub(crate) fn processes_of(gpu: u32) -> Vec<String> {
    let variable = format!("CUDA_VISIBLE_DEVICES={gpu}");
    let has_variable = |id: &String| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let names = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    names.filter(|name| name.parse::<u32>().is_ok()).filter(has_variable).collect()
}

/// The stand-in's program, built beside this one by `cargo build --workspace --all-targets`.
pub(crate) fn stand_in() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().parent().unwrap().join("gpu-stand-in");
    assert!(program.is_file(), "{} is missing: build the workspace first", program.display());
    program
}

#[tokio::test]
async fn a_killed_server_fails_its_proof_at_once_and_is_started_again() {
    let own = OwnServer::start(|behaviour| behaviour.proof_time = FOREVER).await;
    own.stage.ready().await;
    let mut attempt = own.stage.begin(10, ProofMode::Core);
    attempt.is_proving().await;
    let [server] = &own.processes()[..] else { panic!("not one server: {:?}", own.processes()) };
    own.stage.behave(|_| {});
    let killed = Instant::now();
    assert!(Command::new("kill").args(["-KILL", server]).status().unwrap().success());
    let failure = attempt.outcome().await.unwrap_err();
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert_eq!(failure.class, FailureClass::Worker);
    assert!(failure.message.contains("was killed by signal 9"), "{failure}");
    own.stage.ready().await;
    own.stage.prove(10, ProofMode::Core).await.unwrap();
    own.stage.executor.stop().await;
    assert_eq!(own.processes(), Vec::<String>::new());
    assert!(!own.stage.socket.exists());
}

#[tokio::test]
async fn a_cancelled_proof_is_ended_with_its_server_and_the_next_one_is_made() {
    let own = OwnServer::start(|behaviour| behaviour.proof_time = FOREVER).await;
    own.stage.ready().await;
    let mut attempt = own.stage.begin(10, ProofMode::Core);
    attempt.is_proving().await;
    own.stage.behave(|_| {});
    attempt.cancel.cancel();
    assert_eq!(attempt.outcome().await.unwrap_err().message, "cancelled");
    own.stage.ready().await;
    own.stage.prove(11, ProofMode::Core).await.unwrap();
    own.stage.executor.stop().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_replaced() {
    let own = OwnServer::start(fault(Fault::Hang)).await;
    own.stage.ready().await;
    let failure = own.stage.prove(10, ProofMode::Core).await.unwrap_err();
    assert!(failure.message.contains("has stopped answering"), "{failure}");
    own.stage.behave(|_| {});
    own.stage.ready().await;
    own.stage.prove(10, ProofMode::Core).await.unwrap();
    own.stage.executor.stop().await;
}

/// Has a server fail in this way while it proves: the attempt ends in time, the obstacle has these words, and the server
/// that replaces it makes a proof. Returns the failure.
async fn fails_in_time(one: Fault, words: &str) -> Failure {
    let own = OwnServer::start(fault(one)).await;
    own.stage.ready().await;
    let mut attempt = own.stage.begin(10, ProofMode::Core);
    attempt.is_proving().await;
    let start = Instant::now();
    let failure = attempt.outcome().await.unwrap_err();
    assert!(start.elapsed() < FAULT_LIMIT, "{:?}: {failure}", start.elapsed());
    assert_eq!(failure.class, FailureClass::Worker, "{failure}");
    assert!(failure.message.contains(words), "{failure}");
    own.stage.unavailable_reason(words).await;
    own.stage.behave(|_| {});
    own.stage.ready().await;
    own.stage.prove(10, ProofMode::Core).await.unwrap();
    assert_eq!(own.stage.executor.server_starts().get(), 2);
    own.stage.executor.stop().await;
    failure
}

#[tokio::test]
async fn a_panicked_task_ends_the_attempt_though_pings_are_answered() {
    let failure = fails_in_time(Fault::PanicInTask, "cannot finish the proof").await;
    assert_eq!(failure.out_of_memory, None, "{failure}");
    for words in ["panicked at", "index out of bounds", "task panicked"] {
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn a_failed_allocation_ends_the_attempt_for_lack_of_gpu_memory() {
    let failure = fails_in_time(Fault::AllocError, "cannot finish the proof").await;
    let of_gpu = OutOfMemory { memory: Memory::Gpu, bytes: Some(GPU_MEMORY) };
    assert_eq!(failure.out_of_memory, Some(of_gpu), "{failure}");
    assert!(failure.message.starts_with("out of memory: "), "{failure}");
    assert!(failure.message.contains("AllocError"), "{failure}");
}

#[tokio::test]
async fn a_hanging_server_ends_the_attempt_within_the_silence_limit() {
    let failure = fails_in_time(Fault::Hang, "has stopped answering").await;
    assert_eq!(failure.out_of_memory, None, "{failure}");
}

#[tokio::test]
async fn an_answer_that_names_no_cause_is_explained_by_the_log() {
    let failure = fails_in_time(Fault::FailedController, "artifact not found").await;
    let of_gpu = OutOfMemory { memory: Memory::Gpu, bytes: Some(GPU_MEMORY) };
    assert_eq!(failure.out_of_memory, Some(of_gpu), "{failure}");
    assert!(failure.message.contains("Controller: task failed"), "{failure}");
}

#[tokio::test]
async fn work_that_was_cancelled_in_the_queue_does_not_replace_the_server() {
    let own = OwnServer::start(|behaviour| behaviour.proof_time = FOREVER).await;
    own.stage.ready().await;
    let mut proving = own.stage.begin(10, ProofMode::Core);
    proving.is_proving().await;
    let mut queued = own.stage.begin(11, ProofMode::Core);
    queued.expect(|event| matches!(event, JobEvent::Executed(_))).await;
    own.stage.behave(|_| {});
    queued.cancel.cancel();
    // The server that replaces this one finds the cancelled work in the queue.
    proving.cancel.cancel();
    for attempt in [proving, queued] {
        assert_eq!(attempt.outcome().await.unwrap_err().message, "cancelled");
    }
    own.stage.ready().await;
    own.stage.prove(12, ProofMode::Core).await.unwrap();
    assert_eq!(own.stage.executor.server_starts().get(), 2);
    own.stage.executor.stop().await;
}

#[tokio::test]
async fn a_server_s_temp_folder_is_emptied_at_each_start() {
    let own = OwnServer::start(|_| {}).await;
    own.stage.ready().await;
    let temp = own.stage.data_dir().join(format!("gpu-{}", own.gpu));
    let [server] = &own.processes()[..] else { panic!("not one server: {:?}", own.processes()) };
    let environment = std::fs::read(format!("/proc/{server}/environ")).unwrap();
    let expected = format!("TMPDIR={}", temp.display());
    assert!(environment.split(|byte| *byte == 0).any(|entry| entry == expected.as_bytes()));
    let witness = temp.join("witness");
    std::fs::write(&witness, "left by a killed server").unwrap();
    assert!(Command::new("kill").args(["-KILL", server]).status().unwrap().success());
    own.stage.unavailable_reason("was killed by signal 9").await;
    own.stage.ready().await;
    assert!(!witness.exists());
    own.stage.executor.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_had_is_explained() {
    let ends = OwnServer::start(fault(Fault::ExitAtStart)).await;
    let reason = ends.stage.unavailable_reason("has ended with exit code 4").await;
    assert!(reason.contains("Running sp1-gpu-server 6.10.0"), "{reason}");
    ends.stage.executor.stop().await;

    let older = OwnServer::start(|behaviour| behaviour.version = Some("6.0.0".to_owned())).await;
    let reason = older.stage.unavailable_reason("is sp1-gpu-server 6.0.0").await;
    assert!(reason.contains("expected 6.10.0"), "{reason}");
    older.stage.executor.stop().await;
    assert_eq!(older.processes(), Vec::<String>::new());

    let missing = OwnServer::start_program("/no/such/program".to_owned(), |_| {}).await;
    missing.stage.unavailable_reason("/no/such/program cannot be started").await;
}

/// The server ends with its GPU, and cannot be started without it.
#[tokio::test]
async fn a_gpu_that_vanishes_is_named_and_used_again_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("device");
    std::fs::write(&device, "").unwrap();
    let program = folder.path().join("server");
    let script = format!(
        "#!/bin/sh\n[ -e '{}' ] && exec '{}' \"$@\"\n\
         echo 'CUDA error 100: no CUDA-capable device is detected' >&2\nexit 1\n",
        device.display(),
        stand_in().display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap().to_owned();
    let own = OwnServer::start_program(program, |it| it.proof_time = FOREVER).await;
    own.stage.ready().await;
    let mut attempt = own.stage.begin(10, ProofMode::Core);
    attempt.is_proving().await;
    let [server] = &own.processes()[..] else { panic!("not one server: {:?}", own.processes()) };
    std::fs::remove_file(&device).unwrap();
    assert!(Command::new("kill").args(["-KILL", server]).status().unwrap().success());
    assert_eq!(attempt.outcome().await.unwrap_err().class, FailureClass::Worker);
    own.stage.unavailable_reason("no CUDA-capable device is detected").await;
    own.stage.offers(|offered| offered.modes.is_empty()).await;
    own.stage.behave(|_| {});
    std::fs::write(&device, "").unwrap();
    own.stage.ready().await;
    own.stage.prove(10, ProofMode::Core).await.unwrap();
    own.stage.executor.stop().await;
}

#[tokio::test]
async fn progress_is_counted_from_the_log_and_estimated_where_there_is_none() {
    let own = OwnServer::start(|behaviour| behaviour.proof_time = Duration::from_secs(12)).await;
    own.stage.ready().await;
    let mut attempt = own.stage.begin(10, ProofMode::Core);
    let counted = attempt
        .expect(|event| match event {
            JobEvent::Progress(told) => told.phase == Phase::Proving && told.fraction > Some(0.2),
            _ => false,
        })
        .await;
    let JobEvent::Progress(counted) = counted else { unreachable!("as expected above") };
    assert!(!counted.estimated && counted.eta_seconds.is_some(), "{counted:?}");
    let (done, total) = (counted.cycles_done.unwrap(), counted.cycles_total.unwrap());
    assert!(done > 0 && done < total, "{counted:?}");
    // The stand-in is a process that takes some memory, but not the machine's.
    let memory = counted.memory_bytes.unwrap();
    assert!((1 << 20..32 << 30).contains(&memory), "{counted:?}");
    // Each finished task is a step.
    let steps = counted.steps_done;
    assert!(steps > Some(0), "{counted:?}");
    attempt
        .expect(|event| matches!(event, JobEvent::Progress(later) if later.steps_done > steps))
        .await;
    attempt.cancel.cancel();
    let _ = attempt.outcome().await;
    own.stage.executor.stop().await;
}
