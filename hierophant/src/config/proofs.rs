//! Scheduling: `[proofs]`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use network_lib::config::Faults;
use network_lib::job::ProofMode;
use serde::{Deserialize, Serialize};

/// Minimum of the size limits of proofs: a Compressed proof takes more than a megabyte.
const MIN_PROOF_LIMIT: u64 = 4 << 20;

/// Minimum of `check_memory`: SP1's verifiers themselves.
const MIN_CHECK_MEMORY: u64 = 256 << 20;

/// Minimum of `check_time`.
const MIN_CHECK_TIME: Duration = Duration::from_secs(10);

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
    /// Maximum size of a handed-in Compressed, PLONK or Groth16 proof with its public values, in bytes. Default 64 MiB:
    /// the proof itself takes less than two.
    pub max_proof_bytes: u64,
    /// Maximum size of a handed-in Core proof in bytes; it grows with the length of the execution. Default 2 GiB.
    pub max_core_proof_bytes: u64,
    /// Maximum number of concurrent checks of proofs; 0 = half of the processors, as far as memory allows (default).
    pub checks: usize,
    /// Memory that the check of a proof may use beyond twice the size of the proof, in bytes. Default 1 GiB.
    pub check_memory: u64,
    /// Time limit of the check of a proof. Default 10 min; usual proofs take some tenths of a second.
    #[serde(with = "humantime_serde")]
    pub check_time: Duration,
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
            max_proof_bytes: 64 << 20,
            max_core_proof_bytes: 2 << 30,
            checks: 0,
            check_memory: 1 << 30,
            check_time: Duration::from_secs(600),
        }
    }
}

impl ProofsConfig {
    /// Maximum size of a handed-in proof of this mode in bytes, and the key that sets it.
    #[must_use]
    pub const fn max_bytes(&self, mode: ProofMode) -> (u64, &'static str) {
        match mode {
            ProofMode::Core => (self.max_core_proof_bytes, "proofs.max_core_proof_bytes"),
            ProofMode::Compressed | ProofMode::Plonk | ProofMode::Groth16 => {
                (self.max_proof_bytes, "proofs.max_proof_bytes")
            }
        }
    }

    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        for (key, bytes) in [
            ("proofs.max_proof_bytes", self.max_proof_bytes),
            ("proofs.max_core_proof_bytes", self.max_core_proof_bytes),
        ] {
            if bytes < MIN_PROOF_LIMIT {
                faults.add(
                    key,
                    format!("is {bytes}, so valid proofs would be refused: expected at least {MIN_PROOF_LIMIT}"),
                );
            }
        }
        if self.check_memory < MIN_CHECK_MEMORY {
            let bytes = self.check_memory;
            faults.add(
                "proofs.check_memory",
                format!(
                    "is {bytes}, so no proof could be checked: expected at least {MIN_CHECK_MEMORY}"
                ),
            );
        }
        if self.check_time < MIN_CHECK_TIME {
            faults.add(
                "proofs.check_time",
                "is so short that valid proofs would be refused: expected at least \"10s\"",
            );
        }
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
