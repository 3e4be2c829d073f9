//! Reasons for a rejection, and the limits of single fields.

use std::io;
use std::time::Duration;

use hierophant_model::clients::OverQuota;
use hierophant_model::records::{ArtifactKind, StorageLow};
use hierophant_store::StoreError;
use network_lib::ids::{ArtifactId, VkHash};

use crate::verify::{KeyError, Unverifiable};

/// Maximum length of a verifying key in bytes. Real ones have about 130.
pub(super) const MAX_VK_BYTES: usize = 64 * 1024;

/// Maximum length of an artifact URI in bytes.
const MAX_URI_BYTES: usize = 2048;

/// Maximum number of addresses in a whitelist; each is stored.
const MAX_WHITELIST: usize = 64;

/// Why a request or a program is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// A field is longer than allowed.
    #[error("{field} too long ({length} {unit}): expected at most {max}")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// Maximum length.
        max: usize,
        /// Unit of both.
        unit: &'static str,
    },
    /// The version is not that of an SP1 circuit.
    #[error("invalid version {0:?}: expected a version like \"sp1-v6.1.0\"")]
    Version(String),
    /// The deadline has passed.
    #[error("deadline {0} has passed already")]
    DeadlinePassed(u64),
    /// The deadline is too far ahead.
    #[error("deadline {deadline} is more than {} ahead", humantime::format_duration(*.max))]
    DeadlineTooFar {
        /// Deadline of the request, Unix seconds.
        deadline: u64,
        /// Maximum time until a deadline.
        max: Duration,
    },
    /// A URI does not name an artifact of this network.
    #[error("invalid {} {:?}: expected the URI of an artifact of this network", .0.field, .0.uri)]
    ForeignUri(Reference),
    /// An artifact is not of the kind that the call needs.
    #[error("{field} refers to an artifact of kind {kind}: expected {expected}")]
    WrongKind {
        /// Name of the field.
        field: &'static str,
        /// Kind of the artifact.
        kind: ArtifactKind,
        /// Expected kinds.
        expected: &'static str,
    },
    /// The verifying key is empty or too long.
    #[error("invalid verifying key of {0} bytes: expected 1 to {MAX_VK_BYTES}")]
    VerifyingKey(usize),
    /// The verifying key cannot be decoded, or is that of another program.
    #[error("invalid verifying key")]
    WrongKey(#[source] KeyError),
    /// The uploaded data is not a program.
    #[error("program_uri: {0}")]
    NotProgram(String),
    /// No ticket was ever issued for this artifact, or one of another client.
    #[error("{} {:?} was never issued to this client", .0.field, .0.uri)]
    NeverIssued(Reference),
    /// The artifact has expired.
    #[error("{} {:?} has expired; upload it again", .0.field, .0.uri)]
    Expired(Reference),
    /// The ticket was not used.
    #[error("nothing was uploaded to {} {:?}", .0.field, .0.uri)]
    NotUploaded(Reference),
    /// The program is not registered, or its data is missing.
    #[error("program {0} is not registered here")]
    UnknownProgram(VkHash),
    /// This build could not verify the proof.
    #[error(transparent)]
    Unverifiable(Unverifiable),
    /// A quota is exhausted.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// There is too little storage for new work.
    #[error(transparent)]
    StorageLow(#[from] StorageLow),
    /// The store could not be read or written.
    #[error("store unavailable; try again later")]
    Store(#[source] StoreError),
    /// Artifact data could not be read.
    #[error("artifact storage unavailable; try again later")]
    Blobs(#[source] io::Error),
}

/// A reference to an artifact: a field of a call and the URI in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Name of the field.
    pub field: &'static str,
    /// The URI as sent.
    pub uri: String,
    /// The artifact that the URI names, if it names one of this network.
    pub artifact: Option<ArtifactId>,
}

impl Reference {
    pub(super) fn check_length(&self) -> Result<(), Rejected> {
        bounded(self.field, self.uri.len(), MAX_URI_BYTES, "bytes")
    }
}

/// Checks the number of addresses in a whitelist.
///
/// # Errors
///
/// [`Rejected::TooLong`].
pub fn check_whitelist(length: usize) -> Result<(), Rejected> {
    bounded("whitelist", length, MAX_WHITELIST, "addresses")
}

/// Checks the length of a field.
///
/// # Errors
///
/// [`Rejected::TooLong`].
pub fn bounded(
    field: &'static str,
    length: usize,
    max: usize,
    unit: &'static str,
) -> Result<(), Rejected> {
    if length <= max { Ok(()) } else { Err(Rejected::TooLong { field, length, max, unit }) }
}
