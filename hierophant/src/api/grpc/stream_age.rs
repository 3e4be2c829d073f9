//! Maximum age of the public streams, health and reflection: a connection with an open stream is never idle, so that
//! without it anyone could hold connections forever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::body::Frame;
use tokio::time::Sleep;
use tonic::Status;

/// Maximum age of a stream.
const MAX_AGE: Duration = Duration::from_secs(600);

/// A response whose body ends after [`MAX_AGE`] with a status on which clients open another stream.
pub(super) fn bounded(response: Response) -> Response {
    response.map(|body| Body::new(Aging::new(body, MAX_AGE)))
}

/// Body of a response that ends after a while.
struct Aging {
    body: Body,
    end: Pin<Box<Sleep>>,
    has_ended: bool,
}

impl Aging {
    fn new(body: Body, age: Duration) -> Self {
        Self { body, end: Box::pin(tokio::time::sleep(age)), has_ended: false }
    }
}

impl HttpBody for Aging {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        if this.end.as_mut().poll(context).is_pending() {
            return Pin::new(&mut this.body).poll_frame(context);
        }
        this.has_ended = true;
        let mut trailers = HeaderMap::new();
        let status = Status::unavailable("the stream is too old: open another one");
        let written = status.add_header(&mut trailers).map_err(axum::Error::new);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_end_ends_with_a_status_that_clients_retry() {
        let began = tokio::time::Instant::now();
        let endless = Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>());
        let mut body = bounded(Response::new(endless)).into_body();
        let last = body.frame().await.expect("a frame").expect("no error");
        let trailers = last.into_trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "14");
        assert_eq!(began.elapsed(), MAX_AGE);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_passes_as_it_is() {
        let body = bounded(Response::new(Body::from("answer"))).into_body();
        assert_eq!(body.collect().await.expect("no error").to_bytes(), "answer");
    }
}
