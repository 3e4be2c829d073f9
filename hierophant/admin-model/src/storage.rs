//! JSON of programs and artifacts.

use hierophant_model::clients::Clients;
use hierophant_model::records::{self, ArtifactRecord, ProgramRecord};
use hierophant_model::text::short_artifact_id;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ArtifactKind, ProgramState};

/// A registered program.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Program {
    /// Program id: the hash of its verifying key.
    pub vk_hash: String,
    /// Address that registered it.
    pub owner: String,
    /// Name of the client that registered it, if it has one.
    #[serde(default)]
    pub client: Option<String>,
    /// What is known about the upload: whether it is the program of its verifying key.
    #[serde(default = "claimed")]
    pub state: ProgramState,
    /// Size in bytes as uploaded.
    pub bytes: u64,
    /// Time of registration.
    pub created_at: i64,
}

/// An upload ticket, or the data uploaded to it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// First 8 digits of the artifact id; the whole id grants access to the data.
    pub id: String,
    /// Content of the artifact.
    pub kind: ArtifactKind,
    /// Address that opened the ticket; absent for a proof.
    pub owner: Option<String>,
    /// Size in bytes, once uploaded.
    pub bytes: Option<u64>,
    /// Time at which the ticket was opened.
    pub created_at: i64,
    /// Time of the last complete download by a client.
    pub delivered_at: Option<i64>,
    /// Time since which the data may be deleted.
    pub expired_at: Option<i64>,
    /// Time at which the data was deleted.
    pub removed_at: Option<i64>,
}

/// New owner of a program: exactly one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOwner {
    /// Address of the new owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Client that becomes the owner: a name of `[[clients]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

fn claimed() -> ProgramState {
    records::ProgramState::Claimed.into()
}

impl Program {
    /// JSON of a program; `clients` knows the name of its owner.
    #[must_use]
    pub fn of(record: &ProgramRecord, clients: &Clients) -> Self {
        Self {
            vk_hash: record.vk_hash.to_string(),
            owner: record.owner.to_string(),
            client: clients.stored_name(record.owner, record.client.as_ref()),
            state: record.state.into(),
            bytes: record.blob.size,
            created_at: record.created_at.0,
        }
    }
}

impl Artifact {
    /// JSON of an artifact.
    #[must_use]
    pub fn of(record: &ArtifactRecord) -> Self {
        Self {
            id: short_artifact_id(record.id),
            kind: record.kind.into(),
            owner: (!record.owner.is_zero()).then(|| record.owner.to_string()),
            bytes: record.blob.map(|blob| blob.size),
            created_at: record.created_at.0,
            delivered_at: record.delivered_at.map(|at| at.0),
            expired_at: record.expired_at.map(|at| at.0),
            removed_at: record.removed_at.map(|at| at.0),
        }
    }
}
