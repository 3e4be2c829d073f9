//! The real coordinator as a process on loopback, with a data folder that outlives its restarts.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use test_peers::postgres::Server;
use test_peers::{Addresses, Reach};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use toml::{Table, Value};

/// How long it may take until it is ready: with a million requests in the store, too.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// How long it may take to stop when asked.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Pause between two looks whether it is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Where a coordinator keeps its records.
#[derive(Debug, Clone)]
pub enum Store {
    /// A SQLite file in its data folder.
    Sqlite,
    /// A database of its own on this server.
    Postgres(Arc<Server>),
}

/// A coordinator with a data folder, two ports and, mostly, a process. Dropping it kills the process.
#[derive(Debug)]
pub struct Coordinator {
    binary: PathBuf,
    folder: PathBuf,
    addresses: Addresses,
    process: Option<Child>,
    database: Option<String>,
}

impl Reach for Coordinator {
    fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    fn http(&self) -> SocketAddr {
        self.addresses.http
    }
}

impl Coordinator {
    /// Prepares one with an empty store in `folder`, which must be there. `keys` override the suite's
    /// configuration.
    ///
    /// # Errors
    ///
    /// When no port is free or the folder cannot be written to.
    pub async fn prepare(
        binary: &Path,
        folder: &Path,
        store: &Store,
        keys: &Table,
    ) -> Result<Self> {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
        let (grpc, http) = (listen()?, listen()?);
        let addresses = Addresses { grpc: grpc.local_addr()?, http: http.local_addr()? };
        let mut table = defaults();
        table.insert("grpc_port".into(), i64::from(addresses.grpc.port()).into());
        table.insert("http_port".into(), i64::from(addresses.http.port()).into());
        let data = folder.join("data");
        table.insert("data_dir".into(), data.to_str().context("no UTF-8 path")?.into());
        let mut database = None;
        if let Store::Postgres(server) = store {
            let server = Arc::clone(server);
            let making = tokio::task::spawn_blocking(move || server.url(&server.create_database()));
            let url = making.await.context("no database can be made")?;
            table.insert("database_url".into(), url.as_str().into());
            database = Some(url);
        }
        merge(&mut table, keys);
        std::fs::write(folder.join("hierophant.toml"), table.to_string())
            .context("cannot write a configuration")?;
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        Ok(Self { binary, folder, addresses, process: None, database })
    }

    /// Starts the process; returns how long it took until `GET /ready` said so.
    ///
    /// # Errors
    ///
    /// When it ends instead, or is not ready in time.
    pub async fn start(&mut self) -> Result<Duration> {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.context("cannot write a log")?;
        let mut command = Command::new(&self.binary);
        for (variable, _) in std::env::vars_os() {
            // A developer's own settings must not reach it.
            if variable.to_string_lossy().starts_with("HIEROPHANT_") {
                command.env_remove(&variable);
            }
        }
        let began = Instant::now();
        let child = command
            .arg("--config")
            .arg(self.folder.join("hierophant.toml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let child = self.process.insert(child);
        let web = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let url = format!("http://{}/ready", self.addresses.http);
        loop {
            let answer = web.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return Ok(began.elapsed());
            }
            if let Some(status) = child.try_wait()? {
                bail!(
                    "Hierophant ended instead of getting ready ({status}):\n{}",
                    self.last_words()
                );
            }
            ensure!(began.elapsed() < READY_LIMIT, "Hierophant did not get ready in time");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not, or not cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        let mut child = self.process.take().context("Hierophant does not run")?;
        let id = child.id().context("Hierophant has ended by itself")?;
        // The standard library can only kill; the shell's own `kill` does it without unsafe code.
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await?;
        ensure!(sent.success(), "Hierophant cannot be asked to stop");
        let status =
            timeout(STOP_LIMIT, child.wait()).await.context("Hierophant does not stop")??;
        ensure!(status.success(), "Hierophant stopped with {status}:\n{}", self.last_words());
        Ok(())
    }

    /// What every scenario asks of it at its end: it runs, did not panic, and stops cleanly.
    ///
    /// # Errors
    ///
    /// When that is not so.
    pub async fn finish(mut self) -> Result<()> {
        self.stop().await?;
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
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
        let id = self.process.as_ref().and_then(Child::id);
        id.context("Hierophant does not run")
    }

    /// Both of its addresses.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// URL of a path on its HTTP port.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.http)
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// URL of its database: a server's, or that of its SQLite file.
    #[must_use]
    pub fn database(&self) -> String {
        let file = || format!("sqlite://{}", self.data().join("hierophant.db").display());
        self.database.clone().unwrap_or_else(file)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("hierophant.log")
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Mock proofs are taken, queue and fleet have room, one address may be everybody, and every other key is as
/// shipped.
fn defaults() -> Table {
    let section = |keys: &[(&str, i64)]| {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
        Value::from(Table::from_iter(keys))
    };
    // The generator may be too busy to have every mock Contemplant give its signs of life in time.
    let registry = Table::from_iter([
        ("max_workers".to_owned(), Value::from(100_000)),
        ("silence_limit".to_owned(), Value::from("10m")),
    ]);
    Table::from_iter([
        ("bind_address".to_owned(), Value::from("127.0.0.1")),
        ("mock_mode".to_owned(), Value::from(true)),
        ("limits".to_owned(), section(&[("max_connections_per_address", 0)])),
        ("proofs".to_owned(), section(&[("max_waiting", 1_000_000)])),
        ("quotas".to_owned(), section(&[("requests_per_minute", 0), ("open_requests", 0)])),
        ("worker_registry".to_owned(), registry.into()),
        ("storage".to_owned(), section(&[("min_free_bytes", 1 << 20)])),
    ])
}

/// Adds `keys`, section by section.
fn merge(table: &mut Table, keys: &Table) {
    for (key, value) in keys {
        match (table.get_mut(key), value) {
            (Some(Value::Table(section)), Value::Table(more)) => merge(section, more),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}
