//! Error responses of `/api/v1` and of the status pages' access control: problem details in JSON (RFC 9457).

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hierophant_admin_model::Refusal;

/// Media type of an error response.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Beginning of the URI of every kind.
const TYPE: &str = "urn:hierophant:problem:";

/// Longest text of a framework's error that is kept, in bytes.
const MAX_TEXT: usize = 4096;

/// Kind of an error. Its name is part of the interface and does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Invalid parameter, body or id.
    InvalidCall,
    /// The call needs a token and presents none.
    TokenRequired,
    /// The token is unknown, revoked or expired.
    TokenInvalid,
    /// The token's role does not permit the call.
    RoleInsufficient,
    /// The call comes from a page of another site.
    ForeignPage,
    /// The resource or the path does not exist.
    NotFound,
    /// The path does not accept this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The state of the resource does not permit the call.
    Conflict,
    /// The data were deleted.
    Gone,
    /// The body is too long.
    BodyTooLong,
    /// The content type of the body is not accepted.
    UnsupportedMediaType,
    /// Another error of the caller.
    Refused,
    /// The address has presented too many invalid tokens.
    TooManyAttempts,
    /// The call was interrupted by a fault of Hierophant.
    Internal,
    /// A part of Hierophant does not answer, or the store or the data cannot be reached.
    Unavailable,
    /// The call could not be recorded in the audit log, and was not executed.
    NotAudited,
    /// The call took too long.
    DeadlineExceeded,
}

impl Kind {
    /// Every kind.
    pub(super) const ALL: [Self; 18] = [
        Self::InvalidCall,
        Self::TokenRequired,
        Self::TokenInvalid,
        Self::RoleInsufficient,
        Self::ForeignPage,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::Conflict,
        Self::Gone,
        Self::BodyTooLong,
        Self::UnsupportedMediaType,
        Self::Refused,
        Self::TooManyAttempts,
        Self::Internal,
        Self::Unavailable,
        Self::NotAudited,
        Self::DeadlineExceeded,
    ];

    /// Status code, name in the type's URI, and title.
    const fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidCall => (400, "invalid-call", "Invalid call"),
            Self::TokenRequired => (401, "token-required", "Token required"),
            Self::TokenInvalid => (401, "token-invalid", "Invalid token"),
            Self::RoleInsufficient => (403, "role-insufficient", "Insufficient role"),
            Self::ForeignPage => (403, "foreign-page", "Call from another site"),
            Self::NotFound => (404, "not-found", "Not found"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "Method not allowed"),
            Self::BodyTimeout => (408, "body-timeout", "Body not received in time"),
            Self::Conflict => (409, "conflict", "Conflict with the current state"),
            Self::Gone => (410, "gone", "Deleted"),
            Self::BodyTooLong => (413, "body-too-long", "Body too long"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "Unsupported media type"),
            Self::Refused => (422, "refused", "Refused call"),
            Self::TooManyAttempts => (429, "too-many-attempts", "Too many invalid tokens"),
            Self::Internal => (500, "internal", "Internal error"),
            Self::Unavailable => (503, "unavailable", "Temporarily unavailable"),
            Self::NotAudited => (503, "not-audited", "Audit log unavailable"),
            Self::DeadlineExceeded => (504, "deadline-exceeded", "Call timed out"),
        }
    }

    /// The kind of an error of which only the status code is known.
    pub(super) fn of(code: StatusCode) -> Self {
        let same = |kind: &Self| kind.facts().0 == code.as_u16();
        let other = if code.is_client_error() { Self::Refused } else { Self::Internal };
        Self::ALL.into_iter().find(same).unwrap_or(other)
    }

    /// URI of the kind.
    pub(super) fn uri(self) -> String {
        format!("{TYPE}{}", self.facts().1)
    }

    /// Status code of a response of this kind.
    pub(super) fn code(self) -> StatusCode {
        StatusCode::from_u16(self.facts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// An error response.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    code: StatusCode,
    detail: String,
}

impl Problem {
    /// An error of this kind, described in a sentence.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, code: kind.code(), detail: detail.into() }
    }

    /// An error with this status code, described in a sentence.
    pub(super) fn of(code: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind: Kind::of(code), code, detail: detail.into() }
    }

    fn body(self) -> String {
        let Self { kind, code, detail } = self;
        let body = Refusal {
            kind: kind.uri(),
            title: kind.facts().2.to_owned(),
            status: code.as_u16(),
            error: detail.clone(),
            detail,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.code, [(header::CONTENT_TYPE, PROBLEM_JSON)], self.body()).into_response()
    }
}

/// Converts error responses of the framework, such as that to an unknown method, whose bodies are text or empty.
pub(super) async fn in_json(response: Response) -> Response {
    let code = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !(code.is_client_error() || code.is_server_error())
        || kind.is_some_and(|kind| kind == PROBLEM_JSON)
    {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = to_bytes(body, MAX_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let reason = code.canonical_reason().unwrap_or("error").to_lowercase();
    let problem = Problem::of(code, if text.is_empty() { reason } else { text });
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(head, Body::from(problem.body()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_uri_and_is_listed() {
        let uris: BTreeSet<String> = Kind::ALL.into_iter().map(Kind::uri).collect();
        assert_eq!(uris.len(), Kind::ALL.len());
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rest-api.md");
        let page = std::fs::read_to_string(page).expect("the page");
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.facts().1, kind.facts().0);
            assert!(page.contains(&row), "docs/rest-api.md lacks: {row}");
        }
    }

    #[test]
    fn a_status_code_gives_the_kind_of_its_own_code() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.code()).code(), kind.code());
        }
        assert_eq!(Kind::of(StatusCode::RANGE_NOT_SATISFIABLE), Kind::Refused);
        assert_eq!(Kind::of(StatusCode::BAD_GATEWAY), Kind::Internal);
    }
}
