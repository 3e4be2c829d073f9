//! Changes for the listeners of the event stream.
//!
//! The `proofs` actor records the ids of changes here once they are stored. Once a second they form one frame for
//! all listeners. Nothing is recorded while no one listens, and at most [`MAX_CHANGES`] ids: beyond that, listeners
//! are asked to reload everything.

use std::collections::BTreeSet;
use std::sync::Arc;

use hierophant_model::records::{Change, Millis};
use network_lib::ids::{JobId, RequestId, WorkerId};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Maximum number of jobs, requests and workers in a frame.
pub const MAX_CHANGES: usize = 1000;

/// Maximum number of frames that a listener may lag behind; beyond it the listener is asked to reload everything.
const MAX_LAG: usize = 4;

/// Event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Reload everything; earlier frames are obsolete.
    Reset(Millis),
    /// Changes, as JSON.
    Changes(Arc<str>),
}

/// Changes since the previous frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Changed jobs, and jobs of changed requests.
    pub jobs: BTreeSet<JobId>,
    /// Changed requests.
    pub requests: BTreeSet<RequestId>,
    /// Changed workers.
    pub workers: BTreeSet<WorkerId>,
    /// Whether a listener has joined, which has seen no earlier frame.
    pub joined: bool,
    /// Whether there were more than [`MAX_CHANGES`]; the sets are empty then.
    pub too_many: bool,
}

impl Noted {
    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.too_many
            && self.jobs.is_empty()
            && self.requests.is_empty()
            && self.workers.is_empty()
    }

    fn bound(&mut self) {
        if self.jobs.len() + self.requests.len() + self.workers.len() > MAX_CHANGES {
            *self = Self { joined: self.joined, too_many: true, ..Self::default() };
        }
    }
}

#[derive(Debug)]
struct Shared {
    noted: Mutex<Noted>,
    frames: broadcast::Sender<Frame>,
    closed: CancellationToken,
    max_listeners: usize,
}

/// Pending changes and the listeners. Clones share both.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

impl Events {
    /// No changes, and at most `max_listeners` listeners at once.
    #[must_use]
    pub fn new(max_listeners: usize) -> Self {
        let (frames, _) = broadcast::channel(MAX_LAG);
        let (noted, closed) = (Mutex::default(), CancellationToken::new());
        Self(Arc::new(Shared { noted, frames, closed, max_listeners }))
    }

    /// Maximum number of listeners.
    #[must_use]
    pub fn max_listeners(&self) -> usize {
        self.0.max_listeners
    }

    /// Records a stored change.
    pub fn changed(&self, change: &Change) {
        match change {
            Change::Job(job) => self.note(|noted| {
                noted.jobs.insert(job.id);
            }),
            Change::Request(request, _) => self.note(|noted| {
                noted.jobs.insert(request.job);
                noted.requests.insert(request.id);
            }),
            Change::Attempt(attempt) if !attempt.prover.is_fleet() => {
                self.worker(attempt.prover.worker);
            }
            _ => {}
        }
    }

    /// Records a change of a worker.
    pub fn worker(&self, worker: WorkerId) {
        self.note(|noted| {
            noted.workers.insert(worker);
        });
    }

    /// Adds a listener; `None` at the maximum number of listeners.
    #[must_use]
    pub fn listen(&self) -> Option<Listener> {
        let mut noted = self.noted();
        if self.0.frames.receiver_count() >= self.0.max_listeners {
            return None;
        }
        noted.joined = true;
        Some(Listener { frames: self.0.frames.subscribe(), closed: self.0.closed.clone() })
    }

    /// Takes the pending changes; `None` without listeners.
    #[must_use]
    pub fn take(&self) -> Option<Noted> {
        let noted = std::mem::take(&mut *self.noted());
        (self.0.frames.receiver_count() > 0).then_some(noted)
    }

