//! JSON of `/api/v1`: what the server sends and accepts, and what the command line and webhooks share with it.
//!
//! Times are Unix milliseconds. A field that is not known yet is absent or `null`.

mod commands;
mod jobs;
mod notices;
mod operators;
mod overview;
mod storage;
mod tasks;
mod tokens;
mod value;
mod workers;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use commands::{Blocked, ClearQueue, Cleared, Done, NewPriority, Paused, Reason};
pub use jobs::{Attempt, Job, Request, Running, Waiting, WholeJob, Why};
pub use notices::{Changes, Notice};
pub use operators::{Audited, Caller, SignIn};
pub use overview::{Overview, Price, Webhook};
pub use storage::{Artifact, NewOwner, Program};
pub use tasks::{JobTasks, RunningTask, Task, TaskSummary};
pub use tokens::{MadeToken, NewToken, Token};
pub use value::{
    ArtifactKind, AttemptOutcome, Backend, FailureClass, JobState, Named, NetworkMode, Phase,
    Priority, ProgramState, ProofMode, RequestState, Role, ShardKind, TaskKind, TaskState,
    TaskWait, Value, WorkerState,
};
pub use workers::{Gone, Gpu, WholeWorker, Worker};

/// Path below which the API is served.
pub const PATH: &str = "/api/v1";

/// Header with the SHA-256 of a downloaded proof, in hexadecimal digits.
pub const DIGEST_HEADER: &str = "x-proof-sha256";

/// Body of an error response: problem details (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// URI of the kind of error, `urn:hierophant:problem:` and a name that does not change.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Name of the kind for people.
    #[serde(default)]
    pub title: String,
    /// HTTP status code of the response.
    #[serde(default)]
    pub status: u16,
    /// Description of the error in one sentence.
    #[serde(default)]
    pub detail: String,
    /// The same as `detail`, as earlier versions named it.
    pub error: String,
}
