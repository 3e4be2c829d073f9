//! The program itself, with mock proofs.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use test_harness::Hierophant;
use test_harness::config::{key, merge};
use test_peers::Reach;
use toml::Table;

/// A running Hierophant, which goes when this is dropped.
pub struct Network {
    pub hierophant: Hierophant,
    _folder: TempDir,
}

impl Reach for Network {
    fn grpc(&self) -> SocketAddr {
        self.hierophant.grpc()
    }

    fn http(&self) -> SocketAddr {
        self.hierophant.http()
    }
}

impl Network {
    /// Starts one in which workers that fail stay, and clients may ask for any number of proofs.
    pub async fn start() -> Self {
        Self::start_with(Table::new()).await
    }

    /// Starts one with more settings.
    pub async fn start_with(settings: Table) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let mut keys = key("mock_mode", true);
        merge(&mut keys, &key("dashboard.price_per_hour", 2.5));
        // A part of it is reserved for named clients.
        merge(&mut keys, &key("proofs.max_waiting", 20_000));
        for unlimited in [
            "worker_registry.max_strikes",
            "quotas.requests_per_minute",
            "quotas.open_requests",
            "quotas.strangers_requests_per_minute",
            "calls.per_ip_per_second",
            "storage.min_free_bytes",
        ] {
            merge(&mut keys, &key(unlimited, 0));
        }
        merge(&mut keys, &settings);
        let binary = Path::new(env!("CARGO_BIN_EXE_hierophant"));
        let hierophant = Hierophant::start(binary, folder.path(), &keys, &[]).await;
        Self { hierophant: hierophant.expect("starts"), _folder: folder }
    }

    /// Stops it; its data stays.
    pub async fn stop(&mut self) {
        self.hierophant.process.stop().await.expect("stops");
    }

    /// Starts it again on the same port.
    pub async fn start_again(&mut self) {
        self.hierophant.launch().await.expect("starts again");
    }

    pub fn url(&self, path: &str) -> String {
        self.hierophant.url(path)
    }

    pub async fn json(&self, path: &str) -> Value {
        self.hierophant.page(path).await.expect("JSON")
    }
}
