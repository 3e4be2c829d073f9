//! Tasks above the shards: proofs of other workers are joined and wrapped.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use network_lib::ids::Sha256Digest;
use network_lib::job::Phase;
use network_lib::shard::{Blob, TaskInput};
use tokio::time::interval;

use super::attempt::Attempt;
use super::memory::{LOOK_INTERVAL, MemoryShare};
use super::stop::TaskStop;
use super::{TaskRunner, not_taken};
use crate::executor::tasks::{JoinFailure, JoinInputs, JoinTask, TaskProof};
use crate::runner::meter::Meter;

impl TaskRunner {
    /// Joins or wraps proofs, and fills the attempt's parcel.
    pub(super) async fn join(
        &self,
        attempt: &Arc<Attempt>,
        input: TaskInput,
    ) -> Result<(), TaskStop> {
        let started = Instant::now();
        attempt.observer.phase(Phase::Downloading);
        let meter = Meter::start(&attempt.events, Phase::Downloading);
        let proofs = proofs_of(&input);
        let fetched = self.join_task(attempt, input, &meter);
        let fetched = attempt.stop.run_until_cancelled(fetched).await;
        let task = fetched.ok_or(TaskStop::Abandoned)??;

        let slot = self.slot(attempt).await?;
        attempt.observer.phase(Phase::Proving);
        attempt.events.phase(Phase::Proving);
        let mut share = self.proving.begin();
        let proof = self.joined(attempt, task, &mut share).await;
        let peak_bytes = share.peak();
        drop((share, slot));
        if attempt.stop.is_cancelled() {
            return Err(TaskStop::Abandoned);
        }
        let proof = proof.map_err(|JoinFailure { failure, false_inputs }| {
            let suspect = false_inputs.iter().filter_map(|number| proofs.get(*number).copied());
            TaskStop::Failed { failure, lost: Vec::new(), suspect: suspect.collect() }
        })?;
        self.conclude(attempt, proof, started, peak_bytes, &meter).await
    }

    /// Fetches what the task works on.
    async fn join_task(
        &self,
        attempt: &Attempt,
        input: TaskInput,
        meter: &Meter,
    ) -> Result<JoinTask, TaskStop> {
        let fetch = async |what, blob: Blob| self.fetch(attempt, what, &blob, meter).await;
        let (common, inputs) = match input {
            TaskInput::Deferred { common, data } => {
                (common, JoinInputs::Deferred(fetch("proofs of the input", data).await?))
            }
            TaskInput::Reduce { common, complete, range, children } => {
                let children = children.into_iter().map(async |child| {
                    Ok::<_, TaskStop>((child.range, fetch("proof", child.blob).await?))
                });
                let children = try_join_all(children).await?;
                (common, JoinInputs::Reduce { complete, range, children })
            }
            TaskInput::ShrinkWrap { common, proof } => {
                (common, JoinInputs::ShrinkWrap(fetch("complete proof", proof).await?))
            }
            TaskInput::Plonk { common, proof } => {
                (common, JoinInputs::Plonk(fetch("wrapped proof", proof).await?))
            }
            TaskInput::Groth16 { common, proof } => {
                (common, JoinInputs::Groth16(fetch("wrapped proof", proof).await?))
            }
            TaskInput::Execute { .. }
            | TaskInput::Measure { .. }
            | TaskInput::ProveShard { .. }
            | TaskInput::Retrace { .. } => return Err(not_taken(attempt.kind)),
        };
        Ok(JoinTask { common: fetch("common input", common).await?, inputs })
    }

    /// Lets the prover work.
    async fn joined(
        &self,
        attempt: &Attempt,
        task: JoinTask,
        share: &mut MemoryShare<'_>,
    ) -> Result<TaskProof, JoinFailure> {
        let mut looks = interval(LOOK_INTERVAL);
        let proof = self.executor.join(task, attempt.stop.child_token());
        tokio::pin!(proof);
        loop {
            tokio::select! {
                biased;
                proof = &mut proof => return proof,
                _ = looks.tick() => share.look(),
            }
        }
    }
}

/// Digests of the proofs that a task joins or wraps, in the order of its inputs.
fn proofs_of(input: &TaskInput) -> Vec<Sha256Digest> {
    match input {
        TaskInput::Reduce { children, .. } => {
            children.iter().map(|child| child.blob.info.sha256).collect()
        }
        TaskInput::ShrinkWrap { proof, .. }
        | TaskInput::Plonk { proof, .. }
        | TaskInput::Groth16 { proof, .. } => vec![proof.info.sha256],
        _ => Vec::new(),
    }
}
