//! The attempts that a Contemplant holds, and what it still has to say about them.
//!
//! A message that was written to a socket may be lost with it, or with a Hierophant that dies before it
//! has stored what it read. So the end of an attempt is kept until Hierophant says that it is settled;
//! if the connection breaks before, it is told again to the next one, provided that Hierophant still
//! wants it.

use std::collections::BTreeMap;

use network_lib::ids::LeaseId;
use network_lib::wire::FromWorker;
use tokio_util::sync::CancellationToken;

use crate::finished::FinishedProof;

/// Attempts by lease.
#[derive(Debug, Default)]
pub(super) struct HeldAttempts {
    attempts: BTreeMap<LeaseId, Held>,
}

#[derive(Debug)]
enum Held {
    /// Being worked on.
    Running(CancellationToken),
    /// Proved by an earlier process; handed in once Hierophant says that it wants it.
    Finished(Box<FinishedProof>),
    /// Not wanted any more, but the machine is still busy with it.
    WindingDown,
    /// Over, as `message` says, which was `told` over the present connection or not.
    Over { message: Box<FromWorker>, told: bool },
}

/// What a handshake has decided.
#[derive(Debug, Default)]
pub(super) struct Resumption {
    /// To be handed in now; the token stops it.
    pub(super) finished: Vec<(FinishedProof, CancellationToken)>,
    /// Stopped or forgotten.
    pub(super) unwanted: Vec<LeaseId>,
    /// To go on, although they are not held here.
    pub(super) unknown: Vec<LeaseId>,
}

