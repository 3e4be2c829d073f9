//! Answers to transfers: whose they are, and what they mean.
//!
//! Between this worker and Hierophant there may be a proxy with answers of its own. None of them may cost a finished
//! proof, so only an answer that is certainly Hierophant's is final.

use network_lib::wire::{LEASE_ENDED_HEADER, REJECTION_HEADER};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::runner) enum TransferError {
    /// The lease is no longer valid.
    #[error("Hierophant answers that the lease is gone")]
    LeaseGone,
    /// The access key is no longer valid.
    #[error("Hierophant rejects the access key")]
    KeyOutdated,
    /// Hierophant will never accept these bytes, for the given reason.
    #[error("Hierophant does not accept the result: {0}")]
    Rejected(String),
    /// No source has the blob.
    #[error("Hierophant answers that no source has the blob")]
    Missing,
    /// The bytes, of this length, are not the announced ones.
    #[error("a blob of {0} bytes differs from the announced one: expected its size and digest")]
    Differs(u64),
    /// An answer that Hierophant does not give: something in between does.
    #[error("the answer is {0}, which does not come from Hierophant: {remedy}", remedy = remedy(*.0))]
    Foreign(StatusCode),
    /// A failure that a retry may resolve.
    #[error("{0}")]
    Transient(String),
    /// A failure that a retry cannot resolve.
    #[error("{0}")]
    Permanent(String),
}

impl TransferError {
    pub(super) fn network(error: reqwest::Error) -> Self {
        // Without the URL, which contains the lease, a secret.
        let error = anyhow::Error::new(error.without_url());
        Self::Transient(format!("{error:#}"))
    }
}

/// The response, if it is a success.
pub(super) fn accepted(response: reqwest::Result<Response>) -> Result<Response, TransferError> {
    let response = response.map_err(TransferError::network)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let headers = response.headers();
    if let Some(reason) = headers.get(REJECTION_HEADER) {
        return Err(TransferError::Rejected(String::from_utf8_lossy(reason.as_bytes()).into()));
    }
    Err(match status {
        _ if headers.contains_key(LEASE_ENDED_HEADER) => TransferError::LeaseGone,
        StatusCode::UNAUTHORIZED if asks_for_key(headers) => TransferError::KeyOutdated,
        // Hierophant never answers 404 to these paths: a proxy does, while Hierophant is down.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_FOUND => {
            TransferError::Transient(format!("Hierophant answers {status}"))
        }
        _ if status.is_server_error() => {
            TransferError::Transient(format!("Hierophant answers {status}"))
        }
        _ => TransferError::Foreign(status),
    })
}

/// Whether an answer asks for the access key as Hierophant does. A proxy with a login of its own names a realm or
/// another scheme.
fn asks_for_key(headers: &HeaderMap) -> bool {
    headers.get(WWW_AUTHENTICATE).is_some_and(|challenge| challenge == "Bearer")
}

/// What an operator has to change so that Hierophant's own answers arrive.
fn remedy(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            "let the proxy pass uploads of any size, in nginx by `client_max_body_size 0`"
        }
        StatusCode::LENGTH_REQUIRED => {
            "let the proxy pass uploads as they arrive, in nginx by `proxy_request_buffering off`"
        }
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            "let the proxy pass `PUT` below /leases/"
        }
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "give this worker an address of Hierophant without an authenticating proxy"
        }
        _ if status.is_redirection() => {
            "set `hierophant_ws_address` to the address to which the proxy redirects"
        }
        _ => "let the proxy pass all paths below /leases/ unchanged to Hierophant's HTTP port",
    }
}
