//! The real coordinator as a process, which keeps its ports and its data over kills and restarts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use test_peers::Reach;
use tokio::time::{Instant, sleep};
use toml::{Table, Value};

use crate::process::{Process, Signal};
use crate::stage::key;

/// How long it may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How long it may take to stop when asked.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Tries to find two ports that nobody takes meanwhile.
const PORT_ATTEMPTS: u32 = 3;

/// A coordinator with a data folder, two ports and, mostly, a process.
#[derive(Debug)]
pub(crate) struct Hierophant {
    binary: PathBuf,
    config: PathBuf,
    keys: Table,
    variables: Vec<(&'static str, PathBuf)>,
    log: PathBuf,
    data: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
    process: Option<Process>,
    web: reqwest::Client,
}

impl Reach for Hierophant {
    fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    fn http(&self) -> SocketAddr {
        self.http
    }
}

impl Hierophant {
    /// Prepares one whose files lie in `folder`; `keys` override the suite's configuration.
    pub(crate) fn prepare(
        binary: &Path,
        folder: &Path,
        name: &str,
        data: &Path,
        keys: &Table,
    ) -> Result<Self> {
        let (grpc, http) = free_ports()?;
        let config = folder.join(format!("{name}.toml"));
        let mut table = defaults();
        table.insert("bind_address".into(), "127.0.0.1".into());
        table.insert("grpc_port".into(), i64::from(grpc.port()).into());
        table.insert("http_port".into(), i64::from(http.port()).into());
        table.insert("data_dir".into(), data.to_str().context("no UTF-8 path")?.into());
        let mut prepared = Self {
            binary: binary.to_owned(),
            config,
            keys: table,
            variables: Vec::new(),
            log: folder.join(format!("{name}.log")),
            data: data.to_owned(),
            grpc,
            http,
            process: None,
            web: reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?,
        };
        prepared.configure(keys)?;
        Ok(prepared)
    }

    /// Changes its configuration from its next start on.
    pub(crate) fn configure(&mut self, keys: &Table) -> Result<()> {
        merge(&mut self.keys, keys);
        std::fs::write(&self.config, self.keys.to_string()).context("cannot write a configuration")
    }

    /// Sets variables of its environment, from its next start on.
    pub(crate) fn set_variables(&mut self, variables: Vec<(&'static str, PathBuf)>) {
        self.variables = variables;
    }

    /// Starts a new one and waits until it is ready.
    pub(crate) async fn start(binary: &Path, folder: &Path, keys: &Table) -> Result<Self> {
        let data = folder.join("hierophant-data");
        for attempt in 1.. {
            let mut started = Self::prepare(binary, folder, "hierophant", &data, keys)?;
            match started.launch().await {
                Ok(_) => return Ok(started),
                Err(_) if attempt < PORT_ATTEMPTS && started.log_text().contains("in use") => {}
                Err(error) => return Err(error),
            }
        }
        bail!("no free ports");
    }

    /// Starts the process and returns how long it took to be ready.
    pub(crate) async fn launch(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.launch_without_waiting()?;
        while !self.is_ready().await {
            let process = self.process.as_mut().context("just started")?;
            if !process.is_alive() {
                bail!("Hierophant ended instead of getting ready");
            }
            if start.elapsed() > READY_LIMIT {
                bail!("Hierophant is not ready within {} s", READY_LIMIT.as_secs());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(start.elapsed())
    }

    /// Starts the process.
    pub(crate) fn launch_without_waiting(&mut self) -> Result<()> {
        let (binary, variables) = (&self.binary, &self.variables);
        let process = Process::spawn("Hierophant", binary, &self.config, &self.log, variables)?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL: it is gone when this returns.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.take().context("Hierophant does not run")?.kill().await
    }

    /// SIGTERM: how it ended.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.take().context("Hierophant does not run")?.terminate(limit).await
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = self.process.as_mut().context("Hierophant does not run")?.ended(limit).await;
        self.process = None;
        status
    }

    /// A figure of the process's memory in MiB, such as `VmRSS`, as Linux counts it.
    pub(crate) fn memory_mib(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc_file("status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(figure)).expect("a figure");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") / 1024
    }

    /// How many files and connections it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(self.proc_file("fd")).expect("it runs").count()
    }

    fn proc_file(&self, name: &str) -> PathBuf {
        let id = self.process.as_ref().and_then(Process::id).expect("it runs");
        PathBuf::from(format!("/proc/{id}/{name}"))
    }

    /// SIGSTOP.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.process.as_ref().context("Hierophant does not run")?.signal(Signal::Stop).await
    }

    /// SIGCONT.
    pub(crate) async fn thaw(&self) -> Result<()> {
        self.process.as_ref().context("Hierophant does not run")?.signal(Signal::Continue).await
    }

    /// Whether its process runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_alive)
    }

    /// Whether `GET /ready` answers 200.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.web.get(self.url("/ready")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// A status page.
    pub(crate) async fn page(&self, path: &str) -> Result<serde_json::Value> {
        Ok(self.web.get(self.url(path)).send().await?.error_for_status()?.json().await?)
    }

    /// URL of a path on the HTTP port.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Folder of its database and artifacts.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Its database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("hierophant.db")
    }

    /// The file of an artifact, by the id at the end of its URI.
    pub(crate) fn artifact_file(&self, uri: &str) -> PathBuf {
        let id = uri.rsplit('/').next().unwrap_or(uri);
        self.data.join("artifacts").join(&id[..2]).join(id)
    }

    /// Everything it wrote so far.
    pub(crate) fn log_text(&self) -> String {
        crate::process::log_text(&self.log)
    }
}

/// Two ports that are free now. Another program may take one before Hierophant does, which is why
/// starting is tried more than once.
fn free_ports() -> Result<(SocketAddr, SocketAddr)> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let (grpc, http) = (listen()?, listen()?);
    Ok((grpc.local_addr()?, http.local_addr()?))
}

/// Quick heartbeats, so that a case about silence need not wait long; patience with scripted workers that
/// are silent because nobody asked them to speak; a low-water mark that the machine's own disk is above.
fn defaults() -> Table {
    let registry = Table::from_iter([
        ("heartbeat_interval".to_owned(), Value::from("500ms")),
        ("silence_limit".to_owned(), Value::from("30s")),
    ]);
    Table::from_iter([
        ("mock_mode".to_owned(), Value::from(true)),
        ("worker_registry".to_owned(), Value::from(registry)),
        ("storage".to_owned(), Value::from(key("min_free_bytes", 1 << 20))),
    ])
}

/// Adds `keys`, section by section.
pub(crate) fn merge(table: &mut Table, keys: &Table) {
    for (key, value) in keys {
        match (table.get_mut(key), value) {
            (Some(Value::Table(section)), Value::Table(more)) => merge(section, more),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}
