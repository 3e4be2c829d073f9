//! Measurement of gRPC calls.

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

/// A layer that measures the calls of the inner service.
#[derive(Debug, Clone)]
pub struct RpcLayer(Metrics);

impl RpcLayer {
    /// A layer that counts in `metrics`.
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
                metrics.0.families.rpc.get_or_create(&labels).observe(seconds);
            }
            answer
        })
    }
}

/// Methods with their own series; a caller can send any path.
static METHODS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(hierophant_proto::DESCRIPTORS).unwrap_or_default().file;
    files
        .iter()
        .flat_map(|file| file.service.iter().flat_map(|service| &service.method))
        .map(|method| method.name().to_owned())
        .collect()
});

/// Method of a path, or `other` if it is not a method of the services.
fn method(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    METHODS.get(name).cloned().unwrap_or_else(|| "other".to_owned())
}

/// Status code of an answer: in the head of a refusal; a success sends it only after the body.
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
    fn refusals_are_distinguished_from_successes() {
        let refused = tonic::Status::not_found("no such program").into_http::<String>();
        assert_eq!(code(&refused), "NotFound");
        assert_eq!(code(&Response::new(())), "Ok");
    }
}
