//! Downloads: blobs served whole or in part, from any blob store.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use headers::{
    AcceptRanges, ContentLength, ContentRange, HeaderMapExt, IfModifiedSince, IfRange,
    IfUnmodifiedSince, LastModified,
};
use network_lib::ids::{ArtifactId, JobId, Sha256Digest};

use super::headers::isolate;
use super::{not_found, try_again};
use crate::api::Transfers;
use crate::artifacts::blobs::{Ample, BlobMetadata, ByteStream};
use crate::artifacts::task_blobs::TaskBlobs;
use crate::listen::AnswerBudget;
use crate::metrics::{Direction, Peer};

/// Room in the budget of answers without which downloads continue in small pieces: several large ones, because others
/// may begin at the same time.
const LARGE_PIECE: usize = 1 << 20;

/// Size of the piece of a download that is read at once.
const FIRST_PIECE: usize = 16 * 1024;

/// Text of the response for missing data.
const MISSING: &str = "artifact data missing";

/// Part of a blob that a request asks for, after its conditions have been evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeRequest {
    /// The whole blob.
    Whole,
    /// These bytes, which exist.
    Part(Range<u64>),
    /// Nothing: the caller already has the current version.
    NotModified,
    /// Nothing: a precondition of the caller is not met.
    PreconditionFailed,
    /// Bytes beyond the end, or several ranges.
    OutOfRange,
}

/// Stored bytes.
pub(super) enum Stored<'a> {
    /// An artifact.
    Artifact(ArtifactId),
    /// A blob of a job's tasks.
    OfTask(&'a TaskBlobs, JobId, Sha256Digest),
}

impl Stored<'_> {
    async fn metadata(&self, transfers: &Transfers) -> io::Result<Option<BlobMetadata>> {
        match self {
            Self::Artifact(id) => transfers.blobs.metadata(*id).await,
            Self::OfTask(tasks, job, blob) => Ok(tasks.metadata(*job, *blob)),
        }
    }

    async fn read(
        &self,
        transfers: &Transfers,
        part: Option<Range<u64>>,
        ample: Ample,
    ) -> io::Result<ByteStream> {
        match self {
            Self::Artifact(id) => transfers.blobs.read_while(*id, part, ample).await,
            Self::OfTask(tasks, job, blob) => tasks.read_while(*job, *blob, part, ample).await,
        }
    }
}

/// Streams an artifact as it is stored, as [`serve`] does.
pub(super) async fn serve_blob(
    transfers: &Transfers,
    id: ArtifactId,
    known: Option<BlobMetadata>,
    peer: Peer,
    request: Request,
) -> Response {
    serve(transfers, &Stored::Artifact(id), known, peer, request).await
}

/// Streams bytes as they are stored. `known` is their metadata if it was just looked up. The status code is 404 if they
/// are missing, and one on which clients retry if they cannot be read.
pub(super) async fn serve(
    transfers: &Transfers,
    stored: &Stored<'_>,
    known: Option<BlobMetadata>,
    peer: Peer,
    request: Request,
) -> Response {
    let reader = Reader::of(peer, &request);
    let found = match known {
        Some(known) => known,
        None => match stored.metadata(transfers).await {
            Ok(Some(found)) => found,
            Ok(None) => return not_found(MISSING),
            Err(error) => return unreadable(&error),
        },
    };
    let mut response = match parse_range(request.headers(), found) {
        RangeRequest::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        RangeRequest::PreconditionFailed => StatusCode::PRECONDITION_FAILED.into_response(),
        RangeRequest::OutOfRange => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            response.headers_mut().typed_insert(ContentRange::unsatisfied_bytes(found.size));
            response
        }
        RangeRequest::Whole => body(transfers, stored, reader, None, found.size).await,
        RangeRequest::Part(range) => {
            let length = range.end - range.start;
            let headers = ContentRange::bytes(range.clone(), found.size);
            let part = Some(range);
            let mut response = body(transfers, stored, reader, part, length).await;
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
    // Ids are capabilities, so no proxy may cache the content.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    isolate(headers);
    response
}

/// The reader of a download.
struct Reader {
    peer: Peer,
    address: IpAddr,
    /// Whether only the head is asked for.
    head_only: bool,
    /// Budget of answers; none in a simulation.
    budget: Option<AnswerBudget>,
}

impl Reader {
    fn of(peer: Peer, request: &Request) -> Self {
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self {
            peer,
            address: from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.0.ip()),
            head_only: request.method() == Method::HEAD,
            budget: request.extensions().get().cloned(),
        }
    }
}

