//! Requests of clients.

use alloy_primitives::Address;
use network_lib::ids::{JobId, RequestId, Sha256Digest, TokenId};
use network_lib::job::JobSpec;
use network_lib::named_enum;
use sha2::{Digest, Sha256};

use super::Millis;
use crate::clients::ClientName;

named_enum! {
    /// State of a request.
    RequestState {
        /// Accepted; its job has not ended.
        Open = "open",
        /// The proof can be downloaded.
        Fulfilled = "fulfilled",
        /// The program fails on this input, or exceeds the request's limits.
        Unexecutable = "unexecutable",
        /// Its job has failed permanently.
        Failed = "failed",
        /// Cancelled by its requester or an operator.
        Cancelled = "cancelled",
        /// Its deadline has passed.
        Expired = "expired",
    }
}

impl RequestState {
    /// Whether the request has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Open)
    }
}

named_enum! {
    /// Network mode of the SDK in which a request was made.
    NetworkMode {
        /// Schema "base", strategies hosted and reserved.
        Reserved = "reserved",
        /// Schema "auction".
        Mainnet = "mainnet",
    }
}

/// Request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Id that the client polls.
    pub id: RequestId,
    /// Job that answers it.
    pub job: JobId,
    /// Signer of the request.
    pub requester: Address,
    /// Client to which the presented token is bound.
    pub client: Option<ClientName>,
    /// Token that was presented with the request.
    pub token: Option<TokenId>,
    /// Digest of the public values that the client expects, if it has stated one.
    pub stated_digest: Option<Sha256Digest>,
    /// Network mode of the client.
    pub network_mode: NetworkMode,
    /// Strategy, as sent; without effect.
    pub strategy: i32,
    /// `sp1-` and the circuit version, as sent.
    pub version: String,
    /// URI of the input, as sent.
    pub stdin_uri: String,
    /// Whether the input is private.
    pub stdin_private: bool,
    /// Deadline, Unix seconds.
    pub deadline: u64,
    /// Auction period in seconds, as sent; without effect.
    pub min_auction_period: u64,
    /// Whitelist, as sent; without effect.
    pub whitelist: Vec<Address>,
    /// State.
    pub state: RequestState,
    /// Time of acceptance.
    pub created_at: Millis,
    /// Time of the latest change of state.
    pub updated_at: Millis,
    /// Time of fulfilment.
    pub fulfilled_at: Option<Millis>,
}

impl RequestRecord {
    /// Key that a retry of the same call shares (contract, section 3.3).
    #[must_use]
    pub fn idempotency_key(&self, spec: &JobSpec) -> Sha256Digest {
        idempotency_key(self.requester, spec, &self.stdin_uri, self.deadline)
    }

    /// Opens an ended request again.
    pub fn reopen(&mut self, now: Millis) {
        self.state = RequestState::Open;
        self.fulfilled_at = None;
        self.updated_at = now;
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
