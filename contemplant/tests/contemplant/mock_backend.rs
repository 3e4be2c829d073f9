//! The mock backend with a real program: real execution, SP1's mock proof.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contemplant::attempt::JobEvent;
use contemplant::executor::helper::Helper;
use contemplant::executor::keys::KeyFiles;
use contemplant::executor::mock::MockExecutor;
use contemplant::executor::{EventSink, Executor, ProveJob, Proved};
use network_lib::ids::{LeaseId, Sha256Digest, VkHash};
use network_lib::job::{ExecutionFailureCause, Failure, FailureClass, JobSpec, ProofMode};
use sha2::{Digest, Sha256};
use sp1_core_machine::io::SP1Stdin;
use sp1_verifier::{ProofFromNetwork, SP1Proof};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Mock {
    executor: MockExecutor,
    vk_hash: VkHash,
}

fn start_executor(data_dir: &Path) -> MockExecutor {
    let keys = KeyFiles::new(&data_dir.join("keys"));
    MockExecutor::new(Duration::ZERO, ProofMode::ALL.to_vec(), helper(data_dir), keys)
}

/// Executions by the program under test.
pub(crate) fn helper(data_dir: &Path) -> Helper {
    Helper::new(Path::new(env!("CARGO_BIN_EXE_contemplant")), data_dir)
}

impl Mock {
    async fn start(data_dir: &Path) -> Self {
        let executor = start_executor(data_dir);
        let mut mock = Self { executor, vk_hash: VkHash([0; 32]) };
        let refused = mock.prove(job(10)).await.unwrap_err();
        assert_eq!(refused.class, FailureClass::Request);
        let told = refused.message.strip_prefix(
            "the uploaded program does not match its registered verifying key; its own is ",
        );
        mock.vk_hash = told.expect(&refused.message).parse().unwrap();
        mock
    }

    async fn prove(&self, mut job: ProveJob) -> Result<Proved, Failure> {
        job.spec.vk_hash = self.vk_hash;
        let (sender, _events) = mpsc::unbounded_channel();
        let sink = EventSink::new(LeaseId::random(), sender);
        self.executor.prove(job, sink, CancellationToken::new()).await
    }
}

