//! The world: one clock, one queue of events, one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use hierophant::proofs::core::{Arrival, Effect, IdSource, Known, Limits, ProofsCore};
use hierophant::records::{Change, Millis, RequestState, job_key};
use hierophant::registry::core::{RegistryCore, Rules};
use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::{ArtifactId, LeaseId, RequestId, WorkerId};
use network_lib::job::{Failure, FailureClass, Phase, Progress, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clients::Client;
use super::invariants::{self, MAX_ATTEMPTS};
use super::memory::Memory;
use super::workers::{Contemplant, Held, execution, proof_blob};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
/// How long faults happen.
const STORM: i64 = 30 * MINUTE;
/// How long everything accepted has to come to its end when the faults are over.
const CALM: i64 = 12 * 60 * MINUTE;
const HEARTBEAT: i64 = 5 * SECOND;
const SILENCE: i64 = 20 * SECOND;
const QUARANTINE: i64 = 10 * MINUTE;

/// What was tried, and how it ended.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub events: u64,
    pub crashes: u64,
    pub attempts: u64,
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
            "{} events, {} crashes of Hierophant, {} attempts; requests: {} fulfilled, {} \
             unexecutable, {} failed, {} cancelled, {} expired",
            self.events,
            self.crashes,
            self.attempts,
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
    ToHierophant(u64, FromWorker),
    ToWorker(u64, ToWorker),
    Closed(u64),
    Checked(u64, LeaseId, bool),
    WorkerStart(usize),
    Connect(usize, u32),
    Heartbeat(usize, u32),
    Reachable(usize),
    Fetch(usize, u32, LeaseId),
    Computed(usize, u32, LeaseId),
    WoundDown(usize, u32, LeaseId),
    HandIn(usize, u32, LeaseId),
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
    /// Which worker a connection belongs to; connections are never numbered twice.
    sessions: BTreeMap<u64, usize>,
    /// Connections of this boot by the registry's own numbers.
    known: BTreeMap<(WorkerId, u64), u64>,
    /// Connections that are cut without either side knowing it yet.
    broken: BTreeSet<u64>,
    /// When the last message of a connection arrives, each way: messages do not overtake.
    arrivals: BTreeMap<(u64, bool), Millis>,
    workers: Vec<Contemplant>,
    clients: Vec<Client>,
    storm: bool,
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
            rng,
            events: BTreeMap::new(),
            sequence: 0,
            memory: Memory::default(),
            hierophant: None,
            boot: 0,
            sessions: BTreeMap::new(),
            known: BTreeMap::new(),
            broken: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            workers,
            clients,
            storm: true,
            tally: Tally::default(),
            story: VecDeque::new(),
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
        if self.hierophant.is_none() {
            self.at(0, Event::Start);
        }
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
            Event::ToHierophant(session, message) => self.hear_worker(session, message),
            Event::ToWorker(session, message) => self.hear_hierophant(session, message),
            Event::Closed(session) => self.closed(session),
            Event::Checked(boot, lease, genuine) => {
                let failure = Failure {
                    class: FailureClass::Worker,
                    cause: None,
                    message: "does not verify".into(),
                };
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
            Event::Computed(n, life, lease) => self.computed(n, life, lease),
            Event::WoundDown(n, life, lease) => {
                if self.workers[n].life == life {
                    self.workers[n].held.remove(&lease);
                }
            }
            Event::HandIn(n, life, lease) => self.hand_in(n, life, lease),
        }
    }

    // Hierophant.

    fn start(&mut self) {
        if self.hierophant.is_some() {
            return;
        }
        self.boot += 1;
        self.known.clear();
        let limits = Limits {
            max_attempts: MAX_ATTEMPTS,
            max_waiting: 15,
            urgent_modes: vec![ProofMode::Plonk],
            attempt_limit_ms: 60 * MINUTE,
            stall_limit_ms: 10 * MINUTE,
            return_limit_ms: 2 * MINUTE,
            max_strikes: 5,
            strike_decay_ms: 20 * MINUTE,
        };
        let rules = Rules {
            max_workers: 100,
            silence_limit_ms: SILENCE.unsigned_abs(),
            mock_mode: false,
            token: None,
            blocked: vec![],
        };
        let ids = self.rng.random::<u64>();
        let mut ids = StdRng::seed_from_u64(ids);
        let ids = IdSource::from_fn(move || ids.random());
        let unfinished = self.memory.unfinished();
        let (proofs, effects) =
            ProofsCore::restore(self.now, limits, ids, unfinished, &BTreeSet::new());
        self.hierophant = Some(Hierophant { proofs, registry: RegistryCore::new(rules) });
        self.carry_out(effects);
    }

    fn crash(&mut self) {
        self.tell("Hierophant dies".into());
        self.tally.crashes += 1;
        self.hierophant = None;
        let delay = self.rng.random_range(100..2 * MINUTE);
        self.at(delay, Event::Start);
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.soon(Event::Closed(session));
        }
    }

    /// Has the core decide, and carries out what it wants. Returns `None` if Hierophant is down, or
    /// dies before the answer leaves.
    fn decide<T>(
        &mut self,
        decision: impl FnOnce(&mut ProofsCore, Millis) -> (T, Vec<Effect>),
    ) -> Option<T> {
        let hierophant = self.hierophant.as_mut()?;
        let (answer, effects) = decision(&mut hierophant.proofs, self.now);
        self.carry_out(effects).then_some(answer)
    }

    /// Returns whether Hierophant has survived it.
    fn carry_out(&mut self, effects: Vec<Effect>) -> bool {
        let changes: Vec<&Change> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Save(change) => Some(change),
                _ => None,
            })
            .collect();
        if !changes.is_empty() {
            if self.storm && self.rng.random_bool(0.004) {
                self.crash();
                return false;
            }
            invariants::before_commit(&self.memory, &changes);
            for change in changes {
                self.memory.save(change);
            }
            invariants::after_commit(&self.memory);
            if self.storm && self.rng.random_bool(0.004) {
                self.crash();
                return false;
            }
        }
        for effect in effects {
            match effect {
                Effect::Save(_) => {}
                Effect::Send(worker, message) => {
                    if let Some(session) = self.session_of(worker) {
                        self.send(session, true, Event::ToWorker(session, message));
                    }
                }
                Effect::Drop(worker, _) => {
                    if let Some(session) = self.session_of(worker) {
                        self.send(session, true, Event::Closed(session));
                        self.leaves(session, true);
                    }
                }
                Effect::Check { lease, proof, .. } => {
                    let genuine = self.memory.genuine[&proof];
                    let boot = self.boot;
                    let delay = self.rng.random_range(10..5 * SECOND);
                    self.at(delay, Event::Checked(boot, lease, genuine));
                }
            }
        }
        true
    }

    fn session_of(&self, worker: WorkerId) -> Option<u64> {
        let of_worker = |(known, _): &&(WorkerId, u64)| *known == worker;
        self.known.keys().filter(of_worker).max().map(|key| self.known[key])
    }

    fn sweep(&mut self) {
        self.at(SECOND, Event::Sweep);
        let Some(hierophant) = self.hierophant.as_ref() else { return };
        for (worker, number, reason) in hierophant.registry.silent(self.now) {
            let now = self.now;
            if let Some(hierophant) = self.hierophant.as_mut() {
                hierophant.registry.lost(now, worker, number, &reason);
            }
            self.decide(|proofs, now| ((), proofs.worker_lost(now, worker, number, &reason)));
            if self.hierophant.is_none() {
                return;
            }
            if let Some(session) = self.known.remove(&(worker, number)) {
                self.soon(Event::Closed(session));
            }
        }
        self.decide(|proofs, now| ((), proofs.sweep(now)));
    }

    // The network.

    /// Sends over a connection: in order, unless it is cut.
    fn send(&mut self, session: u64, to_worker: bool, event: Event) {
        if self.broken.contains(&session) {
            return;
        }
        let earliest = Millis(self.now.0 + self.rng.random_range(1..100));
        let last = self.arrivals.entry((session, to_worker)).or_default();
        *last = (*last).max(earliest);
        let delay = last.0 - self.now.0;
        self.at(delay, event);
    }

    /// A connection ends for the Contemplant, and for Hierophant unless nothing gets through.
    fn closed(&mut self, session: u64) {
        let Some(n) = self.sessions.remove(&session) else { return };
        self.leaves(session, false);
        let worker = &mut self.workers[n];
        if worker.session == Some(session) {
            worker.session = None;
            let life = worker.life;
            let delay = self.rng.random_range(100..30 * SECOND);
            self.at(delay, Event::Connect(n, life));
        }
    }

    /// Hierophant notices that a connection has ended.
    fn leaves(&mut self, session: u64, for_good: bool) {
        let found = self.known.iter().find(|(_, known)| **known == session);
        let Some((worker, number)) = found.map(|(key, _)| *key) else { return };
        self.known.remove(&(worker, number));
        let now = self.now;
        let Some(hierophant) = self.hierophant.as_mut() else { return };
        if for_good {
            hierophant.registry.lost(now, worker, number, "dropped");
            self.decide(|proofs, now| ((), proofs.worker_lost(now, worker, number, "dropped")));
        } else if hierophant.registry.cut(worker, number, "cut") {
            hierophant.proofs.worker_away(worker, number);
        }
    }

    fn fault(&mut self) {
        if !self.storm {
            return;
        }
        let delay = self.rng.random_range(SECOND..3 * MINUTE);
        self.at(delay, Event::Fault);
        let n = self.rng.random_range(0..self.workers.len());
        match self.rng.random_range(0..6) {
            0 if self.hierophant.is_some() => self.crash(),
            1 | 2 => {
                self.tell(format!("Contemplant {n} dies"));
                self.workers[n].crash();
                for session in self.sessions_of(n) {
                    self.soon(Event::Closed(session));
                }
                let delay = self.rng.random_range(SECOND..5 * MINUTE);
                self.at(delay, Event::WorkerStart(n));
            }
            3 | 4 => {
                self.tell(format!("Contemplant {n} is cut off"));
                self.workers[n].cut_off = true;
                let sessions = self.sessions_of(n);
                self.broken.extend(sessions);
                let delay = self.rng.random_range(SECOND..4 * MINUTE);
                self.at(delay, Event::Reachable(n));
            }
            _ => {
                for session in self.sessions_of(n) {
                    self.soon(Event::Closed(session));
                }
            }
        }
    }

    fn sessions_of(&self, n: usize) -> Vec<u64> {
        self.sessions.iter().filter(|(_, of)| **of == n).map(|(session, _)| *session).collect()
    }

    // Clients.

    fn ask(&mut self, n: usize) {
        let id = RequestId(self.rng.random());
        let new = self.clients[n].call(self.now, n, id);
        let key = job_key(&new.spec, &new.stdin_blob);
        let call = hierophant::records::idempotency_key(
            new.requester,
            &new.spec,
            &new.stdin_uri,
            new.deadline,
        );
        let earlier = self.memory.calls.get(&call).copied();
        let ended = self.memory.ended(key, Millis(self.now.0 - QUARANTINE));
        let known = Known { earlier, ended };
        let answer = self.decide(|proofs, now| proofs.submit(now, new, known));
        // Even an answer that was given may get lost on its way; the client repeats its call then.
        let lost = self.storm && self.rng.random_bool(0.1);
        match answer {
            Some(Ok(id)) if !lost => {
                let stored = self.memory.requests.contains_key(&id);
                assert!(stored, "a request was accepted and is not stored");
                self.clients[n].accepted = Some(id);
                self.soon(Event::Poll(n));
                if self.clients[n].cancels {
                    let delay = self.rng.random_range(SECOND..10 * MINUTE);
                    self.at(delay, Event::Withdraw(n));
                }
            }
            _ => {
                let delay = self.rng.random_range(SECOND..30 * SECOND);
                self.at(delay, Event::Ask(n));
            }
        }
    }

    fn poll(&mut self, n: usize) {
        if let (Some(id), true) = (self.clients[n].accepted, self.hierophant.is_some()) {
            let state = self.memory.requests[&id].state;
            self.clients[n].look(state);
            if state.is_terminal() {
                return;
            }
        }
        self.at(2 * SECOND, Event::Poll(n));
    }

    fn withdraw(&mut self, n: usize) {
        let (Some(id), by) = (self.clients[n].accepted, self.clients[n].requester) else { return };
        if self.decide(|proofs, now| proofs.cancel(now, id, by)).is_none() {
            self.at(SECOND, Event::Withdraw(n));
        }
    }

    // Contemplants.

    fn worker_starts(&mut self, n: usize) {
        let worker = &mut self.workers[n];
        if worker.up {
            return;
        }
        worker.up = true;
        worker.life += 1;
        let life = worker.life;
        let finished: Vec<LeaseId> = worker.held.keys().copied().collect();
        for lease in finished {
            self.soon(Event::HandIn(n, life, lease));
        }
        self.soon(Event::Connect(n, life));
        self.soon(Event::Heartbeat(n, life));
    }

    fn is_alive(&self, n: usize, life: u32) -> bool {
        self.workers[n].up && self.workers[n].life == life
    }

    fn connect(&mut self, n: usize, life: u32) {
        if !self.is_alive(n, life) || self.workers[n].session.is_some() {
            return;
        }
        if self.workers[n].cut_off || self.hierophant.is_none() {
            let delay = self.rng.random_range(SECOND..30 * SECOND);
            return self.at(delay, Event::Connect(n, life));
        }
        self.sequence += 1;
        let session = self.sequence;
        self.sessions.insert(session, n);
        let now = self.now;
        let worker = &mut self.workers[n];
        worker.session = Some(session);
        worker.heard_at = now;
        let hello = FromWorker::Hello(worker.hello());
        self.send(session, false, Event::ToHierophant(session, hello));
    }

    fn heartbeat(&mut self, n: usize, life: u32) {
        if !self.is_alive(n, life) {
            return;
        }
        self.at(HEARTBEAT, Event::Heartbeat(n, life));
        let Some(session) = self.workers[n].session else { return };
        if self.now.since(self.workers[n].heard_at) > SILENCE.unsigned_abs() {
            // The Contemplant gives the connection up; Hierophant may not hear of it.
            self.sessions.remove(&session);
            self.workers[n].session = None;
            return self.soon(Event::Connect(n, life));
        }
        let held = self.workers[n].busy_with();
        self.send(session, false, Event::ToHierophant(session, FromWorker::Heartbeat { held }));
        for (lease_id, held) in self.workers[n].held.clone() {
            if let (Held::Running { .. }, true) = (&held, self.rng.random_bool(0.2)) {
                let progress = Progress::phase(Phase::Proving);
                let message = FromWorker::Progress { lease_id, progress };
                self.send(session, false, Event::ToHierophant(session, message));
            }
        }
        // The answer to a ping.
        if !self.broken.contains(&session) && self.hierophant.is_some() {
            self.workers[n].heard_at = self.now;
        }
    }

    fn hear_worker(&mut self, session: u64, message: FromWorker) {
        let Some(n) = self.sessions.get(&session).copied() else { return };
        let id = self.workers[n].id;
        if let FromWorker::Hello(hello) = message {
            return self.admit(session, hello);
        }
        let found = self.known.iter().find(|(_, known)| **known == session);
        let Some((_, number)) = found.map(|(key, _)| *key) else { return };
        let now = self.now;
        let Some(hierophant) = self.hierophant.as_mut() else { return };
        hierophant.registry.heard(now, id, number);
        self.decide(|proofs, now| {
            let effects = match message {
                FromWorker::Heartbeat { held } => proofs.held(now, id, number, &held),
                FromWorker::Progress { lease_id, progress } => {
                    proofs.progressed(now, id, lease_id, progress)
                }
                FromWorker::Executed { lease_id, execution } => {
                    proofs.executed(now, id, lease_id, execution)
                }
                FromWorker::Completed { lease_id, execution, proof } => {
                    proofs.completed(now, id, lease_id, execution, proof)
                }
                FromWorker::Failed { lease_id, failure } => {
                    proofs.failed(now, id, lease_id, failure)
                }
                _ => Vec::new(),
            };
            ((), effects)
        });
    }

    fn admit(&mut self, session: u64, hello: Hello) {
        let now = self.now;
        let Some(hierophant) = self.hierophant.as_mut() else { return };
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admission = hierophant.registry.admit(now, &hello, here).expect("admitted");
        self.known.retain(|(worker, _), _| *worker != hello.worker_id);
        self.known.insert((hello.worker_id, admission.session), session);
        let arrival = Arrival {
            worker: hello.worker_id,
            session: admission.session,
            name: hello.name,
            capabilities: hello.capabilities,
            held: hello.held,
            welcome: Welcome {
                protocol: admission.protocol,
                software_version: "0.1.0".into(),
                heartbeat_interval_ms: HEARTBEAT.unsigned_abs(),
                resume: vec![],
            },
        };
        self.decide(|proofs, now| ((), proofs.worker_joined(now, arrival)));
    }

    fn hear_hierophant(&mut self, session: u64, message: ToWorker) {
        let Some(n) = self.sessions.get(&session).copied() else { return };
        if self.workers[n].session != Some(session) {
            return;
        }
        self.workers[n].heard_at = self.now;
        let life = self.workers[n].life;
        match message {
            ToWorker::Welcome(welcome) => {
                let held: Vec<LeaseId> = self.workers[n].held.keys().copied().collect();
                for lease in held {
                    if !welcome.resume.contains(&lease) {
                        self.stop(n, lease);
                    } else if let Some(Held::Over { message, .. }) =
                        self.workers[n].held.get(&lease)
                    {
                        let message = message.clone();
                        self.send(session, false, Event::ToHierophant(session, message));
                    }
                }
            }
            ToWorker::Prove { lease_id, stdin, .. } => {
                assert!(!self.workers[n].is_busy(), "more jobs than slots");
                let content = stdin.sha256.0[0];
                self.workers[n].held.insert(lease_id, Held::Running { content });
                self.soon(Event::Fetch(n, life, lease_id));
            }
            ToWorker::Cancel { lease_id, .. } => self.stop(n, lease_id),
            ToWorker::Settled { lease_id } => {
                if let Some(Held::Over { .. }) = self.workers[n].held.get(&lease_id) {
                    self.workers[n].held.remove(&lease_id);
                }
            }
            ToWorker::Refused(_) | ToWorker::Drain { .. } => {}
        }
    }

    fn stop(&mut self, n: usize, lease: LeaseId) {
        let life = self.workers[n].life;
        match self.workers[n].held.get_mut(&lease) {
            Some(held @ Held::Running { .. }) => {
                *held = Held::WindingDown;
                let delay = self.rng.random_range(10..MINUTE);
                self.at(delay, Event::WoundDown(n, life, lease));
            }
            Some(Held::WindingDown) | None => {}
            Some(_) => drop(self.workers[n].held.remove(&lease)),
        }
    }

    fn reaches(&self, n: usize) -> bool {
        !self.workers[n].cut_off && self.hierophant.is_some()
    }

    fn fetch(&mut self, n: usize, life: u32, lease: LeaseId) {
        let running = matches!(self.workers[n].held.get(&lease), Some(Held::Running { .. }));
        if !self.is_alive(n, life) || !running {
            return;
        }
        if !self.reaches(n) {
            return self.at(SECOND, Event::Fetch(n, life, lease));
        }
        let access = self.hierophant.as_ref().and_then(|up| up.proofs.lease_access(lease));
        if access.is_none() {
            self.workers[n].held.remove(&lease);
            return;
        }
        let delay = self.rng.random_range(SECOND..8 * MINUTE);
        self.at(delay, Event::Computed(n, life, lease));
    }

    fn computed(&mut self, n: usize, life: u32, lease: LeaseId) {
        if !self.is_alive(n, life) {
            return;
        }
        let Some(Held::Running { content }) = self.workers[n].held.get(&lease) else { return };
        let guest_fails = *content >= 18;
        match self.workers[n].outcome(&mut self.rng, guest_fails) {
            None => {}
            Some(Ok(genuine)) => {
                self.workers[n].held.insert(lease, Held::Finished { genuine });
                self.soon(Event::HandIn(n, life, lease));
            }
            Some(Err(failure)) => {
                self.over(n, lease, FromWorker::Failed { lease_id: lease, failure }, None);
            }
        }
    }

    fn over(&mut self, n: usize, lease: LeaseId, message: FromWorker, genuine: Option<bool>) {
        let held = Held::Over { message: message.clone(), genuine };
        self.workers[n].held.insert(lease, held);
        if let Some(session) = self.workers[n].session {
            self.send(session, false, Event::ToHierophant(session, message));
        }
    }

    fn hand_in(&mut self, n: usize, life: u32, lease: LeaseId) {
        if !self.is_alive(n, life) {
            return;
        }
        let Some(Held::Finished { genuine }) = self.workers[n].held.get(&lease).cloned() else {
            return;
        };
        if !self.reaches(n) {
            return self.at(2 * SECOND, Event::HandIn(n, life, lease));
        }
        let access = self.hierophant.as_ref().and_then(|up| up.proofs.lease_access(lease));
        let artifact = ArtifactId(self.rng.random());
        self.memory.genuine.insert(artifact, genuine);
        let counts = match access {
            None => Some(false),
            Some(_) => {
                self.decide(|proofs, now| proofs.proof_stored(now, lease, artifact, proof_blob()))
            }
        };
        let answer_lost = self.storm && self.rng.random_bool(0.1);
        match counts {
            Some(true) if !answer_lost => {
                let message = FromWorker::Completed {
                    lease_id: lease,
                    execution: execution(),
                    proof: proof_blob(),
                };
                self.over(n, lease, message, Some(genuine));
            }
            Some(false) => drop(self.workers[n].held.remove(&lease)),
            _ => self.at(2 * SECOND, Event::HandIn(n, life, lease)),
        }
    }
}
