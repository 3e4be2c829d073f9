//! Hierophant in the world: it starts, decides, commits, and dies.

use hierophant_model::clients::Clients;
use hierophant_model::records::{Change, Millis};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::ShardingLimits;
use hierophant_scheduler::proofs::core::{Effect, IdSource, Limits, ProofsCore};
use hierophant_scheduler::registry::core::{RegistryCore, Rules};
use network_lib::ids::WorkerId;
use network_lib::job::ProofMode;
use network_lib::shard::TaskToWorker;
use network_lib::wire::ToWorker;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::invariants::{self, MAX_ATTEMPTS, MAX_STRIKES};
use super::{Event, Hierophant, MINUTE, SECOND, SILENCE, STRIKE_DECAY, World};

impl World {
    pub(super) fn start(&mut self) {
        if self.hierophant.is_some() {
            return;
        }
        self.boot += 1;
        self.known.clear();
        let mut sharding = ShardingLimits { mode: self.sharding, ..ShardingLimits::default() };
        if !self.racing {
            sharding.job.race_after = 0.0;
        }
        let limits = Limits {
            clients: Clients::default(),
            max_attempts: MAX_ATTEMPTS,
            max_waiting: 15,
            urgent_modes: vec![ProofMode::Plonk],
            race_after: if self.racing { 1.5 } else { 0.0 },
            attempt_limit_ms: 60 * MINUTE,
            stall_limit_ms: 10 * MINUTE,
            unlisted_limit_ms: SILENCE,
            return_limit_ms: 2 * MINUTE,
            max_strikes: MAX_STRIKES,
            strike_decay_ms: STRIKE_DECAY,
            sharding,
        };
        let rules = Rules {
            max_workers: 100,
            max_workers_per_token: 1,
            max_slots: 64,
            silence_limit_ms: SILENCE.unsigned_abs(),
            mock_mode: false,
            blocked: vec![],
        };
        let ids = self.rng.random::<u64>();
        let mut ids = StdRng::seed_from_u64(ids);
        let ids = IdSource::from_fn(move || ids.random());
        self.memory.clear_ended();
        let state = self.memory.restored_state(Millis(self.now.0 - STRIKE_DECAY));
        let (proofs, effects) = ProofsCore::restore(self.now, limits, ids, state);
        self.hierophant = Some(Hierophant { proofs, registry: RegistryCore::new(rules) });
        self.carry_out(effects);
    }

