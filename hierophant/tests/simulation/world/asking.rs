//! What clients do.

use hierophant_model::clients::Client;
use hierophant_model::records::{Accepted, Millis, idempotency_key, job_key};
use hierophant_scheduler::proofs::core::StoreLookup;
use network_lib::ids::RequestId;
use rand::Rng;

use super::{Event, MINUTE, QUARANTINE, SECOND, World};

impl World {
    pub(super) fn ask(&mut self, n: usize) {
        if self.stalled {
            // Unanswered; repeated, it would wait for the first one.
            return self.at(SECOND, Event::Ask(n));
        }
        let id = RequestId(self.rng.random());
        let new = self.clients[n].call(self.now, n, id);
        let key = job_key(&new.spec, &new.stdin_blob, new.stated_digest);
        let call = idempotency_key(new.requester, &new.spec, &new.stdin_uri, new.deadline);
        let earlier = self.memory.calls.get(&call).copied();
        let ended = self.memory.ended(key, Millis(self.now.0 - QUARANTINE));
        let known = StoreLookup { earlier, ended, ..StoreLookup::default() };
        let answer = self.decide(|proofs, now| proofs.submit(now, new, known));
        // Even an answer that was given may get lost on its way; the client repeats its call then.
        let lost = self.storm && self.rng.random_bool(0.1);
        match answer {
            Some(Ok(Accepted { request: id, .. })) if !lost => {
                let stored = self.memory.requests.contains_key(&id);
                assert!(stored, "a request was accepted and is not stored");
                self.clients[n].accepted = Some(id);
                self.soon(Event::Poll(n));
                if self.clients[n].cancels {
                    let delay = self.rng.random_range(SECOND..10 * MINUTE);
                    self.at(delay, Event::Withdraw(n));
                }
            }
            _ => {
                let delay = self.rng.random_range(SECOND..30 * SECOND);
                self.at(delay, Event::Ask(n));
            }
        }
    }

    pub(super) fn poll(&mut self, n: usize) {
        if let (Some(id), true) = (self.clients[n].accepted, self.hierophant.is_some()) {
            let state = self.memory.requests[&id].state;
            self.clients[n].look(state);
            if state.is_terminal() {
                return;
            }
        }
        self.at(2 * SECOND, Event::Poll(n));
    }

    pub(super) fn withdraw(&mut self, n: usize) {
        let Some(id) = self.clients[n].accepted else { return };
        if self.stalled {
            return self.at(SECOND, Event::Withdraw(n));
        }
        let by = Client::Address(self.clients[n].requester);
        if self.decide(|proofs, now| proofs.cancel(now, id, &by)).is_none() {
            self.at(SECOND, Event::Withdraw(n));
        }
    }
}