impl HeldAttempts {
    /// What an earlier process has left behind.
    pub(super) fn found(proofs: Vec<FinishedProof>) -> Self {
        let held = |proof: FinishedProof| (proof.lease_id, Held::Finished(Box::new(proof)));
        Self { attempts: proofs.into_iter().map(held).collect() }
    }

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
        self.attempts.insert(lease_id, Held::Over { message, told: false });
        true
    }

    /// Stops or forgets an attempt whose result is not wanted. Returns whether there was one.
    pub(super) fn cancel(&mut self, lease_id: LeaseId) -> bool {
        match self.attempts.get_mut(&lease_id) {
            None => return false,
            Some(Held::Over { .. } | Held::Finished(_)) => {
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

    /// A new connection wants only these to go on; what was told over the old one is told again.
    pub(super) fn resume(&mut self, wanted: &[LeaseId]) -> Resumption {
        let held = self.resumable();
        let unwanted: Vec<LeaseId> = held.into_iter().filter(|id| !wanted.contains(id)).collect();
        for lease_id in &unwanted {
            self.cancel(*lease_id);
        }
        let unknown = wanted.iter().filter(|id| !self.attempts.contains_key(id)).copied().collect();
        let mut finished = Vec::new();
        for held in self.attempts.values_mut() {
            match held {
                Held::Over { told, .. } => *told = false,
                Held::Finished(proof) => {
                    let token = CancellationToken::new();
                    finished.push((FinishedProof::clone(proof), token.clone()));
                    *held = Held::Running(token);
                }
                Held::Running(_) | Held::WindingDown => {}
            }
        }
        Resumption { finished, unwanted, unknown }
    }

    /// The next message to send; it counts as told from here on.
    pub(super) fn next_message(&mut self) -> Option<FromWorker> {
        self.attempts.values_mut().find_map(|held| match held {
            Held::Over { message, told: told @ false } => {
                *told = true;
                Some(FromWorker::clone(message))
            }
            _ => None,
        })
    }

    /// Hierophant has stored the end of this attempt. Returns whether it was waited for.
    pub(super) fn settled(&mut self, lease_id: LeaseId) -> bool {
        let is_over = matches!(self.attempts.get(&lease_id), Some(Held::Over { .. }));
        if is_over {
            self.attempts.remove(&lease_id);
        }
        is_over
    }

    /// For a handshake: everything that could go on, be handed in or be told, and what still keeps the
    /// machine busy.
    pub(super) fn all(&self) -> Vec<LeaseId> {
        self.leases(|_| true)
    }

    /// What a new connection may want to go on with.
    pub(super) fn resumable(&self) -> Vec<LeaseId> {
        self.leases(|held| !matches!(held, Held::WindingDown))
    }

    /// For a heartbeat: what keeps the machine busy, and ends that were not told yet.
    pub(super) fn working_on(&self) -> Vec<LeaseId> {
        self.leases(|held| !matches!(held, Held::Over { told: true, .. }))
    }

    /// What is being worked on and wanted.
    pub(super) fn running(&self) -> Vec<LeaseId> {
        self.leases(|held| matches!(held, Held::Running(_)))
    }

    /// Whether an attempt is being worked on and wanted.
    pub(super) fn is_running(&self, lease_id: LeaseId) -> bool {
        matches!(self.attempts.get(&lease_id), Some(Held::Running(_)))
    }

    /// Whether the machine is busy with any attempt.
    pub(super) fn is_busy(&self) -> bool {
        self.attempts.values().any(|held| matches!(held, Held::Running(_) | Held::WindingDown))
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
    use network_lib::ids::Sha256Digest;
    use network_lib::job::{Execution, Failure, FailureClass};

    use super::*;
    use crate::finished::FinishedProofs;

    fn failed(lease_id: LeaseId) -> FromWorker {
        let failure = Failure::new(FailureClass::Guest, "no");
        FromWorker::Failed { lease_id, failure }
    }

    #[test]
    fn an_end_is_kept_until_it_is_settled() {
        let mut held = HeldAttempts::default();
        let lease = LeaseId::random();
        held.start(lease).unwrap();
        assert!(!held.settled(lease), "settled before its end");
        assert!(held.over(lease, Some(failed(lease))));
        assert_eq!(held.working_on(), [lease]);
        assert_eq!(held.next_message(), Some(failed(lease)));
        assert_eq!(held.next_message(), None);
        assert_eq!(held.resumable(), [lease]);
        assert_eq!(held.working_on(), []);
        assert!(held.settled(lease));
        assert!(held.is_empty());
        assert!(!held.settled(lease));
    }

    #[test]
    fn a_new_connection_gets_again_what_it_wants_and_the_rest_stops() {
        let mut held = HeldAttempts::default();
        let [told, forgotten, unwanted, running, unknown] = [(); 5].map(|()| LeaseId::random());
        for lease in [told, forgotten, running] {
            held.start(lease).unwrap();
        }
        let token = held.start(unwanted).unwrap();
        for lease in [told, forgotten] {
            held.over(lease, Some(failed(lease)));
            held.next_message().unwrap();
        }

        let resumption = held.resume(&[told, running, unknown]);
        assert_eq!(resumption.unwanted.len(), 2);
        assert!([forgotten, unwanted].iter().all(|lease| resumption.unwanted.contains(lease)));
        assert_eq!(resumption.unknown, [unknown]);
        assert_eq!(held.next_message(), Some(failed(told)));
        assert_eq!(held.next_message(), None);
        assert!(token.is_cancelled());
        assert!(held.is_running(running));
        // The unwanted one still keeps the machine busy, and says nothing when it ends.
        assert!(held.working_on().contains(&unwanted));
        assert!(!held.resumable().contains(&unwanted));
        assert!(!held.over(unwanted, Some(failed(unwanted))));
        assert!(!held.working_on().contains(&unwanted));
    }

    #[test]
    fn a_found_proof_runs_once_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let (finished, _) = FinishedProofs::open(folder.path()).unwrap();
        let execution =
            Execution { cycles: 1, gas: None, public_values_hash: Sha256Digest([0; 32]) };
        let [wanted, unwanted] = [(); 2].map(|()| LeaseId::random());
        let proofs = [wanted, unwanted].map(|lease| finished.keep(lease, execution, vec![1]));
        let mut held = HeldAttempts::found(proofs.to_vec());
        assert_eq!(held.resumable().len(), 2);
        assert!(!held.is_busy() && held.running().is_empty());

        let resumption = held.resume(&[wanted]);
        assert_eq!(resumption.unwanted, [unwanted]);
        assert_eq!(resumption.finished.len(), 1);
        assert_eq!(resumption.finished[0].0.lease_id, wanted);
        assert_eq!(held.running(), [wanted]);
        assert!(held.resume(&[wanted]).finished.is_empty(), "it is handed in already");
    }

    #[test]
    fn a_cancelled_attempt_is_stopped_and_silent() {
        let mut held = HeldAttempts::default();
        let lease = LeaseId::random();
        let token = held.start(lease).unwrap();
        assert!(held.start(lease).is_none(), "the same lease twice");
        assert!(held.cancel(lease));
        assert!(token.is_cancelled() && held.is_busy());
        assert!(held.running().is_empty());
        assert!(!held.over(lease, Some(failed(lease))));
        assert!(held.is_empty());
        assert!(!held.cancel(lease));
    }
}
