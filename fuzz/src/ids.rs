//! Ids as clients, Contemplants and operators write them.

use std::fmt::Display;
use std::str::FromStr;

use hierophant::api::urls::artifact_of;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, VkHash, WorkerId};
use network_lib::trace;

/// What is read as an id is written as one, and read back as the same.
pub(crate) fn every_kind(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let short = same::<ArtifactId>(text) | same::<JobId>(text) | same::<LeaseId>(text);
    let long = same::<RequestId>(text) | same::<Sha256Digest>(text) | same::<VkHash>(text);
    // As they come in a request's URIs and in the header of a trace.
    let uri = artifact_of(text).is_some();
    let _ = trace::parse(text);
    short | long | uri | same::<WorkerId>(text)
}

fn same<T: FromStr + Display + PartialEq>(text: &str) -> bool {
    let Ok(id) = text.parse::<T>() else { return false };
    let again = id.to_string().parse::<T>().ok();
    assert!(again.is_some_and(|again| again == id), "{text:?} reads differently once written");
    true
}
