//! Headers of uploads and downloads.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use hierophant::api::http::receive::content_length;
use hierophant::api::http::serve::{RangeRequest, parse_range};
use hierophant::artifacts::blobs::BlobMetadata;

/// Size of the artifact that is asked for.
const SIZE: u64 = 1000;

/// Parses lines of a name, a colon and a value; other lines are skipped. Asserts that a served part exists.
pub(crate) fn of_artifacts(bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(100) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let found = parse_range(&headers, BlobMetadata { size: SIZE, modified });
    if let RangeRequest::Part(part) = &found {
        assert!(part.start < part.end && part.end <= SIZE, "{part:?} of {SIZE}");
    }
    content_length(&headers).is_some() || found != RangeRequest::Whole
}
