//! Retention of artifacts: limits, use, and when an artifact is looked at next.

use network_lib::named_enum;

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
    /// Limit for artifacts to look at again: the latest of the others.
    pub look_before: Millis,
    /// Limit for the data of expired artifacts.
    pub expired_before: Millis,
}

named_enum! {
    /// The limit that decides when an artifact is looked at next. Stored with the time that the limit is compared with,
    /// so that changed retention times apply to all artifacts at once.
    DueRule {
        /// New, or needed without a known end.
        Look = "look",
        /// Unused since its ticket was opened.
        Unused = "unused",
        /// Its jobs have ended.
        Ended = "ended",
        /// A proof that was delivered.
        Delivered = "delivered",
        /// A proof that was not delivered.
        Undelivered = "undelivered",
        /// Expired: its data is to be removed.
        Expired = "expired",
    }
}

impl Cutoffs {
    /// The limit of a rule.
    #[must_use]
    pub const fn before(&self, rule: DueRule) -> Millis {
        match rule {
            DueRule::Look => self.look_before,
            DueRule::Unused => self.unused_before,
            DueRule::Ended => self.ended_before,
            DueRule::Delivered => self.delivered_before,
            DueRule::Undelivered => self.undelivered_before,
            DueRule::Expired => self.expired_before,
        }
    }
}

/// What an artifact is used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArtifactUse {
    /// Whether it is a registered program.
    pub registered: bool,
    /// Whether an unfinished job uses it.
    pub busy: bool,
    /// Latest end of a job that used it.
    pub ended_at: Option<Millis>,
    /// Whether it is the proof of a job.
    pub accepted: bool,
    /// Latest deadline of the requests that were answered before the proof's last delivery, in Unix seconds.
    pub delivered_deadline: Option<i64>,
    /// Latest deadline of the other requests that the proof answers, in Unix seconds.
    pub undelivered_deadline: Option<i64>,
}
