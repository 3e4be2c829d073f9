//! Shutting down: the grace period, draining, and handing back attempts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::signal::Shutdown;
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::socket::{Heard, Socket};
use super::tasks::task_failed;
use super::{End, Link};
use crate::metrics::{Connection, obstacle_of};

/// Time limit for Hierophant to acknowledge the last ends.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit for attempts to stop when the program ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Reason for draining after a signal.
pub(super) const SHUTTING_DOWN: &str = "the worker is shutting down";

/// Cancels `limit` at the end of the grace period: `grace` after the first signal, or at the second.
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
    /// Whether it is leaving and holds no attempt.
    pub(super) fn is_done(&self) -> bool {
        let leaving = self.leaving.is_some() || self.shutdown.requested.is_cancelled();
        leaving && self.held.is_empty()
    }

    /// Waits for `work`; returns none if the program ends before.
    pub(super) async fn while_needed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let idle = self.held.is_empty();
        tokio::select! {
            biased;
            () = self.limit.cancelled() => None,
            () = self.shutdown.requested.cancelled(), if idle => None,
            outcome = work => Some(outcome),
        }
    }

    /// Begins to leave if this worker was idle for the time of `exit_when_idle`. An attempt or an unsettled end is work.
    pub(super) fn leave_if_idle(&mut self) {
        let is_ready = obstacle_of(&self.capabilities.borrow()).is_none();
        // Other workers may need the records of a depot.
        let is_needed = !self.held.is_empty() || self.tasks.holds_records();
        self.idle.observe(is_needed, is_ready);
        if let Some(limit) = self.idle.reached().filter(|_| self.leaving.is_none()) {
            let limit = humantime::format_duration(limit);
            tracing::info!(exit_when_idle = %limit, "leaving because there was no attempt for this time");
            self.leaving = Some(format!("no attempt for {limit}"));
        }
    }

    /// Asks Hierophant to assign no more attempts.
    pub(super) async fn announce(&self, socket: &mut Socket) -> Result<(), End> {
        let reason = self.leaving.clone().unwrap_or_default();
        self.health.set(Connection::Leaving(reason.clone()));
        socket.send(&FromWorker::Draining { reason }).await?;
        Ok(())
    }

    /// Hands back the attempts in progress at the end of the grace period. A finished proof is not handed back: it is
    /// uploaded now or after the next start.
    pub(super) async fn hand_back(&mut self, socket: &mut Socket) -> Result<(), End> {
        let mut handed_back = BTreeSet::new();
        for lease_id in self.held.running() {
            if !self.holds_result(lease_id) {
                self.held.cancel(lease_id);
                let failure = Failure::new(FailureClass::Infrastructure, SHUTTING_DOWN);
                let message = match self.tasks.holds(lease_id) {
                    true => FromWorker::Task(task_failed(lease_id, failure)),
                    false => FromWorker::Failed { lease_id, failure },
                };
                socket.send(&message).await?;
                handed_back.insert(lease_id);
            }
        }
        tracing::info!(handed_back = handed_back.len(), "leaving");
        let deadline = Instant::now() + ACKNOWLEDGE_TIMEOUT;
        loop {
            self.send_ends(socket).await?;
            if handed_back.is_empty() && self.held.resumable().is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = sleep_until(deadline) => {
                    tracing::warn!("leaving without an acknowledgement from Hierophant");
                    return Ok(());
                }
                heard = socket.hear() => {
                    let heard = heard?;
                    if let Heard::Message(ToWorker::Settled { lease_id }) = &heard {
                        handed_back.remove(lease_id);
                    }
                    self.handle(heard);
                }
                Some((lease_id, event)) = self.events.recv() => {
                    self.forward(socket, lease_id, event).await?;
                }
                message = self.tasks.next() => self.send_task(socket, message).await?,
            }
        }
    }

    /// Whether this attempt's proof or result is on disk, and so survives a restart.
    fn holds_result(&self, lease_id: LeaseId) -> bool {
        self.runner.holds_proof(lease_id) || self.tasks.holds_result(lease_id)
    }

    /// Stops all attempts and waits briefly for them to clean up. Finished proofs stay on disk.
    pub(super) async fn stop_attempts(&mut self) {
        for lease_id in self.held.running() {
            if !self.holds_result(lease_id) {
                self.held.cancel(lease_id);
            }
        }
        self.runner.leave();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.held.is_busy() {
            let Ok(Some((lease_id, event))) = timeout_at(deadline, self.events.recv()).await else {
                return;
            };
            self.record(lease_id, &event);
        }
    }
}
