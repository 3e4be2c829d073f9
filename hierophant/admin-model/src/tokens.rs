//! JSON of access tokens.

use hierophant_model::records::TokenRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Role;

/// Token to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Name: 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or a digit.
    pub name: String,
    /// Role: `worker`, `private-worker`, `client`, `read`, `act` or `admin`.
    pub role: Role,
    /// Name of the client to which a token of role `client` is bound: one of `[[clients]]`. Without it, the
    /// token's calls belong to the clients of the addresses that sign them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Time in seconds after which the token is no longer valid. Default none: it is valid until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Token id. It is not secret.
    pub id: String,
    /// Name of the token.
    pub name: String,
    /// Role of the token.
    pub role: Role,
    /// Name of the client to which it is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Time of creation.
    pub created_at: i64,
    /// Time of revocation; absent or `null` if the token was not revoked.
    pub revoked_at: Option<i64>,
    /// Time from which the token is no longer valid; absent or `null` if it does not expire.
    #[serde(default)]
    pub expires_at: Option<i64>,
    /// Time of the last use; absent or `null` if the token was not used. After a crash, uses of the last minute may be
    /// missing.
    #[serde(default)]
    pub used_at: Option<i64>,
    /// Address of the caller at the last use.
    #[serde(default)]
    pub used_from: Option<String>,
}

/// A created token with its secret. It has no `Debug`, so that the secret cannot be logged.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// Secret to present. It is returned only once.
    pub secret: String,
}

impl Token {
    /// JSON of a token.
    #[must_use]
    pub fn of(record: &TokenRecord) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            role: record.role.into(),
            client: record.client.as_deref().map(str::to_owned),
            created_at: record.created_at.0,
            revoked_at: record.revoked_at.map(|at| at.0),
            expires_at: record.expires_at.map(|at| at.0),
            used_at: record.used.map(|used| used.at.0),
            used_from: record.used.map(|used| used.from.to_string()),
        }
    }
}
