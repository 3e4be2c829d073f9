//! Tasks of the mock backend: a real execution, and pseudo shards of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use network_lib::ids::Sha256Digest;
use network_lib::job::{BlobInfo, Failure, FailureClass};
use network_lib::shard::Sharding;
use sha2::{Digest, Sha256};
use shard_plan::ShardKind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::shards::{ENGINE, Events, Layout, Shard, Statement};
use crate::config::MockShards;
use crate::executor::helper::Helper;
use crate::executor::prepare::prepare;
use crate::executor::program::Programs;
use crate::executor::tasks::{
    CutShard, ExecuteTask, Executed, ShardNews, ShardProof, ShardSink, ShardTask, TaskExecutor,
    Traced, check_mode, offer_tasks,
};
use crate::executor::{EventSink, ProveJob, unless_cancelled};

/// Greatest trace area that is offered: pseudo shards have none.
const MAX_ELEMENTS: u64 = 1 << 28;

/// The prover of pseudo shards.
pub(super) struct MockTasks {
    helper: Helper,
    programs: Arc<Programs>,
    settings: MockShards,
    offered: watch::Sender<Option<Sharding>>,
}

impl MockTasks {
    pub(super) fn new(
        helper: Helper,
        programs: Arc<Programs>,
        settings: MockShards,
        prove_slots: u32,
    ) -> Self {
        let offered = offer_tasks(ENGINE, prove_slots, MAX_ELEMENTS);
        Self { helper, programs, settings, offered: watch::Sender::new(Some(offered)) }
    }

    async fn execute_now(
        &self,
        task: ExecuteTask,
        shards: ShardSink,
        states: mpsc::Receiver<ShardNews>,
    ) -> Result<Executed, Failure> {
        check_mode(task.spec.mode)?;
        let settings = self.settings;
        let statement = Statement::new(task.program_digest, &task.stdin, &settings);
        let ExecuteTask { spec, program_digest, elf, stdin, .. } = task;
        let job = ProveJob { spec, program_digest, elf, stdin };
        let events = EventSink::nowhere();
        let prepared = prepare(&self.helper, &self.programs, job, true, &events).await?;
        announce(statement, settings, &shards, states).await?;
        Ok(Executed {
            execution: prepared.executed.execution,
            public_values: prepared.executed.public_values.to_vec(),
        })
    }

    async fn prove_now(
        &self,
        task: ShardTask,
        traced: mpsc::Sender<Traced>,
    ) -> Result<ShardProof, Failure> {
        check_mode(task.mode)?;
        let settings = self.settings;
        let defers = task.defers;
        let (shard, events) = blocking(move || checked(&task)).await?.map_err(wrong)?;
        if let Some(events) = events.filter(|_| defers) {
            // Without a receiver nothing waits for the events.
            let _ = traced.send(events).await;
        }
        tokio::time::sleep(settings.prove_time).await;
        let bytes = blocking(move || shard.part(settings.part_bytes)).await?;
        let prove_ms = u64::try_from(settings.prove_time.as_millis()).unwrap_or(u64::MAX);
        Ok(ShardProof { bytes, prove_ms })
    }
}

#[async_trait]
impl TaskExecutor for MockTasks {
    fn offered(&self) -> watch::Receiver<Option<Sharding>> {
        self.offered.subscribe()
    }

    async fn execute(
        &self,
        task: ExecuteTask,
        shards: ShardSink,
        states: mpsc::Receiver<ShardNews>,
        cancel: CancellationToken,
    ) -> Result<Executed, Failure> {
        unless_cancelled(&cancel, self.execute_now(task, shards, states)).await
    }

    async fn prove_shard(
        &self,
        task: ShardTask,
        traced: mpsc::Sender<Traced>,
        cancel: CancellationToken,
    ) -> Result<ShardProof, Failure> {
        unless_cancelled(&cancel, self.prove_now(task, traced)).await
    }
}

