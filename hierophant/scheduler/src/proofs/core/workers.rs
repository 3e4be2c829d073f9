//! Arrival, absence, return and removal of workers.

use std::collections::BTreeSet;

use hierophant_model::records::{AttemptOutcome, Change, Millis};
use network_lib::handshake::{Capabilities, ProtocolRange, Refusal, RefusalCode};
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::job::FailureClass;
use network_lib::wire::ToWorker;

use super::{Effect, ProofsCore};
use crate::SessionId;
use crate::proofs::WorkerJoined;
use crate::proofs::lease::{Lease, Worker};

/// Maximum number of listed attempts that do not count and are cancelled with one heartbeat; further ones with the next.
/// A worker that makes up attempts is thus not sent more than it reads.
const MAX_CANCELLED_AT_ONCE: usize = 16;

/// Time for which the statistics of a removed worker are kept: a day.
const STATS_RETENTION_MS: u64 = 24 * 3600 * 1000;

impl ProofsCore {
    /// Handles a worker's connection, which replaces an older one. Its running attempts continue, and it is
    /// welcomed unless it is suspended.
    pub fn worker_joined(&mut self, now: Millis, joined: WorkerJoined) -> Vec<Effect> {
        let WorkerJoined { worker: id, session, name, capabilities, held, .. } = joined;
        let (drained, private_inputs, mut welcome) =
            (joined.drained, joined.private_inputs, joined.welcome);
        let mut effects = Vec::new();
        if self.is_suspended(now, id) {
            self.remove_worker(now, id, "suspended", &mut effects);
            let message = format!(
                "suspended: {} attempts failed by this worker's fault within {} minutes; it may \
                 reconnect once the oldest failure expires",
                self.limits.max_strikes,
                self.limits.strike_decay_ms / 60_000
            );
            let protocol = ProtocolRange::OURS;
            let refusal =
                Refusal { code: RefusalCode::Suspended, message: message.clone(), protocol };
            effects.push(Effect::Send(id, ToWorker::Refused(refusal)));
            effects.push(Effect::Drop(id, message));
            return effects;
        }
        // First of all: what was sent over the earlier connection may be lost.
        for division in self.divisions.jobs.values_mut() {
            division.tasks.connected(id);
        }
        self.divisions.depots.retain(|(of, _), _| *of != id);
        let joined_at = self.workers.remove(&id).map_or(now, |known| known.joined_at);
        for lease in self.leases_of(id) {
            if !held.contains(&lease) {
                self.lost_on_reconnect(now, lease, &mut effects);
            } else if self.leases.get(&lease).is_some_and(|held| {
                self.is_withheld(private_inputs, held.job, held.attempt.started_at)
            }) {
                let reason = "its input is private, and the worker no longer has the right to it";
                self.interrupt(now, lease, None, reason, &mut effects);
            }
        }
        for lease in &held {
            self.resume(now, (id, private_inputs), *lease, &mut effects);
        }
        let is_lost = |lease: &LeaseId| {
            let task = self.divisions.attempts.get(lease).map(|held| &held.record);
            !held.contains(lease)
                || task.is_some_and(|it| self.is_withheld(private_inputs, it.job, it.started_at))
        };
        for lease in self.divisions.of(id).filter(is_lost).collect::<Vec<_>>() {
            self.task_lost(now, id, lease, &mut effects);
        }
        let mut worker = Worker::new(session, name, capabilities);
        worker.private_inputs = private_inputs;
        // Whatever it lists occupies it, also what counts no longer, until it stops listing it.
        for lease in &held {
            if let Some(task) = self.divisions.attempts.get_mut(lease)
                && task.record.prover.worker == id
            {
                (task.sent, task.unlisted_since) = (true, None);
                let of_kind =
                    if task.executes { &mut worker.executions } else { &mut worker.tasks };
                of_kind.insert(*lease);
                continue;
            }
            let theirs = self.leases.get_mut(lease).filter(|it| it.attempt.prover.worker == id);
            let is_ahead = theirs.is_some_and(|held| {
                held.sent = true;
                held.is_ahead()
            });
            if is_ahead {
                worker.ahead.insert(*lease)
            } else {
                worker.leases.insert(*lease)
            };
        }
        worker.drained = drained;
        worker.joined_at = joined_at;
        if let Some(stats) = self.stats.get(&id) {
            worker.resting = stats.rest.is_resting();
            worker.on_probation = stats.rest.is_on_probation();
        }
        self.drained.insert(id);
        self.workers.insert(id, worker);
        welcome.resume = self.leases_of(id).into_iter().chain(self.divisions.of(id)).collect();
        effects.push(Effect::Send(id, ToWorker::Welcome(welcome)));
        self.dispatch(now, &mut effects);
        effects
    }

