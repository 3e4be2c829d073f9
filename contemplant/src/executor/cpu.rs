//! The `cpu` backend: SP1 on this machine's processors, in this process.
//!
//! Building the prover takes a minute or two, so it is done once, in the background, and the modes are offered when
//! the prover is ready. If Core is the only mode to offer, a prover for Core proofs alone is built, in a third of the
//! time and memory. It makes one proof at a time: a single proof uses every processor, and two would need twice the
//! memory.
//!
//! Finished shards are kept on disk while a proof is being made, so that a process that died goes on from them when the
//! same job comes back.
//!
//! A cancelled proof stops at SP1's next step; until then the slot stays occupied, for seconds on a fast machine and
//! up to a minute on a small one.

pub mod circuits;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use network_lib::handshake::{Backend, Capabilities};
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{Failure, FailureClass, JobSpec, Phase, Progress, ProofMode};
use network_lib::shard::Sharding;
use network_lib::task;
use sha2::{Digest, Sha256};
use shard_plan::Key;
use sp1_node::{Assignment, ENGINE, Estimate, Node, ProverRuntime, Scope, Settings, Tally};
use sp1_prover::SP1_CIRCUIT_VERSION;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::tasks::CpuTasks;
use super::encode::encode;
use super::execute::Executed;
use super::helper::Helper;
use super::keys::KeyFiles;
use super::mode::sp1_mode;
use super::prepare::{Prepared, prepare};
use super::program::Programs;
use super::tasks::{TaskExecutor, joins_of, offer_tasks};
use super::{EventSink, Executor, ProveJob, Proved, WARMING_UP, unless_cancelled};
use crate::kept::{KeptJob, KeptShards};
use crate::machine::memory_bytes;

/// Interval between two progress reports.
const TICK: Duration = Duration::from_secs(2);

/// The executor behind `backend = "cpu"`.
pub struct CpuExecutor {
    runtime: Arc<ProverRuntime>,
    helper: Helper,
    programs: Arc<Programs>,
    ready: Arc<OnceLock<Ready>>,
    tasks: Arc<CpuTasks>,
    capabilities: watch::Receiver<Capabilities>,
    /// Seconds for one unit of a proof's work, from the last proof of each mode.
    pace: Mutex<BTreeMap<ProofMode, f64>>,
    kept: KeptShards,
    /// Kept shards of the attempts that have not been forgotten.
    attempts: Mutex<BTreeMap<LeaseId, KeptJob>>,
}

/// Settings of the CPU backend.
#[derive(Debug, Clone)]
pub struct CpuSettings {
    /// Kinds of proof to offer, as far as this machine can prove them.
    pub modes: Vec<ProofMode>,
    /// Jobs that are taken ahead, and downloaded while it works on another one.
    pub prefetch: u32,
    /// Most shards at the same time.
    pub shards_at_once: u32,
    /// Whether shards of all kinds of proof are proved, also if Core is the only mode.
    pub recursive_shards: bool,
    /// Finished shards on disk.
    pub kept: KeptShards,
}

/// The prover, once it is built.
struct Ready {
    node: Arc<Node>,
    /// Kept because a closed channel means that the executor has failed.
    _channels: Channels,
}

/// What is offered, of whole proofs and of tasks.
#[derive(Clone)]
struct Channels {
    capabilities: watch::Sender<Capabilities>,
    tasks: watch::Sender<Option<Sharding>>,
}

