//! The scheduler's hot paths alone, without store, sockets and clock: cost of an event by the number of waiting jobs
//! or connected workers. `cargo bench -p bench-suite --bench core`; for instruction counts, which do not depend on the
//! load of the machine, see `docs/performance.md`.
//!
//! Before the benchmarks, and alone with `-- limits`, the events of a crowded network are compared with their limits
//! (`limits.rs`).

#[path = "core/limits.rs"]
mod limits;
#[path = "core/model.rs"]
mod model;

use std::cell::RefCell;
use std::collections::VecDeque;

use alloy_primitives::Address;
use divan::Bencher;
use hierophant_model::clients::Clients;
use hierophant_model::records::{Millis, NetworkMode};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::ShardingLimits;
use hierophant_scheduler::proofs::core::{
    Effect, IdSource, Limits, ProofsCore, RestoredState, StoreLookup,
};
use hierophant_scheduler::proofs::{NewRequest, WorkerJoined};
use network_lib::handshake::{Backend, Capabilities, Welcome};
use network_lib::ids::{ArtifactId, LeaseId, RequestId, Sha256Digest, VkHash, WorkerId};
use network_lib::job::{BlobInfo, Failure, FailureClass, JobSpec, ProofMode};
use network_lib::wire::ToWorker;

/// When everything happens.
const NOW: Millis = Millis(1_000_000);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let only_limits = arguments == ["limits"];
    if only_limits || (arguments.is_empty() && !cfg!(debug_assertions)) {
        limits::check();
    }
    if !only_limits {
        divan::main();
    }
}

/// A scheduler with connected workers of one slot each, and requests made after they joined.
struct Stage {
    core: ProofsCore,
    made: u64,
    leases: VecDeque<(WorkerId, LeaseId)>,
}

impl Stage {
    fn new(workers: u64, requests: u64) -> Self {
        let core =
            ProofsCore::restore(NOW, limits(), IdSource::random(), RestoredState::default()).0;
        let mut stage = Self { core, made: 0, leases: VecDeque::new() };
        for number in 0..workers {
            stage.join(number);
        }
        for _ in 0..requests {
            stage.submit();
        }
        stage
    }

    fn join(&mut self, number: u64) {
        self.join_with(number, capabilities(), &[]);
    }

    fn join_with(&mut self, number: u64, capabilities: Capabilities, held: &[LeaseId]) {
        let worker = worker(number);
        let welcome = Welcome {
            protocol: 1,
            software_version: String::new(),
            heartbeat_interval_ms: 5000,
            access_key: "key".into(),
            resume: Vec::new(),
        };
        let joined = WorkerJoined {
            worker,
            session: SessionId(number),
            name: "amos".into(),
            capabilities,
            held: held.to_vec(),
            drained: None,
            private_inputs: true,
            welcome,
        };
        let effects = self.core.worker_joined(NOW, joined);
        self.note(&effects);
    }

    fn submit(&mut self) {
        self.made += 1;
        self.ask(request(self.made));
    }

    fn ask(&mut self, new: NewRequest) {
        let (answer, effects) = self.core.submit(NOW, new, StoreLookup::default());
        assert!(answer.is_ok());
        self.note(&effects);
    }

    /// The oldest attempt fails by nobody's fault; its worker is given the next job.
    fn turn(&mut self) {
        let effects = self.fail();
        let before = self.leases.len();
        self.note(&effects);
        assert_eq!(self.leases.len(), before + 1, "the slot was not assigned");
    }

    /// The oldest attempt fails by nobody's fault.
    fn fail(&mut self) -> Vec<Effect> {
        let (worker, lease) = self.leases.pop_front().expect("a worker is busy");
        let failure = Failure::new(FailureClass::Guest, String::new());
        self.core.failed(NOW, worker, lease, failure)
    }

    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Send(worker, ToWorker::Prove { lease_id, .. }) = effect {
                self.leases.push_back((*worker, *lease_id));
            }
        }
    }
}

