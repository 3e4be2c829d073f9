//! Scheduling: `[proofs]`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use network_lib::config::Faults;
use network_lib::job::ProofMode;
use serde::{Deserialize, Serialize};

/// Section `[proofs]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ProofsConfig {
    /// Number of workers on which a job fails with class `worker` before it is quarantined. Default 3.
    pub max_attempts: NonZeroU32,
    /// Maximum number of waiting jobs. Default 10,000.
    pub max_waiting: NonZeroUsize,
    /// Proof modes that are scheduled before all others. Default PLONK and Groth16: they wrap proofs that exist
    /// already, and nothing else has to finish before them.
    pub urgent_modes: Vec<ProofMode>,
    /// Slowdown factor, relative to the median for this program and mode, at which an idle worker starts a
    /// second attempt. 0 disables racing (default): a race spends a second machine on the same proof.
    pub race_after: f64,
    /// Time limit of one attempt; 0 = no limit. Default 4 h, the longest time that SDK clients wait.
    #[serde(with = "humantime_serde")]
    pub attempt_limit: Duration,
    /// How long content that failed on `max_attempts` workers is refused without another attempt. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub quarantine: Duration,
}

impl Default for ProofsConfig {
    fn default() -> Self {
        Self {
            max_attempts: const { NonZeroU32::new(3).expect("not zero") },
            max_waiting: const { NonZeroUsize::new(10_000).expect("not zero") },
            urgent_modes: vec![ProofMode::Plonk, ProofMode::Groth16],
            race_after: 0.0,
            attempt_limit: Duration::from_secs(4 * 3600),
            quarantine: Duration::from_secs(3600),
        }
    }
}

impl ProofsConfig {
    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        // Written so that "not a number" is a fault too.
        if self.race_after != 0.0 && !(1.0..=1000.0).contains(&self.race_after) {
            faults.add(
                "proofs.race_after",
                format!(
                    "invalid factor {}: expected 0 (never) or a number from 1 to 1000, such as 2.0",
                    self.race_after
                ),
            );
        }
        if self.race_after != 0.0 && self.max_attempts.get() < 2 {
            faults.add(
                "proofs.race_after",
                "needs `max_attempts` of at least 2, because both attempts of a race may fail: raise \
                 `max_attempts` or write 0",
            );
        }
    }
}
