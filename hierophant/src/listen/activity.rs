//! What goes on over a connection, and when it has done nothing for too long.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request is not there in time, or nothing at all.
    Head,
    /// There has been no request for a while.
    Idle,
}

/// What goes on over one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    head_time: Duration,
    idle_time: Duration,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    open: usize,
    /// Whether there was any.
    any: bool,
    /// Since when there is none.
    since: Instant,
    /// When the first byte came after that.
    heard: Option<Instant>,
    /// Whether bytes may be something else than a request: pings, for one.
    multiplexed: bool,
}

impl Activity {
    /// A connection that begins now.
    pub(super) fn new(head_time: Duration, idle_time: Duration) -> Self {
        let state =
            State { open: 0, any: false, since: Instant::now(), heard: None, multiplexed: false };
        let changed = Notify::new();
        Self(Arc::new(Shared { state: Mutex::new(state), changed, head_time, idle_time }))
    }

    /// The connection is ready for its first request; until now others counted its time.
    pub(super) fn begin(&self, multiplexed: bool) {
        let mut state = self.state();
        state.since = Instant::now();
        state.heard = None;
        state.multiplexed = multiplexed;
    }

    /// Bytes have come.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        if state.open == 0 && state.heard.is_none() {
            state.heard = Some(Instant::now());
            self.0.changed.notify_one();
        }
    }

    /// A request has come; it is open until the result is dropped.
    pub(super) fn request(&self, version: Version) -> Open {
        let mut state = self.state();
        state.open += 1;
        state.any = true;
        state.heard = None;
        state.multiplexed |= version == Version::HTTP_2;
        Open(self.clone())
    }

    /// Waits until the connection has done nothing for too long.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            match self.deadline() {
                Some((at, why)) if at <= Instant::now() => return why,
                Some((at, _)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.0.changed.notified() => {}
                    }
                }
                None => self.0.changed.notified().await,
            }
        }
    }

    /// Waits until no request is being answered.
    pub(super) async fn quiet(&self) {
        while self.state().open > 0 {
            self.0.changed.notified().await;
        }
    }

    fn deadline(&self) -> Option<(Instant, Overdue)> {
        let state = self.state();
        if state.open > 0 {
            return None;
        }
        let by_head = |since: Instant| (since + self.0.head_time, Overdue::Head);
        Some(match state.heard {
            Some(heard) if !state.multiplexed => by_head(heard),
            None if !state.any => by_head(state.since),
            _ => (state.since + self.0.idle_time, Overdue::Idle),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Open(Activity);

impl Open {
    /// The answer's body, which keeps the request open until it has gone out or is given up.
    pub(super) fn answered(self, body: Body) -> Body {
        Body::new(Answer { body, _open: self })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        if state.open == 0 {
            state.since = Instant::now();
            self.0.0.changed.notify_one();
        }
    }
}

struct Answer {
    body: Body,
    _open: Open,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(120);

    async fn ends(activity: &Activity) -> (Overdue, Duration) {
        let start = Instant::now();
        let why = activity.overdue().await;
        (why, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_sends_half_a_head_has_no_longer_than_a_head_may_take() {
        let silent = Activity::new(HEAD, IDLE);
        assert_eq!(ends(&silent).await, (Overdue::Head, HEAD));
        let slow = Activity::new(HEAD, IDLE);
        drop(slow.request(Version::HTTP_11));
        slow.heard();
        tokio::time::advance(HEAD / 2).await;
        slow.heard();
        assert_eq!(ends(&slow).await, (Overdue::Head, HEAD / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_between_two_requests_is_idle_and_pings_are_no_requests() {
        let kept = Activity::new(HEAD, IDLE);
        drop(kept.request(Version::HTTP_11));
        assert_eq!(ends(&kept).await, (Overdue::Idle, IDLE));
        let pings = Activity::new(HEAD, IDLE);
        pings.begin(true);
        pings.heard();
        tokio::time::advance(HEAD).await;
        assert_eq!(ends(&pings).await, (Overdue::Idle, IDLE - HEAD));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_on_its_way_keeps_the_connection_open() {
        let activity = Activity::new(HEAD, IDLE);
        let body = activity.request(Version::HTTP_2).answered(Body::from("proof"));
        let waiting = tokio::time::timeout(IDLE * 10, activity.overdue()).await;
        assert!(waiting.is_err(), "ended while an answer was on its way");
        drop(body);
        assert_eq!(ends(&activity).await, (Overdue::Idle, IDLE));
    }
}
