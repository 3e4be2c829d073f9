//! First words on a worker's socket: who it is, what it can do, and whether both sides fit.

use serde::{Deserialize, Serialize};

use crate::ids::{LeaseId, WorkerId};
use crate::job::ProofMode;
use crate::named_enum;
use crate::secret::Secret;
use crate::shard::Sharding;

/// Oldest protocol version that this build still speaks.
pub const OLDEST_PROTOCOL: u16 = 2;
/// Newest protocol version that this build speaks.
pub const NEWEST_PROTOCOL: u16 = 3;
/// First protocol version with tasks.
pub const TASKS_PROTOCOL: u16 = 3;

/// Versions of the worker protocol that one side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    /// Oldest version spoken.
    pub oldest: u16,
    /// Newest version spoken.
    pub newest: u16,
}

impl ProtocolRange {
    /// The versions that this build speaks.
    pub const OURS: Self = Self { oldest: OLDEST_PROTOCOL, newest: NEWEST_PROTOCOL };

    /// The newest version that both sides speak, if there is one.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest && newest >= other.oldest).then_some(newest)
    }
}

named_enum! {
    /// Prover behind a worker.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Backend {
        /// SP1 on the processor.
        Cpu = "cpu",
        /// SP1 on a CUDA GPU.
        Cuda = "cuda",
        /// Real execution with SP1's mock proof: for trials only.
        Mock = "mock",
    }
}

/// What a Contemplant can prove. Only fitting jobs are leased to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The virtual machine, `sp1`.
    pub vm: String,
    /// Circuit versions it can prove, such as `v6.1.0`.
    pub circuit_versions: Vec<String>,
    /// Kinds of proof that are ready now; may grow while the prover warms up.
    pub modes: Vec<ProofMode>,
    /// What makes the proofs.
    pub backend: Backend,
    /// How many jobs it takes at once.
    pub slots: u32,
    /// How many jobs it takes ahead, beyond its slots, to prepare them while the slots are taken. At most one for each
    /// slot counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prefetch: u32,
    /// Main memory in bytes, 0 if unknown.
    pub memory_bytes: u64,
    /// GPU models, one entry for each device.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// Why it cannot prove now although it is meant to, for people.
    #[serde(rename = "obstacle", default, skip_serializing_if = "Option::is_none")]
    pub unavailable_reason: Option<String>,
    /// What it offers as a worker of proofs that many make (protocol version 3); absent if it takes no tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding: Option<Sharding>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One GPU of a Contemplant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Model name as the driver gives it.
    pub model: String,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Version of its driver, such as `550.54.15`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// How busy one GPU is. What the driver does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuLoad {
    /// How much of the time it has computed of late, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<u32>,
    /// Its temperature in degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// Bytes of its memory in use, by all processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
}

/// The first message of a Contemplant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol versions that it speaks.
    pub protocol: ProtocolRange,
    /// Its software version, for people.
    pub software_version: String,
    /// Its name, for people; need not be unique.
    pub name: String,
    /// Stable identity of the installation.
    pub worker_id: WorkerId,
    /// The machine that it runs on, such as a pod or the id of a rented machine, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its own token or the shared one, when Hierophant asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The secret of Hierophant's data folder, which proves that both run on one machine; only where Hierophant has
    /// named the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_secret: Option<Secret>,
    /// What it can prove.
    pub capabilities: Capabilities,
    /// Attempts that it still holds from an earlier connection.
    #[serde(default)]
    pub held: Vec<LeaseId>,
}

/// The answer to a [`Hello`] that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Protocol version spoken from here on.
    pub protocol: u16,
    /// Hierophant's software version, for people.
    pub software_version: String,
    /// How often the Contemplant sends a heartbeat, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// What opens the bytes of this Contemplant's attempts: sent with each call under a lease, as
    /// `Authorization: Bearer`. It replaces the one of an earlier welcome.
    pub access_key: Secret,
    /// Which of the held attempts go on; the others are to be stopped.
    #[serde(default)]
    pub resume: Vec<LeaseId>,
}

/// Why a Contemplant is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// No protocol version in common.
    ProtocolVersion,
    /// Missing, wrong or revoked token, or none is asked for and it is not on the same machine.
    Unauthorized,
    /// A Contemplant with this id is connected by another token, or two machines use the id in turn.
    Taken,
    /// A mock backend, and this Hierophant serves real proofs.
    MockNotAllowed,
    /// The operator has blocked this Contemplant.
    Blocked,
    /// Too many attempts have failed by this Contemplant's fault; it may come back later.
    Suspended,
    /// This Hierophant, or the token, has as many Contemplants as it may have.
    Full,
    /// The first message was not a handshake.
    Malformed,
}

impl RefusalCode {
    /// Every code.
    pub const ALL: [Self; 8] = [
        Self::ProtocolVersion,
        Self::Unauthorized,
        Self::Taken,
        Self::MockNotAllowed,
        Self::Blocked,
        Self::Suspended,
        Self::Full,
        Self::Malformed,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProtocolVersion => "protocol_version",
            Self::Unauthorized => "unauthorized",
            Self::Taken => "taken",
            Self::MockNotAllowed => "mock_not_allowed",
            Self::Blocked => "blocked",
            Self::Suspended => "suspended",
            Self::Full => "full",
            Self::Malformed => "malformed",
        }
    }

    /// Whether trying again without changing anything can help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Full | Self::Suspended | Self::Taken)
    }
}

/// The answer to a [`Hello`] that does not fit; the socket is closed after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what does not fit and what would.
    pub message: String,
    /// Protocol versions that Hierophant speaks.
    pub protocol: ProtocolRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_named_as_on_the_wire() {
        for code in RefusalCode::ALL {
            let wire = serde_json::to_value(code).expect("serializes");
            assert_eq!(wire, code.as_str());
        }
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        let range = |oldest, newest| ProtocolRange { oldest, newest };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(2, 5).common(range(1, 2)), Some(2));
        assert_eq!(range(1, 1).common(range(2, 2)), None);
        assert_eq!(range(4, 4).common(range(1, 3)), None);
    }
}
