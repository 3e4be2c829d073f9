//! Bytes of an attempt, for the Contemplant that holds the lease and nobody else.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use network_lib::ids::{ArtifactId, LeaseId};

use super::receive::receive;
use super::serve::serve_blob;
use super::{not_found, try_again};
use crate::api::Context;
use crate::metrics::{Direction, Peer};
use crate::proofs::LeaseAccess;
use crate::proofs::log::lease_hint;

const OVER: &str = "this attempt is over, or there is no such attempt";
const BUSY: &str = "the attempt could not be looked up; try again later";

/// `GET /leases/{id}/program`
pub(super) async fn program(
    State(context): State<Context>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match access(&context, &id).await {
        Ok((lease, access)) => serve(&context, lease, access.program, request).await,
        Err(refusal) => *refusal,
    }
}

/// `GET /leases/{id}/stdin`
pub(super) async fn stdin(
    State(context): State<Context>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match access(&context, &id).await {
        Ok((lease, access)) => serve(&context, lease, access.stdin, request).await,
        Err(refusal) => *refusal,
    }
}

/// `PUT /leases/{id}/proof`
pub(super) async fn proof(
    State(context): State<Context>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let lease = match access(&context, &id).await {
        Ok((lease, _)) => lease,
        Err(refusal) => return *refusal,
    };
    let staged = match receive(&context, &headers, body, Peer::Contemplant).await {
        Ok(staged) => staged,
        Err(refusal) => return *refusal,
    };
    let info = staged.info();
    context.metrics.transferred(Direction::In, Peer::Contemplant, info.size);
    let artifact = match context.owners.artifacts.keep_proof(staged).await {
        Ok(artifact) => artifact,
        Err(error) => return try_again(error.to_string()),
    };
    match context.owners.proofs.proof_stored(lease, artifact, info).await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => not_found(OVER),
        Err(_) => try_again(BUSY),
    }
}

/// Gives bytes out. If they are gone, nobody can work on the job: `proofs` hears of it, and the
/// Contemplant that its attempt is over.
async fn serve(context: &Context, lease: LeaseId, blob: ArtifactId, request: Request) -> Response {
    let response = serve_blob(context, blob, Peer::Contemplant, request).await;
    if response.status() == StatusCode::NOT_FOUND {
        tracing::error!(
            lease = lease_hint(lease),
            "the bytes of a job's program or input are gone"
        );
        context.owners.proofs.input_lost(lease);
    }
    response
}

async fn access(context: &Context, id: &str) -> Result<(LeaseId, LeaseAccess), Box<Response>> {
    let lease: LeaseId = id.parse().map_err(|_| Box::new(not_found(OVER)))?;
    match context.owners.proofs.lease(lease).await {
        Ok(Some(access)) => Ok((lease, access)),
        Ok(None) => Err(Box::new(not_found(OVER))),
        Err(_) => Err(Box::new(try_again(BUSY))),
    }
}
