//! Leaving in good order: when it is time, and what is said before.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use network_lib::job::{Failure, FailureClass};
use network_lib::signal::Shutdown;
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::socket::{Heard, Socket};
use super::{End, Link};

/// At the end, how long Hierophant may take to confirm what it is told.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long attempts may take to stop when the program ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the Contemplant leaves when a signal asks it to.
pub(super) const SHUTTING_DOWN: &str = "the Contemplant is shutting down";

/// Cancels `limit` when no more is to be finished: `grace` after the first signal, or at the second.
pub(super) async fn countdown(
    shutdown: Shutdown,
    grace: Duration,
    limit: CancellationToken,
) -> Infallible {
    let grace_is_over = async {
        shutdown.requested.cancelled().await;
        sleep(grace).await;
    };
    tokio::select! {
        () = shutdown.at_once.cancelled() => {}
        () = grace_is_over => {}
    }
    limit.cancel();
    std::future::pending().await
}

impl Link {
    /// Whether it wants to end and nothing is left that keeps it.
    pub(super) fn is_done(&self) -> bool {
        let leaving = self.leaving.is_some() || self.shutdown.requested.is_cancelled();
        leaving && self.held.is_empty()
    }

    /// Waits for `work`, unless it is not needed any more because the program ends.
    pub(super) async fn while_needed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let idle = self.held.is_empty();
        tokio::select! {
            biased;
            () = self.limit.cancelled() => None,
            () = self.shutdown.requested.cancelled(), if idle => None,
            outcome = work => Some(outcome),
        }
    }

    /// Tells Hierophant to send no more attempts.
    pub(super) async fn announce(&self, socket: &mut Socket) -> Result<(), End> {
        let reason = self.leaving.clone().unwrap_or_default();
        socket.send(&FromWorker::Draining { reason }).await?;
        Ok(())
    }

    /// The time to finish is over: gives back what is being worked on. A proof that is made already is
    /// not given back: it arrives now or after the next start.
    pub(super) async fn hand_back(&mut self, socket: &mut Socket) -> Result<(), End> {
        let mut given_back = BTreeSet::new();
        for lease_id in self.held.running() {
            if !self.runner.holds_proof(lease_id) {
                self.held.cancel(lease_id);
                let failure = Failure::new(FailureClass::Infrastructure, SHUTTING_DOWN);
                socket.send(&FromWorker::Failed { lease_id, failure }).await?;
                given_back.insert(lease_id);
            }
        }
        tracing::info!(given_back = given_back.len(), "leaving");
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            self.send_ends(socket).await?;
            if given_back.is_empty() && self.held.resumable().is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = sleep_until(deadline) => {
                    tracing::warn!("leaving without Hierophant's confirmation");
                    return Ok(());
                }
                heard = socket.hear() => {
                    let heard = heard?;
                    if let Heard::Message(ToWorker::Settled { lease_id }) = &heard {
                        given_back.remove(lease_id);
                    }
                    self.handle(heard);
                }
                Some((lease_id, event)) = self.events.recv() => {
                    self.forward(socket, lease_id, event).await?;
                }
            }
        }
    }

    /// Stops all attempts and gives them a moment to clean up. Finished proofs stay on disk.
    pub(super) async fn stop_attempts(&mut self) {
        for lease_id in self.held.running() {
            if !self.runner.holds_proof(lease_id) {
                self.held.cancel(lease_id);
            }
        }
        self.runner.leave();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.held.is_busy() {
            let Ok(Some((lease_id, event))) = timeout_at(deadline, self.events.recv()).await else {
                return;
            };
            self.note(lease_id, &event);
        }
    }
}
