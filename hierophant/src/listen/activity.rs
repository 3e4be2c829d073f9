//! Activity of a connection, and its timeouts.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answers::hint_behind;
use super::limiter::ConnectionPermit;

/// Minimum bytes of the start of an HTTP/2 connection: the preface and an empty SETTINGS frame.
const HTTP2_START: usize = 33;

/// Size of the pieces in which an answer is handed to HTTP/2. It takes a whole piece when the peer's window has room for
/// one byte, so a piece is also what an unread answer pins after its end.
const PIECE: usize = 16 * 1024;

/// The timeout that ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request did not arrive in time.
    Head,
    /// No request arrived for a while.
    Idle,
    /// The peer stopped reading an answer, although it may read others.
    Stalled,
}

/// Activity of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    times: Times,
}

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Timeout for the head of a request.
    pub(super) head: Duration,
    /// Timeout without a request.
    pub(super) idle: Duration,
    /// Timeout without progress of an answer.
    pub(super) stall: Duration,
    /// Timeout of the first piece of an answer over HTTP/2.
    pub(super) unread: Duration,
}

#[derive(Debug)]
struct State {
    /// Number of requests in progress.
    open: usize,
    /// Pieces of answers that the peer has not read, and their deadlines.
    untaken: BTreeMap<u64, Instant>,
    /// Number of the next piece.
    next: u64,
    /// Whether any request arrived.
    any: bool,
    /// Start of the time without a request.
    since: Instant,
    /// Start of a pause, during which nothing is read and therefore nothing is expected of the peer.
    paused: Option<Instant>,
    /// Arrival of the first byte since then, and number of bytes.
    heard: Option<(Instant, usize)>,
    /// Whether bytes may be something other than a request, such as pings.
    multiplexed: bool,
}

impl Activity {
    /// Activity of a new connection.
    pub(super) fn new(times: Times) -> Self {
        let state = State {
            open: 0,
            untaken: BTreeMap::new(),
            next: 0,
            any: false,
            since: Instant::now(),
            paused: None,
            heard: None,
            multiplexed: false,
        };
        let changed = Notify::new();
        Self(Arc::new(Shared { state: Mutex::new(state), changed, times }))
    }

    /// Marks the connection as ready for its first request; the handshake has its own timeout.
    pub(super) fn begin(&self, multiplexed: bool) {
        let mut state = self.state();
        state.since = Instant::now();
        state.heard = None;
        state.multiplexed = multiplexed;
    }

    /// Records received bytes.
    pub(super) fn heard(&self, bytes: usize) {
        let mut state = self.state();
        if state.open > 0 {
            return;
        }
        let (since, before) = state.heard.unwrap_or_else(|| (Instant::now(), 0));
        state.heard = Some((since, before.saturating_add(bytes)));
        if before < HTTP2_START {
            self.0.changed.notify_one();
        }
    }

    /// Marks that the connection is not read for a while.
    pub(super) fn pause(&self) {
        self.state().paused = Some(Instant::now());
    }

    /// Marks that the connection is read again. The pause does not count against the peer.
    pub(super) fn resume(&self) {
        let mut state = self.state();
        let Some(begun) = state.paused.take() else { return };
        let (now, pause) = (Instant::now(), begun.elapsed());
        state.since = (state.since + pause).min(now);
        state.heard = state.heard.map(|(since, bytes)| ((since + pause).min(now), bytes));
        self.0.changed.notify_one();
    }

    /// Records a request, which is in progress until the result is dropped.
    pub(super) fn request(&self, version: Version) -> Open {
        let mut state = self.state();
        state.open += 1;
        state.any = true;
        state.heard = None;
        let multiplexed = version == Version::HTTP_2;
        state.multiplexed |= multiplexed;
        Open { activity: self.clone(), multiplexed, permit: None }
    }

    /// A piece of an answer is ready for the peer until the result is dropped.
    fn waits_for_peer(&self, within: Duration) -> Untaken {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.untaken.insert(number, Instant::now() + within);
        self.0.changed.notify_one();
        Untaken { activity: self.clone(), number }
    }

