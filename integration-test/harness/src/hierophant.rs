//! The real coordinator as a process on loopback, which keeps its ports and its data over restarts.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};
use toml::{Table, Value};

use crate::Process;
use crate::config::{self, merge};

/// Longest time until it is ready: with a million requests in its store, too.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Pause between two looks whether it is ready: the time until then is measured, so it is short.
const READY_PAUSE: Duration = Duration::from_millis(2);

/// Starts before a port that is taken is a failure.
const PORT_ATTEMPTS: u32 = 3;

/// A coordinator with a data folder, two ports and, mostly, a running process.
#[derive(Debug)]
pub struct Hierophant {
    /// Its process, to be killed, frozen or started without waiting.
    pub process: Process,
    file: PathBuf,
    keys: Table,
    data: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
    web: reqwest::Client,
}

impl Hierophant {
    /// Prepares one that is not started yet, with two free ports and its files in `folder`. `keys` are added to
    /// its configuration.
    ///
    /// # Errors
    ///
    /// When no port is free, or its configuration cannot be written.
    pub fn prepare(binary: &Path, folder: &Path, name: &str, keys: &Table) -> Result<Self> {
        // Another program may take one before Hierophant does, which is why starting is tried more than once.
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
        let (grpc, http) = (listen()?, listen()?);
        let (grpc, http) = (grpc.local_addr()?.port(), http.local_addr()?.port());
        let mut table = Table::new();
        table.insert("bind_address".into(), "127.0.0.1".into());
        table.insert("grpc_port".into(), i64::from(grpc).into());
        table.insert("http_port".into(), i64::from(http).into());
        table.insert("data_dir".into(), config::path(&folder.join(format!("{name}-data")))?);
        merge(&mut table, keys);
        let file = folder.join(format!("{name}.toml"));
        config::write(&file, &table)?;
        let log = folder.join(format!("{name}.log"));
        let process = Process::new(name, binary, &log).argument("--config").argument(&file);
        let data = table
            .get("data_dir")
            .and_then(Value::as_str)
            .context("invalid `data_dir`: expected a text")?;
        let data = PathBuf::from(data);
        let (grpc, http) = (address(&table, "grpc_port")?, address(&table, "http_port")?);
        let web = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Self { process, file, keys: table, data, grpc, http, web })
    }

    /// Prepares one called `hierophant`, starts it, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or is not ready in time; with the last lines of its log.
    pub async fn start(
        binary: &Path,
        folder: &Path,
        keys: &Table,
        variables: &[(&'static str, OsString)],
    ) -> Result<Self> {
        for attempt in 1.. {
            let mut started = Self::prepare(binary, folder, "hierophant", keys)?;
            started.process.set_variables(variables);
            match started.launch().await {
                Ok(_) => return Ok(started),
                Err(_)
                    if attempt < PORT_ATTEMPTS && started.process.log_text().contains("in use") => {
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no free ports");
    }

    /// Changes its configuration from its next start on.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&mut self, keys: &Table) -> Result<()> {
        merge(&mut self.keys, keys);
        config::write(&self.file, &self.keys)
    }

    /// Starts the process and returns the time until it was ready.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or is not ready in time; with the last lines of its log.
    pub async fn launch(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.process.start()?;
        while !self.is_ready().await {
            self.process.check_alive()?;
            ensure!(
                began.elapsed() < READY_LIMIT,
                "{} is not ready after {} s; {}",
                self.process.name(),
                READY_LIMIT.as_secs(),
                self.process.log_tail()
            );
            sleep(READY_PAUSE).await;
        }
        Ok(began.elapsed())
    }

    /// Whether `GET /ready` answers 200.
    pub async fn is_ready(&self) -> bool {
        let answer = self.web.get(self.url("/ready")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// A page of its HTTP port, as JSON.
    ///
    /// # Errors
    ///
    /// When it is not answered with JSON.
    pub async fn page(&self, path: &str) -> Result<serde_json::Value> {
        Ok(self.web.get(self.url(path)).send().await?.error_for_status()?.json().await?)
    }

    /// Address of its gRPC port.
    #[must_use]
    pub const fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Address of its HTTP port.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// URL of a path on its HTTP port.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("hierophant.db")
    }

    /// The file of an artifact, by the id at the end of its URI.
    #[must_use]
    pub fn artifact_file(&self, uri: &str) -> PathBuf {
        let id = uri.rsplit('/').next().unwrap_or(uri);
        self.data.join("artifacts").join(&id[..2]).join(id)
    }
}

/// Address on loopback of a port in a configuration.
fn address(table: &Table, key: &str) -> Result<SocketAddr> {
    let port = table.get(key).and_then(Value::as_integer);
    let port = port.and_then(|port| u16::try_from(port).ok());
    let port = port.with_context(|| format!("invalid `{key}`: expected a port"))?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}
