//! `shard-trial tasks`: a Core proof by the tasks of the `cpu` backend, as several workers would make it, and a second
//! execution that must find the same shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow, ensure};
use async_trait::async_trait;
use contemplant::executor::Executor;
use contemplant::executor::cpu::{CpuExecutor, CpuSettings};
use contemplant::executor::helper::Helper;
use contemplant::executor::keys::KeyFiles;
use contemplant::executor::tasks::{
    CutShard, ExecuteTask, Executed, ShardNews, ShardReceiver, ShardTask, TaskExecutor, TaskProof,
    Traced,
};
use contemplant::kept::KeptShards;
use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{BlobInfo, Failure, JobSpec, ProofMode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shard_plan::{Key, MarkerOrder, ShardKind, ShardRange, chain};
use sp1_node::{LightNode, ProverRuntime};
use sp1_prover::{HashableKey, SP1_CIRCUIT_VERSION};
use sp1_verifier::ProofFromNetwork;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cost::Step;
use crate::options::Program;

pub(crate) async fn run(
    program: &Program,
    shards_at_once: u32,
    max_elements: u64,
    worker: Option<PathBuf>,
) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let runtime = ProverRuntime::start()?;
    let light = runtime.run(LightNode::start()).await.map_err(anyhow::Error::msg)?;
    let loaded = program.load(&light).await?;
    let key = loaded.key.clone();
    let step = Step::begin()?;
    let executor = executor(folder.path(), shards_at_once, worker)?;
    let tasks = executor.tasks().context("the backend has tasks")?;
    let offered = tasks.offered().wait_for(Option::is_some).await?.clone();
    let building = step.end()?;
    let task = ExecuteTask {
        spec: JobSpec {
            vk_hash: VkHash(key.hash_bytes()),
            circuit_version: SP1_CIRCUIT_VERSION.to_owned(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: u64::MAX,
        },
        program_digest: digest(&loaded.elf),
        elf: loaded.elf,
        stdin: bincode::serialize(&loaded.stdin)?,
        max_elements,
    };
    let mut proof = Proof::default();
    let step = Step::begin()?;
    let executed = proof.make(&tasks, &task, shards_at_once).await?;
    let proving = step.end()?;
    let shards = std::mem::take(&mut proof.shards);
    let step = Step::begin()?;
    let again = proof.make(&tasks, &task, shards_at_once).await?;
    let execution = step.end()?;
    ensure!(again.execution == executed.execution, "another execution has another result");
    ensure!(keys(&proof.shards) == keys(&shards), "another execution has found other shards");
    chain(shards.iter().map(|shard| shard.range))?;

    let bytes = assembled(&shards, &proof.proved, &executed.public_values)?;
    let network: ProofFromNetwork = bincode::deserialize(&bytes)?;
    ensure!(bincode::serialize(&network)? == bytes, "the bytes are not those of SP1's encoding");
    light.verify(&key, &network.proof)?;
    let described = |shard: &CutShard| {
        let (_, prove_ms) = &proof.proved[&shard.key];
        json!({
            "kind": shard.kind,
            "clocks": shard.range.timestamp_range,
            "record_bytes": shard.record.len(),
            "event_blobs": shard.named.len(),
            "part_bytes": proof.proved[&shard.key].0.len(),
            "prove_ms": prove_ms,
        })
    };
    Ok(json!({
        "offered": offered,
        "building": building,
        "proving": proving,
        "second_execution": execution,
        "execution": executed.execution,
        "shards": shards.iter().map(described).collect::<Vec<_>>(),
        "proof_bytes": bytes.len(),
        "verified": true,
        "same_keys_again": true,
    }))
}

/// The `cpu` backend for Core proofs. Programs are executed by the Contemplant beside this program, or `worker`.
fn executor(
    folder: &Path,
    shards_at_once: u32,
    worker: Option<PathBuf>,
) -> anyhow::Result<CpuExecutor> {
    let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name("contemplant"));
    let worker = worker.map_or_else(beside, Ok)?;
    ensure!(worker.exists(), "{} is missing: expected the worker's program", worker.display());
    let kept = KeptShards::new(&folder.join("shards"), 0);
    let settings = CpuSettings {
        modes: vec![ProofMode::Core],
        prefetch: 0,
        shards_at_once,
        recursive_shards: false,
        kept,
    };
    let keys = KeyFiles::new(&folder.join("keys"));
    CpuExecutor::start(settings, Helper::new(&worker, folder), keys)
}

/// The bytes that a client gets: SP1's `ProofFromNetwork`, put together from the parts in the order of their ranges.
fn assembled(
    shards: &[CutShard],
    proved: &BTreeMap<Key, (Vec<u8>, u64)>,
    public_values: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let mut ordered: Vec<_> = shards.iter().collect();
    ordered.sort_by_key(|shard| shard.range);
    // Variant Core, and the number of its parts.
    let mut bytes = bincode::serialize(&(0_u32, ordered.len() as u64))?;
    for shard in ordered {
        bytes.extend(&proved[&shard.key].0);
    }
    bytes.extend(bincode::serialize(&(public_values, SP1_CIRCUIT_VERSION))?);
    Ok(bytes)
}

fn keys(shards: &[CutShard]) -> BTreeMap<Key, ShardRange> {
    shards.iter().map(|shard| (shard.key, shard.range)).collect()
}

/// What is stored of a proof.
#[derive(Default)]
struct Proof {
    /// Shards of the running execution, in the order of announcement.
    shards: Vec<CutShard>,
    proved: BTreeMap<Key, (Vec<u8>, u64)>,
    traced: BTreeMap<Key, Traced>,
    events: BTreeMap<String, Vec<u8>>,
}

