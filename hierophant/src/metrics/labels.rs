//! Labels of the series.

use network_lib::named_enum;
use prometheus_client::encoding::EncodeLabelSet;

/// Kind of proof.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModeLabels {
    pub(super) mode: &'static str,
}

/// State of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: &'static str,
}

/// Kind of proof and the client's network mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) mode: &'static str,
    pub(super) network_mode: &'static str,
}

/// Name of a configured client, or `other`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClientLabels {
    pub(super) client: String,
}

impl ClientLabels {
    pub(super) fn of(name: Option<&str>) -> Self {
        Self { client: name.unwrap_or("other").to_owned() }
    }
}

/// Client and exceeded quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QuotaLabels {
    pub(super) client: String,
    pub(super) quota: &'static str,
}

/// Kind of proof and final state of its job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct JobLabels {
    pub(super) mode: &'static str,
    pub(super) state: &'static str,
}

/// Kind of proof and its program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProofLabels {
    pub(super) mode: &'static str,
    pub(super) program: String,
}

/// Outcome of an attempt, and class of its failure or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) outcome: &'static str,
    pub(super) class: &'static str,
}

/// Kind of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) kind: &'static str,
}

/// Kind of a task, and `running` or `waiting`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskLabels {
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
}

/// Kind of a task and outcome of an attempt at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskEndLabels {
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
}

/// Kind of proof and result of its check.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VerificationLabels {
    pub(super) mode: &'static str,
    pub(super) verdict: &'static str,
}

/// Kind of database call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoreLabels {
    pub(super) operation: &'static str,
}

/// A receiver of webhooks and outcome of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NoticeLabels {
    pub(super) receiver: String,
    pub(super) outcome: &'static str,
}

/// A receiver of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReceiverLabels {
    pub(super) receiver: String,
}

/// A gRPC method and its status code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RpcLabels {
    pub(super) method: String,
    pub(super) code: String,
}

/// State and backend of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WorkerLabels {
    pub(super) state: &'static str,
    pub(super) backend: &'static str,
}

/// Model of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelLabels {
    pub(super) model: String,
}

/// Reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PortLabels {
    pub(super) port: &'static str,
}

/// Outcome of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

/// Direction and peer of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BytesLabels {
    pub(super) direction: &'static str,
    pub(super) peer: &'static str,
}

named_enum! {
    /// Reason to refuse a connection on arrival.
    Refused {
        /// Too many connections in total.
        Connections = "connections",
        /// Too many connections from one address.
        Address = "address",
        /// Too many pending TLS handshakes.
        Handshakes = "handshakes",
        /// Too many WebSockets without a hello.
        Hellos = "hellos",
        /// Too many bytes of answers that wait for their readers.
        Answers = "answers",
    }
}

named_enum! {
    /// Reason to close a connection.
    Cut {
        /// The TLS handshake failed or timed out.
        Handshake = "handshake",
        /// A WebSocket sent no hello.
        Hello = "hello",
        /// The head of a request timed out.
        Head = "head",
        /// No request arrived for a while.
        Idle = "idle",
        /// The peer stopped reading an answer.
        Stalled = "stalled",
        /// Its address is beyond its rate of calls, and too many of its connections wait.
        Rate = "rate",
    }
}

named_enum! {
    /// Port on which reading from a connection waits.
    Paused {
        /// Port of SDK clients.
        Grpc = "grpc",
        /// Port of all other callers.
        Http = "http",
    }
}

named_enum! {
    /// Direction of a transfer.
    Direction {
        /// To Hierophant.
        In = "in",
        /// From Hierophant.
        Out = "out",
    }
}

named_enum! {
    /// Sender or receiver of a transfer.
    Peer {
        /// A client of the network.
        Client = "client",
        /// The worker that holds the lease.
        Contemplant = "contemplant",
        /// An operator who reads a proof.
        Operator = "operator",
    }
}
