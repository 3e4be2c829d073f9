//! Contemplants, as `docs/worker-protocol.md` says that they behave, and some that do not.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::handshake::{Backend, Capabilities, Hello, ProtocolRange};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{
    BlobInfo, Execution, Failure, FailureClass, Memory, OutOfMemory, ProofMode,
};
use network_lib::wire::FromWorker;
use rand::Rng;
use rand::rngs::StdRng;

use super::tasks::{Task, sharding};

/// Bytes of the largest machine; they are few, so that many have as much as another.
pub const MAX_MEMORY: u64 = 4;

/// Bytes that a proof of this content takes.
pub fn need(content: u8) -> u64 {
    1 + u64::from(content) % MAX_MEMORY
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Honest,
    /// Fails every third attempt or so.
    Flaky,
    /// Hands in proofs that prove something else.
    Liar,
    /// Now and then never finishes, and says so in its heartbeats.
    Hanging,
}

/// How far an attempt in progress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Program and input are fetched and executed.
    Preparing,
    /// It waits for the slot.
    Prepared,
    /// It has the slot.
    Proving,
}

/// An attempt as its Contemplant sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    Running {
        content: u8,
        step: Step,
    },
    /// Cancelled; the machine is still busy with it.
    WindingDown,
    /// The proof is made and kept on disk, but not handed in yet.
    Finished {
        genuine: bool,
    },
    /// Ended and reported, until Hierophant acknowledges. A proof is still on disk.
    Over {
        message: Box<FromWorker>,
        genuine: Option<bool>,
    },
}

#[derive(Debug)]
pub struct Contemplant {
    pub id: WorkerId,
    pub temper: Temper,
    /// In bytes.
    pub memory: u64,
    /// Whether it has the right to private inputs.
    pub private_inputs: bool,
    /// Jobs that it takes ahead.
    pub prefetch: u32,
    pub up: bool,
    /// How often it was started: what an earlier process planned does not happen.
    pub life: u32,
    /// The connection that it believes in.
    pub session: Option<u64>,
    pub heard_at: Millis,
    /// Nothing gets through to it or from it.
    pub cut_off: bool,
    pub held: BTreeMap<LeaseId, Held>,
    /// Tasks that it proves at once; 0 if it takes none.
    pub prove_slots: u32,
    pub tasks: BTreeMap<LeaseId, Task>,
    /// Records on its disk.
    pub depot: BTreeMap<JobId, BTreeSet<Sha256Digest>>,
}

impl Contemplant {
    pub fn draw(rng: &mut StdRng, number: u8) -> Self {
        let temper = match rng.random_range(0..10) {
            // The first is honest, so that everything can be proved in the end.
            _ if number == 0 => Temper::Honest,
            0 | 1 => Temper::Liar,
            2 => Temper::Flaky,
            3 => Temper::Hanging,
            _ => Temper::Honest,
        };
        // The first has the most, for the same reason.
        let memory = if number == 0 { MAX_MEMORY } else { rng.random_range(1..=MAX_MEMORY) };
        Self {
            id: WorkerId([number + 1; 16]),
            temper,
            memory,
            // The first has the right, for the same reason; one that has not suffices.
            private_inputs: number != 1,
            prefetch: rng.random_range(0..=2),
            up: false,
            life: 0,
            session: None,
            heard_at: Millis(0),
            cut_off: false,
            held: BTreeMap::new(),
            prove_slots: if rng.random_bool(0.6) { rng.random_range(1..=3) } else { 0 },
            tasks: BTreeMap::new(),
            depot: BTreeMap::new(),
        }
    }

    pub fn hello(&self) -> Hello {
        Hello {
            protocol: ProtocolRange::OURS,
            software_version: "0.1.0".into(),
            name: "amos".into(),
            worker_id: self.id,
            instance: None,
            token: None,
            local_secret: None,
            capabilities: Capabilities {
                vm: "sp1".into(),
                circuit_versions: vec!["v6.1.0".into()],
                modes: ProofMode::ALL.to_vec(),
                backend: Backend::Cpu,
                slots: 1,
                prefetch: self.prefetch,
                memory_bytes: self.memory,
                gpus: vec![],
                unavailable_reason: None,
                sharding: (self.prove_slots > 0).then(|| sharding(self.prove_slots, self.prefetch)),
            },
            held: self.busy_with(),
        }
    }