    pub(super) fn crash(&mut self) {
        self.tell("Hierophant dies".into());
        self.tally.crashes += 1;
        self.hierophant = None;
        self.stalled = false;
        self.undone.clear();
        let delay = self.rng.random_range(100..2 * MINUTE);
        self.at(delay, Event::Start);
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.soon(Event::Closed(session));
        }
    }

    /// Has the core decide, and carries out what it wants. Returns `None` if Hierophant is down, or
    /// dies before the answer leaves, or waits for its store.
    pub(super) fn decide<T>(
        &mut self,
        decision: impl FnOnce(&mut ProofsCore, Millis) -> (T, Vec<Effect>),
    ) -> Option<T> {
        let hierophant = self.hierophant.as_mut()?;
        let (answer, effects) = decision(&mut hierophant.proofs, self.now);
        self.carry_out(effects).then_some(answer)
    }

    /// Returns whether Hierophant has survived it, and it is stored.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) -> bool {
        // A message goes to the connection that is there when it is decided.
        let bound = effects.into_iter().map(|effect| match effect {
            Effect::Send(worker, _) | Effect::Recall(worker, _) | Effect::Drop(worker, _) => {
                (self.session_of(worker), effect)
            }
            _ => (None, effect),
        });
        let bound: Vec<_> = bound.collect();
        if self.stalled {
            let (recalls, bound) = bound.into_iter().partition(|(session, effect)| {
                let is_welcomed = session.is_some_and(|session| self.welcomed.contains(&session));
                is_welcomed && matches!(effect, Effect::Recall(..))
            });
            let recalls: Vec<_> = recalls;
            for (session, recall) in recalls {
                if let (Some(session), Effect::Recall(_, message)) = (session, recall) {
                    self.send(session, true, Event::ToWorker(session, message));
                }
            }
            self.undone.push_back(bound);
            return false;
        }
        self.commit(bound)
    }

    /// Returns whether Hierophant has survived it.
    pub(super) fn commit(&mut self, effects: Vec<(Option<u64>, Effect)>) -> bool {
        let changes: Vec<&Change> = effects
            .iter()
            .filter_map(|(_, effect)| match effect {
                Effect::Save(change) => Some(change),
                _ => None,
            })
            .collect();
        if !changes.is_empty() {
            if self.storm && self.rng.random_bool(0.004) {
                self.crash();
                return false;
            }
            invariants::before_commit(&self.memory, &changes, STRIKE_DECAY);
            invariants::private_inputs(&self.memory, &self.workers, &changes);
            let new = self.memory.new_attempts(&changes);
            for change in changes {
                self.memory.save(change);
            }
            for lease in &new {
                invariants::enough_memory(&self.memory, &self.workers, *lease);
            }
            for lease in new.into_iter().filter(|lease| self.memory.is_race(*lease)) {
                self.tally.races += 1;
                invariants::racer(&self.memory, lease);
            }
            invariants::after_commit(&self.memory, self.racing);
            if self.storm && self.rng.random_bool(0.004) {
                self.crash();
                return false;
            }
        }
        let (mut dropped, mut jobs_sent) = (Vec::new(), Vec::new());
        for (session, effect) in effects {
            match effect {
                Effect::Save(_) => {}
                Effect::Send(_, message) | Effect::Recall(_, message) => {
                    if let ToWorker::Prove { lease_id, .. }
                    | ToWorker::Task(TaskToWorker::Run { lease_id, .. }) = &message
                    {
                        jobs_sent.push(*lease_id);
                    }
                    if let Some(session) = session {
                        if matches!(message, ToWorker::Welcome(_)) {
                            self.welcomed.insert(session);
                        }
                        self.send(session, true, Event::ToWorker(session, message));
                    }
                }
                Effect::Drop(..) => {
                    if let Some(session) = session {
                        self.send(session, true, Event::Closed(session));
                        dropped.push(session);
                    }
                }
                Effect::Check { lease, proof, claim } => {
                    invariants::own_word(&self.memory, &self.workers, lease, &claim);
                    let genuine = self.memory.genuine[&proof];
                    let boot = self.boot;
                    let delay = self.rng.random_range(10..5 * SECOND);
                    self.at(delay, Event::Checked(boot, lease, genuine));
                }
                Effect::Assemble(assembly) => self.assemble(*assembly),
                Effect::CheckParts(check) => self.check_parts(*check),
                Effect::FreeTaskBlob(job, blob) => {
                    if let Some(blobs) = self.memory.blobs.get_mut(&job) {
                        blobs.remove(&blob);
                    }
                }
                Effect::FreeTaskBlobs(job) => drop(self.memory.blobs.remove(&job)),
            }
        }
        if let Some(hierophant) = self.hierophant.as_mut() {
            hierophant.proofs.jobs_sent(&jobs_sent);
        }
        // What follows from it is decided after this event.
        for session in dropped {
            self.leaves(session, true);
        }
        true
    }

    pub(super) fn session_of(&self, worker: WorkerId) -> Option<u64> {
        let of_worker = |(known, _): &&(WorkerId, SessionId)| *known == worker;
        self.known.keys().filter(of_worker).max().map(|key| self.known[key])
    }

    pub(super) fn sweep(&mut self) {
        self.at(SECOND, Event::Sweep);
        let Some(hierophant) = self.hierophant.as_ref() else { return };
        for (worker, number, reason) in hierophant.registry.expired(self.now) {
            let now = self.now;
            if let Some(hierophant) = self.hierophant.as_mut() {
                hierophant.registry.remove(now, worker, number, &reason);
            }
            self.decide(|proofs, now| ((), proofs.worker_removed(now, worker, number, &reason)));
            if self.hierophant.is_none() {
                return;
            }
            if let Some(session) = self.known.remove(&(worker, number)) {
                self.soon(Event::Closed(session));
            }
        }
        self.decide(|proofs, now| ((), proofs.sweep(now)));
    }
}
