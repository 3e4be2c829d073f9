//! The coordinator around the state: it stores rows, sends messages, frees bytes, is killed, and starts again.

use std::collections::BTreeSet;

use hierophant_model::records::Millis;
use network_lib::ids::{LeaseId, WorkerId};
use network_lib::job::BlobInfo;
use network_lib::shard::{TaskKind, TaskToWorker};

use super::super::super::{Effect, Offer, Peer, Release, Rows, ShardedJob};
use super::super::fleet::{
    Attempt, ENGINE, Execution, Program, Variant, Word, Worker, info_of, is_false,
};
use super::super::reference;
use super::window::Window;
use super::{Fault, NOW, World, ids};
use crate::proofs::PartVerdict;

impl World {
    /// Hierophant is started again, with what is stored.
    pub(super) fn restart(&mut self) -> Fault {
        self.tally.restarts += 1;
        for worker in &mut self.fleet {
            worker.is_connected = false;
            worker.outbox.clear();
        }
        if let Some(window) = &mut self.window {
            window.restart();
        }
        self.number += 1;
        let ids = ids(self.number << 48 | 1 << 40);
        let rows = Rows {
            sharding: self.rows.clone().expect("stored at the beginning"),
            tasks: self.tasks.values().cloned().collect(),
            leases: self.leases.values().copied().collect(),
            stored: self.blobs.iter().copied().collect(),
        };
        let restored = ShardedJob::restore(NOW, rows, self.limits, ids, self.prove_slots());
        let (job, effects) = restored.map_err(|error| format!("{error}: {error:?}"))?;
        self.job = job;
        self.apply(effects)
    }

    /// Number of prove slots of the fleet.
    pub(super) fn prove_slots(&self) -> u32 {
        u32::try_from(self.fleet.iter().map(|worker| worker.slots).sum::<usize>()).expect("few")
    }

    /// Whether the coordinator is killed now. A job whose end is stored is not restored at the start: it has no state
    /// that a kill could lose.
    fn is_killed(&mut self) -> bool {
        self.end.is_none() && !self.only_cuts && !self.is_calm() && self.dice.one_in(400)
    }

