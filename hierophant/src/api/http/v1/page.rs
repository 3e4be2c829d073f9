//! Shared parts of the API's responses: JSON, paging, errors, and the parsing of what callers send.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::http::StatusCode;
use hierophant_admin_model::{Named, Value};
use hierophant_model::text::error_chain;
use hierophant_store::StoreError;
use network_lib::ids::{JobId, WorkerId};

use crate::api::problem::{Kind, Problem};
use crate::ask::Unanswered;

/// Default number of entries in a list.
pub(super) const DEFAULT_ENTRIES: u32 = 100;

/// Maximum number of entries in a list.
const MAX_ENTRIES: u32 = 1000;

/// Maximum number of entries that a list skips.
const MAX_OFFSET: u64 = 10_000;

/// Maximum size of a request body in bytes; a filter needs a few hundred.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;

/// An error response.
pub(super) type ErrorResponse = Problem;

/// Response to a call: JSON or an error.
pub(super) type ApiResult<T> = Result<Json<T>, ErrorResponse>;

/// An error response with this status code.
pub(super) fn error_response(code: StatusCode, error: impl Into<String>) -> ErrorResponse {
    Problem::of(code, error)
}

/// An error response for an invalid call.
pub(super) fn invalid(error: impl Into<String>) -> ErrorResponse {
    Problem::new(Kind::InvalidCall, error)
}

/// An error response for a missing resource.
pub(super) fn not_found(error: impl Into<String>) -> ErrorResponse {
    Problem::new(Kind::NotFound, error)
}

/// An error response for a temporary fault.
pub(super) fn unavailable(error: impl Into<String>) -> ErrorResponse {
    Problem::new(Kind::Unavailable, error)
}

/// An error response for a failed store access, which is logged unless the list itself was too much.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn store_unavailable(error: StoreError) -> ErrorResponse {
    if error.is_refused_list() {
        return unavailable(error.to_string());
    }
    tracing::error!(error = %error_chain(&error), "the store could not be read");
    unavailable("store unavailable; try again later")
}

/// An error response for an actor that did not answer in time.
pub(super) fn actor_timeout(_: Unanswered) -> ErrorResponse {
    unavailable("actor timeout; try again later")
}

/// Number of entries to list.
pub(super) fn limit(requested: Option<u32>) -> u32 {
    requested.unwrap_or(DEFAULT_ENTRIES).clamp(1, MAX_ENTRIES)
}

/// Number of entries to skip.
///
/// # Errors
///
/// If it is above [`MAX_OFFSET`]: entries that are skipped are read nevertheless.
pub(super) fn offset(requested: Option<u64>) -> Result<u64, ErrorResponse> {
    let offset = requested.unwrap_or(0);
    if offset <= MAX_OFFSET {
        return Ok(offset);
    }
    Err(invalid(format!(
        "invalid `offset` {offset}: expected at most {MAX_OFFSET}, or a narrower filter"
    )))
}

/// Parses a job id.
pub(super) fn job_id(text: &str) -> Result<JobId, ErrorResponse> {
    text.parse().map_err(|_| {
        let digits = 2 * JobId::LEN;
        invalid(format!("invalid job id {text:?}: expected {digits} hexadecimal digits"))
    })
}

/// Parses a worker id.
pub(super) fn worker_id(text: &str) -> Result<WorkerId, ErrorResponse> {
    text.parse().map_err(|_| {
        let digits = 2 * WorkerId::LEN;
        invalid(format!("invalid worker id {text:?}: expected {digits} hexadecimal digits"))
    })
}

/// Parses an optional parameter; empty text counts as absent.
pub(super) fn parse_optional<T>(name: &str, text: Option<&str>) -> Result<Option<T>, ErrorResponse>
where
    T: FromStr<Err: Display>,
{
    let parse = |text: &str| {
        text.parse().map_err(|error| invalid(format!("invalid `{name}` {text:?}: {error}")))
    };
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

/// Refuses a text that is present and empty, as a script sends it whose variable is not set. Unlike in a list, it must
/// not count as absent: a command would then concern more than its caller means.
pub(super) fn refuse_empty(name: &str, text: Option<&str>) -> Result<(), ErrorResponse> {
    match text {
        Some(text) if text.split(',').any(|part| part.trim().is_empty()) => {
            Err(invalid(format!("invalid `{name}` {text:?}: expected a value, or no such key")))
        }
        _ => Ok(()),
    }
}

/// The value of an enum that a caller has sent.
pub(super) fn parse_enum<T: Named>(name: &str, value: &Value<T>) -> Result<T, ErrorResponse> {
    value.known().ok_or_else(|| {
        let names: Vec<&str> = T::VALUES.iter().map(|value| value.name()).collect();
        let (value, names) = (value.as_str(), names.join(", "));
        invalid(format!("invalid `{name}` {value:?}: expected one of {names}"))
    })
}

/// The value of an optional parameter; empty text counts as absent.
pub(super) fn parse_optional_enum<T: Named>(
    name: &str,
    value: Option<&Value<T>>,
) -> Result<Option<T>, ErrorResponse> {
    value
        .filter(|value| !value.as_str().is_empty())
        .map(|value| parse_enum(name, value))
        .transpose()
}

/// Values of an enum, separated by commas.
pub(super) fn parse_enum_list<T: Named>(
    name: &str,
    text: Option<&str>,
) -> Result<Vec<T>, ErrorResponse> {
    let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|text| parse_enum(name, &Value::named(text))).collect()
}
