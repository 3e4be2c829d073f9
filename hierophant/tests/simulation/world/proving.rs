//! What Contemplants do.

use std::net::{IpAddr, Ipv4Addr};

use hierophant_scheduler::proofs::WorkerJoined;
use hierophant_scheduler::registry::Credential;
use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::{ArtifactId, LeaseId};
use network_lib::job::{Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};
use rand::Rng;

use super::super::clients::FIRST_FAILING;
use super::super::workers::{Held, Step, proof_blob};
use super::{Event, HEARTBEAT, MINUTE, SECOND, SILENCE, World};

impl World {
    pub(super) fn worker_starts(&mut self, n: usize) {
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

    pub(super) fn is_alive(&self, n: usize, life: u32) -> bool {
        self.workers[n].up && self.workers[n].life == life
    }

    pub(super) fn connect(&mut self, n: usize, life: u32) {
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

    pub(super) fn heartbeat(&mut self, n: usize, life: u32) {
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
        self.send(
            session,
            false,
            Event::ToHierophant(session, FromWorker::Heartbeat { held, gpus: vec![] }),
        );
        for (lease_id, held) in self.workers[n].held.clone() {
            if let (Held::Running { step, .. }, true) = (&held, self.rng.random_bool(0.2)) {
                let phase = match step {
                    Step::Preparing => Phase::Downloading,
                    Step::Prepared => continue,
                    Step::Proving => Phase::Proving,
                };
                let eta = self.rng.random_range(1..1200);
                let eta_seconds = self.rng.random_bool(0.3).then_some(eta);
                let memory_bytes = Some(self.rng.random_range(1..=self.workers[n].memory));
                let progress = Progress { eta_seconds, memory_bytes, ..Progress::phase(phase) };
                let message = FromWorker::Progress { lease_id, progress };
                self.send(session, false, Event::ToHierophant(session, message));
                if *step == Step::Proving && self.rng.random_bool(0.3) {
                    let execution = self.workers[n].execution();
                    let message = FromWorker::Executed { lease_id, execution };
                    self.send(session, false, Event::ToHierophant(session, message));
                }
            }
        }
        // The answer to a ping.
        if !self.broken.contains(&session) && self.hierophant.is_some() {
            self.workers[n].heard_at = self.now;
        }
    }

    pub(super) fn hear_worker(&mut self, session: u64, message: FromWorker) {
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
                FromWorker::Heartbeat { held, .. } => proofs.held_leases(now, id, number, &held),
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
                FromWorker::Task(word) => proofs.task_word(now, id, word),
                FromWorker::Draining { .. } => proofs.worker_draining(now, id, number),
                _ => Vec::new(),
            };
            ((), effects)
        });
    }

    pub(super) fn admit(&mut self, session: u64, hello: Hello) {
        let now = self.now;
        let Some(hierophant) = self.hierophant.as_mut() else { return };
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admission = hierophant
            .registry
            .admit(now, &hello, here, Ok(Credential::ThisMachine))
            .expect("admitted");
        self.known.retain(|(worker, _), _| *worker != hello.worker_id);
        self.known.insert((hello.worker_id, admission.session), session);
        let joined = WorkerJoined {
            worker: hello.worker_id,
            session: admission.session,
            name: hello.name,
            capabilities: hello.capabilities,
            held: hello.held,
            drained: None,
            private_inputs: self
                .workers
                .iter()
                .any(|it| it.id == hello.worker_id && it.private_inputs),
            welcome: Welcome {
                protocol: admission.protocol,
                software_version: "0.1.0".into(),
                heartbeat_interval_ms: HEARTBEAT.unsigned_abs(),
                access_key: "not used here".into(),
                resume: vec![],
            },
        };
        self.decide(|proofs, now| ((), proofs.worker_joined(now, joined)));
    }

    pub(super) fn hear_hierophant(&mut self, session: u64, message: ToWorker) {
        let Some(n) = self.sessions.get(&session).copied() else { return };
        if self.workers[n].session != Some(session) {
            return;
        }
        self.workers[n].heard_at = self.now;
        let life = self.workers[n].life;
        match message {
            ToWorker::Welcome(welcome) => {
                self.workers[n].tasks.retain(|lease, _| welcome.resume.contains(lease));
                self.repeat_tasks(n);
                let held: Vec<LeaseId> = self.workers[n].held.keys().copied().collect();
                for lease in held {
                    if !welcome.resume.contains(&lease) {
                        self.stop(n, lease);
                    } else if let Some(Held::Over { message, .. }) =
                        self.workers[n].held.get(&lease)
                    {
                        let message = FromWorker::clone(message);
                        self.send(session, false, Event::ToHierophant(session, message));
                    }
                }
            }
            ToWorker::Prove { lease_id, stdin, .. } => {
                let most = 1 + self.workers[n].prefetch as usize;
                assert!(self.workers[n].tasks.is_empty(), "a whole proof beside tasks");
                assert!(self.workers[n].attempts() < most, "more jobs than it takes");
                let content = stdin.sha256.0[0];
                let step = Step::Preparing;
                self.workers[n].held.insert(lease_id, Held::Running { content, step });
                self.soon(Event::Fetch(n, life, lease_id));
            }
            ToWorker::Task(message) => self.hear_task(n, message),
            ToWorker::Cancel { lease_id, .. } if self.workers[n].tasks.contains_key(&lease_id) => {
                self.workers[n].tasks.remove(&lease_id);
            }
            ToWorker::Cancel { lease_id, .. } => self.stop(n, lease_id),
            ToWorker::Settled { lease_id } => {
                self.workers[n].tasks.remove(&lease_id);
                if let Some(Held::Over { .. }) = self.workers[n].held.get(&lease_id) {
                    self.workers[n].held.remove(&lease_id);
                }
            }
            ToWorker::Refused(_) | ToWorker::Drain { .. } => {}
        }
    }

    pub(super) fn stop(&mut self, n: usize, lease: LeaseId) {
        let life = self.workers[n].life;
        match self.workers[n].held.get_mut(&lease) {
            Some(Held::Running { step: Step::Preparing | Step::Prepared, .. }) => {
                self.workers[n].held.remove(&lease);
            }
            Some(held @ Held::Running { .. }) => {
                *held = Held::WindingDown;
                let delay = self.rng.random_range(10..MINUTE);
                self.at(delay, Event::WoundDown(n, life, lease));
            }
            Some(Held::WindingDown) | None => {}
            Some(held) => {
                let is_proof = matches!(
                    held,
                    Held::Finished { genuine: true } | Held::Over { genuine: Some(true), .. }
                );
                self.tally.wasted += u64::from(is_proof);
                self.workers[n].held.remove(&lease);
            }
        }
    }

    pub(super) fn reaches(&self, n: usize) -> bool {
        !self.workers[n].cut_off && self.hierophant.is_some() && !self.stalled
    }

    pub(super) fn fetch(&mut self, n: usize, life: u32, lease: LeaseId) {
        let running = matches!(self.workers[n].held.get(&lease), Some(Held::Running { .. }));
        if !self.is_alive(n, life) || !running {
            return;
        }
        if !self.reaches(n) {
            return self.at(SECOND, Event::Fetch(n, life, lease));
        }
        let worker = self.workers[n].id;
        let access = self.hierophant.as_ref().and_then(|up| up.proofs.lease_access(lease, worker));
        if access.is_none() {
            self.workers[n].held.remove(&lease);
            return;
        }
        let delay = self.rng.random_range(SECOND..MINUTE);
        self.at(delay, Event::Prepared(n, life, lease));
    }

    pub(super) fn prepared(&mut self, n: usize, life: u32, lease: LeaseId) {
        if !self.is_alive(n, life) {
            return;
        }
        let Some(Held::Running { content, step }) = self.workers[n].held.get_mut(&lease) else {
            return;
        };
        *step = Step::Prepared;
        if *content >= FIRST_FAILING {
            return self.computed(n, life, lease);
        }
        if let (Some(session), true) = (self.workers[n].session, self.rng.random_bool(0.5)) {
            let execution = self.workers[n].execution();
            let message = FromWorker::Executed { lease_id: lease, execution };
            self.send(session, false, Event::ToHierophant(session, message));
        }
        self.use_slot(n);
    }

    /// Lets the next prepared attempt prove if the slot is free.
    pub(super) fn use_slot(&mut self, n: usize) {
        let Some(lease_id) = self.workers[n].next_for_slot() else { return };
        if let Some(session) = self.workers[n].session {
            let message =
                FromWorker::Progress { lease_id, progress: Progress::phase(Phase::Proving) };
            self.send(session, false, Event::ToHierophant(session, message));
        }
        let delay = self.rng.random_range(SECOND..7 * MINUTE);
        self.at(delay, Event::Computed(n, self.workers[n].life, lease_id));
    }

    pub(super) fn computed(&mut self, n: usize, life: u32, lease: LeaseId) {
        if !self.is_alive(n, life) {
            return;
        }
        let Some(Held::Running { content, .. }) = self.workers[n].held.get(&lease) else { return };
        let guest_fails = *content >= FIRST_FAILING;
        let content = *content;
        match self.workers[n].outcome(&mut self.rng, content, guest_fails) {
            None => {}
            Some(Ok(genuine)) => {
                self.workers[n].held.insert(lease, Held::Finished { genuine });
                self.soon(Event::HandIn(n, life, lease));
            }
            Some(Err(failure)) => {
                self.over(n, lease, FromWorker::Failed { lease_id: lease, failure }, None);
            }
        }
        self.use_slot(n);
    }

    pub(super) fn over(
        &mut self,
        n: usize,
        lease: LeaseId,
        message: FromWorker,
        genuine: Option<bool>,
    ) {
        let held = Held::Over { message: Box::new(message.clone()), genuine };
        self.workers[n].held.insert(lease, held);
        if let Some(session) = self.workers[n].session {
            self.send(session, false, Event::ToHierophant(session, message));
        }
    }

    pub(super) fn hand_in(&mut self, n: usize, life: u32, lease: LeaseId) {
        if !self.is_alive(n, life) {
            return;
        }
        let Some(Held::Finished { genuine }) = self.workers[n].held.get(&lease).cloned() else {
            return;
        };
        if !self.reaches(n) {
            return self.at(2 * SECOND, Event::HandIn(n, life, lease));
        }
        let worker = self.workers[n].id;
        let access = self.hierophant.as_ref().and_then(|up| up.proofs.lease_access(lease, worker));
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
                    execution: self.workers[n].execution(),
                    proof: proof_blob(),
                };
                self.over(n, lease, message, Some(genuine));
            }
            Some(false) => {
                self.tally.wasted += 1;
                self.workers[n].held.remove(&lease);
            }
            _ => self.at(2 * SECOND, Event::HandIn(n, life, lease)),
        }
    }
}
