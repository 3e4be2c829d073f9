//! Records to store. Numbers tell them apart.

use alloy_primitives::Address;
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, AttemptOutcome, AttemptRecord, JobRecord, JobState, Millis,
    NetworkMode, Priority, ProgramRecord, ProgramState, Prover, RequestRecord, RequestState,
};
use network_lib::handshake::Backend;
use network_lib::ids::{
    ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, TokenId, VkHash, WorkerId,
};
use network_lib::job::{
    BlobInfo, Execution, ExecutionFailureCause, Failure, FailureClass, JobSpec, Memory,
    OutOfMemory, ProofMode,
};

/// `N` bytes that differ for each kind and number.
pub(crate) fn bytes<const N: usize>(kind: u8, number: u32) -> [u8; N] {
    let mut bytes = [kind; N];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn blob(number: u32) -> BlobInfo {
    BlobInfo { size: u64::from(number) + 1, sha256: Sha256Digest(bytes(1, number)) }
}

pub(crate) fn spec() -> JobSpec {
    JobSpec {
        vk_hash: VkHash([9; 32]),
        circuit_version: "v6.1.0".into(),
        mode: ProofMode::Compressed,
        cycle_limit: 1_000_000,
        gas_limit: 2_000_000,
    }
}

pub(crate) fn prover() -> Prover {
    Prover { worker: WorkerId([7; 16]), name: "tobit".into(), backend: Backend::Cuda }
}

pub(crate) fn job(number: u32, state: JobState) -> JobRecord {
    let time = i64::from(number) * 10;
    let (id, key) = (JobId(bytes(2, number)), Sha256Digest(bytes(3, number)));
    let program = (ArtifactId(bytes(4, 0)), blob(0));
    let stdin = (ArtifactId(bytes(5, number)), blob(number));
    JobRecord {
        state,
        updated_at: Millis(time + 1),
        finished_at: state.is_terminal().then_some(Millis(time + 5)),
        ..JobRecord::queued(id, key, spec(), program, stdin, Millis(time))
    }
}

pub(crate) fn execution() -> Execution {
    Execution { cycles: 12_345, gas: Some(67_890), public_values_hash: Sha256Digest([0xee; 32]) }
}

/// A job with every field filled.
pub(crate) fn full_job(number: u32) -> JobRecord {
    JobRecord {
        execution: Some(execution()),
        failure: Some(
            Failure::new(FailureClass::Guest, "a «message» with\nlines")
                .caused_by(ExecutionFailureCause::ExceededGasLimit),
        ),
        proof: Some(ArtifactId(bytes(6, number))),
        prover: Some(prover()),
        priority: Some(Priority::Low),
        attempts: 3,
        started_at: Some(Millis(4)),
        ..job(number, JobState::Proved)
    }
}

pub(crate) fn request(number: u32, job: &JobRecord) -> RequestRecord {
    RequestRecord {
        id: RequestId(bytes(8, number)),
        job: job.id,
        requester: Address::repeat_byte(0xaa),
        client: number.is_multiple_of(2).then(|| "rollup".into()),
        token: Some(TokenId([7; 16])),
        stated_digest: Some(Sha256Digest([9; 32])),
        network_mode: NetworkMode::Mainnet,
        strategy: 2,
        version: "sp1-v6.1.0".into(),
        stdin_uri: format!("http://127.0.0.1:9010/artifacts/{number}"),
        stdin_private: true,
        deadline: 1_700_000_000,
        min_auction_period: 5,
        whitelist: vec![Address::repeat_byte(1), Address::repeat_byte(2)],
        state: RequestState::Open,
        created_at: Millis(i64::from(number) * 10),
        updated_at: Millis(i64::from(number) * 10),
        fulfilled_at: None,
    }
}

pub(crate) fn attempt(number: u32, job: &JobRecord) -> AttemptRecord {
    AttemptRecord {
        lease: LeaseId(bytes(10, number)),
        job: job.id,
        task: None,
        prover: prover(),
        started_at: Millis(i64::from(number)),
        first_progress_at: Some(Millis(i64::from(number) + 1)),
        ended_at: Some(Millis(i64::from(number) + 1)),
        outcome: AttemptOutcome::Failed,
        failure_class: Some(FailureClass::Worker),
        out_of_memory: Some(OutOfMemory { memory: Memory::Gpu, bytes: Some(24 << 30) }),
        message: Some("out of memory".into()),
        execution: Some(execution()),
        proof: Some((ArtifactId(bytes(11, number)), blob(number))),
    }
}

pub(crate) fn artifact(id: ArtifactId, kind: ArtifactKind) -> ArtifactRecord {
    let ticket = ArtifactRecord::ticket(id, kind, Address::repeat_byte(3), Millis(1));
    ArtifactRecord { blob: Some(blob(1)), ..ticket }
}

pub(crate) fn program(number: u32) -> ProgramRecord {
    ProgramRecord {
        vk_hash: VkHash(bytes(12, number)),
        vk: vec![0, 1, 2, 255],
        artifact: ArtifactId(bytes(4, number)),
        blob: blob(number),
        owner: Address::repeat_byte(4),
        client: None,
        state: ProgramState::Claimed,
        created_at: Millis(1),
    }
}
