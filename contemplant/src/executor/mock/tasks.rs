//! Tasks of the mock backend: a real execution, and pseudo shards of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use network_lib::ids::Sha256Digest;
use network_lib::job::{BlobInfo, Failure, FailureClass, ProofMode};
use network_lib::shard::Sharding;
use sha2::{Digest, Sha256};
use shard_plan::{ShardKind, ShardRange};
use sp1_node::mock_proof;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::SP1VerifyingKey;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::shards::{Common, ENGINE, Events, Layout, Piece, Shard, Stage, Statement};
use crate::config::MockShards;
use crate::executor::helper::Helper;
use crate::executor::mode::sp1_mode;
use crate::executor::prepare::{Prepared, prepare};
use crate::executor::program::Programs;
use crate::executor::tasks::{
    CutShard, ExecuteTask, Executed, JoinFailure, JoinInputs, JoinTask, ShardNews, ShardSink,
    ShardTask, TaskExecutor, TaskProof, Traced, joins_of, offer_tasks,
};
use crate::executor::{EventSink, ProveJob, cancelled, unless_cancelled};

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
        let joins = joins_of(&ProofMode::ALL);
        let offered = offer_tasks(ENGINE, prove_slots, MAX_ELEMENTS, true, &joins);
        Self { helper, programs, settings, offered: watch::Sender::new(Some(offered)) }
    }

    async fn execute_now(
        &self,
        task: ExecuteTask,
        shards: ShardSink,
        states: mpsc::Receiver<ShardNews>,
    ) -> Result<Executed, Failure> {
        let settings = self.settings;
        let statement = Statement::new(task.program_digest, &task.stdin, &settings);
        let ExecuteTask { spec, program_digest, elf, stdin, .. } = task;
        let mode = spec.mode;
        let job = ProveJob { spec, program_digest, elf, stdin };
        let events = EventSink::nowhere();
        let prepared = prepare(&self.helper, &self.programs, job, true, &events).await?;
        let Prepared { program, stdin, executed } = prepared;
        let public_values = executed.public_values.to_vec();
        let proof = encoded_proof(&program.key, executed.public_values, mode)?;
        // Only recursion proves the proofs of the input.
        let deferred = if mode == ProofMode::Core { 0 } else { stdin.proofs.len() };
        let deferred = u32::try_from(deferred).unwrap_or(u32::MAX);
        let common = Common { statement, mode, proof };
        announce(common, settings, deferred, &shards, states).await?;
        Ok(Executed { execution: executed.execution, public_values })
    }

    async fn prove_now(
        &self,
        task: ShardTask,
        traced: mpsc::Sender<Traced>,
    ) -> Result<TaskProof, Failure> {
        let settings = self.settings;
        let (defers, mode) = (task.defers, task.mode);
        let (shard, events) = blocking(move || checked(&task)).await?.map_err(wrong)?;
        if let Some(events) = events.filter(|_| defers) {
            // Without a receiver nothing waits for the events.
            let _ = traced.send(events).await;
        }
        tokio::time::sleep(settings.prove_time).await;
        let bytes = blocking(move || match mode {
            ProofMode::Core => shard.part(settings.part_bytes),
            _ => shard.piece().encode(settings.part_bytes),
        });
        Ok(self.proof(bytes.await?))
    }

    async fn join_now(&self, task: JoinTask) -> Result<TaskProof, JoinFailure> {
        let part_bytes = self.settings.part_bytes;
        let joined = blocking(move || joined(task, part_bytes)).await??;
        tokio::time::sleep(self.settings.prove_time).await;
        Ok(self.proof(joined))
    }

    /// The result of a task that has taken the configured time.
    fn proof(&self, bytes: Vec<u8>) -> TaskProof {
        let prove_ms = u64::try_from(self.settings.prove_time.as_millis()).unwrap_or(u64::MAX);
        TaskProof { bytes, prove_ms }
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
    ) -> Result<TaskProof, Failure> {
        unless_cancelled(&cancel, self.prove_now(task, traced)).await
    }

    async fn join(
        &self,
        task: JoinTask,
        cancel: CancellationToken,
    ) -> Result<TaskProof, JoinFailure> {
        let joined = cancel.run_until_cancelled(self.join_now(task)).await;
        joined.unwrap_or_else(|| Err(cancelled().into()))
    }
}

