//! Restoration of the state from the store after a start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hierophant_model::commands::Paused;
use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, JobRecord, Millis, RequestState, Setting, SettingKind,
    UnfinishedJob, UnfinishedSharding,
};
use network_lib::ids::{ArtifactId, Sha256Digest, WorkerId};
use network_lib::job::FailureClass;

use super::divisions::Divisions;
use super::endings::End;
use super::open::{LastMinute, OpenRequests, RecentRequests, is_recent};
use super::prepared::Prepared;
use super::{Effect, IdSource, Limits, LiveJob, ProofsCore};
use crate::proofs::duration::DurationEstimator;
use crate::proofs::fleet::Workers;
use crate::proofs::lease::{Lease, Leases, rest_after_interruptions};
use crate::proofs::memory::MemoryDemand;
use crate::proofs::queue::Queue;

/// State read from the store at the start.
#[derive(Debug, Default)]
pub struct RestoredState {
    /// Jobs that have not ended.
    pub unfinished: Vec<UnfinishedJob>,
    /// Artifacts of these jobs that are missing or damaged.
    pub damaged: BTreeSet<ArtifactId>,
    /// Failures by a worker's fault that may still count, the oldest first.
    pub strikes: Vec<(WorkerId, Millis)>,
    /// Jobs that ended last, the latest first, for the estimation of durations.
    pub ended: Vec<JobRecord>,
    /// Settings of operators.
    pub settings: Vec<Setting>,
    /// Divisions into tasks that have not ended, each with the blobs that are stored of it.
    pub shardings: Vec<(UnfinishedSharding, Vec<Sha256Digest>)>,
}

impl ProofsCore {
    /// Restores the state and continues.
    ///
    /// Waiting jobs are queued again. Running attempts and those leased ahead stay active: their workers have
    /// `return_limit_ms` to reconnect and continue. An uploaded proof is verified now, whether or not its worker
    /// reconnects. A job whose program or input is damaged fails unless it has a running attempt, because only its
    /// client can upload it again. What has to end then, and requests past their deadline, are ended by this and the
    /// next sweeps ([`ProofsCore::is_behind`]).
    #[must_use]
    pub fn restore(
        now: Millis,
        limits: Limits,
        ids: IdSource,
        state: RestoredState,
    ) -> (Self, Vec<Effect>) {
        let return_deadline = Millis(now.0.saturating_add(limits.return_limit_ms));
        let mut core = Self {
            limits,
            ids,
            jobs: BTreeMap::new(),
            by_key: BTreeMap::new(),
            open: OpenRequests::default(),
            recent: RecentRequests::default(),
            answered: RecentRequests::default(),
            strangers: LastMinute::default(),
            queue: Queue::default(),
            leases: Leases::default(),
            divisions: Divisions::default(),
            prepared: Prepared::default(),
            overtaken: BTreeSet::new(),
            interrupted: BTreeMap::new(),
            workers: Workers::new(),
            drained: BTreeSet::new(),
            stats: BTreeMap::new(),
            resting: BTreeSet::new(),
            shortages: BTreeMap::new(),
            durations: DurationEstimator::default(),
            paused: None,
            demand: MemoryDemand::default(),
            ending: BTreeSet::new(),
            reopened: VecDeque::new(),
            due: VecDeque::new(),
            is_expiring: false,
            is_cut_short: false,
            #[cfg(test)]
            walks: false,
            return_deadline,
        };
        for (worker, at) in state.strikes {
            let stats = core.stats.entry(worker).or_default();
            stats.seen_at = now;
            stats.strikes.push_back(at);
        }
        let paused = state.settings.into_iter().find(|setting| setting.kind == SettingKind::Paused);
        core.paused = paused.map(|Setting { reason, since, .. }| Paused { reason, since });
        state.ended.iter().rev().for_each(|job| core.durations.record(job));
        let mut effects = Vec::new();
        let mut tasks = BTreeMap::<_, Vec<_>>::new();
        for mut job in state.unfinished {
            let of_tasks = job.attempts.extract_if(.., |attempt| attempt.task.is_some());
            tasks.entry(job.job.id).or_default().extend(of_tasks);
            core.restore_job(now, job, &state.damaged, &mut effects);
        }
        for (sharding, stored) in state.shardings {
            let attempts = tasks.remove(&sharding.sharding.job).unwrap_or_default();
            core.restore_division(now, sharding, attempts, stored, &mut effects);
        }
        core.fail_undivided(now, &mut effects);
        effects.extend(core.sweep(now));
        (core, effects)
    }

