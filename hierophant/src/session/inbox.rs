//! What a worker has said and the actors have not handled yet, bounded for each session.
//!
//! Of heartbeats and of each attempt's progress only the latest counts, so it replaces an earlier one that still waits.
//! Every other message takes a [`Turn`] until it is handled; while none is free, the socket is not read, and the worker
//! counts as heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hierophant_model::sanitize;
use network_lib::handshake::GpuLoad;
use network_lib::ids::LeaseId;
use network_lib::job::Progress;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Messages of a session that may wait for an actor, other than heartbeats and progress. A worker sends a few for
/// each job.
const TURNS: usize = 64;

/// Permission of a message to wait for an actor; returned when it is dropped, after the message was handled.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Latest heartbeat and progress of a worker, taken by the `proofs` actor.
#[derive(Debug, Default, PartialEq)]
pub struct Reports {
    /// Attempts that it runs, if it has listed them.
    pub held: Option<Vec<LeaseId>>,
    /// Progress by attempt.
    pub progress: BTreeMap<LeaseId, Progress>,
}

/// What waits of a session.
#[derive(Debug, Default)]
struct Waiting {
    reports: Reports,
    /// Whether `proofs` was notified and has not taken the reports yet.
    reports_announced: bool,
    gpus: Vec<GpuLoad>,
    /// Whether `registry` was notified and has not taken the loads yet.
    gpus_announced: bool,
}

/// What a worker has said and the actors have not handled yet; and when it was last heard.
#[derive(Debug)]
pub struct Inbox {
    turns: Arc<Semaphore>,
    places: AtomicU32,
    waiting: Mutex<Waiting>,
    start: Instant,
    /// Milliseconds from `start` to the latest word.
    heard: AtomicU64,
    /// Whether the socket is not read, for want of a turn.
    paused: AtomicBool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(TURNS)),
            places: AtomicU32::new(0),
            waiting: Mutex::default(),
            start: Instant::now(),
            heard: AtomicU64::new(0),
            paused: AtomicBool::new(false),
        }
    }

    /// Records the number of places that the worker reports. The highest one counts, because attempts outlast a change.
    pub fn has_places(&self, places: u32) {
        self.places.fetch_max(places, Ordering::Relaxed);
    }

    /// Maximum number of attempts that the worker may list.
    #[must_use]
    pub fn max_held(&self) -> usize {
        sanitize::max_held(self.places.load(Ordering::Relaxed))
    }

    /// Records that the worker was heard now.
    pub fn heard(&self) {
        self.heard.fetch_max(self.elapsed(), Ordering::Relaxed);
    }

    /// Time since the worker was last heard; none while its socket is not read.
    #[must_use]
    pub fn silence(&self) -> Duration {
        if self.paused.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        Duration::from_millis(self.elapsed().saturating_sub(self.heard.load(Ordering::Relaxed)))
    }

    /// Waits until another message may wait for an actor.
    pub async fn turn(&self) -> Turn {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Turn { _permit: Some(permit) };
        }
        self.paused.store(true, Ordering::Relaxed);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        self.heard();
        self.paused.store(false, Ordering::Relaxed);
        Turn { _permit: permit }
    }

    /// Replaces the list of attempts that the worker runs. Returns whether `proofs` must be notified.
    pub fn put_held(&self, held: Vec<LeaseId>) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.reports.held = Some(held);
        !std::mem::replace(&mut waiting.reports_announced, true)
    }

    /// Replaces the progress of an attempt. Returns whether `proofs` must be notified; `None` if that of more attempts
    /// waits than the worker can have.
    pub fn put_progress(&self, lease: LeaseId, progress: Progress) -> Option<bool> {
        let most = self.max_held();
        let mut waiting = self.waiting.lock();
        let of = &mut waiting.reports.progress;
        if of.len() >= most && !of.contains_key(&lease) {
            return None;
        }
        of.insert(lease, progress);
        Some(!std::mem::replace(&mut waiting.reports_announced, true))
    }

    /// Takes the heartbeat and the progress that wait.
    #[must_use]
    pub fn take_reports(&self) -> Reports {
        let mut waiting = self.waiting.lock();
        waiting.reports_announced = false;
        std::mem::take(&mut waiting.reports)
    }

    /// Replaces the load of the GPUs. Returns whether `registry` must be notified.
    pub fn put_gpus(&self, gpus: Vec<GpuLoad>) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.gpus = gpus;
        !std::mem::replace(&mut waiting.gpus_announced, true)
    }

    /// Takes the load of the GPUs.
    #[must_use]
    pub fn take_gpus(&self) -> Vec<GpuLoad> {
        let mut waiting = self.waiting.lock();
        waiting.gpus_announced = false;
        std::mem::take(&mut waiting.gpus)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use network_lib::job::Phase;
    use tokio::time::{advance, timeout};

    use super::*;

    fn lease(n: u8) -> LeaseId {
        LeaseId([n; 16])
    }

    #[test]
    fn of_many_heartbeats_the_latest_waits_and_is_announced_once() {
        let inbox = Inbox::new();
        assert!(inbox.put_held(vec![lease(1)]));
        for n in 0..200 {
            assert!(!inbox.put_held(vec![lease(n)]));
        }
        let progress = Progress::phase(Phase::Proving);
        assert_eq!(inbox.put_progress(lease(1), Progress::phase(Phase::Executing)), Some(false));
        assert_eq!(inbox.put_progress(lease(1), progress), Some(false));
        let reports = inbox.take_reports();
        assert_eq!(reports.held, Some(vec![lease(199)]));
        assert_eq!(reports.progress, BTreeMap::from([(lease(1), progress)]));
        assert_eq!(inbox.take_reports(), Reports::default());
        assert!(inbox.put_held(vec![]), "the next one is announced again");
    }

    #[test]
    fn progress_waits_for_as_many_attempts_as_a_worker_can_have() {
        let inbox = Inbox::new();
        inbox.has_places(1);
        let progress = Progress::phase(Phase::Proving);
        let put = |n| inbox.put_progress(lease(n), progress);
        assert!((0..68).all(|n| put(n).is_some()));
        assert_eq!(put(68), None);
        assert_eq!(put(67), Some(false), "known ones are replaced");
        assert_eq!(inbox.take_reports().progress.len(), 68);
        assert_eq!(put(68), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_for_a_turn_and_meanwhile_the_worker_is_not_silent() {
        let inbox = Arc::new(Inbox::new());
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(inbox.turn().await);
        }
        advance(Duration::from_secs(9)).await;
        assert_eq!(inbox.silence(), Duration::from_secs(9));
        let (another, waits) = (inbox.turn(), Duration::from_secs(60));
        tokio::pin!(another);
        assert!(timeout(waits, &mut another).await.is_err(), "all turns are taken");
        assert_eq!(inbox.silence(), Duration::ZERO, "it is not read");
        turns.pop();
        another.await;
        assert_eq!(inbox.silence(), Duration::ZERO, "it is read from now on");
        advance(Duration::from_secs(3)).await;
        assert_eq!(inbox.silence(), Duration::from_secs(3));
    }
}
