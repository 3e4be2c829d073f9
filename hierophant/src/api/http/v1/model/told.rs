//! What is told without being asked: changes to listeners, ends to receivers of webhooks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Job, Overview, Request, Worker};
use crate::clients::Clients;
use crate::records::{NoticeRecord, RequestRecord, RequestState};
use crate::store::RequestView;
use crate::webhooks::ReceiverState;

/// A receiver of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Host and port of its URL.
    pub receiver: String,
    /// Notices that it has yet to take.
    pub undelivered: u64,
    /// Notices that were not kept because too many waited already, since Hierophant started.
    pub dropped: u64,
    /// Since when it takes none, if so.
    pub failing_since: Option<i64>,
    /// Why it took none the last time, if so.
    pub failure: Option<String>,
}

/// What a receiver of webhooks is sent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// `request.` and the state in which the request has ended.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it ended.
    pub at: i64,
    /// The request at that moment.
    pub request: Request,
    /// Its job as it is now, without other requests that share it.
    pub job: Job,
}

/// What has changed since the last event, each thing once and as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// When it was made.
    pub at: i64,
    /// The network at a glance.
    pub overview: Overview,
    /// Jobs that have changed.
    pub jobs: Vec<Job>,
    /// Requests that have changed.
    pub requests: Vec<Request>,
    /// Contemplants that have come or changed, with what they are working on.
    pub workers: Vec<Worker>,
    /// Ids of Contemplants that have gone.
    pub workers_gone: Vec<String>,
}

impl Webhook {
    pub(in super::super) fn of(state: ReceiverState) -> Self {
        let ReceiverState { receiver, undelivered, dropped, trouble } = state;
        let (since, failure) = trouble.map(|trouble| (trouble.since.0, trouble.reason)).unzip();
        Self { receiver, undelivered, dropped, failing_since: since, failure }
    }
}

impl Notice {
    /// What is sent of a notice about this request and job.
    pub(crate) fn of(notice: &NoticeRecord, view: &RequestView, clients: &Clients) -> Self {
        let ended = RequestRecord {
            state: notice.state,
            updated_at: notice.ended_at,
            fulfilled_at: (notice.state == RequestState::Fulfilled).then_some(notice.ended_at),
            ..view.request.clone()
        };
        Self {
            kind: format!("request.{}", notice.state),
            at: notice.ended_at.0,
            request: Request::of(&ended, clients),
            job: Job::of(&view.job, &[ended], clients),
        }
    }
}
