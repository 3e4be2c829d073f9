//! What a simulation begins with: the scheduler's limits, the handshakes of machines, and the requests of clients.

use alloy_primitives::Address;
use hierophant_model::clients::Clients;
use hierophant_model::records::NetworkMode;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::Limits;
use hierophant_scheduler::proofs::shards::policy::ShardingMode;
use hierophant_scheduler::proofs::{NewRequest, ShardingLimits, WorkerJoined};
use network_lib::handshake::{Backend, Capabilities, Welcome};
use network_lib::ids::{ArtifactId, RequestId, VkHash, WorkerId};
use network_lib::job::{JobSpec, ProofMode};
use network_lib::shard::{Sharding, TaskKind};

use crate::blobs::{ENGINE, blob};
use crate::plan::Plan;

/// Tasks that a machine may have ahead of its prover.
const PREFETCH: u32 = 1;

/// Limits of a scheduler that divides every proof.
pub(crate) fn limits() -> Limits {
    Limits {
        max_attempts: 3,
        max_waiting: usize::MAX,
        clients: Clients::default(),
        urgent_modes: Vec::new(),
        attempt_limit_ms: 0,
        race_after: 0.0,
        stall_limit_ms: 0,
        unlisted_limit_ms: i64::MAX,
        return_limit_ms: 0,
        max_strikes: 0,
        strike_decay_ms: 0,
        sharding: ShardingLimits { mode: ShardingMode::Always, ..ShardingLimits::default() },
    }
}

/// The id of a machine.
pub(crate) fn worker(machine: usize) -> WorkerId {
    let mut id = [1; 16];
    id[8..].copy_from_slice(&(machine as u64).to_be_bytes());
    WorkerId(id)
}

/// The machine with an id.
pub(crate) fn number(id: WorkerId) -> usize {
    let mut number = [0; 8];
    number.copy_from_slice(&id.0[8..]);
    usize::try_from(u64::from_be_bytes(number)).unwrap_or(usize::MAX)
}

/// The handshake of a machine.
pub(crate) fn joined(machine: usize) -> WorkerJoined {
    let sharding = Sharding {
        engine: ENGINE.into(),
        kinds: vec![TaskKind::Execute, TaskKind::ProveShard],
        recursion: false,
        prove_slots: 1,
        prefetch: PREFETCH,
        max_elements: 1 << 28,
        depot_bytes: 1 << 40,
        depot_port: None,
        depot_fingerprint: None,
    };
    WorkerJoined {
        worker: worker(machine),
        session: SessionId(1),
        name: format!("machine {machine}"),
        capabilities: Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec!["v6.1.0".into()],
            modes: ProofMode::ALL.to_vec(),
            backend: Backend::Cpu,
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: Vec::new(),
            unavailable_reason: None,
            sharding: Some(sharding),
        },
        held: Vec::new(),
        drained: None,
        private_inputs: true,
        welcome: Welcome {
            protocol: 3,
            software_version: String::new(),
            heartbeat_interval_ms: 5_000,
            access_key: "key".into(),
            resume: Vec::new(),
        },
    }
}

/// The request of a proof.
pub(crate) fn request(proof: usize, plan: &Plan) -> NewRequest {
    let wanted = plan.proofs[proof];
    let id = u8::try_from(proof + 1).unwrap_or(u8::MAX);
    NewRequest {
        id: RequestId([id; 32]),
        requester: Address::repeat_byte(wanted.requester),
        client: None,
        token: None,
        stated_digest: None,
        spec: JobSpec {
            vk_hash: VkHash([1; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: wanted.shards * 8_000_000,
            gas_limit: 0,
        },
        program: ArtifactId([1; 16]),
        program_blob: blob(0, b'b', 0, 1),
        program_confirmed: false,
        stdin: ArtifactId([id; 16]),
        stdin_blob: blob(0, b'i', proof as u64, 1),
        network_mode: NetworkMode::Reserved,
        strategy: 1,
        version: "sp1-v6.1.0".into(),
        stdin_uri: String::new(),
        stdin_private: false,
        deadline: 1_800_000_000 + wanted.deadline * 3_600,
        min_auction_period: 0,
        whitelist: Vec::new(),
    }
}
