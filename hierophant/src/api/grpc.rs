//! The gRPC port: both services of the client contract, reflection and health.

pub mod artifact_store;
mod caller;
pub mod convert;
mod denied;
mod gate;
mod list;
pub mod prover_network;
mod rejected;
mod signed;
mod stream_age;

use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn_with_state;
use hierophant_proto::artifact::artifact_store_server::ArtifactStoreServer;
use hierophant_proto::network::prover_network_server::ProverNetworkServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::util::MapRequestLayer;

use super::networks::{self, PortNetworks};
use super::urls::CalledAuthority;
use super::{ClientContext, certificate, deadline};
use crate::listen::{Accept, Acceptor, Port};
use crate::metrics::RpcLayer;
use artifact_store::ArtifactStoreService;
use gate::Gate;
use prover_network::ProverNetworkService;

/// Serves until `stop` is cancelled and the calls in progress have ended.
///
/// # Errors
///
/// When the reflection service cannot be built.
pub async fn serve(
    acceptor: Acceptor,
    listener: impl Accept,
    context: ClientContext,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ArtifactStoreServer<ArtifactStoreService>>().await;
    health.set_serving::<ProverNetworkServer<ProverNetworkService>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(hierophant_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let max_bytes = context.calls.max_message_bytes;
    let artifact_store = ArtifactStoreServer::new(ArtifactStoreService::new(context.clone()));
    let prover_network = ProverNetworkServer::new(ProverNetworkService::new(context.clone()));
    let router = Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(artifact_store.max_decoding_message_size(max_bytes))
        .add_service(prover_network.max_decoding_message_size(max_bytes))
        .prepare()
        .into_axum_router()
        .layer(from_fn_with_state(Gate::new(&context), gate::admitted))
        .layer(MapRequestLayer::new(keep_authority))
        .layer(from_fn_with_state(context.clone(), certificate::of_clients))
        .layer(from_fn_with_state(
            PortNetworks::new(&context.calls.grpc_networks),
            networks::of_grpc,
        ))
        .layer(from_fn_with_state(context.denials.clone(), denied::logged))
        .layer(from_fn_with_state(context.deadline, deadline::of_rpc))
        .layer(RpcLayer::new(context.metrics.clone()));
    acceptor.serve(listener, Port::Grpc, router, stop).await;
    Ok(())
}

/// Keeps the authority of the URI as an extension, because tonic does not pass the URI on to the methods.
fn keep_authority(mut request: Request<Body>) -> Request<Body> {
    if let Some(authority) = request.uri().authority().cloned() {
        request.extensions_mut().insert(CalledAuthority(authority));
    }
    request
}
