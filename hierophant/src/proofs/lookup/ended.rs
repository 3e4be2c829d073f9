//! What the store knows about jobs and requests that are not open, for operators' commands.

use hierophant_model::commands::{Command, CommandError, CommandOutcome};
use hierophant_model::records::{JobRecord, JobState, Millis, RequestState};
use hierophant_store::StoreError;
use network_lib::ids::JobId;
use network_lib::job::FailureClass;

use super::{AsOf, EndedJob, Lookups, log_unread};

impl Lookups {
    /// Answer about a job or request that is not open. Cancelling is idempotent.
    pub(in crate::proofs) async fn ended_before(
        &self,
        command: &Command,
    ) -> Result<CommandOutcome, CommandError> {
        match command {
            Command::CancelRequest(id) => {
                let found = self.store.request(*id).await.map_err(unread)?;
                let state = found.ok_or_else(|| missing("request"))?.request.state;
                if state == RequestState::Cancelled {
                    return Ok(CommandOutcome::unchanged("the request is already cancelled"));
                }
                Err(CommandError::Conflict(format!("the request is {state}")))
            }
            Command::CancelJob(id) => match self.ended(*id).await?.state {
                JobState::Cancelled => {
                    Ok(CommandOutcome::unchanged("the job is already cancelled"))
                }
                state => Err(CommandError::Conflict(format!("the job is {state}"))),
            },
            Command::Prioritise(id, _) => {
                let state = self.ended(*id).await?.state;
                Err(CommandError::Conflict(format!(
                    "the job is {state}: expected a job that has not ended"
                )))
            }
            // These never concern ended jobs.
            Command::Requeue(_) | Command::Pause(_) | Command::Resume => Err(missing("job")),
        }
    }

    async fn ended(&self, id: JobId) -> Result<JobRecord, CommandError> {
        self.store.job(id).await.map_err(unread)?.ok_or_else(|| missing("job"))
    }

    /// Failed job that can be created again with its requests, or the reason why it cannot.
    pub(in crate::proofs) async fn recreatable(
        &self,
        id: JobId,
    ) -> Result<AsOf<EndedJob>, CommandError> {
        let (number, now) = (self.stored.latest(), Millis::now());
        let job = self.ended(id).await?;
        let state = job.state;
        let by_others = job.failure.as_ref().is_some_and(|failure| {
            matches!(failure.class, FailureClass::Worker | FailureClass::Infrastructure)
        });
        if state != JobState::Failed || !by_others {
            let why = job.failure.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
            return Err(CommandError::Conflict(format!(
                "the job is {state}{why}: expected a job that has not ended, or that failed by \
                 the network's fault"
            )));
        }
        let mut requests = self.store.requests_of(id, u32::MAX).await.map_err(unread)?;
        requests.retain(|request| {
            request.state == RequestState::Failed && Millis::from_seconds(request.deadline) > now
        });
        if requests.is_empty() {
            return Err(CommandError::Conflict(
                "the job is failed, and all its requests are past their deadline or cancelled"
                    .into(),
            ));
        }
        for artifact in [job.program, job.stdin] {
            let record = self.store.artifact(artifact).await.map_err(unread)?;
            let promised = record.is_some_and(|record| record.expired_at.is_none());
            // Data that is missing nevertheless is detected when it is fetched.
            if !promised {
                return Err(CommandError::Conflict(
                    "the job is failed, and its program or input has expired; its client must \
                     submit the request again"
                        .into(),
                ));
            }
        }
        Ok(AsOf { number, found: EndedJob { job, requests, newer: None } })
    }
}

fn missing(what: &str) -> CommandError {
    CommandError::NotFound(format!("no such {what}"))
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unread(error: StoreError) -> CommandError {
    log_unread(&error);
    CommandError::Unavailable
}
