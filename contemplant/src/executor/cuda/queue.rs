//! The queue of prepared jobs, shared by all slots: the first that is ready goes to the first slot that is free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network_lib::job::Failure;
use sp1_verifier::ProofFromNetwork;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::estimator::Subject;
use crate::executor::program::Program;
use crate::executor::{EventSink, cancelled};

/// A proof for a slot to make.
pub(super) struct Work {
    pub(super) subject: Subject,
    pub(super) program: Arc<Program>,
    /// Bincode of SP1's `SP1Stdin`.
    pub(super) stdin: Arc<Vec<u8>>,
    pub(super) events: EventSink,
    pub(super) cancel: CancellationToken,
    pub(super) reply: oneshot::Sender<Result<ProofFromNetwork, Failure>>,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Work>>,
    /// Number of slots that wait for work.
    free_slots: AtomicUsize,
    added: Notify,
}

impl Queue {
    /// Adds a job. An event reports that it waits, unless a slot is free for it.
    pub(super) fn push(&self, work: Work) {
        let mut waiting = self.lock();
        if waiting.len() >= self.free_slots.load(Ordering::Relaxed) {
            work.events.waiting();
        }
        waiting.push_back(work);
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits for the next job. Dropping the call loses none.
    pub(super) async fn next(&self) -> Work {
        let _free = FreeSlot::count(&self.free_slots);
        loop {
            let added = self.added.notified();
            if let Some(work) = self.lock().pop_front() {
                return work;
            }
            added.await;
        }
    }

    /// Ends the cancelled jobs, and with them the memory that they take.
    pub(super) fn end_cancelled(&self) {
        self.end(|work| work.cancel.is_cancelled(), &cancelled());
    }

    /// Ends all jobs with a failure.
    pub(super) fn end_all(&self, failure: &Failure) {
        self.end(|_| true, failure);
    }

    fn end(&self, chosen: impl Fn(&Work) -> bool, failure: &Failure) {
        let ended: VecDeque<Work> = {
            let mut waiting = self.lock();
            let (ended, left) = std::mem::take(&mut *waiting).into_iter().partition(chosen);
            *waiting = left;
            ended
        };
        for work in ended {
            // The receiver may be gone.
            let _ = work.reply.send(Err(failure.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Work>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot while it waits for work.
struct FreeSlot<'a>(&'a AtomicUsize);

impl<'a> FreeSlot<'a> {
    fn count(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for FreeSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
