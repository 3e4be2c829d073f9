//! Requests of clients.

use alloy_primitives::Address;
use network_lib::ids::{JobId, RequestId, Sha256Digest};
use network_lib::job::JobSpec;
use network_lib::named_enum;
use sha2::{Digest, Sha256};

use super::Millis;

named_enum! {
    /// Where a client's request stands.
    RequestState {
        /// Accepted; its job is still going on.
        Open = "open",
        /// The proof can be downloaded.
        Fulfilled = "fulfilled",
        /// The program fails on this input, or exceeds the request's limits.
        Unexecutable = "unexecutable",
        /// The job was given up.
        Failed = "failed",
        /// Its requester or an operator withdrew it.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
    }
}

impl RequestState {
    /// Whether nothing more will happen to the request.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Open)
    }
}

named_enum! {
    /// Which of the SDK's two network modes a request came in.
    NetworkMode {
        /// Schema "base", strategies hosted and reserved.
        Reserved = "reserved",
        /// Schema "auction".
        Mainnet = "mainnet",
    }
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// What the client polls.
    pub id: RequestId,
    /// The work that it waits for.
    pub job: JobId,
    /// Who asked.
    pub requester: Address,
    /// The client's network mode.
    pub network_mode: NetworkMode,
    /// The client's strategy, as sent: a hint without effect.
    pub strategy: i32,
    /// `sp1-` and the circuit version, as sent.
    pub version: String,
    /// The input's URI, as sent.
    pub stdin_uri: String,
    /// Whether the input is private.
    pub stdin_private: bool,
    /// Unix seconds after which the client gives up.
    pub deadline: u64,
    /// Seconds, as sent; without effect here.
    pub min_auction_period: u64,
    /// Addresses, as sent; without effect here.
    pub whitelist: Vec<Address>,
    /// Where it stands.
    pub state: RequestState,
    /// When it was accepted.
    pub created_at: Millis,
    /// When its state last changed.
    pub updated_at: Millis,
    /// When it was fulfilled.
    pub fulfilled_at: Option<Millis>,
}

impl RequestRecord {
    /// What a retry of the same call has in common with it (contract, section 3.3).
    #[must_use]
    pub fn idempotency_key(&self, spec: &JobSpec) -> Sha256Digest {
        idempotency_key(self.requester, spec, &self.stdin_uri, self.deadline)
    }
}

/// Digest of what every retry of one SDK call repeats: signer, program, mode, input URI, deadline.
#[must_use]
pub fn idempotency_key(
    requester: Address,
    spec: &JobSpec,
    stdin_uri: &str,
    deadline: u64,
) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update(requester);
    hasher.update(spec.vk_hash.as_bytes());
    hasher.update([spec.mode as u8]);
    hasher.update(deadline.to_be_bytes());
    hasher.update(stdin_uri);
    Sha256Digest(hasher.finalize().into())
}
