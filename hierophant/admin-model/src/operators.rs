//! JSON of operators and the audit log.

use hierophant_model::records::AuditRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Role;

/// Token to sign in with.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Secret of the token.
    pub token: String,
}

/// Identity of the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Caller {
    /// Name of the token, or `this machine` if none was presented.
    pub name: String,
    /// Id of the token, if one was presented.
    pub token: Option<String>,
    /// Permission: `read`, or `act`, which includes it.
    pub role: Role,
    /// Whether the caller has signed in and can sign out.
    pub session: bool,
}

/// An audited call.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Audited {
    /// Id of the entry.
    pub id: String,
    /// Time of the call.
    pub at: i64,
    /// Name of the token, `this machine` if none was presented, or `unknown` for a failed sign-in.
    pub name: String,
    /// Id of the token, if one was presented.
    pub token: Option<String>,
    /// Peer address of the call.
    pub peer: String,
    /// Original client as stated by a proxy. It is not verified.
    pub forwarded: Option<String>,
    /// User agent of the calling program.
    pub program: String,
    /// Method and path of the call; request ids are shortened.
    pub action: String,
    /// First 1000 characters of the request body, without secrets.
    pub body: String,
    /// HTTP status code of the response; 0 while the outcome is unknown: the call is in progress, or Hierophant ended
    /// during it.
    pub code: u16,
}

impl Audited {
    /// JSON of an entry of the audit log.
    #[must_use]
    pub fn of(record: &AuditRecord) -> Self {
        Self {
            id: record.id.to_string(),
            at: record.at.0,
            name: record.caller().to_owned(),
            token: record.by.as_ref().map(|(token, _)| token.to_string()),
            peer: record.peer.clone(),
            forwarded: record.forwarded.clone(),
            program: record.program.clone(),
            action: record.action.clone(),
            body: record.body.clone(),
            code: record.code,
        }
    }
}