    fn restore_job(
        &mut self,
        now: Millis,
        unfinished: UnfinishedJob,
        damaged: &BTreeSet<ArtifactId>,
        effects: &mut Vec<Effect>,
    ) {
        let UnfinishedJob { job: mut record, requests, mut attempts } = unfinished;
        let id = record.id;
        if record.proof.is_some_and(|proof| damaged.contains(&proof)) {
            // It had begun to end.
            (record.proof, record.finished_at) = (None, None);
        }
        let inputs_damaged = damaged.contains(&record.program) || damaged.contains(&record.stdin);
        let mut live = LiveJob::new(record);
        live.inputs_lost = inputs_damaged;
        for mut request in requests {
            if request.state == RequestState::Fulfilled {
                // The job was being queued again with many requests, and this one's turn had not come.
                if Millis::from_seconds(request.deadline) <= now {
                    continue;
                }
                request.reopen(now);
                self.reopened.push_back(request.id);
            }
            let client = self.client_of(&request);
            let key = client.key();
            self.open.insert(&request, id, client.clone());
            if is_recent(request.created_at, now) {
                self.count_accepted(request.created_at, client);
            }
            live.requests.insert(request, key);
        }
        let nobody_waits = live.requests.is_empty();
        // In the order of their end; running ones come last.
        attempts
            .sort_by_key(|attempt| (attempt.ended_at.unwrap_or(Millis(i64::MAX)), attempt.lease));
        for attempt in attempts {
            self.restore_attempt(now, &mut live, attempt, damaged);
        }
        let key = live.record.key;
        let going_on: Vec<_> = live.leases.iter().copied().collect();
        let half_ended = End::of_half_ended(&live.record);
        let prepared = live.ahead.and_then(|lease| self.leases.get(&lease));
        if let Some(held) = prepared {
            self.prepared.insert(held.started_at, held.attempt.lease, id, live.overtaken);
        }
        if let Some(interrupted) = &live.interrupted {
            self.interrupted.insert(interrupted.attempt.lease, id);
        }
        self.jobs.insert(id, Box::new(live));
        // An attempt in progress, or one whose proof is handed in, needs no input any longer.
        let is_lost = inputs_damaged && going_on.is_empty();
        let end = half_ended.or_else(|| is_lost.then(End::lost_inputs));
        if let Some(end) = end.or_else(|| nobody_waits.then_some(End::Cancelled)) {
            self.due.push_back((id, end));
            return;
        }
        self.by_key.insert(key, id);
        self.update(now, id, effects, |_| ());
        if going_on.is_empty() {
            self.enqueue(id);
        }
        for lease in going_on {
            self.check_if_handed_in(now, lease, effects);
        }
    }

    fn restore_attempt(
        &mut self,
        now: Millis,
        live: &mut LiveJob,
        mut attempt: AttemptRecord,
        damaged: &BTreeSet<ArtifactId>,
    ) {
        let worker = attempt.prover.worker;
        match attempt.outcome {
            AttemptOutcome::GivenBack => return,
            AttemptOutcome::Ahead => {
                live.ahead = Some(attempt.lease);
                return self.leases.insert(Lease::new(now, attempt));
            }
            _ => {}
        }
        if attempt.outcome == AttemptOutcome::Completed {
            // Its proof was lost later, and the job begins again.
            live.begin_again();
            return;
        }
        live.tried.insert(worker);
        live.is_whole |= attempt.prover.is_fleet() && attempt.outcome != AttemptOutcome::Running;
        let is_disputed = attempt.outcome == AttemptOutcome::Disputed;
        if is_disputed || attempt.failure_class == Some(FailureClass::Worker) {
            // A recorded end in the future, left by a clock that was set back, counts as now.
            live.failures.blame(attempt.ended_at.map_or(now, |at| at.min(now)), worker);
        }
        // As at run time, in the order of the attempts.
        let is_lost = attempt.outcome == AttemptOutcome::Lost && attempt.failure_class.is_none();
        if is_lost || attempt.failure_class == Some(FailureClass::Infrastructure) {
            live.interruptions = live.interruptions.saturating_add(1);
            let ended_at = attempt.ended_at.map_or(now, |at| at.min(now));
            let rest = rest_after_interruptions(live.interruptions);
            live.not_before = Millis(ended_at.0.saturating_add(rest.0));
        }
        if let Some(what) = attempt.out_of_memory {
            live.failures.oom.record(worker, attempt.prover.backend, what);
            self.doubt_shortage(attempt.ended_at.map_or(now, |at| at.min(now)), attempt.job);
        }
        if is_disputed || matches!(attempt.outcome, AttemptOutcome::Failed | AttemptOutcome::Lost) {
            live.failures.last = Some(worker);
        }
        attempt.proof = attempt.proof.filter(|(proof, _)| !damaged.contains(proof));
        let nobodys_fault = attempt.failure_class.is_none();
        live.interrupted = None;
        match attempt.outcome {
            AttemptOutcome::Running => {
                live.leases.insert(attempt.lease);
                self.leases.insert(Lease::new(now, attempt));
            }
            AttemptOutcome::Disputed => live.disputed.push(attempt),
            AttemptOutcome::Lost if nobodys_fault => {
                live.interrupted = Some(Box::new(Lease::new(now, attempt)));
            }
            _ => {}
        }
    }
}
