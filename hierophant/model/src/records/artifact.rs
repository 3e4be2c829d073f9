//! Programs and artifacts.

use alloy_primitives::Address;
use network_lib::ids::{ArtifactId, VkHash};
use network_lib::job::BlobInfo;
use network_lib::named_enum;

use super::Millis;

named_enum! {
    /// What an artifact holds.
    ArtifactKind {
        /// A guest program as the client uploads it.
        Program = "program",
        /// An input that its URL may be read by.
        Stdin = "stdin",
        /// An input that only the leased Contemplant reads.
        PrivateStdin = "private_stdin",
        /// A finished proof.
        Proof = "proof",
    }
}

/// A registered program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Its id.
    pub vk_hash: VkHash,
    /// Bincode of the verifying key, as the client sent it.
    pub vk: Vec<u8>,
    /// The uploaded program.
    pub artifact: ArtifactId,
    /// Size and digest of the upload.
    pub blob: BlobInfo,
    /// Who registered it.
    pub owner: Address,
    /// When.
    pub created_at: Millis,
}

/// An upload ticket, or the stored bytes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// Its id.
    pub id: ArtifactId,
    /// What it holds.
    pub kind: ArtifactKind,
    /// Who opened the ticket; zero for proofs, which the network itself stores.
    pub owner: Address,
    /// Size and digest once the bytes are stored; `None` for an open ticket.
    pub blob: Option<BlobInfo>,
    /// When the ticket was opened.
    pub created_at: Millis,
    /// When the bytes were last fetched whole by a client.
    pub delivered_at: Option<Millis>,
    /// When the bytes stopped being promised; they may be there for a while yet.
    pub expired_at: Option<Millis>,
    /// When the bytes were removed; the record stays as a tombstone.
    pub removed_at: Option<Millis>,
}

impl ArtifactRecord {
    /// A ticket to which nothing was uploaded yet.
    #[must_use]
    pub const fn ticket(id: ArtifactId, kind: ArtifactKind, owner: Address, now: Millis) -> Self {
        Self {
            id,
            kind,
            owner,
            blob: None,
            created_at: now,
            delivered_at: None,
            expired_at: None,
            removed_at: None,
        }
    }
}
