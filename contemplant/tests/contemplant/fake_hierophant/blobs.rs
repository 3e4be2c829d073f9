//! Blobs of tasks: what the played Hierophant serves and gets.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use network_lib::ids::LeaseId;
use network_lib::shard::{Blob, Source};
use network_lib::wire::REJECTION_HEADER;

use super::server::{key_refusal, lease_ended};
use super::{FakeHierophant, Shared, blob_info};
use crate::waiting::until;

/// Blobs by `LEASE/DIGEST`.
#[derive(Default)]
pub(super) struct Blobs {
    /// The bytes, and the errors of the next calls.
    served: BTreeMap<String, (Vec<u8>, Vec<StatusCode>)>,
    /// What was handed in, in its order, repetitions included.
    received: Vec<(String, Vec<u8>)>,
    /// Errors of the next blobs that are handed in.
    refuse: Vec<StatusCode>,
    /// Why no blob is accepted.
    reject: Option<String>,
    /// Calls for blobs, in their order.
    asked: Vec<String>,
}

fn key(lease: LeaseId, bytes: &[u8]) -> String {
    format!("{lease}/{}", blob_info(bytes).sha256)
}

/// Names a blob that only Hierophant has.
pub(crate) fn from_hierophant(bytes: &[u8]) -> Blob {
    Blob { info: blob_info(bytes), from: vec![Source::Hierophant] }
}

impl FakeHierophant {
    /// Serves a blob under a lease, after these errors.
    pub(crate) fn serve_blob(&self, lease: LeaseId, bytes: &[u8], errors: &[StatusCode]) -> Blob {
        self.serve_instead(lease, bytes, bytes, errors);
        from_hierophant(bytes)
    }

    /// Serves other bytes than the named ones.
    pub(crate) fn serve_instead(
        &self,
        lease: LeaseId,
        named: &[u8],
        bytes: &[u8],
        errors: &[StatusCode],
    ) {
        let blob = (bytes.to_vec(), errors.to_vec());
        self.files().blobs.served.insert(key(lease, named), blob);
    }

    /// Answers the next blobs that are handed in with these errors.
    pub(crate) fn refuse_blobs(&self, errors: &[StatusCode]) {
        self.files().blobs.refuse = errors.to_vec();
    }

    /// Rejects all blobs for this reason, as Hierophant itself does.
    pub(crate) fn reject_blobs(&self, reason: &str) {
        self.files().blobs.reject = Some(reason.to_owned());
    }

    /// How often a blob was handed in under a lease and accepted.
    pub(crate) fn received(&self, lease: LeaseId, bytes: &[u8]) -> usize {
        let wanted = (key(lease, bytes), bytes.to_vec());
        self.files().blobs.received.iter().filter(|received| **received == wanted).count()
    }

    /// How often a blob was asked for.
    pub(crate) fn asked(&self, lease: LeaseId, bytes: &[u8]) -> usize {
        let wanted = key(lease, bytes);
        self.files().blobs.asked.iter().filter(|asked| **asked == wanted).count()
    }

    /// Waits until a blob was handed in under a lease that often.
    pub(crate) async fn expect_received(&self, lease: LeaseId, bytes: &[u8], times: usize) {
        let waited = until(|| self.received(lease, bytes) >= times).await;
        waited.expect("the blob is not handed in");
    }

    /// Waits until a blob was asked for that often.
    pub(crate) async fn expect_asked(&self, lease: LeaseId, bytes: &[u8], times: usize) {
        let waited = until(|| self.asked(lease, bytes) >= times).await;
        waited.expect("the blob is not asked for");
    }
}

pub(super) async fn serve_blob(
    Path((lease, blob)): Path<(String, String)>,
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Response {
    let mut files = shared.files.lock().unwrap();
    if let Some(refusal) = key_refusal(&mut files, &headers) {
        return refusal;
    }
    let key = format!("{lease}/{blob}");
    files.blobs.asked.push(key.clone());
    let Some((bytes, errors)) = files.blobs.served.get_mut(&key) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !errors.is_empty() {
        return error(errors.remove(0));
    }
    bytes.clone().into_response()
}

pub(super) async fn take_blob(
    Path((lease, blob)): Path<(String, String)>,
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut files = shared.files.lock().unwrap();
    if let Some(refusal) = key_refusal(&mut files, &headers) {
        return refusal;
    }
    if !files.blobs.refuse.is_empty() {
        return error(files.blobs.refuse.remove(0));
    }
    if let Some(reason) = &files.blobs.reject {
        let header = [(REJECTION_HEADER, reason.clone())];
        return (StatusCode::PAYLOAD_TOO_LARGE, header).into_response();
    }
    assert_eq!(blob_info(&body).sha256.to_string(), blob, "other bytes than announced");
    files.blobs.received.push((format!("{lease}/{blob}"), body.to_vec()));
    StatusCode::OK.into_response()
}

fn error(code: StatusCode) -> Response {
    match code {
        StatusCode::FORBIDDEN => lease_ended(code),
        code => code.into_response(),
    }
}