    /// Waits for a timeout.
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

    /// Waits until no request is in progress.
    pub(super) async fn quiet(&self) {
        while self.state().open > 0 {
            self.0.changed.notified().await;
        }
    }

    fn deadline(&self) -> Option<(Instant, Overdue)> {
        let state = self.state();
        if let Some(first) = state.untaken.values().min() {
            return Some((*first, Overdue::Stalled));
        }
        if state.open > 0 || state.paused.is_some() {
            return None;
        }
        let by_head = |since: Instant| (since + self.0.times.head, Overdue::Head);
        Some(match state.heard {
            Some((since, _)) if !state.multiplexed => by_head(since),
            Some((since, bytes)) if !state.any && bytes < HTTP2_START => by_head(since),
            None if !state.any => by_head(state.since),
            _ => (state.since + self.0.times.idle, Overdue::Idle),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct Open {
    activity: Activity,
    multiplexed: bool,
    /// Its part of a limit.
    permit: Option<ConnectionPermit>,
}

impl Open {
    /// Keeps a permit as long as the request is in progress.
    pub(super) fn holding(mut self, permit: Option<ConnectionPermit>) -> Self {
        self.permit = permit;
        self
    }

    /// Body of the answer; the request stays in progress until it is sent or dropped.
    pub(super) fn answered(self, body: Body) -> Body {
        let Times { stall, unread, .. } = self.activity.0.times;
        // Over HTTP/1 a whole frame may be on its way for longer than the first piece over HTTP/2.
        let first = if self.multiplexed { unread.min(stall) } else { stall };
        let head = self.activity.waits_for_peer(first);
        let begun = Arc::new(AtomicBool::new(false));
        Body::new(Answer { body, open: self, head: Some(head), rest: Bytes::new(), begun, first })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.open -= 1;
        if state.open == 0 {
            state.since = Instant::now();
            self.activity.0.changed.notify_one();
        }
    }
}

/// A piece of an answer that waits for the peer.
#[derive(Debug)]
struct Untaken {
    activity: Activity,
    number: u64,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.untaken.remove(&self.number);
        if state.untaken.is_empty() {
            self.activity.0.changed.notify_one();
        }
    }
}

/// The bytes of a piece, which has left when they are dropped.
struct Piece {
    bytes: Bytes,
    begun: Arc<AtomicBool>,
    _untaken: Untaken,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.begun.store(true, Ordering::Relaxed);
    }
}

struct Answer {
    body: Body,
    open: Open,
    /// The head, until the body is asked for.
    head: Option<Untaken>,
    /// What is left of the latest frame.
    rest: Bytes,
    /// Whether any piece has left.
    begun: Arc<AtomicBool>,
    /// Time for the first piece.
    first: Duration,
}

impl Answer {
    /// The next piece of the latest frame.
    fn piece(&mut self) -> Frame<Bytes> {
        let size = if self.open.multiplexed { PIECE.min(self.rest.len()) } else { self.rest.len() };
        let bytes = self.rest.split_to(size);
        let begun = self.begun.load(Ordering::Relaxed);
        let within = if begun { self.open.activity.0.times.stall } else { self.first };
        let untaken = self.open.activity.waits_for_peer(within);
        let piece = Piece { bytes, begun: Arc::clone(&self.begun), _untaken: untaken };
        Frame::data(Bytes::from_owner(piece))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.head = None;
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    Poll::Ready(Some(Ok(self.piece())))
                }
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        hint_behind(self.rest.len() as u64, &self.body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(120);
    const STALL: Duration = Duration::from_secs(60);
    const UNREAD: Duration = Duration::from_secs(20);
    const TIMES: Times = Times { head: HEAD, idle: IDLE, stall: STALL, unread: UNREAD };

    async fn ends(activity: &Activity) -> (Overdue, Duration) {
        let start = Instant::now();
        let why = activity.overdue().await;
        (why, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_sends_half_a_head_has_no_longer_than_a_head_may_take() {
        let silent = Activity::new(TIMES);
        assert_eq!(ends(&silent).await, (Overdue::Head, HEAD));
        let slow = Activity::new(TIMES);
        drop(slow.request(Version::HTTP_11));
        slow.heard(1);
        tokio::time::advance(HEAD / 2).await;
        slow.heard(1);
        assert_eq!(ends(&slow).await, (Overdue::Head, HEAD / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_between_two_requests_is_idle_and_pings_are_no_requests() {
        let kept = Activity::new(TIMES);
        drop(kept.request(Version::HTTP_11));
        assert_eq!(ends(&kept).await, (Overdue::Idle, IDLE));
        let pings = Activity::new(TIMES);
        pings.begin(true);
        pings.heard(HTTP2_START);
        tokio::time::advance(HEAD).await;
        assert_eq!(ends(&pings).await, (Overdue::Idle, IDLE - HEAD));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_beginning_of_http2_has_no_longer_than_a_head_may_take() {
        let half = Activity::new(TIMES);
        half.begin(true);
        half.heard(HTTP2_START - 1);
        assert_eq!(ends(&half).await, (Overdue::Head, HEAD));
    }

    #[tokio::test(start_paused = true)]
    async fn time_during_which_the_connection_is_not_read_does_not_count() {
        for begins in [true, false] {
            let activity = Activity::new(TIMES);
            if begins {
                drop(activity.request(Version::HTTP_11));
                activity.heard(1);
            }
            tokio::time::advance(HEAD / 2).await;
            activity.pause();
            let late = tokio::time::timeout(HEAD * 2, activity.overdue()).await;
            assert!(late.is_err(), "nothing is expected during the pause");
            activity.resume();
            assert_eq!(ends(&activity).await, (Overdue::Head, HEAD / 2));
        }
        let answering = Activity::new(TIMES);
        let mut body = answering.request(Version::HTTP_2).answered(Body::from("answer"));
        let _unread = body.frame().await;
        answering.pause();
        assert_eq!(ends(&answering).await, (Overdue::Stalled, UNREAD), "answers are to be read");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_on_its_way_keeps_the_connection_open_as_long_as_it_is_taken() {
        let activity = Activity::new(TIMES);
        let pieces = futures_util::stream::unfold((), async |()| {
            tokio::time::sleep(IDLE).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"piece")), ()))
        });
        let open = activity.request(Version::HTTP_2);
        let mut body = open.answered(Body::from_stream(pieces));
        let mut last = None;
        for _ in 0..3 {
            drop(last.take());
            // What the handler takes its time for is not the peer's fault.
            tokio::select! {
                why = activity.overdue() => panic!("{why:?}"),
                piece = body.frame() => last = piece,
            }
        }
        assert_eq!(ends(&activity).await, (Overdue::Stalled, STALL));
        drop(body);
        assert_eq!(ends(&activity).await.0, Overdue::Stalled, "a piece is still on its way");
        drop(last);
        assert_eq!(ends(&activity).await.0, Overdue::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nothing_leaves_has_less_time_than_one_that_has_begun() {
        let activity = Activity::new(TIMES);
        let open = activity.request(Version::HTTP_2);
        let mut body = open.answered(Body::from(vec![7; 3 * PIECE]));
        let first = body.frame().await.expect("a piece").expect("sound");
        assert_eq!(first.data_ref().map(Bytes::len), Some(PIECE));
        assert_eq!(body.size_hint().exact(), Some(2 * PIECE as u64));
        assert_eq!(ends(&activity).await, (Overdue::Stalled, UNREAD));
        drop(first);
        let _second = body.frame().await.expect("a piece").expect("sound");
        assert_eq!(ends(&activity).await, (Overdue::Stalled, STALL));
        let old = activity.request(Version::HTTP_11);
        let mut whole = old.answered(Body::from(vec![7; 3 * PIECE]));
        let frame = whole.frame().await.expect("a frame").expect("sound");
        assert_eq!(frame.data_ref().map(Bytes::len), Some(3 * PIECE));
    }
}
