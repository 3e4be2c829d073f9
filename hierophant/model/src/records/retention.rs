//! Up to when bytes are kept.

use super::Millis;

/// The points in time before which stored bytes may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Proofs that were delivered, and whose deadlines passed, before this may go.
    pub delivered_before: Millis,
    /// Undelivered proofs whose deadlines passed before this may go.
    pub undelivered_before: Millis,
    /// Inputs of jobs that ended before this may go.
    pub ended_before: Millis,
    /// Unused uploads and tickets from before this may go.
    pub unused_before: Millis,
    /// Bytes of what expired before this are removed.
    pub expired_before: Millis,
}
