//! The process that executes a job's program: what is left when it, or what is below it, is killed.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contemplant::attempt::JobEvent;
use contemplant::executor::keys::KeyFiles;
use contemplant::executor::mock::MockExecutor;
use contemplant::executor::{EventSink, Executor, ProveJob, Proved};
use network_lib::ids::{LeaseId, Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass, JobSpec, Phase, ProofMode};
use network_lib::task;
use sp1_core_machine::io::SP1Stdin;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::mock_backend::helper;

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: Sha256Digest = Sha256Digest([1; 32]);

/// Enough for minutes of execution.
const ENDLESS: u32 = 2_000_000_000;

/// What Linux keeps of the name of SP1's native executor.
const NATIVE_EXECUTOR: &str = "sp1-native-runn";

/// A mock executor with a long execution.
struct LongExecution {
    cancel: CancellationToken,
    proof: JoinHandle<Result<Proved, Failure>>,
    events: mpsc::UnboundedReceiver<(LeaseId, JobEvent)>,
    folder: TempDir,
}

impl LongExecution {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFiles::new(&folder.path().join("keys"));
        // Deriving it takes half a minute.
        keys.save(PROGRAM, fibonacci::VERIFYING_KEY);
        let executor = Arc::new(MockExecutor::new(
            Duration::ZERO,
            ProofMode::ALL.to_vec(),
            helper(folder.path()),
            keys,
        ));
        executor.start();
        let cancel = CancellationToken::new();
        let (sender, events) = mpsc::unbounded_channel();
        let sink = EventSink::new(LeaseId::random(), sender);
        let (job, token) = (job(ENDLESS), cancel.clone());
        let proof = task::spawn("proof", async move { executor.prove(job, sink, token).await });
        let this = Self { cancel, proof, events, folder };
        this.wait(|this| !this.native_executors().is_empty() && !this.files().is_empty()).await;
        this
    }

    /// Processes of this execution.
    fn processes(&self) -> Vec<u32> {
        marked(self.folder.path())
    }

    fn native_executors(&self) -> Vec<u32> {
        let name = |id: &u32| std::fs::read_to_string(format!("/proc/{id}/comm"));
        let is_native = |id: &u32| name(id).is_ok_and(|name| name.trim() == NATIVE_EXECUTOR);
        self.processes().into_iter().filter(is_native).collect()
    }

    /// SP1's files in shared memory that this execution has mapped.
    fn files(&self) -> Vec<PathBuf> {
        self.processes().into_iter().flat_map(mapped).collect()
    }

    async fn wait(&self, until: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !until(self) {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.processes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn expect_nothing_left(&self, files: &[PathBuf]) {
        self.wait(|this| this.processes().is_empty()).await;
        self.wait(|_| files.iter().all(|file| !file.exists())).await;
    }
}

/// Processes whose executions belong to a data folder.
fn marked(data_dir: &Path) -> Vec<u32> {
    let mark = format!("CONTEMPLANT_EXECUTION={}", data_dir.display());
    let ids = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |id: &u32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    ids.filter(has_mark).collect()
}

fn mapped(id: u32) -> Vec<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.find("/dev/shm/").map(|at| &line[at..]));
    files.filter(|file| file.contains("sp1_")).map(PathBuf::from).collect()
}

fn kill(id: u32) {
    assert!(Command::new("kill").args(["-s", "KILL", &id.to_string()]).status().unwrap().success());
}

