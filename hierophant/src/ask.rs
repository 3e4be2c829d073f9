//! Asking an actor a question, always with a time limit.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

/// Longest wait for an actor's answer. Actors answer in milliseconds; a longer silence means that the
/// store behind them hangs, and the caller should tell its own client to try again.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The actor is gone, hangs, or gave up on the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor did not answer")]
pub struct Unanswered;

/// Asks and waits for the answer.
///
/// # Errors
///
/// [`Unanswered`] when no answer comes within the time limit.
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

/// Asks, and waits that long for an answer that takes its time.
///
/// # Errors
///
/// [`Unanswered`] when no answer comes within the limit.
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

/// States a fact. A gone actor is not an error here: its supervisor acts on that.
pub fn tell<M: Message>(actor: &ActorRef<M>, fact: M) {
    if actor.cast(fact).is_err() {
        tracing::debug!("a message to a stopped actor was dropped");
    }
}

/// Gives an answer. Nobody waiting for it (any more) is no error.
pub fn reply<T: Send + 'static>(port: RpcReplyPort<T>, answer: T) {
    if port.send(answer).is_err() {
        tracing::debug!("an answer came too late for its asker");
    }
}
