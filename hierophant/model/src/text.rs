//! Short texts of errors and ids, for logs and lists.

use std::error::Error;

use network_lib::ids::{ArtifactId, RequestId};

/// Displayed digits of a request id.
const REQUEST_DIGITS: usize = 16;

/// Displayed digits of an artifact id.
const ARTIFACT_DIGITS: usize = 8;

/// An error and its causes in one line.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The first digits of a request id. The whole id is a credential and does not belong in logs.
#[must_use]
pub fn short_request_id(id: RequestId) -> String {
    id.to_string()[..REQUEST_DIGITS].to_owned()
}

/// The first digits of an artifact id. The whole id is a credential and does not belong in logs.
#[must_use]
pub fn short_artifact_id(id: ArtifactId) -> String {
    id.to_string()[..ARTIFACT_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_short() {
        assert_eq!(short_request_id(RequestId([0xab; 32])), "ab".repeat(8));
        assert_eq!(short_artifact_id(ArtifactId([0xab; 16])), "ab".repeat(4));
    }
}
