//! The world: one clock, one queue of events, one seed.

mod asking;
mod coordinator;
mod network;
mod operating;
mod proving;
mod stalls;
mod tasks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use hierophant_model::records::{AttemptOutcome, AttemptRecord, Millis, RequestState};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::{Effect, ProofsCore};
use hierophant_scheduler::proofs::shards::policy::ShardingMode;
use hierophant_scheduler::proofs::{Assembly, PartCheck};
use hierophant_scheduler::registry::core::RegistryCore;
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::{FromWorker, ToWorker};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clients::Client;
use super::invariants;
use super::memory::Memory;
use super::workers::Contemplant;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
/// How long faults happen.
const STORM: i64 = 30 * MINUTE;
/// How long everything accepted has to come to its end when the faults are over.
const CALM: i64 = 12 * 60 * MINUTE;
const HEARTBEAT: i64 = 5 * SECOND;
const SILENCE: i64 = 20 * SECOND;
const QUARANTINE: i64 = 10 * MINUTE;
const STRIKE_DECAY: i64 = 20 * MINUTE;

/// What was tried, and how it ended.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub events: u64,
    pub crashes: u64,
    pub attempts: u64,
    /// Attempts that began while another one at the same job went on.
    pub races: u64,
    /// Of the raced jobs those whose proof came from the later attempt.
    pub won_by_racer: u64,
    /// Attempts that ran out of memory.
    pub starved: u64,
    /// Times at which the store stalled.
    pub stalls: u64,
    /// Jobs that were given out while the store stalled.
    pub given_out_late: u64,
    /// Finished proofs that were thrown away.
    pub wasted: u64,
    /// Attempts that were leased ahead, and those of them that were taken back.
    pub ahead: u64,
    pub given_back: u64,
    /// Executions whose end was reported, of proofs that were made as tasks.
    pub divided_executions: u64,
    /// Shards that were proved.
    pub shards: u64,
    /// Records that were handed in for other workers.
    pub provided: u64,
    /// Proofs that were assembled.
    pub assembled: u64,
    /// Inputs of tasks that were found false.
    pub accusations: u64,
    /// Results of tasks that were verified alone.
    pub parts_checked: u64,
    /// Bytes that Hierophant's disk has lost.
    pub lost_blobs: u64,
    pub fulfilled: u64,
    pub unexecutable: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.crashes += other.crashes;
        self.attempts += other.attempts;
        self.races += other.races;
        self.won_by_racer += other.won_by_racer;
        self.starved += other.starved;
        self.stalls += other.stalls;
        self.given_out_late += other.given_out_late;
        self.wasted += other.wasted;
        self.ahead += other.ahead;
        self.given_back += other.given_back;
        self.divided_executions += other.divided_executions;
        self.shards += other.shards;
        self.provided += other.provided;
        self.assembled += other.assembled;
        self.accusations += other.accusations;
        self.parts_checked += other.parts_checked;
        self.lost_blobs += other.lost_blobs;
        self.fulfilled += other.fulfilled;
        self.unexecutable += other.unexecutable;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} crashes of Hierophant, {} stalls of its store with {} jobs given out, {} proofs wasted, {} attempts, {} of them races, {} of these won, {} \
             out of memory, {} ahead, {} of these given back; as tasks: {} executions, {} shards, {} records provided, {} proofs assembled, {} accusations, {} parts checked, {} blobs lost; requests: {} fulfilled, {} unexecutable, {} failed, {} cancelled, {} expired",
            self.events,
            self.crashes,
            self.stalls,
            self.given_out_late,
            self.wasted,
            self.attempts,
            self.races,
            self.won_by_racer,
            self.starved,
            self.ahead,
            self.given_back,
            self.divided_executions,
            self.shards,
            self.provided,
            self.assembled,
            self.accusations,
            self.parts_checked,
            self.lost_blobs,
            self.fulfilled,
            self.unexecutable,
            self.failed,
            self.cancelled,
            self.expired
        )
    }
}

