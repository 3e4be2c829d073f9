//! The gRPC port: both services of the client contract, reflection and health.

pub mod artifact_store;
pub mod convert;
mod gate;
pub mod prover_network;
mod signed;

use std::convert::Infallible;
use std::time::Duration;

use axum::http;
use futures_util::stream;
use hierophant_proto::artifact::artifact_store_server::ArtifactStoreServer;
use hierophant_proto::network::prover_network_server::ProverNetworkServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower::util::MapRequestLayer;

use super::Context;
use super::urls::CalledAuthority;
use crate::Accept;
use crate::metrics::RpcLayer;
use artifact_store::ArtifactStoreService;
use gate::Gate;
use prover_network::ProverNetworkService;

/// Serves until `stop` is cancelled and the calls in progress have ended.
///
/// # Errors
///
/// When the transport fails.
pub async fn serve(
    listener: impl Accept,
    context: Context,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ArtifactStoreServer<ArtifactStoreService>>().await;
    health.set_serving::<ProverNetworkServer<ProverNetworkService>>().await;
    let incoming = stream::unfold(listener, async |mut listener| {
        let (connection, _) = listener.accept().await;
        Some((Ok::<_, Infallible>(connection), listener))
    });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(hierophant_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let largest = context.calls.max_message_bytes;
    let artifact_store = ArtifactStoreServer::new(ArtifactStoreService::new(context.clone()));
    let prover_network = ProverNetworkServer::new(ProverNetworkService::new(context.clone()));
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .layer(RpcLayer::new(context.metrics.clone()))
        .layer(MapRequestLayer::new(keep_authority::<tonic::body::Body>))
        .layer(Gate::new(&context))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(artifact_store.max_decoding_message_size(largest))
        .add_service(prover_network.max_decoding_message_size(largest))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await?;
    Ok(())
}

/// tonic does not pass the request's URI on to the methods; its authority goes along as an extension.
fn keep_authority<B>(mut request: http::Request<B>) -> http::Request<B> {
    if let Some(authority) = request.uri().authority().cloned() {
        request.extensions_mut().insert(CalledAuthority(authority));
    }
    request
}