impl CpuExecutor {
    /// Starts to build the prover and returns at once. When it is ready, those of the wanted modes that this machine can
    /// prove are offered; the log says why the others are not. Programs are executed by `helper`, and verifying keys are
    /// kept in `keys`.
    ///
    /// # Errors
    ///
    /// When its threads cannot be started.
    pub fn start(settings: CpuSettings, helper: Helper, keys: KeyFiles) -> anyhow::Result<Self> {
        let CpuSettings { modes, prefetch, shards_at_once, recursive_shards, kept } = settings;
        let offer = offer(&modes, circuits::missing);
        let engine = Settings {
            scope: scope(&offer.modes),
            shards_at_once,
            depot_bytes: match memory_bytes() {
                0 => u64::MAX,
                // The other half is for traces, which take more.
                bytes => bytes / 2,
            },
        };
        let capabilities = Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: vec![SP1_CIRCUIT_VERSION.to_owned()],
            modes: Vec::new(),
            backend: Backend::Cpu,
            slots: 1,
            prefetch,
            memory_bytes: memory_bytes(),
            gpus: Vec::new(),
            unavailable_reason: Some(format!("{WARMING_UP}the prover is being built")),
            sharding: None,
        };
        let (sender, receiver) = watch::channel(capabilities);
        let (tasks, offered) = watch::channel(None);
        let channels = Channels { capabilities: sender, tasks };
        let runtime = Arc::new(ProverRuntime::start()?);
        let ready = Arc::new(OnceLock::new());
        let (prover, prepared) = (Arc::clone(&runtime), Arc::clone(&ready));
        let warm_up = warm_up(prover, prepared, channels, engine, recursive_shards, offer);
        task::spawn("prover start", warm_up);
        let programs = Arc::new(Programs::new(keys));
        let tasks = CpuTasks {
            runtime: Arc::clone(&runtime),
            helper: helper.clone(),
            programs: Arc::clone(&programs),
            ready: Arc::clone(&ready),
            offered,
        };
        Ok(Self {
            runtime,
            helper,
            programs,
            ready,
            tasks: Arc::new(tasks),
            capabilities: receiver,
            pace: Mutex::default(),
            kept,
            attempts: Mutex::default(),
        })
    }

    async fn run(
        &self,
        ready: &Ready,
        job: ProveJob,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Proved, Failure> {
        let mode = job.spec.mode;
        let (assignment, executed) = unless_cancelled(cancel, self.prepare(job, events)).await?;

        events.phase(Phase::Proving);
        let proving = self.runtime.run(ready.node.prove(assignment, cancel.clone()));
        let outcome = self.with_progress(ready, mode, proving, events).await;
        let not_made = |reason: String| {
            Failure::new(FailureClass::Worker, format!("the proof could not be made: {reason}"))
        };
        let proof = outcome.and_then(|proof| proof).map_err(not_made)?;
        if proof.public_values.as_slice() != executed.public_values.as_slice() {
            return Err(not_made(
                "its public values differ from those of the execution".to_owned(),
            ));
        }
        let proof = encode(proof).await.map_err(not_made)?;
        Ok(Proved { execution: executed.execution, proof })
    }

    /// Executes the job and prepares its proof.
    async fn prepare(
        &self,
        job: ProveJob,
        events: &EventSink,
    ) -> Result<(Assignment, Executed), Failure> {
        let mode = job.spec.mode;
        let (job, kept) = self.kept_of(job, events.lease_id).await?;
        let prepared = prepare(&self.helper, &self.programs, job, false, events).await?;
        let Prepared { program, stdin, executed } = prepared;
        let (cycles, ticks) = (executed.execution.cycles, executed.clock_ticks);
        let past_pace = self.lock_pace().get(&mode).copied();
        let mode = sp1_mode(mode);
        let assignment = Assignment {
            elf: Arc::clone(&program.elf),
            key: program.key.clone(),
            stdin,
            mode,
            tally: Tally::new(mode, cycles, ticks, past_pace),
            kept: Some(Arc::new(kept)),
        };
        Ok((assignment, executed))
    }

    /// Reports progress until the proof is made.
    async fn with_progress<T>(
        &self,
        ready: &Ready,
        mode: ProofMode,
        proving: impl Future<Output = T>,
        events: &EventSink,
    ) -> T {
        let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
        tokio::pin!(proving);
        loop {
            tokio::select! {
                outcome = &mut proving => return outcome,
                _ = ticks.tick() => {
                    if let Some(estimate) = ready.node.estimate() {
                        events.progress(progress(estimate));
                    }
                    if let Some(pace) = ready.node.seconds_per_unit() {
                        self.lock_pace().insert(mode, pace);
                    }
                }
            }
        }
    }

    /// The kept shards of a job, in a folder that is named by all that its shards depend on.
    async fn kept_of(
        &self,
        job: ProveJob,
        lease_id: LeaseId,
    ) -> Result<(ProveJob, KeptJob), Failure> {
        // An input may be large.
        let hashed = tokio::task::spawn_blocking(move || {
            let digest = job_digest(&job.spec, &job.stdin);
            (job, digest)
        });
        let (job, digest) =
            hashed.await.map_err(|error| Failure::new(FailureClass::Worker, error.to_string()))?;
        let kept = self.kept.job(digest);
        self.lock_attempts().insert(lease_id, kept.clone());
        Ok((job, kept))
    }

    fn lock_attempts(&self) -> std::sync::MutexGuard<'_, BTreeMap<LeaseId, KeptJob>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_pace(&self) -> std::sync::MutexGuard<'_, BTreeMap<ProofMode, f64>> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Executor for CpuExecutor {
    fn capabilities(&self) -> watch::Receiver<Capabilities> {
        self.capabilities.clone()
    }

    fn tasks(&self) -> Option<Arc<dyn TaskExecutor>> {
        Some(Arc::clone(&self.tasks) as _)
    }

    fn start(&self) {
        self.helper.start();
        self.kept.clean();
    }

    fn forget(&self, lease_id: LeaseId) {
        let kept = self.lock_attempts().remove(&lease_id);
        if let Some(kept) = kept {
            kept.remove();
        }
    }

    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure> {
        let Some(ready) = self.ready.get() else {
            return Err(Failure::new(FailureClass::Infrastructure, "the prover is still starting"));
        };
        let proved = self.run(ready, job, &events, &cancel).await;
        if proved.is_err() {
            // Its shards stay: the job may come back.
            self.lock_attempts().remove(&events.lease_id);
        }
        proved
    }
}

/// Builds the prover, then offers the modes. After a failure it drops the channel of the capabilities.
async fn warm_up(
    runtime: Arc<ProverRuntime>,
    ready: Arc<OnceLock<Ready>>,
    channels: Channels,
    settings: Settings,
    recursive_shards: bool,
    Offer { modes, reason }: Offer,
) {
    match settings.scope {
        Scope::Core => {
            tracing::info!("building a prover for Core proofs; this takes some ten seconds");
        }
        Scope::Every => tracing::info!("building the prover; this takes a minute or two"),
    }
    let start = Instant::now();
    let built = runtime
        .run(Node::build(settings))
        .await
        .and_then(|built| built.map_err(|error| format!("{error:#}")));
    let node = match built {
        Ok(built) => built,
        Err(reason) => {
            tracing::error!(reason, "the prover could not be built");
            return;
        }
    };
    let joins = joins_of(&modes);
    let recursion = recursive_shards || !joins.is_empty();
    let of_tasks =
        offer_tasks(ENGINE, settings.shards_at_once, node.max_elements(), recursion, &joins);
    let _ = ready.set(Ready { node, _channels: channels.clone() });
    tracing::info!(seconds = start.elapsed().as_secs(), ?modes, "the prover is ready");
    channels.tasks.send_replace((!modes.is_empty()).then_some(of_tasks));
    channels.capabilities.send_modify(|capabilities| {
        capabilities.modes = modes;
        capabilities.unavailable_reason = reason;
    });
}

/// Digest of all that a job's shards depend on, except for their own records.
fn job_digest(spec: &JobSpec, stdin: &[u8]) -> Sha256Digest {
    let parts = [
        ENGINE.as_bytes(),
        spec.circuit_version.as_bytes(),
        spec.mode.as_str().as_bytes(),
        &spec.vk_hash.0,
        &Sha256::digest(stdin),
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Sha256Digest(hasher.finalize().into())
}

impl sp1_node::KeptShards for KeptJob {
    fn find(&self, key: Key) -> Option<Vec<u8>> {
        Self::find(self, key)
    }

    fn keep(&self, key: Key, bytes: &[u8]) {
        Self::keep(self, key, bytes);
    }
}

/// The smallest prover that can make proofs of `modes`.
fn scope(modes: &[ProofMode]) -> Scope {
    match modes.iter().all(|mode| *mode == ProofMode::Core) {
        true => Scope::Core,
        false => Scope::Every,
    }
}

/// What is offered once the prover is ready.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    modes: Vec<ProofMode>,
    /// Why nothing is, if nothing is.
    reason: Option<String>,
}

/// Those of `modes` for which nothing is missing.
fn offer(modes: &[ProofMode], missing: impl Fn(ProofMode) -> Option<String>) -> Offer {
    let mut offered = Vec::new();
    let mut reasons = Vec::new();
    for mode in modes {
        match missing(*mode) {
            None => offered.push(*mode),
            Some(reason) => {
                tracing::warn!(%mode, reason, "a configured mode is not offered");
                reasons.push(format!("{mode}: {reason}"));
            }
        }
    }
    let reason = offered.is_empty().then(|| reasons.join("; "));
    Offer { modes: offered, reason }
}

fn progress(estimate: Estimate) -> Progress {
    Progress {
        fraction: Some(estimate.fraction),
        cycles_done: Some(estimate.cycles_done),
        cycles_total: Some(estimate.cycles_total),
        eta_seconds: estimate.eta_seconds,
        estimated: estimate.extrapolated,
        steps_done: Some(estimate.tasks_done),
        ..Progress::phase(Phase::Proving)
    }
}

#[cfg(test)]
mod tests {
    use network_lib::ids::VkHash;

    use super::*;

    #[test]
    fn what_shards_depend_on_names_the_folder_of_the_job() {
        let spec = JobSpec {
            vk_hash: VkHash([7; 32]),
            circuit_version: "v6.1.0".to_owned(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        };
        let digest = job_digest(&spec, b"input");
        assert_eq!(digest, job_digest(&JobSpec { cycle_limit: 9, ..spec.clone() }, b"input"));
        assert_ne!(digest, job_digest(&spec, b"another input"));
        let others = [
            JobSpec { vk_hash: VkHash([8; 32]), ..spec.clone() },
            JobSpec { circuit_version: "v6.2.0".to_owned(), ..spec.clone() },
            JobSpec { mode: ProofMode::Compressed, ..spec },
        ];
        for other in others {
            assert_ne!(digest, job_digest(&other, b"input"), "{other:?}");
        }
    }

    #[test]
    fn only_a_worker_for_core_alone_does_without_recursion() {
        assert_eq!(scope(&[ProofMode::Core]), Scope::Core);
        assert_eq!(scope(&[ProofMode::Core, ProofMode::Compressed]), Scope::Every);
        assert_eq!(scope(&[ProofMode::Plonk]), Scope::Every);
    }

    #[test]
    fn modes_without_their_files_are_not_offered_and_alone_are_the_reason() {
        let missing =
            |mode: ProofMode| (mode == ProofMode::Plonk).then(|| "no circuit files".to_owned());
        let both = offer(&[ProofMode::Core, ProofMode::Plonk], missing);
        assert_eq!(both, Offer { modes: vec![ProofMode::Core], reason: None });
        let none = offer(&[ProofMode::Plonk], missing);
        assert!(none.modes.is_empty());
        assert_eq!(none.reason.as_deref(), Some("plonk: no circuit files"));
    }
}
