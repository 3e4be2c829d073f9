//! Budget for answers in flight: bytes in memory that wait for their readers, in all and by address.
//!
//! An HTTP/2 peer that opens no window pins what is ready for it. Each piece of an answer is therefore counted from the
//! moment it exists until it has left or its connection has ended, by an owner inside the piece itself. New answers are
//! refused while the budget is used up; clients retry. Answers that have begun go on.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;

use super::Port;
use super::limiter::{ConnectionLimiter, ConnectionPermit};

/// Size of a body whose first `bytes` come before those of `rest`.
pub(super) fn hint_behind(bytes: u64, rest: &SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(bytes));
    }
    hint.set_lower(rest.lower().saturating_add(bytes));
    hint
}

/// What a request in progress counts for, in bytes: its head, its task and the head of its answer.
const REQUEST: usize = 16 * 1024;

/// Time after which a refused client may try again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// The budget of one address. Clones share it.
#[derive(Debug, Clone)]
pub struct AnswerBudget {
    limiter: ConnectionLimiter,
    address: IpAddr,
}

impl AnswerBudget {
    /// The budget of `address` within the one of all.
    pub(super) const fn of(limiter: ConnectionLimiter, address: IpAddr) -> Self {
        Self { limiter, address }
    }

    /// Whether `bytes` more would fit now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.hold(bytes).is_some()
    }

    /// Counts bytes that are about to be read for an answer, which is itself counted once it exists.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> Option<ConnectionPermit> {
        self.limiter.take_amount(self.address, bytes).ok()
    }

    /// Counts a request until its answer has left.
    pub(super) fn begin(&self) -> Option<ConnectionPermit> {
        self.hold(REQUEST)
    }

    /// Counts the body of an answer while it is in memory. The answer is replaced by a refusal if what is ready of it
    /// does not fit.
    pub(super) fn count(&self, port: Port, answer: Response<Body>) -> Response<Body> {
        let (head, mut body) = answer.into_parts();
        // What is ready now is in memory already; anything else is counted as it comes.
        let first = match body.frame().now_or_never() {
            None => None,
            Some(None) => return Response::from_parts(head, Body::empty()),
            Some(Some(Err(error))) => Some(Err(error)),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Err(other) => Some(Ok(other)),
                Ok(data) => match self.limiter.take_amount(self.address, data.len()) {
                    Ok(permit) => Some(Ok(Frame::data(owned(data, permit)))),
                    Err(_) => return over_budget(port),
                },
            },
        };
        let counted = Counted { body, budget: self.clone(), first };
        Response::from_parts(head, Body::new(counted))
    }
}

/// The refusal of a request that does not fit into the budget: a code on which SDK clients retry.
pub(super) fn over_budget(port: Port) -> Response<Body> {
    let mut response = match port {
        Port::Grpc => {
            Status::unavailable("too many answers wait for their readers; try again").into_http()
        }
        // Without a body, which would wait for its reader too.
        Port::Http | Port::Local => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            response
        }
    };
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// Bytes that count until the last part of them is dropped.
fn owned(data: Bytes, permit: ConnectionPermit) -> Bytes {
    struct Owned(Bytes, #[allow(dead_code, reason = "counts until dropped")] ConnectionPermit);
    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Owned(data, permit))
}

/// A body whose data is counted.
struct Counted {
    body: Body,
    budget: AnswerBudget,
    first: Option<Result<Frame<Bytes>, axum::Error>>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let AnswerBudget { limiter, address } = &self.budget;
        let count = |data: Bytes| {
            let permit = limiter.take_anyway(*address, data.len());
            owned(data, permit)
        };
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(count))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref());
        hint_behind(first.map_or(0, Bytes::len) as u64, &rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn budget(max: usize) -> AnswerBudget {
        AnswerBudget::of(ConnectionLimiter::new(max, 0), HERE)
    }

    #[tokio::test]
    async fn bytes_count_until_the_last_part_of_them_has_left() {
        let budget = budget(100);
        let answer = budget.count(Port::Http, Response::new(Body::from(vec![1; 60])));
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.body().size_hint().exact(), Some(60));
        let data = answer.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!((data.len(), budget.limiter.count()), (60, 60), "the body itself has ended");
        let part = data.slice(..1);
        drop(data);
        assert!(!budget.has_room(41) && budget.has_room(40), "a part of it is left");
        drop(part);
        assert_eq!(budget.limiter.count(), 0);
    }

    #[tokio::test]
    async fn an_answer_beyond_the_budget_is_refused_by_codes_that_clients_retry() {
        for (port, code) in [(Port::Http, 504), (Port::Grpc, 200)] {
            let budget = budget(100);
            let refused = budget.count(port, Response::new(Body::from(vec![1; 101])));
            assert_eq!(refused.status(), code);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "2");
            if port == Port::Grpc {
                let unavailable = (tonic::Code::Unavailable as i32).to_string();
                assert_eq!(refused.headers()["grpc-status"], unavailable.as_str());
            }
            assert_eq!(budget.limiter.count(), 0, "its bytes are gone");
        }
    }

    #[tokio::test]
    async fn an_answer_that_has_begun_goes_on_and_is_counted() {
        let budget = budget(100);
        let pieces = [60, 60].map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![1; size])));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let mut body = budget.count(Port::Http, Response::new(body)).into_body();
        let mut data = async || body.frame().await.expect("more").expect("sound").into_data();
        let first = data().await.expect("data");
        let second = data().await.expect("data");
        assert_eq!((first.len(), second.len(), budget.limiter.count()), (60, 60, 120));
        drop((first, second));
        assert_eq!(budget.limiter.count(), 0);
    }
}
