//! JSON of the network's state at a glance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Paused, ProofMode, Running, WorkerState};

/// State of the network at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Version of this Hierophant.
    pub version: String,
    /// Whether mock proofs, which prove nothing, are accepted.
    pub mock_mode: bool,
    /// Queued jobs by kind of proof.
    pub waiting: BTreeMap<ProofMode, usize>,
    /// Age of the oldest queued job in seconds.
    pub oldest_wait_seconds: Option<u64>,
    /// Proofs in progress, those that several workers make included.
    pub running: usize,
    /// Proofs in progress that several workers make as tasks, oldest first; at most 100.
    #[serde(default)]
    pub divided: Vec<Running>,
    /// Jobs that have not ended.
    pub unfinished: usize,
    /// Workers by state.
    pub workers: BTreeMap<WorkerState, usize>,
    /// Total slots of all workers: jobs that can run at once.
    pub slots: u32,
    /// Price of a worker, if configured.
    pub price: Option<Price>,
    /// Total size in bytes of stored programs, inputs and proofs.
    pub stored_bytes: u64,
    /// Free bytes on the disk, if known.
    pub free_bytes: Option<u64>,
    /// Why new work is rejected for lack of storage, if it is.
    pub storage_low: Option<String>,
    /// Present while dispatch is paused.
    pub paused: Option<Paused>,
    /// Webhook receivers and their pending notices.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

impl Overview {
    /// Whether two overviews differ at most in figures that change with time alone.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let free_bytes = other.free_bytes;
        let timeless =
            Self { oldest_wait_seconds: other.oldest_wait_seconds, free_bytes, ..self.clone() };
        timeless == *other
    }
}

/// Price of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Price {
    /// Price per hour.
    pub per_hour: f64,
    /// Currency of the price.
    pub currency: String,
}

/// State of a webhook receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Host and port of its URL.
    pub receiver: String,
    /// Number of pending notices.
    pub undelivered: u64,
    /// Number of notices dropped since Hierophant started because too many were pending.
    pub dropped: u64,
    /// Time since which delivery fails, if it does.
    pub failing_since: Option<i64>,
    /// Cause of the last failed delivery, if delivery fails.
    pub failure: Option<String>,
}
