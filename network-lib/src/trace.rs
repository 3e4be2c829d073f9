//! Traces: finished spans, sent by OTLP to the collector that the environment names, and nowhere without
//! one.
//!
//! A proof takes minutes to hours and may outlive the processes that work on it. So no span stays open in
//! memory: the process that knows when something began and ended records it at its end. Span ids are derived
//! from the job's id, so that any process can name the spans above its own. As with logs, a process has one
//! exporter.

mod client;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Link, SpanKind, Status, TraceContextExt, TraceFlags, TraceState};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanLinks, SpanProcessor};

pub use opentelemetry::trace::{SpanContext, SpanId, TraceId};
pub use opentelemetry::{KeyValue, Value};

use self::client::Client;

/// Name of W3C's header, and of the field in the worker protocol.
pub const TRACEPARENT: &str = "traceparent";

/// The variables that name a collector; without any of them nothing is sent.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// How long a program waits at its end for its last spans to be sent.
const LAST_SPANS_LIMIT: Duration = Duration::from_secs(3);

static PROCESSOR: OnceLock<BatchSpanProcessor> = OnceLock::new();

/// A finished span.
#[derive(Debug, Clone)]
pub struct Span {
    name: &'static str,
    context: SpanContext,
    parent: Option<SpanContext>,
    kind: SpanKind,
    began: SystemTime,
    ended: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<SpanContext>,
    error: Option<String>,
}

impl Span {
    /// A span with this context, from `began` to `ended`.
    #[must_use]
    pub fn new(
        name: &'static str,
        context: &SpanContext,
        began: SystemTime,
        ended: SystemTime,
    ) -> Self {
        Self {
            name,
            context: context.clone(),
            parent: None,
            kind: SpanKind::Internal,
            began,
            ended,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }

    /// As a part of the work at `parent`.
    #[must_use]
    pub fn under(mut self, parent: &SpanContext) -> Self {
        self.parent = Some(parent.clone());
        self
    }

    /// As the answer to a call from outside.
    #[must_use]
    pub fn as_server(mut self) -> Self {
        self.kind = SpanKind::Server;
        self
    }

    /// With one more fact. No secrets, no bytes of programs, inputs or proofs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// With a pointer into another trace.
    #[must_use]
    pub fn linked(mut self, to: Option<&SpanContext>) -> Self {
        self.links.extend(to.cloned());
        self
    }

    /// As a failure, if there is a reason.
    #[must_use]
    pub fn failed(mut self, reason: Option<String>) -> Self {
        self.error = reason;
        self
    }

    fn into_data(self) -> SpanData {
        let parent = self.parent.as_ref();
        let mut links = SpanLinks::default();
        links.links = self.links.into_iter().map(Link::with_context).collect();
        SpanData {
            span_context: self.context,
            parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            parent_span_is_remote: parent.is_some_and(SpanContext::is_remote),
            span_kind: self.kind,
            name: self.name.into(),
            start_time: self.began,
            // A clock that was set back must not make it end before it began.
            end_time: self.ended.max(self.began),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links,
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("hierophant").build(),
        }
    }
}

/// Starts the export of spans, if the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, OTLP over HTTP with protobuf). OpenTelemetry's other variables set headers,
/// batches and the resource; `service` and `attributes` are the resource's defaults.
///
/// A collector that is unreachable, slow or misspelt costs spans and a line in the log, nothing else. Must be called
/// on a tokio runtime that lives until [`finish`]; a second call does nothing.
pub fn init(service: &'static str, attributes: impl IntoIterator<Item = KeyValue>) {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if ENDPOINTS.into_iter().any(is_set) {
        match start(None, service, attributes) {
            Ok(()) => tracing::info!("traces are sent by OTLP"),
            Err(reason) => tracing::error!(reason, "traces cannot be sent"),
        }
    }
}