/// What a worker of one slot offers that makes every kind of proof.
fn capabilities() -> Capabilities {
    Capabilities {
        vm: "sp1".into(),
        circuit_versions: vec!["v6.1.0".into()],
        modes: ProofMode::ALL.to_vec(),
        backend: Backend::Cpu,
        slots: 1,
        prefetch: 0,
        memory_bytes: 0,
        gpus: Vec::new(),
        unavailable_reason: None,
        sharding: None,
    }
}

fn limits() -> Limits {
    Limits {
        max_attempts: 3,
        max_waiting: usize::MAX,
        urgent_modes: Vec::new(),
        attempt_limit_ms: 0,
        race_after: 0.0,
        stall_limit_ms: 0,
        unlisted_limit_ms: 20_000,
        return_limit_ms: 120_000,
        max_strikes: 0,
        strike_decay_ms: 0,
        sharding: ShardingLimits::default(),
        clients: Clients::default(),
    }
}

/// Numbers to ids that lie far apart.
fn scattered(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn id<const N: usize>(number: u64) -> [u8; N] {
    let mut id = [0; N];
    id[..8].copy_from_slice(&scattered(number));
    id
}

fn worker(number: u64) -> WorkerId {
    WorkerId(id(number + 1))
}

fn request(number: u64) -> NewRequest {
    let blob = BlobInfo { size: 1000, sha256: Sha256Digest(id(number)) };
    NewRequest {
        id: RequestId(id(number)),
        requester: Address::repeat_byte((number % 16) as u8),
        client: None,
        token: None,
        stated_digest: None,
        spec: JobSpec {
            vk_hash: VkHash([1; 32]),
            circuit_version: "v6.1.0".into(),
            mode: ProofMode::Core,
            cycle_limit: number,
            gas_limit: 0,
        },
        program: ArtifactId([1; 16]),
        program_blob: blob,
        program_confirmed: false,
        stdin: ArtifactId(id(number)),
        stdin_blob: blob,
        network_mode: NetworkMode::Reserved,
        strategy: 1,
        version: "sp1-v6.1.0".into(),
        stdin_uri: "http://127.0.0.1:9010/artifacts/00000000000000000000000000000000".into(),
        stdin_private: false,
        deadline: 10_000_000_000 + number,
        min_auction_period: 0,
        whitelist: Vec::new(),
    }
}

/// A new request joins a queue of this length; no worker is free.
#[divan::bench(args = [1_000, 10_000, 100_000])]
fn submit_behind(bencher: Bencher<'_, '_>, waiting: u64) {
    let stage = RefCell::new(Stage::new(0, waiting));
    bencher.bench_local(|| stage.borrow_mut().submit());
}

/// A slot becomes free, and the next job of a queue of this length is given out; 100 workers.
#[divan::bench(args = [1_000, 10_000, 100_000])]
fn next_of(bencher: Bencher<'_, '_>, waiting: u64) {
    let stage = RefCell::new(Stage::new(100, waiting + 100));
    // What is taken is filled up again, so that there are always as many.
    bencher.bench_local(|| {
        let mut stage = stage.borrow_mut();
        stage.turn();
        stage.submit();
    });
}

/// The same by number of workers, with 10,000 waiting.
#[divan::bench(args = [10, 100, 1_000])]
fn next_among_workers(bencher: Bencher<'_, '_>, workers: u64) {
    let stage = RefCell::new(Stage::new(workers, 10_000 + workers));
    bencher.bench_local(|| {
        let mut stage = stage.borrow_mut();
        stage.turn();
        stage.submit();
    });
}

/// A heartbeat of one of this many workers, all busy.
#[divan::bench(args = [100, 1_000, 10_000])]
fn heartbeat_among(bencher: Bencher<'_, '_>, workers: u64) {
    let mut stage = Stage::new(workers, workers);
    let leases = stage.leases.clone();
    let numbers: std::collections::BTreeMap<WorkerId, u64> =
        (0..workers).map(|number| (worker(number), number)).collect();
    let mut next = 0;
    let stage = RefCell::new(&mut stage);
    bencher.bench_local(move || {
        let (worker, lease) = leases[next % leases.len()];
        next += 1;
        stage.borrow_mut().core.held_leases(NOW, worker, SessionId(numbers[&worker]), &[lease])
    });
}