#[derive(Debug, Clone)]
enum Event {
    Ask(usize),
    Poll(usize),
    Withdraw(usize),
    Sweep,
    Start,
    Fault,
    Operate,
    Stall(i64),
    StoreAnswers(u64),
    ToHierophant(u64, FromWorker),
    ToWorker(u64, ToWorker),
    Closed(u64),
    Checked(u64, LeaseId, bool),
    WorkerStart(usize),
    Connect(usize, u32),
    Heartbeat(usize, u32),
    Reachable(usize),
    Fetch(usize, u32, LeaseId),
    Prepared(usize, u32, LeaseId),
    Computed(usize, u32, LeaseId),
    WoundDown(usize, u32, LeaseId),
    HandIn(usize, u32, LeaseId),
    TaskStep(usize, u32, LeaseId),
    RepeatTask(usize, u32, LeaseId, usize),
    Provide(usize, u32, LeaseId, Sha256Digest),
    Assembled(u64, Box<Assembly>),
    PartsChecked(u64, Box<PartCheck>),
}

/// A running Hierophant.
struct Hierophant {
    proofs: ProofsCore,
    registry: RegistryCore,
}

pub struct World {
    now: Millis,
    rng: StdRng,
    events: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    memory: Memory,
    hierophant: Option<Hierophant>,
    /// How often Hierophant was started.
    boot: u64,
    /// Whether the store does not answer.
    stalled: bool,
    /// What was decided since, each effect with the connection that it is for.
    undone: VecDeque<Vec<(Option<u64>, Effect)>>,
    /// Connections whose welcome was sent.
    welcomed: BTreeSet<u64>,
    /// Which worker a connection belongs to; connections are never numbered twice.
    sessions: BTreeMap<u64, usize>,
    /// Connections of this boot by the registry's own numbers.
    known: BTreeMap<(WorkerId, SessionId), u64>,
    /// Connections that are cut without either side knowing it yet.
    broken: BTreeSet<u64>,
    /// When the last message of a connection arrives, each way: messages do not overtake.
    arrivals: BTreeMap<(u64, bool), Millis>,
    workers: Vec<Contemplant>,
    clients: Vec<Client>,
    storm: bool,
    /// Whether stragglers are raced.
    racing: bool,
    /// When a proof is made as tasks.
    sharding: ShardingMode,
    tally: Tally,
    story: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let workers = (0..rng.random_range(1..5)).map(|n| Contemplant::draw(&mut rng, n)).collect();
        let clients = (0..rng.random_range(5..40)).map(|_| Client::draw(&mut rng)).collect();
        Self {
            now: Millis(1_000_000_000),
            events: BTreeMap::new(),
            sequence: 0,
            memory: Memory::default(),
            hierophant: None,
            boot: 0,
            stalled: false,
            undone: VecDeque::new(),
            welcomed: BTreeSet::new(),
            sessions: BTreeMap::new(),
            known: BTreeMap::new(),
            broken: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            workers,
            clients,
            storm: true,
            racing: rng.random_bool(0.5),
            sharding: ShardingMode::ALL[rng.random_range(0..3)],
            tally: Tally::default(),
            story: VecDeque::new(),
            rng,
        }
    }

    /// The latest events, for a run that went wrong.
    pub fn story(&self) -> String {
        self.story.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Lets a storm and then a calm pass, and checks the ends.
    pub fn run(&mut self) -> Tally {
        self.at(0, Event::Start);
        self.at(0, Event::Sweep);
        self.at(SECOND, Event::Fault);
        self.at(MINUTE, Event::Operate);
        for n in 0..self.workers.len() {
            let delay = self.rng.random_range(0..2 * MINUTE);
            self.at(delay, Event::WorkerStart(n));
        }
        for n in 0..self.clients.len() {
            let delay = self.rng.random_range(0..STORM);
            self.at(delay, Event::Ask(n));
        }
        let storm_ends = Millis(self.now.0 + STORM);
        self.until(storm_ends);
        self.calm_down();
        let end = Millis(self.now.0 + CALM);
        while self.now < end && !self.all_ended() {
            let next = Millis((self.now.0 + MINUTE).min(end.0));
            self.until(next);
        }
        self.check_ends();
        // Suspended workers learn only at their next admission that their work is not wanted.
        self.until(Millis(self.now.0 + 2 * STRIKE_DECAY));
        for worker in &self.workers {
            assert!(worker.held.is_empty(), "unwanted work continues: {worker:?}");
        }
        invariants::nothing_is_left(&self.memory, &self.workers);
        self.tally.won_by_racer = self.memory.won_by_racer();
        let starved = |attempt: &&AttemptRecord| attempt.out_of_memory.is_some();
        self.tally.starved = self.memory.attempts.values().filter(starved).count() as u64;
        let given_back = |attempt: &&AttemptRecord| attempt.outcome == AttemptOutcome::GivenBack;
        self.tally.given_back = self.memory.attempts.values().filter(given_back).count() as u64;
        self.tally.ahead = self.memory.ahead;
        self.tally.attempts = self.memory.attempts.len() as u64;
        self.tally.clone()
    }

    fn until(&mut self, end: Millis) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            self.tally.events += 1;
            if !matches!(event, Event::Sweep | Event::Heartbeat(..) | Event::Poll(_)) {
                self.tell(format!("{event:?}"));
            }
            self.happen(event);
        }
        self.now = end;
    }

    fn tell(&mut self, line: String) {
        if self.story.len() == 300 {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>9} {line}", self.now.0 - 1_000_000_000));
    }

    fn at(&mut self, delay: i64, event: Event) {
        self.sequence += 1;
        self.events.insert((Millis(self.now.0 + delay), self.sequence), event);
    }

    fn soon(&mut self, event: Event) {
        let delay = self.rng.random_range(1..200);
        self.at(delay, event);
    }

    fn calm_down(&mut self) {
        self.tell("the storm is over".into());
        self.storm = false;
        self.store_answers(self.boot);
        if self.hierophant.is_none() {
            self.at(0, Event::Start);
        }
        self.at(SECOND, Event::Operate);
        for n in 0..self.workers.len() {
            self.at(0, Event::Reachable(n));
            if !self.workers[n].up {
                self.at(0, Event::WorkerStart(n));
            }
        }
    }

    fn all_ended(&self) -> bool {
        self.clients.iter().all(|client| invariants::right_end(&self.memory, client).is_ok())
    }

    fn check_ends(&mut self) {
        for (n, client) in self.clients.iter().enumerate() {
            match invariants::right_end(&self.memory, client) {
                Ok(RequestState::Fulfilled) => self.tally.fulfilled += 1,
                Ok(RequestState::Unexecutable) => self.tally.unexecutable += 1,
                Ok(RequestState::Failed) => self.tally.failed += 1,
                Ok(RequestState::Cancelled) => self.tally.cancelled += 1,
                Ok(RequestState::Expired) => self.tally.expired += 1,
                Ok(RequestState::Open) => {}
                Err(why) => panic!("request of client {n}: {why}; {client:?}"),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask(n) => self.ask(n),
            Event::Poll(n) => self.poll(n),
            Event::Withdraw(n) => self.withdraw(n),
            Event::Sweep => self.sweep(),
            Event::Start => self.start(),
            Event::Fault => self.fault(),
            Event::Operate => self.operate(),
            Event::Stall(duration) => self.stall(duration),
            Event::StoreAnswers(boot) => self.store_answers(boot),
            Event::ToHierophant(session, message) => self.hear_worker(session, message),
            Event::ToWorker(session, message) => self.hear_hierophant(session, message),
            Event::Closed(session) => self.closed(session),
            Event::Checked(boot, lease, genuine) => {
                let failure = Failure::new(FailureClass::Worker, "does not verify");
                let verdict = if genuine { Ok(()) } else { Err(failure) };
                if boot == self.boot {
                    self.decide(|proofs, now| ((), proofs.checked(now, lease, verdict)));
                }
            }
            Event::WorkerStart(n) => self.worker_starts(n),
            Event::Connect(n, life) => self.connect(n, life),
            Event::Heartbeat(n, life) => self.heartbeat(n, life),
            Event::Reachable(n) => self.workers[n].cut_off = false,
            Event::Fetch(n, life, lease) => self.fetch(n, life, lease),
            Event::Prepared(n, life, lease) => self.prepared(n, life, lease),
            Event::Computed(n, life, lease) => self.computed(n, life, lease),
            Event::WoundDown(n, life, lease) => {
                if self.workers[n].life == life {
                    self.workers[n].held.remove(&lease);
                    self.use_slot(n);
                }
            }
            Event::HandIn(n, life, lease) => self.hand_in(n, life, lease),
            Event::TaskStep(n, life, lease) => self.task_step(n, life, lease),
            Event::RepeatTask(n, life, lease, at) => self.repeat_task(n, life, lease, at),
            Event::Provide(n, life, lease, blob) => self.provide(n, life, lease, blob),
            Event::Assembled(boot, assembly) => self.assembled(boot, *assembly),
            Event::PartsChecked(boot, check) => self.parts_checked(boot, *check),
        }
    }
}
