//! What an operator does by a page of its own; the rest is in `/api/v1`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use hierophant_model::commands::{CommandError, WorkerCommand};
use network_lib::ids::WorkerId;

use super::{answer, not_found};
use crate::api::AdminContext;

/// `POST /contemplants/{id}/drain`: the Contemplant takes no more jobs, finishes what it holds and
/// leaves.
pub(super) async fn drain(State(context): State<AdminContext>, Path(id): Path<String>) -> Response {
    let Ok(worker) = id.parse::<WorkerId>() else {
        return not_found("no such Contemplant; /contemplants lists their ids");
    };
    let action = WorkerCommand::Drain(worker, "asked by the operator".into());
    match context.registry.command(action).await {
        Ok(_) => answer(StatusCode::ACCEPTED, "it finishes what it holds and leaves"),
        Err(CommandError::NotFound(_)) => {
            not_found("no such Contemplant is connected; /contemplants lists their ids")
        }
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
