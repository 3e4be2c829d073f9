//! Limits of retention.

use super::Millis;

/// Times before which stored data may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Limit for delivered proofs whose deadlines have passed.
    pub delivered_before: Millis,
    /// Limit for undelivered proofs whose deadlines have passed.
    pub undelivered_before: Millis,
    /// Limit for inputs of ended jobs.
    pub ended_before: Millis,
    /// Limit for unused uploads and tickets.
    pub unused_before: Millis,
    /// Limit for the data of expired artifacts.
    pub expired_before: Millis,
}
