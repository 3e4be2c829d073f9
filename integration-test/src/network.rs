//! A whole network on this machine: one Hierophant and any number of Contemplants, as real processes
//! on free loopback ports, with everything they keep in one temporary folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use test_harness::binaries::Binaries;
use test_harness::config::key;
use test_harness::{Hierophant, Process, wait};
use toml::{Table, Value};

use crate::options::{Backend, Mode};
use crate::status::StatusClient;

/// Variable of SP1 with the trace area at which shards are cut, in cells.
pub const SHARD_CELLS: &str = "ELEMENT_THRESHOLD";

/// A running network. Dropping it kills its processes and removes its folder; [`Self::stop`] ends it
/// properly and says whether it did end properly.
#[derive(Debug)]
pub struct LocalNetwork {
    hierophant: Hierophant,
    contemplants: Vec<Process>,
    binaries: Binaries,
    environment: Vec<(&'static str, OsString)>,
    folder: TempDir,
}

/// What a Contemplant is started with.
#[derive(Debug, Clone)]
pub struct ContemplantSettings {
    /// Its name, which must be unique in its network.
    pub name: String,
    /// Keys of its configuration file, beside the ones every Contemplant here gets.
    pub keys: Table,
    /// The core to which it is pinned, counted from 0.
    pub core: Option<usize>,
    /// Its program, if it is not the one under test.
    pub program: Option<PathBuf>,
}

impl ContemplantSettings {
    /// One that proves on CPU, in `mode` alone: what it does not offer it need not warm up.
    #[must_use]
    pub fn cpu(name: &str, mode: Mode) -> Self {
        let modes = vec![Value::from(mode.as_str())];
        Self::new(name, Backend::Cpu).with("modes", modes)
    }

    /// One that proves on CPU, and of proofs beyond Core only shards: it takes two thirds of the memory of one that joins
    /// them.
    #[must_use]
    pub fn shards_alone(name: &str) -> Self {
        Self::cpu(name, Mode::Core).with("recursive_shards", true)
    }

    /// One that makes mock proofs in every mode, each after `proof_time`.
    #[must_use]
    pub fn mock(name: &str, proof_time: Duration) -> Self {
        Self::new(name, Backend::Mock)
            .with("mock_proof_time", format!("{}ms", proof_time.as_millis()))
    }

    /// Sets one more key of its configuration.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    fn new(name: &str, backend: Backend) -> Self {
        let keys = Table::new();
        Self { name: name.to_owned(), keys, core: None, program: None }
            .with("backend", backend.as_str())
    }
}

impl LocalNetwork {
    /// Starts a Hierophant, and returns once it is ready. `keys` are added to its configuration file.
    ///
    /// # Errors
    ///
    /// When it cannot be started, dies, or is not ready in time; with the last lines of its log.
    pub async fn start(binaries: &Binaries, keys: &Table) -> Result<Self> {
        Self::start_in(binaries, keys, Vec::new()).await
    }