    /// Stores rows, then delivers messages and frees bytes.
    pub(super) fn apply(&mut self, effects: Vec<Effect>) -> Fault {
        // Killed before the transaction: no row is stored. The first rows are written with those of the job itself.
        if self.rows.is_some() && !effects.is_empty() && self.is_killed() {
            self.tally.uncommitted += 1;
            return self.restart();
        }
        let (rows, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(Effect::is_row);
        rows.into_iter().try_for_each(|row| self.store(row))?;
        // Killed after the transaction: no message is sent, no bytes are freed.
        let crashes = self.is_killed();
        self.tally.unsent += u64::from(crashes);
        for effect in rest {
            match effect {
                _ if crashes => {}
                Effect::Free(blob) => {
                    self.blobs.remove(&blob);
                }
                Effect::Strike(..) => self.tally.strikes += 1,
                Effect::Accuse(accuser, parts) => {
                    for part in parts {
                        let blob = part.blob.sha256;
                        let verdict =
                            if is_false(blob) { PartVerdict::False } else { PartVerdict::Right };
                        let judged = self.job.judged(NOW, accuser, blob, verdict);
                        self.apply(judged)?;
                    }
                }
                Effect::Run(row) => {
                    let execution =
                        self.is_execution(row.task).then(|| self.begin_execution(row.lease));
                    let attempt =
                        Attempt { row, execution, fetched: false, traced: None, end: None };
                    if let Some(worker) = self.connected(row.worker) {
                        worker.attempts.insert(row.lease, attempt);
                    }
                }
                Effect::Cancel(id, lease, _) | Effect::Settle(id, lease) => {
                    if let Some(worker) = self.connected(id) {
                        worker.attempts.remove(&lease);
                    }
                }
                Effect::ForgetAll(id) => {
                    if let Some(worker) = self.connected(id) {
                        worker.depot.clear();
                    }
                }
                Effect::Send(id, message) => self.send(id, message)?,
                row => return Err(format!("{row:?} is not a message")),
            }
        }
        if crashes { self.restart() } else { Ok(()) }
    }

    pub(super) fn store(&mut self, row: Effect) -> Fault {
        if self.end.is_some() && !matches!(row, Effect::SaveTask(_) | Effect::EndLease(..)) {
            return Err(format!("{row:?} after the end"));
        }
        match row {
            Effect::SaveSharding(record) => self.rows = Some(record),
            Effect::SaveTask(record) => {
                let is_received = |blob: &BlobInfo| self.received.contains(&blob.sha256);
                let has_events = record
                    .deferred
                    .as_ref()
                    .is_none_or(|deferred| deferred.blobs().all(is_received));
                if !has_events || !record.output.as_ref().is_none_or(is_received) {
                    return Err(format!("bytes that were never handed in: {record:?}"));
                }
                if let Some(window) = &mut self.window {
                    window.stored(&record);
                }
                self.tasks.insert(record.id, record);
            }
            Effect::SaveLease(row) => {
                let has_result = self.tasks.get(&row.task).is_none_or(|task| task.output.is_some());
                if has_result || self.leases.insert(row.lease, row).is_some() {
                    return Err(format!("leased after its result was stored: {row:?}"));
                }
                if self.is_execution(row.task) {
                    let shards = 2 * self.prove_slots() as usize + 8;
                    self.window = Some(Window::new(row.lease, shards, self.limits.window_bytes));
                }
            }
            Effect::EndLease(lease, how) => {
                let row = self.leases.remove(&lease).ok_or("an unknown lease has ended")?;
                if self.is_execution(row.task) {
                    self.window = None;
                    if how == Release::Completed {
                        self.executed = self.programs.get(&lease).cloned();
                    }
                }
            }
            Effect::End(end) => self.end = Some(end),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn connected(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.fleet.iter_mut().find(|worker| worker.id == id && worker.is_connected)
    }

    pub(super) fn send(&mut self, id: WorkerId, message: TaskToWorker) -> Fault {
        let at = self.fleet.iter().position(|worker| worker.id == id).expect("of the fleet");
        let worker = &mut self.fleet[at];
        if !worker.is_connected {
            return Ok(());
        }
        match message {
            TaskToWorker::ShardsKnown { lease_id, shards } => {
                for shard in shards {
                    worker.told(lease_id, shard.no, &shard.state)?;
                }
            }
            TaskToWorker::Forget { blobs, .. } => {
                blobs.into_iter().flatten().for_each(|blob| {
                    worker.depot.remove(&blob);
                });
            }
            TaskToWorker::Provide { lease_id, blob } if worker.depot.contains(&blob) => {
                self.tally.provided += 1;
                worker.outbox.push_back(Word::PutIn(lease_id, info_of(blob)));
            }
            TaskToWorker::Provide { .. } => {
                worker.outbox.push_back(Word::Depot(worker.depot.clone()));
            }
            TaskToWorker::Run { .. } => {}
        }
        Ok(())
    }

    /// An execution of the program on a worker; some fleets do not execute alike.
    fn begin_execution(&mut self, lease: LeaseId) -> Execution {
        self.tally.executions += 1;
        let variants = [Variant::Usual, Variant::Wider, Variant::Longer];
        let differs = self.differs && !self.is_calm();
        let variant = if differs { variants[self.dice.below(3)] } else { Variant::Usual };
        let program = Program::executed(self.size, variant, self.tally.executions);
        self.programs.insert(lease, program.clone());
        let window = usize::try_from(self.job.window().expect("it executes").0).expect("few");
        Execution { program, announced: 0, done: BTreeSet::new(), markers: Vec::new(), window }
    }

    /// Begins second attempts at running tasks on idle workers.
    pub(super) fn race(&mut self) -> Fault {
        // Tasks take no time here, so all that run are late.
        let later = Millis(NOW.0 + 100);
        for at in 0..self.fleet.len() {
            let (id, slots) = (self.fleet[at].id, self.fleet[at].slots);
            let offer = offer(id, slots, &[]);
            let raced = self.job.race_for(later, &offer).filter(|_| self.fleet[at].is_connected);
            let Some(task) = raced else { continue };
            self.tally.races += 1;
            self.number += 1;
            let lease = LeaseId((u128::from(self.number) << 8 | 7).to_be_bytes());
            let effects = self.job.race(later, (lease, task), &offer);
            if effects.is_empty() {
                return Err("offered and not leased".to_owned());
            }
            self.apply(effects)?;
        }
        Ok(())
    }

    /// Leases everything that can be leased.
    pub(super) fn dispatch(&mut self) -> Fault {
        for at in 0..self.fleet.len() {
            let (id, slots) = (self.fleet[at].id, self.fleet[at].slots);
            while self.fleet[at].is_connected {
                let others = self.fleet.iter().filter(|other| other.is_connected && other.id != id);
                let others: Vec<_> = others
                    .map(|other| Peer { worker: other.id, kinds: TaskKind::ALL.to_vec() })
                    .filter(|_| self.job.has_failed(id))
                    .collect();
                let offer = offer(id, slots, &others);
                let expected = reference::next_for(&self.job, &offer);
                let next = self.job.next_for(&offer);
                if next != expected {
                    return Err(format!("{next:?} is next: expected {expected:?}"));
                }
                let Some(task) = next else { break };
                self.number += 1;
                let lease = LeaseId((u128::from(self.number) << 8 | 7).to_be_bytes());
                let effects = self.job.lease(NOW, (lease, task), &offer, self.prove_slots());
                if effects.is_empty() {
                    return Err("offered and not leased".to_owned());
                }
                self.apply(effects)?;
            }
        }
        Ok(())
    }
}

fn offer(worker: WorkerId, slots: usize, others: &[Peer]) -> Offer<'_> {
    Offer { worker, engine: ENGINE, kinds: &TaskKind::ALL, max_elements: 100, slots, others }
}
