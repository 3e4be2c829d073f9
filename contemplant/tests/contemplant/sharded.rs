//! One proof by tasks, with a test in the place of Hierophant and of all workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contemplant::executor::tasks::{
    CutShard, ExecuteTask, Executed, ShardNews, ShardReceiver, ShardTask, TaskExecutor, Traced,
};
use network_lib::ids::Sha256Digest;
use network_lib::job::{BlobInfo, Failure};
use sha2::{Digest, Sha256};
use shard_plan::{Key, MarkerOrder, ShardKind, ShardRange};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Time limit of a proof of small shards.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// An execution's announcements. The window is as large as the test says.
pub(crate) struct Announced {
    pub(crate) common: Mutex<Vec<u8>>,
    shards: mpsc::UnboundedSender<CutShard>,
    pub(crate) window: Semaphore,
}

impl Announced {
    pub(crate) fn new(window: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<CutShard>) {
        let (shards, announced) = mpsc::unbounded_channel();
        let (common, window) = (Mutex::default(), Semaphore::new(window));
        (Arc::new(Self { common, shards, window }), announced)
    }

    pub(crate) fn common(&self) -> Vec<u8> {
        self.common.lock().unwrap().clone()
    }
}

#[async_trait]
impl ShardReceiver for Announced {
    async fn common(&self, bytes: Vec<u8>) {
        *self.common.lock().unwrap() = bytes;
    }

    async fn shard(&self, shard: CutShard) {
        self.window.acquire().await.unwrap().forget();
        let _ = self.shards.send(shard);
    }
}

/// A proof that was made by tasks.
pub(crate) struct Made {
    pub(crate) executed: Executed,
    /// Shards in the order of announcement, with their proofs.
    pub(crate) shards: Vec<(CutShard, Vec<u8>)>,
}

impl Made {
    /// What a repeated execution must find again.
    pub(crate) fn keys(&self) -> BTreeMap<Key, ShardRange> {
        self.shards.iter().map(|(shard, _)| (shard.key, shard.range)).collect()
    }
}

/// Executes, proves every shard, and passes on what each needs of the others.
pub(crate) async fn make(
    executor: &Arc<dyn TaskExecutor>,
    task: &ExecuteTask,
) -> Result<Made, Failure> {
    timeout(PATIENCE, Proof::new(executor, task).make()).await.expect("made in time")
}

/// A proof that is being made.
struct Proof<'a> {
    executor: &'a Arc<dyn TaskExecutor>,
    task: &'a ExecuteTask,
    shards: Vec<CutShard>,
    parts: BTreeMap<usize, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    markers: MarkerOrder<ShardNews>,
    traced: mpsc::UnboundedSender<(usize, Traced)>,
    waiting: mpsc::UnboundedReceiver<(usize, Traced)>,
    proving: JoinSet<(usize, Result<Vec<u8>, Failure>)>,
}

impl<'a> Proof<'a> {
    fn new(executor: &'a Arc<dyn TaskExecutor>, task: &'a ExecuteTask) -> Self {
        let (traced, waiting) = mpsc::unbounded_channel();
        Self {
            executor,
            task,
            shards: Vec::new(),
            parts: BTreeMap::new(),
            blobs: BTreeMap::new(),
            markers: MarkerOrder::default(),
            traced,
            waiting,
            proving: JoinSet::new(),
        }
    }

    async fn make(mut self) -> Result<Made, Failure> {
        let (receiver, mut announced) = Announced::new(2);
        let (news, states) = mpsc::channel(1);
        let (task, sink) = (self.task.clone(), Arc::clone(&receiver));
        let executing = self.executor.execute(task, sink, states, CancellationToken::new());
        tokio::pin!(executing);
        let mut executed = None;
        loop {
            tokio::select! {
                // What is announced comes before the end of the execution.
                biased;
                Some(shard) = announced.recv() => self.prove(shard, receiver.common()),
                Some((no, traced)) = self.waiting.recv() => {
                    self.add_marker(no, traced);
                    while let Some(released) = self.markers.release().cloned() {
                        // After the end of the execution nothing receives it.
                        let sending = news.send(released);
                        tokio::select! {
                            _ = sending => {}
                            ended = &mut executing, if executed.is_none() => executed = Some(ended?),
                        }
                    }
                }
                Some(proved) = self.proving.join_next() => {
                    let (no, part) = proved.expect("no panic");
                    self.parts.insert(no, part?);
                    receiver.window.add_permits(1);
                }
                ended = &mut executing, if executed.is_none() => executed = Some(ended?),
                else => break,
            }
            if executed.is_some() && self.parts.len() == self.shards.len() && announced.is_empty() {
                break;
            }
        }
        let shards = self.shards.into_iter().zip(self.parts.into_values()).collect();
        Ok(Made { executed: executed.expect("the execution has ended"), shards })
    }

    fn prove(&mut self, shard: CutShard, common: Vec<u8>) {
        let no = self.shards.len();
        let named = shard.named.iter().map(|id| (id.clone(), self.blobs[id].clone())).collect();
        let task = ShardTask {
            program_digest: self.task.program_digest,
            elf: Arc::clone(&self.task.elf),
            common,
            record: shard.record.clone(),
            named,
            events_prefix: format!("{:032x}", 0xabc0 + no),
            defers: shard.kind == ShardKind::Core,
            mode: self.task.spec.mode,
        };
        self.shards.push(shard);
        let (executor, traced) = (Arc::clone(self.executor), self.traced.clone());
        self.proving.spawn(async move {
            let (sender, mut receiver) = mpsc::channel(1);
            let proving = executor.prove_shard(task, sender, CancellationToken::new());
            let passing = async {
                while let Some(events) = receiver.recv().await {
                    let _ = traced.send((no, events));
                }
            };
            let (proof, ()) = tokio::join!(proving, passing);
            (no, proof.map(|proof| proof.bytes))
        });
    }

    fn add_marker(&mut self, no: usize, traced: Traced) {
        let Traced { deferred, named } = traced;
        let prefix = format!("{:032x}", 0xabc0 + no);
        for (id, _) in &named {
            assert!(id.starts_with(&prefix), "{id} does not begin with {prefix}");
        }
        let infos = named.iter().map(|(id, bytes)| (id.clone(), info(bytes))).collect();
        self.blobs.extend(named);
        let news = ShardNews::Traced { no: no as u32, deferred, named: infos };
        self.markers.add(self.shards[no].range.timestamp_range, news).expect("clocks fit");
    }
}

fn info(bytes: &[u8]) -> BlobInfo {
    let sha256 = Sha256Digest(Sha256::digest(bytes).into());
    BlobInfo { size: bytes.len() as u64, sha256 }
}
