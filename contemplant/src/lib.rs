//! Contemplant: the worker of a Hierophant. It connects, offers the kinds of proof that it can make, and
//! proves the jobs that it receives.
//!
//! Control messages travel over one WebSocket (`link`), bytes over HTTP ([`runner`]), and an [`executor`]
//! makes the proofs. [`run`] combines the three and keeps no global state, so that a test can run several
//! Contemplants in one process.

pub mod attempt;
mod circuits;
pub mod config;
pub mod depot;
pub mod doctor;
pub mod executor;
pub mod finished;
pub mod gpu;
pub mod identity;
pub mod kept;
mod link;
pub mod machine;
pub mod metrics;
pub mod names;
pub mod observer;
mod processes;
pub mod prover_install;
pub mod prover_server;
pub mod runner;
mod shared_memory;
pub mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use network_lib::job::ProofMode;
use network_lib::processor::Build;
use network_lib::signal::Shutdown;
use tokio_util::sync::CancellationToken;

use crate::config::{BackendChoice, Config, endpoints};
use crate::depot::Depot;
use crate::depot::results::TaskResult;
use crate::executor::cpu::{CpuExecutor, CpuSettings};
use crate::executor::cuda::{CudaExecutor, CudaSettings};
use crate::executor::guarded::Guarded;
use crate::executor::helper::{self, Helper};
use crate::executor::keys::KeyFiles;
use crate::executor::mock::MockExecutor;
use crate::executor::{Executor, checks};
use crate::finished::{FinishedProof, FinishedProofs};
use crate::gpu::Driver;
use crate::gpu::watch::watch;
use crate::identity::DataDir;
use crate::kept::KeptShards;
use crate::link::{Identity, Link, Offer, TasksSetup};
use crate::machine::{Machine, Needs};
use crate::metrics::{Health, Metrics};
use crate::runner::Runner;
use crate::runner::tasks::{TaskRunner, with_tasks};
use crate::trust::Trust;

/// Works for the Hierophant in `config` until `shutdown`, until Hierophant has drained it, or until it was idle for
/// `exit_when_idle`.
///
/// At a shutdown it finishes the attempts that it holds within `shutdown_grace` and hands back the rest.
///
/// # Errors
///
/// When a retry cannot help: the data folder is not usable, Hierophant permanently refuses this worker, or
/// the executor has failed.
pub async fn run(
    config: Config,
    executor: Arc<dyn Executor>,
    shutdown: impl Into<Shutdown>,
) -> anyhow::Result<()> {
    let shutdown = shutdown.into();
    // Two providers are linked in, so TLS needs a choice. A provider that is set already is kept.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoints = endpoints(&config.hierophant_ws_address)
        .map_err(|fault| anyhow!("`hierophant_ws_address` {fault}"))?;
    let trust = Arc::new(Trust::new(config.tls.clone()));
    // Unusable files are an error only at the start; later they may be half replaced.
    trust.config().await.context("the certificates cannot be used")?;
    let data_dir = DataDir::open(&config.data_dir)?;
    let name = config.name.clone();
    let name = name.unwrap_or_else(|| names::name_for(data_dir.worker_id).to_owned());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        build = %Build::of_this_program(),
        name,
        worker_id = %data_dir.worker_id,
        hierophant = %endpoints.websocket,
        "Contemplant starts"
    );
    let (finished, found) = open_finished(&data_dir).await.with_context(|| {
        format!("cannot use {}, the folder of finished proofs", data_dir.held.display())
    })?;
    if !found.is_empty() {
        tracing::info!(proofs = found.len(), "finished proofs of an earlier process were found");
    }
    let downloads = data_dir.downloads.clone();
    let metrics = Metrics::new(executor.server_starts());
    let runner = Runner::new(
        &config,
        &endpoints,
        Arc::clone(&trust),
        Arc::clone(&executor),
        downloads,
        finished,
        metrics.clone(),
    );
    let mut offered = runner.offered();
    let (tasks, results) = open_tasks(&config, &data_dir, &runner, executor.as_ref())
        .await
        .with_context(|| format!("cannot use {}, the depot", data_dir.depot.display()))?;
    if let Some(executor) = executor.tasks().filter(|_| tasks.is_some()) {
        offered = with_tasks(offered, executor.offered(), config.max_depot_bytes);
    }
    let health = Health::new(offered.clone());
    let serving = CancellationToken::new();
    if let Some(address) = config.metrics_address {
        let (metrics, health, loads) = (metrics.clone(), health.clone(), executor.gpu_loads());
        metrics::serve(address, metrics, health, loads, serving.clone()).await?;
    }
    if let Some(address) = config.grpc_health_address {
        metrics::serve_grpc_health(address, health.clone(), serving.clone()).await?;
    }
    // The ports are closed at the end, also after an error.
    let _serving = serving.drop_guard();
    let identity = Identity {
        endpoints,
        trust,
        worker_id: data_dir.worker_id,
        name,
        instance: config.instance.clone(),
        token: config.token.as_ref().map(|token| token.reveal().to_owned()),
        reconnect_max_delay: config.reconnect_max_delay,
        shutdown_grace: config.shutdown_grace(),
        exit_when_idle: config.exit_when_idle,
    };
    executor.start();
    let offer = Offer { capabilities: offered, gpu_loads: executor.gpu_loads() };
    let figures = (metrics, health);
    let found = (found, results);
    let link = Link::new(identity, Arc::new(runner), tasks, offer, found, shutdown, figures);
    let outcome = link.run().await;
    executor.stop().await;
    outcome
}

