//! The attempts that a worker holds, and their ends that are not acknowledged yet.
//!
//! A message that was written to a socket may be lost with it, or with a Hierophant that dies before it has stored the
//! message. So the end of an attempt is kept until Hierophant acknowledges it (`settled`); if the connection breaks
//! before, the end is sent again over the next one, provided that Hierophant still wants it. Before the end of
//! an attempt at a task is sent again, its bytes are handed in again.

use std::collections::BTreeMap;

use network_lib::ids::LeaseId;
use network_lib::wire::FromWorker;
use tokio_util::sync::CancellationToken;

use crate::depot::results::TaskResult;
use crate::finished::FinishedProof;

/// Attempts by lease.
#[derive(Debug, Default)]
pub(super) struct HeldAttempts {
    attempts: BTreeMap<LeaseId, Held>,
}

#[derive(Debug)]
enum Held {
    /// In progress.
    Running(CancellationToken),
    /// Proved by an earlier process; uploaded once Hierophant wants it.
    Finished(Box<FinishedProof>),
    /// A task done by an earlier process; handed in once Hierophant wants it.
    Result(Box<TaskResult>),
    /// Cancelled, but the machine is still busy with it.
    WindingDown,
    /// Ended, with the `message` to report, and whether it was sent over the current connection. The token is that of the
    /// attempt.
    Ended { message: Box<FromWorker>, sent: bool, token: CancellationToken },
}

/// Result of a handshake.
#[derive(Debug, Default)]
pub(super) struct Resumption {
    /// Proofs to upload now, each with the token that stops it.
    pub(super) finished: Vec<(FinishedProof, CancellationToken)>,
    /// Results of tasks to hand in now, each with the token that stops it.
    pub(super) results: Vec<(TaskResult, CancellationToken)>,
    /// Results of tasks that are not wanted.
    pub(super) discarded: Vec<TaskResult>,
    /// Attempts that were stopped or dropped.
    pub(super) unwanted: Vec<LeaseId>,
    /// Wanted attempts that this worker does not hold.
    pub(super) unknown: Vec<LeaseId>,
}

impl HeldAttempts {
    /// Attempts whose proofs and results an earlier process has left on disk.
    pub(super) fn found(proofs: Vec<FinishedProof>, results: Vec<TaskResult>) -> Self {
        let held = |proof: FinishedProof| (proof.lease_id, Held::Finished(Box::new(proof)));
        let done = |result: TaskResult| (result.lease_id, Held::Result(Box::new(result)));
        let results = results.into_iter().map(done);
        Self { attempts: proofs.into_iter().map(held).chain(results).collect() }
    }

    /// Adds a new attempt. Returns the token that stops it, or none if it is held already.
    pub(super) fn start(&mut self, lease_id: LeaseId) -> Option<CancellationToken> {
        if self.attempts.contains_key(&lease_id) {
            return None;
        }
        let token = CancellationToken::new();
        self.attempts.insert(lease_id, Held::Running(token.clone()));
        Some(token)
    }

    /// Records the end of an attempt, or the rejection of a new one. Returns whether the message will be sent: not for
    /// a cancelled attempt.
    pub(super) fn end(&mut self, lease_id: LeaseId, message: Option<FromWorker>) -> bool {
        let previous = self.attempts.remove(&lease_id);
        let Some(message) = message else { return false };
        let token = match previous {
            Some(Held::WindingDown) => return false,
            Some(Held::Running(token)) => token,
            _ => CancellationToken::new(),
        };
        let message = Box::new(message);
        self.attempts.insert(lease_id, Held::Ended { message, sent: false, token });
        true
    }

