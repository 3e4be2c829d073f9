//! Times every gRPC call, from the outside.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Request, Response};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tower::{Layer, Service};

use super::Metrics;
use super::labels::RpcLabels;

/// Measures the calls of the service under it.
#[derive(Debug, Clone)]
pub struct RpcLayer(Metrics);

impl RpcLayer {
    /// Calls are counted in `metrics`.
    #[must_use]
    pub const fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }
}

impl<S> Layer<S> for RpcLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metrics: self.0.clone() }
    }
}

/// A service whose calls are measured.
#[derive(Debug, Clone)]
pub struct Measured<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, A, B> Service<Request<A>> for Measured<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let method = method(request.uri().path());
        let metrics = self.metrics.clone();
        let started = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(response) = &answer {
                let labels = RpcLabels { method, code: code(response) };
                let seconds = started.elapsed().as_secs_f64();
                metrics.0.rpc.get_or_create(&labels).observe(seconds);
            }
            answer
        })
    }
}

/// The methods that have a series; a caller can ask for any path.
static METHODS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(hierophant_proto::DESCRIPTORS).unwrap_or_default().file;
    files
        .iter()
        .flat_map(|file| file.service.iter().flat_map(|service| &service.method))
        .map(|method| method.name().to_owned())
        .collect()
});

/// The last part of the path, if one of the services has such a method, else `other`.
fn method(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    METHODS.get(name).cloned().unwrap_or_else(|| "other".to_owned())
}

/// A refusal says its code in the head; a success says it only after the body.
fn code<B>(response: &Response<B>) -> String {
    let status =
        response.headers().get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()));
    format!("{:?}", status.unwrap_or(Code::Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_have_a_series() {
        assert_eq!(method("/network.ProverNetwork/RequestProof"), "RequestProof");
        assert_eq!(method("/artifact.ArtifactStore/CreateArtifact"), "CreateArtifact");
        assert_eq!(method("/network.ProverNetwork/a-stranger's-idea"), "other");
    }

    #[test]
    fn refusals_are_told_from_successes() {
        let refused = tonic::Status::not_found("no such program").into_http::<String>();
        assert_eq!(code(&refused), "NotFound");
        assert_eq!(code(&Response::new(())), "Ok");
    }
}
