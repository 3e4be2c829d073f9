//! The server of the played Hierophant: one socket for each worker, and its files.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, put};
use futures_util::{StreamExt, stream};
use network_lib::shard::TaskFromWorker;
use network_lib::wire::{
    FromWorker, LEASE_ENDED_HEADER, LOCAL_SECRET_HEADER, REJECTION_HEADER, ToWorker,
};
use network_lib::{codec, task};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::blobs::{serve_blob, take_blob};
use super::{Connection, Files, Say, Shared};

/// Serves until the returned token is cancelled.
pub(super) fn serve(listener: TcpListener, shared: Shared) -> CancellationToken {
    let router = Router::new()
        .route("/ws", any(upgrade))
        .route("/leases/{lease}/{what}", get(serve_file))
        .route("/leases/{lease}/proof", put(take_proof).get(serve_file))
        .route("/leases/{lease}/blobs/{blob}", put(take_blob).get(serve_blob))
        .with_state(shared);
    let gone = CancellationToken::new();
    let server = axum::serve(listener, router);
    let server = server.with_graceful_shutdown(gone.clone().cancelled_owned());
    task::spawn("fake hierophant", server.into_future());
    gone
}

async fn upgrade(upgrade: WebSocketUpgrade, State(shared): State<Shared>) -> Response {
    let file = shared.files.lock().unwrap().local_secret_file.clone();
    let mut response = upgrade.on_upgrade(move |socket| talk(socket, shared));
    if let Some(file) = file {
        response.headers_mut().insert(LOCAL_SECRET_HEADER, file.parse().unwrap());
    }
    response
}

async fn talk(mut socket: WebSocket, shared: Shared) {
    let Some(Ok(Message::Text(first))) = socket.recv().await else { return };
    let Ok(FromWorker::Hello(hello)) = codec::decode(first.as_str()) else { return };
    let (heard_sender, heard) = mpsc::unbounded_channel();
    let (say, mut to_say) = mpsc::unbounded_channel();
    let connection = Connection { hello, heard, say, shared: shared.clone() };
    shared.connections.send(connection).unwrap();
    loop {
        tokio::select! {
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let message: FromWorker = codec::decode(text.as_str()).unwrap();
                    if let Some(answer) = settle(&message, &shared) {
                        socket.send(Message::text(codec::encode(&answer))).await.unwrap();
                    }
                    let _ = heard_sender.send(message);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            say = to_say.recv() => match say {
                Some(Say::Text(text)) => socket.send(Message::text(text)).await.unwrap(),
                Some(Say::BeSilent) => {
                    while to_say.recv().await.is_some() {}
                    return;
                }
                // The test has dropped the connection: cut it without a good-bye.
                None => return,
            },
        }
    }
}

/// The confirmation that an end of an attempt gets.
fn settle(message: &FromWorker, shared: &Shared) -> Option<ToWorker> {
    match message {
        FromWorker::Completed { lease_id, .. }
        | FromWorker::Failed { lease_id, .. }
        | FromWorker::Task(
            TaskFromWorker::TaskDone { lease_id, .. }
            | TaskFromWorker::TaskFailed { lease_id, .. }
            | TaskFromWorker::ExecuteEnded { lease_id, .. },
        ) => {
            let withhold = shared.files.lock().unwrap().withhold_settled;
            (!withhold).then_some(ToWorker::Settled { lease_id: *lease_id })
        }
        _ => None,
    }
}

/// The refusal of a call that comes without the key of the latest welcome.
pub(super) fn key_refusal(files: &mut Files, headers: &HeaderMap) -> Option<Response> {
    let wanted = files.key.as_ref().map(|key| format!("Bearer {}", key.reveal()));
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given.is_some() && given == wanted.as_deref() {
        return None;
    }
    files.turned_away += 1;
    Some((StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response())
}

/// Hierophant's answer about an attempt that has ended.
pub(super) fn lease_ended(code: StatusCode) -> Response {
    (code, [(LEASE_ENDED_HEADER, "the attempt has ended")]).into_response()
}

async fn serve_file(
    Path((lease, what)): Path<(String, String)>,
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Response {
    let mut files = shared.files.lock().unwrap();
    if let Some(refusal) = key_refusal(&mut files, &headers) {
        return refusal;
    }
    let serving = files.serving;
    let Some((bytes, errors)) = files.served.get_mut(&format!("{lease}/{what}")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !errors.is_empty() {
        return match errors.remove(0) {
            code @ (StatusCode::FORBIDDEN | StatusCode::GONE) => lease_ended(code),
            code => code.into_response(),
        };
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let halves = [(Duration::ZERO, first.to_vec()), (serving, second.to_vec())];
    let sending = stream::iter(halves).then(async |(pause, half)| {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(half)
    });
    Body::from_stream(sending).into_response()
}

async fn take_proof(
    Path(lease): Path<String>,
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let storing = {
        let mut files = shared.files.lock().unwrap();
        if let Some(refusal) = key_refusal(&mut files, &headers) {
            return refusal;
        }
        files.uploads += 1;
        if files.end_leases > 0 {
            files.end_leases -= 1;
            return lease_ended(StatusCode::FORBIDDEN);
        }
        if !files.refuse_proofs.is_empty() {
            return files.refuse_proofs.remove(0).into_response();
        }
        if let Some(reason) = &files.reject_proofs {
            let header = [(REJECTION_HEADER, reason.clone())];
            return (StatusCode::PAYLOAD_TOO_LARGE, header).into_response();
        }
        files.proofs.insert(lease, body.to_vec());
        files.storing
    };
    tokio::time::sleep(storing).await;
    StatusCode::OK.into_response()
}