fn job(n: u32) -> ProveJob {
    ProveJob {
        spec: JobSpec {
            vk_hash: VkHash(fibonacci::VK_HASH),
            circuit_version: "v6.1.0".to_owned(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program_digest: PROGRAM,
        elf: Arc::new(fibonacci::ELF.to_vec()),
        stdin: input(n),
    }
}

fn input(n: u32) -> Vec<u8> {
    let mut stdin = SP1Stdin::new();
    stdin.write(&n);
    bincode::serialize(&stdin).unwrap()
}

#[tokio::test]
async fn a_cancelled_execution_leaves_no_process_and_no_shared_memory() {
    let mut execution = LongExecution::start().await;
    let files = execution.files();
    execution.cancel.cancel();
    (&mut execution.proof).await.unwrap().unwrap_err();
    execution.expect_nothing_left(&files).await;
}

#[tokio::test]
async fn an_execution_shows_by_its_processor_time_that_it_goes_on() {
    let mut execution = LongExecution::start().await;
    let wait = async {
        let mut steps = Some(0);
        for _ in 0..2 {
            loop {
                let (_, event) = execution.events.recv().await.expect("it goes on");
                let JobEvent::Progress(report) = event else { continue };
                if report.phase == Phase::Executing && report.steps_done > steps {
                    steps = report.steps_done;
                    break;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it uses no processor time");
    execution.cancel.cancel();
    (&mut execution.proof).await.unwrap().unwrap_err();
}

/// As at the end of the program: its tasks are dropped where they are.
#[test]
fn an_execution_ends_with_the_runtime_of_its_contemplant() {
    let contemplant = tokio::runtime::Runtime::new().unwrap();
    let execution = contemplant.block_on(LongExecution::start());
    let files = execution.files();
    contemplant.shutdown_background();
    let this = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    this.block_on(execution.expect_nothing_left(&files));
}

#[tokio::test]
async fn a_killed_native_executor_is_the_machine_s_failure() {
    let mut execution = LongExecution::start().await;
    let files = execution.files();
    kill(execution.native_executors()[0]);
    let failure = (&mut execution.proof).await.unwrap().unwrap_err();
    assert_eq!((failure.class, failure.cause), (FailureClass::Worker, None), "{failure}");
    assert_eq!(failure.out_of_memory, None);
    execution.expect_nothing_left(&files).await;
}

#[tokio::test]
async fn a_killed_helper_is_the_machine_s_failure() {
    let mut execution = LongExecution::start().await;
    // Until its files have been seen.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (files, native) = (execution.files(), execution.native_executors());
    let helper = execution.processes().into_iter().find(|id| !native.contains(id)).unwrap();
    kill(helper);
    let failure = (&mut execution.proof).await.unwrap().unwrap_err();
    assert_eq!(failure.class, FailureClass::Worker, "{failure}");
    assert!(failure.message.contains("signal 9"), "{failure}");
    execution.expect_nothing_left(&files).await;
}

#[tokio::test]
async fn an_execution_that_cannot_be_started_is_the_machine_s_failure() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder of temporary files should be.
    std::fs::write(folder.path().join("tmp"), b"").unwrap();
    let keys = KeyFiles::new(&folder.path().join("keys"));
    keys.save(PROGRAM, fibonacci::VERIFYING_KEY);
    let modes = ProofMode::ALL.to_vec();
    let executor = MockExecutor::new(Duration::ZERO, modes, helper(folder.path()), keys);
    let (sender, _events) = mpsc::unbounded_channel();
    let sink = EventSink::new(LeaseId::random(), sender);
    let failure = executor.prove(job(10), sink, CancellationToken::new()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Worker, "{failure}");
    assert!(failure.message.contains("the execution process cannot be started"), "{failure}");
}

/// As after SIGKILL of the Contemplant: the other end of the pipe is closed.
#[test]
fn a_helper_ends_with_its_contemplant() {
    let folder = tempfile::tempdir().unwrap();
    let mut helper = Command::new(env!("CARGO_BIN_EXE_contemplant"))
        .arg("execute")
        .env("TMPDIR", folder.path())
        .env("CONTEMPLANT_EXECUTION", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut pipe = helper.stdin.take().unwrap();
    let order = serde_json::json!({
        "settings": { "cycle_limit": null, "gas_limit": null, "accept_mock_proofs": false },
        "derive_key": false,
    });
    for part in [order.to_string().as_bytes(), fibonacci::ELF, &input(ENDLESS)] {
        pipe.write_all(&(part.len() as u64).to_le_bytes()).unwrap();
        pipe.write_all(part).unwrap();
    }
    let start = Instant::now();
    // The helper and the native executor below it.
    while marked(folder.path()).len() < 2 || mapped(helper.id()).is_empty() {
        assert!(start.elapsed() < PATIENCE, "{:?}", marked(folder.path()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let files = mapped(helper.id());
    drop(pipe);
    helper.wait().unwrap();
    while !marked(folder.path()).is_empty() || files.iter().any(|file| file.exists()) {
        assert!(start.elapsed() < PATIENCE, "{:?} {files:?}", marked(folder.path()));
        std::thread::sleep(Duration::from_millis(20));
    }
}
