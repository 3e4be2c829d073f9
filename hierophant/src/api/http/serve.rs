//! Giving a blob out, whole or in part, wherever it lies.

use std::ops::{Bound, Range};
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use headers::{
    AcceptRanges, ContentLength, ContentRange, HeaderMapExt, IfModifiedSince, IfRange,
    IfUnmodifiedSince, LastModified,
};
use network_lib::ids::ArtifactId;

use super::{not_found, try_again};
use crate::api::Transfers;
use crate::artifacts::blobs::Found;
use crate::metrics::{Direction, Peer};

/// What a request for a blob gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, which it has.
    Part(Range<u64>),
    /// The word that the caller has it already.
    NotModified,
    /// The word that it is not what the caller has.
    PreconditionFailed,
    /// The word that it has no such bytes.
    OutOfRange,
}

/// Streams a blob as it is stored. A blob that is certainly gone is answered with 404, one that cannot be
/// asked for now with a code that means "try again".
pub(super) async fn serve_blob(
    transfers: &Transfers,
    id: ArtifactId,
    peer: Peer,
    request: Request,
) -> Response {
    let found = match transfers.blobs.look(id).await {
        Ok(Some(found)) => found,
        Ok(None) => return not_found("its bytes are gone"),
        Err(error) => return away(&error),
    };
    let mut response = match wanted(request.headers(), found) {
        Wanted::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Wanted::PreconditionFailed => StatusCode::PRECONDITION_FAILED.into_response(),
        Wanted::OutOfRange => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            response.headers_mut().typed_insert(ContentRange::unsatisfied_bytes(found.size));
            response
        }
        Wanted::Whole => body(transfers, id, peer, request.method(), None, found.size).await,
        Wanted::Part(range) => {
            let length = range.end - range.start;
            let headers = ContentRange::bytes(range.clone(), found.size);
            let part = Some(range);
            let mut response = body(transfers, id, peer, request.method(), part, length).await;
            if response.status() == StatusCode::OK {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                if let Ok(content_range) = headers {
                    response.headers_mut().typed_insert(content_range);
                }
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.typed_insert(AcceptRanges::bytes());
    headers.typed_insert(LastModified::from(found.modified));
    // Ids are capabilities, so nothing in between may keep or guess at the content.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

/// The bytes, counted as they leave.
async fn body(
    transfers: &Transfers,
    id: ArtifactId,
    peer: Peer,
    method: &Method,
    part: Option<Range<u64>>,
    length: u64,
) -> Response {
    let body = if method == Method::HEAD || length == 0 {
        Body::empty()
    } else {
        match transfers.blobs.read(id, part).await {
            Ok(bytes) => {
                let metrics = transfers.metrics.clone();
                Body::from_stream(bytes.inspect_ok(move |chunk| {
                    metrics.transferred(Direction::Out, peer, chunk.len() as u64);
                }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return not_found("its bytes are gone");
            }
            Err(error) => return away(&error),
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.typed_insert(ContentLength(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// The answer while the bytes cannot be asked for.
pub(super) fn away(error: &std::io::Error) -> Response {
    tracing::error!(%error, "an artifact cannot be read now");
    try_again("the bytes cannot be read now; try again later")
}

/// What a request's headers ask for. Several ranges at once are not served.
#[must_use]
pub fn wanted(headers: &HeaderMap, found: Found) -> Wanted {
    let modified: SystemTime = found.modified;
    if let Some(since) = headers.typed_get::<IfUnmodifiedSince>()
        && !since.precondition_passes(modified)
    {
        return Wanted::PreconditionFailed;
    }
    if let Some(since) = headers.typed_get::<IfModifiedSince>()
        && !since.is_modified(modified)
    {
        return Wanted::NotModified;
    }
    let Some(range) = headers.typed_get::<headers::Range>() else { return Wanted::Whole };
    let last_modified = LastModified::from(modified);
    let condition = headers.typed_get::<IfRange>();
    if condition.is_some_and(|condition| condition.is_modified(None, Some(&last_modified))) {
        return Wanted::Whole;
    }
    let mut ranges = range.satisfiable_ranges(found.size);
    let (Some((start, end)), None) = (ranges.next(), ranges.next()) else {
        return Wanted::OutOfRange;
    };
    let start = match start {
        Bound::Included(start) => start,
        _ => 0,
    };
    let end = match end {
        Bound::Included(end) => end.saturating_add(1).min(found.size),
        _ => found.size,
    };
    if start < end { Wanted::Part(start..end) } else { Wanted::OutOfRange }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(pairs: &[(&'static str, &str)]) -> Wanted {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), value.parse().expect("a value"))
            })
            .collect();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        wanted(&headers, Found { size: 10, modified })
    }

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn ranges_are_within_the_blob() {
        assert_eq!(asked(&[]), Wanted::Whole);
        for (range, part) in
            [("2-4", 2..5), ("7-", 7..10), ("-2", 8..10), ("0-99", 0..10), ("0-0", 0..1)]
        {
            assert_eq!(asked(&[("range", &format!("bytes={range}"))]), Wanted::Part(part));
        }
        for range in ["10-", "20-30", "5-4", "-0", "0-1,3-4"] {
            let range = format!("bytes={range}");
            assert_eq!(asked(&[("range", &range)]), Wanted::OutOfRange, "{range}");
        }
    }

    #[test]
    fn conditions_are_kept() {
        assert_eq!(asked(&[("if-modified-since", THEN)]), Wanted::NotModified);
        assert_eq!(asked(&[("if-modified-since", BEFORE)]), Wanted::Whole);
        assert_eq!(asked(&[("if-unmodified-since", THEN)]), Wanted::Whole);
        assert_eq!(asked(&[("if-unmodified-since", BEFORE)]), Wanted::PreconditionFailed);
        let range = ("range", "bytes=0-1");
        assert_eq!(asked(&[range, ("if-range", THEN)]), Wanted::Part(0..2));
        assert_eq!(asked(&[range, ("if-range", BEFORE)]), Wanted::Whole);
    }
}