/// Opens the folder of finished proofs on a blocking thread: it reads every proof to check it.
async fn open_finished(data_dir: &DataDir) -> anyhow::Result<(FinishedProofs, Vec<FinishedProof>)> {
    let held = data_dir.held.clone();
    Ok(tokio::task::spawn_blocking(move || FinishedProofs::open(&held)).await??)
}

/// Opens the depot on a blocking thread, if tasks are taken, and returns the results of an earlier process. Otherwise the
/// depot of an earlier configuration is removed.
async fn open_tasks(
    config: &Config,
    data_dir: &DataDir,
    runner: &Runner,
    executor: &dyn Executor,
) -> anyhow::Result<(Option<TasksSetup>, Vec<TaskResult>)> {
    let (folder, max_bytes) = (data_dir.depot.clone(), config.max_depot_bytes);
    let Some(executor) = executor.tasks().filter(|_| config.take_tasks) else {
        tokio::task::spawn_blocking(move || Depot::discard(&folder)).await??;
        return Ok((None, Vec::new()));
    };
    let opened = tokio::task::spawn_blocking(move || Depot::open(&folder, max_bytes));
    let (depot, results) = opened.await??;
    let (runner, said) = TaskRunner::new(runner, executor, depot);
    Ok((Some(TasksSetup { runner, said }), results))
}

/// Starts the executor of the configured backend, which executes programs by this program itself. It offers nothing until
/// this machine has passed its checks, and while it has an obstacle to proofs. Must be called on a tokio runtime.
///
/// # Errors
///
/// When its threads cannot be started.
pub async fn build_executor(config: &Config) -> anyhow::Result<Arc<dyn Executor>> {
    let modes = config.wanted_modes();
    let keys = KeyFiles::new(&config.data_dir.join("keys"));
    let helper = Helper::of_this_program(&config.data_dir);
    let executions = helper.clone();
    let prefetch = u32::from(config.prefetches());
    let executor: Arc<dyn Executor> = match config.backend {
        BackendChoice::Cpu => {
            let shards = config.data_dir.join("shards");
            let settings = CpuSettings {
                recursive_shards: config.recursive_shards,
                modes,
                prefetch,
                shards_at_once: config.shards_at_once,
                kept: KeptShards::new(&shards, config.max_shard_bytes),
            };
            Arc::new(CpuExecutor::start(settings, helper, keys)?)
        }
        BackendChoice::Cuda => {
            Arc::new(CudaExecutor::new(cuda_settings(config, modes, helper, keys).await?))
        }
        BackendChoice::Mock => {
            let mock = MockExecutor::new(config.mock_proof_time, modes, helper, keys);
            let mock = mock.with_shards(config.mock_shards, config.shards_at_once);
            Arc::new(mock.with_prefetch(prefetch))
        }
    };
    let needs = Needs::of(config, executor.jobs_at_once().min(helper::executions_at_once()));
    let started = CancellationToken::new();
    let obstacle = checks::watch(started.clone(), Machine::default(), needs, executions);
    Ok(Arc::new(Guarded::new(executor, started, obstacle)))
}

async fn cuda_settings(
    config: &Config,
    modes: Vec<ProofMode>,
    helper: Helper,
    keys: KeyFiles,
) -> anyhow::Result<CudaSettings> {
    let own = config.prover_endpoint.is_none();
    // Without `gpus` the driver is asked, which may block.
    let asked = config.clone();
    let asking = move || own.then(|| asked.wanted_gpus());
    let numbers = tokio::task::spawn_blocking(asking).await?;
    // Of an external server the GPU is not known.
    let watched = watch(Arc::new(Driver::default()), numbers.clone()).await;
    let uses_gpus = own && config.uses_gpus();
    if let Some(reason) = watched.unknown.filter(|_| uses_gpus && config.gpus.is_none()) {
        tracing::warn!("{}", gpu::unseen(&reason, Machine::default().is_container()));
    }
    let unfit = if uses_gpus { watched.unfit } else { BTreeMap::new() };
    Ok(CudaSettings {
        servers: prover_server::servers(config, &numbers.unwrap_or_default(), &unfit),
        modes,
        start_limit: config.prover_start_limit,
        silence_limit: config.prover_silence_limit,
        self_test: config.prover_self_test,
        prefetch: config.prefetches(),
        gpus: watched.gpus,
        loads: watched.loads,
        helper,
        keys,
    })
}
