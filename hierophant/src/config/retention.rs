//! How long bytes and records are kept: `[retention]`.

use std::time::Duration;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Minimum of the times for bytes: slow uploads and retried calls take minutes.
const MIN_RETENTION: Duration = Duration::from_secs(600);

/// Minimum of `retention.audit`.
const MIN_AUDIT: Duration = Duration::from_secs(24 * 3600);

/// Minimum of `retention.records`.
const MIN_RECORDS: Duration = Duration::from_secs(24 * 3600);

/// Section `[retention]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RetentionConfig {
    /// A proof, after a client has downloaded it and after the deadlines of its requests. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub proofs_after_delivery: Duration,
    /// A proof that was not downloaded, after the deadlines of its requests. Default 30 days.
    #[serde(with = "humantime_serde")]
    pub proofs_undelivered: Duration,
    /// An input, after the last job that uses it has ended. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub inputs_after_end: Duration,
    /// An unused upload, and an unused ticket. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub unused_uploads: Duration,
    /// Records of the audit log. Default 1 year.
    #[serde(with = "humantime_serde")]
    pub audit: Duration,
    /// Records of ended jobs with their requests and attempts, and of removed artifacts. Default none: they are kept
    /// forever.
    #[serde(with = "humantime_serde")]
    pub records: Option<Duration>,
    /// Whether old records are written to files in `data_dir/archive` before they are deleted. Default yes.
    pub archive: bool,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            proofs_after_delivery: DAY,
            proofs_undelivered: DAY * 30,
            inputs_after_end: DAY,
            unused_uploads: DAY,
            // 365.25 days, which is how a year is read and written.
            audit: Duration::from_secs(31_557_600),
            records: None,
            archive: true,
        }
    }
}

impl RetentionConfig {
    /// Checks the section; `quarantine` is the time for which content that failed is not tried again.
    pub(super) fn validate(&self, quarantine: Duration, faults: &mut Faults) {
        if self.records.is_some_and(|records| records < MIN_RECORDS.max(quarantine)) {
            let fault =
                "is too short: expected at least \"1day\" and not less than `proofs.quarantine`";
            faults.add("retention.records", fault);
        }
        for (key, time) in [
            ("retention.proofs_after_delivery", self.proofs_after_delivery),
            ("retention.proofs_undelivered", self.proofs_undelivered),
            ("retention.inputs_after_end", self.inputs_after_end),
            ("retention.unused_uploads", self.unused_uploads),
        ] {
            if time < MIN_RETENTION {
                let fault =
                    "is too short, bytes in use would be removed: expected at least \"10m\"";
                faults.add(key, fault);
            }
        }
        if self.audit < MIN_AUDIT {
            faults.add("retention.audit", "is too short: expected at least \"1day\"");
        }
    }
}
