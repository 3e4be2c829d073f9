//! Decisions of the core, event by event.

mod ahead;
mod assignment;
mod attempts;
mod bounded;
mod commands;
mod disputes;
mod divisions;
mod doubts;
mod effort;
mod joins;
mod late;
mod machines;
mod memory;
mod numbers;
mod out_of_memory;
mod private_inputs;
mod queue_snapshot;
mod race;
mod recovery;
mod reference;
mod requests;
mod rests;
mod task_memory;
mod task_race;
mod task_turns;
mod task_views;
mod why;
mod words;
mod workers;

use alloy_primitives::Address;
use hierophant_model::clients::Client;
use hierophant_model::commands::Command;
use hierophant_model::records::{AttemptOutcome, NetworkMode, RequestState, Setting, SettingKind};
use network_lib::handshake::{Backend, Capabilities, Welcome};
use network_lib::ids::{RequestId, VkHash};
use network_lib::job::{
    BlobInfo, Execution, ExecutionFailureCause, Failure, FailureClass, JobSpec, Phase, Progress,
};

use memory::Memory;

use super::*;
use crate::SessionId;
use crate::proofs::{NewRequest, WorkerJoined};

const START: Millis = Millis(1_000_000);
const DEADLINE: u64 = 5_000;
const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

const MINUTE: i64 = 60_000;

fn limits() -> Limits {
    Limits {
        max_attempts: 3,
        clients: Clients::default(),
        max_waiting: 4,
        urgent_modes: vec![ProofMode::Plonk],
        race_after: 0.0,
        attempt_limit_ms: 100 * MINUTE,
        stall_limit_ms: 10 * MINUTE,
        unlisted_limit_ms: 20_000,
        return_limit_ms: 2 * MINUTE,
        max_strikes: 3,
        strike_decay_ms: 60 * MINUTE,
        sharding: ShardingLimits::default(),
    }
}

fn core() -> ProofsCore {
    core_with(limits())
}

fn core_with(limits: Limits) -> ProofsCore {
    ProofsCore::restore(START, limits, IdSource::counting(), RestoredState::default()).0
}

/// A request for the input number `input`; the id is `id`.
fn new_request(id: u8, input: u8) -> NewRequest {
    let blob = |n| BlobInfo { size: 10, sha256: Sha256Digest([n; 32]) };
    NewRequest {
        id: RequestId([id; 32]),
        requester: ALICE,
        client: None,
        token: None,
        stated_digest: None,
        spec: JobSpec {
            vk_hash: VkHash([7; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program: ArtifactId([8; 16]),
        program_blob: blob(8),
        program_confirmed: false,
        stdin: ArtifactId([input; 16]),
        stdin_blob: blob(input),
        network_mode: NetworkMode::Reserved,
        strategy: 1,
        version: "sp1-v6.1.0".into(),
        stdin_uri: format!("http://h/artifacts/{input}"),
        stdin_private: false,
        deadline: DEADLINE,
        min_auction_period: 0,
        whitelist: vec![],
    }
}

fn submit(core: &mut ProofsCore, id: u8, input: u8) -> Vec<Effect> {
    let (answer, effects) = core.submit(START, new_request(id, input), StoreLookup::default());
    let accepted = answer.expect("accepted");
    assert_eq!(accepted.request, RequestId([id; 32]));
    assert_eq!(core.open.job(accepted.request), Some(accepted.job));
    effects
}

fn capabilities(modes: Vec<ProofMode>) -> Capabilities {
    Capabilities {
        vm: "sp1".into(),
        circuit_versions: vec!["v6.1.0".into()],
        modes,
        backend: Backend::Cpu,
        slots: 1,
        prefetch: 0,
        memory_bytes: 0,
        gpus: vec![],
        unavailable_reason: None,
        sharding: None,
    }
}

fn arrival(n: u8, session: u64, held: &[LeaseId]) -> WorkerJoined {
    WorkerJoined {
        worker: worker(n),
        session: SessionId(session),
        name: "amos".into(),
        capabilities: capabilities(vec![ProofMode::Core]),
        held: held.to_vec(),
        drained: None,
        private_inputs: true,
        welcome: Welcome {
            protocol: 2,
            software_version: "0.1.0".into(),
            heartbeat_interval_ms: 5000,
            access_key: "key".into(),
            resume: vec![],
        },
    }
}

fn join(core: &mut ProofsCore, n: u8, session: u64) -> Vec<Effect> {
    core.worker_joined(START, arrival(n, session, &[]))
}

/// The attempts that a welcome among the effects lets go on.
fn resumed(effects: &[Effect]) -> Option<Vec<LeaseId>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(_, ToWorker::Welcome(welcome)) => Some(welcome.resume.clone()),
        _ => None,
    })
}

fn worker(n: u8) -> WorkerId {
    WorkerId([n; 16])
}

/// The lease that the effects give out, and to whom.
fn given_out(effects: &[Effect]) -> Option<(WorkerId, LeaseId)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(worker, ToWorker::Prove { lease_id, .. }) => Some((*worker, *lease_id)),
        _ => None,
    })
}

fn cancels(effects: &[Effect]) -> Vec<LeaseId> {
    let cancelled = effects.iter().filter_map(|effect| match effect {
        Effect::Send(_, ToWorker::Cancel { lease_id, .. })
        | Effect::Recall(_, ToWorker::Cancel { lease_id, .. }) => Some(*lease_id),
        _ => None,
    });
    cancelled.collect()
}

/// The last saved state of a request.
fn request_state(effects: &[Effect], id: u8) -> Option<RequestState> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(Change::Request(request, _)) if request.id == RequestId([id; 32]) => {
            Some(request.state)
        }
        _ => None,
    })
}

fn job_state(effects: &[Effect]) -> Option<JobState> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(Change::Job(job)) => Some(job.state),
        _ => None,
    })
}

fn execution() -> Execution {
    Execution { cycles: 5, gas: Some(6), public_values_hash: Sha256Digest([3; 32]) }
}

fn proof_blob() -> BlobInfo {
    BlobInfo { size: 99, sha256: Sha256Digest([9; 32]) }
}

fn failure(class: FailureClass) -> Failure {
    Failure::new(class, "it broke")
}

fn hand_in(core: &mut ProofsCore, n: u8, lease: LeaseId) -> Vec<Effect> {
    let (counts, _) = core.proof_stored(START, lease, ArtifactId([5; 16]), proof_blob());
    assert!(counts);
    core.completed(START, worker(n), lease, execution(), proof_blob())
}
