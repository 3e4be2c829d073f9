//! JSON that is pushed: changes to subscribers of the event stream, notices to webhook receivers.

use hierophant_model::clients::Clients;
use hierophant_model::records::{JobRecord, NoticeRecord, RequestRecord, RequestState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Job, Overview, Request, Worker};

/// Body of a webhook call.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// `request.` and the final state of the request.
    #[serde(rename = "type")]
    #[schema(pattern = "^request\\.(fulfilled|unexecutable|failed|cancelled|expired)$")]
    pub kind: String,
    /// Time of the end.
    pub at: i64,
    /// The request at that time.
    pub request: Request,
    /// Its job as of now, without other requests that share it.
    pub job: Job,
}

/// Changes since the previous event, each item once and in its current state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// Time at which the event was created.
    pub at: i64,
    /// State of the network at a glance.
    pub overview: Overview,
    /// Changed jobs.
    pub jobs: Vec<Job>,
    /// Changed requests.
    pub requests: Vec<Request>,
    /// New and changed workers with their proofs in progress.
    pub workers: Vec<Worker>,
    /// Ids of workers that have left.
    pub workers_gone: Vec<String>,
}

impl Notice {
    /// JSON of a notice about this request and its job.
    #[must_use]
    pub fn of(
        notice: &NoticeRecord,
        request: &RequestRecord,
        job: &JobRecord,
        clients: &Clients,
    ) -> Self {
        let ended = RequestRecord {
            state: notice.state,
            updated_at: notice.ended_at,
            fulfilled_at: (notice.state == RequestState::Fulfilled).then_some(notice.ended_at),
            ..request.clone()
        };
        Self {
            kind: format!("request.{}", notice.state),
            at: notice.ended_at.0,
            request: Request::of(&ended, clients),
            job: Job::of(job, &[ended], clients),
        }
    }
}
