//! Calls of actors, always with a timeout.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

/// Default timeout of a call. Actors answer in milliseconds; a longer silence means that the store behind them
/// hangs, and that the caller should ask its own client to retry.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Error of a call: the actor has stopped, hangs, or has dropped the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor did not answer")]
pub struct Unanswered;

/// Calls an actor and waits for the answer.
///
/// # Errors
///
/// [`Unanswered`] when no answer arrives in time.
pub async fn ask<M, T>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M + Send,
) -> Result<T, Unanswered>
where
    M: Message,
    T: Send + 'static,
{
    ask_for(ANSWER_LIMIT, actor, question).await
}

/// Calls an actor with a timeout of its own.
///
/// # Errors
///
/// [`Unanswered`] when no answer arrives in time.
pub async fn ask_for<M, T>(
    limit: Duration,
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M + Send,
) -> Result<T, Unanswered>
where
    M: Message,
    T: Send + 'static,
{
    match actor.call(question, Some(limit)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(Unanswered),
    }
}

/// Sends a message without an answer. A stopped actor is not an error here: its supervisor handles that.
pub fn tell<M: Message>(actor: &ActorRef<M>, fact: M) {
    if actor.cast(fact).is_err() {
        tracing::debug!("message to a stopped actor dropped");
    }
}

/// Sends an answer. A caller that no longer waits for it is not an error.
pub fn reply<T: Send + 'static>(port: RpcReplyPort<T>, answer: T) {
    if port.send(answer).is_err() {
        tracing::debug!("late answer dropped");
    }
}
