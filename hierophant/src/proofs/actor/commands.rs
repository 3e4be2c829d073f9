//! Operator commands.

use hierophant_model::commands::{Command, CommandError, CommandOutcome};
use hierophant_model::records::{JobRecord, JobState, Millis, RequestRecord, RequestState};
use hierophant_scheduler::proofs::core::{Effect, Rejection};
use hierophant_store::StoreError;
use network_lib::ids::JobId;
use network_lib::job::FailureClass;
use ractor::{ActorProcessingErr, ActorRef};

use super::effect_queue::Answer;
use super::{ProofsState, answer_on, log_unread};
use crate::ask::tell;
use crate::proofs::message::{Clearing, ProofsMsg};

/// Maximum number of jobs cancelled in one transaction when the queue is cleared. It takes a few hundredths of a
/// second, after which other messages are handled.
const MAX_CLEARED_AT_ONCE: usize = 500;

/// Failed job, with the requests for which it is created again.
type FailedJob = (JobRecord, Vec<RequestRecord>);

impl ProofsState {
    /// Decides an operator's command.
    pub(super) async fn command(
        &mut self,
        now: Millis,
        command: Command,
    ) -> Result<(Result<CommandOutcome, CommandError>, Vec<Effect>), ActorProcessingErr> {
        let (answer, effects) = self.core.command(now, &command);
        let refused = match answer {
            Ok(outcome) => return Ok((Ok(outcome), effects)),
            Err(Rejection::Conflict(conflict)) => Err(CommandError::Conflict(conflict)),
            Err(Rejection::NotOpen) => {
                // The store must contain all earlier decisions.
                self.queue.drain().await?;
                if let Command::Requeue(id) = command {
                    match self.recreatable(now, id).await {
                        Ok((job, requests)) => {
                            let (outcome, effects) = self.core.recreate(now, job, requests);
                            return Ok((Ok(outcome), effects));
                        }
                        Err(reason) => Err(reason),
                    }
                } else {
                    self.ended_before(&command).await
                }
            }
        };
        Ok((refused, effects))
    }

    /// Answer about a job or request that is not open. Cancelling is idempotent.
    async fn ended_before(&self, command: &Command) -> Result<CommandOutcome, CommandError> {
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

    /// Failed job that can be created again, or the reason why it cannot.
    async fn recreatable(&self, now: Millis, id: JobId) -> Result<FailedJob, CommandError> {
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
        let mut requests = self.store.requests_of(id).await.map_err(unread)?;
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
        Ok((job, requests))
    }

    /// Cancels the next batch. The rest follows in a message of its own when the batch is stored, so that other
    /// messages are handled in between.
    pub(super) fn clear(
        &mut self,
        myself: &ActorRef<ProofsMsg>,
        now: Millis,
        mut clearing: Clearing,
    ) -> (Vec<Effect>, Option<Answer>) {
        let rest = clearing.left.split_off(clearing.left.len().min(MAX_CLEARED_AT_ONCE));
        let (cleared, effects) = self.core.clear(now, &clearing.left, clearing.requester);
        clearing.cleared.jobs.extend(cleared.jobs);
        clearing.cleared.requests += cleared.requests;
        clearing.left = rest;
        if clearing.left.is_empty() {
            return (effects, answer_on(clearing.port, clearing.cleared));
        }
        let myself = myself.clone();
        let next = move || tell(&myself, ProofsMsg::ContinueClear(Box::new(clearing)));
        (effects, Some(Box::new(next)))
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
