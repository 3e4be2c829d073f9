//! Proofs of shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use network_lib::job::{BlobInfo, Failure, FailureClass, Phase, ProofMode};
use network_lib::shard::{Blob, Named, TaskFromWorker, TaskUsage};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::interval;

use super::TaskRunner;
use super::attempt::Attempt;
use super::memory::{LOOK_INTERVAL, MemoryShare};
use super::stop::TaskStop;
use crate::depot::results::{Delivery, TaskResult};
use crate::executor::tasks::{ShardTask, TaskProof, Traced};
use crate::finished::Kept;
use crate::runner::meter::Meter;

/// What a proof of a shard works on.
pub(super) struct ShardInputs {
    pub(super) program: BlobInfo,
    pub(super) common: Blob,
    pub(super) record: Blob,
    pub(super) named: Vec<Named<Blob>>,
    pub(super) defers: bool,
    pub(super) mode: ProofMode,
}

impl TaskRunner {
    /// Proves a shard and fills the attempt's parcel.
    pub(super) async fn prove_shard(
        &self,
        attempt: &Arc<Attempt>,
        inputs: ShardInputs,
    ) -> Result<(), TaskStop> {
        let started = Instant::now();
        attempt.observer.phase(Phase::Downloading);
        let meter = Meter::start(&attempt.events, Phase::Downloading);
        let fetched = self.shard_task(attempt, inputs, &meter);
        let fetched = attempt.stop.run_until_cancelled(fetched).await;
        let task = fetched.ok_or(TaskStop::Abandoned)??;

        let slot = self.slot(attempt).await?;
        attempt.observer.phase(Phase::Proving);
        attempt.events.phase(Phase::Proving);
        let defers = task.defers;
        let mut share = self.proving.begin();
        let proof = self.prove(attempt, task, &mut share).await;
        let peak_bytes = share.peak();
        drop((share, slot));
        if attempt.stop.is_cancelled() {
            return Err(TaskStop::Abandoned);
        }
        let proof = proof?;
        if defers && attempt.deliveries().is_empty() {
            let message = "the prover has given no precompile events: expected a list";
            return Err(Failure::new(FailureClass::Worker, message).into());
        }
        self.conclude(attempt, proof, started, peak_bytes, &meter).await
    }

    /// Stores and delivers the result of a task that began at `started`.
    pub(super) async fn conclude(
        &self,
        attempt: &Attempt,
        proof: TaskProof,
        started: Instant,
        peak_bytes: Option<u64>,
        meter: &Meter,
    ) -> Result<(), TaskStop> {
        let TaskProof { bytes, prove_ms } = proof;
        attempt.observer.phase(Phase::Uploading);
        attempt.events.phase(Phase::Uploading);
        let proof = self.keep(attempt, bytes).await?;
        let used = TaskUsage {
            wall_ms: milliseconds(started.elapsed()),
            prove_ms,
            peak_bytes,
            fetched_bytes: meter.total(),
        };
        tracing::info!(proof_bytes = proof.info.size, prove_ms, peak_bytes, "task done");
        let (lease_id, output) = (attempt.lease, proof.info);
        let message = TaskFromWorker::TaskDone { lease_id, output, used };
        let last = Delivery { blobs: vec![proof], message };
        self.finish(attempt, last.clone()).await?;
        attempt.deliver(last);
        Ok(())
    }

    /// Fetches what the task works on.
    async fn shard_task(
        &self,
        attempt: &Attempt,
        inputs: ShardInputs,
        meter: &Meter,
    ) -> Result<ShardTask, TaskStop> {
        let ShardInputs { program, common, record, named, defers, mode } = inputs;
        let elf = async {
            let fetched = self.inputs.program(attempt.lease, program, meter).await;
            fetched.map_err(TaskStop::from)
        };
        let events = named.iter().map(async |named| {
            let bytes = self.fetch(attempt, "precompile events", &named.blob, meter).await?;
            Ok::<_, TaskStop>((named.id.clone(), bytes))
        });
        let (elf, common, record, named) = tokio::try_join!(
            elf,
            self.fetch(attempt, "common input", &common, meter),
            self.fetch(attempt, "record", &record, meter),
            try_join_all(events),
        )?;
        Ok(ShardTask {
            program_digest: program.sha256,
            elf,
            common,
            record,
            named,
            events_prefix: attempt.lease.to_string(),
            defers,
            mode,
        })
    }

