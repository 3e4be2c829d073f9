//! The JSON of tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::records::TokenRecord;

/// Which token to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name: 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or a digit.
    pub name: String,
    /// What its bearer may do: `worker`, `client`, `read` or `act`.
    pub role: String,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its id; no secret.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What its bearer may do: `worker`, `client`, `read` or `act`.
    pub role: String,
    /// When it was made.
    pub created_at: i64,
    /// When it was revoked; absent or `null` while it is valid.
    pub revoked_at: Option<i64>,
}

/// A token that was just made. It has no `Debug`, so that its secret gets into no log.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What its bearer presents. It is shown here and never again.
    pub secret: String,
}

impl Token {
    pub(in super::super) fn of(record: &TokenRecord) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            role: record.role.to_string(),
            created_at: record.created_at.0,
            revoked_at: record.revoked_at.map(|at| at.0),
        }
    }
}
