//! Audit log.

use network_lib::ids::{AuditId, TokenId};

use super::Millis;

/// Entry of the audit log: an operator's call, a refused call with a valid token, or a failed sign-in. It contains no
/// secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Id.
    pub id: AuditId,
    /// Time of the call.
    pub at: Millis,
    /// Token and its name; `None` for a program on Hierophant's machine, or for a caller who was not authenticated.
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
    /// HTTP status of the answer; [`AuditRecord::PENDING`] until the call is answered.
    pub code: u16,
}

impl AuditRecord {
    /// Status of a call whose outcome is unknown: it is in progress, or Hierophant ended during it.
    pub const PENDING: u16 = 0;

    /// Name of the caller: that of the token, `unknown` for a failed authentication, otherwise `this machine`.
    #[must_use]
    pub fn caller(&self) -> &str {
        match &self.by {
            Some((_, name)) => name,
            None if [401, 429].contains(&self.code) => "unknown",
            None => "this machine",
        }
    }
}