    /// [`Self::start`] with these environment variables for all programs.
    ///
    /// # Errors
    ///
    /// Those of [`Self::start`].
    pub async fn start_in(
        binaries: &Binaries,
        keys: &Table,
        environment: Vec<(&'static str, OsString)>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hierophant-test-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let hierophant =
            Hierophant::start(&binaries.hierophant, folder.path(), keys, &environment).await?;
        let binaries = binaries.clone();
        Ok(Self { hierophant, contemplants: Vec::new(), binaries, environment, folder })
    }

    /// Starts one with mock proofs allowed and one mock Contemplant that offers every mode.
    ///
    /// # Errors
    ///
    /// When either cannot be started or the Contemplant does not show up in time.
    pub async fn start_mock(binaries: &Binaries, proof_time: Duration) -> Result<Self> {
        let mut network = Self::start(binaries, &mock_mode(true)).await?;
        network.add_contemplant(&ContemplantSettings::mock("mockery", proof_time))?;
        for mode in Mode::ALL {
            network.wait_for_mode(mode, Duration::from_secs(30)).await?;
        }
        Ok(network)
    }

    /// Starts one more Contemplant. It registers on its own, see [`Self::wait_for_mode`].
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn add_contemplant(&mut self, settings: &ContemplantSettings) -> Result<()> {
        let contemplant = self.start_contemplant(settings)?;
        self.contemplants.push(contemplant);
        Ok(())
    }

    /// Starts a Contemplant in place of an earlier one, by the order in which they were added. Under the same
    /// name it has the same data.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or there was no such Contemplant.
    pub fn replace_contemplant(
        &mut self,
        number: usize,
        settings: &ContemplantSettings,
    ) -> Result<()> {
        let contemplant = self.start_contemplant(settings)?;
        let earlier = self.contemplants.get_mut(number).context("there is no such Contemplant")?;
        *earlier = contemplant;
        Ok(())
    }

    fn start_contemplant(&self, settings: &ContemplantSettings) -> Result<Process> {
        let mut keys = settings.keys.clone();
        // Shorter than the patience with a process that is to stop.
        keys.entry("shutdown_grace").or_insert_with(|| "1s".into());
        let binary = settings.program.as_ref().unwrap_or(&self.binaries.contemplant);
        let http = self.hierophant.http();
        let name = &settings.name;
        let prepared = test_harness::contemplant(binary, self.folder.path(), http, name, &keys);
        let mut contemplant = prepared?;
        contemplant.set_variables(&self.environment);
        if let Some(core) = settings.core {
            contemplant.pin(core);
        }
        contemplant.start()?;
        Ok(contemplant)
    }

    /// Waits until a Contemplant offers `mode`.
    ///
    /// # Errors
    ///
    /// When none does within `limit`, or a process died.
    pub async fn wait_for_mode(&mut self, mode: Mode, limit: Duration) -> Result<()> {
        let status = self.status()?;
        let what = format!("a Contemplant that offers {}", mode.as_str());
        let found = wait::until(&what, limit, async || {
            self.check_alive()?;
            let contemplants = status.contemplants().await?;
            Ok(contemplants.iter().any(|c| c.offers(mode)).then_some(()))
        })
        .await;
        found.with_context(|| self.log_tails())
    }

    /// Fails if a process has ended, with the last lines it wrote.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn check_alive(&mut self) -> Result<()> {
        self.hierophant.process.check_alive()?;
        self.contemplants.iter_mut().try_for_each(Process::check_alive)
    }

    /// What an SDK client sets as its RPC URL.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.hierophant.grpc())
    }

    /// Base of the status pages and artifacts.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.hierophant.http())
    }

    /// A reader of the status pages.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn status(&self) -> Result<StatusClient> {
        StatusClient::new(&self.http_url())
    }

    /// The coordinator, to be killed and started again.
    pub const fn hierophant(&mut self) -> &mut Hierophant {
        &mut self.hierophant
    }

    /// The workers' processes, in the order they were added.
    pub fn contemplants(&mut self) -> &mut [Process] {
        &mut self.contemplants
    }

    /// Folder of the programs' data, configuration and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets the folder outlive the network, and gives its path.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// The last lines of every process's log.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let all = std::iter::once(&self.hierophant.process).chain(&self.contemplants);
        all.map(Process::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// Stops the Contemplants, then Hierophant.
    ///
    /// # Errors
    ///
    /// What did not stop cleanly; everything is gone nevertheless.
    pub async fn stop(mut self) -> Result<()> {
        let mut complaints = Vec::new();
        let all = self.contemplants.iter_mut().chain([&mut self.hierophant.process]);
        for process in all {
            if let Err(error) = process.stop().await {
                complaints.push(format!("{error:#}"));
            }
        }
        if !complaints.is_empty() {
            bail!("{}", complaints.join("\n"));
        }
        Ok(())
    }
}

/// A failing test wants to see what the programs said before their logs are gone.
impl Drop for LocalNetwork {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tails());
        }
    }
}

/// Hierophant's configuration with mock proofs allowed or not.
#[must_use]
pub fn mock_mode(allowed: bool) -> Table {
    key("mock_mode", allowed)
}