/// Announces the shards: those of precompiles when the events of all core shards are known.
async fn announce(
    statement: Statement,
    settings: MockShards,
    shards: &ShardSink,
    mut states: mpsc::Receiver<ShardNews>,
) -> Result<(), Failure> {
    let (known, events) = oneshot::channel::<Vec<(Events, Sha256Digest)>>();
    let announcing = async {
        shards.common(statement.encode()).await;
        for shard in Shard::first(statement, &settings) {
            announce_one(shard, shards).await?;
        }
        // The sender is gone only with a failure, which ends this as well.
        let Ok(events) = events.await else { return std::future::pending().await };
        for shard in Shard::packed(statement, &settings, &events) {
            announce_one(shard, shards).await?;
        }
        Ok(())
    };
    let hearing = async {
        let _ = known.send(events_of(Layout::of(settings.count).core, &mut states).await?);
        // The news of the other shards changes nothing, but has to be received: its sender waits for room.
        while states.recv().await.is_some() {}
        std::future::pending().await
    };
    tokio::select! {
        announced = announcing => announced,
        failed = hearing => failed,
    }
}

async fn announce_one(shard: Shard, shards: &ShardSink) -> Result<(), Failure> {
    let cut = blocking(move || {
        let record = shard.record();
        CutShard {
            key: shard.key(&record),
            kind: shard.kind,
            range: shard.range(),
            named: shard.taken.iter().map(|taken| taken.id.clone()).collect(),
            record,
        }
    });
    shards.shard(cut.await?).await;
    Ok(())
}

/// The events of all core shards, in the order of clocks, with the digests of their blobs.
async fn events_of(
    core: u32,
    states: &mut mpsc::Receiver<ShardNews>,
) -> Result<Vec<(Events, Sha256Digest)>, Failure> {
    let mut known = BTreeMap::new();
    while known.len() < core as usize {
        let Some(news) = states.recv().await else {
            let message = "the states of the shards are no longer reported";
            return Err(Failure::new(FailureClass::Infrastructure, message));
        };
        let ShardNews::Traced { no, deferred: (_, index), named } = news else { continue };
        if no >= core {
            return Err(wrong(format!("shard {no} has events: expected a core shard")));
        }
        known.insert(no, with_digests(&index, &named).map_err(wrong)?);
    }
    Ok(known.into_values().flatten().collect())
}

fn with_digests(
    index: &[u8],
    named: &[(String, BlobInfo)],
) -> Result<Vec<(Events, Sha256Digest)>, String> {
    let with_digest = |events: Events| {
        let found = named.iter().find(|(id, _)| *id == events.id);
        let (_, blob) = found.ok_or_else(|| format!("the events {} are missing", events.id))?;
        Ok((events, blob.sha256))
    };
    Events::decode(index)?.into_iter().map(with_digest).collect()
}

/// The shard of a task, and the events of a core shard, once all inputs are found to be right.
fn checked(task: &ShardTask) -> Result<(Shard, Option<Traced>), String> {
    let shard = Shard::read(&task.record)?;
    shard.statement.check(&task.common, task.program_digest)?;
    for taken in &shard.taken {
        let found = task.named.iter().find(|(id, _)| *id == taken.id);
        let (_, events) = found.ok_or_else(|| format!("the events {} are missing", taken.id))?;
        if Sha256Digest(Sha256::digest(events).into()) != taken.sha256 {
            return Err(format!("the events {} have other bytes", taken.id));
        }
    }
    if shard.kind != ShardKind::Core {
        return Ok((shard, None));
    }
    let prefix = &task.events_prefix;
    let named: Vec<_> =
        shard.events().map(|events| (format!("{prefix}-0"), events)).into_iter().collect();
    let index: Vec<_> = named.iter().map(|(id, _)| Events::new(id.clone())).collect();
    let deferred = (format!("{prefix}-index"), Events::encode(&index));
    Ok((shard, Some(Traced { deferred, named })))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(FailureClass::Worker, error.to_string()))
}

fn wrong(reason: String) -> Failure {
    Failure::new(FailureClass::Worker, format!("the shard could not be proved: {reason}"))
}
