//! What the store knows about a call, read before the actor decides it.
//!
//! Look-ups run in the caller's task, so that the actor never waits for a read. A decision that was made after the
//! reading began may be missing from it. The actor detects this by the decisions' numbers and answers [`Outdated`],
//! by which time the missing decision is stored and the caller looks again.

mod cycles;
mod ended;

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hierophant_model::clients::{Client, Clients, OverQuota, has_room};
use hierophant_model::records::{
    JobRecord, JobState, Millis, RequestRecord, RequestState, RequestView, idempotency_key, job_key,
};
use hierophant_model::text::error_chain;
use hierophant_scheduler::proofs::core::StoreLookup;
use hierophant_scheduler::proofs::{CancelError, NewRequest};
use hierophant_store::{JobStore, StoreError, Submission};
use network_lib::ids::{ArtifactId, JobId, RequestId, WorkerId};
use network_lib::job::FailureClass;

use cycles::DailyCycles;

use crate::artifacts::blobs::Blobs;
use crate::artifacts::damage;

/// Maximum number of requests that one call moves to a newer job.
const MAX_MOVED: usize = 500;

/// Answer of the actor to a call with a look-up that may lack a decision: it is stored now, look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outdated;

/// Number of the latest decision that is stored. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StoredDecisions(Arc<AtomicU64>);

impl StoredDecisions {
    /// The number. What is read from the store afterwards contains this decision and all before it.
    pub(super) fn latest(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// All decisions up to this one are stored.
    pub(super) fn advance(&self, number: u64) {
        self.0.store(number, Ordering::Release);
    }
}

/// What was read, and the latest decision that it contains for certain.
#[derive(Debug, Clone)]
pub struct AsOf<T> {
    /// Number of the decision.
    pub number: u64,
    /// What was read.
    pub found: T,
}

/// An ended job with those of its requests that a call reopens.
#[derive(Debug, Clone)]
pub struct EndedJob {
    /// Job.
    pub job: JobRecord,
    /// Requests.
    pub requests: Vec<RequestRecord>,
    /// A job with the same content that was proved later, for a request that found the loss of this one's proof first.
    pub newer: Option<JobRecord>,
}

/// Why what a call needs could not be read. It is not lost: a retry may succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// The data of a proof could not be read.
    #[error("artifact data could not be read")]
    Blobs(#[from] io::Error),
}

/// Reads what calls of the actor need.
#[derive(Debug)]
pub(super) struct Lookups {
    store: Arc<dyn JobStore>,
    blobs: Blobs,
    clients: Clients,
    quarantine: Duration,
    stored: StoredDecisions,
    cycles: Arc<DailyCycles>,
}

impl Lookups {
    pub(super) fn new(
        store: Arc<dyn JobStore>,
        blobs: Blobs,
        clients: Clients,
        quarantine: Duration,
        stored: StoredDecisions,
    ) -> Self {
        Self { store, blobs, clients, quarantine, stored, cycles: Arc::default() }
    }

    /// What is known about a submission. It does not join a finished job whose proof's data is missing or damaged:
    /// checked here and not by the actor, because the whole proof is read.
    pub(super) async fn of_submission(
        &self,
        new: &NewRequest,
    ) -> Result<AsOf<StoreLookup>, Unread> {
        let (number, now) = (self.stored.latest(), Millis::now());
        let call = idempotency_key(new.requester, &new.spec, &new.stdin_uri, new.deadline);
        let key = job_key(&new.spec, &new.stdin_blob, new.stated_digest);
        let since = Millis(now.0.saturating_sub(Millis::from(self.quarantine).0));
        let Submission { earlier, proved, set_aside } =
            self.store.submission(call, key, since).await?;
        let set_aside = set_aside.filter(|_| !self.quarantine.is_zero());
        let proved = match proved {
            Some(job) if self.is_proof_lost(&job).await? => None,
            other => other,
        };
        // A clock that was set back must not make it last longer.
        let set_aside = set_aside.filter(|job| job.finished_at <= Some(now));
        let ended = proved.or(set_aside);
        if earlier.is_some() {
            let found = StoreLookup { earlier, ended, ..StoreLookup::default() };
            return Ok(AsOf { number, found });
        }
        let client = self.clients.of(new.requester, new.client.as_ref());
        let over = self.over_cycles(now, &client).await?;
        let failed_on = match &ended {
            Some(job) if job.state != JobState::Proved => self.failed_on(job.id).await?,
            _ => BTreeSet::new(),
        };
        Ok(AsOf { number, found: StoreLookup { earlier, ended, failed_on, over } })
    }

