//! The operator command that predates `/api/v1` and keeps its path.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use hierophant_model::commands::{CommandError, WorkerCommand};
use network_lib::ids::WorkerId;

use super::{not_found, text_response};
use crate::api::AdminContext;

/// `POST /contemplants/{id}/drain`: the worker accepts no more jobs, finishes those that it has, and leaves.
pub(super) async fn drain(State(context): State<AdminContext>, Path(id): Path<String>) -> Response {
    let Ok(worker) = id.parse::<WorkerId>() else {
        return not_found("no such worker: see /contemplants for their ids");
    };
    let command = WorkerCommand::Drain(worker, "requested by the operator".into());
    match context.registry.command(command).await {
        Ok(_) => text_response(StatusCode::ACCEPTED, "draining: it finishes its jobs and leaves"),
        Err(CommandError::NotFound(_)) => {
            not_found("worker not connected: see /contemplants for those that are")
        }
        Err(error) => text_response(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
