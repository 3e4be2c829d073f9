//! Uploads and downloads of artifact data, for clients.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use headers::{ContentLength, HeaderMapExt};
use hierophant_model::records::{ArtifactKind, ArtifactRecord};
use hierophant_model::text::short_artifact_id;
use network_lib::ids::ArtifactId;

use super::receive::{Sender, compare, discard, receive};
use super::serve::{RangeRequest, parse_range, serve_blob, unreadable};
use super::{not_found, text_response, try_again};
use crate::api::ClientContext;
use crate::artifacts::{ArtifactsHandle, UploadError, damage};
use crate::metrics::{Direction, Peer};

const NO_SUCH: &str = "no such artifact";

/// `PUT /artifacts/{id}`: the upload to a ticket. Repeating it with the same bytes changes nothing.
pub(super) async fn upload(
    State(context): State<ClientContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let no_ticket = || not_found(&UploadError::NoTicket.to_string());
    let Ok(id) = id.parse::<ArtifactId>() else { return no_ticket() };
    let unavailable = || try_again(UploadError::Unavailable.to_string());
    let ticket = match context.store.artifact(id).await {
        Ok(Some(record)) if record.kind != ArtifactKind::Proof => record,
        Ok(_) => return no_ticket(),
        Err(error) => {
            tracing::error!(%error, "a ticket could not be looked up");
            return unavailable();
        }
    };
    let owner = context.clients.of(ticket.owner, ticket.client.as_ref());
    if !context.clients.calls_from(&owner, Some(peer.ip())) {
        return no_ticket();
    }
    // Anyone may know the id of a filled ticket, such as a program's: its uploads must not hold up those of others.
    let Some(_turn) = context.transfers.limits.tickets.begin(id) else {
        discard(body.into_data_stream());
        return try_again("another upload to this ticket is in progress; try again later");
    };
    let quota = Some((context.artifacts.clone(), owner.clone()));
    let sender = Sender { peer: Peer::Client, address: peer.ip(), quota };
    if let Some(stored) = ticket.blob.filter(|_| ticket.expired_at.is_none()) {
        return match compare(&context.transfers, &headers, body, &sender, stored).await {
            Ok(true) => StatusCode::OK.into_response(),
            Ok(false) => text_response(StatusCode::CONFLICT, UploadError::Conflict.to_string()),
            Err(refusal) => *refusal,
        };
    }
    if ticket.expired_at.is_some() {
        discard(body.into_data_stream());
        return no_ticket();
    }
    // Without a length, the quota is checked while the body streams.
    if let Some(ContentLength(announced)) = headers.typed_get() {
        match context.artifacts.may_keep(owner, announced).await {
            Ok(Ok(())) => {}
            Ok(Err(over)) => {
                discard(body.into_data_stream());
                return text_response(StatusCode::PAYLOAD_TOO_LARGE, over.to_string());
            }
            Err(_) => return unavailable(),
        }
    }
    let limit = context.transfers.limits.max;
    let begin = |announced| context.transfers.blobs.begin(announced);
    let staged = match receive(&context.transfers, begin, &headers, body, &sender, limit).await {
        Ok(staged) => staged,
        Err(refusal) => return *refusal,
    };
    match context.artifacts.keep_upload(id, staged).await {
        Ok(info) => {
            context.metrics.transferred(Direction::In, Peer::Client, info.size);
            tracing::info!(artifact = %short_artifact_id(id), bytes = info.size, "upload stored");
            StatusCode::OK.into_response()
        }
        Err(error @ UploadError::Conflict) => {
            text_response(StatusCode::CONFLICT, error.to_string())
        }
        Err(UploadError::NoTicket) => no_ticket(),
        Err(error @ UploadError::OverQuota(_)) => {
            text_response(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        Err(error @ UploadError::Unavailable) => try_again(error.to_string()),
    }
}

/// `GET /artifacts/{id}`: a proof, a program or an input that is not private; `Range` is honoured.
pub(super) async fn download(
    State(context): State<ClientContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let Ok(id) = id.parse::<ArtifactId>() else { return not_found(NO_SUCH) };
    let found = context.store.artifact(id).await.map(|found| {
        found.filter(|record| {
            let owner = context.clients.of(record.owner, record.client.as_ref());
            context.clients.calls_from(&owner, Some(peer.ip()))
        })
    });
    match found {
        Ok(Some(record)) if record.kind == ArtifactKind::PrivateStdin => {
            text_response(StatusCode::FORBIDDEN, "private input: it cannot be downloaded")
        }
        Ok(Some(record)) if record.expired_at.is_some() => {
            text_response(StatusCode::GONE, expired(&record))
        }
        Ok(Some(record)) if record.blob.is_some() => {
            let (method, headers) = (request.method(), request.headers());
            let mut found = None;
            if record.kind == ArtifactKind::Proof
                && needs_bytes(&context, id, method, headers).await
            {
                match damage::sound(&context.blobs, &record).await {
                    Ok(Some(sound)) => found = Some(sound),
                    Ok(None) => {
                        return try_again("proof lost: poll the request, it is being proved again");
                    }
                    Err(error) => return unreadable(&error),
                }
            }
            let response = serve_blob(&context.transfers, id, found, Peer::Client, request).await;
            if record.kind == ArtifactKind::Proof {
                return note_delivery(response, id, context.artifacts.clone());
            }
            response
        }
        Ok(_) => not_found(NO_SUCH),
        Err(error) => {
            tracing::error!(%error, "an artifact could not be looked up");
            try_again("store unavailable; try again later")
        }
    }
}

/// Whether a response has bytes, which are checked before they are sent. A call for the head, or one whose conditions are
/// not met, costs no check.
async fn needs_bytes(
    context: &ClientContext,
    id: ArtifactId,
    method: &Method,
    headers: &HeaderMap,
) -> bool {
    if method == Method::HEAD {
        return false;
    }
    let conditions = [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::RANGE];
    if conditions.iter().all(|name| !headers.contains_key(name)) {
        return true;
    }
    match context.blobs.metadata(id).await {
        Ok(Some(found)) => {
            matches!(parse_range(headers, found), RangeRequest::Whole | RangeRequest::Part(_))
        }
        // A missing proof is noticed by the check, and a store that is away too.
        Ok(None) | Err(_) => true,
    }
}

fn expired(record: &ArtifactRecord) -> String {
    let days = record.expired_at.map_or(0, |end| end.since(record.created_at) / 86_400_000);
    format!("{} expired after {days} days (see `[retention]`)", record.kind)
}

/// Notifies the owner once the last byte of a proof has been sent: of the whole proof, or of a range that
/// reaches to its end. It may still get lost in the last network buffer, which is one reason why a proof is
/// kept after its delivery.
fn note_delivery(response: Response, id: ArtifactId, owner: ArtifactsHandle) -> Response {
    let Some(mut left) = length_if_last(&response) else { return response };
    let (head, body) = response.into_parts();
    let body = body.into_data_stream().inspect_ok(move |chunk| {
        let before = left;
        left = left.saturating_sub(chunk.len() as u64);
        if before > 0 && left == 0 {
            owner.delivered(id);
        }
    });
    Response::from_parts(head, Body::from_stream(body))
}

/// Length of the response, if its last byte is the last byte of the file.
fn length_if_last(response: &Response) -> Option<u64> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let length = header(header::CONTENT_LENGTH)?.parse().ok()?;
    match response.status() {
        StatusCode::OK => Some(length),
        StatusCode::PARTIAL_CONTENT => {
            // "bytes 0-99/100"
            let (range, total) = header(header::CONTENT_RANGE)?.split_once('/')?;
            let last: u64 = range.rsplit('-').next()?.parse().ok()?;
            let total: u64 = total.parse().ok()?;
            (last.checked_add(1) == Some(total)).then_some(length)
        }
        _ => None,
    }
}
