//! Access tokens as they are stored: never with their secret.

use network_lib::ids::{Sha256Digest, TokenId};
use network_lib::named_enum;

use super::Millis;

named_enum! {
    /// What the bearer of a token may do.
    Role {
        /// Ask for proofs.
        Client = "client",
        /// Be a Contemplant.
        Worker = "worker",
        /// See what operators see.
        Read = "read",
        /// Do what operators do, which includes all of [`Role::Read`].
        Act = "act",
    }
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Its name, for people. No two tokens that are valid have the same.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// SHA-256 of its secret.
    pub digest: Sha256Digest,
    /// When it was made.
    pub created_at: Millis,
    /// When it was revoked; it is valid for as long as it was not.
    pub revoked_at: Option<Millis>,
}
