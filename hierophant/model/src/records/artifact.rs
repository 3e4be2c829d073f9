//! Programs and artifacts.

use alloy_primitives::Address;
use network_lib::ids::{ArtifactId, VkHash};
use network_lib::job::BlobInfo;
use network_lib::named_enum;

use super::Millis;
use crate::clients::ClientName;

named_enum! {
    /// Content of an artifact.
    ArtifactKind {
        /// Guest program as uploaded by the client.
        Program = "program",
        /// Input that anyone with its URL may read.
        Stdin = "stdin",
        /// Input that only workers with a lease may read.
        PrivateStdin = "private_stdin",
        /// Finished proof.
        Proof = "proof",
    }
}

named_enum! {
    /// What is known about the upload of a registered program.
    ProgramState {
        /// Its owner claims that it is the program of the verifying key.
        Claimed = "claimed",
        /// A worker could not load it, or derived another verifying key from it. It counts as not registered.
        Refuted = "refuted",
        /// A proof of it was accepted: it is the program of the verifying key.
        Confirmed = "confirmed",
    }
}

/// Registered program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Id.
    pub vk_hash: VkHash,
    /// Bincode of the verifying key, as sent by the client.
    pub vk: Vec<u8>,
    /// Uploaded program.
    pub artifact: ArtifactId,
    /// Size and digest of the upload.
    pub blob: BlobInfo,
    /// Address that registered it.
    pub owner: Address,
    /// Client to which the token that was presented is bound.
    pub client: Option<ClientName>,
    /// What is known about the upload.
    pub state: ProgramState,
    /// Time of the registration.
    pub created_at: Millis,
}

/// Upload ticket, or the artifact uploaded to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// Id.
    pub id: ArtifactId,
    /// Content.
    pub kind: ArtifactKind,
    /// Address that opened the ticket; zero for proofs, which the network itself stores.
    pub owner: Address,
    /// Client to which the token that was presented is bound.
    pub client: Option<ClientName>,
    /// Size and digest of the stored data; `None` for an open ticket.
    pub blob: Option<BlobInfo>,
    /// Time at which the ticket was opened.
    pub created_at: Millis,
    /// Time of the latest complete download by a client.
    pub delivered_at: Option<Millis>,
    /// Expiry; the data may be stored for a while longer.
    pub expired_at: Option<Millis>,
    /// Removal of the data; the record stays as a tombstone.
    pub removed_at: Option<Millis>,
}

impl ArtifactRecord {
    /// An open ticket.
    #[must_use]
    pub const fn ticket(id: ArtifactId, kind: ArtifactKind, owner: Address, now: Millis) -> Self {
        Self {
            id,
            kind,
            owner,
            client: None,
            blob: None,
            created_at: now,
            delivered_at: None,
            expired_at: None,
            removed_at: None,
        }
    }
}