    /// What it says that an execution found.
    pub fn execution(&self) -> Execution {
        match self.temper {
            Temper::Liar => {
                Execution { public_values_hash: Sha256Digest([0x11; 32]), ..execution() }
            }
            _ => execution(),
        }
    }

    /// What a heartbeat lists.
    pub fn busy_with(&self) -> Vec<LeaseId> {
        self.held.keys().chain(self.tasks.keys()).copied().collect()
    }

    /// Shards that it takes at once.
    pub fn task_places(&self) -> usize {
        // What counts of its prefetch is limited.
        self.prove_slots as usize + self.prefetch as usize
    }

    /// Number of attempts that are in progress or stop; those that stop have the slot.
    pub fn attempts(&self) -> usize {
        let stops = |held: &&Held| matches!(held, Held::WindingDown);
        let stopping = self.held.values().filter(stops).count();
        let running = |held: &&Held| matches!(held, Held::Running { .. });
        let running = self.held.values().filter(running).count();
        // What was taken back may have begun meanwhile.
        if self.prefetch > 0 { running } else { running + stopping }
    }

    /// Gives the slot to a prepared attempt if it is free.
    pub fn next_for_slot(&mut self) -> Option<LeaseId> {
        let has_slot = |held: &Held| {
            matches!(held, Held::Running { step: Step::Proving, .. } | Held::WindingDown)
        };
        if self.held.values().any(has_slot) {
            return None;
        }
        self.held.iter_mut().find_map(|(lease, held)| match held {
            Held::Running { step: step @ Step::Prepared, .. } => {
                *step = Step::Proving;
                Some(*lease)
            }
            _ => None,
        })
    }

    /// The process dies: what is on disk stays. With the disk the records are lost too.
    pub fn crash(&mut self, with_disk: bool) {
        self.tasks.clear();
        if with_disk {
            self.depot.clear();
        }
        self.up = false;
        self.session = None;
        self.held.retain(|_, held| match held {
            Held::Finished { .. } => true,
            Held::Over { genuine: Some(genuine), .. } => {
                *held = Held::Finished { genuine: *genuine };
                true
            }
            _ => false,
        });
    }

    /// How an attempt at this content ends: a failure to tell, or whether the proof is genuine; `None`
    /// for never.
    pub fn outcome(
        &self,
        rng: &mut StdRng,
        content: u8,
        guest_fails: bool,
    ) -> Option<Result<bool, Failure>> {
        let failure = |class, message: &str| Failure::new(class, message);
        let bad_moment = rng.random_bool(0.35);
        match self.temper {
            Temper::Hanging if bad_moment => None,
            Temper::Flaky if bad_moment => {
                let nobodys = rng.random_bool(0.5);
                let class =
                    if nobodys { FailureClass::Infrastructure } else { FailureClass::Worker };
                Some(Err(failure(class, "flaky")))
            }
            _ if need(content) > self.memory => {
                // Not each knows how much there was.
                let bytes = rng.random_bool(0.5).then_some(self.memory);
                let what = OutOfMemory { memory: Memory::Main, bytes };
                let failure = failure(FailureClass::Worker, "out of memory");
                Some(Err(Failure { out_of_memory: Some(what), ..failure }))
            }
            _ if guest_fails => Some(Err(failure(FailureClass::Guest, "the guest panicked"))),
            Temper::Liar => Some(Ok(false)),
            _ => Some(Ok(true)),
        }
    }
}

pub fn execution() -> Execution {
    Execution { cycles: 5, gas: Some(6), public_values_hash: Sha256Digest([3; 32]) }
}

pub fn proof_blob() -> BlobInfo {
    BlobInfo { size: 99, sha256: Sha256Digest([9; 32]) }
}
