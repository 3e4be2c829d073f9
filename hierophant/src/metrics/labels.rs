//! What tells the series of a metric apart.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

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

/// Kind of proof and how its job ended.
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

/// How an attempt ended; `class` is empty unless it failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) outcome: &'static str,
    pub(super) class: &'static str,
}

/// Kind of proof and what the check said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VerificationLabels {
    pub(super) mode: &'static str,
    pub(super) verdict: &'static str,
}

/// What was asked of the database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoreLabels {
    pub(super) operation: &'static str,
}

/// A receiver of webhooks and what became of a notice to it.
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

/// A call and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RpcLabels {
    pub(super) method: String,
    pub(super) code: String,
}

/// Where a Contemplant stands and what makes its proofs.
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

/// Why something happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

/// What became of certificates that were read again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReadLabels {
    pub(super) outcome: &'static str,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as there may be.
    Connections,
    /// Its address has as many as it may have.
    Address,
    /// Too many TLS handshakes go on.
    Handshakes,
    /// Too many WebSockets have not said who they are.
    Hellos,
}

impl Refused {
    /// Every one.
    pub(super) const ALL: [Self; 4] =
        [Self::Connections, Self::Address, Self::Handshakes, Self::Hellos];

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::Handshakes => "handshakes",
            Self::Hellos => "hellos",
        }
    }
}

/// Why a connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// There was no TLS handshake, or none in time.
    Handshake,
    /// A WebSocket did not say who it is.
    Hello,
    /// The head of a request did not come in time.
    Head,
    /// There was no request for a while.
    Idle,
    /// Nothing of an answer was taken.
    Stalled,
}

impl Cut {
    /// Every one.
    pub(super) const ALL: [Self; 5] =
        [Self::Handshake, Self::Hello, Self::Head, Self::Idle, Self::Stalled];

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Hello => "hello",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
        }
    }
}

/// Which way bytes went, and to or from whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BytesLabels {
    pub(super) direction: Direction,
    pub(super) peer: Peer,
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To Hierophant.
    In,
    /// From Hierophant.
    Out,
}

impl EncodeLabelValue for Direction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

/// Who sent or fetched bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A client of the network.
    Client,
    /// The Contemplant that holds the lease.
    Contemplant,
    /// An operator who looks into a proof.
    Operator,
}

impl EncodeLabelValue for Peer {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Client => "client",
            Self::Contemplant => "contemplant",
            Self::Operator => "operator",
        })
    }
}
