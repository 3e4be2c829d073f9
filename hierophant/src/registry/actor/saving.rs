//! Settings of operators on their way to the store, one after the other. The actor goes on meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use hierophant_model::commands::{CommandError, CommandOutcome, WorkerCommand};
use hierophant_model::records::{Change, Millis, SettingKind};
use hierophant_model::text::error_chain;
use hierophant_scheduler::registry::core::Decision;
use hierophant_store::StoreError;
use network_lib::ids::WorkerId;
use network_lib::task;
use ractor::RpcReplyPort;

use super::RegistryState;
use crate::ask::{reply, tell};
use crate::registry::message::RegistryMsg;
use crate::session::CloseReason;

/// Port of a command's answer.
type Port = RpcReplyPort<Result<CommandOutcome, CommandError>>;

/// What waits for the store.
#[derive(Debug)]
enum Save {
    /// An operator's command.
    Command(WorkerCommand, Port),
    /// The end of the drain of a worker that has left.
    Cleared(WorkerId),
}

/// What is being stored.
#[derive(Debug)]
enum Saving {
    Command(WorkerCommand, Box<Decision>, Port),
    Cleared,
}

/// Settings on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Saves {
    waiting: VecDeque<Save>,
    current: Option<Saving>,
}

impl RegistryState {
    /// Executes an operator's command: first the store, then the core, then `proofs` and the sessions.
    pub(super) fn command(&mut self, now: Millis, command: WorkerCommand, port: Port) {
        self.saves.waiting.push_back(Save::Command(command, port));
        self.save_next(now);
    }

    /// Ends the drain of a worker that has left, so that it may accept jobs when it reconnects. If it cannot be stored,
    /// the worker is drained again after a restart, as the lists then show.
    pub(super) fn clear_drained(&mut self, now: Millis, worker: WorkerId) {
        if self.core.clear_drained(worker) {
            self.saves.waiting.push_back(Save::Cleared(worker));
            self.save_next(now);
        }
    }

    /// Continues after the store's answer.
    pub(super) fn saved(&mut self, now: Millis, saved: Result<(), StoreError>) {
        if let Err(error) = &saved {
            tracing::error!(error = %error_chain(error), "operator setting not stored");
        }
        if let Some(Saving::Command(command, decision, port)) = self.saves.current.take() {
            match saved {
                Ok(()) => self.apply(now, &command, *decision, port),
                Err(_) => reply(port, Err(CommandError::Unavailable)),
            }
        }
        self.save_next(now);
    }

    /// Decides what waits, up to the next change to store.
    fn save_next(&mut self, now: Millis) {
        while self.saves.current.is_none()
            && let Some(next) = self.saves.waiting.pop_front()
        {
            match next {
                Save::Cleared(worker) => {
                    self.saves.current = Some(Saving::Cleared);
                    self.store(Change::Unset(SettingKind::Drained, worker.to_string()));
                }
                Save::Command(command, port) => match self.core.decide(now, &command) {
                    Err(error) => reply(port, Err(error)),
                    Ok(mut decision) => match decision.save.take() {
                        None => self.apply(now, &command, decision, port),
                        Some(change) => {
                            let saving = Saving::Command(command, Box::new(decision), port);
                            self.saves.current = Some(saving);
                            self.store(change);
                        }
                    },
                },
            }
        }
    }

    fn store(&self, change: Change) {
        let (store, actor) = (Arc::clone(&self.store), self.myself.clone());
        task::spawn("operator setting", async move {
            let saved = store.commit(&[change]).await;
            tell(&actor, RegistryMsg::Saved(saved));
        });
    }

    /// Applies a stored command to the workers that are there now.
    fn apply(&mut self, now: Millis, command: &WorkerCommand, decided: Decision, port: Port) {
        let outcome = decided.outcome.clone();
        // Workers may have left or connected meanwhile.
        let decision = self.core.decide(now, command).unwrap_or(decided);
        if outcome.changed {
            self.core.apply(now, command);
        }
        if let Some((worker, session, drained)) = decision.drained {
            self.proofs.worker_drained(worker, session, drained);
        }
        for (worker, session, reason) in decision.dropped {
            self.close(session, CloseReason::Dropped(reason.clone()));
            self.remove(now, worker, session, &reason);
        }
        reply(port, Ok(outcome));
    }
}