    /// Whether the data of a finished job's proof is missing or damaged.
    async fn is_proof_lost(&self, job: &JobRecord) -> Result<bool, Unread> {
        let Some(proof) = job.proof else { return Ok(false) };
        let Some(record) = self.store.artifact(proof).await? else { return Ok(false) };
        let is_lost = damage::sound(&self.blobs, &record).await?.is_none();
        if is_lost {
            tracing::error!("data of a finished proof missing");
        }
        Ok(is_lost)
    }

    /// Workers by whose fault a job failed.
    async fn failed_on(&self, job: JobId) -> Result<BTreeSet<WorkerId>, StoreError> {
        let attempts = self.store.attempts(job).await?.into_iter();
        let failed = attempts.filter(|it| it.failure_class == Some(FailureClass::Worker));
        Ok(failed.map(|attempt| attempt.prover.worker).collect())
    }

    /// Whether a client has exhausted its daily cycles. Cycles of running attempts are not counted, and those of
    /// the last moments may not be.
    async fn over_cycles(
        &self,
        now: Millis,
        client: &Client,
    ) -> Result<Option<OverQuota>, StoreError> {
        let most = self.clients.quota(client).cycles_per_day;
        if most == 0 {
            return Ok(None);
        }
        let executed = self.cycles.executed(&self.store, &self.clients, client, now).await?;
        Ok((!has_room(executed, most)).then_some(OverQuota::CyclesPerDay(most)))
    }

    /// The job of a finished `proof` whose data is missing, with the requests that still need it; none if `request`
    /// needs no other proof, for instance because the job is queued again already.
    pub(super) async fn of_lost_proof(
        &self,
        request: RequestId,
        proof: ArtifactId,
    ) -> Result<Option<AsOf<EndedJob>>, StoreError> {
        let (number, now) = (self.stored.latest(), Millis::now());
        let Some((job, mut requests)) = self.store.job_of(request).await? else { return Ok(None) };
        requests.retain(|request| {
            request.state == RequestState::Fulfilled && Millis::from_seconds(request.deadline) > now
        });
        let current = job.state == JobState::Proved && job.proof == Some(proof);
        let needed = requests.iter().any(|waiting| waiting.id == request);
        if !current || !needed {
            return Ok(None);
        }
        let newer = self.store.proved_job(job.key).await?;
        let newer = newer.filter(|it| it.proof.is_some() && it.proof != Some(proof));
        if newer.is_some() {
            // The others find it when their clients ask.
            requests.sort_by_key(|waiting| waiting.id != request);
            requests.truncate(MAX_MOVED);
        }
        Ok(Some(AsOf { number, found: EndedJob { job, requests, newer } }))
    }

    /// The answer to a cancellation of a request that has ended; none while it is open. Cancelling is idempotent; a
    /// request that ended otherwise cannot be cancelled.
    pub(super) async fn cancelled_before(
        &self,
        id: RequestId,
        by: &Client,
    ) -> Option<Result<(), CancelError>> {
        let view = match self.store.request(id).await {
            Ok(view) => view,
            Err(error) => {
                log_unread(&error);
                return Some(Err(CancelError::Unavailable));
            }
        };
        let Some(RequestView { request, .. }) = view else {
            return Some(Err(CancelError::NotFound));
        };
        match request.state {
            _ if self.clients.of(request.requester, request.client.as_ref()) != *by => {
                Some(Err(CancelError::NotFound))
            }
            RequestState::Open => None,
            RequestState::Cancelled => Some(Ok(())),
            ended => Some(Err(CancelError::AlreadyEnded(ended))),
        }
    }
}

/// Logs a look-up that failed.
pub(super) fn log_unread(error: &dyn Error) {
    tracing::warn!(error = %error_chain(error), "request look-up failed");
}

#[cfg(test)]
mod tests;
