//! Limits of uploads: size, number at once, and minimum rate.

mod rate;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use rate::{MinRate, TooSlow};

use crate::config::LimitsConfig;
use crate::metrics::Peer;

/// Limits of uploads. Clones share the count of uploads in progress.
#[derive(Debug, Clone)]
pub struct Uploads {
    /// Maximum size of an upload in bytes.
    pub max_bytes: u64,
    /// Minimum rate of a sender.
    pub min_rate: MinRate,
    clients: Arc<Semaphore>,
    /// Separate from clients, so that floods of uploads do not block the submission of proofs.
    workers: Arc<Semaphore>,
}

impl Uploads {
    /// Limits as configured in `[limits]`.
    #[must_use]
    pub fn new(limits: &LimitsConfig, max_bytes: u64) -> Self {
        let permits = || Arc::new(Semaphore::new(limits.max_uploads.get()));
        let min_rate = MinRate::new(limits.min_upload_rate, limits.upload_window);
        Self { max_bytes, min_rate, clients: permits(), workers: permits() }
    }

    /// A permit for one more upload, if there is one.
    #[must_use]
    pub fn begin(&self, peer: Peer) -> Option<OwnedSemaphorePermit> {
        let permits = match peer {
            Peer::Contemplant => &self.workers,
            Peer::Client | Peer::Operator => &self.clients,
        };
        Arc::clone(permits).try_acquire_owned().ok()
    }
}
