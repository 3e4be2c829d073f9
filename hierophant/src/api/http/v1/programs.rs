//! Commands on registered programs.

use alloy_primitives::Address;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use hierophant_admin_model::{Done, NewOwner, Reason, Refusal};
use hierophant_model::clients::{Client, Owner};
use hierophant_model::records::{Change, ProgramRecord};
use network_lib::ids::VkHash;

use super::commands::parse_body;
use super::page::{
    ApiResult, ErrorResponse, invalid, not_found, parse_optional, store_unavailable,
};
use super::tokens::known_client;
use crate::api::AdminContext;

/// Removes a program from the registered ones, also a confirmed one. Jobs in progress
/// continue. The next client that needs it uploads and registers it again.
#[utoipa::path(post, path = "/programs/{id}/remove", tag = "programs", request_body = Option<Reason>,
    params(("id" = String, Path, description = "program id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such program", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn remove(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    let program = registered(&context, &id).await?;
    let change = Change::ProgramRemoved(program.vk_hash);
    context.store.commit(&[change]).await.map_err(store_unavailable)?;
    tracing::info!(vk_hash = %program.vk_hash, "program removed by an operator");
    Ok(Json(Done { changed: true, now: "removed".to_owned(), job: None }))
}

/// Makes another client the owner of a program: it may replace the upload until a proof has confirmed it, and the
/// program counts towards its quota.
#[utoipa::path(post, path = "/programs/{id}/reassign", tag = "programs", request_body = NewOwner,
    params(("id" = String, Path, description = "program id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id or owner, or unknown client", body = Refusal),
    (status = 404, description = "no such program", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn reassign(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let owner = new_owner(&context, &parse_body(&body)?)?;
    let program = registered(&context, &id).await?;
    let (address, client) = &owner;
    let now = format!("of {}", context.clients.of(*address, client.as_ref()));
    let change = Change::ProgramOwner(program.vk_hash, owner);
    context.store.commit(&[change]).await.map_err(store_unavailable)?;
    tracing::info!(vk_hash = %program.vk_hash, owner = now, "program reassigned by an operator");
    Ok(Json(Done { changed: true, now, job: None }))
}

/// The owner that a body names. A client without addresses owns by its name alone.
fn new_owner(context: &AdminContext, wanted: &NewOwner) -> Result<Owner, ErrorResponse> {
    let address = parse_optional::<Address>("address", wanted.address.as_deref())?;
    match (address, &wanted.client) {
        (Some(address), None) => Ok((address, None)),
        (None, Some(name)) => {
            let name = known_client(context, name)?;
            let records = context.clients.records(&Client::Named(name.clone()));
            let address = records.addresses.first().copied().unwrap_or(Address::ZERO);
            Ok((address, Some(name)))
        }
        _ => Err(invalid("invalid owner: expected either `address` or `client`")),
    }
}

async fn registered(context: &AdminContext, id: &str) -> Result<ProgramRecord, ErrorResponse> {
    let id: VkHash = id.parse().map_err(|_| {
        let digits = 2 * VkHash::LEN;
        invalid(format!("invalid program id {id:?}: expected {digits} hexadecimal digits"))
    })?;
    let program = context.store.program(id).await.map_err(store_unavailable)?;
    program.ok_or_else(|| not_found("no such program"))
}
