//! What workers do, step by step, and how their words arrive.

use std::collections::BTreeSet;

use hierophant_model::records::TaskLease;
use network_lib::ids::{LeaseId, Sha256Digest, TaskId};
use network_lib::job::{BlobInfo, Failure, FailureClass, ProofMode};
use network_lib::shard::TaskKind;
use shard_plan::ShardKind;

use super::super::super::Place;
use super::super::fleet::{Program, Word, events, info, is_false, number_of, output};
use super::{Fault, NOW, World};

impl World {
    /// The first words of a worker over a new connection.
    pub(super) fn reconnect(&mut self, at: usize) -> Fault {
        self.fleet[at].is_connected = true;
        let id = self.fleet[at].id;
        self.job.connected(id);
        let valid = |row: &&TaskLease| row.worker == id;
        let valid: BTreeSet<_> = self.leases.values().filter(valid).map(|row| row.lease).collect();
        self.fleet[at].attempts.retain(|lease, _| valid.contains(lease));
        let missing = valid.iter().filter(|lease| !self.fleet[at].attempts.contains_key(lease));
        for lease in missing.copied().collect::<Vec<_>>() {
            let effects = self.job.lease_lost(NOW, id, lease);
            self.apply(effects)?;
        }
        if !self.fleet[at].is_connected {
            return Ok(());
        }
        let depot = self.fleet[at].depot.clone();
        let effects = self.job.depot(NOW, id, &depot);
        self.apply(effects)?;
        let worker = &mut self.fleet[at];
        for (lease, attempt) in &worker.attempts {
            if let Some(execution) = &attempt.execution {
                let Program { common, shards, .. } = &execution.program;
                let again = shards[..execution.announced].chunks(4);
                worker.outbox.push_back(Word::PutIn(*lease, *common));
                let again = again.map(|part| Word::Shards(*lease, *common, part.to_vec()));
                worker.outbox.extend(again);
            }
            if let Some(traced) = &attempt.traced {
                let puts = traced.blobs().map(|blob| Word::PutIn(*lease, *blob));
                worker.outbox.extend(puts);
                worker.outbox.push_back(Word::Traced(*lease, traced.clone()));
            }
            if let Some(end) = &attempt.end {
                if let Word::Done(_, blob) | Word::Ended(_, _, blob) = end {
                    worker.outbox.push_back(Word::PutIn(*lease, *blob));
                }
                worker.outbox.push_back(end.clone());
            }
        }
        Ok(())
    }

    /// The next word of a worker arrives, and may arrive once more later.
    pub(super) fn deliver(&mut self, at: usize) -> Fault {
        let Some(word) = self.fleet[at].outbox.pop_front() else { return Ok(()) };
        if self.dice.one_in(30) {
            self.echoes.push((at, word.clone()));
        }
        self.hear(at, word)
    }

    pub(super) fn hear(&mut self, at: usize, word: Word) -> Fault {
        let id = self.fleet[at].id;
        let effects = match word {
            Word::PutIn(lease, blob) => {
                if self.job.may_hand_in((id, lease), blob.sha256, u64::MAX).is_none() {
                    return Ok(());
                }
                self.blobs.insert(blob.sha256);
                self.received.insert(blob.sha256);
                self.job.handed_in(lease, blob)
            }
            Word::Shards(lease, common, shards) => {
                let effects = self.job.shards(NOW, (id, lease), common, &shards);
                let starts = self.tally.restarts;
                self.apply(effects)?;
                if self.tally.restarts == starts {
                    self.note_announced(id, lease, &shards);
                }
                return Ok(());
            }
            Word::Depot(blobs) => self.job.depot(NOW, id, &blobs),
            Word::Traced(lease, deferred) => self.job.traced(NOW, (id, lease), deferred),
            Word::Ended(lease, shards, values) => {
                self.job.execute_ended(NOW, (id, lease), shards, values)
            }
            Word::Done(lease, blob) => self.job.task_done(NOW, (id, lease), blob),
            Word::Failed(lease, failure, lost, suspect) => {
                self.job.task_failed(NOW, (id, lease), &failure, (&lost, &suspect))
            }
        };
        self.apply(effects)
    }

    /// One of the worker's attempts advances by a step.
    pub(super) fn work(&mut self, at: usize) -> Fault {
        let open = self.fleet[at].attempts.iter().filter(|(_, attempt)| attempt.end.is_none());
        let leases: Vec<_> = open.map(|(lease, _)| *lease).collect();
        let Some(lease) = leases.get(self.dice.below(leases.len())).copied() else { return Ok(()) };
        let task = self.fleet[at].attempts[&lease].row.task;
        if self.is_execution(task) {
            self.execute(at, lease);
        } else {
            self.prove(at, lease, task);
        }
        Ok(())
    }

