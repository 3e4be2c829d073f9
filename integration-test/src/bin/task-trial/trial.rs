//! A network of real provers, and one proof of it.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use integration_test::client::{Client, Expected};
use integration_test::network::{ContemplantSettings, LocalNetwork, SHARD_CELLS, mock_mode};
use integration_test::options::{Backend, Mode};
use integration_test::status::{HistoryEntry, StatusClient, Task};
use integration_test::verify::check_proof;
use sp1_sdk::network::{B256, NetworkMode};
use test_harness::binaries::Binaries;
use test_harness::config::{key, merge};
use test_harness::wait;

/// Longest wait until a prover is ready.
const WARM_UP: Duration = Duration::from_secs(300);

/// How long the history may lag behind the client's proof.
const STEP: Duration = Duration::from_secs(10);

/// Longest wait for a proof.
const PROOF_LIMIT: Duration = Duration::from_secs(1800);

/// Token of all workers: an earlier one cannot prove otherwise that it is on this machine.
const TOKEN: &str = "a token of this trial alone";

/// Input of the first proof of each network, for which the provers prepare the program: a few shards.
const FIRST: u32 = 3_000;

/// Size of a proof.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// Input of the Fibonacci program; the work grows with it
    #[arg(long, default_value_t = 20_000, global = true)]
    pub(crate) n: u32,
    /// Trace area at which shards are cut, in cells
    #[arg(long, default_value_t = 4_194_304, global = true)]
    pub(crate) shard_cells: u64,
    /// Kind of proof. Beyond Core the second Contemplant proves shards alone
    #[arg(long, value_enum, default_value_t = Mode::Core, global = true)]
    pub(crate) mode: Mode,
}

/// A network with a client.
pub(crate) struct Trial {
    pub(crate) network: LocalNetwork,
    pub(crate) status: StatusClient,
    client: Client,
    mode: Mode,
}

/// A proof that was requested.
pub(crate) struct Requested {
    id: B256,
    expected: Expected,
    pub(crate) job: String,
}

/// Settings of the Contemplant with this number, pinned to the core of this number, for this kind of proof. It does one
/// task at a time.
pub(crate) fn pinned(number: usize, mode: Mode) -> ContemplantSettings {
    let settings = match mode {
        Mode::Core => ContemplantSettings::cpu(name(number), mode),
        _ if number == 0 => ContemplantSettings::cpu(name(number), mode),
        _ => ContemplantSettings::shards_alone(name(number)),
    };
    ContemplantSettings { core: Some(number), ..settings.with("shards_at_once", 1) }
}

/// Name of the Contemplant with this number.
pub(crate) const fn name(number: usize) -> &'static str {
    ["amos", "joel"][number]
}

impl Trial {
    /// Starts a network whose `[sharding] mode` is this, and waits until all of its provers have made a proof together.
    pub(crate) async fn begin(
        size: Size,
        mode: &str,
        contemplants: &[ContemplantSettings],
    ) -> Result<Self> {
        let mut keys = mock_mode(false);
        merge(&mut keys, &key("sharding.mode", mode));
        // A killed process is noticed soon.
        merge(&mut keys, &key("worker_registry.heartbeat_interval", "500ms"));
        merge(&mut keys, &key("worker_registry.silence_limit", "5s"));
        merge(&mut keys, &key("worker_token", TOKEN));
        let cells = (SHARD_CELLS, size.shard_cells.to_string().into());
        let mut network = LocalNetwork::start_in(&Binaries::locate()?, &keys, vec![cells]).await?;
        for settings in contemplants {
            network.add_contemplant(&settings.clone().with("token", TOKEN))?;
        }
        let client = Client::connect(&network.rpc_url(), NetworkMode::Reserved).await?;
        let mut trial = Self { status: network.status()?, network, client, mode: size.mode };
        trial.until_ready(contemplants.len()).await?;
        let first = trial.request(FIRST).await?;
        trial.proof(&first).await?;
        Ok(trial)
    }

    /// Waits until this number of provers is ready.
    pub(crate) async fn until_ready(&mut self, number: usize) -> Result<()> {
        wait::until("all provers are ready", WARM_UP, async || {
            self.network.check_alive()?;
            let contemplants = self.status.contemplants().await?;
            let ready = contemplants.iter().filter(|contemplant| !contemplant.modes.is_empty());
            Ok((ready.count() >= number).then_some(()))
        })
        .await
    }

    /// Requests a proof.
    pub(crate) async fn request(&self, n: u32) -> Result<Requested> {
        let expected = self.client.execute(n).await?;
        let id = self.client.request_unsimulated(n, self.mode.sdk()).await?;
        let job = self.status.job_of(id.as_slice()).await?;
        Ok(Requested { id, expected, job })
    }

    /// The tasks of a proof. None before it is divided.
    pub(crate) async fn tasks(&self, proof: &Requested) -> Result<Vec<Task>> {
        self.status.tasks_of(&proof.job).await
    }

    /// The tasks as soon as they are in this state.
    pub(crate) async fn when(
        &self,
        proof: &Requested,
        what: &str,
        is_so: impl Fn(&[Task]) -> bool,
    ) -> Result<Vec<Task>> {
        wait::until(what, PROOF_LIMIT, async || {
            Ok(self.tasks(proof).await.ok().filter(|tasks| is_so(tasks)))
        })
        .await
    }

    /// Waits for a proof, which `sp1-sdk` verifies; returns what the history says of it.
    pub(crate) async fn proof(&self, proof: &Requested) -> Result<HistoryEntry> {
        let waiting = self.client.sdk.wait_proof(proof.id, Some(PROOF_LIMIT), None);
        let made = waiting.await.context("there is no proof")?;
        let mode = self.mode.sdk();
        check_proof(&self.client, &made, mode, Backend::Cpu, &proof.expected).await?;
        proof.expected.check_details(&self.client.details(proof.id).await?)?;
        wait::until("the proof in /proof-history", STEP, async || {
            let entry = self.status.history_of(proof.id.as_slice()).await?;
            Ok(entry.filter(HistoryEntry::is_proved))
        })
        .await
    }

    /// Cycles of a proof's execution.
    pub(crate) const fn cycles(proof: &Requested) -> u64 {
        proof.expected.cycles
    }

    /// Adds the programs' last words to an error, and stops them.
    pub(crate) async fn end<T>(self, outcome: Result<T>) -> Result<T> {
        let tails = self.network.log_tails();
        let stopped = self.network.stop().await;
        let value = outcome.with_context(|| tails)?;
        stopped.context("the programs did not stop well")?;
        Ok(value)
    }
}
