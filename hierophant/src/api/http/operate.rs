//! What an operator does, from the machine that Hierophant runs on.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use network_lib::ids::WorkerId;

use super::{answer, not_found};
use crate::api::Context;

/// `POST /contemplants/{id}/drain`: the Contemplant takes no more jobs, finishes what it holds and
/// leaves.
pub(super) async fn drain(State(context): State<Context>, Path(id): Path<String>) -> Response {
    let Ok(worker) = id.parse::<WorkerId>() else {
        return not_found("no such Contemplant; /contemplants lists their ids");
    };
    match context.owners.registry.drain(worker, "asked by the operator".into()).await {
        Ok(true) => answer(StatusCode::ACCEPTED, "it finishes what it holds and leaves"),
        Ok(false) => not_found("no such Contemplant is connected; /contemplants lists their ids"),
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "the registry does not answer"),
    }
}
