//! What the store knows about a call, before the core decides it.
//!
//! These look-ups are awaited in the actor's only mailbox: while one waits for the database, heartbeats and
//! progress wait too. A submission costs up to four reads, all others at most two.

use std::collections::BTreeSet;

use hierophant_model::clients::{Client, OverQuota, has_room};
use hierophant_model::records::{
    Accepted, JobState, Millis, RequestState, RequestView, idempotency_key, job_key,
};
use hierophant_scheduler::proofs::core::{Effect, StoreLookup};
use hierophant_scheduler::proofs::{CancelError, NewRequest, SubmitError};
use hierophant_store::StoreError;
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::FailureClass;
use ractor::ActorProcessingErr;

use super::{ProofsState, log_unread};

const DAY_MS: i64 = 24 * 3600 * 1000;

impl ProofsState {
    /// Decides a submission. `lost` is a finished proof whose data is missing: the request does not join it.
    pub(super) async fn submit(
        &mut self,
        now: Millis,
        new: NewRequest,
        lost: Option<ArtifactId>,
    ) -> Result<(Result<Accepted, SubmitError>, Vec<Effect>), ActorProcessingErr> {
        let call = idempotency_key(new.requester, &new.spec, &new.stdin_uri, new.deadline);
        let key = job_key(&new.spec, &new.stdin_blob, new.stated_digest);
        let client = self.clients.of(new.requester, new.client.as_ref());
        if self.queue.is_ahead_of_store(call) || self.queue.is_ahead_of_store(key) {
            self.queue.drain().await?;
        }
        let known = match self.known(now, call, key, lost, &client).await {
            Ok(known) => known,
            Err(error) => {
                log_unread(&error);
                return Ok((Err(SubmitError::Unavailable), Vec::new()));
            }
        };
        let (requester, repeated) = (new.requester, known.earlier.is_some());
        let (answer, effects) = self.core.submit(now, new, known);
        let client = self.clients.label(&client);
        match &answer {
            Ok(_) if !repeated => self.metrics.client_asked(client),
            Err(SubmitError::OverQuota(over)) => {
                tracing::info!(%requester, client, quota = over.key(), "request over quota");
                self.metrics.over_quota(client, *over);
            }
            _ => {}
        }
        Ok((answer, effects))
    }

    async fn known(
        &self,
        now: Millis,
        call: Sha256Digest,
        key: Sha256Digest,
        lost: Option<ArtifactId>,
        client: &Client,
    ) -> Result<StoreLookup, StoreError> {
        let since = Millis(now.0.saturating_sub(Millis::from(self.quarantine).0));
        let set_aside = async {
            if self.quarantine.is_zero() {
                Ok(None)
            } else {
                self.store.set_aside(key, since).await
            }
        };
        let (earlier, proved, set_aside) = tokio::try_join!(
            self.store.request_by_idempotency_key(call),
            self.store.proved_job(key),
            set_aside
        )?;
        // Admission has checked the data: here all workers would wait for a slow disk or bucket.
        let proved = proved.filter(|job| job.proof.is_none() || job.proof != lost);
        // A clock that was set back must not make it last longer.
        let set_aside = set_aside.filter(|job| job.finished_at <= Some(now));
        let ended = proved.or(set_aside);
        if earlier.is_some() {
            return Ok(StoreLookup { earlier, ended, ..StoreLookup::default() });
        }
        let over = self.over_cycles(now, client).await?;
        let failed_on = match &ended {
            Some(job) if job.state != JobState::Proved => self.failed_on(job.id).await?,
            _ => BTreeSet::new(),
        };
        Ok(StoreLookup { earlier, ended, failed_on, over })
    }

    /// Workers by whose fault a job failed.
    async fn failed_on(&self, job: JobId) -> Result<BTreeSet<WorkerId>, StoreError> {
        let attempts = self.store.attempts(job).await?.into_iter();
        let failed = attempts.filter(|it| it.failure_class == Some(FailureClass::Worker));
        Ok(failed.map(|attempt| attempt.prover.worker).collect())
    }

    /// Whether a client has exhausted its daily cycles. Cycles of running attempts are not counted, and those of
    /// the last moments may not be stored yet.
    async fn over_cycles(
        &self,
        now: Millis,
        client: &Client,
    ) -> Result<Option<OverQuota>, StoreError> {
        let most = self.clients.quota(client).cycles_per_day;
        if most == 0 {
            return Ok(None);
        }
        let since = Millis(now.0.saturating_sub(DAY_MS));
        let executed =
            self.store.cycles_executed(&self.clients.records(client), since, now).await?;
        Ok((!has_room(executed, most)).then_some(OverQuota::CyclesPerDay(most)))
    }

    /// Queues the job of a finished `proof` again whose data is missing, for the requests that still need it.
    /// Returns whether the job is queued, or nothing if the store could not be read: then the caller must retry.
    pub(super) async fn reopen(
        &mut self,
        now: Millis,
        request: RequestId,
        proof: ArtifactId,
    ) -> Result<Option<(bool, Vec<Effect>)>, ActorProcessingErr> {
        self.queue.drain().await?;
        let (job, mut requests) = match self.store.job_of(request).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Some((false, Vec::new()))),
            Err(error) => {
                log_unread(&error);
                return Ok(None);
            }
        };
        requests.retain(|request| {
            request.state == RequestState::Fulfilled && Millis::from_seconds(request.deadline) > now
        });
        // The job may be queued again already, or finished a second time.
        let current = job.state == JobState::Proved && job.proof == Some(proof);
        if !current || !requests.iter().any(|waiting| waiting.id == request) {
            return Ok(Some((false, Vec::new())));
        }
        tracing::error!(job_id = %job.id, "finished proof missing; job queued again");
        Ok(Some((true, self.core.reopen(now, job, requests))))
    }

    /// Decides a cancellation.
    pub(super) async fn cancel(
        &mut self,
        now: Millis,
        id: RequestId,
        by: &Client,
    ) -> Result<(Result<(), CancelError>, Vec<Effect>), ActorProcessingErr> {
        let (answer, effects) = self.core.cancel(now, id, by);
        if answer != Err(CancelError::NotFound) {
            return Ok((answer, effects));
        }
        self.queue.drain().await?;
        Ok((self.cancelled_before(id, by).await, effects))
    }

    /// The answer for a request that is not open. Cancelling is idempotent; a request that ended otherwise cannot be
    /// cancelled.
    async fn cancelled_before(&self, id: RequestId, by: &Client) -> Result<(), CancelError> {
        let view = self.store.request(id).await.map_err(|error| {
            log_unread(&error);
            CancelError::Unavailable
        })?;
        let Some(RequestView { request, .. }) = view else { return Err(CancelError::NotFound) };
        match request.state {
            _ if self.clients.of(request.requester, request.client.as_ref()) != *by => {
                Err(CancelError::NotFound)
            }
            RequestState::Cancelled => Ok(()),
            ended => Err(CancelError::AlreadyEnded(ended)),
        }
    }
}
