//! What the answers of the API have in common: JSON, pages, refusals.

use std::str::FromStr;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ask::Unanswered;
use crate::proofs::actor::chain;
use crate::store::StoreError;

/// Entries of a list if the caller does not say how many, and at most.
pub(super) const ENTRIES: u32 = 100;
const MOST_ENTRIES: u32 = 1000;

/// Why a call was not answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refusal {
    #[serde(skip)]
    code: StatusCode,
    /// For people, in a sentence.
    error: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.code, Json(self)).into_response()
    }
}

/// What a call is answered.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// It is refused with this code.
pub(super) fn refusal(code: StatusCode, error: impl Into<String>) -> Refusal {
    Refusal { code, error: error.into() }
}

/// What was asked for is wrong.
pub(super) fn wrong(error: impl Into<String>) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, error)
}

/// There is no such thing.
pub(super) fn missing(error: impl Into<String>) -> Refusal {
    refusal(StatusCode::NOT_FOUND, error)
}

/// The store does not answer.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn store_away(error: StoreError) -> Refusal {
    tracing::error!(error = %chain(&error), "a list could not be read");
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer; try again later")
}

/// An owner of state does not answer.
pub(super) fn owner_away(_: Unanswered) -> Refusal {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the scheduler does not answer; try again later")
}

/// How many entries to list.
pub(super) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(ENTRIES).clamp(1, MOST_ENTRIES)
}

/// A word of the caller's as what it stands for; an empty one is none.
pub(super) fn parsed<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Refusal> {
    text.filter(|word| !word.is_empty()).map(|word| read(name, word)).transpose()
}

/// Several words, separated by commas.
pub(super) fn several<T: FromStr>(name: &str, text: Option<&str>) -> Result<Vec<T>, Refusal> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| read(name, word)).collect()
}

fn read<T: FromStr>(name: &str, word: &str) -> Result<T, Refusal> {
    word.parse().map_err(|_| wrong(format!("`{name}` cannot be {word:?}")))
}
