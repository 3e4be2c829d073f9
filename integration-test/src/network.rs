//! A whole network on this machine: one Hierophant and any number of Contemplants, as real processes
//! on free loopback ports, with everything they keep in one temporary folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use toml::{Table, Value};

use crate::binaries::Binaries;
use crate::children::{ChildProcess, STOP_LIMIT};
use crate::options::{Backend, Mode};
use crate::status::StatusClient;
use crate::wait;

/// How long Hierophant may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Starts of Hierophant before a taken port is a failure.
const PORT_ATTEMPTS: u32 = 3;

/// Both programs read variables with these prefixes; a developer's own must not reach them.
const WITHHELD: [&str; 3] = ["HIEROPHANT_", "CONTEMPLANT_", "OTEL_"];

/// A running network. Dropping it kills its processes and removes its folder; [`Self::stop`] ends it
/// properly and says whether it did end properly.
#[derive(Debug)]
pub struct LocalNetwork {
    hierophant: ChildProcess,
    contemplants: Vec<ChildProcess>,
    binaries: Binaries,
    ports: Ports,
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

/// What a Contemplant is started with.
#[derive(Debug, Clone)]
pub struct ContemplantSettings {
    /// Its name, which must be unique in its network.
    pub name: String,
    /// Keys of its configuration file, beside the ones every Contemplant here gets.
    pub keys: Table,
}

impl ContemplantSettings {
    /// One that proves on CPU, in `mode` alone: what it does not offer it need not warm up.
    #[must_use]
    pub fn cpu(name: &str, mode: Mode) -> Self {
        let modes = vec![Value::from(mode.as_str())];
        Self::new(name, Backend::Cpu).with("modes", modes)
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
        Self { name: name.to_owned(), keys }.with("backend", backend.as_str())
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    grpc: u16,
    http: u16,
}

impl Ports {
    /// Two ports that are free now. Another program may take one before Hierophant does, which is
    /// why starting is tried more than once.
    fn free() -> Result<Self> {
        let listen = || TcpListener::bind("127.0.0.1:0").context("no free port on loopback");
        let (grpc, http) = (listen()?, listen()?);
        Ok(Self { grpc: grpc.local_addr()?.port(), http: http.local_addr()?.port() })
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
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("hierophant-test-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let mut attempt = 1;
        let (ports, hierophant) = loop {
            let ports = Ports::free()?;
            write_hierophant_config(folder.path(), ports, keys)?;
            let mut hierophant = spawn_hierophant(binaries, folder.path(), &environment)?;
            match wait_until_ready(&mut hierophant, ports).await {
                Ok(()) => break (ports, hierophant),
                Err(_) if attempt < PORT_ATTEMPTS && hierophant.log_text().contains("in use") => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let binaries = binaries.clone();
        Ok(Self { hierophant, contemplants: Vec::new(), binaries, ports, environment, folder })
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

    /// Starts one more Contemplant. It registers by itself, see [`Self::wait_for_mode`].
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn add_contemplant(&mut self, settings: &ContemplantSettings) -> Result<()> {
        let child = self.spawn_contemplant(settings)?;
        self.contemplants.push(child);
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
        let child = self.spawn_contemplant(settings)?;
        let earlier = self.contemplants.get_mut(number).context("there is no such Contemplant")?;
        *earlier = child;
        Ok(())
    }

    fn spawn_contemplant(&self, settings: &ContemplantSettings) -> Result<ChildProcess> {
        let name = settings.name.as_str();
        let data = self.folder.path().join(format!("contemplant-{name}"));
        let mut table = settings.keys.clone();
        let address = format!("ws://127.0.0.1:{}/ws", self.ports.http);
        table.insert("hierophant_ws_address".into(), address.into());
        // Shorter than the patience with a child that is to stop.
        table.entry("shutdown_grace").or_insert_with(|| "1s".into());
        table.insert("name".into(), name.into());
        table.insert("data_dir".into(), path_value(&data)?);
        let config = write_config(self.folder.path(), &format!("contemplant-{name}"), &table)?;
        ChildProcess::spawn(
            &format!("contemplant {name}"),
            &self.binaries.contemplant,
            &[Path::new("--config"), &config],
            &WITHHELD,
            &self.environment,
            &self.folder.path().join(format!("contemplant-{name}.log")),
        )
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

    /// Fails if a process has ended by itself, with the last lines it wrote.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn check_alive(&mut self) -> Result<()> {
        self.hierophant.check_alive()?;
        self.contemplants.iter_mut().try_for_each(ChildProcess::check_alive)
    }

    /// Kills Hierophant as a crash would and starts it again on the same data and ports.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub async fn crash_and_restart_hierophant(&mut self) -> Result<()> {
        self.hierophant.kill().await?;
        self.hierophant = spawn_hierophant(&self.binaries, self.folder.path(), &self.environment)?;
        wait_until_ready(&mut self.hierophant, self.ports).await
    }

    /// What an SDK client sets as its RPC URL.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// Base of the status pages and artifacts.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// A reader of the status pages.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn status(&self) -> Result<StatusClient> {
        StatusClient::new(&self.http_url())
    }

    /// The coordinator's process.
    pub const fn hierophant(&mut self) -> &mut ChildProcess {
        &mut self.hierophant
    }

    /// The workers' processes, in the order they were added.
    pub fn contemplants(&mut self) -> &mut [ChildProcess] {
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
        let all = std::iter::once(&self.hierophant).chain(&self.contemplants);
        all.map(ChildProcess::log_tail).collect::<Vec<_>>().join("\n")
    }

    /// Stops the Contemplants, then Hierophant.
    ///
    /// # Errors
    ///
    /// What did not stop cleanly; everything is gone nevertheless.
    pub async fn stop(mut self) -> Result<()> {
        let mut complaints = Vec::new();
        let all = self.contemplants.iter_mut().chain([&mut self.hierophant]);
        for child in all {
            if let Err(error) = child.stop(STOP_LIMIT).await {
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
    Table::from_iter([("mock_mode".to_owned(), Value::from(allowed))])
}

fn write_hierophant_config(folder: &Path, ports: Ports, keys: &Table) -> Result<()> {
    let mut table = Table::new();
    table.insert("bind_address".into(), "127.0.0.1".into());
    table.insert("grpc_port".into(), i64::from(ports.grpc).into());
    table.insert("http_port".into(), i64::from(ports.http).into());
    table.insert("data_dir".into(), path_value(&folder.join("hierophant"))?);
    table.extend(keys.clone());
    write_config(folder, "hierophant", &table).map(drop)
}

fn spawn_hierophant(
    binaries: &Binaries,
    folder: &Path,
    environment: &[(&str, String)],
) -> Result<ChildProcess> {
    ChildProcess::spawn(
        "hierophant",
        &binaries.hierophant,
        &[Path::new("--config"), &folder.join("hierophant.toml")],
        &WITHHELD,
        environment,
        &folder.join("hierophant.log"),
    )
}

async fn wait_until_ready(hierophant: &mut ChildProcess, ports: Ports) -> Result<()> {
    let status = StatusClient::new(&format!("http://127.0.0.1:{}", ports.http))?;
    let ready = wait::until("hierophant's /ready", READY_LIMIT, async || {
        hierophant.check_alive()?;
        Ok(status.is_ready().await.then_some(()))
    })
    .await;
    ready.with_context(|| hierophant.log_tail())
}

fn write_config(folder: &Path, name: &str, table: &Table) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, table.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn path_value(path: &Path) -> Result<Value> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(Value::from(text))
}
