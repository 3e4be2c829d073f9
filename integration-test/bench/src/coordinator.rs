//! The coordinator under test: the suite's configuration, and where its records are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use test_harness::Hierophant;
use test_harness::config::{key, merge};
use test_peers::postgres::Server;
use test_peers::{Addresses, Reach};
use toml::{Table, Value};

/// Where a coordinator keeps its records.
#[derive(Debug, Clone)]
pub enum Store {
    /// A SQLite file in its data folder.
    Sqlite,
    /// A database of its own on this server.
    Postgres(Arc<Server>),
}

/// A coordinator with an empty store at first. Dropping it kills its process.
#[derive(Debug)]
pub struct Coordinator {
    hierophant: Hierophant,
    database: String,
}

impl Reach for Coordinator {
    fn grpc(&self) -> SocketAddr {
        self.hierophant.grpc()
    }

    fn http(&self) -> SocketAddr {
        self.hierophant.http()
    }
}

impl Coordinator {
    /// Prepares one in `folder` that is not started yet.
    ///
    /// # Errors
    ///
    /// When no port is free, or the folder or the database server cannot be written to.
    pub async fn prepare(binary: &Path, folder: &Path, store: &Store) -> Result<Self> {
        let mut keys = configuration();
        let mut database = None;
        if let Store::Postgres(server) = store {
            let server = Arc::clone(server);
            let making = tokio::task::spawn_blocking(move || server.url(&server.create_database()));
            let url = making.await.context("no database can be made")?;
            merge(&mut keys, &key("database_url", url.as_str()));
            database = Some(url);
        }
        let hierophant = Hierophant::prepare(binary, folder, "hierophant", &keys)?;
        let file = || format!("sqlite://{}", hierophant.database().display());
        let database = database.unwrap_or_else(file);
        Ok(Self { hierophant, database })
    }

    /// Starts the process; returns the time until `GET /ready` answered 200.
    ///
    /// # Errors
    ///
    /// When it ends instead, or is not ready in time.
    pub async fn start(&mut self) -> Result<Duration> {
        self.hierophant.launch().await
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not, or not cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        self.hierophant.process.stop().await
    }

    /// Ends it as every scenario must: it runs, did not panic, logged no error, and stops cleanly.
    ///
    /// # Errors
    ///
    /// When that is not so.
    pub async fn finish(mut self) -> Result<()> {
        self.stop().await?;
        let log = self.hierophant.process.log_text();
        let fault =
            log.lines().find(|line| line.contains("panicked at") || line.contains(" ERROR "));
        ensure!(fault.is_none(), "Hierophant's log says: {}", fault.unwrap_or_default());
        Ok(())
    }

    /// Operating-system id of its process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.hierophant.process.id().context("Hierophant does not run")
    }

    /// Both of its addresses.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        Addresses { grpc: self.hierophant.grpc(), http: self.hierophant.http() }
    }

    /// URL of a path on its HTTP port.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.hierophant.url(path)
    }

    /// URL of its database: a server's, or that of its SQLite file.
    #[must_use]
    pub fn database(&self) -> String {
        self.database.clone()
    }
}

/// The suite's configuration: mock proofs are accepted, queue and fleet have room, all clients may share an
/// address. Every other key has its default.
fn configuration() -> Table {
    let mut keys = key("mock_mode", true);
    for (name, value) in [
        ("limits.max_connections_per_address", Value::from(0)),
        ("proofs.max_waiting", Value::from(1_000_000)),
        ("quotas.requests_per_minute", Value::from(0)),
        ("quotas.open_requests", Value::from(0)),
        ("quotas.strangers_requests_per_minute", Value::from(0)),
        ("calls.per_ip_per_second", Value::from(0)),
        ("worker_registry.max_workers", Value::from(100_000)),
        ("worker_registry.max_slots", Value::from(100)),
        // The generator may be too busy to send every mock worker's heartbeat in time.
        ("worker_registry.silence_limit", Value::from("10m")),
        ("storage.min_free_bytes", Value::from(1 << 20)),
    ] {
        merge(&mut keys, &key(name, value));
    }
    keys
}
