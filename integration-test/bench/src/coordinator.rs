//! The coordinator under test: the suite's configuration, and where its records are.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use test_harness::Hierophant;
use test_harness::config::{key, merge};
use test_peers::postgres::Server;
use test_peers::relay::{self, Direction, Relay};
use test_peers::{Addresses, Reach};
use tokio::time::{Instant, sleep};
use toml::{Table, Value};

/// Round trip to a distant database server.
pub const ROUND_TRIP: Duration = Duration::from_millis(10);

/// Pause between two looks at the log.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where a coordinator keeps its records.
#[derive(Debug, Clone)]
pub enum Store {
    /// A SQLite file in its data folder.
    Sqlite,
    /// A database of its own on this server.
    Postgres(Arc<Server>),
    /// The same at the end of a link with a round trip of [`ROUND_TRIP`].
    Distant(Arc<Server>),
}

impl Store {
    /// The database server, if there is one.
    #[must_use]
    pub const fn server(&self) -> Option<&Arc<Server>> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(server) | Self::Distant(server) => Some(server),
        }
    }
}

/// A coordinator with an empty store at first. Dropping it kills its process.
#[derive(Debug)]
pub struct Coordinator {
    hierophant: Hierophant,
    database: String,
    /// To the database server, if that is distant.
    _link: Option<Relay>,
    /// Errors that its log must have.
    expected: Vec<&'static str>,
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
        let (mut database, mut link) = (None, None);
        if let Some(server) = store.server() {
            let making = Arc::clone(server);
            let making = tokio::task::spawn_blocking(move || making.create_database());
            let name = making.await.context("no database can be made")?;
            let mut url = server.url(&name);
            database = Some(url.clone());
            if let Store::Distant(_) = store {
                let relay = Relay::before(relay::Server::Socket(server.socket())).await?;
                relay.to_server(Direction::late(ROUND_TRIP / 2));
                relay.to_client(Direction::late(ROUND_TRIP / 2));
                url = server.url_by_way_of(relay.address.port(), &name);
                link = Some(relay);
            }
            merge(&mut keys, &key("database_url", url));
        }
        let hierophant = Hierophant::prepare(binary, folder, "hierophant", &keys)?;
        let file = || format!("sqlite://{}", hierophant.database().display());
        let database = database.unwrap_or_else(file);
        Ok(Self { hierophant, database, _link: link, expected: Vec::new() })
    }

    /// Changes its configuration from its next start on.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&mut self, keys: &Table) -> Result<()> {
        self.hierophant.configure(keys)
    }

    /// Sets what it logs from its next start on, as `RUST_LOG` says it.
    pub fn log(&mut self, filter: &str) {
        self.hierophant.process.set_variables(&[("RUST_LOG", filter.into())]);
    }

    /// Says that its log must have an error with this text, which is taken as expected then.
    pub fn expect_error(&mut self, text: &'static str) {
        self.expected.push(text);
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

    /// Kills it, as a crash would.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.hierophant.process.kill().await
    }

    /// Everything that it has logged so far, over all of its starts.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.hierophant.process.log_text()
    }

    /// Waits for a line of its log that has this text; returns the line.
    ///
    /// # Errors
    ///
    /// When it does not come in time, or the process ends.
    pub async fn logs(&mut self, text: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            if let Some(line) = self.log_text().lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            self.hierophant.process.check_alive()?;
            ensure!(Instant::now() < end, "Hierophant's log does not say {text:?} in time");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends it as every scenario must: it runs, did not panic, logged no error but those that were expected, and stops
    /// cleanly.
    ///
    /// # Errors
    ///
    /// When that is not so.
    pub async fn finish(mut self) -> Result<()> {
        self.stop().await?;
        let log = self.log_text();
        for text in &self.expected {
            ensure!(log.contains(text), "Hierophant's log lacks the error {text:?}");
        }
        let is_expected = |line: &str| self.expected.iter().any(|text| line.contains(text));
        let fault = log.lines().find(|line| {
            line.contains("panicked at") || (line.contains(" ERROR ") && !is_expected(line))
        });
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

    /// URL of its database, without a link between: a server's, or that of its SQLite file.
    #[must_use]
    pub fn database(&self) -> String {
        self.database.clone()
    }

    /// File of an artifact, by its id in hexadecimal.
    #[must_use]
    pub fn artifact_file(&self, id: &str) -> PathBuf {
        self.hierophant.artifact_file(id)
    }

    /// File that an orderly stop leaves beside a SQLite file that is known to be intact.
    #[must_use]
    pub fn mark_of_orderly_stop(&self) -> Option<PathBuf> {
        let file = self.database.strip_prefix("sqlite://")?;
        Some(PathBuf::from(format!("{file}-clean")))
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