    /// Waits for a free slot of the prover.
    pub(super) async fn slot(&self, attempt: &Attempt) -> Result<SemaphorePermit<'_>, TaskStop> {
        let slots = self.slots.get_or_init(|| {
            let offered = self.executor.offered().borrow().as_ref().map(|offer| offer.prove_slots);
            Semaphore::new(offered.unwrap_or(1).max(1) as usize)
        });
        if let Ok(slot) = slots.try_acquire() {
            return Ok(slot);
        }
        attempt.observer.waits();
        let free = attempt.stop.run_until_cancelled(slots.acquire()).await;
        free.and_then(Result::ok).ok_or(TaskStop::Abandoned)
    }

    /// Lets the prover work, and delivers the precompile events as soon as they are known.
    async fn prove(
        &self,
        attempt: &Attempt,
        task: ShardTask,
        share: &mut MemoryShare<'_>,
    ) -> Result<TaskProof, TaskStop> {
        let mut looks = interval(LOOK_INTERVAL);
        let (sender, mut traced) = mpsc::channel(1);
        let proof = self.executor.prove_shard(task, sender, attempt.stop.child_token());
        tokio::pin!(proof);
        let proof = loop {
            tokio::select! {
                biased;
                Some(events) = traced.recv() => self.keep_events(attempt, events).await?,
                proof = &mut proof => break proof,
                _ = looks.tick() => share.look(),
            }
        };
        while let Ok(events) = traced.try_recv() {
            self.keep_events(attempt, events).await?;
        }
        Ok(proof?)
    }

    async fn keep_events(&self, attempt: &Attempt, traced: Traced) -> Result<(), TaskStop> {
        let (id, bytes) = traced.deferred;
        let index = self.keep(attempt, bytes).await?;
        let deferred = Named { id, blob: index.info };
        let (mut blobs, mut named) = (Vec::new(), Vec::new());
        for (id, bytes) in traced.named {
            let blob = self.keep(attempt, bytes).await?;
            named.push(Named { id, blob: blob.info });
            blobs.push(blob);
        }
        blobs.push(index);
        tracing::info!(blobs = named.len(), "shard traced");
        let message = TaskFromWorker::Traced { lease_id: attempt.lease, deferred, named };
        attempt.deliver(Delivery { blobs, message });
        Ok(())
    }

    /// Keeps a part of the result until it is settled.
    async fn keep(&self, attempt: &Attempt, bytes: Vec<u8>) -> Result<Kept, TaskStop> {
        let (depot, job, lease) = (self.depot.clone(), attempt.job, attempt.lease);
        let kept = tokio::task::spawn_blocking(move || depot.keep_result(job, lease, bytes)).await;
        kept.map_err(|error| not_stored(&error).into())
    }

    /// Stores the messages of the whole result, whose end is `last`.
    async fn finish(&self, attempt: &Attempt, last: Delivery) -> Result<(), TaskStop> {
        let mut deliveries = attempt.deliveries();
        deliveries.push(last);
        let (lease_id, job, kind) = (attempt.lease, attempt.job, attempt.kind);
        let result = TaskResult { lease_id, job, kind, deliveries };
        let depot = self.depot.clone();
        let stored = tokio::task::spawn_blocking(move || depot.finish(&result)).await;
        stored.map_err(|error| not_stored(&error).into())
    }
}

fn not_stored(error: &tokio::task::JoinError) -> Failure {
    Failure::new(FailureClass::Worker, format!("the result could not be stored: {error}"))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
