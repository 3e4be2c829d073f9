//! What strangers may take: `[limits]`.

use std::num::NonZeroUsize;
use std::time::Duration;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Shorter windows are refused: a link that stumbles for a second is no slow link.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// Section `[limits]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsConfig {
    /// Bytes a second that a sender must reach on average over `upload_window`; 0 = only silence is cut. Default
    /// 16 KiB: a link of 128 kbit/s, on which 100 MB take 100 minutes, still passes.
    pub min_upload_rate: u64,
    /// Over what time the rate of an upload is taken, and how long a sender may be silent. Only waiting for
    /// the sender counts, not for our own disk. Default 1 min: a new upload has so long to begin.
    #[serde(with = "humantime_serde")]
    pub upload_window: Duration,
    /// Most uploads of clients at once, and as many of Contemplants. Default 1024: each holds a file open.
    pub max_uploads: NonZeroUsize,
    /// Most listeners of `/api/v1/events` at once. Default 256.
    pub max_event_streams: NonZeroUsize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            min_upload_rate: 16 * 1024,
            upload_window: Duration::from_secs(60),
            max_uploads: const { NonZeroUsize::new(1024).expect("not zero") },
            max_event_streams: const { NonZeroUsize::new(256).expect("not zero") },
        }
    }
}

impl LimitsConfig {
    /// Notes what types cannot say.
    pub(super) fn validate(&self, faults: &mut Faults) {
        if self.upload_window < SHORTEST_WINDOW {
            faults
                .add("limits.upload_window", "is shorter than a second; write a time like \"1m\"");
        }
    }
}