/// [`init`] for those who know the collector: the URL that spans are posted to, or none to ask the
/// environment.
///
/// # Errors
///
/// A sentence that says what is wrong.
pub fn start(
    url: Option<String>,
    service: &'static str,
    attributes: impl IntoIterator<Item = KeyValue>,
) -> Result<(), String> {
    let mut builder = SpanExporter::builder().with_http().with_http_client(Client::new()?);
    if let Some(url) = url {
        builder = builder.with_endpoint(url);
    }
    let exporter = builder.build().map_err(|error| error.to_string())?;
    let resource = Resource::builder().with_attributes(attributes);
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(name) if !name.is_empty() => resource.build(),
        _ => resource.with_service_name(service).build(),
    };
    PROCESSOR.get_or_init(|| {
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource);
        processor
    });
    Ok(())
}

/// Whether spans are sent.
#[must_use]
pub fn is_on() -> bool {
    PROCESSOR.get().is_some()
}

/// Queues a span to be sent. Never waits; if the queue is full, the span is dropped.
pub fn record(span: Span) {
    if let Some(processor) = PROCESSOR.get() {
        processor.on_end(span.into_data());
    }
}

/// Sends the last spans, within a time limit; called when the program ends.
pub async fn finish() {
    let Some(processor) = PROCESSOR.get() else { return };
    let finishing =
        tokio::task::spawn_blocking(|| processor.shutdown_with_timeout(LAST_SPANS_LIMIT));
    if !matches!(finishing.await, Ok(Ok(()))) {
        tracing::warn!("the last spans did not reach the collector");
    }
}

/// The current time, for the bounds of spans.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "spans of two machines meet on the wall clock alone")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The context of a span, from the bytes of its trace id and its own id.
#[must_use]
pub fn span_context(trace: [u8; 16], span: [u8; 8]) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// A new span context in the trace of another.
#[must_use]
pub fn sibling_context(other: &SpanContext) -> SpanContext {
    let span = crate::ids::random_bytes();
    span_context(other.trace_id().to_bytes(), span)
}

/// A span context as W3C's `traceparent`.
#[must_use]
pub fn traceparent(of: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags().to_u8())
}

/// The span context in a `traceparent` of another process, if it is valid and sampled.
#[must_use]
pub fn parse(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    let found = context.span().span_context().clone();
    (found.is_valid() && found.is_sampled()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_way_to_another_process() {
        let here = span_context([0x0a; 16], [0x0b; 8]);
        let text = traceparent(&here);
        assert_eq!(text, format!("00-{}-{}-01", "0a".repeat(16), "0b".repeat(8)));
        let there = parse(&text).expect("valid");
        assert_eq!((there.trace_id(), there.span_id()), (here.trace_id(), here.span_id()));
        assert!(there.is_remote() && there.is_sampled());
    }

    #[test]
    fn what_names_no_place_or_wants_no_spans_is_nothing() {
        let (trace, span) = ("0a".repeat(16), "0b".repeat(8));
        for text in [
            String::new(),
            "nonsense".to_owned(),
            format!("00-{}-{span}-01", "00".repeat(16)),
            format!("00-{trace}-{}-01", "00".repeat(8)),
            format!("00-{trace}-{span}-00"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}"),
            "é".repeat(55),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_span_is_told_with_its_parent_links_and_reason() {
        let (root, client) = (span_context([1; 16], [2; 8]), span_context([3; 16], [4; 8]));
        let here = sibling_context(&root);
        let now = now();
        let earlier = now - Duration::from_secs(1);
        let span = Span::new("attempt", &here, now, earlier)
            .under(&root)
            .with("attempt", 1)
            .linked(Some(&client))
            .failed(Some("no power".to_owned()));
        let data = span.into_data();
        assert_eq!(data.span_context.trace_id(), root.trace_id());
        assert_ne!(data.span_context.span_id(), root.span_id());
        assert_eq!(data.parent_span_id, root.span_id());
        assert_eq!(data.links.links[0].span_context, client);
        assert_eq!(data.status, Status::error("no power"));
        assert_eq!(data.end_time, data.start_time, "it must not end before it began");
    }

    #[test]
    fn without_a_collector_spans_go_nowhere() {
        assert!(!is_on());
        record(Span::new("proof", &span_context([1; 16], [2; 8]), now(), now()));
    }
}
