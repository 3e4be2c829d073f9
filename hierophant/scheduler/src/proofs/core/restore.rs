//! Restoration of the state from the store after a start.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::commands::Paused;
use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, JobRecord, Millis, Setting, SettingKind, UnfinishedJob,
};
use network_lib::ids::{ArtifactId, WorkerId};
use network_lib::job::FailureClass;

use super::endings::End;
use super::open::{LastMinute, OpenRequests, RecentRequests, is_recent};
use super::{Effect, IdSource, Limits, LiveJob, ProofsCore};
use crate::proofs::duration::DurationEstimator;
use crate::proofs::lease::{Lease, Leases, Workers};
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
}

impl ProofsCore {
    /// Restores the state and continues.
    ///
    /// Waiting jobs are queued again. Running attempts and those leased ahead stay active: their workers have `return_limit_ms` to
    /// reconnect and continue. An uploaded proof is verified now, whether or not its worker reconnects. A job whose
    /// program or input is damaged fails unless it has a running attempt, because only its client can upload it again.
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
            workers: Workers::new(),
            drained: BTreeSet::new(),
            stats: BTreeMap::new(),
            resting: BTreeSet::new(),
            shortages: BTreeMap::new(),
            durations: DurationEstimator::default(),
            paused: None,
            demand: MemoryDemand::default(),
            next_deadline: u64::MAX,
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
        for job in state.unfinished {
            core.restore_job(now, job, &state.damaged, &mut effects);
        }
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
        let UnfinishedJob { job: record, requests, mut attempts } = unfinished;
        let id = record.id;
        let inputs_damaged = damaged.contains(&record.program) || damaged.contains(&record.stdin);
        let mut live = LiveJob::new(record);
        live.inputs_lost = inputs_damaged;
        for request in requests {
            self.next_deadline = self.next_deadline.min(request.deadline);
            self.open.insert(request.id, id, self.client_of(&request));
            if is_recent(request.created_at, now) {
                self.count_accepted(request.created_at, self.client_of(&request));
            }
            live.requests.insert(request.id, Box::new(request));
        }
        let nobody_waits = live.requests.is_empty();
        // In the order of their end; running ones come last.
        attempts
            .sort_by_key(|attempt| (attempt.ended_at.unwrap_or(Millis(i64::MAX)), attempt.lease));
        for attempt in attempts {
            self.restore_attempt(now, &mut live, attempt, damaged);
        }
        self.by_key.insert(live.record.key, id);
        let going_on: Vec<_> = live.leases.iter().copied().collect();
        self.jobs.insert(id, Box::new(live));
        if nobody_waits {
            return self.end_job(now, id, End::Cancelled, effects);
        }
        // An attempt in progress, or one whose proof is handed in, needs no input any longer.
        if inputs_damaged && going_on.is_empty() {
            return self.end_job(now, id, End::lost_inputs(), effects);
        }
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
        live.tried.insert(worker);
        let is_disputed = attempt.outcome == AttemptOutcome::Disputed;
        if is_disputed || attempt.failure_class == Some(FailureClass::Worker) {
            // A recorded end in the future, left by a clock that was set back, counts as now.
            live.failures.blame(attempt.ended_at.map_or(now, |at| at.min(now)), worker);
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
