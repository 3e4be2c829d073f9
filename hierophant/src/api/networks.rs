//! Networks from which clients reach a port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hierophant_model::clients::contains;
use ipnet::IpNet;
use tonic::Status;

use crate::config::Network;

/// Networks from which clients reach a port; empty = all.
#[derive(Debug, Clone)]
pub(super) struct PortNetworks(Arc<[IpNet]>);

impl PortNetworks {
    /// The networks as configured.
    pub(super) fn new(networks: &[Network]) -> Self {
        Self(networks.iter().map(|network| network.0).collect())
    }

    fn refused(&self, request: &Request) -> Option<IpAddr> {
        let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        let is_open = self.0.is_empty() || contains(&self.0, peer.ip());
        (!is_open).then(|| peer.ip().to_canonical())
    }
}

/// Rejects gRPC calls from other networks; final for every SDK.
pub(super) async fn of_grpc(
    State(networks): State<PortNetworks>,
    request: Request,
    next: Next,
) -> Response {
    match networks.refused(&request) {
        None => next.run(request).await,
        Some(peer) => Status::permission_denied(refusal(peer, "grpc_networks")).into_http(),
    }
}

/// Rejects uploads and downloads from other networks; final for every SDK.
pub(super) async fn of_artifacts(
    State(networks): State<PortNetworks>,
    request: Request,
    next: Next,
) -> Response {
    match networks.refused(&request) {
        None => next.run(request).await,
        Some(peer) => {
            (StatusCode::FORBIDDEN, refusal(peer, "artifact_networks") + "\n").into_response()
        }
    }
}

fn refusal(peer: IpAddr, key: &str) -> String {
    format!(
        "{peer} is not in a network that may call this port: ask the operator of this network to add it to \
         `calls.{key}`"
    )
}