/// An execution's announcements.
struct Announced {
    common: Mutex<Vec<u8>>,
    shards: mpsc::UnboundedSender<CutShard>,
    window: Semaphore,
}

#[async_trait]
impl ShardReceiver for Announced {
    async fn common(&self, bytes: Vec<u8>) {
        *self.common.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    async fn shard(&self, shard: CutShard) {
        if let Ok(permit) = self.window.acquire().await {
            permit.forget();
        }
        // An error says that the trial has failed.
        let _ = self.shards.send(shard);
    }
}

/// End of a shard's task.
type Ended = (usize, Result<TaskProof, Failure>);

impl Proof {
    /// Executes, and proves the shards that are not proved.
    async fn make(
        &mut self,
        tasks: &Arc<dyn TaskExecutor>,
        task: &ExecuteTask,
        shards_at_once: u32,
    ) -> anyhow::Result<Executed> {
        let (shards, mut announced) = mpsc::unbounded_channel();
        let window = Semaphore::new(2 * shards_at_once as usize);
        let receiver = Arc::new(Announced { common: Mutex::default(), shards, window });
        let (news, states) = mpsc::unbounded_channel();
        let (state_sender, state_receiver) = mpsc::channel(1);
        let forwarding = forward(states, state_sender);
        tokio::pin!(forwarding);
        let (traced_sender, mut traced) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let executing =
            tasks.execute(task.clone(), Arc::clone(&receiver) as _, state_receiver, cancel);
        tokio::pin!(executing);
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut markers = MarkerOrder::default();
        let mut executed = None;
        loop {
            tokio::select! {
                // What is announced comes before the end of the execution.
                biased;
                () = &mut forwarding, if executed.is_none() => {}
                Some(shard) = announced.recv() => {
                    let no = self.shards.len();
                    if self.proved.contains_key(&shard.key) {
                        receiver.window.add_permits(1);
                        if let Some(traced) = self.traced.get(&shard.key) {
                            traced_sender.send((no, traced.clone()))?;
                        }
                    } else {
                        let common = receiver.common.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        let shard = self.task(task, &shard, common)?;
                        running.spawn(proved(Arc::clone(tasks), shard, no, traced_sender.clone()));
                    }
                    self.shards.push(shard);
                }
                Some((no, traced)) = traced.recv() => {
                    let shard = &self.shards[no];
                    self.events.extend(traced.named.iter().cloned());
                    self.traced.insert(shard.key, traced.clone());
                    markers.add(shard.range.timestamp_range, traced_news(no, traced)?)?;
                    while let Some(released) = markers.release() {
                        // After the end of the execution nothing receives it.
                        let _ = news.send(released.clone());
                    }
                }
                Some(ended) = running.join_next() => {
                    let (no, proof) = ended?;
                    let proof = proof.map_err(|failure| anyhow!("{failure}"))?;
                    self.proved.insert(self.shards[no].key, (proof.bytes, proof.prove_ms));
                    receiver.window.add_permits(1);
                }
                ended = &mut executing, if executed.is_none() => {
                    executed = Some(ended.map_err(|failure| anyhow!("{failure}"))?);
                }
            }
            if running.is_empty()
                && announced.is_empty()
                && traced.is_empty()
                && let Some(executed) = executed.take()
            {
                return Ok(executed);
            }
        }
    }

    fn task(
        &self,
        task: &ExecuteTask,
        shard: &CutShard,
        common: Vec<u8>,
    ) -> anyhow::Result<ShardTask> {
        let events = |id: &String| {
            let bytes = self.events.get(id).with_context(|| format!("the events {id}"))?;
            Ok((id.clone(), bytes.clone()))
        };
        Ok(ShardTask {
            program_digest: task.program_digest,
            elf: Arc::clone(&task.elf),
            common,
            record: shard.record.clone(),
            named: shard.named.iter().map(events).collect::<anyhow::Result<_>>()?,
            events_prefix: shard.key.to_string()[..32].to_owned(),
            defers: shard.kind == ShardKind::Core,
            mode: ProofMode::Core,
        })
    }
}

/// Passes news on while the execution takes them.
async fn forward(mut news: mpsc::UnboundedReceiver<ShardNews>, states: mpsc::Sender<ShardNews>) {
    while let Some(news) = news.recv().await {
        if states.send(news).await.is_err() {
            break;
        }
    }
    std::future::pending::<()>().await;
}

/// Proves a shard, and passes on its events as soon as they are known.
async fn proved(
    tasks: Arc<dyn TaskExecutor>,
    shard: ShardTask,
    no: usize,
    traced: mpsc::UnboundedSender<(usize, Traced)>,
) -> Ended {
    let (sender, mut events) = mpsc::channel(1);
    let proving = tasks.prove_shard(shard, sender, CancellationToken::new());
    let passing = async {
        while let Some(events) = events.recv().await {
            // An error says that the trial has failed.
            let _ = traced.send((no, events));
        }
    };
    let (proof, ()) = tokio::join!(proving, passing);
    (no, proof)
}

fn traced_news(no: usize, traced: Traced) -> anyhow::Result<ShardNews> {
    let Traced { deferred, named } = traced;
    let info = |(id, bytes): (String, Vec<u8>)| {
        (id, BlobInfo { size: bytes.len() as u64, sha256: digest(&bytes) })
    };
    let named = named.into_iter().map(info).collect();
    Ok(ShardNews::Traced { no: no.try_into()?, deferred, named })
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}
