//! The real worker as a process, with the mock backend: true executions, mock proofs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::process::{Process, Signal};

/// What makes a Contemplant this one and no other, and must not be copied to another.
const OWN: [&str; 4] = ["worker-id", "lock", "tmp", "held"];

/// A worker with a data folder and, mostly, a process.
#[derive(Debug)]
pub(crate) struct Contemplant {
    binary: PathBuf,
    name: String,
    config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// What one is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Its name, which must be unique in its case.
    pub(crate) name: String,
    /// How long each of its proofs takes.
    pub(crate) proof_time: Duration,
    /// Further keys of its configuration.
    pub(crate) keys: Table,
}

impl Settings {
    /// One that takes `proof_time` for each proof.
    pub(crate) fn new(name: &str, proof_time: Duration) -> Self {
        Self { name: name.to_owned(), proof_time, keys: Table::new() }
    }

    /// Sets one more key.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }
}

impl Contemplant {
    /// Starts one that works for the Hierophant at `http`; its data folder begins as a copy of
    /// `template`, if there is one.
    pub(crate) fn start(
        binary: &Path,
        folder: &Path,
        template: Option<&Path>,
        http: SocketAddr,
        settings: &Settings,
    ) -> Result<Self> {
        let name = format!("contemplant-{}", settings.name);
        let data = folder.join(&name);
        if let Some(template) = template {
            copy_folder(template, &data)?;
        }
        let mut table = settings.keys.clone();
        table.insert("hierophant_ws_address".into(), format!("ws://{http}/ws").into());
        table.insert("name".into(), settings.name.clone().into());
        table.insert("backend".into(), "mock".into());
        table.insert("data_dir".into(), data.to_str().context("no UTF-8 path")?.into());
        let proof_time = format!("{}ms", settings.proof_time.as_millis());
        table.insert("mock_proof_time".into(), proof_time.into());
        table.entry("reconnect_max_delay").or_insert("300ms".into());
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, table.to_string()).context("cannot write a configuration")?;
        let mut started = Self {
            binary: binary.to_owned(),
            name: settings.name.clone(),
            config,
            log: folder.join(format!("{name}.log")),
            process: None,
        };
        started.launch()?;
        Ok(started)
    }

    /// Starts the process, again with the same data folder.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let process = Process::spawn(&self.name, &self.binary, &self.config, &self.log, &[])?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.take().context("the Contemplant does not run")?.kill().await
    }

    /// Sends a signal.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the Contemplant does not run")?.signal(signal).await
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = self.process.as_mut().context("the Contemplant does not run")?.ended(limit);
        let status = status.await;
        self.process = None;
        status
    }

    /// Whether its process runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_alive)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Everything it wrote so far.
    pub(crate) fn log_text(&self) -> String {
        crate::process::log_text(&self.log)
    }
}

/// Copies what a Contemplant has computed about programs, and leaves out who it is.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