    /// Restores taken changes that could not be sent.
    pub fn restore(&self, taken: Noted) {
        let mut noted = self.noted();
        noted.jobs.extend(taken.jobs);
        noted.requests.extend(taken.requests);
        noted.workers.extend(taken.workers);
        noted.joined |= taken.joined;
        noted.too_many |= taken.too_many;
        noted.bound();
    }

    /// Sends a frame to all listeners.
    pub fn send(&self, frame: Frame) {
        // The absence of listeners is not an error.
        let _ = self.0.frames.send(frame);
    }

    /// Ends every listener's stream, so that the server can stop.
    pub fn close(&self) {
        self.0.closed.cancel();
    }

    fn note(&self, put: impl FnOnce(&mut Noted)) {
        if self.0.frames.receiver_count() == 0 {
            return;
        }
        let mut noted = self.noted();
        if !noted.too_many {
            put(&mut noted);
            noted.bound();
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.noted.lock()
    }
}

/// Listener of the event stream.
#[derive(Debug)]
pub struct Listener {
    frames: broadcast::Receiver<Frame>,
    closed: CancellationToken,
}

impl Listener {
    /// Next frame; `None` once Hierophant stops. A listener that lags too far behind receives a reset instead of
    /// the frames that it has missed.
    pub async fn next(&mut self) -> Option<Frame> {
        let heard = tokio::select! {
            () = self.closed.cancelled() => return None,
            heard = self.frames.recv() => heard,
        };
        match heard {
            Ok(frame) => Some(frame),
            Err(RecvError::Lagged(_)) => {
                self.frames = self.frames.resubscribe();
                Some(Frame::Reset(Millis::now()))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_LISTENERS: usize = 8;

    fn worker(number: u32) -> WorkerId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        WorkerId(id)
    }

    #[test]
    fn nothing_is_recorded_without_listeners() {
        let events = Events::new(MAX_LISTENERS);
        events.worker(worker(1));
        assert_eq!(events.take(), None);
        let listener = events.listen().expect("room");
        let noted = events.take().expect("has a listener");
        assert!(noted.joined && noted.is_empty());
        events.worker(worker(1));
        events.worker(worker(1));
        assert_eq!(events.take().map(|noted| noted.workers.len()), Some(1));
        drop(listener);
        events.worker(worker(1));
        assert_eq!(events.take(), None);
    }

    #[test]
    fn too_many_changes_are_not_kept() {
        let events = Events::new(MAX_LISTENERS);
        let _listener = events.listen().expect("room");
        for number in 0..2 * u32::try_from(MAX_CHANGES).expect("small") {
            events.worker(worker(number));
        }
        let noted = events.take().expect("has a listener");
        assert!(noted.too_many && noted.workers.is_empty());
        for number in 0..u32::try_from(MAX_CHANGES).expect("small") {
            events.worker(worker(number));
        }
        let noted = events.take().expect("has a listener");
        assert!(!noted.too_many);
        events.worker(worker(u32::MAX));
        events.restore(noted);
        assert!(events.take().is_some_and(|noted| noted.too_many && noted.workers.is_empty()));
    }

    #[test]
    fn a_listener_above_the_maximum_is_refused_until_another_leaves() {
        let events = Events::new(MAX_LISTENERS);
        let mut listeners: Vec<_> = (0..MAX_LISTENERS).map(|_| events.listen()).collect();
        assert!(listeners.iter().all(Option::is_some) && events.listen().is_none());
        listeners.pop();
        assert!(events.listen().is_some());
    }

    #[tokio::test]
    async fn a_listener_that_lags_receives_a_reset_and_then_new_frames() {
        let events = Events::new(MAX_LISTENERS);
        let mut listener = events.listen().expect("room");
        let frame = |number: usize| Frame::Changes(number.to_string().into());
        for number in 0..=MAX_LAG {
            events.send(frame(number));
        }
        assert!(matches!(listener.next().await, Some(Frame::Reset(_))));
        events.send(frame(100));
        assert_eq!(listener.next().await, Some(frame(100)));
        events.close();
        assert_eq!(listener.next().await, None);
    }
}
