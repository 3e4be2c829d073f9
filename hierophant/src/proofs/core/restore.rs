//! Going on after a start, from what the store holds.

use std::collections::{BTreeMap, BTreeSet};

use network_lib::ids::ArtifactId;
use network_lib::job::FailureClass;

use super::endings::End;
use super::{Effect, IdSource, Limits, LiveJob, ProofsCore};
use crate::proofs::lease::{Lease, Workers};
use crate::proofs::queue::Queue;
use crate::records::{AttemptOutcome, AttemptRecord, JobState, Millis};
use crate::store::UnfinishedJob;

impl ProofsCore {
    /// Starts from what the store holds; `damaged` artifacts are gone or not what they should be.
    ///
    /// What waited waits again. An attempt that was going on still counts: its worker has
    /// `return_limit_ms` to come back and go on with it. A proof that was handed in is checked now,
    /// whether or not its worker ever returns. A job whose program or input is damaged fails: only its
    /// client can hand those in again.
    #[must_use]
    pub fn restore(
        now: Millis,
        limits: Limits,
        ids: IdSource,
        unfinished: Vec<UnfinishedJob>,
        damaged: &BTreeSet<ArtifactId>,
    ) -> (Self, Vec<Effect>) {
        let returned_by = Millis(now.0.saturating_add(limits.return_limit_ms));
        let mut core = Self {
            limits,
            ids,
            jobs: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_request: BTreeMap::new(),
            queue: Queue::default(),
            leases: BTreeMap::new(),
            workers: Workers::new(),
            stats: BTreeMap::new(),
            returned_by,
        };
        let mut effects = Vec::new();
        for job in unfinished {
            core.take_over(now, job, damaged, &mut effects);
        }
        effects.extend(core.sweep(now));
        (core, effects)
    }

    fn take_over(
        &mut self,
        now: Millis,
        unfinished: UnfinishedJob,
        damaged: &BTreeSet<ArtifactId>,
        effects: &mut Vec<Effect>,
    ) {
        let UnfinishedJob { job: record, requests, attempts } = unfinished;
        let id = record.id;
        let inputs_damaged = damaged.contains(&record.program) || damaged.contains(&record.stdin);
        let mut live = LiveJob::new(record);
        for request in requests {
            self.by_request.insert(request.id, id);
            live.requests.insert(request.id, request);
        }
        let nobody_waits = live.requests.is_empty();
        let mut running = None;
        let mut latest_start = Millis::default();
        for attempt in attempts {
            if attempt.failure_class == Some(FailureClass::Worker) {
                live.failed_on.workers.insert(attempt.prover.worker);
                live.failed_on.last = Some(attempt.prover.worker);
                live.worker_failures += 1;
            }
            let latest = attempt.started_at >= latest_start;
            latest_start = latest_start.max(attempt.started_at);
            match attempt.outcome {
                AttemptOutcome::Running => running = Some(attempt),
                AttemptOutcome::Lost if latest && attempt.failure_class.is_none() => {
                    live.left = Some(Lease::new(now, attempt));
                }
                _ if latest => live.left = None,
                _ => {}
            }
        }
        self.by_key.insert(live.record.key, id);
        self.jobs.insert(id, live);
        match running {
            _ if nobody_waits => self.end_job(now, id, End::Cancelled, effects),
            _ if inputs_damaged => self.end_job(now, id, End::lost_inputs(), effects),
            Some(attempt) => self.go_on(now, attempt, damaged, effects),
            None => {
                self.set_state(now, id, JobState::Queued, effects);
                self.line_up(id);
            }
        }
    }

    fn go_on(
        &mut self,
        now: Millis,
        mut attempt: AttemptRecord,
        damaged: &BTreeSet<ArtifactId>,
        effects: &mut Vec<Effect>,
    ) {
        let (job, lease) = (attempt.job, attempt.lease);
        attempt.proof = attempt.proof.filter(|(proof, _)| !damaged.contains(proof));
        let uploaded = attempt.proof.is_some();
        self.leases.insert(lease, Lease::new(now, attempt));
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.lease = Some(lease);
        let state = live.record.state;
        if !self.check_if_handed_in(now, lease, effects)
            && !uploaded
            && matches!(state, JobState::Uploaded | JobState::Verifying)
        {
            self.set_state(now, job, JobState::Proving, effects);
        }
    }
}