    /// Stops or drops an attempt whose result is not wanted. Returns whether it was held.
    pub(super) fn cancel(&mut self, lease_id: LeaseId) -> bool {
        match self.attempts.get_mut(&lease_id) {
            None => return false,
            Some(Held::Ended { .. } | Held::Finished(_) | Held::Result(_)) => {
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

    /// Keeps only the attempts that a new connection wants; ends that were sent over the old one are sent again.
    pub(super) fn resume(&mut self, wanted: &[LeaseId]) -> Resumption {
        let held = self.resumable();
        let unwanted: Vec<LeaseId> = held.into_iter().filter(|id| !wanted.contains(id)).collect();
        let mut discarded = Vec::new();
        for lease_id in &unwanted {
            if let Some(Held::Result(result)) = self.attempts.get(lease_id) {
                discarded.push(TaskResult::clone(result));
            }
            self.cancel(*lease_id);
        }
        let unknown = wanted.iter().filter(|id| !self.attempts.contains_key(id)).copied().collect();
        let (mut finished, mut results) = (Vec::new(), Vec::new());
        for held in self.attempts.values_mut() {
            match held {
                Held::Ended { message, token, .. } if matches!(**message, FromWorker::Task(_)) => {
                    *held = Held::Running(token.clone());
                }
                Held::Ended { sent, .. } => *sent = false,
                Held::Result(result) => {
                    let token = CancellationToken::new();
                    results.push((TaskResult::clone(result), token.clone()));
                    *held = Held::Running(token);
                }
                Held::Finished(proof) => {
                    let token = CancellationToken::new();
                    finished.push((FinishedProof::clone(proof), token.clone()));
                    *held = Held::Running(token);
                }
                Held::Running(_) | Held::WindingDown => {}
            }
        }
        Resumption { finished, results, discarded, unwanted, unknown }
    }

    /// The next message to send, which counts as sent from now on.
    pub(super) fn next_message(&mut self) -> Option<FromWorker> {
        self.attempts.values_mut().find_map(|held| match held {
            Held::Ended { message, sent: sent @ false, .. } => {
                *sent = true;
                Some(FromWorker::clone(message))
            }
            _ => None,
        })
    }

    /// Drops the end of an attempt, which Hierophant has stored. Returns whether it was pending.
    pub(super) fn acknowledged(&mut self, lease_id: LeaseId) -> bool {
        let is_pending = matches!(self.attempts.get(&lease_id), Some(Held::Ended { .. }));
        if is_pending {
            self.attempts.remove(&lease_id);
        }
        is_pending
    }

    /// All attempts, for a handshake: those in progress, finished, ended, or still occupying the machine.
    pub(super) fn all(&self) -> Vec<LeaseId> {
        self.leases(|_| true)
    }

    /// Attempts that a new connection may resume.
    pub(super) fn resumable(&self) -> Vec<LeaseId> {
        self.leases(|held| !matches!(held, Held::WindingDown))
    }

    /// Attempts for a heartbeat: those that occupy the machine, and ends that are not sent yet.
    pub(super) fn working_on(&self) -> Vec<LeaseId> {
        self.leases(|held| !matches!(held, Held::Ended { sent: true, .. }))
    }

    /// Attempts in progress that are wanted.
    pub(super) fn running(&self) -> Vec<LeaseId> {
        self.leases(|held| matches!(held, Held::Running(_)))
    }

    /// Whether an attempt is in progress and wanted.
    pub(super) fn is_running(&self, lease_id: LeaseId) -> bool {
        matches!(self.attempts.get(&lease_id), Some(Held::Running(_)))
    }

    /// Whether any attempt occupies the machine.
    pub(super) fn is_busy(&self) -> bool {
        self.attempts.values().any(|held| matches!(held, Held::Running(_) | Held::WindingDown))
    }

    /// Whether nothing is left to do or to report.
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
        assert!(!held.acknowledged(lease), "acknowledged before its end");
        assert!(held.end(lease, Some(failed(lease))));
        assert_eq!(held.working_on(), [lease]);
        assert_eq!(held.next_message(), Some(failed(lease)));
        assert_eq!(held.next_message(), None);
        assert_eq!(held.resumable(), [lease]);
        assert_eq!(held.working_on(), []);
        assert!(held.acknowledged(lease));
        assert!(held.is_empty());
        assert!(!held.acknowledged(lease));
    }

    #[test]
    fn a_new_connection_gets_again_what_it_wants_and_the_rest_stops() {
        let mut held = HeldAttempts::default();
        let [reported, forgotten, unwanted, running, unknown] = [(); 5].map(|()| LeaseId::random());
        for lease in [reported, forgotten, running] {
            held.start(lease).unwrap();
        }
        let token = held.start(unwanted).unwrap();
        for lease in [reported, forgotten] {
            held.end(lease, Some(failed(lease)));
            held.next_message().unwrap();
        }

        let resumption = held.resume(&[reported, running, unknown]);
        assert_eq!(resumption.unwanted.len(), 2);
        assert!([forgotten, unwanted].iter().all(|lease| resumption.unwanted.contains(lease)));
        assert_eq!(resumption.unknown, [unknown]);
        assert_eq!(held.next_message(), Some(failed(reported)));
        assert_eq!(held.next_message(), None);
        assert!(token.is_cancelled());
        assert!(held.is_running(running));
        // The unwanted one still occupies the machine, and its end is not reported.
        assert!(held.working_on().contains(&unwanted));
        assert!(!held.resumable().contains(&unwanted));
        assert!(!held.end(unwanted, Some(failed(unwanted))));
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
        let mut held = HeldAttempts::found(proofs.to_vec(), Vec::new());
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
        assert!(!held.end(lease, Some(failed(lease))));
        assert!(held.is_empty());
        assert!(!held.cancel(lease));
    }
}