/// Announces the shards: those of precompiles when the events of all core shards are known.
async fn announce(
    common: Common,
    settings: MockShards,
    deferred: u32,
    shards: &ShardSink,
    mut states: mpsc::Receiver<ShardNews>,
) -> Result<(), Failure> {
    let statement = common.statement;
    let (known, events) = oneshot::channel::<Vec<(Events, Sha256Digest)>>();
    let announcing = async {
        shards.common(common.encode()).await;
        for shard in Shard::first(statement, &settings, deferred) {
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
    Common::decode(&task.common)?.check(shard.statement, task.program_digest, task.mode)?;
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

/// The mock proof of a job without its kind: what the last task returns.
fn encoded_proof(
    key: &SP1VerifyingKey,
    public_values: SP1PublicValues,
    mode: ProofMode,
) -> Result<Vec<u8>, Failure> {
    let proof = mock_proof(key, public_values, sp1_mode(mode)).proof;
    let mut bytes = bincode::serialize(&proof).map_err(|error| {
        Failure::new(FailureClass::Worker, format!("the proof could not be encoded: {error}"))
    })?;
    // The number of the variant.
    Ok(bytes.split_off(4))
}

/// Joins or wraps pseudo proofs, once all of them are found to be right.
fn joined(task: JoinTask, part_bytes: u64) -> Result<Vec<u8>, JoinFailure> {
    let Common { statement, mode, proof } = Common::decode(&task.common).map_err(wrong)?;
    let piece = |stage, range| Piece { statement, stage, range };
    // The whole is proved, whatever its range is.
    let whole = |stage| piece(stage, ShardRange::PRECOMPILE);
    let checked = |inputs: &[(Piece, &Vec<u8>)]| {
        let wrong = inputs
            .iter()
            .enumerate()
            .filter_map(|(number, (expected, bytes))| Some((number, expected.check(bytes).err()?)));
        let (false_inputs, reasons): (Vec<_>, Vec<_>) = wrong.unzip();
        let Some(reason) = reasons.first() else { return Ok(()) };
        let message = format!("an input is false: {reason}");
        let failure = Failure::new(FailureClass::Infrastructure, message);
        Err(JoinFailure { failure, false_inputs })
    };
    match task.inputs {
        JoinInputs::Deferred(data) => {
            let shard = Shard::read(&data).map_err(wrong)?;
            Ok(shard.piece().encode(part_bytes))
        }
        JoinInputs::Reduce { complete, range, children } => {
            let pieces = children.iter().map(|(range, bytes)| (piece(Stage::Part, *range), bytes));
            checked(&pieces.collect::<Vec<_>>())?;
            match (complete, mode) {
                (false, _) => Ok(piece(Stage::Part, range).encode(part_bytes)),
                (true, ProofMode::Plonk | ProofMode::Groth16) => {
                    Ok(whole(Stage::Complete).encode(part_bytes))
                }
                (true, ProofMode::Core | ProofMode::Compressed) => Ok(proof),
            }
        }
        JoinInputs::ShrinkWrap(complete) => {
            checked(&[(whole(Stage::Complete), &complete)])?;
            Ok(whole(Stage::Wrapped).encode(part_bytes))
        }
        JoinInputs::Plonk(wrapped) | JoinInputs::Groth16(wrapped) => {
            checked(&[(whole(Stage::Wrapped), &wrapped)])?;
            Ok(proof)
        }
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RANGES: [ShardRange; 2] = [ShardRange::deferred(0, 1), ShardRange::deferred(1, 2)];

    fn common(mode: ProofMode) -> Common {
        let statement = Statement::new(Sha256Digest([1; 32]), b"input", &MockShards::default());
        Common { statement, mode, proof: b"the finished proof".to_vec() }
    }

    fn join(mode: ProofMode, inputs: JoinInputs) -> Result<Vec<u8>, JoinFailure> {
        joined(JoinTask { common: common(mode).encode(), inputs }, 1_000)
    }

    fn reduce(complete: bool, children: Vec<(ShardRange, Vec<u8>)>) -> JoinInputs {
        JoinInputs::Reduce { complete, range: ShardRange::deferred(0, 2), children }
    }

    fn parts() -> Vec<(ShardRange, Vec<u8>)> {
        let statement = common(ProofMode::Core).statement;
        let piece = |range| Piece { statement, stage: Stage::Part, range };
        RANGES.map(|range| (range, piece(range).encode(1_000))).to_vec()
    }

    #[test]
    fn every_kind_of_proof_ends_with_the_mock_proof() {
        let compressed = join(ProofMode::Compressed, reduce(true, parts())).unwrap();
        assert_eq!(compressed, b"the finished proof");
        type Wrap = fn(Vec<u8>) -> JoinInputs;
        for (mode, last) in [
            (ProofMode::Plonk, JoinInputs::Plonk as Wrap),
            (ProofMode::Groth16, JoinInputs::Groth16 as Wrap),
        ] {
            let complete = join(mode, reduce(true, parts())).unwrap();
            let wrapped = join(mode, JoinInputs::ShrinkWrap(complete.clone())).unwrap();
            assert_eq!(join(mode, last(wrapped)).unwrap(), b"the finished proof");
            let skipped = join(mode, last(complete)).unwrap_err();
            assert_eq!(skipped.false_inputs, [0], "it was not wrapped");
        }
    }

    #[test]
    fn a_part_is_reduced_with_others_and_not_in_place_of_the_whole() {
        let part = join(ProofMode::Compressed, reduce(false, parts())).unwrap();
        let whole = vec![(ShardRange::deferred(0, 2), part.clone())];
        assert!(join(ProofMode::Compressed, reduce(true, whole)).is_ok());
        let wrong = join(ProofMode::Plonk, JoinInputs::ShrinkWrap(part)).unwrap_err();
        assert_eq!(wrong.false_inputs, [0]);
    }

    #[test]
    fn false_inputs_are_named() {
        let mut children = parts();
        children[1].1[900] ^= 1;
        let failed = join(ProofMode::Compressed, reduce(false, children.clone())).unwrap_err();
        assert_eq!(failed.false_inputs, [1]);
        assert_eq!(failed.failure.class, FailureClass::Infrastructure);
        children[0].0 = RANGES[1];
        let failed = join(ProofMode::Compressed, reduce(false, children)).unwrap_err();
        assert_eq!(failed.false_inputs, [0, 1], "the first one proves another range");
    }
}
