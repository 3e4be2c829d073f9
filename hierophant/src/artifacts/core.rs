//! The decision about a finished upload.

use hierophant_model::records::ArtifactRecord;
use network_lib::job::BlobInfo;

/// Decision about a finished upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The ticket is open: keep the bytes.
    Keep,
    /// The same bytes are already stored, by an earlier try whose answer was lost: nothing to do.
    AlreadyThere,
    /// Other bytes are already stored: refuse the upload.
    Conflict,
    /// Unknown or expired ticket.
    NoTicket,
}

/// Decides about a finished upload to `ticket`.
#[must_use]
pub fn decide(ticket: Option<&ArtifactRecord>, upload: &BlobInfo) -> Decision {
    match ticket {
        None => Decision::NoTicket,
        // The bytes of an expired ticket may already be removed.
        Some(ticket) if ticket.expired_at.is_some() => Decision::NoTicket,
        Some(ArtifactRecord { blob: None, .. }) => Decision::Keep,
        Some(ArtifactRecord { blob: Some(stored), .. }) if stored == upload => {
            Decision::AlreadyThere
        }
        Some(_) => Decision::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use network_lib::ids::{ArtifactId, Sha256Digest};

    use super::*;
    use hierophant_model::records::{ArtifactKind, Millis};

    #[test]
    fn the_first_upload_wins_and_its_repetition_is_harmless() {
        let info = |n| BlobInfo { size: 5, sha256: Sha256Digest([n; 32]) };
        let id = ArtifactId([1; 16]);
        let mut ticket = ArtifactRecord::ticket(id, ArtifactKind::Stdin, Address::ZERO, Millis(0));
        assert_eq!(decide(None, &info(1)), Decision::NoTicket);
        assert_eq!(decide(Some(&ticket), &info(1)), Decision::Keep);
        ticket.blob = Some(info(1));
        assert_eq!(decide(Some(&ticket), &info(1)), Decision::AlreadyThere);
        assert_eq!(decide(Some(&ticket), &info(2)), Decision::Conflict);
        ticket.expired_at = Some(Millis(5));
        assert_eq!(decide(Some(&ticket), &info(1)), Decision::NoTicket);
    }
}
