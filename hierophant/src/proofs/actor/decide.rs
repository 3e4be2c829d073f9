//! Decisions that need a look-up of the store: the caller has made it, and the actor checks that it lacks no decision.

use hierophant_model::commands::CommandOutcome;
use hierophant_model::records::{
    Accepted, Change, Millis, RequestRecord, idempotency_key, job_key,
};
use hierophant_scheduler::proofs::core::{Effect, StoreLookup};
use hierophant_scheduler::proofs::{NewRequest, SubmitError};
use ractor::RpcReplyPort;

use super::effect_queue::Answer;
use super::{ProofsState, answer_on};
use crate::ask::reply;
use crate::proofs::lookup::{AsOf, EndedJob, Outdated};

/// Effects of a decision, and its answer.
type Decided = (Vec<Effect>, Option<Answer>);

impl ProofsState {
    /// Decides a submission. A look-up that lacks a decision about the same call may overlook its first copy; one that
    /// lacks the end of a job with the same content, its proof. While such a job goes on, the core knows it.
    pub(super) fn submit(
        &mut self,
        now: Millis,
        new: NewRequest,
        known: AsOf<StoreLookup>,
        port: RpcReplyPort<Result<Result<Accepted, SubmitError>, Outdated>>,
    ) -> Decided {
        let call = idempotency_key(new.requester, &new.spec, &new.stdin_uri, new.deadline);
        let key = job_key(&new.spec, &new.stdin_blob, new.stated_digest);
        let is_current = self.queue.is_part_of(call, known.number)
            && (self.core.is_working_on(key) || self.queue.is_part_of(key, known.number));
        if !is_current {
            return (Vec::new(), answer_on(port, Err(Outdated)));
        }
        let (requester, repeated) = (new.requester, known.found.earlier.is_some());
        let client = self.clients.of(requester, new.client.as_ref());
        let (answer, effects) = self.core.submit(now, new, known.found);
        let client = self.clients.label(&client);
        if let Err(SubmitError::OverQuota(over)) = &answer {
            tracing::info!(%requester, client, quota = over.key(), "request over quota");
            self.metrics.over_quota(client, *over);
        }
        let counted = answer.is_ok() && !repeated;
        let (metrics, client) = (self.metrics.clone(), client.map(str::to_owned));
        let answer = move || {
            // Only now is the request stored.
            if counted {
                metrics.client_asked(client.as_deref());
            }
            reply(port, Ok(answer));
        };
        (effects, Some(Box::new(answer)))
    }

    /// Queues a proved job again whose proof is missing, for the requests that still need it. If the same content was
    /// proved again meanwhile, they get that proof.
    pub(super) fn reopen(
        &mut self,
        now: Millis,
        ended: AsOf<EndedJob>,
        port: RpcReplyPort<Result<(), Outdated>>,
    ) -> Decided {
        let EndedJob { job, requests, newer } = ended.found;
        if !self.queue.is_part_of(job.key, ended.number) {
            return (Vec::new(), answer_on(port, Err(Outdated)));
        }
        if let Some(newer) = newer {
            tracing::error!(job_id = %job.id, newer = %newer.id,
                "finished proof missing; replaced by a newer one");
            let moved = requests.into_iter().map(|request| {
                let moved = RequestRecord { job: newer.id, updated_at: now, ..request };
                Effect::Save(Change::Request(moved, newer.spec.clone()))
            });
            return (moved.collect(), answer_on(port, Ok(())));
        }
        tracing::error!(job_id = %job.id, "finished proof missing; job queued again");
        (self.core.reopen(now, job, requests), answer_on(port, Ok(())))
    }

    /// Creates a failed job again.
    pub(super) fn recreate(
        &mut self,
        now: Millis,
        ended: AsOf<EndedJob>,
        port: RpcReplyPort<Result<CommandOutcome, Outdated>>,
    ) -> Decided {
        let EndedJob { job, requests, newer: _ } = ended.found;
        if !self.queue.is_part_of(job.key, ended.number) {
            return (Vec::new(), answer_on(port, Err(Outdated)));
        }
        let (outcome, effects) = self.core.recreate(now, job, requests);
        (effects, answer_on(port, Ok(outcome)))
    }
}
