//! Limits of uploads and downloads: size, number at once, and minimum rate.

mod rate;
mod tickets;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use network_lib::job::ProofMode;
pub use rate::{MinRate, TooSlow};
pub use tickets::{TicketTurn, Tickets};

use crate::config::{Config, LimitsConfig, ProofsConfig};
use crate::listen::{ConnectionLimiter, ConnectionPermit, shared};
use crate::metrics::Peer;

/// Places for transfers of one direction. Clones share them.
#[derive(Debug, Clone)]
pub struct Places {
    /// One address may have a part of them.
    clients: ConnectionLimiter,
    /// Separate from clients, so that floods of transfers do not block proofs.
    workers: ConnectionLimiter,
}

impl Places {
    fn new(limits: &LimitsConfig, max: usize) -> Self {
        // Workers are admitted, and a whole fleet may have one address.
        Self { clients: shared(limits, max), workers: ConnectionLimiter::new(max, 0) }
    }

    /// A place for one more transfer of a peer at `address`, if there is one.
    #[must_use]
    pub fn take(&self, peer: Peer, address: IpAddr) -> Option<ConnectionPermit> {
        let places = match peer {
            Peer::Contemplant => &self.workers,
            Peer::Client | Peer::Operator => &self.clients,
        };
        places.take(address).ok()
    }
}

/// Maximum size of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimit {
    /// Number of bytes.
    pub bytes: u64,
    /// Key of the configuration that sets it.
    pub key: &'static str,
}

/// Limits of transfers. Clones share the counts.
#[derive(Debug, Clone)]
pub struct TransferLimits {
    /// Maximum size of an upload.
    pub max: SizeLimit,
    /// Minimum rate of a sender.
    pub min_rate: MinRate,
    /// Time limit for the first byte of an upload.
    pub first_byte: Duration,
    /// Places for uploads.
    pub uploads: Places,
    /// Places for downloads.
    pub downloads: Places,
    /// Tickets to which an upload is in progress.
    pub tickets: Tickets,
    proofs: Arc<ProofsConfig>,
}

impl TransferLimits {
    /// Limits as configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            max: SizeLimit { bytes: config.max_artifact_bytes, key: "max_artifact_bytes" },
            min_rate: MinRate::new(limits.min_upload_rate, limits.upload_window),
            first_byte: limits.head_time,
            uploads: Places::new(limits, limits.max_uploads.get()),
            downloads: Places::new(limits, limits.max_downloads.get()),
            tickets: Tickets::default(),
            proofs: Arc::new(config.proofs.clone()),
        }
    }

    /// Maximum size of a handed-in proof of this mode.
    #[must_use]
    pub fn max_proof(&self, mode: ProofMode) -> SizeLimit {
        let (bytes, key) = self.proofs.max_bytes(mode);
        let of_mode = SizeLimit { bytes, key };
        if of_mode.bytes < self.max.bytes { of_mode } else { self.max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_quarter_of_the_clients_places_and_workers_have_their_own() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let limits =
            LimitsConfig { max_uploads: 8.try_into().expect("not zero"), ..Default::default() };
        let config = Config { limits, ..Config::default() };
        let places = TransferLimits::new(&config).uploads;
        let taken: Vec<_> =
            (0..8).filter_map(|_| places.take(Peer::Client, ip("10.0.0.1"))).collect();
        assert_eq!(taken.len(), 2);
        assert!(places.take(Peer::Operator, ip("10.0.0.2")).is_some());
        let fleet: Vec<_> =
            (0..9).filter_map(|_| places.take(Peer::Contemplant, ip("10.0.0.1"))).collect();
        assert_eq!(fleet.len(), 8);
    }
}
