//! Span ids of attempts in the traces of their jobs. The trace id of a job is the job's id.

use network_lib::ids::{JobId, LeaseId};
use sha2::{Digest, Sha256};

/// Span id of an attempt. It does not reveal the lease, which is a credential.
#[must_use]
pub fn attempt_span(lease: LeaseId) -> [u8; 8] {
    let mut hasher = Sha256::new();
    hasher.update("attempt");
    hasher.update(lease.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hasher.finalize());
    [a, b, c, d, e, f, g, h]
}

/// W3C `traceparent` of an attempt, for its worker.
#[must_use]
pub fn attempt_traceparent(job: JobId, lease: LeaseId) -> String {
    format!("00-{job}-{:016x}-01", u64::from_be_bytes(attempt_span(lease)))
}
