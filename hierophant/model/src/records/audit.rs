//! What operators have done, as it is stored.

use network_lib::ids::{AuditId, TokenId};

use super::Millis;

/// Something that an operator did, or that one with a valid token was refused. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its id.
    pub id: AuditId,
    /// When the call was answered.
    pub at: Millis,
    /// By which token, and its name; none: by a program on the machine that Hierophant runs on.
    pub by: Option<(TokenId, String)>,
    /// Address that the call came from.
    pub peer: String,
    /// For whom it was passed on, by the word of a proxy, or of whoever pretends to be one.
    pub forwarded: Option<String>,
    /// The program that called, by its own word.
    pub program: String,
    /// Method and path of the call; request ids are cut short.
    pub action: String,
    /// What was sent along, as far as it holds no secret.
    pub body: String,
    /// HTTP code of the answer.
    pub code: u16,
}
