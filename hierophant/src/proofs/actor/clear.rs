//! Clearing of the queue, in batches.

use hierophant_model::records::Millis;
use hierophant_scheduler::proofs::core::Effect;
use ractor::ActorRef;

use super::effect_queue::Answer;
use super::{ProofsState, answer_on};
use crate::ask::tell;
use crate::proofs::message::{Clearing, ProofsMsg};

impl ProofsState {
    /// Cancels the next batch. The rest follows in a message of its own when the batch is stored, so that other
    /// messages are handled in between.
    pub(super) fn clear(
        &mut self,
        myself: &ActorRef<ProofsMsg>,
        now: Millis,
        mut clearing: Clearing,
    ) -> (Vec<Effect>, Option<Answer>) {
        let (cleared, effects) = self.core.clear(now, &mut clearing.left, clearing.requester);
        clearing.cleared.jobs.extend(cleared.jobs);
        clearing.cleared.requests += cleared.requests;
        if clearing.left.is_empty() {
            return (effects, answer_on(clearing.port, clearing.cleared));
        }
        let myself = myself.clone();
        let next = move || tell(&myself, ProofsMsg::ContinueClear(Box::new(clearing)));
        (effects, Some(Box::new(next)))
    }
}
