//! Access tokens as stored, without their secrets.

use std::net::IpAddr;

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
        /// May connect as a worker, and may get private inputs where only such workers may; includes [`Role::Worker`].
        PrivateWorker = "private-worker",
        /// May read everything that operators see.
        Read = "read",
        /// May execute operator commands, except on tokens of role act or admin; includes [`Role::Read`].
        Act = "act",
        /// May execute every operator command; includes [`Role::Act`].
        Admin = "admin",
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
    /// Time of the revocation; `None` for a token that was not revoked.
    pub revoked_at: Option<Millis>,
    /// Time from which it is no longer valid; `None` for a token that does not expire.
    pub expires_at: Option<Millis>,
    /// Last use, as last stored; `None` for a token that was not used.
    pub used: Option<TokenUse>,
}

impl TokenRecord {
    /// Whether the token is valid at this time: neither revoked nor expired.
    #[must_use]
    pub fn is_valid(&self, now: Millis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Use of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUse {
    /// Time of the call.
    pub at: Millis,
    /// Address of the caller.
    pub from: IpAddr,
}

impl Role {
    /// Whether a bearer of this role may connect as a worker.
    #[must_use]
    pub const fn is_of_worker(self) -> bool {
        matches!(self, Self::Worker | Self::PrivateWorker)
    }

    /// Whether a bearer of this role may execute operator commands.
    #[must_use]
    pub const fn may_act(self) -> bool {
        matches!(self, Self::Act | Self::Admin)
    }
}