fn job(n: u32) -> ProveJob {
    let mut stdin = SP1Stdin::new();
    stdin.write(&n);
    ProveJob {
        spec: JobSpec {
            vk_hash: VkHash([0; 32]),
            circuit_version: "v6.1.0".to_owned(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program_digest: Sha256Digest([1; 32]),
        elf: Arc::new(fibonacci::ELF.to_vec()),
        stdin: bincode::serialize(&stdin).unwrap(),
    }
}

/// One test, since deriving the program's key takes seconds and is done once for all of it.
#[tokio::test]
async fn a_mock_proof_carries_what_a_real_execution_found() {
    let data_dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(data_dir.path()).await;
    let mut executions = Vec::new();
    for mode in ProofMode::ALL {
        let mut job = job(10);
        job.spec.mode = mode;
        let proved = mock.prove(job).await.unwrap();
        let proof: ProofFromNetwork = bincode::deserialize(&proved.proof).unwrap();
        assert_eq!(proof.public_values.as_slice(), fibonacci::public_values(10));
        assert_eq!(proof.sp1_version, "v6.1.0");
        let fits = match mode {
            ProofMode::Core => matches!(proof.proof, SP1Proof::Core(_)),
            ProofMode::Compressed => matches!(proof.proof, SP1Proof::Compressed(_)),
            ProofMode::Plonk => matches!(proof.proof, SP1Proof::Plonk(_)),
            ProofMode::Groth16 => matches!(proof.proof, SP1Proof::Groth16(_)),
        };
        assert!(fits, "{mode}");
        executions.push(proved.execution);
    }
    let execution = executions[0];
    assert!(executions.iter().all(|other| *other == execution));
    let hash = Sha256::digest(fibonacci::public_values(10));
    assert_eq!(execution.public_values_hash, Sha256Digest(hash.into()));
    assert!(execution.cycles > 1_000 && execution.gas.is_some_and(|gas| gas > 0), "{execution:?}");

    limits_hold_to_the_cycle(&mock, execution.cycles, execution.gas.unwrap()).await;
    failures_name_their_cause(&mock).await;
    a_cancelled_job_ends_at_once(&mock).await;
    a_restarted_executor_takes_the_key_from_its_file(&mock, data_dir.path()).await;
}

async fn a_restarted_executor_takes_the_key_from_its_file(mock: &Mock, data_dir: &Path) {
    let job = job(10);
    let file = data_dir.join("keys/v6.1.0").join(job.program_digest.to_string());
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let executor = start_executor(data_dir);
    let restarted = Mock { executor, vk_hash: mock.vk_hash };
    let proved = restarted.prove(job.clone()).await.unwrap();
    assert_eq!(proved, mock.prove(job.clone()).await.unwrap());
    let unchanged = std::fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(unchanged, written, "a key that is derived is written");

    // The kept key is checked like any other.
    let wrong = Mock { executor: restarted.executor, vk_hash: VkHash([1; 32]) };
    assert_eq!(wrong.prove(job).await.unwrap_err().class, FailureClass::Request);
}

async fn limits_hold_to_the_cycle(mock: &Mock, cycles: u64, gas: u64) {
    let limited = |cycle_limit, gas_limit| {
        let mut job = job(10);
        job.spec.cycle_limit = cycle_limit;
        job.spec.gas_limit = gas_limit;
        job
    };
    mock.prove(limited(cycles, gas)).await.unwrap();
    let failure = mock.prove(limited(cycles - 1, gas)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Request);
    assert_eq!(failure.cause, Some(ExecutionFailureCause::ExceededCycleLimit));
    let failure = mock.prove(limited(cycles, gas - 1)).await.unwrap_err();
    assert_eq!(failure.cause, Some(ExecutionFailureCause::ExceededGasLimit));

    // Far over the limit, the run is cut short.
    let mut long = job(1_000_000);
    long.spec.cycle_limit = 10_000;
    let failure = mock.prove(long).await.unwrap_err();
    assert_eq!(failure.cause, Some(ExecutionFailureCause::ExceededCycleLimit));
}

async fn failures_name_their_cause(mock: &Mock) {
    let failure = mock.prove(job(fibonacci::PANICKING_INPUT)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Guest);
    assert_eq!(failure.cause, Some(ExecutionFailureCause::HaltWithNonZeroExitCode));

    let mut no_input = job(10);
    no_input.stdin = b"nonsense".to_vec();
    assert_eq!(mock.prove(no_input).await.unwrap_err().class, FailureClass::Request);

    let mut too_little = job(10);
    too_little.stdin = bincode::serialize(&SP1Stdin::new()).unwrap();
    let failure = mock.prove(too_little).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Guest, "{failure}");

    // An instruction that SP1 cannot decode makes its loader panic.
    let mut undecodable = fibonacci::ELF.to_vec();
    let middle = undecodable.len() / 2;
    undecodable[middle..middle + 64].fill(0xff);
    let no_elf = b"this is not an ELF".to_vec();
    for (number, elf) in [undecodable, no_elf].into_iter().enumerate() {
        let mut broken = job(10);
        broken.program_digest = Sha256Digest([100 + number as u8; 32]);
        broken.elf = Arc::new(elf);
        let failure = mock.prove(broken).await.unwrap_err();
        assert_ne!(failure.class, FailureClass::Worker, "{failure}");
    }
}

async fn a_cancelled_job_ends_at_once(mock: &Mock) {
    let mut endless = job(400_000_000);
    endless.spec.vk_hash = mock.vk_hash;
    let (sender, mut events) = mpsc::unbounded_channel();
    let sink = EventSink::new(LeaseId::random(), sender);
    let cancel = CancellationToken::new();
    let stop_when_executing = async {
        while let Some((_, event)) = events.recv().await {
            let executing = |event| match event {
                JobEvent::Progress(progress) => {
                    progress.phase == network_lib::job::Phase::Executing
                }
                JobEvent::Executed(_) | JobEvent::Waiting | JobEvent::Ended(_) => false,
            };
            if executing(event) {
                return cancel.cancel();
            }
        }
    };
    let proving = mock.executor.prove(endless, sink, cancel.clone());
    let (outcome, ()) = tokio::join!(proving, stop_when_executing);
    assert_eq!(outcome.unwrap_err().message, "cancelled");
    // And the executor is good for the next.
    mock.prove(job(3)).await.unwrap();
}
