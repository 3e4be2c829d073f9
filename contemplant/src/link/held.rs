//! The attempts that a Contemplant holds, and what it still has to say about them.
//!
//! A message that was written to a socket may be lost with it. So the end of an attempt is kept until
//! Hierophant has answered a ping that was sent after it; if the connection breaks before, it is told
//! again to the next one, provided that Hierophant still wants it.

use std::collections::BTreeMap;

use network_lib::ids::LeaseId;
use network_lib::wire::FromWorker;
use tokio_util::sync::CancellationToken;

/// Attempts by lease.
#[derive(Debug, Default)]
pub(super) struct HeldAttempts {
    attempts: BTreeMap<LeaseId, Held>,
}

#[derive(Debug)]
enum Held {
    /// Being worked on.
    Running(CancellationToken),
    /// Not wanted any more, but the machine is still busy with it.
    WindingDown,
    /// Over; `message` says how. It has been sent before the ping with the number `sent_before`.
    Over { message: Box<FromWorker>, sent_before: Option<u64> },
}

impl HeldAttempts {
    /// Takes a new attempt in. Returns what stops it, or nothing if it is held already.
    pub(super) fn start(&mut self, lease_id: LeaseId) -> Option<CancellationToken> {
        if self.attempts.contains_key(&lease_id) {
            return None;
        }
        let token = CancellationToken::new();
        self.attempts.insert(lease_id, Held::Running(token.clone()));
        Some(token)
    }

    /// Notes how an attempt ended, or that one was never begun. Returns whether the message will be
    /// sent: not for one that nobody waits for.
    pub(super) fn over(&mut self, lease_id: LeaseId, message: Option<FromWorker>) -> bool {
        let previous = self.attempts.remove(&lease_id);
        let Some(message) = message else { return false };
        if matches!(previous, Some(Held::WindingDown)) {
            return false;
        }
        let message = Box::new(message);
        self.attempts.insert(lease_id, Held::Over { message, sent_before: None });
        true
    }

    /// Stops an attempt whose result is not wanted. Returns whether there was one.
    pub(super) fn cancel(&mut self, lease_id: LeaseId) -> bool {
        match self.attempts.get_mut(&lease_id) {
            None => return false,
            Some(Held::Over { .. }) => {
                self.attempts.remove(&lease_id);
            }
            Some(held) => {
                if let Held::Running(token) = held {
                    token.cancel();
                }
                *held = Held::WindingDown;
            }
        }
        true
    }

    /// Stops everything and returns the leases of those that were being worked on.
    pub(super) fn cancel_all(&mut self) -> Vec<LeaseId> {
        let running = |held: &Held| matches!(held, Held::Running(_));
        let leases: Vec<LeaseId> =
            self.attempts.iter().filter(|(_, held)| running(held)).map(|(id, _)| *id).collect();
        for lease_id in &leases {
            self.cancel(*lease_id);
        }
        leases
    }

    /// A new connection wants only these to go on; what was sent over the old one is sent again.
    pub(super) fn resume(&mut self, wanted: &[LeaseId]) {
        let unwanted: Vec<LeaseId> =
            self.attempts.keys().filter(|id| !wanted.contains(id)).copied().collect();
        for lease_id in unwanted {
            self.cancel(lease_id);
        }
        for held in self.attempts.values_mut() {
            if let Held::Over { sent_before, .. } = held {
                *sent_before = None;
            }
        }
    }

    /// The next message to send; it counts as sent before the ping with the number `ping`.
    pub(super) fn next_message(&mut self, ping: u64) -> Option<FromWorker> {
        self.attempts.values_mut().find_map(|held| match held {
            Held::Over { message, sent_before: sent_before @ None } => {
                *sent_before = Some(ping);
                Some(FromWorker::clone(message))
            }
            _ => None,
        })
    }

    /// Hierophant has answered this ping, so it has read everything that was sent before.
    pub(super) fn answered(&mut self, ping: u64) {
        self.attempts.retain(|_, held| {
            !matches!(held, Held::Over { sent_before: Some(number), .. } if *number <= ping)
        });
    }

