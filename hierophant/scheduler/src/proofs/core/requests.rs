//! Submission and cancellation by clients.

use std::collections::BTreeSet;

use hierophant_model::clients::{Client, OverQuota, Quota, has_room};
use hierophant_model::records::{
    Accepted, Change, JobRecord, JobState, Millis, RequestRecord, RequestState, job_key,
};
use network_lib::ids::{JobId, RequestId, Sha256Digest, WorkerId};

use super::{Effect, LiveJob, MAX_EFFECTS, ProofsCore};
use crate::proofs::need::Wanted;
use crate::proofs::{CancelError, NewRequest, SubmitError};

/// Stored data about a submission.
#[derive(Debug, Default)]
pub struct StoreLookup {
    /// Result of an earlier attempt at the same call.
    pub earlier: Option<Accepted>,
    /// Ended job with the same content that answers this request too: a proved one whose proof is stored, or one
    /// that was set aside recently.
    pub ended: Option<JobRecord>,
    /// Workers on which the ended job failed, if it was set aside.
    pub failed_on: BTreeSet<WorkerId>,
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
        let client = self.limits.clients.of(new.requester, new.client.as_ref());
        let quota = self.limits.clients.quota(&client);
        if let Err(over) =
            self.check_rate_quota(now, &client, quota).and(known.over.map_or(Ok(()), Err))
        {
            return (Err(SubmitError::OverQuota(over)), Vec::new());
        }
        // Requests that are answered at once are never open, but cost the database as much.
        let max = quota.open_requests;
        let answered = self.answered.count(&client, now);
        if !has_room(self.open.count(&client) + answered, max) {
            return (Err(SubmitError::OverQuota(OverQuota::OpenRequests(max))), Vec::new());
        }
        let mut effects = vec![Effect::Save(Change::CountNonce(new.requester))];
        let key = job_key(&new.spec, &new.stdin_blob, new.stated_digest);
        let running = self.by_key.get(&key).copied();
        let ended = known.ended.filter(|ended| {
            ended.state == JobState::Proved
                || !self.has_joined_since(ended, &known.failed_on, new.stdin_private)
        });
        if let (None, Some(ended)) = (running, ended) {
            let mut request = open_request(now, &new, ended.id);
            if ended.state == JobState::Proved {
                request.state = RequestState::Fulfilled;
                request.fulfilled_at = Some(now);
            } else {
                request.state = RequestState::Failed;
            }
            effects.push(Effect::Save(Change::Request(request, new.spec)));
            if max != 0 {
                self.answered.record(client.clone(), now);
            }
            self.count_accepted(now, client);
            return (Ok(Accepted { request: new.id, job: ended.id }), effects);
        }
        let job = match running {
            Some(job) => job,
            None if self.queue.len() >= self.places_for(&client) => {
                return (Err(SubmitError::Busy { waiting: self.queue.len() }), Vec::new());
            }
            None => self.create_job(now, key, &new, &mut effects),
        };
        let request = open_request(now, &new, job);
        effects.push(Effect::Save(Change::Request(request.clone(), new.spec)));
        self.count_accepted(now, client);
        self.subscribe(job, request);
        if self.jobs.get(&job).is_some_and(|live| live.record.state == JobState::Queued) {
            self.enqueue(job);
        }
        self.dispatch(now, &mut effects);
        (Ok(Accepted { request: new.id, job }), effects)
    }

    /// Number of waiting jobs up to which another one of this client is accepted. The last quarter of the queue is
    /// for configured clients, if there are any, and the last tenth of each part for addresses with little in it: a
    /// few addresses cannot fill the queue for all.
    fn places_for(&self, client: &Client) -> usize {
        let (max, clients) = (self.limits.max_waiting, &self.limits.clients);
        let is_stranger = clients.any() && clients.label(client).is_none();
        let places = if is_stranger { max - max / 4 } else { max };
        let little = u64::try_from(max / 20).unwrap_or(u64::MAX);
        let has_much = little > 0 && self.open.count(client) >= little;
        if has_much { places - places / 10 } else { places }
    }

    fn check_rate_quota(
        &mut self,
        now: Millis,
        client: &Client,
        quota: Quota,
    ) -> Result<(), OverQuota> {
        let max = quota.requests_per_minute;
        if max != 0 && !has_room(self.recent.count(client, now), max) {
            return Err(OverQuota::RequestsPerMinute(max));
        }
        let max = self.limits.clients.strangers_requests();
        if max != 0
            && self.limits.clients.label(client).is_none()
            && !has_room(self.strangers.count(now), max)
        {
            return Err(OverQuota::StrangersRequests(max));
        }
        Ok(())
    }

    /// Counts an accepted request towards the rate quotas.
    pub(super) fn count_accepted(&mut self, at: Millis, client: Client) {
        let clients = &self.limits.clients;
        if clients.strangers_requests() != 0 && clients.label(&client).is_none() {
            self.strangers.record(at);
        }
        if self.limits.clients.quota(&client).requests_per_minute != 0 {
            self.recent.record(client, at);
        }
    }

    /// Whether a worker has joined since a job was set aside on which it did not fail, and that may get the input: the job
    /// deserves another try.
    fn has_joined_since(
        &self,
        ended: &JobRecord,
        failed_on: &BTreeSet<WorkerId>,
        private: bool,
    ) -> bool {
        let wanted = Wanted { spec: &ended.spec, private };
        self.workers.iter().any(|(id, worker)| {
            !failed_on.contains(id)
                && Some(worker.joined_at) > ended.finished_at
                && worker.takes_jobs()
                && worker.fits(wanted)
        })
    }

    /// Client to which a request belongs.
    pub(super) fn client_of(&self, request: &RequestRecord) -> Client {
        self.limits.clients.of(request.requester, request.client.as_ref())
    }

    /// Cancels an open request, and its job if it was the last request.
    ///
    /// # Errors
    ///
    /// [`CancelError::NotFound`] for a request that is not open, or another client's.
    pub fn cancel(
        &mut self,
        now: Millis,
        id: RequestId,
        by: &Client,
    ) -> (Result<(), CancelError>, Vec<Effect>) {
        let live = self.open.job(id).and_then(|job| self.jobs.get(&job));
        let request = live.and_then(|live| live.requests.get(&id));
        if request.is_none_or(|request| self.client_of(request) != *by) {
            return (Err(CancelError::NotFound), Vec::new());
        }
        let mut effects = Vec::new();
        self.end_request(now, id, RequestState::Cancelled, &mut effects);
        self.dispatch(now, &mut effects);
        (Ok(()), effects)
    }

    /// Reopens a job whose finished proof is missing, with its fulfilled requests. Has no effect on a job that is
    /// already open again, for instance because another client has requested it.
    ///
    /// This and the next sweeps save some hundred requests each. A start in between goes on, because the store has
    /// fulfilled requests of a job without a proof ([`RestoredState`](super::RestoredState)).
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
            request.reopen(now);
            if self.jobs.contains_key(&job) {
                self.reopened.push_back(request.id);
                self.subscribe(job, request);
            }
        }
        self.save_reopened(effects);
        if self.jobs.get(&job).is_some_and(|live| live.record.state == JobState::Queued) {
            self.enqueue(job);
        }
    }

    /// Saves reopened requests, as many as one event takes.
    pub(super) fn save_reopened(&mut self, effects: &mut Vec<Effect>) {
        while effects.len() < MAX_EFFECTS
            && let Some(id) = self.reopened.pop_front()
        {
            // One that has ended since was saved then.
            let Some(live) = self.open.job(id).and_then(|job| self.jobs.get(&job)) else {
                continue;
            };
            if let Some(request) = live.requests.get(&id) {
                let spec = live.record.spec.clone();
                effects.push(Effect::Save(Change::Request(request.clone(), spec)));
            }
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
        let mut live = LiveJob::new(record);
        live.program_confirmed = new.program_confirmed;
        self.jobs.insert(id, Box::new(live));
        self.by_key.insert(key, id);
        id
    }
}

fn open_request(now: Millis, new: &NewRequest, job: JobId) -> RequestRecord {
    RequestRecord {
        id: new.id,
        job,
        requester: new.requester,
        client: new.client.clone(),
        token: new.token,
        stated_digest: new.stated_digest,
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