    pub(super) fn execute(&mut self, at: usize, lease: LeaseId) {
        let is_calm = self.is_calm();
        let worker = &mut self.fleet[at];
        let Some(attempt) = worker.attempts.get_mut(&lease) else { return };
        let Some(execution) = &mut attempt.execution else { return };
        // The events that it was notified of are needed: they may be lost.
        let program = &execution.program;
        let last = execution.markers.last().map(|no| program.record_of(*no).sha256);
        let last = last.map(|record| events(number_of(record)).index.blob.sha256);
        let inputs = self.job.inputs(attempt.row.task);
        let is_lost = |blob: &Sha256Digest| {
            !self.blobs.contains(blob) && inputs.iter().any(|input| input.sha256 == *blob)
        };
        if let Some(lost) = last.filter(is_lost) {
            let failure = Failure::new(FailureClass::Infrastructure, "events are lost");
            let word = Word::Failed(lease, failure, vec![lost], vec![]);
            attempt.end = Some(word.clone());
            worker.outbox.push_back(word);
            return;
        }
        let total = program.announceable(execution.markers.len());
        let open = execution.announced - execution.done.len();
        let has_place =
            open < execution.window && open as u64 * 16 + 16 <= self.limits.window_bytes;
        let is_greedy = !has_place && worker.is_liar && !is_calm && self.dice.one_in(4);
        if execution.announced < total && (has_place || is_greedy) {
            self.tally.greedy += u64::from(is_greedy);
            let shard = program.shards[execution.announced].clone();
            let common = execution.program.common;
            if execution.announced == 0 {
                worker.outbox.push_back(Word::PutIn(lease, common));
            }
            execution.announced += 1;
            worker.depot.insert(shard.record.sha256);
            worker.outbox.push_back(Word::Shards(lease, common, vec![shard]));
        } else if execution.announced == program.shards.len()
            && execution.markers.len() == program.cores
        {
            let count = u32::try_from(execution.announced).expect("few");
            let values = info(b'p', 0);
            let word = Word::Ended(lease, count, values);
            attempt.end = Some(word.clone());
            worker.outbox.extend([Word::PutIn(lease, values), word]);
        }
    }

    pub(super) fn prove(&mut self, at: usize, lease: LeaseId, task: TaskId) {
        let Some(record) = self.tasks.get(&task).cloned() else { return };
        let inputs = self.job.inputs(task);
        let depot = &self.fleet[at].depot;
        let is_absent =
            |blob: &&BlobInfo| !self.blobs.contains(&blob.sha256) && !depot.contains(&blob.sha256);
        let (expected, missing): (Vec<_>, Vec<_>) = inputs
            .iter()
            .filter(is_absent)
            .map(|blob| blob.sha256)
            .partition(|blob| self.job.place(*blob) == Place::Expected);
        // It does not wait forever.
        let far = expected.first().copied();
        let far = far.filter(|_| !self.is_calm() && self.dice.one_in(40));
        let suspects: Vec<_> = if record.kind == TaskKind::Reduce {
            inputs.iter().map(|blob| blob.sha256).filter(|blob| is_false(*blob)).collect()
        } else {
            Vec::new()
        };
        let is_calm = self.is_calm();
        let failure = (!is_calm && self.dice.one_in(self.failing)).then(|| {
            let classes = [FailureClass::Worker, FailureClass::Infrastructure, FailureClass::Guest];
            Failure::new(classes[self.dice.below(3)], "it failed")
        });
        let lies = !is_calm && self.fleet[at].is_liar && self.dice.one_in(6);
        self.number += 1;
        // Reduces find false children; nothing here finds a false last proof or a false shard of a Core proof.
        let may_be_false = self.mode != ProofMode::Core
            && !record.complete
            && matches!(record.kind, TaskKind::ProveShard | TaskKind::Reduce);
        let result = output(task, self.number, lies && may_be_false);
        let worker = &mut self.fleet[at];
        let Some(attempt) = worker.attempts.get_mut(&lease) else { return };
        let infrastructure = Failure::new(FailureClass::Infrastructure, "an input is missing");
        let word = if !attempt.fetched && !missing.is_empty() {
            Word::Failed(lease, infrastructure, missing, vec![])
        } else if let (false, Some(blob)) = (attempt.fetched, far) {
            Word::Failed(lease, infrastructure, vec![blob], vec![])
        } else if !suspects.is_empty() {
            Word::Failed(lease, infrastructure, vec![], suspects)
        } else if !attempt.fetched && !expected.is_empty() {
            return;
        } else if !attempt.fetched {
            attempt.fetched = true;
            return;
        } else if let Some(failure) = failure {
            Word::Failed(lease, failure, vec![], vec![])
        } else if record.shard == Some(ShardKind::Core) && attempt.traced.is_none() {
            let traced = events(number_of(record.record.expect("a leaf").sha256));
            worker.outbox.extend(traced.blobs().map(|blob| Word::PutIn(lease, *blob)));
            worker.outbox.push_back(Word::Traced(lease, traced.clone()));
            attempt.traced = Some(traced);
            return;
        } else if lies && !may_be_false {
            self.tally.lies += 1;
            // Another digest than that of the bytes.
            worker.outbox.push_back(Word::PutIn(lease, result));
            Word::Done(lease, info(b'x', self.number))
        } else {
            self.tally.lies += u64::from(lies);
            worker.outbox.push_back(Word::PutIn(lease, result));
            Word::Done(lease, result)
        };
        attempt.end = Some(word.clone());
        worker.outbox.push_back(word);
    }
}
