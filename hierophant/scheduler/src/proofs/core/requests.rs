//! Submission and cancellation by clients.

use alloy_primitives::Address;
use hierophant_model::clients::{OverQuota, Quota, has_room};
use hierophant_model::records::{
    Accepted, Change, JobRecord, JobState, Millis, RequestRecord, RequestState, job_key,
};
use network_lib::ids::{JobId, RequestId, Sha256Digest};

use super::{Effect, LiveJob, ProofsCore};
use crate::proofs::{CancelError, NewRequest, SubmitError};

/// Stored data about a submission.
#[derive(Debug, Default)]
pub struct StoreLookup {
    /// Result of an earlier attempt at the same call.
    pub earlier: Option<Accepted>,
    /// Ended job with the same content that answers this request too: a proved one whose proof is stored, or one
    /// that was set aside recently.
    pub ended: Option<JobRecord>,
    /// Daily quota that its requester has exhausted, according to the store.
    pub over: Option<OverQuota>,
}

impl ProofsCore {
    /// Accepts a request. It joins the job with the same content or creates one.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Busy`] when a new job would exceed the limit of waiting jobs, [`SubmitError::OverQuota`] when
    /// a quota of the requester is exhausted. A repeated call returns neither.
    pub fn submit(
        &mut self,
        now: Millis,
        new: NewRequest,
        known: StoreLookup,
    ) -> (Result<Accepted, SubmitError>, Vec<Effect>) {
        if let Some(earlier) = known.earlier {
            return (Ok(earlier), Vec::new());
        }
        let quota = self.limits.clients.quota(new.requester);
        if let Err(over) =
            self.check_rate_quota(now, new.requester, quota).and(known.over.map_or(Ok(()), Err))
        {
            return (Err(SubmitError::OverQuota(over)), Vec::new());
        }
        let mut effects = vec![Effect::Save(Change::CountNonce(new.requester))];
        let key = job_key(&new.spec, &new.stdin_blob);
        let running = self.by_key.get(&key).copied();
        if let (None, Some(ended)) = (running, known.ended) {
            let mut request = open_request(now, &new, ended.id);
            if ended.state == JobState::Proved {
                request.state = RequestState::Fulfilled;
                request.fulfilled_at = Some(now);
            } else {
                request.state = RequestState::Failed;
            }
            effects.push(Effect::Save(Change::Request(request, new.spec)));
            self.count_accepted(now, new.requester);
            return (Ok(Accepted { request: new.id, job: ended.id }), effects);
        }
        let max = quota.open_requests;
        if !has_room(self.open.count(new.requester), max) {
            return (Err(SubmitError::OverQuota(OverQuota::OpenRequests(max))), Vec::new());
        }
        let job = match running {
            Some(job) => job,
            None if self.queue.len() >= self.limits.max_waiting => {
                return (Err(SubmitError::Busy { waiting: self.queue.len() }), Vec::new());
            }
            None => self.create_job(now, key, &new, &mut effects),
        };
        let request = open_request(now, &new, job);
        effects.push(Effect::Save(Change::Request(request.clone(), new.spec)));
        self.count_accepted(now, new.requester);
        self.subscribe(job, request);
        if self.jobs.get(&job).is_some_and(|live| live.record.state == JobState::Queued) {
            self.enqueue(job);
        }
        self.dispatch(now, &mut effects);
        (Ok(Accepted { request: new.id, job }), effects)
    }

    fn check_rate_quota(
        &self,
        now: Millis,
        requester: Address,
        quota: Quota,
    ) -> Result<(), OverQuota> {
        let max = quota.requests_per_minute;
        if max == 0 || has_room(self.recent.count(requester, now), max) {
            return Ok(());
        }
        Err(OverQuota::RequestsPerMinute(max))
    }

    /// Counts an accepted request towards the rate quota.
    pub(super) fn count_accepted(&mut self, at: Millis, requester: Address) {
        if self.limits.clients.quota(requester).requests_per_minute != 0 {
            self.recent.record(requester, at);
        }
    }

    /// Cancels an open request, and its job if it was the last request.
    ///
    /// # Errors
    ///
    /// [`CancelError::NotFound`] for a request that is not open, [`CancelError::NotYours`] for another requester's.
    pub fn cancel(
        &mut self,
        now: Millis,
        id: RequestId,
        by: Address,
    ) -> (Result<(), CancelError>, Vec<Effect>) {
        let Some(live) = self.open.job(id).and_then(|job| self.jobs.get_mut(&job)) else {
            return (Err(CancelError::NotFound), Vec::new());
        };
        if live.requests.get(&id).is_some_and(|request| request.requester != by) {
            return (Err(CancelError::NotYours), Vec::new());
        }
        let mut effects = Vec::new();
        self.end_request(now, id, RequestState::Cancelled, &mut effects);
        self.dispatch(now, &mut effects);
        (Ok(()), effects)
    }

    /// Reopens a job whose finished proof is missing, with its fulfilled requests. Has no effect on a job that is
    /// already open again, for instance because another client has requested it.
    pub fn reopen(
        &mut self,
        now: Millis,
        mut record: JobRecord,
        fulfilled: Vec<RequestRecord>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let job = self.by_key.get(&record.key).copied().unwrap_or(record.id);
        if !self.jobs.contains_key(&job) {
            record.state = JobState::Queued;
            record.proof = None;
            record.finished_at = None;
            record.updated_at = now;
            effects.push(Effect::Save(Change::Job(record.clone())));
            self.by_key.insert(record.key, job);
            self.jobs.insert(job, Box::new(LiveJob::new(record)));
        }
        self.reopen_requests(now, job, fulfilled, &mut effects);
        self.dispatch(now, &mut effects);
        effects
    }

    /// Reopens ended requests for this unfinished job.
    pub(super) fn reopen_requests(
        &mut self,
        now: Millis,
        job: JobId,
        ended: Vec<RequestRecord>,
        effects: &mut Vec<Effect>,
    ) {
        for mut request in ended {
            request.job = job;
            request.state = RequestState::Open;
            request.fulfilled_at = None;
            request.updated_at = now;
            if let Some(live) = self.jobs.get(&job) {
                let spec = live.record.spec.clone();
                effects.push(Effect::Save(Change::Request(request.clone(), spec)));
                self.subscribe(job, request);
            }
        }
        if self.jobs.get(&job).is_some_and(|live| live.record.state == JobState::Queued) {
            self.enqueue(job);
        }
    }

    fn create_job(
        &mut self,
        now: Millis,
        key: Sha256Digest,
        new: &NewRequest,
        effects: &mut Vec<Effect>,
    ) -> JobId {
        let id = JobId(self.ids.draw());
        let (program, stdin) = ((new.program, new.program_blob), (new.stdin, new.stdin_blob));
        let record = JobRecord::queued(id, key, new.spec.clone(), program, stdin, now);
        effects.push(Effect::Save(Change::Job(record.clone())));
        self.jobs.insert(id, Box::new(LiveJob::new(record)));
        self.by_key.insert(key, id);
        id
    }
}

fn open_request(now: Millis, new: &NewRequest, job: JobId) -> RequestRecord {
    RequestRecord {
        id: new.id,
        job,
        requester: new.requester,
        network_mode: new.network_mode,
        strategy: new.strategy,
        version: new.version.clone(),
        stdin_uri: new.stdin_uri.clone(),
        stdin_private: new.stdin_private,
        deadline: new.deadline,
        min_auction_period: new.min_auction_period,
        whitelist: new.whitelist.clone(),
        state: RequestState::Open,
        created_at: now,
        updated_at: now,
        fulfilled_at: None,
    }
}