/// A response with the bytes, which are counted as they are sent.
async fn body(
    transfers: &Transfers,
    stored: &Stored<'_>,
    reader: Reader,
    part: Option<Range<u64>>,
    length: u64,
) -> Response {
    let body = if reader.head_only || length == 0 {
        Body::empty()
    } else {
        let Reader { peer, address, budget, .. } = reader;
        let Some(place) = transfers.limits.downloads.take(peer, address) else {
            return busy("too many downloads in progress; try again later");
        };
        // Held until the first piece is counted as part of the answer, so that many reads at once do not exceed the
        // budget together.
        let first = budget.as_ref().map(|budget| budget.hold(FIRST_PIECE));
        if matches!(first, Some(None)) {
            return busy("too many answers wait for their readers; try again later");
        }
        let ample = move || budget.as_ref().is_none_or(|budget| budget.has_room(LARGE_PIECE));
        match stored.read(transfers, part, Arc::new(ample)).await {
            Ok(bytes) => {
                let metrics = transfers.metrics.clone();
                let mut first = first;
                Body::from_stream(bytes.inspect_ok(move |chunk| {
                    drop(first.take());
                    // The place is held as long as the body exists.
                    let _held = &place;
                    metrics.transferred(Direction::Out, peer, chunk.len() as u64);
                }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return not_found(MISSING);
            }
            Err(error) => return unreadable(&error),
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.typed_insert(ContentLength(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// Response when too much is in progress.
fn busy(text: &str) -> Response {
    let mut response = try_again(text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Response while the blob store is unavailable.
pub(super) fn unreadable(error: &std::io::Error) -> Response {
    tracing::error!(%error, "an artifact could not be read");
    try_again("artifact data unavailable; try again later")
}

/// The part of a blob that the headers of a request ask for. Several ranges in one request are not served.
#[must_use]
pub fn parse_range(headers: &HeaderMap, found: BlobMetadata) -> RangeRequest {
    let modified: SystemTime = found.modified;
    if let Some(since) = headers.typed_get::<IfUnmodifiedSince>()
        && !since.precondition_passes(modified)
    {
        return RangeRequest::PreconditionFailed;
    }
    if let Some(since) = headers.typed_get::<IfModifiedSince>()
        && !since.is_modified(modified)
    {
        return RangeRequest::NotModified;
    }
    let Some(range) = headers.typed_get::<headers::Range>() else { return RangeRequest::Whole };
    let last_modified = LastModified::from(modified);
    let condition = headers.typed_get::<IfRange>();
    if condition.is_some_and(|condition| condition.is_modified(None, Some(&last_modified))) {
        return RangeRequest::Whole;
    }
    let mut ranges = range.satisfiable_ranges(found.size);
    let (Some((start, end)), None) = (ranges.next(), ranges.next()) else {
        return RangeRequest::OutOfRange;
    };
    let start = match start {
        Bound::Included(start) => start,
        _ => 0,
    };
    let end = match end {
        Bound::Included(end) => end.saturating_add(1).min(found.size),
        _ => found.size,
    };
    if start < end { RangeRequest::Part(start..end) } else { RangeRequest::OutOfRange }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn range_of(pairs: &[(&'static str, &str)]) -> RangeRequest {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), value.parse().expect("a value"))
            })
            .collect();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        parse_range(&headers, BlobMetadata { size: 10, modified })
    }

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn ranges_are_within_the_blob() {
        assert_eq!(range_of(&[]), RangeRequest::Whole);
        for (range, part) in
            [("2-4", 2..5), ("7-", 7..10), ("-2", 8..10), ("0-99", 0..10), ("0-0", 0..1)]
        {
            assert_eq!(range_of(&[("range", &format!("bytes={range}"))]), RangeRequest::Part(part));
        }
        for range in ["10-", "20-30", "5-4", "-0", "0-1,3-4"] {
            let range = format!("bytes={range}");
            assert_eq!(range_of(&[("range", &range)]), RangeRequest::OutOfRange, "{range}");
        }
    }

    #[test]
    fn conditions_are_evaluated() {
        assert_eq!(range_of(&[("if-modified-since", THEN)]), RangeRequest::NotModified);
        assert_eq!(range_of(&[("if-modified-since", BEFORE)]), RangeRequest::Whole);
        assert_eq!(range_of(&[("if-unmodified-since", THEN)]), RangeRequest::Whole);
        assert_eq!(range_of(&[("if-unmodified-since", BEFORE)]), RangeRequest::PreconditionFailed);
        let range = ("range", "bytes=0-1");
        assert_eq!(range_of(&[range, ("if-range", THEN)]), RangeRequest::Part(0..2));
        assert_eq!(range_of(&[range, ("if-range", BEFORE)]), RangeRequest::Whole);
    }
}