    /// Updates a worker's capabilities.
    pub fn capabilities_changed(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: SessionId,
        capabilities: Capabilities,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(worker) = self.connected(id, session) {
            worker.capabilities = capabilities;
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// Handles a worker's announcement that it accepts no more jobs. It gives back what it has not begun.
    pub fn worker_draining(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: SessionId,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(worker) = self.connected(id, session) {
            worker.draining = true;
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// Handles a broken connection. Attempts with reported progress continue, because the worker may reconnect. The
    /// others may never have reached the worker, and their jobs are queued again at once.
    pub fn worker_away(&mut self, now: Millis, id: WorkerId, session: SessionId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(worker) = self.connected(id, session) else { return effects };
        worker.away = true;
        for lease in self.leases_of(id) {
            if !self.has_reported(lease) {
                let reason = "the worker disconnected before it had begun";
                self.interrupt(now, lease, None, reason, &mut effects);
            }
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// Handles the removal of a worker. Its jobs are queued again.
    pub fn worker_removed(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: SessionId,
        reason: &str,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.connected(id, session).is_some() {
            self.remove_worker(now, id, reason, &mut effects);
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// Handles the list of attempts that a worker runs.
    ///
    /// Slots of cancelled attempts are free once they are no longer listed. An attempt that is not listed for some time
    /// after it was sent is lost. One that is listed and does not count, for instance because its message came late, is
    /// cancelled, and occupies a slot until it is no longer listed.
    pub fn held_leases(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: SessionId,
        held: &[LeaseId],
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.is_connected(id, session) {
            return effects;
        }
        let held: BTreeSet<LeaseId> = held.iter().copied().collect();
        for lease in self.leases_of(id) {
            let Some(going_on) = self.leases.get_mut(&lease) else { continue };
            if held.contains(&lease) {
                (going_on.unlisted_since, going_on.sent) = (None, true);
                continue;
            }
            if !going_on.sent {
                continue;
            }
            // The heartbeat may have been in transit when the attempt was assigned.
            let since = *going_on.unlisted_since.get_or_insert(now);
            if now.0.saturating_sub(since.0) > self.limits.unlisted_limit_ms {
                let reason = "the worker does not list the attempt";
                self.interrupt(now, lease, None, reason, &mut effects);
            }
        }
        for lease in self.divisions.of(id).collect::<Vec<_>>() {
            let Some(task) = self.divisions.attempts.get_mut(&lease) else { continue };
            if held.contains(&lease) {
                (task.unlisted_since, task.sent) = (None, true);
            } else if task.sent {
                let since = *task.unlisted_since.get_or_insert(now);
                if now.0.saturating_sub(since.0) > self.limits.unlisted_limit_ms {
                    self.task_lost(now, id, lease, &mut effects);
                }
            }
        }
        // Most heartbeats bring no news.
        if self.occupy(id, &held, &mut effects) {
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// Frees slots of attempts that have ended and are not listed, and occupies slots with those that are listed and do not
    /// count, which are cancelled. Returns whether there is anything to assign.
    fn occupy(
        &mut self,
        id: WorkerId,
        held: &BTreeSet<LeaseId>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let counts = |lease: &&LeaseId| {
            self.leases.get(*lease).is_some_and(|held| held.attempt.prover.worker == id)
                || self.divisions.held(id, **lease).is_some()
        };
        let Some(worker) = self.workers.get(&id) else { return false };
        let (slots, given_back) = (&worker.leases, &worker.given_back);
        let occupied = || slots.iter().chain(&worker.tasks).chain(&worker.executions);
        let ended = occupied().filter(|lease| !counts(lease) && !held.contains(*lease));
        let freed: Vec<LeaseId> = ended.copied().collect();
        let is_known = |lease: &&LeaseId| {
            counts(lease)
                || slots.contains(*lease)
                || given_back.contains(*lease)
                || worker.tasks.contains(*lease)
                || worker.executions.contains(*lease)
        };
        let unknown = held.iter().filter(|lease| !is_known(lease)).take(MAX_CANCELLED_AT_ONCE);
        let unknown: Vec<LeaseId> = unknown.copied().collect();
        let is_news = !freed.is_empty() || !effects.is_empty();
        if (!freed.is_empty() || !unknown.is_empty() || !given_back.is_empty())
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.leases.retain(|lease| !freed.contains(lease));
            worker.tasks.retain(|lease| !freed.contains(lease));
            worker.executions.retain(|lease| !freed.contains(lease));
            worker.leases.extend(&unknown);
            worker.given_back.retain(|lease| held.contains(lease));
        }
        for lease in unknown {
            self.cancel_on_worker(id, lease, "the attempt has ended", effects);
        }
        is_news
    }

    /// Counts a strike; too many suspend the worker.
    pub(super) fn strike(
        &mut self,
        now: Millis,
        id: WorkerId,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        let stats = self.stats.entry(id).or_default();
        stats.seen_at = now;
        stats.strikes.push_back(now);
        if self.is_suspended(now, id)
            && let Some(worker) = self.workers.get_mut(&id)
            && !worker.draining
        {
            worker.draining = true;
            let count = self.limits.max_strikes;
            effects.push(Effect::Drop(id, format!("suspended after {count} strikes: {why}")));
        }
    }

    fn is_suspended(&mut self, now: Millis, id: WorkerId) -> bool {
        let since = Millis(now.0.saturating_sub(self.limits.strike_decay_ms));
        let strikes = self.stats.get_mut(&id).map_or(0, |stats| stats.strikes_since(since));
        self.limits.max_strikes > 0 && strikes >= self.limits.max_strikes
    }

    /// Removes expired strikes, and the statistics of workers that were removed long ago.
    pub(super) fn expire_stats(&mut self, now: Millis) {
        let since = Millis(now.0.saturating_sub(self.limits.strike_decay_ms));
        self.stats.retain(|id, stats| {
            if self.workers.contains_key(id) {
                stats.seen_at = now;
            }
            stats.strikes_since(since) > 0 || now.since(stats.seen_at) <= STATS_RETENTION_MS
        });
    }

    fn has_reported(&self, lease: LeaseId) -> bool {
        self.leases.get(&lease).is_some_and(Lease::has_reported)
    }

    fn remove_worker(
        &mut self,
        now: Millis,
        id: WorkerId,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.workers.remove(&id);
        let reason = format!("the worker was removed: {reason}");
        for lease in self.leases_of(id) {
            self.interrupt(now, lease, None, &reason, effects);
        }
        self.lose_tasks(now, id, effects);
    }

    /// A worker no longer runs an attempt at a task.
    fn task_lost(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        effects: &mut Vec<Effect>,
    ) {
        let Some((job, _)) = self.divisions.held(worker, lease) else { return };
        self.with_tasks(now, job, effects, |tasks| tasks.lease_lost(now, worker, lease));
    }

    /// A worker does not return: its tasks are lost, and what its depot holds.
    pub(super) fn lose_tasks(&mut self, now: Millis, worker: WorkerId, effects: &mut Vec<Effect>) {
        self.divisions.depots.retain(|(of, _), _| *of != worker);
        for job in self.divisions.jobs.keys().copied().collect::<Vec<_>>() {
            self.with_tasks(now, job, effects, |tasks| tasks.worker_lost(now, worker));
        }
    }

    /// Handles an attempt that a reconnected worker no longer runs. If it had begun, the worker's program died
    /// during it, perhaps because of the job. The worker therefore counts towards the job's retry budget, but gets no
    /// strike.
    fn lost_on_reconnect(&mut self, now: Millis, lease: LeaseId, effects: &mut Vec<Effect>) {
        let class = self.has_reported(lease).then_some(FailureClass::Worker);
        if class.is_some() {
            self.begin_if_ahead(now, lease, effects);
        }
        let reason = "the worker reconnected without the attempt";
        self.interrupt(now, lease, class, reason, effects);
    }

    /// Whether a reconnected worker loses an attempt because the input is private and the worker has no right to it. One
    /// that was begun before the first private request continues: the worker has got the same input without one.
    fn is_withheld(&self, private_inputs: bool, job: JobId, started_at: Millis) -> bool {
        let live = self.jobs.get(&job).filter(|_| !private_inputs);
        let since = live.and_then(|live| live.requests.private_since());
        since.is_some_and(|since| since <= started_at)
    }

    /// Resumes an interrupted attempt if its job is still waiting.
    fn resume(
        &mut self,
        now: Millis,
        (id, private_inputs): (WorkerId, bool),
        lease: LeaseId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(job) = self.interrupted.get(&lease).copied() else { return };
        let theirs = |held: &Lease| {
            held.attempt.prover.worker == id
                && !self.is_withheld(private_inputs, job, held.attempt.started_at)
        };
        let found = self.jobs.get(&job).filter(|_| self.queue.contains(job));
        if !found.is_some_and(|live| live.interrupted.as_deref().is_some_and(theirs)) {
            return;
        }
        let Some(live) = self.jobs.get_mut(&job) else { return };
        let Some(mut held) = live.interrupted.take() else { return };
        self.interrupted.remove(&lease);
        let ahead = live.ahead;
        live.leases.insert(lease);
        if let Some(ahead) = ahead {
            self.give_back(now, ahead, "the interrupted attempt continues", effects);
        }
        self.overtaken.remove(&job);
        if let Some(live) = self.jobs.get_mut(&job) {
            live.overtaken = 0;
        }
        self.queue.remove(job);
        held.attempt.first_progress_at.get_or_insert(now);
        held.attempt.outcome = AttemptOutcome::Running;
        held.attempt.ended_at = None;
        held.attempt.message = None;
        held.last_progress_at = now;
        held.unlisted_since = None;
        effects.push(Effect::Save(Change::Attempt(held.attempt.clone())));
        self.leases.insert(*held);
        self.update(now, job, effects, |_| ());
    }
}
