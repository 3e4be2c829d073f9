//! A collector of traces: takes what is sent by OTLP over HTTP with protobuf, and shows it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Wire;
use prost::Message;
use tokio::net::TcpListener;

type Spans = Arc<Mutex<Vec<Span>>>;

/// A span as it has arrived; ids are lower-case hex, a parent that there is not is empty.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of its sender.
    pub service: String,
    /// What was done.
    pub name: String,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of the span that it is a part of.
    pub parent: String,
    /// Traces that it points into.
    pub links: Vec<String>,
    /// Nanoseconds since 1970, of its begin and its end.
    pub times: (u64, u64),
    /// Whether it tells of a failure.
    pub failed: bool,
    /// Everything else that it says, as text.
    pub text: String,
}

/// A running collector; it ends with its runtime.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
}

impl Collector {
    /// Starts one on a free port of this machine.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let spans = Spans::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        network_lib::task::spawn("collector", async move { axum::serve(listener, router).await });
        Self { address, spans }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be set to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has arrived of a trace.
    #[must_use]
    pub fn trace(&self, id: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| span.trace == id).cloned().collect()
    }
}

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text_of(&attributes, "service.name");
        let found = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.extend(found.map(|span| read(service.clone(), &span)));
    }
    StatusCode::OK
}

fn read(service: String, span: &Wire) -> Span {
    Span {
        service,
        name: span.name.clone(),
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        text: format!("{:?} {:?}", span.attributes, span.status),
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()) {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        _ => String::new(),
    }
}
