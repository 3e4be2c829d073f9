//! Audit log.

use network_lib::ids::{AuditId, TokenId};

use super::Millis;

/// Entry of the audit log: an operator's call, or a refused call with a valid token. It contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Id.
    pub id: AuditId,
    /// Time of the answer.
    pub at: Millis,
    /// Token and its name; `None` for a program on Hierophant's machine.
    pub by: Option<(TokenId, String)>,
    /// Address of the caller.
    pub peer: String,
    /// Client of a proxy, as stated by the caller; unverified.
    pub forwarded: Option<String>,
    /// User agent of the caller.
    pub program: String,
    /// Method and path of the call, with truncated request ids.
    pub action: String,
    /// Body of the call, without secrets.
    pub body: String,
    /// HTTP status of the answer.
    pub code: u16,
}
