//! The JSON of who operates, and of what was done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::operators::Operator;
use crate::records::AuditRecord;

/// The token to sign in with.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Its secret.
    pub token: String,
}

/// Who makes a call.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Caller {
    /// Name of the token; `this machine` without one.
    pub name: String,
    /// Id of the token, if there is one.
    pub token: Option<String>,
    /// What the caller may do: `read`, or `act`, which includes it.
    pub role: String,
    /// Whether the caller has signed in, and so can sign out.
    pub session: bool,
}

/// Something that was done, or refused.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Audited {
    /// Its id.
    pub id: String,
    /// When it was answered.
    pub at: i64,
    /// Name of the token; `this machine` without one.
    pub name: String,
    /// Id of the token, if there is one.
    pub token: Option<String>,
    /// Address that the call came from.
    pub peer: String,
    /// For whom it was passed on, by the word of a proxy, or of whoever pretends to be one.
    pub forwarded: Option<String>,
    /// The program that called, by its own word.
    pub program: String,
    /// Method and path of the call; request ids are cut short.
    pub action: String,
    /// What was sent along, its first 1000 characters, without secrets.
    pub body: String,
    /// HTTP code of the answer.
    pub code: u16,
}

impl Caller {
    pub(in super::super) fn of(operator: &Operator) -> Self {
        Self {
            name: operator.name().to_owned(),
            token: operator.by.as_ref().map(|bearer| bearer.id.to_string()),
            role: if operator.may_act() { "act" } else { "read" }.to_owned(),
            session: operator.session.is_some(),
        }
    }
}

impl Audited {
    pub(in super::super) fn of(record: &AuditRecord) -> Self {
        let name = record.by.as_ref().map_or("this machine", |(_, name)| name.as_str());
        Self {
            id: record.id.to_string(),
            at: record.at.0,
            name: name.to_owned(),
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
