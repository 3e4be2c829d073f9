//! Access tokens as stored, without their secrets.

use network_lib::ids::{Sha256Digest, TokenId};
use network_lib::named_enum;

use super::Millis;
use crate::clients::ClientName;

named_enum! {
    /// Role of a token.
    Role {
        /// May request proofs.
        Client = "client",
        /// May connect as a worker.
        Worker = "worker",
        /// May read everything that operators see.
        Read = "read",
        /// May execute operator commands; includes [`Role::Read`].
        Act = "act",
    }
}

/// Access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Id.
    pub id: TokenId,
    /// Display name, unique among valid tokens.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Client to which the token is bound; only for [`Role::Client`].
    pub client: Option<ClientName>,
    /// SHA-256 of its secret.
    pub digest: Sha256Digest,
    /// Creation time.
    pub created_at: Millis,
    /// Time of the revocation; `None` for a valid token.
    pub revoked_at: Option<Millis>,
}