    /// Hierophant has stored the end of this attempt.
    pub(super) fn settled(&mut self, lease_id: LeaseId) {
        if matches!(self.attempts.get(&lease_id), Some(Held::Over { .. })) {
            self.attempts.remove(&lease_id);
        }
    }

    /// For a handshake: what could go on or be told.
    pub(super) fn resumable(&self) -> Vec<LeaseId> {
        self.leases(|held| !matches!(held, Held::WindingDown))
    }

    /// For a heartbeat: what keeps the machine busy, and ends that were not told yet.
    pub(super) fn working_on(&self) -> Vec<LeaseId> {
        self.leases(|held| !matches!(held, Held::Over { sent_before: Some(_), .. }))
    }

    /// How many are being worked on and wanted.
    pub(super) fn running(&self) -> usize {
        self.attempts.values().filter(|held| matches!(held, Held::Running(_))).count()
    }

    /// Whether an attempt is being worked on and wanted.
    pub(super) fn is_running(&self, lease_id: LeaseId) -> bool {
        matches!(self.attempts.get(&lease_id), Some(Held::Running(_)))
    }

    /// Whether the machine is busy with any attempt.
    pub(super) fn is_busy(&self) -> bool {
        self.attempts.values().any(|held| !matches!(held, Held::Over { .. }))
    }

    /// Whether nothing is left to do or to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    fn leases(&self, wanted: impl Fn(&Held) -> bool) -> Vec<LeaseId> {
        self.attempts.iter().filter(|(_, held)| wanted(held)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use network_lib::job::{Failure, FailureClass};

    use super::*;

    fn failed(lease_id: LeaseId) -> FromWorker {
        let failure = Failure { class: FailureClass::Guest, cause: None, message: "no".to_owned() };
        FromWorker::Failed { lease_id, failure }
    }

    #[test]
    fn an_end_is_kept_until_a_later_ping_is_answered() {
        let mut held = HeldAttempts::default();
        let lease = LeaseId::random();
        held.start(lease).unwrap();
        assert!(held.over(lease, Some(failed(lease))));
        assert_eq!(held.next_message(5), Some(failed(lease)));
        assert_eq!(held.next_message(6), None);
        held.answered(4);
        assert_eq!(held.resumable(), [lease]);
        assert_eq!(held.working_on(), []);
        held.answered(5);
        assert!(held.is_empty());
    }

    #[test]
    fn a_new_connection_gets_again_what_it_wants_and_the_rest_stops() {
        let mut held = HeldAttempts::default();
        let [told, unwanted, running] = [(); 3].map(|()| LeaseId::random());
        for lease in [told, unwanted, running] {
            held.start(lease).unwrap();
        }
        let token = CancellationToken::new();
        held.attempts.insert(unwanted, Held::Running(token.clone()));
        held.over(told, Some(failed(told)));
        held.next_message(1);

        held.resume(&[told, running]);
        assert_eq!(held.next_message(2), Some(failed(told)));
        assert!(token.is_cancelled());
        assert!(held.is_running(running));
        // The unwanted one still keeps the machine busy, and says nothing when it ends.
        assert!(held.working_on().contains(&unwanted));
        assert!(!held.resumable().contains(&unwanted));
        assert!(!held.over(unwanted, Some(failed(unwanted))));
        assert!(!held.working_on().contains(&unwanted));
    }

    #[test]
    fn a_cancelled_attempt_is_stopped_and_silent() {
        let mut held = HeldAttempts::default();
        let lease = LeaseId::random();
        let token = held.start(lease).unwrap();
        assert!(held.start(lease).is_none(), "the same lease twice");
        assert!(held.cancel(lease));
        assert!(token.is_cancelled() && held.is_busy());
        assert_eq!(held.running(), 0);
        assert!(!held.over(lease, Some(failed(lease))));
        assert!(held.is_empty());
        assert!(!held.cancel(lease));
    }
}
